//! Named events of the log: the handbook has each of the code's, and no other.

use std::collections::BTreeSet;
use std::fs;

use crate::files::{self, Kind};
use crate::rust::lines_outside_tests;
use crate::{Failure, cargo};

/// The page with the tables of events.
const PAGE: &str = "docs/src/log-events.md";
/// Where the log is written from.
const SOURCES: &str = "facilitator/";
const MACROS: [&str; 3] = ["error!(", "warn!(", "info!("];
/// Written by the log itself, whose lines are no calls of those macros.
const OWN: [&str; 1] = ["lines_suppressed"];

/// Fails with every event that only one of them has.
pub(crate) fn check() -> Result<(), Failure> {
    let root = cargo::root();
    let page = fs::read_to_string(root.join(PAGE))
        .map_err(|error| Failure(format!("cannot read {PAGE}: {error}")))?;
    let documented = documented(&page);
    let mut found: BTreeSet<String> = OWN.map(str::to_owned).into();
    for file in files::all(root)? {
        let is_test = file.name.contains("/tests/") || file.name.ends_with("tests.rs");
        if file.kind == Kind::Rust && file.name.starts_with(SOURCES) && !is_test {
            let shipped = lines_outside_tests(&file.text).into_iter();
            let shipped: String = shipped.flat_map(|(_, line)| [line, "\n"]).collect();
            found.extend(events(&shipped));
        }
    }
    let only = |these: &BTreeSet<String>, others: &BTreeSet<String>| -> Vec<String> {
        these.difference(others).cloned().collect()
    };
    let (missing, left) = (only(&found, &documented), only(&documented, &found));
    if missing.is_empty() && left.is_empty() {
        println!("{PAGE} has all {} events of the log.", found.len());
        return Ok(());
    }
    Err(Failure(format!(
        "{PAGE} and the code have different events of the log:\n  only in the code: {}\n  only in the page: {}",
        missing.join(", "),
        left.join(", ")
    )))
}

/// The code spans in the first column of the page's tables.
fn documented(page: &str) -> BTreeSet<String> {
    let first = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let first = first.filter_map(|line| line.split(" | ").next());
    first
        .flat_map(|names| names.split(['`', ',', ' ']))
        .filter(|name| is_event(name))
        .map(str::to_owned)
        .collect()
}

/// Names at the start of texts in calls of the log's macros, alone or before a colon.
fn events(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in MACROS {
        for (at, _) in source.match_indices(start) {
            let rest = source.get(at + start.len()..).unwrap_or_default();
            let call = rest.split(");\n").next().unwrap_or_default();
            for text in call.split('"').skip(1).step_by(2) {
                let name = text.split(':').next().unwrap_or_default();
                if is_event(name) {
                    found.push(name.to_owned());
                }
            }
        }
    }
    found
}

fn is_event(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    name.contains('_') && !name.starts_with("switchyard_") && name.split('_').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_at_the_start_of_a_text_of_the_log() {
        let source = "tracing::error!(%error, name = \"a_field of_it\", \"disk_full: no room\");\n\
                      tracing::info!(\"lane_taken\");\nmetrics.add(\"switchyard_x_total\");\n\
                      tracing::warn!(\"two words: here\");\nlet key = \"not_logged\";\n";
        assert_eq!(events(source), ["disk_full", "lane_taken"]);
    }

    #[test]
    fn the_page_names_them_in_the_first_column() {
        let page = "| Event | Level |\n|---|---|\n| `a_b`, `c_d` | warn | see `e_f` |\n";
        let names: Vec<String> = documented(page).into_iter().collect();
        assert_eq!(names, ["a_b", "c_d"]);
    }
}
