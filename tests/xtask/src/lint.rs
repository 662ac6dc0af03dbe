//! `cargo xtask lint`: what a change must pass in addition to the tests.

use crate::{
    Failure, cargo, citations, continued, contracts, events, house, links, monitoring, openapi, quotes,
    reasons, words,
};

/// Checks formatting, citations, links, words, monitoring, clippy, rustdoc, the boundary's schemas and the test contracts. A warning
/// fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask lint                everything
  cargo xtask lint --only text    citations, links and words, in a second
  cargo xtask lint --words tests  lists the words to avoid in files below tests")]
pub(crate) struct Args {
    /// Only one part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Only list the words to avoid in files whose path starts with this
    #[arg(long, value_name = "PATH", conflicts_with = "only")]
    words: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// rustfmt
    Format,
    /// Citations, links, documented log lines and reason strings, continued strings, and words to avoid (tests/xtask/plain_words.toml)
    Text,
    /// Crates, layers, circles, and sizes of files and functions (tests/xtask/house.toml)
    House,
    /// Alert rules, dashboard and runbook, as `cargo xtask monitoring` checks them
    Monitoring,
    /// clippy over all targets
    Clippy,
    /// rustdoc of all crates
    Rustdoc,
    /// The OpenAPI document, and the checked-in schemas of the plugin boundary, which are made of its types and their documentation
    Schemas,
    /// Artefacts of the test contracts
    Contracts,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(path) = &args.words {
        return words::list(path);
    }
    let wanted = |part: Part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Format) {
        cargo::run("Formatting", &["fmt", "--all", "--check"], &[])?;
    }
    if wanted(Part::Text) {
        crate::paint::heading("Citations, links, log lines, reasons and words");
        text()?;
    }
    if wanted(Part::House) {
        crate::paint::heading("Crates, layers and sizes");
        house::check()?;
    }
    if wanted(Part::Monitoring) {
        crate::paint::heading("Alert rules, dashboard and runbook");
        monitoring::lint()?;
    }
    if wanted(Part::Clippy) {
        clippy()?;
    }
    if wanted(Part::Rustdoc) {
        rustdoc()?;
    }
    if wanted(Part::Schemas) {
        schemas()?;
        openapi::validate()?;
    }
    if wanted(Part::Contracts) {
        crate::paint::heading("Test contracts");
        contracts::run(&contracts::Args { check: true })?;
    }
    Ok(())
}

/// All checks run, so that one call shows every error.
fn text() -> Result<(), Failure> {
    let checks = [
        citations::check(),
        links::check(),
        quotes::check(),
        events::check(),
        reasons::check(),
        continued::check(),
        words::check(),
    ];
    let errors: Vec<String> = checks
        .into_iter()
        .filter_map(|result| result.err().map(|Failure(what)| what))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure(errors.join("\n")))
    }
}

fn clippy() -> Result<(), Failure> {
    // The release profile shares build scripts and macros with the tests. `cargo xtask full` checks the official Solana
    // clients, whose many dependencies nothing here needs.
    let clippy = [
        "clippy",
        "--release",
        "--locked",
        "--workspace",
        "--exclude",
        cargo::SOLANA_OFFICIAL,
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
    cargo::run("Clippy", &clippy, &[])
}

fn rustdoc() -> Result<(), Failure> {
    let doc = [
        "doc",
        "--release",
        "--locked",
        "--workspace",
        "--exclude",
        cargo::SOLANA_OFFICIAL,
        "--no-deps",
    ];
    // Documentation of a module may name its private items.
    let flags = "--deny warnings --allow rustdoc::private-intra-doc-links";
    cargo::run("Documentation", &doc, &[("RUSTDOCFLAGS", flags)])
}

fn schemas() -> Result<(), Failure> {
    // A feature that nothing that is shipped has.
    let schemas = [
        "test",
        "--release",
        "--locked",
        "--package",
        "sdk-plugin",
        "--features",
        "schema",
        "--test",
        "schemas",
    ];
    cargo::run("The checked-in schemas of the plugin boundary", &schemas, &[])
}
