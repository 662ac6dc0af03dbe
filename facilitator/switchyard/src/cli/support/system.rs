//! Facts about the machine.

use std::path::Path;

/// Files of `/proc` and the like: the name that is shown, the file, and the lines that start with one of these.
const FILES: [(&str, &str, &[&str]); 8] = [
    ("system", "/etc/os-release", &["PRETTY_NAME="]),
    ("kernel", "/proc/sys/kernel/osrelease", &[]),
    ("load", "/proc/loadavg", &[]),
    ("uptime, s", "/proc/uptime", &[]),
    (
        "memory",
        "/proc/meminfo",
        &["MemTotal:", "MemAvailable:", "SwapTotal:", "SwapFree:"],
    ),
    ("memory of the cgroup", "/sys/fs/cgroup/memory.max", &[]),
    ("processors of the cgroup", "/sys/fs/cgroup/cpu.max", &[]),
    ("limits of this command", "/proc/self/limits", &[]),
];
const MAX_BYTES: usize = 16 << 10;

/// Kernel, processors, memory, limits, and the free space for the data directory.
pub(super) fn facts(data_directory: &Path) -> String {
    let mut out = format!("architecture: {}\n", std::env::consts::ARCH);
    match std::thread::available_parallelism() {
        Ok(count) => out.push_str(&format!("processors: {count}\n")),
        Err(error) => out.push_str(&format!("processors: not known ({error})\n")),
    }
    out.push_str(&format!(
        "disk of {}: {}\n",
        data_directory.display(),
        disk(data_directory)
    ));
    for (name, file, lines) in FILES {
        let Ok(text) = std::fs::read_to_string(file) else {
            continue;
        };
        let text: String = text.chars().take(MAX_BYTES).collect();
        let wanted = text
            .lines()
            .filter(|line| lines.is_empty() || lines.iter().any(|start| line.starts_with(start)));
        let wanted: Vec<&str> = wanted.collect();
        match wanted.as_slice() {
            [one] => out.push_str(&format!("{name}: {one}\n")),
            several => out.push_str(&format!("{name}:\n  {}\n", several.join("\n  "))),
        }
    }
    out
}

/// Free space where a directory is, or will be.
fn disk(directory: &Path) -> String {
    let existing = directory.ancestors().find(|path| path.exists());
    let found = existing.map(rustix::fs::statvfs);
    match found {
        Some(Ok(disk)) => {
            let mebibytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize) >> 20;
            format!(
                "{} MiB free of {} MiB, {} of {} files free",
                mebibytes(disk.f_bavail),
                mebibytes(disk.f_blocks),
                disk.f_favail,
                disk.f_files
            )
        }
        Some(Err(error)) => format!("not known ({error})"),
        None => "not known".to_owned(),
    }
}
