//! Log lines that the handbook documents must exist in the code.

use std::fs;

use crate::files::{self, Kind};
use crate::{Failure, cargo};

/// The page with the table of log lines.
const PAGE: &str = "docs/src/running.md";
/// First columns of its rows.
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// Fails with every documented log line that no source contains.
pub(crate) fn check() -> Result<(), Failure> {
    let root = cargo::root();
    let page = fs::read_to_string(root.join(PAGE))
        .map_err(|error| Failure(format!("cannot read {PAGE}: {error}")))?;
    let sources: String = files::all(root)?
        .into_iter()
        .filter(|file| file.kind == Kind::Rust)
        .map(|file| joined(&file.text))
        .collect();
    let lines = log_lines(&page);
    let missing = missing(&lines, &sources);
    if lines.is_empty() {
        return Err(Failure(format!("{PAGE} has no table of log lines")));
    }
    if missing.is_empty() {
        println!("The code has all {} log lines of {PAGE}.", lines.len());
        return Ok(());
    }
    Err(Failure(format!(
        "{PAGE} documents log lines that the code does not have:\n  {}",
        missing.join("\n  ")
    )))
}

/// The texts of a source with continued string literals on one line.
fn joined(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("\\\n") {
        text.push_str(before);
        rest = after.trim_start();
    }
    text.push_str(rest);
    text.push('\n');
    text
}

/// The code spans in the second column of rows that start with a level.
fn log_lines(page: &str) -> Vec<&str> {
    let rows = page.lines().filter_map(|line| {
        let (level, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
        let (lines, _) = rest.split_once(" | ")?;
        LEVELS.contains(&level).then_some(lines)
    });
    rows.flat_map(|lines| lines.split('`').skip(1).step_by(2))
        .collect()
}

fn missing(lines: &[&str], sources: &str) -> Vec<String> {
    let is_missing = |line: &&&str| {
        // `…` stands for the rest of a line.
        let start = line.split('…').next().unwrap_or_default().trim_end();
        !sources.contains(&format!("\"{start}"))
    };
    lines
        .iter()
        .filter(is_missing)
        .map(|line| (*line).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documented_line_must_be_in_the_code() {
        let page = "| Level | Line | When |\n|---|---|---|\n| info | `paid_x` | a |\n| debug | `one`, `a long: …` | b |\n| other | `no` | \
                    c |\n";
        let lines = log_lines(page);
        assert_eq!(lines, ["paid_x", "one", "a long: …"]);
        let source = "info!(\"paid_x\"); debug!(\"one\"); error!(\"a long: \\\n      line\");";
        assert_eq!(missing(&lines, &joined(source)), Vec::<String>::new());
        assert_eq!(
            missing(&lines, "info!(\"was paid_x\"); (\"one\") (\"a long: l\")"),
            ["paid_x"]
        );
        assert_eq!(joined("\"a \\\n    b\""), "\"a b\"\n");
    }
}
