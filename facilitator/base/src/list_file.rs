//! A small file that holds a list and its checksum, with which an operator steers a running process. It is replaced as a
//! whole, so that a reader gets the old list or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Which file.
#[derive(Debug)]
pub struct ListFile {
    /// Its name in the directory.
    pub name: &'static str,
    /// No list is this long; a larger file is damaged.
    pub max_bytes: u64,
}

/// Why a file gives no list.
#[derive(Debug)]
pub enum Unreadable {
    TooLarge,
    /// The checksum, or the form.
    Damaged,
    Io(io::Error),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("it is too large for a list"),
            Self::Damaged => f.write_str("its checksum or its form is wrong"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl ListFile {
    /// The list; empty where there is no file. Blocks on the disk.
    ///
    /// # Errors
    /// The file can't be read, or holds no list.
    pub fn read<T: DeserializeOwned>(&self, directory: &Path) -> Result<Vec<T>, Unreadable> {
        let path = directory.join(self.name);
        let text = fs::metadata(&path).map_err(Unreadable::Io).and_then(|found| {
            if found.len() > self.max_bytes {
                Err(Unreadable::TooLarge)
            } else {
                fs::read_to_string(&path).map_err(Unreadable::Io)
            }
        });
        match text {
            Ok(text) => decode(&text).ok_or(Unreadable::Damaged),
            Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(why) => Err(why),
        }
    }

    /// Replaces the file; durable when it returns.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write<T: Serialize>(&self, directory: &Path, list: &[T]) -> io::Result<()> {
        let new = directory.join(format!("{}.new", self.name));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(encode(list)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, directory.join(self.name))?;
        File::open(directory)?.sync_all()
    }

    /// An exclusive lock, to be held from reading the list until it is written. Blocks until it is free.
    ///
    /// # Errors
    /// The lock's file can't be opened or locked.
    pub fn lock(&self, directory: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(directory.join(format!("{}.lock", self.name)))?;
        file.lock()?;
        Ok(file)
    }
}

fn checksum(list: &str) -> String {
    hex::encode(Sha256::digest(list))
}

pub(crate) fn encode<T: Serialize>(list: &[T]) -> io::Result<String> {
    let list = serde_json::to_string(list)?;
    Ok(format!("{} {list}\n", checksum(&list)))
}

pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Option<Vec<T>> {
    let (sum, list) = text.strip_suffix('\n')?.split_once(' ')?;
    if checksum(list) != sum {
        return None;
    }
    serde_json::from_str(list).ok()
}
