//! Requests made once and patched with a stream id and a key for each use.
use crate::session::{prepare, Wire};
use crate::{frame, lz4, put_bytes, put_int};
use std::net::TcpStream;

pub struct Template {
    pub bytes: Vec<u8>,
    /// Where the key lies.
    pub key: usize,
    /// The key stands in the text, as hexadecimal digits.
    pub hex: bool,
    pub read: bool,
}

pub const KINDS: [&str; 6] = ["w", "r", "qw", "qr", "vw", "vr"];

/// One for each of `KINDS`.
pub fn templates(s: &mut TcpStream, wire: Wire, keyspace: &str, payload: &[u8]) -> Vec<Template> {
    let insert = format!("INSERT INTO {}.t (k, v) VALUES (?, ?)", keyspace);
    let select = format!("SELECT v FROM {}.t WHERE k = ?", keyspace);
    let (wid, wm) = prepare(s, wire.version, &insert);
    let (rid, rm) = prepare(s, wire.version, &select);
    let key = [0u8; 8];
    let hex = |b: &[u8]| b.iter().map(|x| format!("{:02x}", x)).collect::<String>();
    let insert_text = format!("INSERT INTO {}.t (k, v) VALUES (0x{}, 0x{})", keyspace, hex(&key), hex(payload));
    let select_text = format!("SELECT v FROM {}.t WHERE k = 0x{}", keyspace, hex(&key));
    vec![
        execute(wire, &wid, &wm, &[&key, payload], false),
        execute(wire, &rid, &rm, &[&key], true),
        query(wire, &insert_text, &[], false),
        query(wire, &select_text, &[], true),
        query(wire, &insert, &[&key, payload], false),
        query(wire, &select, &[&key], true),
    ]
}

fn flags(b: &mut Vec<u8>, wire: Wire, value: u8) {
    if wire.version >= 5 {
        put_int(b, value as i32)
    } else {
        b.push(value)
    }
}

fn execute(wire: Wire, id: &[u8], metadata_id: &[u8], values: &[&[u8]], read: bool) -> Template {
    let mut b = vec![];
    b.extend_from_slice(&(id.len() as u16).to_be_bytes());
    b.extend_from_slice(id);
    if wire.version >= 5 {
        b.extend_from_slice(&(metadata_id.len() as u16).to_be_bytes());
        b.extend_from_slice(metadata_id);
    }
    b.extend_from_slice(&1u16.to_be_bytes());
    flags(&mut b, wire, if read { 3 } else { 1 });
    b.extend_from_slice(&(values.len() as u16).to_be_bytes());
    let key = b.len() + 4;
    for v in values {
        put_bytes(&mut b, v);
    }
    finish(wire, 0x0A, &b, key, false, read)
}

fn query(wire: Wire, text: &str, values: &[&[u8]], read: bool) -> Template {
    let mut b = vec![];
    put_int(&mut b, text.len() as i32);
    b.extend_from_slice(text.as_bytes());
    b.extend_from_slice(&1u16.to_be_bytes());
    let hex = values.is_empty();
    flags(&mut b, wire, if hex { 2 } else { 3 });
    let mut key = 4 + text.find("0x").map(|i| i + 2).unwrap_or(0);
    if !hex {
        b.extend_from_slice(&(values.len() as u16).to_be_bytes());
        key = b.len() + 4;
        for v in values {
            put_bytes(&mut b, v);
        }
    }
    finish(wire, 7, &b, key, hex, read)
}

fn finish(wire: Wire, op: u8, body: &[u8], key: usize, hex: bool, read: bool) -> Template {
    let mut bytes = vec![];
    if wire.lz4 {
        let (stored, start) = lz4::store_body(body);
        frame(&mut bytes, wire.version, [0, 0], op, &stored);
        bytes[1] |= 1;
        return Template { bytes, key: 9 + start + key, hex, read };
    }
    frame(&mut bytes, wire.version, [0, 0], op, body);
    Template { bytes, key: 9 + key, hex, read }
}
