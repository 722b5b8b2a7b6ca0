"""load-blocks.py IP: fills ks.blocks and ks.blocks_static of a node with column_index_size 1 KiB; flush between the phases.

A few partitions of some twenty index blocks each, with range deletions that lie inside a block, begin and end on the
borders of blocks, span many of them or touch one another; row deletions, a partition deletion, and static columns.
"""
import random
import sys
from cassandra.cluster import Cluster

session = Cluster([sys.argv[1]]).connect()
T = 1_700_000_000_000_000

DDL = [
    "CREATE KEYSPACE IF NOT EXISTS ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE IF NOT EXISTS ks.blocks (pk int, c1 int, c2 text, v text, PRIMARY KEY (pk, c1, c2))"
    " WITH CLUSTERING ORDER BY (c1 DESC, c2 ASC) AND compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}"
    " AND compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 4}",
    "CREATE TABLE IF NOT EXISTS ks.blocks_static (pk text, ck decimal, s text static, l list<int> static, v text, m map<int, text>,"
    " PRIMARY KEY (pk, ck)) WITH compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}"
    " AND compression = {'enabled': 'false'}",
]
if sys.argv[2] == 'ddl':
    for ddl in DDL:
        session.execute(ddl)
    sys.exit()
phase = int(sys.argv[2])
rnd = random.Random(phase)
ts = lambda: f'USING TIMESTAMP {T + phase * 1000 + rnd.randrange(900)}'
x = session.execute
for pk in range(4):
    for i in range(420 if phase == 1 else 60):
        c1 = rnd.randrange(-30, 30)
        x(f"INSERT INTO ks.blocks (pk, c1, c2, v) VALUES ({pk}, {c1}, '{'k' * rnd.randrange(30)}{i:03}', '{'x' * rnd.randrange(60)}') {ts()}")
        x(f"UPDATE ks.blocks_static {ts()} SET v = 'v{i}', m = m + {{{i % 3}: '{'m' * rnd.randrange(40)}'}} WHERE pk = 'p{pk}' AND ck = {rnd.randrange(500)}.{i:03}")
    x(f"UPDATE ks.blocks_static {ts()} SET s = '{'s' * (900 if pk == 1 else 20)}{phase}', l = [1, 2, {phase}] WHERE pk = 'p{pk}'")
    for _ in range(10):
        a = rnd.randrange(-30, 30)
        x(f"DELETE FROM ks.blocks {ts()} WHERE pk = {pk} AND c1 = {a}")
        b = a + rnd.randrange(1, 12)
        x(f"DELETE FROM ks.blocks {ts()} WHERE pk = {pk} AND c1 >= {a} AND c1 < {b}")
        x(f"DELETE FROM ks.blocks {ts()} WHERE pk = {pk} AND c1 = {b} AND c2 > '{'k' * rnd.randrange(20)}'")
        low = rnd.randrange(500)
        x(f"DELETE FROM ks.blocks_static {ts()} WHERE pk = 'p{pk}' AND ck > {low} AND ck <= {low + rnd.randrange(1, 100)}")
        x(f"DELETE FROM ks.blocks_static {ts()} WHERE pk = 'p{pk}' AND ck = {rnd.randrange(500)}.{rnd.randrange(400):03}")
if phase == 2:
    x(f"DELETE FROM ks.blocks USING TIMESTAMP {T + 1500} WHERE pk = 2")
    x(f"DELETE FROM ks.blocks_static USING TIMESTAMP {T + 1500} WHERE pk = 'p3'")
if phase == 3:
    x(f"DELETE FROM ks.blocks USING TIMESTAMP {T + 2500} WHERE pk = 0 AND c1 > -20")
    x(f"DELETE FROM ks.blocks USING TIMESTAMP {T + 2600} WHERE pk = 3 AND c1 < 20")
