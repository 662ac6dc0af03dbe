//! The last version with an earlier schema of the journal, built beside the current one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, cargo};

/// The schemas of the SQLite journal; each change of it adds a file.
const SCHEMAS: &str = "facilitator/journal/src/sqlite";

/// Builds the version before the newest schema, or the one at `commit`, and returns the folder with its binary and its
/// plugins.
pub(crate) fn build(commit: Option<&str>) -> Result<PathBuf, Failure> {
    let commit = match commit {
        Some(commit) => git(&["rev-parse", "--verify", &format!("{commit}^{{commit}}")])?,
        None => before_newest_schema()?,
    };
    let folder = cargo::root().join("target/previous");
    let source = folder.join("source");
    if source.exists() {
        git_in(&source, &["checkout", "--quiet", "--detach", &commit])?;
    } else {
        let source = source.to_string_lossy();
        git(&["worktree", "prune"])?;
        git(&["worktree", "add", "--quiet", "--detach", &source, &commit])?;
    }
    let (manifest, target) = (source.join("Cargo.toml"), folder.join("target"));
    let (manifest, target) = (manifest.to_string_lossy(), target.to_string_lossy());
    let place = ["--manifest-path", &*manifest, "--target-dir", &*target];
    let packages = ["--package", "switchyard", "--package", "plugin-evm"];
    let build = ["build", "--release", "--locked"];
    cargo::run(
        &format!("The version of {commit}, release build"),
        &[&build[..], &place, &packages].concat(),
        &[],
    )?;
    Ok(folder.join("target/release"))
}

/// The parent of the commit that added the newest schema.
fn before_newest_schema() -> Result<String, Failure> {
    let files = git(&["ls-files", &format!("{SCHEMAS}/[0-9]*.sql")])?;
    let newest = files.lines().max().unwrap_or_default();
    let added = git(&["log", "--diff-filter=A", "--format=%H", "-1", "--", newest])?;
    if added.is_empty() {
        return Err(Failure(format!(
            "the history does not show which commit added {newest}: fetch the whole history, or name a commit with --previous"
        )));
    }
    git(&["rev-parse", "--verify", &format!("{added}^")])
}

fn git(arguments: &[&str]) -> Result<String, Failure> {
    git_in(cargo::root(), arguments)
}

fn git_in(folder: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|e| Failure(format!("cannot start git: {e}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(Failure(format!(
        "`git {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
