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
        let probed = tokio::task::spawn_blocking(move || probe(&directory));
        let found = match tokio::time::timeout(TIMEOUT, probed).await {
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
