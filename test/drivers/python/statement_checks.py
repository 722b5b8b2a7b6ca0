"""Values, markers, batches, pages, conditions, times, traces."""

import datetime
import time
import uuid
from collections import namedtuple
from decimal import Decimal

from cassandra import ConsistencyLevel
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, SimpleStatement
from cassandra.util import Date, Duration, Time

from checks import VERSION, Opened, check, markers, results, rows

Address = namedtuple("Address", "street zip tags")


@check("defines its tables")
def tables(session):
    for statement in [
        "CREATE TYPE address (street text, zip int, tags frozen<set<text>>)",
        "CREATE TABLE kinds (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, da date, de decimal, d double,"
        " du duration, f float, i inet, n int, s smallint, t text, ti time, ts timestamp, tu timeuuid, ty tinyint,"
        " u uuid, vc varchar, vi varint, l list<text>, se set<int>, m map<text, bigint>,"
        " fl frozen<list<frozen<map<int, text>>>>, tup tuple<int, text, double>, ad frozen<address>, op address)",
        "CREATE TABLE items (id int PRIMARY KEY, v text, w text, n int)",
        "CREATE TABLE rows_of (p int, c int, v text, PRIMARY KEY (p, c))",
        "CREATE TABLE counts (id int PRIMARY KEY, c counter, d counter)",
        "CREATE TABLE lwt_items (id int, c int, v text, s text static, PRIMARY KEY (id, c))",
    ]:
        session.execute(statement)
    return True


@check("stores every type with a prepared statement")
def every_type(session):
    home = Address("Main Street", 4711, {"x"})
    insert = session.prepare(
        "INSERT INTO kinds (id, a, b, bl, bo, da, de, d, du, f, i, n, s, t, ti, ts, tu, ty, u, vc, vi, l, se, m, fl, tup, ad, op)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    for number, inet in [(1, "10.1.2.3"), (2, "2001:db8::1")]:
        values = [
            number, "ascii", -(2**63), b"\x00\x01\xff", True, Date(-16000), Decimal("-123456789.000000000000000001"), 5e-324,
            Duration(1, 2, 3_000_000_004), 1.5, inet, -(2**31), 2**15 - 1, "text \u00e4\u20ac\U0001f600", Time(86_399_999_999_999),
            datetime.datetime(1969, 12, 31, 23, 59, 59, 999_000), uuid.UUID("50554d6e-29bb-11e5-b345-feff819cdc9f"), -128,
            uuid.UUID("f81d4fae-7dec-41d0-a765-00a0c91e6bf6"), "varchar", -(2**127) - 1, ["b", "a", "b"], {3, 1, 2}, {"k": 1},
            [{1: "one"}], (1, "two", 3.5), home, home,
        ]  # fmt: skip
        session.execute(insert, values)
    read = session.execute(session.prepare("SELECT * FROM kinds WHERE id = ?"), (1,)).one()
    assert read.ad.zip == 4711 and read.tup[1] == "two" and read.du == Duration(1, 2, 3_000_000_004)
    return [*rows(session, "SELECT * FROM kinds"), repr(tuple(read))]


@check("tells null, unset and empty values apart")
def null_and_unset(session):
    insert = session.prepare("INSERT INTO items (id, v, w, n) VALUES (?, ?, ?, ?)")
    session.execute(insert, (1, "v", "w", 1))
    session.execute(insert, (1, "v2", UNSET_VALUE, UNSET_VALUE))
    session.execute(insert, (1, "v3"))
    session.execute(insert, (2, "v", "w", 1))
    session.execute(insert, (2, None, "w2", 2))
    session.execute(insert, (3, "", "w", None))
    return rows(session, "SELECT * FROM items WHERE id IN (1, 2, 3)")


@check("binds values by position and by name")
def binds(session):
    seen = []
    for cql in [
        "INSERT INTO items (v, n, id) VALUES (:v, :n, :id)",
        "UPDATE items SET v = :x, w = :x WHERE id = :id",
        'UPDATE items USING TTL :life SET v = :v WHERE id = :"Id"',
        "SELECT v FROM items WHERE id IN ?",
        "SELECT v FROM items WHERE id = :id LIMIT :most",
        "SELECT * FROM rows_of WHERE p = ? AND (c) > (?) AND c <= ?",
        "DELETE v FROM items USING TIMESTAMP ? WHERE id = ?",
    ]:
        prepared = session.prepare(cql)
        seen.append([cql, markers(prepared), prepared.routing_key_indexes, results(prepared)])
    session.execute(session.prepare("INSERT INTO items (v, n, id) VALUES (:v, :n, :id)"), {"id": 11, "v": "name", "n": 2})
    session.execute(session.prepare("UPDATE items SET v = ?, w = ? WHERE id = ?"), ["position", "w", 12])
    session.execute("INSERT INTO items (id, v) VALUES (%s, %s)", (13, "it's; -- no comment"))
    session.execute("INSERT INTO items (id, v) VALUES (%(id)s, %(v)s)", {"id": 14, "v": "by name"})
    session.execute("INSERT INTO items (id, v) VALUES (15, $$it's$$) /* ? */ -- ?\n")
    return [*seen, *rows(session, "SELECT * FROM items WHERE id IN (11, 12, 13, 14, 15)")]


@check("runs batches of all kinds")
def batches(session):
    insert = session.prepare("INSERT INTO rows_of (p, c, v) VALUES (?, ?, ?)")
    named = session.prepare("UPDATE rows_of SET v = :v WHERE p = :p AND c = :c")
    logged = BatchStatement()
    logged.add(insert, (1, 1, "prepared"))
    logged.add("INSERT INTO rows_of (p, c, v) VALUES (1, 2, 'text')")
    logged.add(SimpleStatement("INSERT INTO rows_of (p, c, v) VALUES (%s, %s, %s)"), (1, 3, "text with values"))
    logged.add(named, {"p": 1, "c": 4, "v": "named"})
    logged.add(insert, (1, 5, UNSET_VALUE))
    session.execute(logged)
    unlogged = BatchStatement(batch_type=BatchType.UNLOGGED)
    unlogged.add(insert, (2, 1, "one partition"))
    unlogged.add(insert, (2, 2, None))
    session.execute(unlogged)
    session.execute(BatchStatement())
    session.execute("BEGIN BATCH INSERT INTO rows_of (p, c, v) VALUES (4, 1, 'text'); DELETE FROM rows_of WHERE p = 2 AND c = 2 APPLY BATCH")
    whole = session.prepare("BEGIN UNLOGGED BATCH USING TIMESTAMP ? INSERT INTO rows_of (p, c, v) VALUES (?, ?, ?); UPDATE rows_of SET v = ? WHERE p = ? AND c = ?; APPLY BATCH")
    session.execute(whole, (2_000_000, 5, 1, "a", "b", 5, 2))
    return [*rows(session, "SELECT p, c, v FROM rows_of"), *rows(session, "SELECT writetime(v) FROM rows_of WHERE p = 5"), whole.routing_key_indexes]


@check("counts with counters")
def counters(session):
    add = session.prepare("UPDATE counts SET c = c + ? WHERE id = ?")
    for _ in range(10):
        session.execute(add, (2, 1))
    session.execute("UPDATE counts SET c = c - 5, d = d + 1 WHERE id = 1")
    batch = BatchStatement(batch_type=BatchType.COUNTER)
    batch.add(add, (7, 2))
    batch.add("UPDATE counts SET d = d + 3 WHERE id = 2")
    session.execute(batch)
    return rows(session, "SELECT * FROM counts")


@check("reads page by page and resumes from a saved state")
def paging(session):
    insert = session.prepare("INSERT INTO rows_of (p, c, v) VALUES (100, ?, ?)")
    for c in range(100):
        session.execute(insert, (c, f"row {c}"))
    seen = []
    select = session.prepare("SELECT c FROM rows_of WHERE p = ?")
    select.fetch_size = 7
    seen.append([row.c for row in session.execute(SimpleStatement("SELECT c FROM rows_of WHERE p = 100", fetch_size=7))])
    seen.append([row.c for row in session.execute(select, (100,))])
    first = session.execute(select, (100,))
    assert first.has_more_pages and len(first.current_rows) == 7
    state = bytes(first.paging_state)
    seen.append([row.c for row in session.execute(select, (100,), paging_state=state)])
    with Opened() as other:
        again = other.prepare("SELECT c FROM rows_of WHERE p = ?")
        again.fetch_size = 10
        seen.append([row.c for row in other.execute(again, (100,), paging_state=state)])
    pages = 1
    while first.has_more_pages:
        first.fetch_next_page()
        pages += 1
    return [*seen, pages]


@check("runs conditional writes")
def conditional(session):
    insert = session.prepare("INSERT INTO lwt_items (id, c, v) VALUES (?, ?, ?) IF NOT EXISTS")
    batch = BatchStatement()
    batch.add(insert, (2, 1, "batch"))
    batch.add("INSERT INTO lwt_items (id, c, v) VALUES (2, 2, 'same partition')")
    seen = []
    for statement in [
        insert.bind((1, 1, "first")),
        insert.bind((1, 1, "second")),
        "UPDATE lwt_items SET v = 'third' WHERE id = 1 AND c = 1 IF v = 'first'",
        "UPDATE lwt_items SET v = 'fourth' WHERE id = 1 AND c = 1 IF v = 'nothing'",
        "UPDATE lwt_items SET v = 'fifth' WHERE id = 9 AND c = 9 IF EXISTS",
        "UPDATE lwt_items SET s = 'static' WHERE id = 1 IF s = null",
        "DELETE FROM lwt_items WHERE id = 1 AND c = 1 IF v IN ('third')",
        batch,
        batch,
    ]:
        result = session.execute(statement)
        seen.append([result.was_applied, result.column_names, [repr(row) for row in result.current_rows]])
    serial = SimpleStatement("SELECT * FROM lwt_items WHERE id = 2", consistency_level=ConsistencyLevel.LOCAL_SERIAL)
    return [*seen, *rows(session, serial)]


@check("writes and reads JSON")
def json_rows(session):
    session.execute("""INSERT INTO items JSON '{"id": 30, "v": "json"}'""")
    session.execute(session.prepare("INSERT INTO items JSON ? DEFAULT UNSET"), ('{"id": 31, "w": "prepared"}',))
    return rows(session, "SELECT JSON * FROM items WHERE id IN (30, 31)")


@check("keeps the timestamps of the application")
def timestamps(session):
    session.execute("INSERT INTO items (id, v) VALUES (40, 'text') USING TIMESTAMP 4000")
    session.execute(session.prepare("INSERT INTO items (id, v) VALUES (?, ?) USING TIMESTAMP ?"), (42, "marker", 6000))
    before = time.time_ns() // 1000
    session.execute("INSERT INTO items (id, v) VALUES (44, 'generator')")
    written = session.execute("SELECT writetime(v) FROM items WHERE id = 44").one()[0]
    assert before <= written <= time.time_ns() // 1000 + 1000
    return rows(session, "SELECT id, v, writetime(v) FROM items WHERE id IN (40, 42)")


@check("writes without timestamps of its own")
def server_timestamps(_):
    with Opened() as session:
        session.use_client_timestamp = False
        insert = session.prepare("INSERT INTO items (id, v, w) VALUES (?, ?, ?)")
        batch = BatchStatement()
        for number in range(50, 60):
            session.execute(insert, (number, "prepared", "w"))
            session.execute(f"UPDATE items SET w = 'text' WHERE id = {number}")
            batch.add(insert, (number + 10, "batch", "w"))
        session.execute(batch)
        session.execute("DELETE v FROM items WHERE id = 50")
        session.execute("DELETE FROM items WHERE id = 51")
        return rows(session, "SELECT id, v, w FROM items WHERE id IN (50, 51, 52, 59, 60, 69)")


@check("reads the trace of a query")
def tracing(session):
    insert = session.prepare("INSERT INTO items (id, v) VALUES (?, ?)")
    batch = BatchStatement()
    batch.add(insert, (71, "traced"))
    seen = []
    for statement in [SimpleStatement("SELECT * FROM items WHERE id = 1"), insert.bind((70, "traced")), batch]:
        trace = session.execute(statement, trace=True).get_query_trace(max_wait_sec=30)
        assert trace.events and trace.duration is not None
        seen.append([trace.request_type, trace.parameters.get("query")])
    return seen


@check("gets the warnings of the server")
def warnings(session):
    insert = session.prepare("INSERT INTO items (id, v) VALUES (?, ?)")
    wide = BatchStatement(batch_type=BatchType.UNLOGGED)
    for number in range(80, 95):
        wide.add(insert, (number, "wide"))
    seen = []
    for statement in ["SELECT count(*) FROM items", session.prepare("SELECT max(n) FROM items").bind(()), wide]:
        future = session.execute_async(statement)
        future.result()
        seen.append([one[:40] for one in future.warnings or []])
    return seen


@check("sends a custom payload")
def payload(session):
    insert = session.prepare("INSERT INTO items (id, v) VALUES (?, ?)", custom_payload={"tag": b"value"})
    sent = {"custom_payload": {"tag": b"value", "empty": b""}}
    session.execute(insert, (100, "prepared"), **sent)
    session.execute("INSERT INTO items (id, v) VALUES (101, 'text')", **sent)
    batch = BatchStatement()
    batch.add(insert, (102, "batch"))
    session.execute(batch, **sent)
    future = session.execute_async("SELECT id, v FROM items WHERE id IN (100, 101, 102)", **sent)
    return [[repr(row) for row in future.result()], future.custom_payload]


@check("uses each consistency level")
def levels(session):
    seen = []
    for level, name in ConsistencyLevel.value_to_name.items():
        for cql in ["INSERT INTO items (id, v) VALUES (110, 'level')", "SELECT v FROM items WHERE id = 110"]:
            try:
                session.execute(SimpleStatement(cql, consistency_level=level))
                outcome = "done"
            except Exception as error:
                outcome = type(error).__name__
            seen.append([name, cql[:6], outcome])
    return seen


@check("has time to live")
def time_to_live(session):
    session.execute(session.prepare("INSERT INTO items (id, v) VALUES (?, ?) USING TTL ?"), (120, "lives", 1000))
    assert 900 < session.execute("SELECT ttl(v) FROM items WHERE id = 120").one()[0] <= 1000
    return True


@check("names a keyspace with a single statement")
def keyspace_of_statement(session):
    if VERSION < 5:
        return "v5 only"
    second = session.keyspace + "_2"
    session.execute(f"CREATE TABLE {second}.single (id int PRIMARY KEY, v text)")
    session.execute(SimpleStatement("INSERT INTO single (id, v) VALUES (1, 'by statement')", keyspace=second))
    prepared = session.prepare("INSERT INTO single (id, v) VALUES (?, ?)", keyspace=second)
    session.execute(prepared, (2, "by prepared statement"))
    batch = BatchStatement()
    batch.keyspace = second
    batch.add(SimpleStatement("INSERT INTO single (id, v) VALUES (3, 'by batch')", keyspace=second))
    session.execute(batch)
    return rows(session, SimpleStatement("SELECT * FROM single", keyspace=second))
