//! Very fast stub CQL backend (v3/v4/v5, no auth, no compression). One thread, epoll, many ports.
//! stub --ports 9142,9143 --bind 127.0.0.1 --read-bytes 100
use cqlbench::segment::{read_segments, write_segments};
use cqlbench::system_tables::{empty_rows, local_rows};
use cqlbench::*;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd};

struct Conn {
    fd: i32,
    port: u16,
    raw: Vec<u8>,
    env: Vec<u8>,
    out: Vec<u8>,
    opos: usize,
    seg: bool,
    wantw: bool,
    dead: bool,
}

fn lower_contains(h: &[u8], n: &[u8]) -> bool {
    h.windows(n.len()).any(|w| w.eq_ignore_ascii_case(n))
}

struct Ctx {
    value: Vec<u8>,
    bind: [u8; 4],
}

fn handle(c: &mut Conn, cx: &Ctx, f: &[u8], o: &mut Vec<u8>) -> bool {
    let ver = f[0] & 0x7f;
    let st = [f[2], f[3]];
    let op = f[4];
    let body = &f[9..];
    if ver < 3 || ver > 5 {
        let mut b = vec![];
        put_int(&mut b, 0x000A);
        put_str(&mut b, "Invalid or unsupported protocol version; supported versions are (3/v3, 4/v4, 5/v5)");
        frame(o, 0x84, st, 0, &b);
        return false;
    }
    let rv = ver | 0x80;
    const VOID: [u8; 4] = [0, 0, 0, 1];
    let rows_reply = |o: &mut Vec<u8>, key: &[u8]| {
        // kind=2, flags=4 (no metadata), cols=1, rows=1, value (first 8 bytes echo the key)
        let n = if key.first() == Some(&1) { 4096 } else { cx.value.len() };
        o.extend_from_slice(&[rv, 0, st[0], st[1], 8]);
        put_int(o, (16 + 4 + n) as i32);
        o.extend_from_slice(&[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1]);
        put_int(o, n as i32);
        let s = o.len();
        if n == 4096 {
            o.resize(s + 4096, 0x5a);
        } else {
            o.extend_from_slice(&cx.value);
        }
        let k = key.len().min(8).min(n);
        o[s..s + k].copy_from_slice(&key[..k]);
    };
    match op {
        0x0A => {
            // EXECUTE
            let idl = u16::from_be_bytes([body[0], body[1]]) as usize;
            let mut p = 2 + idl;
            if ver >= 5 {
                let l = u16::from_be_bytes([body[p], body[p + 1]]) as usize;
                p += 2 + l;
            }
            let kind = body[2];
            if body[2 + idl - 2..2 + idl] != c.port.to_be_bytes() {
                let mut b = vec![];
                put_int(&mut b, 0x2500);
                put_str(&mut b, "unprepared: wrong id for this node");
                b.extend_from_slice(&(idl as u16).to_be_bytes());
                b.extend_from_slice(&body[2..2 + idl]);
                frame(o, rv, st, 0, &b);
                return true;
            }
            if kind == b'W' {
                frame(o, rv, st, 8, &VOID);
            } else {
                p += 2 + if ver >= 5 { 4 } else { 1 } + 2 + 4;
                rows_reply(o, &body[p..(p + 8).min(body.len())]);
            }
        }
        0x07 => {
            // QUERY
            let l = u32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
            let q = &body[4..4 + l];
            let q0 = q.iter().position(|c| !c.is_ascii_whitespace()).unwrap_or(0);
            match q.get(q0).map(|c| c.to_ascii_uppercase()) {
                Some(b'S') => {
                    let head = &q[..q.len().min(400)];
                    if lower_contains(head, b"system.local") {
                        frame(o, rv, st, 8, &local_rows(&String::from_utf8_lossy(q), c.port, cx.bind));
                    } else if lower_contains(head, b"from system") {
                        frame(o, rv, st, 8, &empty_rows());
                    } else {
                        // key literal "... k = 0x<16 hex>" or first bound value
                        let mut key = [0u8; 8];
                        if let Some(i) = q.windows(2).position(|w| w == b"0x") {
                            for j in 0..8 {
                                let h = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
                                if i + 3 + 2 * j < q.len() {
                                    key[j] = h(q[i + 2 + 2 * j]) << 4 | h(q[i + 3 + 2 * j]);
                                }
                            }
                        } else {
                            let p = 4 + l + 2 + if ver >= 5 { 4 } else { 1 } + 2 + 4;
                            if p + 8 <= body.len() {
                                key.copy_from_slice(&body[p..p + 8]);
                            }
                        }
                        rows_reply(o, &key);
                    }
                }
                Some(b'U') if q.len() > 4 && q[q0..].len() > 3 && q[q0 + 3] == b' ' => {
                    let mut b = vec![];
                    put_int(&mut b, 3);
                    put_str(
                        &mut b,
                        std::str::from_utf8(&q[q0 + 4..])
                            .unwrap_or("ks")
                            .trim_matches(|c| c == ' ' || c == ';' || c == '"'),
                    );
                    frame(o, rv, st, 8, &b);
                }
                _ => frame(o, rv, st, 8, &VOID),
            }
        }
        0x0D => frame(o, rv, st, 8, &VOID), // BATCH
        0x09 => {
            // PREPARE
            let l = u32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
            let q = &body[4..4 + l];
            let read = q.iter().find(|c| !c.is_ascii_whitespace()).map(|c| c.to_ascii_uppercase()) == Some(b'S');
            let mut b = vec![];
            put_int(&mut b, 4);
            let mut id = [0u8; 16];
            id[0] = if read { b'R' } else { b'W' };
            let mut h: u64 = 0xcbf29ce484222325;
            for x in q {
                h = (h ^ *x as u64).wrapping_mul(0x100000001b3);
            }
            id[4..12].copy_from_slice(&h.to_be_bytes());
            id[14..].copy_from_slice(&c.port.to_be_bytes());
            b.extend_from_slice(&16u16.to_be_bytes());
            b.extend_from_slice(&id);
            if ver >= 5 {
                b.extend_from_slice(&16u16.to_be_bytes());
                b.extend_from_slice(&id);
            }
            let nb = q.iter().filter(|c| **c == b'?').count();
            put_int(&mut b, 1);
            put_int(&mut b, nb as i32);
            if ver >= 4 {
                put_int(&mut b, 1);
                b.extend_from_slice(&[0, 0]);
            }
            put_str(&mut b, "bench");
            put_str(&mut b, "t");
            for i in 0..nb {
                put_str(&mut b, if i == 0 { "k" } else { "v" });
                b.extend_from_slice(&3u16.to_be_bytes());
            }
            if read {
                put_int(&mut b, 1);
                put_int(&mut b, 1);
                put_str(&mut b, "bench");
                put_str(&mut b, "t");
                put_str(&mut b, "v");
                b.extend_from_slice(&3u16.to_be_bytes());
            } else {
                put_int(&mut b, 4);
                put_int(&mut b, 0);
            }
            frame(o, rv, st, 8, &b);
        }
        0x05 => {
            // OPTIONS
            let mut b = vec![];
            b.extend_from_slice(&3u16.to_be_bytes());
            put_str(&mut b, "PROTOCOL_VERSIONS");
            b.extend_from_slice(&3u16.to_be_bytes());
            for version in ["3/v3", "4/v4", "5/v5"] {
                put_str(&mut b, version);
            }
            put_str(&mut b, "CQL_VERSION");
            b.extend_from_slice(&1u16.to_be_bytes());
            put_str(&mut b, "3.4.5");
            put_str(&mut b, "COMPRESSION");
            b.extend_from_slice(&0u16.to_be_bytes());
            frame(o, rv, st, 6, &b);
        }
        0x01 | 0x0B => frame(o, rv, st, 2, &[]),
        _ => {
            let mut b = vec![];
            put_int(&mut b, 0x000A);
            put_str(&mut b, "bad opcode");
            frame(o, rv, st, 0, &b);
        }
    }
    true
}

fn main() {
    let bind = arg("bind", "127.0.0.1");
    let ports: Vec<u16> = arg("ports", "9142,9143").split(',').map(|s| s.parse().unwrap()).collect();
    let rb: usize = arg("read-bytes", "100").parse().unwrap();
    let ip: std::net::Ipv4Addr = bind.parse().unwrap();
    let cx = Ctx { value: (0..rb).map(|i| i as u8).collect(), bind: ip.octets() };
    let ep = Epoll::new();
    let mut ls = vec![];
    for (i, p) in ports.iter().enumerate() {
        let l = TcpListener::bind((ip, *p)).expect("bind");
        l.set_nonblocking(true).unwrap();
        ep.add(l.as_raw_fd(), 1 << 40 | i as u64, false);
        ls.push((l, *p));
    }
    println!("stub listening on {} {:?}", bind, ports);
    let mut conns: Vec<Option<Conn>> = vec![];
    let mut evs: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    let mut buf = vec![0u8; 512 * 1024];
    let mut tmp: Vec<u8> = vec![];
    loop {
        let n = ep.wait(&mut evs, -1);
        for e in 0..n {
            let (tok, fl) = (evs[e].u64, evs[e].events);
            if tok >> 40 != 0 {
                let (l, port) = &ls[(tok & 0xffff) as usize];
                while let Ok((s, _)) = l.accept() {
                    s.set_nodelay(true).ok();
                    s.set_nonblocking(true).ok();
                    let fd = s.into_raw_fd();
                    let i = conns.iter().position(|c| c.is_none()).unwrap_or_else(|| {
                        conns.push(None);
                        conns.len() - 1
                    });
                    conns[i] = Some(Conn {
                        fd,
                        port: *port,
                        raw: vec![],
                        env: vec![],
                        out: vec![],
                        opos: 0,
                        seg: false,
                        wantw: false,
                        dead: false,
                    });
                    ep.add(fd, i as u64, false);
                }
                continue;
            }
            let i = tok as usize;
            let mut c = match conns[i].take() {
                Some(c) => c,
                None => continue,
            };
            if fl & libc::EPOLLIN as u32 != 0 || fl & (libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 {
                let r = rd(c.fd, &mut buf);
                if r == 0 || (r < 0 && errno() != libc::EAGAIN) {
                    c.dead = true;
                } else if r > 0 {
                    let r = r as usize;
                    let mut out = std::mem::take(&mut c.out);
                    if c.seg {
                        c.raw.extend_from_slice(&buf[..r]);
                        let mut raw = std::mem::take(&mut c.raw);
                        let mut env = std::mem::take(&mut c.env);
                        let used = read_segments(&raw, &mut env);
                        raw.drain(..used);
                        c.raw = raw;
                        tmp.clear();
                        let u = drain(&mut c, &cx, &env, &mut tmp);
                        env.drain(..u);
                        c.env = env;
                        write_segments(&mut out, &tmp);
                    } else if c.env.is_empty() {
                        let u = drain(&mut c, &cx, &buf[..r], &mut out);
                        if u < r {
                            let rest = &buf[u..r];
                            if c.seg {
                                c.raw.extend_from_slice(rest);
                            } else {
                                c.env.extend_from_slice(rest);
                            }
                        }
                    } else {
                        let mut env = std::mem::take(&mut c.env);
                        env.extend_from_slice(&buf[..r]);
                        let u = drain(&mut c, &cx, &env, &mut out);
                        env.drain(..u);
                        c.env = env;
                    }
                    c.out = out;
                }
            }
            while c.opos < c.out.len() {
                let w = wr(c.fd, &c.out[c.opos..]);
                if w < 0 {
                    if errno() != libc::EAGAIN {
                        c.dead = true;
                    }
                    break;
                }
                c.opos += w as usize;
            }
            if c.opos == c.out.len() {
                c.out.clear();
                c.opos = 0;
            }
            let ww = c.opos < c.out.len();
            if ww != c.wantw {
                c.wantw = ww;
                ep.modify(c.fd, i as u64, ww);
            }
            if c.dead {
                unsafe {
                    libc::close(c.fd);
                }
            } else {
                conns[i] = Some(c);
            }
        }
    }
}
/// handle all complete frames in `b`, returns bytes consumed
fn drain(c: &mut Conn, cx: &Ctx, b: &[u8], out: &mut Vec<u8>) -> usize {
    let mut p = 0;
    while b.len() - p >= 9 {
        let l = 9 + u32::from_be_bytes(b[p + 5..p + 9].try_into().unwrap()) as usize;
        if b.len() - p < l {
            break;
        }
        let f = &b[p..p + l];
        if !handle(c, cx, f, out) {
            c.dead = false;
        }
        p += l;
        if f[4] == 1 && (f[0] & 0x7f) == 5 {
            c.seg = true;
            break;
        }
    }
    p
}
