//! The handshake of one client, blocking.
use crate::segment::{read_segments, write_segments};
use crate::{arg, frame, lz4, put_bytes, put_int, put_str};
use std::io::{Read, Write};
use std::net::TcpStream;

/// How frames of this client look on the wire.
#[derive(Clone, Copy)]
pub struct Wire {
    pub version: u8,
    /// v4 bodies as LZ4.
    pub lz4: bool,
}

fn read_frame(s: &mut TcpStream, segmented: bool) -> Vec<u8> {
    let (mut env, mut raw) = (vec![], vec![]);
    loop {
        if env.len() >= 9 {
            let l = 9 + u32::from_be_bytes(env[5..9].try_into().unwrap()) as usize;
            if env.len() >= l {
                return env.drain(..l).collect();
            }
        }
        let mut b = [0u8; 65536];
        let n = s.read(&mut b).expect("read");
        if n == 0 {
            panic!("closed by peer during handshake");
        }
        if segmented {
            raw.extend_from_slice(&b[..n]);
            let u = read_segments(&raw, &mut env);
            raw.drain(..u);
        } else {
            env.extend_from_slice(&b[..n]);
        }
    }
}

/// One request and its answer, whose body is plain.
pub fn call(s: &mut TcpStream, version: u8, segmented: bool, op: u8, body: &[u8]) -> Vec<u8> {
    let mut f = vec![];
    frame(&mut f, version, [0, 0], op, body);
    if segmented {
        let mut o = vec![];
        write_segments(&mut o, &f);
        s.write_all(&o).unwrap();
    } else {
        s.write_all(&f).unwrap();
    }
    let mut answer = read_frame(s, segmented);
    if answer[1] & 1 != 0 && version < 5 {
        let mut plain = vec![];
        lz4::read_body(&answer[9..], &mut plain);
        answer.truncate(9);
        answer.extend_from_slice(&plain);
    }
    if answer[4] == 0 {
        let code = i32::from_be_bytes(answer[9..13].try_into().unwrap());
        eprintln!("ERROR {:#x}: {}", code, String::from_utf8_lossy(&answer[15..]));
    }
    answer
}

pub fn connect(to: &str, wire: Wire) -> TcpStream {
    let Wire { version, lz4 } = wire;
    let mut s = TcpStream::connect(to).expect("connect");
    s.set_nodelay(true).unwrap();
    s.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let f = call(&mut s, version, false, 5, &[]);
    if f[4] != 6 {
        panic!("OPTIONS -> {}", f[4]);
    }
    let mut b = vec![];
    b.extend_from_slice(&(if lz4 { 2u16 } else { 1 }).to_be_bytes());
    put_str(&mut b, "CQL_VERSION");
    put_str(&mut b, "3.0.0");
    if lz4 {
        put_str(&mut b, "COMPRESSION");
        put_str(&mut b, "lz4");
    }
    let f = call(&mut s, version, false, 1, &b);
    if f[4] == 3 {
        let t = format!("\0{}\0{}", arg("user", "cassandra"), arg("password", "cassandra"));
        let mut b = vec![];
        put_bytes(&mut b, t.as_bytes());
        let f = call(&mut s, version, version >= 5, 0x0F, &b);
        if f[4] != 0x10 {
            panic!("auth -> {}", f[4]);
        }
    } else if f[4] != 2 {
        panic!("STARTUP -> {}", f[4]);
    }
    s
}

/// The id of a prepared statement and, in v5, that of its result metadata.
pub fn prepare(s: &mut TcpStream, version: u8, text: &str) -> (Vec<u8>, Vec<u8>) {
    let mut b = vec![];
    put_int(&mut b, text.len() as i32);
    b.extend_from_slice(text.as_bytes());
    if version >= 5 {
        put_int(&mut b, 0);
    }
    let f = call(s, version, version >= 5, 9, &b);
    if f[4] != 8 {
        panic!("PREPARE failed");
    }
    let l = u16::from_be_bytes([f[13], f[14]]) as usize;
    let id = f[15..15 + l].to_vec();
    if version < 5 {
        return (id, vec![]);
    }
    let p = 15 + l;
    let ml = u16::from_be_bytes([f[p], f[p + 1]]) as usize;
    (id, f[p + 2..p + 2 + ml].to_vec())
}
