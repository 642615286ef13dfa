/// Threads to run on by default: the processors this process may use (affinity and cgroup limits counted).
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The most memory this process has held at once (resident, shared pages of mapped files counted), where the system says.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn figures_are_plausible() {
        assert!(super::default_threads() >= 1);
        if cfg!(target_os = "linux") {
            assert!(super::peak_rss_bytes().unwrap() > 100_000);
        }
    }
}
