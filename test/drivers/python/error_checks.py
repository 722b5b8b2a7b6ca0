"""Errors come as the driver's own exceptions, with what the server says."""

from cassandra import ConsistencyLevel, ReadTimeout, Unavailable, WriteTimeout
from cassandra.cluster import NoHostAvailable
from cassandra.policies import FallthroughRetryPolicy
from cassandra.query import BatchStatement, SimpleStatement

from checks import KEYSPACE, Opened, ask, check, check_proxy, describe, eventually, failure, rows, works


@check("gets the server's errors as its own exceptions")
def errors(session):
    seen = []
    for cql in [
        "SELEC",
        "SELECT nothing FROM items",
        "SELECT * FROM no_such_table",
        "SELECT * FROM items WHERE v = 'x'",
        "INSERT INTO items (id, v) VALUES ('text', 'x')",
        "INSERT INTO no_such_table (id) VALUES (1)",
        "UPDATE counts SET c = 1 WHERE id = 1",
        "CREATE TABLE items (id int PRIMARY KEY)",
        f"CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
        "CREATE KEYSPACE bad_one WITH replication = {'class': 'NoSuchStrategy'}",
        "CREATE TABLE bad_one (id int)",
        "DROP TABLE no_such_table",
        "INSERT INTO items (id, v) VALUES (1, no_such_function())",
    ]:
        seen.append([cql, failure(lambda: session.execute(cql))])
    for cql in ["SELEC", "SELECT nothing FROM items", "INSERT INTO no_such_table (id) VALUES (?)"]:
        seen.append(["prepare", cql, failure(lambda: session.prepare(cql))])
    large = BatchStatement()
    large.add(session.prepare("INSERT INTO items (id, v) VALUES (?, ?)"), (1, "x" * 100_000))
    seen.append(["large batch", failure(lambda: session.execute(large))])
    seen.append(["USE", failure(lambda: session.execute("USE no_such_keyspace"))])
    return seen


@check("is refused a function whose type does not fit")
def misfits(session):
    cql = "INSERT INTO items (id, v) VALUES (1, now())"
    # The words may differ, since the server sees a value.
    return [failure(lambda: session.execute(cql)).split(":")[0], failure(lambda: session.prepare(cql)).split(":")[0]]


@check("is told when too few replicas are alive")
def unavailable(session):
    seen = []
    for cql in ["SELECT * FROM items WHERE id = 1", "INSERT INTO items (id, v) VALUES (1, 'x')"]:
        try:
            session.execute(SimpleStatement(cql, consistency_level=ConsistencyLevel.THREE))
            seen.append("done")
        except NoHostAvailable as failure_of_all:
            # The driver tries each node in turn.
            (error,) = failure_of_all.errors.values()
            assert isinstance(error, Unavailable), error
            seen.append([error.consistency, error.required_replicas, error.alive_replicas])
    return seen


@check("is refused what its role may not do")
def refused(session):
    with Opened(username="driver_reader", password="reader") as reader:
        seen = [failure(lambda: list(reader.execute("SELECT * FROM items WHERE id = 1")))]
        for cql in ["INSERT INTO items (id, v) VALUES (1000, 'forbidden')", "TRUNCATE items", "CREATE TABLE forbidden (id int PRIMARY KEY)",
                    "SELECT * FROM system_auth.roles", "CREATE ROLE intruder"]:  # fmt: skip
            seen.append([cql, failure(lambda: reader.execute(cql))])
        seen.append(["prepared", failure(lambda: reader.execute(reader.prepare("INSERT INTO items (id, v) VALUES (?, ?)"), (1000, "forbidden")))])
    return [*seen, rows(session, "SELECT * FROM items WHERE id = 1000")]


@check("is refused with a wrong password")
def wrong_password(_):
    try:
        with Opened(password="wrong"):
            return "logged in"
    except NoHostAvailable as error:
        (cause,) = error.errors.values()
        return [type(cause).__name__, "incorrect" in str(cause)]


@check_proxy("gets time-outs as its own exceptions when a cluster falls silent")
def time_outs(session):
    select = session.prepare("SELECT * FROM items WHERE id = ?")
    insert = session.prepare("INSERT INTO items (id, v) VALUES (?, ?)")
    batch = BatchStatement()
    batch.add(insert, (2001, "x"))
    statements = [select.bind((1,)), SimpleStatement("SELECT * FROM items WHERE id = 1"), insert.bind((2000, "x")), batch]
    for one in statements:
        one.retry_policy = FallthroughRetryPolicy()
    ask("mute origin")
    pending = [session.execute_async(one) for one in statements]
    seen = []
    for future, expected in zip(pending, [ReadTimeout, ReadTimeout, WriteTimeout, WriteTimeout]):
        try:
            future.result()
            seen.append("done")
        except expected:
            pass
        except Exception as error:
            seen.append(describe(error))
    ask("unmute origin")
    assert seen == [], seen
    eventually("reads work again", lambda: works(lambda: session.execute(select, (1,))))
    return True
