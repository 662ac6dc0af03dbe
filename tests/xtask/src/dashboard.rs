//! `cargo xtask dashboard`: from TypeScript to the files that the admin listener embeds.
//!
//! The built files are checked in, so that cargo needs no Node.js. The packages that build them are pinned, and a build has the same
//! bytes on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::paint::heading;
use crate::{Failure, cargo};

/// Sources, from the repository's root.
const SOURCES: &str = "facilitator/admin-api/dashboard";
/// The built files.
const ASSETS: &str = "facilitator/admin-api/assets";
/// Where `--check` builds.
const BUILT: &str = "target/dashboard";
/// Browsers in which the tests run, in the order in which they are searched for.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Builds the dashboard of the admin listener, and runs its tests.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "In this order: the pinned packages are installed when the lock file has changed, the types are checked, the unit
tests run, the files are built, and the built files are tested in headless Chromium. Without Chromium the last part is left out.

Chromium is searched for on the PATH. On Debian: apt-get install --no-install-recommends chromium

With a facilitator that runs and is in trouble, one more test reads its page:
  ADMIN_URL=http://127.0.0.1:4021 ADMIN_TOKEN=... cargo xtask dashboard

The screenshots of the handbook:
  SCREENSHOTS=$PWD/docs/src/images cargo xtask dashboard

Examples:
  cargo xtask dashboard            builds the files; commit them with their sources
  cargo xtask dashboard --check    fails when the checked-in files are not those that the sources give"
)]
pub(crate) struct Args {
    /// Write nothing; fail when the checked-in files do not match their sources
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let sources = cargo::root().join(SOURCES);
    install(&sources)?;
    step(
        &sources,
        "Types of the dashboard",
        &["npm", "run", "--silent", "check"],
    )?;
    if args.check {
        let built = cargo::root().join(BUILT);
        let folder = built.to_string_lossy().into_owned();
        step(
            &sources,
            "The dashboard's build",
            &["npm", "run", "--silent", "build", "--", "--outDir", &folder],
        )?;
        compare(&cargo::root().join(ASSETS), &built)?;
    } else {
        step(
            &sources,
            "The dashboard's build",
            &["npm", "run", "--silent", "build"],
        )?;
    }
    step(
        &sources,
        "Unit tests of the dashboard",
        &["npm", "run", "--silent", "unit"],
    )?;
    let Some(browser) = browser() else {
        println!(
            "Chromium is not installed, so the page was not tested in it: `cargo xtask dashboard --help` says how to get it."
        );
        return Ok(());
    };
    let mut tests = command(&sources, &["npm", "run", "--silent", "browser"]);
    tests.env("CHROMIUM", browser);
    execute("The dashboard in Chromium", tests)
}

/// The browser for tests of the page, with the packages that they need; `None`: there is no browser.
pub(crate) fn ready() -> Result<Option<PathBuf>, Failure> {
    let Some(browser) = browser() else {
        return Ok(None);
    };
    install(&cargo::root().join(SOURCES))?;
    Ok(Some(browser))
}

/// Installs exactly the locked packages, unless they are installed.
fn install(sources: &Path) -> Result<(), Failure> {
    let lock = read(&sources.join("package-lock.json"))?;
    let stamp = sources.join("node_modules/.stamp");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    let install = [
        "npm",
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ];
    step(sources, "Packages of the dashboard", &install)?;
    fs::write(&stamp, lock).map_err(|e| Failure(format!("cannot write {}: {e}", stamp.display())))
}

fn step(sources: &Path, what: &str, line: &[&str]) -> Result<(), Failure> {
    execute(what, command(sources, line))
}

fn command(sources: &Path, line: &[&str]) -> Command {
    let mut words = line.iter();
    let mut command = Command::new(words.next().copied().unwrap_or("npm"));
    command.args(words).current_dir(sources);
    command
}

fn execute(what: &str, mut command: Command) -> Result<(), Failure> {
    heading(what);
    let started = Instant::now();
    let status = command
        .status()
        .map_err(|e| Failure(format!("npm did not start ({e}): install Node.js 20.19 or newer")))?;
    if !status.success() {
        return Err(Failure(format!(
            "{what}: failed ({status}); see the messages above"
        )));
    }
    println!("done in {} s", started.elapsed().as_secs());
    Ok(())
}

/// The browser that `CHROMIUM` names, or one of the PATH.
fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.into_iter().find(|program| program.is_file())
}

/// Fails unless both folders have the same files with the same bytes.
fn compare(checked_in: &Path, built: &Path) -> Result<(), Failure> {
    let (old, new) = (files(checked_in)?, files(built)?);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing: Vec<&str> = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(String::as_str)
        .collect();
    if differing.is_empty() {
        let bytes: usize = new.values().map(Vec::len).sum();
        println!(
            "The {} files in {ASSETS} match their sources: {bytes} bytes.",
            new.len()
        );
        return Ok(());
    }
    Err(Failure(format!(
        "{ASSETS} does not match its sources ({}): run `cargo xtask dashboard`, and commit the files",
        differing.join(", ")
    )))
}

fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let unread = |e: std::io::Error| Failure(format!("cannot read {}: {e}", folder.display()));
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.insert(name, read(&entry.path())?);
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| Failure(format!("cannot read {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_is_missing_or_is_left_over_is_named() {
        let root = std::env::temp_dir().join(format!("switchyard-dashboard-{}", std::process::id()));
        let (old, new) = (root.join("old"), root.join("new"));
        for (folder, name, text) in [
            (&old, "same", "1"),
            (&new, "same", "1"),
            (&old, "other", "1"),
            (&new, "other", "2"),
            (&old, "gone", "1"),
            (&new, "added", "1"),
        ] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
        }
        let Failure(why) = compare(&old, &new).unwrap_err();
        assert!(why.contains("(added, gone, other)"), "{why}");
        compare(&old, &old).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }
}
