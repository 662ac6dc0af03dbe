//! Monitors whether the disk of the data directory accepts writes. On a full disk every new payment is refused, so `/ready`
//! reports it.
//!
//! A small file is written and emptied again. It is not synced: a full file system reports that on write, and data that is
//! removed before it is flushed causes no disk traffic. The file is kept, so that a backup of the directory meets no file
//! that disappears.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use super::Metrics;

/// The file that is written, in the data directory. It is empty between two checks.
pub const PROBE: &str = "space-probe";
/// The files of the journal, where it is in the data directory.
const JOURNAL: [&str; 2] = ["journal.sqlite", "journal.sqlite-wal"];
/// Space for some payments: the journal writes a few kilobytes for each.
const PROBE_BYTES: usize = 64 * 1_024;
/// Pause between two checks.
const INTERVAL: Duration = Duration::from_secs(5);
/// A disk that does not respond within this time hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The disk of the data directory, as of the last check.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    trouble: Mutex<Option<String>>,
}

impl Disk {
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            trouble: Mutex::default(),
        }
    }

    /// Why the disk refuses writes, for operators. `None` while it accepts them.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Checks the disk every few seconds. Never returns.
    pub async fn monitor(&self, metrics: &Metrics) {
        loop {
            self.check(metrics).await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Checks the disk once and sets the metric.
    pub async fn check(&self, metrics: &Metrics) {
        let directory = self.directory.clone();
        let probed = tokio::task::spawn_blocking(move || (probe(&directory), Space::of(&directory)));
        let probed = tokio::time::timeout(TIMEOUT, probed).await;
        if let Ok(Ok((_, space))) = &probed {
            space.measure(metrics);
        }
        let found = match probed.map(|done| done.map(|(probed, _)| probed)) {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(format!(
                "data.directory can't be written ({error}); {}",
                remedy(&error)
            )),
            // The runtime is shutting down.
            Ok(Err(_)) => None,
            Err(_) => Some("data.directory: its disk does not respond; check the system's log".to_owned()),
        };
        metrics.set(
            "switchyard_disk_refuses_writes",
            &[],
            if found.is_some() { 1.0 } else { 0.0 },
        );
        let before = std::mem::replace(&mut *self.trouble.lock(), found.clone());
        match (before, found) {
            (None, Some(why)) => tracing::error!("disk_refuses_writes: new payments get 503: {why}"),
            (Some(_), None) => tracing::info!("disk_accepts_writes"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

/// Bytes of the disk and of the journal; `None`: not known, or there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    pub total: Option<u64>,
    /// What this process may still write: a part of a disk can be reserved for the system.
    pub free: Option<u64>,
    /// Of the SQLite journal's files.
    pub journal: Option<u64>,
}

impl Space {
    /// Of a data directory. Blocks the thread.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        let disk = rustix::fs::statvfs(directory).ok();
        let sizes = JOURNAL.map(|name| {
            std::fs::metadata(directory.join(name))
                .map(|file| file.len())
                .ok()
        });
        Self {
            total: disk
                .as_ref()
                .map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize)),
            free: disk
                .as_ref()
                .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
            journal: sizes.into_iter().flatten().reduce(u64::saturating_add),
        }
    }

    fn measure(&self, metrics: &Metrics) {
        for (name, bytes) in [
            ("switchyard_disk_size_bytes", self.total),
            ("switchyard_disk_free_bytes", self.free),
            ("switchyard_journal_size_bytes", self.journal),
        ] {
            if let Some(bytes) = bytes {
                #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
                metrics.set(name, &[], bytes as f64);
            }
        }
    }
}

/// Writes a small file into the directory and empties it. Blocks the thread.
///
/// # Errors
/// When the file can't be written.
pub fn probe(directory: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(directory.join(PROBE))?;
    file.write_all(&vec![0; PROBE_BYTES])?;
    file.set_len(0)
}

/// What an operator can do when a file of the data directory can't be written.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: make room, or write a folder on another disk"
        }
        io::ErrorKind::ReadOnlyFilesystem => "its file system is mounted read-only: mount it for writing",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is where a folder has to be: remove it, or write another folder"
        }
        io::ErrorKind::NotFound => "a folder of this path is missing: make it, or write another folder",
        io::ErrorKind::PermissionDenied => {
            "give the user that serves the right to write there, or run this as that user"
        }
        _ => "check the system's log, or write a folder on another disk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_detected_and_so_is_free_space() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, metrics) = (Disk::new(folder.path()), Metrics::default());
        disk.check(&metrics).await;
        assert_eq!(disk.trouble(), None);
        let text = metrics.render();
        assert!(!text.contains("switchyard_journal_size_bytes"), "there is none");
        let bytes = |text: &str, name: &str| -> f64 {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name} ")));
            value.unwrap().parse().unwrap()
        };
        let free = bytes(&text, "switchyard_disk_free_bytes");
        assert!(free > 0.0 && free <= bytes(&text, "switchyard_disk_size_bytes"));
        for (name, length) in JOURNAL.iter().zip([4_096, 100]) {
            std::fs::write(folder.path().join(name), vec![0; length]).unwrap();
        }
        disk.check(&metrics).await;
        assert!(
            metrics
                .render()
                .contains("\nswitchyard_journal_size_bytes 4196\n")
        );
        let probe = folder.path().join(PROBE);
        assert_eq!(std::fs::metadata(&probe).unwrap().len(), 0, "it takes no space");
        std::fs::remove_file(&probe).unwrap();
        std::os::unix::fs::symlink("/dev/full", &probe).unwrap();
        disk.check(&metrics).await;
        let why = disk.trouble().unwrap();
        assert!(why.contains("the disk is full: make room"), "{why}");
        assert!(metrics.render().contains("switchyard_disk_refuses_writes 1"));
        std::fs::remove_file(&probe).unwrap();
        disk.check(&metrics).await;
        assert_eq!(disk.trouble(), None);
        assert!(metrics.render().contains("switchyard_disk_refuses_writes 0"));
        let gone = Disk::new(&folder.path().join("gone"));
        gone.check(&metrics).await;
        assert!(gone.trouble().unwrap().contains("is missing"));
    }

    #[test]
    fn every_disk_error_names_its_remedy() {
        let of = |kind| remedy(&io::Error::from(kind));
        assert!(of(io::ErrorKind::StorageFull).contains("make room"));
        assert!(of(io::ErrorKind::ReadOnlyFilesystem).contains("mounted read-only"));
        assert!(of(io::ErrorKind::PermissionDenied).contains("the user that serves"));
    }
}
