"""Functions that yield something else each time: what a client sees of such statements does not show where they run."""

from cassandra.query import BatchStatement

from checks import check, describe, markers, rows

IN_EACH_PLACE = {
    "INSERT INTO moments (id, ts) VALUES (?, now())": (1,),
    "INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)": (2, "middle"),
    "INSERT INTO moments (ts, id, v) VALUES (now(), ?, ?)": (3, "first"),
    "INSERT INTO moments (id, ts, v) VALUES (:id, now(), :name)": {"id": 4, "name": "named"},
    "INSERT INTO moments (id, ts, v) VALUES (:zid, now(), :zz)": {"zid": 5, "zz": "named late"},
    "INSERT INTO moments (id, ts, v) VALUES (?, system.now(), 'literal')": (6,),
    "UPDATE moments USING TTL ? SET v = ? WHERE id = ? AND ts = now()": (1000, "where", 7),
    "INSERT INTO moments (id, ts, v) VALUES (8, now(), 'no marker')": (),
    "INSERT INTO pairs (b, a, v) VALUES (now(), ?, ?)": (1, "composite"),
    "INSERT INTO pairs (a, b, v) VALUES (?, uuid(), ?)": (2, "composite"),
}

NESTED = {
    "INSERT INTO stamps (id, t, u, v) VALUES (?, toTimestamp(now()), uuid(), ?)": (1, "a"),
    "INSERT INTO stamps (id, d, ti, tu) VALUES (?, currentDate(), currentTime(), currentTimeUUID())": (2,),
    "INSERT INTO stamps (t, id, b) VALUES (currentTimestamp(), :id, toUnixTimestamp(now()))": {"id": 3},
    "UPDATE stamps SET u = uuid(), v = ?, d = toDate(now()) WHERE id = ?": ("set", 4),
    "UPDATE stamps SET tup = (?, now()) WHERE id = ?": (1, 5),
    "UPDATE stamps SET m[?] = now() WHERE id = ?": ("key", 6),
    "BEGIN BATCH INSERT INTO stamps (id, u) VALUES (?, uuid()); INSERT INTO stamps (id, tu, v) VALUES (?, now(), ?); APPLY BATCH": (7, 8, "batch"),
}


def run(session, shapes):
    seen = []
    for cql, values in shapes.items():
        try:
            prepared = session.prepare(cql)
            session.execute(prepared, values)
            seen.append([cql, markers(prepared), prepared.routing_key_indexes])
        except Exception as error:
            raise AssertionError(f"{cql}: {describe(error)}") from error
    return seen


@check("prepares now() in each place")
def in_each_place(session):
    session.execute("CREATE TABLE moments (id int, ts timeuuid, v text, PRIMARY KEY (id, ts))")
    session.execute("CREATE TABLE pairs (a int, b uuid, v text, PRIMARY KEY ((a, b)))")
    seen = run(session, IN_EACH_PLACE)
    return [*seen, *rows(session, "SELECT id, v FROM moments"), len(rows(session, "SELECT * FROM pairs"))]


@check("prepares nested and other functions")
def nested(session):
    session.execute(
        "CREATE TABLE stamps (id int PRIMARY KEY, t timestamp, d date, ti time, u uuid, tu timeuuid, b bigint, v text,"
        " l list<timeuuid>, m map<text, timeuuid>, tup tuple<int, timeuuid>)"
    )
    seen = run(session, NESTED)
    return [*seen, *rows(session, "SELECT id, v FROM stamps"), *rows(session, "SELECT count(t), count(u), count(tu) FROM stamps")]


@check("prepares functions inside of collections")
def in_collections(session):
    session.execute("CREATE TABLE recorded_stamps (id int PRIMARY KEY, l list<timeuuid>, m map<text, timeuuid>, v text)")
    seen = run(session, {"UPDATE recorded_stamps SET l = [now(), now()], m = {'k': now()}, v = ? WHERE id = ?": ("a", 5)})
    return [*seen, *rows(session, "SELECT id, v FROM recorded_stamps")]


@check("evaluates functions in texts and batches")
def in_texts(session):
    session.execute("INSERT INTO moments (id, ts, v) VALUES (20, now(), 'now() in a text')")
    session.execute("INSERT INTO moments (id, ts, v) VALUES (%s, now(), %s)", (21, "values"))
    session.execute("INSERT INTO stamps (id, t, u) VALUES (20, toTimestamp(now()), uuid())")
    session.execute("BEGIN BATCH INSERT INTO moments (id, ts) VALUES (23, now()); INSERT INTO stamps (id, u) VALUES (23, uuid()) APPLY BATCH")
    insert = session.prepare("INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)")
    batch = BatchStatement()
    batch.add(insert, (24, "prepared"))
    batch.add(insert, (24, "again"))
    batch.add("INSERT INTO moments (id, ts, v) VALUES (24, now(), 'text')")
    session.execute(batch)
    return [*rows(session, "SELECT id, v FROM moments WHERE id IN (20, 21, 23)"), len(rows(session, "SELECT * FROM moments WHERE id = 24"))]


@check("reads with functions")
def reads(session):
    recent = session.prepare("SELECT id, v FROM moments WHERE id = ? AND ts < now() AND ts > minTimeuuid(?)")
    assert len(list(session.execute(recent, (1, 0)))) == 1
    assert session.execute("SELECT now(), uuid() FROM system.local").one()[0].version == 1
    return markers(recent)
