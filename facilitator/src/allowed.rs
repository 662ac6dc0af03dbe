//! Releases that an operator has allowed, on their way from the command to the process: a small file in the journal's
//! directory, a transaction hash a line, taken away by the process once it has been read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// In `data.directory`.
pub const FILE: &str = "releases-allowed";
/// Stands for every withheld release.
pub const ALL: &str = "all";
/// Longest line that can be a hash or a signature.
const MAX_LINE: usize = 128;

/// Adds hashes, or [`ALL`].
///
/// # Errors
/// The file can't be written.
pub fn add(directory: &Path, hashes: &[String]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(directory.join(FILE))?;
    let lines: String = hashes.iter().map(|hash| format!("{hash}\n")).collect();
    file.write_all(lines.as_bytes())?;
    file.sync_all()
}

/// Takes what was added; nothing when there is no file. Blocks on the disk.
///
/// # Errors
/// The file can't be moved or read.
pub fn take(directory: &Path) -> io::Result<Vec<String>> {
    let (from, taken) = (directory.join(FILE), directory.join(format!("{FILE}.taken")));
    match fs::rename(&from, &taken) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let text = fs::read_to_string(&taken)?;
    fs::remove_file(&taken)?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && line.len() <= MAX_LINE)
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(take(folder.path()).unwrap().is_empty());
        add(folder.path(), &["0xaa".to_owned()]).unwrap();
        add(folder.path(), &[ALL.to_owned(), "x".repeat(4_000)]).unwrap();
        assert_eq!(take(folder.path()).unwrap(), ["0xaa", ALL]);
        assert!(take(folder.path()).unwrap().is_empty());
    }
}
