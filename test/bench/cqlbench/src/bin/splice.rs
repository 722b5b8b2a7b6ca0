//! Lower bounds. splice --mode splice : bare byte pump client<->origin (1:1), no parsing.
//!               splice --mode dual   : parses v4 frames, dual-writes EXECUTE of ids starting with 'W' (stub ids), waits for both,
//!                                      patches the prepared id for the target; one epoll thread. Not a product: physical limit only.
use cqlbench::*;
use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
struct S {
    fd: i32,
    out: Vec<u8>,
    opos: usize,
    wantw: bool,
    tail: Vec<u8>,
}
struct Sess {
    s: [S; 3],
    need: Vec<u8>,
    held: HashMap<u16, Vec<u8>>,
    dead: bool,
}
fn flush(s: &mut S, tok: u64, ep: &Epoll) -> bool {
    while s.opos < s.out.len() {
        let w = wr(s.fd, &s.out[s.opos..]);
        if w < 0 {
            if errno() != libc::EAGAIN {
                return false;
            }
            break;
        }
        s.opos += w as usize;
    }
    if s.opos == s.out.len() {
        s.out.clear();
        s.opos = 0;
    }
    let ww = s.opos < s.out.len();
    if ww != s.wantw {
        s.wantw = ww;
        ep.modify(s.fd, tok, ww);
    }
    true
}
fn main() {
    let dual = arg("mode", "splice") == "dual";
    let l = TcpListener::bind(arg("listen", "127.9.0.1:17001")).unwrap();
    l.set_nonblocking(true).unwrap();
    let (o, t) = (arg("origin", "127.9.0.1:9142"), arg("target", "127.9.0.1:9143"));
    let tport: u16 = t.rsplit(':').next().unwrap().parse().unwrap();
    let ep = Epoll::new();
    ep.add(l.as_raw_fd(), u64::MAX, false);
    let mut ss: Vec<Option<Sess>> = vec![];
    let mut evs = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    let mut buf = vec![0u8; 1 << 16];
    loop {
        let n = ep.wait(&mut evs, -1);
        for e in 0..n {
            let tok = evs[e].u64;
            if tok == u64::MAX {
                while let Ok((c, _)) = l.accept() {
                    let mk = |s: TcpStream, k: u64| {
                        s.set_nodelay(true).unwrap();
                        s.set_nonblocking(true).unwrap();
                        let fd = s.into_raw_fd();
                        ep.add(fd, k, false);
                        S { fd, out: vec![], opos: 0, wantw: false, tail: vec![] }
                    };
                    let i = ss.iter().position(|x| x.is_none()).unwrap_or_else(|| {
                        ss.push(None);
                        ss.len() - 1
                    });
                    let b = (i as u64) << 2;
                    ss[i] = Some(Sess {
                        s: [
                            mk(c, b),
                            mk(TcpStream::connect(&o).unwrap(), b | 1),
                            mk(TcpStream::connect(&t).unwrap(), b | 2),
                        ],
                        need: vec![0; 32768],
                        held: HashMap::new(),
                        dead: false,
                    });
                }
                continue;
            }
            let (i, w) = ((tok >> 2) as usize, (tok & 3) as usize);
            let Some(x) = ss[i].as_mut() else { continue };
            let r = rd(x.s[w].fd, &mut buf);
            if r == 0 || (r < 0 && errno() != libc::EAGAIN) {
                x.dead = true;
            } else if r > 0 {
                let r = r as usize;
                if !dual {
                    if w < 2 {
                        x.s[1 - w].out.extend_from_slice(&buf[..r]);
                    }
                } else {
                    let owned;
                    let b: &[u8] = if x.s[w].tail.is_empty() {
                        &buf[..r]
                    } else {
                        let mut v = std::mem::take(&mut x.s[w].tail);
                        v.extend_from_slice(&buf[..r]);
                        owned = v;
                        &owned
                    };
                    let mut p = 0;
                    while b.len() - p >= 9 {
                        let l = 9 + u32::from_be_bytes(b[p + 5..p + 9].try_into().unwrap()) as usize;
                        if b.len() - p < l {
                            break;
                        }
                        let f = &b[p..p + l];
                        let st = u16::from_be_bytes([f[2], f[3]]);
                        p += l;
                        if w == 0 {
                            let both = match f[4] {
                                0x0A => f[11] == b'W',
                                7 => f[13] | 32 != b's',
                                9 | 0x0D | 1 => true,
                                _ => false,
                            };
                            x.s[1].out.extend_from_slice(f);
                            if both {
                                let q = x.s[2].out.len();
                                x.s[2].out.extend_from_slice(f);
                                if f[4] == 0x0A {
                                    x.s[2].out[q + 25..q + 27].copy_from_slice(&tport.to_be_bytes());
                                }
                            }
                            x.need[st as usize] = if both { 3 } else { 1 };
                        } else {
                            let n = &mut x.need[st as usize];
                            *n &= !(w as u8);
                            if *n != 0 {
                                if w == 1 {
                                    x.held.insert(st, f.to_vec());
                                }
                            } else if w == 1 {
                                x.s[0].out.extend_from_slice(f);
                            } else {
                                let h = x.held.remove(&st).unwrap();
                                x.s[0].out.extend_from_slice(&h);
                            }
                        }
                    }
                    let rest = b[p..].to_vec();
                    x.s[w].tail = rest;
                }
            }
            for k in 0..3 {
                if !x.s[k].out.is_empty() && !flush(&mut x.s[k], (i as u64) << 2 | k as u64, &ep) {
                    x.dead = true;
                }
            }
            if x.dead {
                for k in 0..3 {
                    unsafe {
                        libc::close(x.s[k].fd);
                    }
                }
                ss[i] = None;
            }
        }
    }
}
