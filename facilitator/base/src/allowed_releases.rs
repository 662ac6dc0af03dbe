//! The withheld releases that an operator allows, as a small file in the journal's directory. `switchyard releases allow`
//! writes it; the running process, or the next one, applies it and empties it. Where several nodes share a database as their
//! journal, the same text is a row of it.
//!
//! The file is a checksum and a list, and is replaced as a whole. A file that can't be read allows nothing.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::list_file::{ListFile, Unreadable, decode, encode};

/// The file's name in `data.directory`.
pub const FILE: &str = "releases-allowed";
const LIST: ListFile = ListFile {
    name: FILE,
    max_bytes: 64 << 20,
};

/// A release that the operator allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedRelease {
    pub settlement: u64,
    /// The claim of that settlement: another journal may have another settlement with this number.
    pub claim: String,
}

/// Reads the file in this directory; empty where there is none. Blocks on the disk.
pub fn read(directory: &Path) -> io::Result<Vec<AllowedRelease>> {
    let refused = |what: &str| {
        let path = directory.join(FILE);
        let path = path.display();
        io::Error::other(format!("{path} {what}: remove it and run the command again"))
    };
    LIST.read(directory).map_err(|why| match why {
        Unreadable::TooLarge => refused("is far too large"),
        Unreadable::Damaged => refused("is damaged"),
        Unreadable::Io(error) => error,
    })
}

/// The list in the text of a row; `None`: the text is damaged and allows nothing.
#[must_use]
pub fn from_text(text: &str) -> Option<Vec<AllowedRelease>> {
    decode(text)
}

/// The text of a row with this list.
pub fn to_text(allowed: &[AllowedRelease]) -> io::Result<String> {
    encode(allowed)
}

/// Replaces the file in this directory; durable when it returns.
pub fn write(directory: &Path, allowed: &[AllowedRelease]) -> io::Result<()> {
    LIST.write(directory, allowed)
}

/// Returns an exclusive lock. Hold it from reading the list until the new list is written. Blocks until the lock is free.
pub fn lock(directory: &Path) -> io::Result<File> {
    LIST.lock(directory)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_list_is_read_back_and_a_damaged_file_allows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), []);
        let allowed = vec![AllowedRelease {
            settlement: 7,
            claim: "p|n|k".into(),
        }];
        write(folder.path(), &allowed).unwrap();
        assert_eq!(read(folder.path()).unwrap(), allowed);
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        for cut in 0..text.len() {
            fs::write(folder.path().join(FILE), &text[..cut]).unwrap();
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("remove it and run the command again"), "{error}");
        }
        write(folder.path(), &[]).unwrap();
        assert_eq!(read(folder.path()).unwrap(), []);
    }
}
