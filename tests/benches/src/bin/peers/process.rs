//! What the kernel reports about a process.

use std::fs;
use std::time::Duration;

use crate::Failure;

/// Linux reports CPU times to programs in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// CPU time and context switches of a process, all threads together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Voluntary and involuntary, of the threads that still run.
    pub(crate) switches: u64,
}

impl Usage {
    pub(crate) fn of(process: u32) -> Result<Usage, Failure> {
        let stat = read(&format!("/proc/{process}/stat"))?;
        let ticks = cpu_ticks(&stat)
            .ok_or_else(|| Failure(format!("/proc/{process}/stat has another form: {stat}")))?;
        let tasks = format!("/proc/{process}/task");
        let folder = fs::read_dir(&tasks).map_err(|e| Failure(format!("cannot read {tasks}: {e}")))?;
        let mut switches = 0;
        for task in folder.flatten() {
            // A thread may have ended since.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            switches += field(&status, "voluntary_ctxt_switches:").unwrap_or_default();
            switches += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or_default();
        }
        Ok(Usage {
            cpu: TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)),
            switches,
        })
    }

    pub(crate) fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(process: u32) -> Result<u64, Failure> {
    let status = read(&format!("/proc/{process}/status"))?;
    field(&status, "VmRSS:").ok_or_else(|| Failure(format!("process {process} has ended")))
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| Failure(format!("cannot read {path}: {e}; has the process ended?")))
}

/// User and system time. The second field, the name, may contain anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    // utime and stime are the fields 14 and 15, and the first one here is the field 3.
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_parenthesis_in_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 120 34 0 0 20 0 5 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(154));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_kib(std::process::id()).expect("it runs") > 0);
        assert!(Usage::of(std::process::id()).expect("it runs").switches > 0);
    }
}
