//! system.local as a node answers it: the columns that were asked for, in that order.
use crate::{put_bytes, put_int, put_str};

const TEXT: u16 = 13;
const TIMESTAMP: u16 = 11;
const SET: u16 = 0x22;
const COLUMNS: &[(&str, u16)] = &[
    ("key", TEXT),
    ("bootstrapped", TEXT),
    ("broadcast_address", 16),
    ("cluster_name", TEXT),
    ("cql_version", TEXT),
    ("data_center", TEXT),
    ("gossip_generation", 9),
    ("host_id", 12),
    ("listen_address", 16),
    ("native_protocol_version", TEXT),
    ("partitioner", TEXT),
    ("rack", TEXT),
    ("release_version", TEXT),
    ("rpc_address", 16),
    ("schema_version", 12),
    ("tokens", SET),
];

pub fn local_rows(query: &str, port: u16, bind: [u8; 4]) -> Vec<u8> {
    let lower = query.to_ascii_lowercase();
    let selected =
        lower.split_once("select ").and_then(|(_, rest)| rest.split_once(" from ")).map_or("*", |(one, _)| one);
    let mut columns: Vec<(String, &str, u16)> = vec![];
    for term in selected.split(',') {
        let (name, alias) = term.trim().split_once(" as ").unwrap_or((term.trim(), term.trim()));
        let alias = alias.trim().trim_matches('"').to_string();
        match COLUMNS.iter().find(|(known, _)| *known == name.trim_matches('"')) {
            _ if name == "*" => columns.extend(COLUMNS.iter().map(|(one, kind)| (one.to_string(), *one, *kind))),
            Some((known, kind)) => columns.push((alias, known, *kind)),
            None if name.contains("now()") => columns.push((alias, "now", TIMESTAMP)),
            None => columns.push((alias, "", TEXT)),
        }
    }
    let mut b = vec![];
    put_int(&mut b, 2);
    put_int(&mut b, 1);
    put_int(&mut b, columns.len() as i32);
    put_str(&mut b, "system");
    put_str(&mut b, "local");
    for (alias, _, kind) in &columns {
        put_str(&mut b, alias);
        b.extend_from_slice(&kind.to_be_bytes());
        if *kind == SET {
            b.extend_from_slice(&TEXT.to_be_bytes());
        }
    }
    put_int(&mut b, 1);
    for (_, name, _) in &columns {
        match value(name, port, bind) {
            Some(bytes) => put_bytes(&mut b, &bytes),
            None => put_int(&mut b, -1),
        }
    }
    b
}

fn value(name: &str, port: u16, bind: [u8; 4]) -> Option<Vec<u8>> {
    let mut id = [0u8; 16];
    id[6] = 0x40;
    id[8] = 0x80;
    id[14..].copy_from_slice(&port.to_be_bytes());
    Some(match name {
        "" => return None,
        "key" => b"local".to_vec(),
        "bootstrapped" => b"COMPLETED".to_vec(),
        "cluster_name" => format!("stub{}", port).into_bytes(),
        "cql_version" => b"3.4.5".to_vec(),
        "data_center" => b"datacenter1".to_vec(),
        "gossip_generation" => 1i32.to_be_bytes().to_vec(),
        "host_id" | "schema_version" => id.to_vec(),
        "native_protocol_version" => b"5".to_vec(),
        "partitioner" => b"org.apache.cassandra.dht.Murmur3Partitioner".to_vec(),
        "rack" => b"rack1".to_vec(),
        "release_version" => b"4.0.0".to_vec(),
        "now" => {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            (since.as_millis() as i64).to_be_bytes().to_vec()
        }
        "tokens" => {
            let mut tokens = vec![];
            put_int(&mut tokens, 1);
            put_bytes(&mut tokens, b"-9223372036854775808");
            tokens
        }
        _ => bind.to_vec(),
    })
}

pub fn empty_rows() -> Vec<u8> {
    let mut b = vec![];
    for part in [2, 1, 1] {
        put_int(&mut b, part);
    }
    put_str(&mut b, "system");
    put_str(&mut b, "peers");
    put_str(&mut b, "peer");
    b.extend_from_slice(&16u16.to_be_bytes());
    put_int(&mut b, 0);
    b
}
