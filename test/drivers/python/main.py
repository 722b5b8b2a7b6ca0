"""Arguments: host, port, user, password, keyspace (another one has the suffix _2), proxy or direct, version, part."""

import checks

if checks.PART == "all":
    import topology_checks
    import statement_checks
    import function_checks
    import schema_checks
    import error_checks
    import connection_checks
elif checks.PART == "vector":
    import vector_checks
else:
    raise SystemExit(f"no part {checks.PART}")

with checks.Opened() as session:
    checks.run_checks(session)
