//! The Node.js packages under `tests/js`: installed when they are missing or when the lock file changed, once, also when
//! several test processes call at the same time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Node.js 20 is the oldest with everything the scripts use.
const OLDEST_NODE: u32 = 20;

/// The installed packages and the scripts beside them.
#[derive(Debug, Clone)]
pub struct Npm {
    folder: PathBuf,
}

impl Npm {
    /// Makes sure that exactly the locked packages are installed, and reports on stderr when that takes work.
    ///
    /// # Errors
    /// [`Error::Setup`] with advice when Node.js or npm is missing or too old, or when the installation fails.
    pub fn ensure() -> Result<Npm, Error> {
        let npm = Npm {
            folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("../js"),
        };
        // Held until the function returns; a caller that waited finds the work done.
        let lock =
            File::create(npm.folder.join(".install.lock")).map_err(Error::io("cannot lock tests/js"))?;
        lock.lock().map_err(Error::io("cannot lock tests/js"))?;
        if npm.is_current()? {
            return Ok(npm);
        }
        check_node()?;
        eprintln!("Installing the pinned Node.js packages of tests/js (about 200 MB, once) …");
        let status = Command::new("npm")
            .args([
                "ci",
                "--legacy-peer-deps",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ])
            .current_dir(&npm.folder)
            .stdout(std::io::stderr())
            .status()
            .map_err(|e| {
                Error::Setup(format!(
                    "npm did not start ({e}): install Node.js {OLDEST_NODE} or newer"
                ))
            })?;
        if !status.success() {
            return Err(Error::Setup(format!(
                "`npm ci` in tests/js failed ({status}): its message is above; it needs the npm registry"
            )));
        }
        fs::write(npm.stamp(), npm.wanted()?).map_err(Error::io("cannot write the stamp in node_modules"))?;
        eprintln!("Node.js packages are ready.");
        Ok(npm)
    }

    /// The folder that holds `package.json`, the scripts and `node_modules`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A `node` command for one of the scripts in [`Npm::folder`], started there.
    #[must_use]
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(name).current_dir(&self.folder);
        command
    }

    /// The anvil binary of this machine's platform package, without the Node.js wrapper around it.
    ///
    /// # Errors
    /// [`Error::Setup`] when there is no package for this platform.
    pub fn anvil(&self) -> Result<PathBuf, Error> {
        let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => "linux-amd64",
            ("linux", "aarch64") => "linux-arm64",
            ("macos", "x86_64") => "darwin-amd64",
            ("macos", "aarch64") => "darwin-arm64",
            (os, arch) => {
                return Err(Error::Setup(format!(
                    "the dev chain runs on Linux and macOS, not on {os}/{arch}"
                )));
            }
        };
        let binary = self
            .folder
            .join(format!("node_modules/@foundry-rs/anvil-{platform}/bin/anvil"));
        if binary.is_file() {
            return Ok(binary);
        }
        Err(Error::Setup(format!(
            "npm did not install @foundry-rs/anvil-{platform}: delete tests/js/node_modules and try again"
        )))
    }

    fn is_current(&self) -> Result<bool, Error> {
        Ok(fs::read(self.stamp()).is_ok_and(|stamp| self.wanted().is_ok_and(|wanted| stamp == wanted)))
    }

    fn wanted(&self) -> Result<Vec<u8>, Error> {
        fs::read(self.folder.join("package-lock.json"))
            .map_err(Error::io("cannot read tests/js/package-lock.json"))
    }

    // A copy of the lock file that the packages were installed from.
    fn stamp(&self) -> PathBuf {
        self.folder.join("node_modules/.installed-from.json")
    }
}

fn check_node() -> Result<(), Error> {
    let advice = format!("install Node.js {OLDEST_NODE} or newer (https://nodejs.org), with npm");
    let output = Command::new("node")
        .arg("--version")
        .output()
        .map_err(|e| Error::Setup(format!("node did not start ({e}): {advice}")))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|text| text.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => Err(Error::Setup(format!("node is {version:?}: {advice}"))),
    }
}
