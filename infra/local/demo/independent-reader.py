"""Compares both clusters row by row with the Python driver, which shares no code with this project.

Reads a request as JSON from stdin: the two clusters, the log-in, the tables, and per table what stays on the origin by
the filter rules. Values, write times (to the microsecond) and remaining TTLs (within two seconds) must be equal;
multi-cell columns are compared by value here, because CQL of Cassandra 4.1 does not tell their write times. While
writes go on, a row may differ for a moment: a differing row is read again, on both sides, until it is equal or has
had its chances. Prints one JSON document.
"""
import json
import logging
import sys
import time

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement, tuple_factory

logging.disable(logging.CRITICAL)
TTL_TOLERANCE_SECONDS = 2
CHANCES = 12
PAUSE_SECONDS = 0.4
MOST_READ_AGAIN = 500


def connect(side, request):
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([side["host"]]), row_factory=tuple_factory, request_timeout=60
    )
    cluster = Cluster(
        [side["host"]],
        port=side["port"],
        auth_provider=PlainTextAuthProvider(request["username"], request["password"]),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=4,
    )
    return cluster, cluster.connect()


def is_multi_cell(column, user_types):
    kind = column.cql_type
    if kind.startswith("frozen<"):
        return False
    return kind.startswith(("set<", "list<", "map<")) or kind in user_types


class Table:
    """What to select of a table and how its rows are named."""

    def __init__(self, session, cluster, name):
        self.session = session
        keyspace, table = name.split(".")
        keyspace_meta = cluster.metadata.keyspaces[keyspace]
        meta = keyspace_meta.tables[table]
        self.name = name
        self.partition = [column.name for column in meta.partition_key]
        self.key = self.partition + [column.name for column in meta.clustering_key]
        rest = [column for name, column in meta.columns.items() if name not in self.key]
        self.statics = {column.name for column in rest if column.is_static}
        self.timed = [c.name for c in rest if not is_multi_cell(c, keyspace_meta.user_types)]
        self.values = [column.name for column in rest]
        times = ["writetime(%s)" % c for c in self.timed] + ["ttl(%s)" % c for c in self.timed]
        self.query = "SELECT %s FROM %s" % (", ".join(self.key + self.values + times), name)
        self.prepared = {}

    def split(self, row):
        """(key, values and write times, TTLs)"""
        keys = len(self.key)
        untimed = keys + len(self.values) + len(self.timed)
        return row[:keys], row[keys:untimed], row[untimed:]

    def all(self):
        result = {}
        for row in self.session.execute(SimpleStatement(self.query, fetch_size=2000)):
            key, values, ttls = self.split(row)
            result[key] = (values, ttls)
        return result

    def one(self, key):
        # A partition with static values alone has one row without clustering.
        names = self.key if None not in key else self.partition
        where = " AND ".join("%s = ?" % name for name in names)
        if where not in self.prepared:
            self.prepared[where] = self.session.prepare("%s WHERE %s" % (self.query, where))
        rows = list(self.session.execute(self.prepared[where], key[: len(names)]))
        for row in rows:
            found, values, ttls = self.split(row)
            if found == key:
                return values, ttls
        return None


def equal(mine, theirs):
    if mine is None or theirs is None:
        return mine is theirs
    if mine[0] != theirs[0]:
        return False
    for a, b in zip(mine[1], theirs[1]):
        if (a is None) != (b is None):
            return False
        if a is not None and abs(a - b) > TTL_TOLERANCE_SECONDS:
            return False
    return True


def describe(table, key, mine, theirs):
    differing = []
    if mine is None:
        differing = ["the row is on the target only"]
    elif theirs is None:
        differing = ["the row is on the origin only"]
    else:
        names = table.values + ["writetime(%s)" % name for name in table.timed]
        for name, a, b in zip(names, mine[0], theirs[0]):
            if a != b:
                differing.append("%s: %r on the origin, %r on the target" % (name, a, b))
        for name, a, b in zip(table.timed, mine[1], theirs[1]):
            if (a is None) != (b is None) or (a is not None and abs(a - b) > TTL_TOLERANCE_SECONDS):
                differing.append("ttl(%s): %r on the origin, %r on the target" % (name, a, b))
    return {"key": [str(part) for part in key], "differences": differing}


def compare(name, origin, target, filtered):
    mine, theirs = Table(origin[1], origin[0], name), Table(target[1], target[0], name)
    origin_rows, target_rows = mine.all(), theirs.all()
    is_filtered = lambda key: False
    if filtered:
        position = mine.key.index(filtered["column"])
        is_filtered = lambda key: str(key[position]) in filtered["values"]
    leaked = [key for key in target_rows if is_filtered(key)]
    excluded = [key for key in origin_rows if is_filtered(key)]
    for key in excluded:
        del origin_rows[key]
    suspects = [
        key
        for key in origin_rows.keys() | target_rows.keys()
        if not equal(origin_rows.get(key), target_rows.get(key))
    ]
    left = suspects
    # That many are no writes on their way; reading a sample again shows it soon enough.
    if len(left) > MOST_READ_AGAIN:
        left = left[:MOST_READ_AGAIN]
    for _ in range(CHANCES if len(suspects) <= MOST_READ_AGAIN else 1):
        left = [key for key in left if not equal(mine.one(key), theirs.one(key))]
        if not left:
            break
        time.sleep(PAUSE_SECONDS)
    return {
        "table": name,
        "rows": len(origin_rows),
        "partitions": len({key[: len(mine.partition)] for key in origin_rows}),
        "cells": sum(value is not None for values, _ in origin_rows.values() for value in values[: len(mine.values)]),
        "expiring": sum(any(ttl is not None for ttl in ttls) for _, ttls in origin_rows.values()),
        "readAgain": len(suspects),
        "filteredRows": len(excluded),
        "filteredOnTarget": len(leaked),
        "differences": [describe(mine, key, mine.one(key), theirs.one(key)) for key in left[:20]],
        "differenceCount": len(left),
    }


def main():
    request = json.load(sys.stdin)
    origin, target = connect(request["origin"], request), connect(request["target"], request)
    try:
        filters = request.get("filtered", {})
        tables = [compare(name, origin, target, filters.get(name)) for name in request["tables"]]
    finally:
        origin[0].shutdown()
        target[0].shutdown()
    json.dump({"tables": tables}, sys.stdout)


main()
