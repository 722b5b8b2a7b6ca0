"""Versions, compression, many requests, many connections, idle ones and broken ones."""

import random
import time

from checks import VERSION, Opened, ask, check, check_proxy, eventually, rows, works


@check("moves small and large values")
def plain(session):
    session.execute("CREATE TABLE blobs (id int PRIMARY KEY, v blob)")
    return round_trip(compression=False)


@check("moves them with LZ4")
def lz4(_):
    return round_trip(compression="lz4")


@check("moves them with Snappy")
def snappy(_):
    return "not in v5" if VERSION >= 5 else round_trip(compression="snappy")


@check("speaks v3")
def v3(_):
    return round_trip(compression=False, protocol_version=3)


def round_trip(**options):
    """Random values, and those that compress well; of sizes around that of a segment."""
    with Opened(**options) as session:
        (connection,) = [one for holder in session.cluster.get_connection_holders()[:1] for one in holder.get_connections()]
        assert (connection.compressor is not None) == bool(options["compression"]), "the compression is not in use"
        insert = session.prepare("INSERT INTO blobs (id, v) VALUES (?, ?)")
        select = session.prepare("SELECT v FROM blobs WHERE id = ?")
        source = random.Random(1)
        for number, size in enumerate([0, 1, 1000, 100_000, 131_000, 131_071, 300_000, 1_000_000]):
            for value in (bytes(size), source.randbytes(size)):
                session.execute(insert, (number, value))
                assert session.execute(select, (number,)).one().v == value, size
        read = [session.execute_async(select, (number % 8,)) for number in range(64)]
        return [session.cluster.protocol_version, sum(len(one.result().one().v) for one in read)]


@check("has 512 requests in flight on one connection")
def in_flight(session):
    insert = session.prepare("INSERT INTO items (id, w) VALUES (?, ?)")
    select = session.prepare("SELECT w FROM items WHERE id = ?")
    ids = range(10_000, 10_512)
    for future in [session.execute_async(insert, (one, f"w{one}")) for one in ids]:
        future.result()
    read = [(one, session.execute_async(select, (one,))) for one in ids]
    return sum(future.result().one().w == f"w{one}" for one, future in read)


@check("opens one session after another and many at once")
def sessions(_):
    opened = [Opened() for _ in range(10)]
    seen = [rows(one.__enter__(), "SELECT w FROM items WHERE id = 10000") for one in opened]
    for one in opened:
        one.__exit__()
    return seen


@check("keeps idle connections open with heartbeats")
def idle(_):
    with Opened(idle_heartbeat_interval=1, idle_heartbeat_timeout=30) as session:
        before = {id(one) for holder in session.cluster.get_connection_holders() for one in holder.get_connections()}
        # It is the idling itself that is tested.
        time.sleep(3)
        after = {id(one) for holder in session.cluster.get_connection_holders() for one in holder.get_connections()}
        assert before and before == after, (before, after)
        return rows(session, "SELECT w FROM items WHERE id = 10000")


@check_proxy("does not notice that a cluster has forgotten a statement")
def forgotten(session):
    session.execute("CREATE TABLE forgotten (id int PRIMARY KEY, v text)")
    insert = session.prepare("INSERT INTO forgotten (id, v) VALUES (?, ?)")
    session.execute(insert, (1, "known"))
    ask("forget on target")
    session.execute(insert, (2, "forgotten by the target"))
    ask("forget on origin")
    session.execute(insert, (3, "forgotten by the origin"))
    return rows(session, "SELECT v FROM forgotten WHERE id = 3")


@check_proxy("retries what is idempotent when connections break")
def broken(session):
    insert = session.prepare("INSERT INTO items (id, w) VALUES (?, ?)")
    insert.is_idempotent = True
    ask("break origin")
    for one in range(20_000, 20_050):
        eventually("the write is taken", lambda: works(lambda: session.execute(insert, (one, "kept"))))
    return True


@check_proxy("goes on after a restart of the proxy, with the statements that it has prepared")
def restarted(session):
    insert = session.prepare("INSERT INTO items (id, w) VALUES (?, ?)")
    ask("restart proxy")
    eventually("a write works", lambda: works(lambda: session.execute(insert, (30_000, "after the restart"))))
    eventually("a read works", lambda: works(lambda: rows(session, "SELECT w FROM items WHERE id = 30000")))
    return rows(session, "SELECT w FROM items WHERE id = 30000")
