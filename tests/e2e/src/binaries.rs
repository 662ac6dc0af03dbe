//! Where the release binary and the plugin file lie: beside the running test, in the same target directory.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;

const ADVICE: &str = "run `cargo xtask test`, which builds it first";

/// The facilitator's release binary.
///
/// # Errors
/// With advice, when it was not built.
pub fn switchyard() -> Result<PathBuf, Error> {
    switchyard_in(&release_dir()?)
}

/// The facilitator's binary in this folder.
///
/// # Errors
/// With advice, when it is not there.
pub fn switchyard_in(release: &Path) -> Result<PathBuf, Error> {
    existing(release.join(format!("switchyard{}", std::env::consts::EXE_SUFFIX)))
}

/// The shipped EVM plugin.
///
/// # Errors
/// With advice, when it was not built.
pub fn evm_plugin() -> Result<PathBuf, Error> {
    plugin("switchyard_evm")
}

/// The shipped plugin of the scheme auth-capture, in the same folder.
///
/// # Errors
/// With advice, when it was not built.
pub fn auth_capture_plugin() -> Result<PathBuf, Error> {
    plugin("switchyard_evm_auth_capture")
}

/// The shipped Solana plugin, in the same folder.
///
/// # Errors
/// With advice, when it was not built.
pub fn svm_plugin() -> Result<PathBuf, Error> {
    plugin("switchyard_svm")
}

fn plugin(library: &str) -> Result<PathBuf, Error> {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    existing(release_dir()?.join(format!("{prefix}{library}{suffix}")))
}

/// A file's SHA-256 in hex, as the configuration wants it.
///
/// # Errors
/// When the file can't be read.
pub fn sha256(file: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(file).map_err(|e| Error(format!("cannot read {}: {e}", file.display())))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

/// Where the release build lies. The test is `target/<profile>/deps/<test>` or `target/<profile>/<binary>`; what is tested
/// is always the release build.
///
/// # Errors
/// When the test lies elsewhere.
pub fn release_dir() -> Result<PathBuf, Error> {
    let lost = |what: &str| Error(format!("cannot find the target directory: {what}"));
    let program = std::env::current_exe().map_err(|e| lost(&e.to_string()))?;
    let mut profile = program.parent().ok_or_else(|| lost("no parent"))?;
    if profile.ends_with("deps") || profile.ends_with("examples") {
        profile = profile.parent().ok_or_else(|| lost("no parent of its folder"))?;
    }
    Ok(profile
        .parent()
        .ok_or_else(|| lost("no parent of the profile"))?
        .join("release"))
}

fn existing(file: PathBuf) -> Result<PathBuf, Error> {
    if file.is_file() {
        Ok(file)
    } else {
        Err(Error(format!("{} is missing: {ADVICE}", file.display())))
    }
}
