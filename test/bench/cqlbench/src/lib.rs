//! What the three programs share: epoll, non-blocking sockets, frames, v5 segments.
use std::os::fd::RawFd;

pub mod histogram;
pub mod lz4;
pub mod process;
pub mod requests;
pub mod segment;
pub mod session;
pub mod system_tables;

pub struct Epoll {
    pub fd: RawFd,
}
impl Epoll {
    pub fn new() -> Self {
        Epoll { fd: unsafe { libc::epoll_create1(0) } }
    }
    pub fn add(&self, fd: RawFd, tok: u64, w: bool) {
        self.ctl(libc::EPOLL_CTL_ADD, fd, tok, w)
    }
    pub fn modify(&self, fd: RawFd, tok: u64, w: bool) {
        self.ctl(libc::EPOLL_CTL_MOD, fd, tok, w)
    }
    fn ctl(&self, op: i32, fd: RawFd, tok: u64, w: bool) {
        let mut ev =
            libc::epoll_event { events: (libc::EPOLLIN | if w { libc::EPOLLOUT } else { 0 }) as u32, u64: tok };
        unsafe {
            libc::epoll_ctl(self.fd, op, fd, &mut ev);
        }
    }
    /// timeout in ns; negative = forever
    pub fn wait(&self, evs: &mut [libc::epoll_event], ns: i64) -> usize {
        let r = unsafe {
            if ns < 0 {
                libc::epoll_wait(self.fd, evs.as_mut_ptr(), evs.len() as i32, -1) as i64
            } else {
                let ts = libc::timespec { tv_sec: ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 };
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.fd,
                    evs.as_mut_ptr(),
                    evs.len() as i32,
                    &ts as *const _,
                    0usize,
                    0usize,
                )
            }
        };
        if r < 0 {
            0
        } else {
            r as usize
        }
    }
}
pub fn rd(fd: RawFd, b: &mut [u8]) -> isize {
    unsafe { libc::read(fd, b.as_mut_ptr() as *mut _, b.len()) }
}
pub fn wr(fd: RawFd, b: &[u8]) -> isize {
    unsafe { libc::send(fd, b.as_ptr() as *const _, b.len(), libc::MSG_NOSIGNAL) }
}
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
pub fn now_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t);
    }
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
pub fn put_str(o: &mut Vec<u8>, s: &str) {
    o.extend_from_slice(&(s.len() as u16).to_be_bytes());
    o.extend_from_slice(s.as_bytes());
}
pub fn put_int(o: &mut Vec<u8>, v: i32) {
    o.extend_from_slice(&v.to_be_bytes());
}
pub fn put_bytes(o: &mut Vec<u8>, b: &[u8]) {
    put_int(o, b.len() as i32);
    o.extend_from_slice(b);
}
pub fn frame(o: &mut Vec<u8>, ver: u8, stream: [u8; 2], op: u8, body: &[u8]) {
    o.extend_from_slice(&[ver, 0, stream[0], stream[1], op]);
    put_int(o, body.len() as i32);
    o.extend_from_slice(body);
}
pub fn arg(name: &str, def: &str) -> String {
    let a: Vec<String> = std::env::args().collect();
    for i in 1..a.len() {
        if a[i] == format!("--{}", name) {
            return a.get(i + 1).cloned().unwrap_or_default();
        }
    }
    def.to_string()
}
pub fn flag(name: &str) -> bool {
    std::env::args().any(|a| a == format!("--{}", name))
}
