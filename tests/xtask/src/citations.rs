//! Everything that comments and tests cite must exist: a row of docs/src/protocol/threats.md for each threat, a page of
//! docs/src/protocol and a section on it for each `page.md section N`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::files::{self, Kind};
use crate::{Failure, cargo};

/// Where the cited pages are, from the repository's root.
const PAGES: &str = "docs/src/protocol";
/// The page whose rows are threats.
const THREATS: &str = "threats.md";

/// Everything that can be cited.
#[derive(Debug, Default)]
struct Pages {
    /// Numbers of sections by the page's file name.
    sections: BTreeMap<String, BTreeSet<u32>>,
    threats: BTreeSet<u32>,
}

impl Pages {
    fn add(&mut self, name: &str, text: &str) {
        let sections = text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .filter_map(leading);
        self.sections.entry(name.to_owned()).or_default().extend(sections);
        if name == THREATS {
            let rows = text.lines().filter_map(|line| line.strip_prefix("| T-"));
            self.threats.extend(rows.filter_map(leading));
        }
    }

    /// Citations of a source that do not exist.
    fn missing(&self, source: &str) -> Vec<String> {
        let text = joined(source);
        let threats = after(&text, "T-")
            .into_iter()
            .chain(after(&text, "fn t"))
            .filter_map(leading)
            .filter(|number| !self.threats.contains(number))
            .map(|number| format!("T-{number:02} has no row in {PAGES}/{THREATS}"));
        let sections = self.sections.iter().flat_map(|(page, sections)| {
            let cited = after(&text, page).into_iter().flat_map(cited_sections);
            cited
                .filter(|number| !sections.contains(number))
                .map(move |number| format!("{PAGES}/{page} has no section {number}"))
        });
        threats.chain(sections).collect()
    }
}

/// Joins comments that span several lines.
fn joined(source: &str) -> String {
    let lines = source.lines().map(|line| {
        let line = line.trim();
        line.strip_prefix("//")
            .map_or(line, |comment| comment.trim_start_matches(['/', '!', ' ']))
    });
    lines.collect::<Vec<_>>().join(" ")
}

/// The text after each occurrence of a prefix that starts a word.
fn after<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    let begins = |at: usize| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|before| before.is_alphanumeric() || before == '-' || before == '_')
    };
    text.match_indices(word)
        .filter(|(at, _)| begins(*at))
        .filter_map(|(at, _)| text.get(at + word.len()..))
        .collect()
}

/// The number at the start. `None` without one, or when letters follow it.
fn leading(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if rest.starts_with(char::is_alphabetic) {
        None
    } else {
        digits.parse().ok()
    }
}

/// The sections of ` section 3`, `, section 3` or ` sections 3, 4 and 6`.
fn cited_sections(rest: &str) -> Vec<u32> {
    let rest = rest.strip_prefix(',').unwrap_or(rest);
    let Some(mut rest) = rest
        .strip_prefix(" sections ")
        .or_else(|| rest.strip_prefix(" section "))
    else {
        return Vec::new();
    };
    let mut numbers = Vec::new();
    while let Some(number) = leading(rest) {
        numbers.push(number);
        rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        match rest.strip_prefix(", ").or_else(|| rest.strip_prefix(" and ")) {
            Some(more) => rest = more,
            None => break,
        }
    }
    numbers
}

/// Fails with every citation that has no target.
pub(crate) fn check() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure(format!("cannot read the repository: {error}"));
    let root = cargo::root();
    let mut pages = Pages::default();
    for entry in fs::read_dir(root.join(PAGES)).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let (Some(name), true) = (
            path.file_name().and_then(|name| name.to_str()),
            path.extension().is_some_and(|extension| extension == "md"),
        ) {
            pages.add(name, &fs::read_to_string(&path).map_err(failed)?);
        }
    }
    let mut sources = files::all(root)?;
    sources.retain(|file| file.kind == Kind::Rust);
    let mut wrong = Vec::new();
    for file in &sources {
        let missing = pages.missing(&file.text);
        wrong.extend(missing.into_iter().map(|what| format!("{}: {what}", file.name)));
    }
    if wrong.is_empty() {
        println!(
            "{} sources cite {} pages; everything they cite exists.",
            sources.len(),
            pages.sections.len()
        );
        return Ok(());
    }
    wrong.sort();
    wrong.dedup();
    Err(Failure(format!(
        "citations without a target:\n  {}",
        wrong.join("\n  ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        let mut pages = Pages::default();
        pages.add(
            THREATS,
            "# Threats\n\n## 1. Core\n| Id | Attack |\n|---|---|\n| T-01 | two settles |\n",
        );
        pages.add(
            "scheme.md",
            "# Scheme\n\n## 1. Constants\n\n### 7. Deeper\n\n## 2. Verify\n",
        );
        pages
    }

    // Written in two parts: this file is a source, too.
    fn threat(number: u32) -> String {
        format!("{}{number:02}", "T-")
    }

    #[test]
    fn a_threat_without_a_row_is_found() {
        assert_eq!(
            pages().missing(&format!("// As in {}.", threat(1))),
            Vec::<String>::new()
        );
        let missing = pages().missing(&format!("/// See {} and {}.", threat(1), threat(2)));
        assert_eq!(
            missing,
            [format!(
                "{} has no row in docs/src/protocol/threats.md",
                threat(2)
            )]
        );
        let test = format!("{}3_a_name() {{}}", "fn t");
        assert_eq!(
            pages().missing(&test),
            [format!("{} has no row in {PAGES}/{THREATS}", threat(3))]
        );
        assert_eq!(
            pages().missing("fn t1() {} fn total() {} const NOT-T-9x: u8"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_section_that_does_not_exist_is_found() {
        let of = |source: &str| pages().missing(source);
        assert_eq!(
            of("//! By scheme.md, section 2, and scheme.md."),
            Vec::<String>::new()
        );
        let wrong = |number: u32| format!("{PAGES}/scheme.md has no section {number}");
        assert_eq!(of("//! By scheme.md section\n//! 3, in order."), [wrong(3)]);
        assert_eq!(of("//! By scheme.md sections 1, 4 and 7"), [wrong(4), wrong(7)]);
        assert_eq!(of("//! By other-scheme.md section 9"), Vec::<String>::new());
    }
}
