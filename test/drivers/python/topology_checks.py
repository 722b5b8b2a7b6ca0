"""How the driver finds the cluster, and the tables by which it does."""

from cassandra.cluster import Cluster
from cassandra.metadata import Murmur3Token

from checks import HOST, PORT, VERSION, Opened, check, check_proxy, markers, open_cluster, results


def only_node(session):
    (host,) = session.cluster.metadata.all_hosts()
    return host


@check("negotiates the protocol version by itself")
def negotiates(_):
    cluster = open_cluster(protocol_version=Cluster.protocol_version)
    cluster._protocol_version_explicit = False
    try:
        cluster.connect()
        return cluster.protocol_version
    finally:
        cluster.shutdown()


@check("speaks the version that was asked for")
def version(session):
    return session.cluster.protocol_version == VERSION


@check("knows version, data center and rack of the node")
def node_facts(session):
    host = only_node(session)
    assert host.is_up
    assert host.host_id is not None
    return [host.release_version, host.datacenter, host.rack, session.cluster.metadata.cluster_name]


@check_proxy("sees the proxy as its only node")
def proxy_alone(session):
    host = only_node(session)
    assert (host.address, host.endpoint.port) == (HOST, PORT), host.endpoint
    assert host.broadcast_rpc_address == HOST and host.broadcast_rpc_port == PORT, host.broadcast_rpc_address
    return True


@check("computes tokens and replicas")
def tokens(session):
    token_map = session.cluster.metadata.token_map
    key = b"\x00\x00\x00\x07"
    assert session.cluster.metadata.get_replicas(session.keyspace, key) == [only_node(session)]
    return [session.cluster.metadata.partitioner, Murmur3Token.from_key(key).value, len(token_map.ring) > 0]


@check("reads any projection of the topology tables")
def projections(session):
    shapes = {}
    for query in [
        "SELECT * FROM system.local",
        "SELECT * FROM system.local WHERE key='local'",
        "SELECT tokens, rpc_address, key FROM system.local",
        "SELECT key AS k, host_id AS id FROM system.local",
        "SELECT count(*) FROM system.local",
        "SELECT DISTINCT key FROM system.local",
        "SELECT JSON key, rpc_address FROM system.local",
        "SELECT cast(rpc_port AS text), writetime(cluster_name) FROM system.local",
        "SELECT * FROM system.peers",
        "SELECT count(*) FROM system.peers",
        "SELECT peer FROM system.peers WHERE peer = '127.1.2.3'",
        "SELECT * FROM system.peers_v2",
        "SELECT peer, native_port FROM system.peers_v2",
        "SELECT count(*) FROM system.peers_v2",
        "SELECT JSON * FROM system.peers_v2",
    ]:
        result = session.execute(query)
        types = [one.cql_parameterized_type() for one in result.column_types]
        shapes[query] = [list(zip(result.column_names, types)), len(list(result))]
    return shapes


@check("prepares queries of the topology tables")
def prepared_projections(session):
    by_key = session.prepare("SELECT key, rpc_address FROM system.local WHERE key = ?")
    assert [row.key for row in session.execute(by_key, ("local",))] == ["local"]
    assert list(session.execute(by_key, ("elsewhere",))) == []
    by_peer = session.prepare("SELECT * FROM system.peers_v2 WHERE peer = :p AND peer_port = :port")
    assert list(session.execute(by_peer, {"p": "127.1.2.3", "port": 1})) == []
    count = session.prepare("SELECT count(*) FROM system.local")
    assert session.execute(count).one().count == 1
    return [markers(by_key), by_key.routing_key_indexes, results(by_key), markers(by_peer), results(count)]


@check("refreshes what it knows of nodes and schema")
def refreshes(session):
    session.cluster.refresh_nodes(force_token_rebuild=True)
    session.cluster.refresh_schema_metadata()
    with Opened() as other:
        return len(other.cluster.metadata.all_hosts())
