//! Segments of protocol v5, plain: a header of 3 bytes with its CRC24, whole frames, their CRC32.

pub fn crc24_3(v: u32) -> u32 {
    // table driven for 3-byte headers
    static mut T: [[u32; 256]; 1] = [[0; 256]; 1];
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| unsafe {
        for i in 0..256u32 {
            let mut c = i << 16;
            for _ in 0..8 {
                c <<= 1;
                if c & 0x1000000 != 0 {
                    c ^= 0x1974F0B;
                }
            }
            T[0][i as usize] = c & 0xffffff;
        }
    });
    let mut c = 0x875060u32;
    for i in 0..3 {
        let b = (v >> (8 * i)) & 0xff;
        unsafe {
            c = ((c << 8) & 0xffffff) ^ T[0][(((c >> 16) ^ b) & 0xff) as usize];
        }
    }
    c
}
pub fn crc32_init() -> u32 {
    static O: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *O.get_or_init(|| crc32fast::hash(&[0xFA, 0x2D, 0x55, 0xCA]))
}
pub fn crc32(b: &[u8]) -> u32 {
    let mut h = crc32fast::Hasher::new_with_initial(crc32_init());
    h.update(b);
    h.finalize()
}
pub const MAX_SEG: usize = 131071;
/// Wrap a run of complete envelopes into v5 segments (self-contained where possible).
pub fn write_segments(out: &mut Vec<u8>, envs: &[u8]) {
    let mut p = 0;
    while p < envs.len() {
        // gather as many whole envelopes as fit
        let mut e = p;
        loop {
            if e + 9 > envs.len() {
                break;
            }
            let l = 9 + u32::from_be_bytes(envs[e + 5..e + 9].try_into().unwrap()) as usize;
            if e + l - p > MAX_SEG {
                break;
            }
            e += l;
            if e >= envs.len() {
                break;
            }
        }
        if e > p {
            seg(out, &envs[p..e], true);
            p = e;
        } else {
            let l = 9 + u32::from_be_bytes(envs[p + 5..p + 9].try_into().unwrap()) as usize;
            let end = p + l;
            while p < end {
                let n = MAX_SEG.min(end - p);
                seg(out, &envs[p..p + n], false);
                p += n;
            }
        }
    }
}
fn seg(out: &mut Vec<u8>, pl: &[u8], selfc: bool) {
    let h = (pl.len() as u32) | if selfc { 1 << 17 } else { 0 };
    out.extend_from_slice(&h.to_le_bytes()[..3]);
    out.extend_from_slice(&crc24_3(h).to_le_bytes()[..3]);
    out.extend_from_slice(pl);
    out.extend_from_slice(&crc32(pl).to_le_bytes());
}
/// Unwrap complete segments from `raw[..]` into `envs`; returns bytes consumed.
pub fn read_segments(raw: &[u8], envs: &mut Vec<u8>) -> usize {
    let mut p = 0;
    while raw.len() - p >= 6 {
        let h = raw[p] as u32 | (raw[p + 1] as u32) << 8 | (raw[p + 2] as u32) << 16;
        let c = raw[p + 3] as u32 | (raw[p + 4] as u32) << 8 | (raw[p + 5] as u32) << 16;
        if crc24_3(h) != c {
            panic!("crc24 mismatch");
        }
        let l = (h & 0x1ffff) as usize;
        if raw.len() - p < 10 + l {
            break;
        }
        let pl = &raw[p + 6..p + 6 + l];
        let pc = u32::from_le_bytes(raw[p + 6 + l..p + 10 + l].try_into().unwrap());
        if crc32(pl) != pc {
            panic!("crc32 mismatch");
        }
        envs.extend_from_slice(pl);
        p += 10 + l;
    }
    p
}
