//! What an operator can do about a journal that can't be opened.

use std::fmt::Display;
use std::io;

use rusqlite::ErrorCode;

/// An error that says what to do about it.
pub(super) trait Advice: Display {
    fn advice(&self) -> &'static str;
}

const RIGHTS: &str =
    "give the user that runs switchyard the right to read and write there, or write another folder";
const SPACE: &str = "the disk is full: make room, or write a folder on another disk";
const FOLDER: &str = "write a folder on a local disk that switchyard may read and write";

impl Advice for io::Error {
    fn advice(&self) -> &'static str {
        match self.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => RIGHTS,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SPACE,
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "a file is where a folder has to be: remove it, or write another folder"
            }
            _ => FOLDER,
        }
    }
}

impl Advice for rusqlite::Error {
    fn advice(&self) -> &'static str {
        match self.sqlite_error_code() {
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => RIGHTS,
            Some(ErrorCode::DiskFull) => SPACE,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program has it open: end that program (a backup, a database shell)"
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                "it is damaged or no journal: restore it from a backup, and do not start with an empty one while \
                 payments of it may be open"
            }
            _ => FOLDER,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::SqliteJournal;
    use super::*;

    #[test]
    fn a_journal_that_can_not_be_opened_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| SqliteJournal::open(&folder.path().join(name)).unwrap_err().0;

        fs::write(folder.path().join("file"), "").unwrap();
        let told = open("file");
        assert!(
            told.contains("a file is where a folder has to be") && told.contains("/file"),
            "{told}"
        );

        fs::create_dir(folder.path().join("garbage")).unwrap();
        let bytes = [b"no database, but long enough to be taken for one ".repeat(50)].concat();
        fs::write(folder.path().join("garbage/journal.sqlite"), bytes).unwrap();
        let told = open("garbage");
        assert!(told.contains("restore it from a backup"), "{told}");

        let shut = folder.path().join("shut");
        fs::create_dir(&shut).unwrap();
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o500)).unwrap();
        // A user with all rights is not kept out.
        if fs::write(shut.join("x"), "").is_err() {
            let told = open("shut");
            assert!(told.contains("the right to read and write"), "{told}");
        }

        let held = SqliteJournal::open(&folder.path().join("held")).unwrap();
        let told = open("held");
        assert!(
            told.contains("in use by another process") && told.contains("write another folder"),
            "{told}"
        );
        drop(held);
    }

    #[test]
    fn every_cause_has_its_own_advice() {
        let io = |kind| io::Error::from(kind).advice();
        assert_eq!(io(io::ErrorKind::StorageFull), SPACE);
        assert_eq!(io(io::ErrorKind::PermissionDenied), RIGHTS);
        assert_eq!(io(io::ErrorKind::TimedOut), FOLDER);
        let sqlite = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None).advice();
        assert_eq!(sqlite(rusqlite::ffi::SQLITE_FULL), SPACE);
        assert_eq!(sqlite(rusqlite::ffi::SQLITE_READONLY), RIGHTS);
        assert!(sqlite(rusqlite::ffi::SQLITE_BUSY).contains("another program"));
    }
}
