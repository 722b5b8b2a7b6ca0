//! CQL load generator. One thread, epoll, raw frames; closed loop (max) or open loop (--rate, latency from the
//! intended send time, so no coordinated omission).
//! load --to 127.0.0.1:14002 --conns 8 --inflight 64 --mix w=50,r=50 --payload 100 --secs 5 --warm 1
//!      [--rate 20000] [--proto 4] [--lz4] [--pids px=123,stub=456+457] [--noverify] [--label x]
//! load --to 127.0.0.1:14002 --idle 2000: logs in that many times, says so and stays until a line comes in.
//! mix kinds: w EXECUTE insert, r EXECUTE select, qw QUERY insert with literals, qr QUERY select with literals,
//!            vw QUERY insert with bound values, vr QUERY select with bound value.
use cqlbench::histogram::Histogram;
use cqlbench::process::{busy, usage, Usage};
use cqlbench::requests::{templates, Template, KINDS};
use cqlbench::segment::{read_segments, write_segments};
use cqlbench::session::{connect, Wire};
use cqlbench::*;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

struct Conn {
    /// Keeps the socket open.
    _s: TcpStream,
    fd: i32,
    raw: Vec<u8>,
    env: Vec<u8>,
    out: Vec<u8>,
    pend: Vec<u8>,
    opos: usize,
    wantw: bool,
    t0: Vec<u64>,
    key: Vec<u64>,
    kind: Vec<u8>,
    free: Vec<u16>,
    seq: u32,
}

fn main() {
    let to = arg("to", "127.0.0.1:9142");
    let nc: usize = arg("conns", "8").parse().unwrap();
    let nf: usize = arg("inflight", "64").parse().unwrap();
    let ver: u8 = arg("proto", "4").parse().unwrap();
    let wire = Wire { version: ver, lz4: flag("lz4") };
    let payload: usize = arg("payload", "100").parse().unwrap();
    let secs: f64 = arg("secs", "5").parse().unwrap();
    let warm: f64 = arg("warm", "1").parse().unwrap();
    let rate: f64 = arg("rate", "0").parse().unwrap();
    let verify = !flag("noverify");
    let ks = arg("ks", "bench");
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1000usize, 0, 0, 0);
    }
    if !arg("idle", "").is_empty() {
        let idle: Vec<TcpStream> =
            (0..arg("idle", "0").parse::<usize>().unwrap()).map(|_| connect(&to, wire)).collect();
        println!("{} idle", idle.len());
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        return;
    }
    let nkeys: u64 = arg("keys", "1000").parse().unwrap();
    let kbase: u64 = arg("keybase", "0").parse().unwrap();
    let pl: Vec<u8> = (0..payload).map(|i| (i * 7) as u8).collect();
    let big: u64 = if payload >= 4096 && !flag("noverify") { 1 << 56 } else { 0 };
    let mut sched: Vec<u8> = vec![]; // 100-slot deterministic shuffle of kinds
    let mut first = connect(&to, wire);
    let tm: Vec<Template> = templates(&mut first, wire, &ks, &pl);
    drop(first);
    for part in arg("mix", "w=100").split(',') {
        let (k, n) = part.split_once('=').unwrap();
        let i = KINDS.iter().position(|x| *x == k).expect("mix kind") as u8;
        for _ in 0..n.parse::<usize>().unwrap() {
            sched.push(i);
        }
    }
    let mut x: u64 = 88172645463325252;
    let mut rnd = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    for i in (1..sched.len()).rev() {
        let j = (rnd() % (i as u64 + 1)) as usize;
        sched.swap(i, j);
    }
    let ep = Epoll::new();
    let mut conns: Vec<Conn> = (0..nc)
        .map(|i| {
            let s = connect(&to, wire);
            s.set_nonblocking(true).unwrap();
            let fd = s.as_raw_fd();
            ep.add(fd, i as u64, false);
            Conn {
                _s: s,
                fd,
                raw: vec![],
                env: vec![],
                out: vec![],
                pend: vec![],
                opos: 0,
                wantw: false,
                t0: vec![0; nf],
                key: vec![0; nf],
                kind: vec![0; nf],
                free: (0..nf as u16).rev().collect(),
                seq: (i * 13) as u32,
            }
        })
        .collect();
    let mut hist = Histogram::new();
    let mut errs = 0u64;
    let mut bad = 0u64;
    let mut total = 0u64;
    let mut shown = 0;
    let mut buf = vec![0u8; 1 << 20];
    let mut plain: Vec<u8> = vec![];
    let mut evs: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    let push = |c: &mut Conn, t: u64, key: u64| {
        let st = c.free.pop().unwrap();
        c.seq = c.seq.wrapping_add(1);
        let k = sched[c.seq as usize % sched.len()];
        let m = &tm[k as usize];
        let o = if ver >= 5 { &mut c.pend } else { &mut c.out };
        let p = o.len();
        o.extend_from_slice(&m.bytes);
        o[p + 2..p + 4].copy_from_slice(&st.to_be_bytes());
        let kb = key.to_be_bytes();
        if m.hex {
            for i in 0..8 {
                o[p + m.key + 2 * i] = b"0123456789abcdef"[(kb[i] >> 4) as usize];
                o[p + m.key + 2 * i + 1] = b"0123456789abcdef"[(kb[i] & 15) as usize];
            }
        } else {
            o[p + m.key..p + m.key + 8].copy_from_slice(&kb);
        }
        if !m.read && payload >= 8 {
            // value starts with the key, so reads can be verified on a real cluster too
            if m.hex {
                let v = p + m.key + 20;
                for i in 0..16 {
                    o[v + i] = o[p + m.key + i];
                }
            } else {
                let v = p + m.key + 12;
                o[v..v + 8].copy_from_slice(&kb);
            }
        }
        c.t0[st as usize] = t;
        c.key[st as usize] = key;
        c.kind[st as usize] = k;
    };
    fn flush(c: &mut Conn, i: usize, ep: &Epoll, v5: bool) {
        if v5 && !c.pend.is_empty() {
            let p = std::mem::take(&mut c.pend);
            write_segments(&mut c.out, &p);
            c.pend = p;
            c.pend.clear();
        }
        while c.opos < c.out.len() {
            let w = wr(c.fd, &c.out[c.opos..]);
            if w < 0 {
                if errno() != libc::EAGAIN {
                    eprintln!("write err {}", errno());
                    std::process::exit(3);
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
    }
    let start = now_ns();
    let t_meas = start + (warm * 1e9) as u64;
    let t_end = t_meas + (secs * 1e9) as u64;
    let pids: Vec<(String, String)> = arg("pids", "")
        .split(',')
        .filter(|s| !s.is_empty())
        .map(|s| {
            let (a, b) = s.split_once('=').unwrap();
            (a.to_string(), b.to_string())
        })
        .collect();
    let me = format!("{}", std::process::id());
    let mut c0: Vec<Usage> = vec![];
    let mut me0 = 0.0;
    let mut busy0 = 0.0;
    let mut measuring = false;
    let closed = rate == 0.0;
    let gap = if closed { 0.0 } else { 1e9 / rate };
    let mut sent_n: u64 = 0;
    let mut rr = 0usize;
    let mut lag = 0u64;
    if closed {
        for i in 0..nc {
            let t = now_ns();
            while !conns[i].free.is_empty() {
                let k = (kbase + rnd() % nkeys) | big;
                push(&mut conns[i], t, k);
            }
            flush(&mut conns[i], i, &ep, ver >= 5);
        }
    }
    let mut last_progress = now_ns();
    let tend_real;
    loop {
        let now = now_ns();
        if !measuring && now >= t_meas {
            measuring = true;
            c0 = pids.iter().map(|p| usage(&p.1)).collect();
            me0 = usage(&me).cpu;
            busy0 = busy();
            hist = Histogram::new();
            total = 0;
            errs = 0;
        }
        if now >= t_end {
            tend_real = now;
            break;
        }
        if now - last_progress > 5_000_000_000 {
            eprintln!("STALL: no responses for 5 s");
            errs += 1;
            tend_real = now;
            break;
        }
        let mut wait: i64 = 100_000_000;
        if !closed {
            let mut touched = [false; 1024];
            loop {
                let due = start + (sent_n as f64 * gap) as u64;
                if due > now {
                    wait = (due - now) as i64;
                    break;
                }
                let mut tries = 0;
                while conns[rr].free.is_empty() && tries < nc {
                    rr = (rr + 1) % nc;
                    tries += 1;
                }
                if conns[rr].free.is_empty() {
                    lag += 1;
                    wait = 1_000_000;
                    break;
                }
                let k = (kbase + rnd() % nkeys) | big;
                push(&mut conns[rr], due, k);
                touched[rr] = true;
                rr = (rr + 1) % nc;
                sent_n += 1;
            }
            for i in 0..nc {
                if touched[i] {
                    flush(&mut conns[i], i, &ep, ver >= 5);
                }
            }
        }
        let n = ep.wait(&mut evs, wait.min(100_000_000));
        for e in 0..n {
            let i = evs[e].u64 as usize;
            let fl = evs[e].events;
            let c = &mut conns[i];
            if fl & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 {
                let r = rd(c.fd, &mut buf);
                if r == 0 || (r < 0 && errno() != libc::EAGAIN) {
                    eprintln!("conn {} closed by peer", i);
                    std::process::exit(3);
                }
                if r > 0 {
                    let r = r as usize;
                    let t = now_ns();
                    last_progress = t;
                    let mut env = std::mem::take(&mut c.env);
                    let direct = ver < 5 && env.is_empty();
                    if ver >= 5 {
                        c.raw.extend_from_slice(&buf[..r]);
                        let mut raw = std::mem::take(&mut c.raw);
                        let u = read_segments(&raw, &mut env);
                        raw.drain(..u);
                        c.raw = raw;
                    } else if !direct {
                        env.extend_from_slice(&buf[..r]);
                    }
                    let b: &[u8] = if direct { &buf[..r] } else { &env };
                    let mut p = 0;
                    while b.len() - p >= 9 {
                        let l = 9 + u32::from_be_bytes(b[p + 5..p + 9].try_into().unwrap()) as usize;
                        if b.len() - p < l {
                            break;
                        }
                        let st = u16::from_be_bytes([b[p + 2], b[p + 3]]);
                        if st as usize >= nf {
                            if st < 0x8000 {
                                bad += 1;
                            }
                            p += l;
                            continue;
                        }
                        let read = tm[c.kind[st as usize] as usize].read;
                        if b[p + 4] != 8 {
                            errs += 1;
                            if shown < 5 {
                                shown += 1;
                                eprintln!("opcode {} {}", b[p + 4], String::from_utf8_lossy(&b[p + 9..p + l.min(200)]));
                            }
                        } else if verify {
                            let compressed = ver < 5 && b[p + 1] & 1 != 0;
                            if compressed {
                                lz4::read_body(&b[p + 9..p + l], &mut plain);
                            }
                            let body: &[u8] = if compressed { &plain } else { &b[p + 9..p + l] };
                            let kind = body[3];
                            if !read {
                                if kind != 1 {
                                    bad += 1;
                                }
                            } else {
                                let need = c.key[st as usize].to_be_bytes();
                                if kind != 2 || body.len() < 28 || body[20..28] != need {
                                    bad += 1;
                                    if shown < 5 {
                                        shown += 1;
                                        eprintln!("bad read answer {:?} need {:?}", &b[p..p + l.min(60)], need);
                                    }
                                }
                            }
                        }
                        hist.add(t.saturating_sub(c.t0[st as usize]));
                        total += 1;
                        c.free.push(st);
                        p += l;
                    }
                    if direct {
                        if p < r {
                            env.extend_from_slice(&buf[p..r]);
                        }
                    } else {
                        env.drain(..p);
                    }
                    c.env = env;
                    if closed {
                        let t = now_ns();
                        while !c.free.is_empty() {
                            let k = (kbase + rnd() % nkeys) | big;
                            push(c, t, k);
                        }
                    }
                }
            }
            flush(c, i, &ep, ver >= 5);
        }
    }
    let el = (tend_real - t_meas) as f64 / 1e9;
    let m = total as f64 / 1e6;
    let mut mine = usage(&me).cpu - me0;
    let bz = busy() - busy0;
    let mut o = format!("{{\"label\":\"{}\",\"mix\":\"{}\",\"payload\":{},\"proto\":{},\"conns\":{},\"inflight\":{},\"rate\":{},\"rps\":{:.0},\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.0},\"mean\":{:.1},\"errs\":{},\"bad\":{},\"lag\":{},\"load_cpu_per_m\":{:.3}",
        arg("label", "-"), arg("mix", "w=100"), payload, ver, nc, nf, rate, total as f64 / el, hist.q(0.5), hist.q(0.9), hist.q(0.99), hist.q(0.999), hist.max as f64 / 1e3, hist.sum as f64 / 1e3 / hist.n.max(1) as f64, errs, bad, lag, (usage(&me).cpu - me0) / m);
    for (i, (n, p)) in pids.iter().enumerate() {
        let now = usage(p);
        let before = c0.get(i).copied().unwrap_or(now);
        let (used, kernel) = (now.cpu - before.cpu, now.kernel - before.kernel);
        mine += used;
        o += &format!(
            ",\"{n}_cpu_per_m\":{:.3},\"{n}_sys_per_m\":{:.3},\"{n}_util\":{:.2},\"{n}_rss\":{:.0}",
            used / m,
            kernel / m,
            used / el,
            now.rss
        );
    }
    println!("{},\"foreign\":{:.2}}}", o, (bz - mine) / el);
}
