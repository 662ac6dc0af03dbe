//! The text that a run prints.

use std::fmt;
use std::time::Duration;

use crate::Options;
use crate::journals::Done;
use crate::load::Replies;
use crate::machine::Cpu;

/// What was measured.
pub struct Report {
    pub options: Options,
    pub replies: Replies,
    pub took: Duration,
    pub done: Done,
    /// Calls to the chain.
    pub calls: u64,
    pub cpu: Cpu,
    /// Settlements of the whole run, and by how many bytes the journal has grown with them.
    pub settled: u64,
    pub grown: u64,
    /// Transactions that failed on the chain: none should.
    pub reverted: u64,
}

/// Processor time between two moments. A thread that has ended in between counts as none.
pub fn used(after: &Cpu, before: &Cpu) -> Cpu {
    let since = |name: &String, ms: u64| ms.saturating_sub(before.get(name).copied().unwrap_or(0));
    after
        .iter()
        .map(|(name, ms)| (name.clone(), since(name, *ms)))
        .collect()
}

/// `all` by `count` with two digits after the point.
fn each(all: u64, count: u64) -> String {
    let hundredths = all.saturating_mul(100) / count.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { pace, .. } = &self.options;
        let options = &self.options;
        let settled = u64::try_from(self.replies.successes.len()).unwrap_or(u64::MAX);
        let took_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX).max(1);
        let journal = if options.is_postgres {
            "PostgreSQL"
        } else {
            "SQLite"
        };
        writeln!(
            f,
            "{journal}; {} signers with at most {} in flight each, {} callers; a block every {} ms, {} ms for each call",
            options.signers,
            options.in_flight,
            options.callers,
            pace.block_time.as_millis(),
            pace.latency.as_millis()
        )?;
        writeln!(
            f,
            "{} settlements per second: {settled} in {took_ms} ms",
            each(settled.saturating_mul(1_000), took_ms)
        )?;
        writeln!(
            f,
            "from request to success: {} ms in the middle, 99 of 100 within {} ms; other answers: {} pending, {} unavailable, \
             {} failed, {} reverted on the chain",
            self.replies.within_ms(500),
            self.replies.within_ms(990),
            self.replies.pending,
            self.replies.unavailable,
            self.replies.failed,
            self.reverted
        )?;
        let cpu_ms: u64 = self.cpu.values().sum();
        writeln!(
            f,
            "processor time for each settlement: {} ms",
            each(cpu_ms, settled)
        )?;
        for (name, ms) in self.cpu.iter().filter(|(_, ms)| **ms > 0) {
            writeln!(
                f,
                "  {name}: {} ms; busy {} % of the time",
                each(*ms, settled),
                ms * 100 / took_ms
            )?;
        }
        let done = &self.done;
        writeln!(
            f,
            "for each settlement: {} commits with {} events, {} marks, {} reads, {} statements, {} round trips, {} calls to the \
             chain",
            each(done.commits, settled),
            each(done.events, settled),
            each(done.marks, settled),
            each(done.reads, settled),
            each(done.statements, settled),
            each(done.round_trips, settled),
            each(self.calls, settled)
        )?;
        writeln!(
            f,
            "{} transactions of the journal: {} commits in each, {} for each settlement, {} per second; a commit takes {} ms with \
             its wait",
            done.groups,
            each(done.commits, done.groups),
            each(done.groups, settled),
            each(done.groups.saturating_mul(1_000), took_ms),
            each(done.commit_us / 1_000, done.commits)
        )?;
        if let Some(syncs) = done.server_syncs {
            writeln!(
                f,
                "syncs of the server's log for each settlement: {}",
                each(syncs, settled)
            )?;
        }
        write!(
            f,
            "the journal grew by {} bytes for each of {} finished settlements",
            self.grown / self.settled.max(1),
            self.settled
        )
    }
}
