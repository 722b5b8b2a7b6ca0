"""Keyspaces, definitions, what the driver knows of them and when it hears of changes."""

from checks import KEYSPACE, Opened, check, check_proxy, eventually, rows


def known(session):
    return session.cluster.metadata.keyspaces[KEYSPACE]


@check("describes keyspace, tables and types")
def describes(session):
    session.cluster.refresh_schema_metadata()
    keyspace = known(session)
    seen = [keyspace.user_types["address"].as_cql_query()]
    for name in ["kinds", "rows_of", "counts", "lwt_items"]:
        table = keyspace.tables[name]
        seen.append([[one.name for one in table.primary_key], {one.name: one.cql_type for one in table.columns.values()}])
    return [*seen, keyspace.as_cql_query()]


@check("knows what it has just defined")
def just_defined(session):
    session.execute("CREATE TABLE defined (id int PRIMARY KEY, v text)")
    assert "defined" in known(session).tables
    session.execute("CREATE INDEX defined_v ON defined (v)")
    session.execute("ALTER TABLE defined ADD more set<text>")
    session.execute("CREATE TYPE defined_type (a int)")
    session.execute("ALTER TYPE defined_type ADD b text")
    table = known(session).tables["defined"]
    seen = [list(table.columns), list(table.indexes), known(session).user_types["defined_type"].field_names]
    session.execute("DROP TABLE defined")
    session.execute("DROP TYPE defined_type")
    assert "defined" not in known(session).tables and "defined_type" not in known(session).user_types
    return seen


@check("hears of definitions by another session")
def hears(session):
    with Opened() as other:
        other.execute("CREATE TABLE elsewhere (id int PRIMARY KEY, v text)")
        eventually("the table is known", lambda: "elsewhere" in known(session).tables)
        other.execute("ALTER TABLE elsewhere ADD w text")
        eventually("the column is known", lambda: "w" in known(session).tables["elsewhere"].columns)
        other.execute("DROP TABLE elsewhere")
        eventually("the table is gone", lambda: "elsewhere" not in known(session).tables)
    return True


@check_proxy("uses what it has just defined, again and again")
def at_once(session):
    for number in range(10):
        session.execute(f"CREATE TABLE at_once_{number} (id int PRIMARY KEY, v text)")
        session.execute(session.prepare(f"INSERT INTO at_once_{number} (id, v) VALUES (?, ?)"), (number, "used"))
        assert rows(session, f"SELECT v FROM at_once_{number}") == ["('used',)"]
    return True


@check("follows a change of a table with prepared statements")
def changes(session):
    session.execute("CREATE TABLE changing (id int PRIMARY KEY, v text)")
    select = session.prepare("SELECT id, v FROM changing")
    insert = session.prepare("INSERT INTO changing (id, v) VALUES (?, ?)")
    session.execute(insert, (1, "before"))
    seen = [rows(session, select)]
    session.execute("ALTER TABLE changing ADD a text")
    session.execute(insert, (2, "after"))
    session.execute("UPDATE changing SET a = 'new' WHERE id = 2")
    seen.append(rows(session, select))
    fresh = session.prepare("SELECT * FROM changing")
    seen.append(rows(session, fresh))
    with Opened() as other:
        other.execute("ALTER TABLE changing ADD b int")
        other.execute("UPDATE changing SET b = 7 WHERE id = 1")
    session.execute(insert, (3, "last"))
    seen.append(rows(session, select))
    seen.append(rows(session, "SELECT * FROM changing"))
    return seen


@check("works on after a table was dropped and made again")
def remade(session):
    session.execute("CREATE TABLE remade (id int PRIMARY KEY, v text)")
    insert = session.prepare("INSERT INTO remade (id, v) VALUES (?, ?)")
    session.execute(insert, (1, "first"))
    session.execute("DROP TABLE remade")
    session.execute("CREATE TABLE remade (id int PRIMARY KEY, v text)")
    session.execute(insert, (2, "second"))
    session.execute("TRUNCATE remade")
    session.execute(insert, (4, "fourth"))
    return rows(session, "SELECT * FROM remade")


@check("keeps the keyspaces of sessions apart")
def keyspaces(session):
    cql = "INSERT INTO same_name (id, v) VALUES (?, ?)"
    with Opened(KEYSPACE + "_2") as second, Opened(None) as none:
        for one in (session, second):
            one.execute("CREATE TABLE same_name (id int PRIMARY KEY, v text)")
        session.execute(session.prepare(cql), (1, "first keyspace"))
        second.execute(second.prepare(cql), (2, "second keyspace"))
        none.set_keyspace(KEYSPACE + "_2")
        none.execute(none.prepare(cql), (3, "after set_keyspace"))
        none.execute(f"USE {KEYSPACE}")
        none.execute("INSERT INTO same_name (id, v) VALUES (4, 'after USE')")
        return [none.keyspace, *[rows(one, "SELECT * FROM same_name") for one in (session, second)]]


@check("takes quoted names")
def quoted(session):
    session.execute('CREATE TABLE "MixedCase" ("Id" int PRIMARY KEY, "now()" text)')
    session.execute(session.prepare('INSERT INTO "MixedCase" ("Id", "now()") VALUES (?, ?)'), (1, "x"))
    return rows(session, 'SELECT * FROM "MixedCase"')
