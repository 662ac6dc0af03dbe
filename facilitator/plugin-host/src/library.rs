//! The file on disk: the private copy that is loaded, and the entry function and table in it.
//!
//! Assumes that the bytes were inspected and their pin was checked. The copy is named by its content and never unloaded:
//! threads, thread-locals and function pointers of the plugin stay valid while the process runs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use sdk_plugin::abi::raw::{self, ABI_MAJOR, ABI_MINOR, EntryFn, Plugin, ReadError, read_sized};
use telemetry::disk;

use super::error::{ErrorKind, PluginError};
use super::pin::Sha256Digest;

/// What is read of a file at once.
const PIECE_BYTES: usize = 64 << 10;

/// Writes the bytes to a file that is named by their digest, whole or not at all.
pub(super) fn copy(
    plugin: &Path,
    folder: &Path,
    bytes: &[u8],
    sha256: Sha256Digest,
) -> Result<PathBuf, PluginError> {
    let fail = |error: std::io::Error| {
        let message = format!(
            "it can't be copied to {} in data.directory ({error}): {}",
            folder.display(),
            disk::remedy(&error)
        );
        PluginError::new(plugin, ErrorKind::File, message)
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(fail)?;
    let copy = folder.join(format!("{sha256}.so"));
    if has_content(&copy, bytes).unwrap_or(false) {
        return Ok(copy);
    }
    static NEXT_COPY: AtomicU64 = AtomicU64::new(1);
    let number = NEXT_COPY.fetch_add(1, Ordering::Relaxed);
    let unfinished = folder.join(format!("{sha256}.{}-{number}.part", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o500)
            .open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &copy)
    };
    write().map_err(fail)?;
    Ok(copy)
}

/// Lets every user read a copy. Its folder is open to this process's user only, so that others need it handed to them.
pub(super) fn readable_by_all(plugin: &Path, copy: &Path) -> Result<(), PluginError> {
    fs::set_permissions(copy, fs::Permissions::from_mode(0o555)).map_err(|error| {
        let message = format!("the rights of {} can't be changed: {error}", copy.display());
        PluginError::new(plugin, ErrorKind::File, message)
    })
}

/// Whether a file consists of these bytes, read in pieces: plugin files have tens of megabytes.
fn has_content(file: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    let mut file = File::open(file)?;
    let mut piece = vec![0; PIECE_BYTES];
    for wanted in bytes.chunks(PIECE_BYTES) {
        let read = piece.get_mut(..wanted.len()).unwrap_or_default();
        file.read_exact(read)?;
        if read != wanted {
            return Ok(false);
        }
    }
    Ok(file.read(&mut piece)? == 0)
}

/// What to do about an error of the system's loader.
fn load_remedy(error: &str, copy: &Path) -> String {
    // The texts of glibc and musl where a file system is mounted `noexec`, or a security module forbids it.
    if error.contains("failed to map segment") || error.contains("Operation not permitted") {
        let folder = copy.parent().unwrap_or(copy).display();
        return format!(
            "plugins are run from {folder}, and its file system allows no programs (noexec): mount it without noexec, or \
             write another data.directory"
        );
    }
    "use a build for this machine's system".to_owned()
}

/// The entry function of a copy. Runs the file's initialisers.
pub(super) fn open(plugin: &Path, copy: &Path) -> Result<EntryFn, PluginError> {
    let fail = |what: &str, error: libloading::Error| {
        // The loader's report, where it has any.
        let error = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        let message = format!("{what} ({error}): {}", load_remedy(&error, copy));
        PluginError::new(plugin, ErrorKind::Load, message)
    };
    // SAFETY: runs the file's initialisers; the operator pinned the file, or chose development mode.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| fail("the system's loader refuses it", error))?;
    // SAFETY: the header gives the symbol this type.
    let entry = unsafe { library.get::<EntryFn>(raw::ENTRY_SYMBOL) }.map(|symbol| *symbol);
    let entry = entry.map_err(|error| fail("it has no entry function x402_plugin_entry_v1", error));
    // Never unloaded: threads that it started may still run.
    std::mem::forget(library);
    entry
}

/// The plugin's table. Only members that its `struct_size` covers are read.
pub(super) fn read_table(plugin: &Path, entry: EntryFn) -> Result<Plugin, PluginError> {
    let fail = |kind, message: String| PluginError::new(plugin, kind, message);
    let table = entry(ABI_MAJOR, ABI_MINOR);
    // SAFETY: null, or the static table that the header promises.
    let table = unsafe { read_sized(table) }.map_err(|error| match error {
        ReadError::Null => fail(
            ErrorKind::Abi,
            format!("refused by plugin: it does not take ABI {ABI_MAJOR}.{ABI_MINOR}; use a build that does"),
        ),
        ReadError::Misaligned => fail(
            ErrorKind::Load,
            "its table is at an odd address: rebuild it against x402_plugin.h".to_owned(),
        ),
        ReadError::TooSmall { struct_size, needed } => fail(
            ErrorKind::Abi,
            format!(
                "its table has {struct_size} bytes, ABI {ABI_MAJOR}.0 has {needed}: rebuild it against x402_plugin.h"
            ),
        ),
    })?;
    if table.abi_major != ABI_MAJOR {
        return Err(fail(
            ErrorKind::Abi,
            format!(
                "its table is of ABI {}.{}, this facilitator has {ABI_MAJOR}.{ABI_MINOR}: use a build for that",
                table.abi_major, table.abi_minor
            ),
        ));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noexec_file_system_is_not_reported_as_a_wrong_build() {
        let copy = Path::new("/var/lib/switchyard/plugins/ab.so");
        for error in [
            "/var/lib/switchyard/plugins/ab.so: failed to map segment from shared object",
            "Error loading shared library /x/ab.so: Operation not permitted",
        ] {
            let remedy = load_remedy(error, copy);
            assert!(
                remedy.contains("mount it without noexec") && remedy.contains("/var/lib/switchyard/plugins,"),
                "{remedy}"
            );
        }
        let remedy = load_remedy("libfoo.so.7: cannot open shared object file", copy);
        assert!(remedy.contains("a build for this machine's system"), "{remedy}");
    }

    #[test]
    fn a_copy_that_is_not_the_file_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..PIECE_BYTES * 2 + 7).map(|at| at.to_le_bytes()[0]).collect();
        let digest = Sha256Digest::of(&bytes);
        let written = || copy(Path::new("p.so"), folder.path(), &bytes, digest).unwrap();
        let copy = written();
        assert!(has_content(&copy, &bytes).unwrap());
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        let longer = [&bytes[..], b"x"].concat();
        for damaged in [&other[..], &longer, &bytes[1..], b""] {
            fs::remove_file(&copy).unwrap();
            fs::write(&copy, damaged).unwrap();
            assert!(!has_content(&copy, &bytes).unwrap_or(false));
            assert_eq!(fs::read(written()).unwrap(), bytes);
        }
    }

    #[test]
    fn a_full_disk_is_not_reported_as_a_missing_permission() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = b"x";
        let digest = Sha256Digest::of(bytes);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let message = copy(Path::new("p.so"), &file.join("plugins"), bytes, digest)
            .unwrap_err()
            .message;
        assert!(
            message.contains("a file is where a folder has to be"),
            "{message}"
        );
        let full = io_remedy(std::io::ErrorKind::StorageFull);
        assert!(full.contains("make room") && !full.contains("writable"), "{full}");
    }

    fn io_remedy(kind: std::io::ErrorKind) -> &'static str {
        disk::remedy(&std::io::Error::from(kind))
    }
}
