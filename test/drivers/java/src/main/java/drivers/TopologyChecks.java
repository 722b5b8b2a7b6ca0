package drivers;

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.cql.BoundStatement;
import com.datastax.oss.driver.api.core.cql.ColumnDefinitions;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.ResultSet;
import com.datastax.oss.driver.api.core.metadata.Metadata;
import com.datastax.oss.driver.api.core.metadata.Node;
import com.datastax.oss.driver.api.core.metadata.NodeState;
import com.datastax.oss.driver.api.core.metadata.TokenMap;
import com.datastax.oss.driver.api.core.type.codec.TypeCodecs;
import java.net.InetSocketAddress;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** How the driver finds the cluster, and the tables by which it does. */
final class TopologyChecks {
  private TopologyChecks() {}

  static void run(Checks checks, CqlSession session) {
    checks.check(
        "negotiates the protocol version by itself",
        () -> session.getContext().getProtocolVersion().toString());

    checks.check(
        "knows version, data center and rack of the node",
        () -> {
          Node node = onlyNode(session);
          Checks.same(node.getState(), NodeState.UP);
          return List.of(
              String.valueOf(node.getCassandraVersion()),
              String.valueOf(node.getDatacenter()),
              String.valueOf(node.getRack()),
              node.getHostId() != null && node.getSchemaVersion() != null,
              session.getMetadata().getClusterName().orElse("none"));
        });

    checks.checkProxy(
        "sees the proxy as its only node",
        () -> {
          Checks.same(onlyNode(session).getEndPoint().resolve(), new InetSocketAddress(checks.host, checks.port));
          InetSocketAddress rpc = onlyNode(session).getBroadcastRpcAddress().orElseThrow();
          Checks.same(rpc.getAddress().getHostAddress(), checks.host);
          return true;
        });

    checks.check(
        "computes tokens and replicas",
        () -> {
          Metadata metadata = session.refreshSchema();
          TokenMap tokens = metadata.getTokenMap().orElseThrow();
          Set<Node> replicas =
              tokens.getReplicas(checks.keyspace, TypeCodecs.INT.encode(7, session.getContext().getProtocolVersion()));
          Checks.same(replicas, Set.of(onlyNode(session)));
          Checks.same(tokens.getTokenRanges(onlyNode(session)).isEmpty(), false);
          return List.of(
              tokens.getPartitionerName(), String.valueOf(tokens.newToken(TypeCodecs.INT.encode(7, session.getContext().getProtocolVersion()))));
        });

    checks.check("all nodes agree on the schema", session::checkSchemaAgreement);

    checks.check("reads any projection of the topology tables", () -> shapes(session, List.of(
        "SELECT * FROM system.local",
        "SELECT * FROM system.local WHERE key = 'local'",
        "SELECT key, cluster_name, data_center, rack, release_version FROM system.local",
        "SELECT tokens, rpc_address, broadcast_address, listen_address FROM system.local",
        "SELECT rpc_port, broadcast_port, host_id, schema_version, partitioner FROM system.local",
        "SELECT key AS k, rpc_address AS address, cluster_name AS name FROM system.local",
        "SELECT count(*) FROM system.local",
        "SELECT count(1) FROM system.local",
        "SELECT count(*) AS n FROM system.local",
        "SELECT max(key) FROM system.local",
        "SELECT DISTINCT key FROM system.local",
        "SELECT CAST(rpc_port AS text), writetime(cluster_name) FROM system.local",
        "SELECT toJson(rpc_address), (int) 1 FROM system.local",
        "SELECT JSON * FROM system.local",
        "SELECT JSON key, rpc_address FROM system.local",
        "SELECT * FROM system.local LIMIT 1",
        "SELECT * FROM system.local WHERE token(key) > -9223372036854775808",
        "SELECT * FROM system.peers",
        "SELECT peer, rpc_address, tokens FROM system.peers",
        "SELECT count(*) FROM system.peers",
        "SELECT JSON * FROM system.peers",
        "SELECT * FROM system.peers WHERE peer = '127.1.2.3'",
        "SELECT * FROM system.peers_v2",
        "SELECT peer, peer_port, native_address, native_port FROM system.peers_v2",
        "SELECT count(*) FROM system.peers_v2",
        "SELECT DISTINCT peer FROM system.peers_v2")));

    checks.check(
        "prepares queries of the topology tables",
        () -> {
          PreparedStatement byKey = session.prepare("SELECT key, rpc_address FROM system.local WHERE key = ?");
          Checks.same(session.execute(byKey.bind("local")).one().getString("key"), "local");
          Checks.same(session.execute(byKey.bind("elsewhere")).one() == null, true);
          PreparedStatement byPeer =
              session.prepare("SELECT * FROM system.peers_v2 WHERE peer = :p AND peer_port = :port");
          Checks.same(session.execute(byPeer.bind().setInetAddress("p", java.net.InetAddress.getByName("127.1.2.3")).setInt("port", 1)).one() == null, true);
          PreparedStatement count = session.prepare("SELECT count(*) FROM system.local");
          Checks.same(session.execute(count.bind()).one().getLong(0), 1L);
          return List.of(
              columns(byKey.getVariableDefinitions()), byKey.getPartitionKeyIndices(), columns(byKey.getResultSetDefinitions()),
              columns(byPeer.getVariableDefinitions()), columns(count.getResultSetDefinitions()));
        });

    checks.check(
        "reads other system tables",
        () -> {
          BoundStatement tables =
              session.prepare("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?").bind("system_auth");
          return session.execute(tables).all().stream().map(row -> row.getString(0)).sorted().toArray();
        });
  }

  static Node onlyNode(CqlSession session) {
    Map<?, Node> nodes = session.getMetadata().getNodes();
    Checks.same(nodes.size(), 1);
    return nodes.values().iterator().next();
  }

  private static Map<String, Object> shapes(CqlSession session, List<String> queries) {
    Map<String, Object> shapes = new LinkedHashMap<>();
    for (String query : queries) {
      ResultSet result = session.execute(query);
      shapes.put(query, List.of(columns(result.getColumnDefinitions()), result.all().size()));
    }
    return shapes;
  }

  static List<String> columns(ColumnDefinitions definitions) {
    List<String> columns = new java.util.ArrayList<>();
    definitions.forEach(
        one -> columns.add(one.getTable().asInternal() + "." + one.getName().asInternal() + " " + one.getType().asCql(true, false)));
    return columns;
  }
}
