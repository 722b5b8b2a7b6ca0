//! Latencies in nanoseconds, with an error below 1.6 %.

pub struct Histogram {
    b: Vec<u64>,
    pub n: u64,
    pub max: u64,
    pub sum: u128,
}
impl Histogram {
    pub fn new() -> Self {
        Histogram { b: vec![0; 64 * 64], n: 0, max: 0, sum: 0 }
    }
    pub fn add(&mut self, v: u64) {
        let i = if v < 64 {
            v as usize
        } else {
            let e = 63 - v.leading_zeros() as usize;
            ((e - 5) << 6) + ((v >> (e - 6)) & 63) as usize
        };
        let l = self.b.len() - 1;
        self.b[i.min(l)] += 1;
        self.n += 1;
        self.max = self.max.max(v);
        self.sum += v as u128;
    }
    pub fn q(&self, p: f64) -> f64 {
        let t = (self.n as f64 * p).ceil() as u64;
        let mut c = 0;
        for (i, x) in self.b.iter().enumerate() {
            c += x;
            if c >= t && c > 0 {
                return if i < 64 {
                    i as f64
                } else {
                    let e = (i >> 6) + 5;
                    ((64 + (i & 63)) as f64 + 0.5) * 2f64.powi(e as i32 - 6)
                } / 1000.0;
            }
        }
        0.0
    }
}
