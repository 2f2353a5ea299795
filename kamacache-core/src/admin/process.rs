//! What this process takes of the machine; `None` where the system does not
//! say.

/// Seconds of processor time since the process began, of all its threads.
pub(super) fn cpu_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Some(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9)
    }
    #[cfg(not(unix))]
    None
}

/// Bytes of the process in memory now.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_process_has_memory_and_uses_time() {
        assert!(super::resident_bytes().unwrap() > 100_000);
        let before = super::cpu_seconds().unwrap();
        let mut sum = 0_u64;
        while super::cpu_seconds().unwrap() <= before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
