"""
Work that goes on while something is done to the proxies. Arguments: port, user, password, keyspace, row, hosts…
Each line of standard input asks for one round; the answer is a line of JSON: what went wrong, nothing if all is well.
"""

import json
import sys

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import FallthroughRetryPolicy, WhiteListRoundRobinPolicy

PORT, USERNAME, PASSWORD, KEYSPACE, ROW, *HOSTS = sys.argv[1:]
PAGE_ROWS = 7


def connect(hosts, version):
    """A session that knows no other proxies, and tells the application of every error."""
    profile = ExecutionProfile(
        request_timeout=60,
        retry_policy=FallthroughRetryPolicy(),
        load_balancing_policy=WhiteListRoundRobinPolicy(hosts),
    )
    cluster = Cluster(
        hosts,
        port=int(PORT),
        protocol_version=version,
        auth_provider=PlainTextAuthProvider(USERNAME, PASSWORD),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=60,
        control_connection_timeout=60,
    )
    session = cluster.connect(KEYSPACE)
    session.default_fetch_size = PAGE_ROWS
    return session


class Rounds:
    """Writes a row through one proxy and reads it through the other, prepared and as text, and reads a whole table."""

    def __init__(self):
        self.writer, self.reader = connect(HOSTS[:1], 4), connect(HOSTS[1:2], 5)
        self.write = self.writer.prepare("INSERT INTO items (id, version) VALUES (?, ?)")
        self.read = self.reader.prepare("SELECT version FROM items WHERE id = ?")
        self.scan = self.reader.prepare("SELECT id FROM scanned")
        self.version = 0

    def expect_version(self, rows):
        seen = [row.version for row in rows]
        if seen != [self.version]:
            raise AssertionError(f"row {ROW} has {seen} and not {self.version}, which was written before")

    def one(self, scanned_rows):
        for _ in range(5):
            self.version += 1
            self.writer.execute(self.write, (int(ROW), self.version))
            self.expect_version(self.reader.execute(self.read, (int(ROW),)))
            self.version += 1
            self.writer.execute("INSERT INTO items (id, version) VALUES (%s, %s)", (int(ROW), self.version))
            self.expect_version(self.reader.execute("SELECT version FROM items WHERE id = %s", (int(ROW),)))
        ids = {row.id for row in self.reader.execute(self.scan)}
        if len(ids) != scanned_rows:
            raise AssertionError(f"a scan found {len(ids)} of {scanned_rows} rows")


rounds = Rounds()
print(json.dumps("connected"), flush=True)
for line in sys.stdin:
    try:
        rounds.one(int(line))
        fault = None
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    print(json.dumps(fault), flush=True)
