//! Debian's binaries of PostgreSQL, installed if they are absent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::user::is_root;

const INSTALLED: &str = "/usr/lib/postgresql";

/// The folder with `initdb` and `postgres`.
pub(crate) fn find_or_install() -> Result<PathBuf, String> {
    if let Some(found) = newest(Path::new(INSTALLED)) {
        return Ok(found);
    }
    if !is_root() {
        return Err(format!(
            "{INSTALLED} has no PostgreSQL: install Debian's package `postgresql` (apt-get install postgresql), or run \
             the tests as root, and they install it"
        ));
    }
    apt_get(&["update", "-qq"])?;
    apt_get(&["install", "-y", "-qq", "--no-install-recommends", "postgresql"])?;
    newest(Path::new(INSTALLED))
        .ok_or_else(|| format!("Debian's package `postgresql` is installed, but {INSTALLED} has no server"))
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .map_err(|error| format!("apt-get does not run ({error}): install PostgreSQL by hand"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("apt-get {} failed: {complaint}", arguments.join(" ")))
}

/// The folder of the newest version that has a server.
fn newest(installed: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(installed).ok()?.flatten();
    versions
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            let folder = version.path().join("bin");
            let is_complete = folder.join("postgres").exists() && folder.join("initdb").exists();
            is_complete.then_some((number, folder))
        })
        .max()
        .map(|(_, folder)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_complete_version_is_used() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(folder.path()), None);
        for (version, files) in [
            ("9", &["postgres", "initdb"][..]),
            ("15", &["postgres", "initdb"]),
            ("16", &["initdb"]),
            ("old", &["postgres", "initdb"]),
        ] {
            let bin = folder.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            for file in files {
                fs::write(bin.join(file), "").unwrap();
            }
        }
        assert_eq!(newest(folder.path()), Some(folder.path().join("15/bin")));
    }
}
