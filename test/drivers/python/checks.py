"""What the checks share: sessions, the report (one line of JSON for each check) and requests to the test that started us."""

import json
import sys
import time
import traceback

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile

HOST, PORT, USERNAME, PASSWORD, KEYSPACE, SIDE, VERSION, PART = sys.argv[1:9]
PORT, VERSION = int(PORT), int(VERSION)
THROUGH_PROXY = SIDE == "proxy"

REGISTERED = []


def check(name):
    """A check whose result is the same with and without a proxy. It gets a session on the keyspace."""

    def register(run):
        REGISTERED.append((name, run))
        return run

    return register


def check_proxy(name):
    """A check that makes sense through the proxy only."""
    return check(name) if THROUGH_PROXY else lambda run: run


def open_cluster(username=USERNAME, password=PASSWORD, **options):
    """The driver with its defaults; only its time-outs are made for a machine that has other work."""
    options.setdefault("protocol_version", VERSION)
    options.setdefault("execution_profiles", {EXEC_PROFILE_DEFAULT: ExecutionProfile(request_timeout=60)})
    return Cluster(
        [HOST],
        port=PORT,
        auth_provider=PlainTextAuthProvider(username, password),
        connect_timeout=60,
        control_connection_timeout=60,
        **options,
    )


class Opened:
    """A session for the length of a `with`."""

    def __init__(self, keyspace=KEYSPACE, **options):
        self.keyspace, self.options = keyspace, options

    def __enter__(self):
        self.cluster = open_cluster(**self.options)
        try:
            return self.cluster.connect(self.keyspace)
        except BaseException:
            self.cluster.shutdown()
            raise

    def __exit__(self, *_):
        self.cluster.shutdown()


def run_checks(session):
    for name, run in REGISTERED:
        try:
            report(name, True, run(session))
        except Exception as error:
            frames = [f"{one.name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
            report(name, False, f"{describe(error)} at {' '.join(frames)}")


def report(name, ok, detail):
    emit({"name": name, "ok": ok, "detail": detail})


def ask(what):
    """Has the test do something outside, and waits until it is done."""
    emit({"ask": what})
    answer = sys.stdin.readline().strip()
    if answer != "done":
        raise RuntimeError(f"{what}: {answer}")


def emit(message):
    sys.stdout.write(json.dumps(message, default=str) + "\n")
    sys.stdout.flush()


def eventually(what, holds):
    deadline = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within 30 s")
        time.sleep(0.05)


def works(run):
    """Whether something raises nothing, for `eventually`."""
    try:
        run()
        return True
    except Exception:
        return False


def describe(error):
    return f"{type(error).__name__}: {error}"


def failure(run):
    try:
        run()
        return "done"
    except Exception as error:
        return describe(error)


def rows(session, query, values=None):
    return [repr(tuple(row)) for row in session.execute(query, values)]


def markers(prepared):
    return [[one.name, one.type.cql_parameterized_type()] for one in prepared.column_metadata]


def results(prepared):
    return [[one[2], one[3].cql_parameterized_type()] for one in prepared.result_metadata or []]
