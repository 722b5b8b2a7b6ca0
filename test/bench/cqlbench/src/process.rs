//! What /proc says of processes and of the machine.

/// What processes have used so far: CPU seconds, those of them in the kernel, resident MiB.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub cpu: f64,
    pub kernel: f64,
    pub rss: f64,
}

/// Of several processes together, `1+2+3`.
pub fn usage(pids: &str) -> Usage {
    let mut sum = Usage::default();
    for p in pids.split('+').filter(|p| !p.is_empty()) {
        if let Ok(s) = std::fs::read_to_string(format!("/proc/{}/stat", p)) {
            let t: Vec<&str> = s[s.rfind(')').unwrap() + 2..].split(' ').collect();
            let kernel = t[12].parse::<f64>().unwrap() / 100.0;
            sum.cpu += t[11].parse::<f64>().unwrap() / 100.0 + kernel;
            sum.kernel += kernel;
            sum.rss += t[21].parse::<f64>().unwrap() * 4096.0 / 1048576.0;
        }
    }
    sum
}
/// Machine-wide busy CPU seconds (user+nice+system+irq+softirq+steal)
pub fn busy() -> f64 {
    let s = std::fs::read_to_string("/proc/stat").unwrap();
    let l = s.lines().next().unwrap();
    let v: Vec<f64> = l.split_whitespace().skip(1).map(|x| x.parse().unwrap()).collect();
    (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / 100.0
}
