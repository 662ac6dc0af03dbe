//! What this process uses, as Prometheus's own clients report it: CPU, memory, threads, open files.
//!
//! Assumes Linux with `/proc`. Where it can't be read, the metrics are absent.

use std::sync::atomic::{AtomicU64, Ordering};

use procfs::process::{LimitValue, Process, Stat};

use super::Metrics;

const CPU: &str = "process_cpu_seconds_total";

/// The process's own numbers, with what was counted of them.
#[derive(Debug, Default)]
pub struct OwnProcess {
    /// CPU time that the counter has, in clock ticks.
    counted_ticks: AtomicU64,
}

impl OwnProcess {
    /// Sets the metrics. Reads a few files of `/proc`, which have no disk.
    pub fn measure(&self, metrics: &Metrics) {
        let Ok(process) = Process::myself() else { return };
        if let Ok(stat) = process.stat() {
            self.write_stat(metrics, &stat);
        }
        if let Ok(open) = process.fd_count() {
            metrics.set("process_open_fds", &[], of_count(open));
        }
        // Without a limit there is nothing to compare with.
        let limit = process.limits().map(|limits| limits.max_open_files.soft_limit);
        if let Ok(LimitValue::Value(most)) = limit {
            metrics.set("process_max_fds", &[], large(most));
        }
    }

    fn write_stat(&self, metrics: &Metrics, stat: &Stat) {
        let ticks = stat.utime.saturating_add(stat.stime);
        let before = self.counted_ticks.swap(ticks, Ordering::Relaxed);
        metrics.add_quantity(CPU, &[], seconds(ticks.saturating_sub(before)));
        let bytes = stat.rss.saturating_mul(procfs::page_size());
        metrics.set("process_resident_memory_bytes", &[], large(bytes));
        metrics.set("process_virtual_memory_bytes", &[], large(stat.vsize));
        let threads = u32::try_from(stat.num_threads).unwrap_or(0);
        metrics.set("process_threads", &[], f64::from(threads));
        if let Ok(boot_s) = procfs::boot_time_secs() {
            let since_boot_s = stat.starttime / procfs::ticks_per_second().max(1);
            let start = boot_s.saturating_add(since_boot_s);
            metrics.set("process_start_time_seconds", &[], large(start));
        }
    }
}

#[expect(
    clippy::float_arithmetic,
    reason = "metrics are floating point by format; no amount passes here"
)]
fn seconds(ticks: u64) -> f64 {
    large(ticks) / large(procfs::ticks_per_second().max(1))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn large(number: u64) -> f64 {
    number as f64
}

fn of_count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name} in {text}"));
        line.parse().unwrap()
    }

    #[test]
    fn the_numbers_of_this_process_are_plausible() {
        let (metrics, process) = (Metrics::default(), OwnProcess::default());
        process.measure(&metrics);
        let before = value(&metrics.render(), CPU);
        let mut work = 0_u64;
        for number in 0..100_000_000_u64 {
            work = std::hint::black_box(work.wrapping_add(number));
        }
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        process.measure(&metrics);
        let text = metrics.render();
        assert!(value(&text, CPU) > before, "{text}");
        assert!(value(&text, CPU) < 86_400.0, "{text}");
        assert!(value(&text, "process_resident_memory_bytes") > 100_000.0);
        assert!(value(&text, "process_open_fds") >= 4.0);
        assert!(value(&text, "process_open_fds") < value(&text, "process_max_fds"));
        assert!(value(&text, "process_threads") >= 1.0);
        let start = value(&text, "process_start_time_seconds");
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(start > now - 7_200.0 && start < now + 2.0, "{start} {now}");
        drop(file);
    }
}
