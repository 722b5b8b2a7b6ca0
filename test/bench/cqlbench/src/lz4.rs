//! LZ4 blocks: stored as literals only (so that a key in a template can be patched in place), read in full.

/// <uncompressed length [int]><one run of literals>, as a v4 frame body. The literals begin at the second result.
pub fn store_body(body: &[u8]) -> (Vec<u8>, usize) {
    let mut out = (body.len() as u32).to_be_bytes().to_vec();
    if body.len() < 15 {
        out.push((body.len() as u8) << 4);
    } else {
        out.push(0xF0);
        let mut left = body.len() - 15;
        while left >= 255 {
            out.push(255);
            left -= 255;
        }
        out.push(left as u8);
    }
    let start = out.len();
    out.extend_from_slice(body);
    (out, start)
}

fn length(block: &[u8], at: &mut usize, base: usize) -> usize {
    let mut total = base;
    if base == 15 {
        loop {
            let byte = block[*at];
            *at += 1;
            total += byte as usize;
            if byte != 255 {
                break;
            }
        }
    }
    total
}

/// Reads a v4 frame body into `out`, which is emptied first. Panics on a body that is not LZ4.
pub fn read_body(body: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let plain_bytes = u32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
    let block = &body[4..];
    let mut at = 0;
    while at < block.len() {
        let token = block[at];
        at += 1;
        let literals = length(block, &mut at, (token >> 4) as usize);
        out.extend_from_slice(&block[at..at + literals]);
        at += literals;
        if at >= block.len() {
            break;
        }
        let offset = u16::from_le_bytes([block[at], block[at + 1]]) as usize;
        at += 2;
        let matched = length(block, &mut at, (token & 15) as usize) + 4;
        let from = out.len() - offset;
        for i in 0..matched {
            out.push(out[from + i]);
        }
    }
    assert_eq!(out.len(), plain_bytes, "an LZ4 body has another length than it says");
}
