//! Reads what `recorder.c` has written.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// One thing that was done to a file or to the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Link { name: String, inode: u64 },
    Write { inode: u64, at: u64, bytes: Vec<u8> },
    Size { inode: u64, size: u64 },
    Sync { inode: u64 },
    Unlink { name: String },
    SyncFolder,
}

const HEAD: usize = 24;

/// Where the record of a folder is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.with_extension("ops")
}

/// The record of a folder, as far as it was not read.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    read: u64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut number = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        number.copy_from_slice(found);
    }
    number
}

fn change(head: &[u8], bytes: &[u8]) -> Option<Change> {
    let name = || String::from_utf8_lossy(bytes).into_owned();
    let inode = u64::from_ne_bytes(number(head, 8));
    let at = u64::from_ne_bytes(number(head, 16));
    Some(match u32::from_ne_bytes(number(head, 0)) {
        1 => Change::Link { name: name(), inode },
        2 => Change::Write {
            inode,
            at,
            bytes: bytes.to_vec(),
        },
        3 => Change::Size { inode, size: at },
        4 => Change::Sync { inode },
        5 => Change::Unlink { name: name() },
        6 => Change::SyncFolder,
        _ => return None,
    })
}

impl Record {
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            path: path(folder),
            read: 0,
        }
    }

    /// What was done since the last time.
    pub(super) fn read(&mut self) -> Vec<Change> {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut bytes)
        });
        if read.is_err() {
            return Vec::new();
        }
        self.read = self.read.saturating_add(u64::try_from(bytes.len()).unwrap_or(0));
        let mut rest = bytes.as_slice();
        let mut changes = Vec::new();
        while let Some((head, after)) = rest.split_at_checked(HEAD) {
            let length = usize::try_from(u32::from_ne_bytes(number(head, 4))).unwrap_or(usize::MAX);
            let Some((body, next)) = after.split_at_checked(length) else {
                break;
            };
            changes.extend(change(head, body));
            rest = next;
        }
        changes
    }

    /// What was done so far does not count.
    pub(super) fn clear(&mut self) -> std::io::Result<()> {
        self.read = 0;
        match File::options().write(true).open(&self.path) {
            Ok(file) => file.set_len(0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
