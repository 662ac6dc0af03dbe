//! `cargo xtask dist`: the release archive, and the checks of what it holds.
//!
//! Assumes Linux with GNU tar, gzip, sha256sum and strip, which a machine with a C compiler has.

mod archive;
mod build;
mod check;
mod contents;
mod inventory;
mod lint;
mod walk;

use std::path::{Path, PathBuf};

use crate::{Failure, cargo};

/// Where the archive and everything on the way to it are, from the repository's root.
const DIST: &str = "target/dist";

/// The plugin files of the archive, beside the binary.
const PLUGINS: [&str; 3] = [
    "libswitchyard_evm.so",
    "libswitchyard_evm_auth_capture.so",
    "libswitchyard_svm.so",
];

/// Write the release archive, target/dist/switchyard-VERSION-TARGET.tar.gz, and check it.
///
/// The archive has one folder: the stripped binary (bin) with its plugin files (plugins), the handbook as HTML, the systemd unit,
/// the Dockerfile, the Compose file and example configurations (deploy), the licences of everything that is linked in, a bill of
/// materials in CycloneDX (SBOM), and SHA256SUMS. target/dist/SHA256SUMS has the sum of the archive.
///
/// The binary is built in target/dist/build, without paths of this machine in it: two builds of one commit by one compiler are
/// equal, wherever the repository is. The times of all files are that of the commit, or SOURCE_DATE_EPOCH.
///
/// The first run installs pinned releases of cargo-about, cargo-cyclonedx and mdBook into target/tools, which needs a network.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask dist                        builds everything once more, which takes some minutes
  cargo xtask dist --quick                packs the binaries that the tests run, with paths of this machine in them
  cargo xtask dist --check FILE.tar.gz    checks an archive that exists
  cargo xtask dist --walk FILE.tar.gz     from that archive to payments on a dev chain, an update, and the way back
  cargo xtask dist --lint                 lints the unit, the Dockerfile and the Compose file in docs/deploy")]
pub(crate) struct Args {
    /// Pack target/release, which `cargo xtask test` builds, instead of building again
    #[arg(long)]
    quick: bool,
    /// Only check this archive
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    check: Option<PathBuf>,
    /// Only use this archive: unpack, init, check, serve, pay, restart, back up, update, roll back and restore, on a dev chain
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "check"])]
    walk: Option<PathBuf>,
    /// Only lint the files in docs/deploy
    #[arg(long, conflicts_with_all = ["quick", "check", "walk"])]
    lint: bool,
}

/// Everything, as `cargo xtask full` runs it.
pub(crate) fn all() -> Result<(), Failure> {
    lint::run()?;
    let archive = write(false)?;
    check::run(&archive, check::Paths::Anywhere)?;
    walk::run(&archive)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.lint {
        return lint::run();
    }
    if let Some(archive) = &args.check {
        return check::run(archive, check::Paths::InText);
    }
    if let Some(archive) = &args.walk {
        return walk::run(archive);
    }
    let paths = if args.quick {
        check::Paths::InText
    } else {
        check::Paths::Anywhere
    };
    let archive = write(args.quick)?;
    check::run(&archive, paths)?;
    println!("\n{}", archive.display());
    Ok(())
}

/// Builds and writes the archive.
fn write(quick: bool) -> Result<PathBuf, Failure> {
    let release = Release::now()?;
    let dist = root()?.join(DIST);
    let built = if quick {
        cargo::build_what_is_shipped()?;
        root()?.join("target/release")
    } else {
        build::reproducible(&dist, &release)?
    };
    let folder = dist.join(release.name());
    contents::fill(&folder, &built, &release)?;
    archive::write(&folder, release.time)
}

/// What the archive is named by.
#[derive(Debug)]
struct Release {
    version: String,
    /// The machine that it runs on, as rustc names it.
    target: String,
    commit: String,
    /// The modification time of every file, in seconds since 1970.
    time: u64,
    /// The compiler.
    rustc: String,
}

impl Release {
    fn now() -> Result<Release, Failure> {
        let rustc = output("rustc", &["--version", "--verbose"])?;
        let target = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        let target = target.ok_or_else(|| Failure("rustc does not name its host".to_owned()))?;
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => seconds,
            Err(_) => output("git", &["log", "-1", "--format=%ct"])?,
        };
        let time = time
            .trim()
            .parse()
            .map_err(|_| Failure(format!("SOURCE_DATE_EPOCH is no number of seconds: {time}")))?;
        let uncommitted = !output("git", &["status", "--porcelain"])?.is_empty();
        let commit = output("git", &["rev-parse", "HEAD"])?;
        Ok(Release {
            version: version()?,
            target: target.to_owned(),
            commit: format!(
                "{}{}",
                commit.trim(),
                if uncommitted { ", with changes" } else { "" }
            ),
            time,
            rustc: rustc.lines().next().unwrap_or_default().to_owned(),
        })
    }

    /// Of the archive and its folder.
    fn name(&self) -> String {
        format!("switchyard-{}-{}", self.version, self.target)
    }
}

/// The version of the workspace.
fn version() -> Result<String, Failure> {
    let manifest = read(&root()?.join("Cargo.toml"))?;
    let manifest: toml::Table =
        toml::from_str(&manifest).map_err(|e| Failure(format!("cannot read Cargo.toml: {e}")))?;
    let version = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("package")?.get("version")?.as_str());
    version
        .map(str::to_owned)
        .ok_or_else(|| Failure("Cargo.toml has no workspace.package.version".to_owned()))
}

/// The repository, without `..` in its path.
fn root() -> Result<PathBuf, Failure> {
    cargo::root()
        .canonicalize()
        .map_err(|e| Failure(format!("cannot find the repository: {e}")))
}

/// What a program prints, run in the repository.
fn output(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let mut command = std::process::Command::new(program);
    command.args(arguments).current_dir(root()?);
    output_of(command)
}

fn output_of(mut command: std::process::Command) -> Result<String, Failure> {
    let line = format!("{command:?}");
    let output = command
        .output()
        .map_err(|e| Failure(format!("cannot start {}: {e}", command.get_program().display())))?;
    let (printed, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if output.status.success() {
        return Ok(printed.into_owned());
    }
    Err(Failure(format!(
        "{line} failed ({}):\n{printed}{errors}",
        output.status
    )))
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|e| cannot("read", file, &e))
}

fn write_file(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|e| cannot("write", file, &e))
}

/// An empty folder, without what was there.
fn empty(folder: &Path) -> Result<(), Failure> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|e| cannot("remove", folder, &e))?;
    }
    std::fs::create_dir_all(folder).map_err(|e| cannot("create", folder, &e))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("cannot {what} {}: {error}", path.display()))
}
