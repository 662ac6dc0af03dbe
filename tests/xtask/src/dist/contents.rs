//! What is in the archive's folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::inventory::Inventory;
use super::{PLUGINS, Release, archive, cannot, empty, output_of, read, root, write_file};
use crate::{Failure, docs};

/// Texts of the repository's root.
const TEXTS: [&str; 5] = [
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];
/// Folders of the repository, by their names in the archive. The second may be missing.
const FOLDERS: [(&str, &str); 2] = [("docs/deploy", "deploy"), ("docs/monitoring", "monitoring")];
/// What mdBook writes.
const BOOK: &str = "docs/book";
pub(super) const LICENCES: &str = "THIRD-PARTY-LICENSES.txt";
pub(super) const SBOM: &str = "switchyard.cdx.json";

/// Fills the folder from the files in `built`.
///
/// # Errors
/// When a part can't be built or copied.
pub(super) fn fill(folder: &Path, built: &Path, release: &Release) -> Result<(), Failure> {
    let root = root()?;
    empty(folder)?;
    let mut binaries = vec![(built.join("switchyard"), folder.join("bin/switchyard"))];
    for plugin in PLUGINS {
        binaries.push((built.join(plugin), folder.join("plugins").join(plugin)));
    }
    for (from, to) in &binaries {
        copy(from, to)?;
        strip(to)?;
    }
    for text in TEXTS {
        copy(&root.join(text), &folder.join(text))?;
    }
    for (from, to) in FOLDERS {
        let from = root.join(from);
        if from.is_dir() {
            copy_all(&from, &folder.join(to))?;
        }
    }
    fill_in(&folder.join("deploy"), folder)?;
    docs::run()?;
    copy_all(&root.join(BOOK), &folder.join("handbook"))?;
    let dist = folder.parent().unwrap_or(folder);
    let inventory = Inventory::of(release, dist)?;
    inventory.write_licences(release, &folder.join(LICENCES))?;
    inventory.write_sbom(release, &folder.join(SBOM))?;
    let libc = newest_libc(binaries.iter().map(|(_, file)| file))?;
    write_file(&folder.join("RELEASE"), &about(release, &libc))
}

/// The first file to read.
fn about(release: &Release, libc: &str) -> String {
    let Release {
        version,
        target,
        commit,
        rustc,
        ..
    } = release;
    format!(
        "switchyard {version} for {target}\n\n\
         commit    {commit}\n\
         compiler  {rustc}\n\
         needs     Linux 5.13 or newer for isolated plugins, and glibc {libc} or newer\n\n\
         Start with handbook/install.html. {SBOM} lists what is linked in, {LICENCES} its licences.\n\
         `sha256sum --check {}` checks the files.\n",
        archive::SUMS
    )
}

/// Removes symbols and debug information. The section with a plugin's manifest is loaded into memory, so it stays.
fn strip(file: &Path) -> Result<(), Failure> {
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg(file);
    output_of(strip).map(drop)
}

/// Replaces `@folder@` by the archive's name, and `@sha256 FILE@` by the sum of a plugin, in every file of a folder.
fn fill_in(deploy: &Path, folder: &Path) -> Result<(), Failure> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    for file in archive::files(deploy)? {
        let mut text = read(&file)?.replace("@folder@", &name);
        for plugin in PLUGINS {
            let mark = format!("@sha256 {plugin}@");
            if text.contains(&mark) {
                text = text.replace(
                    &mark,
                    &e2e::binaries::sha256(&folder.join("plugins").join(plugin))?,
                );
            }
        }
        write_file(&file, &text)?;
    }
    Ok(())
}

/// The newest version of the C library that a file needs, as its symbols name it.
fn newest_libc<'f>(files: impl Iterator<Item = &'f PathBuf>) -> Result<String, Failure> {
    let mut newest = 0;
    for file in files {
        let bytes = fs::read(file).map_err(|e| cannot("read", file, &e))?;
        newest = newest.max(libc_of(&bytes));
    }
    Ok(format!("2.{newest}"))
}

fn libc_of(bytes: &[u8]) -> u32 {
    const SYMBOL: &[u8] = b"GLIBC_2.";
    let after = |window: usize| bytes.get(window + SYMBOL.len()..).unwrap_or_default();
    bytes
        .windows(SYMBOL.len())
        .enumerate()
        .filter(|(_, window)| *window == SYMBOL)
        .filter_map(|(at, _)| {
            let digits = after(at).iter().take_while(|byte| byte.is_ascii_digit());
            String::from_utf8_lossy(&digits.copied().collect::<Vec<u8>>())
                .parse()
                .ok()
        })
        .max()
        .unwrap_or(0)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|e| cannot("create", folder, &e))?;
    }
    fs::copy(from, to).map_err(|e| cannot("copy", from, &e))?;
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Failure> {
    for file in archive::files(from)? {
        copy(&file, &to.join(file.strip_prefix(from).unwrap_or(&file)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_decides_which_system_is_new_enough() {
        assert_eq!(
            libc_of(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.17\0GLIBC_PRIVATE\0"),
            34
        );
        assert_eq!(libc_of(b"nothing"), 0);
    }
}
