//! The withheld releases that an operator allows, as a small file in the journal's directory. `switchyard releases allow`
//! writes it; the running process, or the next one, applies it and empties it.
//!
//! The file is a checksum and a list, and is replaced as a whole. A file that can't be read allows nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The file's name in `data.directory`.
pub const FILE: &str = "releases-allowed";
/// No list is this long; a larger file is damaged.
const MAX_BYTES: u64 = 64 << 20;

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedRelease {
    pub settlement: u64,
    /// The claim of that settlement: another journal may have another settlement with this number.
    pub claim: String,
}

/// Reads the file in this directory; empty where there is none. Blocks on the disk.
pub fn read(directory: &Path) -> io::Result<Vec<AllowedRelease>> {
    let path = directory.join(FILE);
    let damaged = |what: &str| {
        let path = path.display();
        io::Error::other(format!("{path} {what}: remove it and run the command again"))
    };
    let text = match fs::metadata(&path).and_then(|found| {
        if found.len() > MAX_BYTES {
            Err(damaged("is far too large"))
        } else {
            fs::read_to_string(&path)
        }
    }) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    decode(&text).ok_or_else(|| damaged("is damaged"))
}

/// Replaces the file in this directory; durable when it returns.
pub fn write(directory: &Path, allowed: &[AllowedRelease]) -> io::Result<()> {
    let new = directory.join(format!("{FILE}.new"));
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    let list = serde_json::to_string(allowed)?;
    writeln!(file, "{} {list}", checksum(&list))?;
    file.sync_all()?;
    fs::rename(&new, directory.join(FILE))?;
    File::open(directory)?.sync_all()
}

/// An exclusive lock, to be held from reading the list until it is written. Blocks until it is free.
pub fn lock(directory: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join(format!("{FILE}.lock")))?;
    file.lock()?;
    Ok(file)
}

fn checksum(list: &str) -> String {
    hex::encode(Sha256::digest(list))
}

fn decode(text: &str) -> Option<Vec<AllowedRelease>> {
    let (sum, list) = text.strip_suffix('\n')?.split_once(' ')?;
    if checksum(list) != sum {
        return None;
    }
    serde_json::from_str(list).ok()
}

#[cfg(test)]
mod tests {
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
