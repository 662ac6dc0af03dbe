//! One archive of a folder, which depends on nothing but the contents of its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{cannot, output_of, read, write_file};
use crate::Failure;

/// The names of the files with their sums, in a folder.
pub(super) const SUMS: &str = "SHA256SUMS";

/// Writes the sums into the folder, the archive beside it, and the archive's sum into the folder of both.
///
/// # Errors
/// When a file can't be read or written, or a program fails.
pub(super) fn write(folder: &Path, time: u64) -> Result<PathBuf, Failure> {
    let sums = sums(folder)?;
    let lines: String = sums
        .iter()
        .map(|(name, sum)| format!("{sum}  {name}\n"))
        .collect();
    write_file(&folder.join(SUMS), &lines)?;
    let archive = pack(folder, time)?;
    let name = name_of(&archive);
    let sum = e2e::binaries::sha256(&archive)?;
    write_file(&archive.with_file_name(SUMS), &format!("{sum}  {name}\n"))?;
    Ok(archive)
}

/// Sorted, owned by root, with one time, and with modes that do not depend on the mask of who packs.
fn pack(folder: &Path, time: u64) -> Result<PathBuf, Failure> {
    let name = name_of(folder);
    let archive = folder.with_file_name(format!("{name}.tar.gz"));
    let parent = folder.parent().unwrap_or(Path::new("."));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=gnu", "--sort=name", "--numeric-owner"])
        .args(["--owner=0", "--group=0", "--mode=u=rwX,go=rX"])
        .arg(format!("--mtime=@{time}"))
        .arg("--use-compress-program=gzip -9 --no-name")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(parent)
        .arg(name)
        .env("LC_ALL", "C");
    output_of(tar)?;
    Ok(archive)
}

/// Unpacks an archive into this folder, and returns the one folder that it has.
///
/// # Errors
/// When it can't be unpacked, or has something else at its top.
pub(super) fn unpack(archive: &Path, into: &Path) -> Result<PathBuf, Failure> {
    super::empty(into)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract")
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(into);
    output_of(tar)?;
    let entries = std::fs::read_dir(into).map_err(|e| cannot("read", into, &e))?;
    let entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    match entries.as_slice() {
        [folder] if folder.is_dir() => Ok(folder.clone()),
        _ => Err(Failure(format!(
            "{} must have one folder at its top, and has {entries:?}",
            archive.display()
        ))),
    }
}

/// The sums of all files but the list of sums, by their names from the folder.
///
/// # Errors
/// When a file can't be read, or is not a regular file.
pub(super) fn sums(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let mut sums = BTreeMap::new();
    for file in files(folder)? {
        let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy();
        if name != SUMS {
            sums.insert(name.into_owned(), e2e::binaries::sha256(&file)?);
        }
    }
    Ok(sums)
}

/// As a list of sums has them.
///
/// # Errors
/// When it can't be read.
pub(super) fn listed(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = read(&folder.join(SUMS))?;
    let pairs = text.lines().filter_map(|line| line.split_once("  "));
    Ok(pairs
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect())
}

/// Every file below a folder.
///
/// # Errors
/// When a folder can't be read, or has a link or a device in it.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| cannot("read", &folder, &e))? {
            let entry = entry.map_err(|e| cannot("read", &folder, &e))?;
            let kind = entry.file_type().map_err(|e| cannot("read", &folder, &e))?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            } else {
                return Err(Failure(format!(
                    "{} is neither a file nor a folder",
                    entry.path().display()
                )));
            }
        }
    }
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder of its own for one test.
    pub(super) fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-archive-{name}-{}", std::process::id()));
        super::super::empty(&folder).unwrap();
        folder
    }

    fn tree(folder: &Path, names: &[&str]) {
        fs::create_dir_all(folder.join("bin")).unwrap();
        for name in names {
            fs::write(folder.join(name), name.repeat(100)).unwrap();
        }
    }

    #[test]
    fn equal_files_make_equal_archives() {
        let scratch = scratch("equal");
        let (one, other) = (scratch.join("one/a"), scratch.join("other/a"));
        tree(&one, &["bin/x", "README.md", "z"]);
        tree(&other, &["z", "README.md", "bin/x"]);
        // Another time and another mode.
        let file = fs::File::open(other.join("z")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(9))
            .unwrap();
        fs::set_permissions(
            other.join("z"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        let packed = [&one, &other].map(|folder| fs::read(write(folder, 1_700_000_000).unwrap()).unwrap());
        assert_eq!(packed[0], packed[1]);
        // What it depends on.
        let later = fs::read(write(&one, 1_700_000_001).unwrap()).unwrap();
        assert_ne!(packed[0], later);
        fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn an_archive_has_what_was_packed_with_its_sums() {
        let scratch = scratch("unpack");
        let folder = scratch.join("a");
        tree(&folder, &["bin/x", "README.md"]);
        let archive = write(&folder, 0).unwrap();
        let unpacked = unpack(&archive, &scratch.join("into")).unwrap();
        let found = sums(&unpacked).unwrap();
        assert_eq!(
            found.keys().map(String::as_str).collect::<Vec<_>>(),
            ["README.md", "bin/x"]
        );
        assert_eq!(found, listed(&unpacked).unwrap());
        let beside = read(&scratch.join(SUMS)).unwrap();
        assert_eq!(
            beside,
            format!("{}  a.tar.gz\n", e2e::binaries::sha256(&archive).unwrap())
        );
        fs::remove_dir_all(scratch).unwrap();
    }
}
