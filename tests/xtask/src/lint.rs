//! `cargo xtask lint`: what a change must pass beside the tests.

use crate::{Failure, cargo, citations, contracts};

/// Checks formatting, clippy, documentation, what comments cite, and the test contracts, all of it without a warning.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run() -> Result<(), Failure> {
    cargo::run("Formatting", &["fmt", "--all", "--check"], &[])?;
    crate::paint::heading("Citations");
    citations::check()?;
    // The release profile shares build scripts and macros with the tests.
    let clippy = [
        "clippy",
        "--release",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
    cargo::run("Clippy", &clippy, &[])?;
    let doc = ["doc", "--release", "--locked", "--workspace", "--no-deps"];
    // A module's essay may name its private parts.
    let flags = "--deny warnings --allow rustdoc::private-intra-doc-links";
    cargo::run("Documentation", &doc, &[("RUSTDOCFLAGS", flags)])?;
    crate::paint::heading("Test contracts");
    contracts::run(&contracts::Args { check: true })
}
