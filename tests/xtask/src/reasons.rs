//! Reason strings: the handbook has each one that the code can answer, so that a seller who searches for one finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::files::{self, Kind};
use crate::rust::lines_outside_tests;
use crate::{Failure, cargo};

/// Where replies are written from.
const SOURCES: [&str; 6] = [
    "schemes-evm/src/",
    "schemes-svm/src/",
    "plugins/",
    "sdk-plugin/src/wire.rs",
    "facilitator/engine/src/",
    "facilitator/http-api/src/",
];
/// Files whose texts of one name are all reasons.
const REASONS: [&str; 2] = ["/reason.rs", "sdk-plugin/src/wire.rs"];
/// A text that starts so is a reason in every file.
const STARTS: [&str; 10] = [
    "invalid_",
    "unsupported_",
    "unexpected_",
    "insufficient_",
    "duplicate_",
    "permit2_",
    "eip2612_",
    "erc20_",
    "smart_wallet_",
    "upto_",
];
/// Code in front of a text that is a reason.
const MARKS: [&str; 3] = ["let reason = ", "Refusal::new(", "error_reason: Some("];
/// Pages in which a seller searches.
const PAGES: [&str; 3] = [
    "docs/src/answers.md",
    "docs/src/plugin-author.md",
    "docs/src/protocol/",
];

/// Fails with every reason that no page has.
pub(crate) fn check() -> Result<(), Failure> {
    let root = cargo::root();
    let files = files::all(root)?;
    let mut documented = BTreeSet::new();
    for file in &files {
        if file.name.ends_with(".md") && PAGES.iter().any(|page| file.name.starts_with(page)) {
            let page = fs::read_to_string(root.join(&file.name))
                .map_err(|error| Failure(format!("cannot read {}: {error}", file.name)))?;
            documented.extend(names(&page).map(str::to_owned));
        }
    }
    let mut missing: BTreeMap<String, &str> = BTreeMap::new();
    let mut count = 0_usize;
    for file in &files {
        let is_test = file.name.contains("/tests/") || file.name.ends_with("tests.rs");
        let is_source = SOURCES.iter().any(|source| file.name.starts_with(source));
        if file.kind != Kind::Rust || is_test || !is_source {
            continue;
        }
        let shipped = lines_outside_tests(&file.text).into_iter();
        let shipped: String = shipped.flat_map(|(_, line)| [line, "\n"]).collect();
        let all = REASONS.iter().any(|name| file.name.ends_with(name));
        for reason in reasons(&shipped, all) {
            count += 1;
            if !documented.contains(reason.as_str()) {
                missing.entry(reason).or_insert(&file.name);
            }
        }
    }
    if missing.is_empty() {
        println!("The handbook has all reason strings of the code ({count} uses).");
        return Ok(());
    }
    let list = missing
        .iter()
        .map(|(reason, file)| format!("\n  {reason} ({file})"));
    Err(Failure(format!(
        "no page of {} has these reason strings; write what each means into the page of its scheme:{}",
        PAGES.join(", "),
        list.collect::<String>()
    )))
}

/// The words of a page.
fn names(page: &str) -> impl Iterator<Item = &str> {
    page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| is_name(word))
}

/// Reasons among the texts of a source. `all`: each text of one name is one.
fn reasons(source: &str, all: bool) -> Vec<String> {
    let mut found = Vec::new();
    for line in source.lines() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        let mut parts = line.split('"');
        let mut before = parts.next().unwrap_or_default();
        while let (Some(text), Some(after)) = (parts.next(), parts.next()) {
            let is_marked = MARKS.iter().any(|mark| before.ends_with(mark));
            let starts = STARTS.iter().any(|start| text.starts_with(start));
            // The start of a longer name, in `concat!`.
            let is_part = text.ends_with('_');
            if is_name(text) && !is_part && (all || is_marked || starts) {
                found.push(text.to_owned());
            }
            before = after;
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.contains('_')
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_known_by_their_file_their_start_or_the_code_in_front_of_them() {
        let source = "pub const A: &str = \"invalid_a_b\";\nlet reason = \"not_found\";\nlet key = \"not_one\";\n\
                      Refusal::new(\"odd_one\", \"\")\n// \"invalid_in_a_comment\"\nconcat!(\"invalid_x_\", bare)\n";
        assert_eq!(reasons(source, false), ["invalid_a_b", "not_found", "odd_one"]);
        assert_eq!(
            reasons("A: \"one_a\", \"permit2_b\"; B: \"word\";", true),
            ["one_a", "permit2_b"]
        );
    }

    #[test]
    fn a_page_has_whole_names_only() {
        let page = "`invalid_a` and (invalid_b_c).\n| x_y |";
        assert_eq!(
            names(page).collect::<Vec<_>>(),
            ["invalid_a", "invalid_b_c", "x_y"]
        );
    }
}
