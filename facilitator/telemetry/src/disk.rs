//! Whether the disk of the data directory takes writes. A full disk refuses every new payment, so `/ready` must say it.
//!
//! A small file is written and emptied again. It is not synced: a file system that is full says so at once, and what is
//! gone before it is flushed costs no disk traffic. The file stays, so that who copies the directory meets no file that
//! vanishes.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use super::Metrics;

/// In the data directory; empty but for a moment.
pub const PROBE: &str = "space-probe";
/// Room for some payments: what the journal writes for one is a few kilobytes.
const PROBE_BYTES: usize = 64 * 1_024;
/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// A disk that has not answered by then hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// The data directory's disk, as last seen.
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

    /// Why nothing can be recorded, for operators; `None` while all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Looks again and again; never ends.
    pub async fn watch(&self, metrics: &Metrics) {
        loop {
            self.look(metrics).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Looks once.
    pub async fn look(&self, metrics: &Metrics) {
        let directory = self.directory.clone();
        let probed = tokio::task::spawn_blocking(move || probe(&directory));
        let found = match tokio::time::timeout(PATIENCE, probed).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(format!(
                "data.directory can't be written ({error}); {}",
                remedy(&error)
            )),
            // The runtime is ending, or the disk did not answer.
            Ok(Err(_)) => None,
            Err(_) => Some("data.directory: its disk does not answer; look at the system's log".to_owned()),
        };
        metrics.set(
            "switchyard_disk_refuses_writes",
            &[],
            if found.is_some() { 1.0 } else { 0.0 },
        );
        let before = std::mem::replace(&mut *self.trouble.lock(), found.clone());
        match (before, found) {
            (None, Some(why)) => tracing::error!("disk_refuses_writes: new payments get 503: {why}"),
            (Some(_), None) => tracing::info!("disk_takes_writes_again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

/// Writes a small file into the directory and empties it. Blocks on the disk.
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

/// What helps when a file of the data directory can't be written.
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
        _ => "look at the system's log, or write a folder on another disk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_seen_and_so_is_room_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, metrics) = (Disk::new(folder.path()), Metrics::default());
        disk.look(&metrics).await;
        assert_eq!(disk.trouble(), None);
        let probe = folder.path().join(PROBE);
        assert_eq!(std::fs::metadata(&probe).unwrap().len(), 0, "it takes no room");
        std::fs::remove_file(&probe).unwrap();
        std::os::unix::fs::symlink("/dev/full", &probe).unwrap();
        disk.look(&metrics).await;
        let why = disk.trouble().unwrap();
        assert!(why.contains("the disk is full: make room"), "{why}");
        assert!(metrics.render().contains("switchyard_disk_refuses_writes 1"));
        std::fs::remove_file(&probe).unwrap();
        disk.look(&metrics).await;
        assert_eq!(disk.trouble(), None);
        assert!(metrics.render().contains("switchyard_disk_refuses_writes 0"));
        let gone = Disk::new(&folder.path().join("gone"));
        gone.look(&metrics).await;
        assert!(gone.trouble().unwrap().contains("is missing"));
    }

    #[test]
    fn every_cause_has_its_own_remedy() {
        let of = |kind| remedy(&io::Error::from(kind));
        assert!(of(io::ErrorKind::StorageFull).contains("make room"));
        assert!(of(io::ErrorKind::ReadOnlyFilesystem).contains("mounted read-only"));
        assert!(of(io::ErrorKind::PermissionDenied).contains("the user that serves"));
    }
}
