//! A `.tar.gz` archive of small text files, in the format `ustar` of POSIX.1-1988, which every `tar` reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

const BLOCK: usize = 512;
/// The longest name that the header has room for, in bytes.
const MAX_NAME: usize = 100;

/// Creates a file that only its owner can read.
///
/// # Errors
/// It exists, or can't be created.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes the files into the archive, each with the time of `now_s`, seconds since the epoch.
///
/// # Errors
/// The archive can't be written, or a name has more than 100 bytes.
pub(super) fn write(file: &File, files: &[(String, String)], now_s: u64) -> io::Result<()> {
    let mut archive = GzEncoder::new(file, Compression::default());
    for (name, text) in files {
        archive.write_all(&header(name, text.len(), now_s)?)?;
        archive.write_all(text.as_bytes())?;
        let rest = text.len() % BLOCK;
        if rest > 0 {
            archive.write_all(&[0; BLOCK][rest..])?;
        }
    }
    // Two empty blocks end the archive.
    archive.write_all(&[0; BLOCK])?;
    archive.write_all(&[0; BLOCK])?;
    archive.finish()?;
    file.sync_all()
}

/// The header of a plain file with mode 0600.
fn header(name: &str, bytes: usize, now_s: u64) -> io::Result<[u8; BLOCK]> {
    if name.len() > MAX_NAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name} is too long for a name in the archive"),
        ));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        if let Some(field) = header.get_mut(at..at.saturating_add(text.len())) {
            field.copy_from_slice(text.as_bytes());
        }
    };
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, &format!("{now_s:011o}\0"));
    // While the sum is computed, its field has spaces.
    put(148, &" ".repeat(8));
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    if let Some(field) = header.get_mut(148..156) {
        field.copy_from_slice(text.as_bytes());
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_unpacks_the_archive_and_only_the_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        let file = create(&path).unwrap();
        let long = "x".repeat(1_300);
        let files = [
            ("b/empty.txt".to_owned(), String::new()),
            ("b/even.txt".to_owned(), "y".repeat(BLOCK)),
            ("b/long.txt".to_owned(), long.clone()),
        ];
        write(&file, &files, 1_764_600_000).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let tar = Command::new("tar")
            .arg("-xzf")
            .arg(&path)
            .current_dir(folder.path())
            .status();
        assert!(tar.unwrap().success());
        for (name, text) in files {
            assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), text);
        }
        assert_eq!(create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(write(&file, &[("n".repeat(101), String::new())], 0).is_err());
    }
}
