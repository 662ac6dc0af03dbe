//! Processor time, as Linux counts it.

use std::collections::BTreeMap;
use std::path::Path;

/// Milliseconds in a tick of `/proc`: Linux reports 100 ticks a second on every architecture.
const TICK_MS: u64 = 10;

/// Processor time in milliseconds, by the name of the thread; of a database's server as one.
pub type Cpu = BTreeMap<String, u64>;

/// The fields of a `stat` file after the name in parentheses.
fn fields(path: &Path) -> Option<(String, Vec<u64>)> {
    let text = std::fs::read_to_string(path.join("stat")).ok()?;
    let (head, tail) = text.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let numbers = tail.split_whitespace().skip(1);
    Some((name, numbers.map(|field| field.parse().unwrap_or(0)).collect()))
}

/// User and system time. The first field is the parent's process id.
fn cpu_ms(fields: &[u64]) -> u64 {
    let ticks = |index: usize| fields.get(index).copied().unwrap_or(0);
    ticks(10).saturating_add(ticks(11)).saturating_mul(TICK_MS)
}

/// The processor time of this process so far, and of this server with the processes that it has started.
pub fn cpu(server: Option<u32>) -> Cpu {
    let mut used = Cpu::new();
    let entries = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten();
    for thread in entries("/proc/self/task") {
        if let Some((name, fields)) = fields(&thread.path()) {
            *used.entry(name).or_default() += cpu_ms(&fields);
        }
    }
    let Some(server) = server else { return used };
    for process in entries("/proc") {
        let is_server = process.file_name() == *server.to_string();
        if let Some((_, fields)) = fields(&process.path())
            && (is_server || fields.first() == Some(&u64::from(server)))
        {
            *used.entry("the database's server".into()).or_default() += cpu_ms(&fields);
        }
    }
    used
}
