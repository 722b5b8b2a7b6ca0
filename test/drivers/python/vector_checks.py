"""Cassandra 5.0 alone knows vectors."""

from checks import check, rows


@check("stores vectors")
def vectors(session):
    session.execute("CREATE TABLE vectors (id int PRIMARY KEY, v vector<float, 3>)")
    session.execute(session.prepare("INSERT INTO vectors (id, v) VALUES (?, ?)"), (1, [1.5, -2.0, 0.0]))
    session.execute("INSERT INTO vectors (id, v) VALUES (2, [1, 2, 3])")
    return rows(session, "SELECT * FROM vectors")
