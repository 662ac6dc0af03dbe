//! `cargo xtask docs`: the handbook as HTML.

use crate::{Failure, cargo, links, tools};

/// The handbook's sources, from the repository's root.
const BOOK: &str = "docs";

/// Builds the handbook into docs/book with mdBook, and fails on a warning or a broken link.
///
/// The first run installs a pinned release of mdBook into target/tools, which needs a network and takes some minutes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run() -> Result<(), Failure> {
    crate::paint::heading("Links");
    links::check()?;
    let path = tools::ensure(&tools::MDBOOK)?;
    crate::paint::heading("The handbook");
    let output = tools::MDBOOK
        .command(&path)
        .args(["build", BOOK])
        // Warnings are read from the log.
        .env_remove("RUST_LOG")
        .env_remove("MDBOOK_LOG")
        .env("NO_COLOR", "1")
        .current_dir(cargo::root())
        .output()
        .map_err(|error| Failure(format!("cannot start mdbook: {error}")))?;
    let log = String::from_utf8_lossy(&output.stderr);
    print!("{}", String::from_utf8_lossy(&output.stdout));
    print!("{log}");
    if !output.status.success() {
        return Err(Failure(format!("mdbook failed ({})", output.status)));
    }
    // mdBook reports a missing include as an error and still exits with 0.
    match warnings(&log) {
        0 => Ok(()),
        count => Err(Failure(format!(
            "mdbook printed {count} warnings or errors, see above"
        ))),
    }
}

/// Lines of mdBook's log at level WARN or ERROR.
fn warnings(log: &str) -> usize {
    log.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|level| matches!(*level, "WARN" | "ERROR"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_errors_of_the_log_count() {
        let log = " INFO Book building has started\nERROR Error updating \"{{#include x}}\"\n WARN Caused By: ERROR no file\n \
                   INFO HTML book written to `docs/book`\n";
        assert_eq!(warnings(log), 2);
        assert_eq!(warnings(" INFO a page about WARN\n"), 0);
    }
}
