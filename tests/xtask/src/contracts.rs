//! `cargo xtask contracts`: from Solidity to the artefacts that are checked in.

use devnet::{Error, Npm};

use crate::Failure;

/// Compiles tests/contracts/*.sol with the pinned solc into tests/contracts/artifacts. Same sources give the same bytes
/// on every machine; commit the artefacts together with the sources.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail when an artefact does not match its source
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut command = Npm::ensure()?.script("contracts.mjs");
    if args.check {
        command.arg("--check");
    }
    let doing = || "cannot start node".to_owned();
    let output = command.output().map_err(|source| Error::Io {
        doing: doing(),
        source,
    })?;
    if !output.status.success() {
        return Err(Failure(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let done = if args.check {
        "match their sources"
    } else {
        "are written; commit them with their sources"
    };
    println!("The artefacts in tests/contracts/artifacts {done}.");
    Ok(())
}
