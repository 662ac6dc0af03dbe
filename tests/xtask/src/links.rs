//! Links between Markdown files must have a target: a file, and a heading on it. Links of the handbook must stay in the
//! handbook. Paths of the repository in code spans must exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::files::{self, File, Kind};
use crate::{Failure, cargo};

/// The handbook's pages. mdBook does not publish files outside of it.
const BOOK: &str = "docs/src";
const SUMMARY: &str = "docs/src/SUMMARY.md";
/// Code spans that start with one of these are paths from the repository's root.
const FOLDERS: [&str; 7] = [
    "docs/",
    "facilitator/",
    "plugins/",
    "schemes-evm/",
    "schemes-svm/",
    "sdk-plugin/",
    "tests/",
];

/// A link, an include or a path of a page.
#[derive(Debug, PartialEq, Eq)]
enum Reference<'t> {
    Link {
        path: &'t str,
        anchor: Option<&'t str>,
    },
    Include {
        path: &'t str,
        anchor: Option<&'t str>,
    },
    /// A code span with a path from the repository's root.
    Path(&'t str),
}

/// Access to files that are link targets.
trait Repository {
    fn exists(&self, name: &str) -> bool;
    /// The text of a file that is included.
    fn read(&self, name: &str) -> Option<String>;
}

struct OnDisk<'r>(&'r Path);

impl Repository for OnDisk<'_> {
    fn exists(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.join(name)).ok()
    }
}

/// Fails with every link without a target, and every page that is not in the handbook's summary.
pub(crate) fn check() -> Result<(), Failure> {
    let root = cargo::root();
    let pages = files::all(root)?
        .into_iter()
        .filter(|file| file.kind == Kind::Markdown)
        .map(|File { name, text, .. }| (name, text))
        .collect();
    let (checked, wrong) = broken(&pages, &OnDisk(root));
    if wrong.is_empty() {
        println!(
            "All {checked} links, includes and paths of {} pages have a target.",
            pages.len()
        );
        return Ok(());
    }
    Err(Failure(format!(
        "links without a target:\n  {}",
        wrong.join("\n  ")
    )))
}

/// The number of links and includes, and the errors. `pages`: texts by name.
fn broken(pages: &BTreeMap<String, String>, repository: &dyn Repository) -> (usize, Vec<String>) {
    let ids: BTreeMap<&str, BTreeSet<String>> = pages
        .iter()
        .map(|(name, text)| (name.as_str(), heading_ids(text)))
        .collect();
    let mut checked = 0;
    let mut wrong = Vec::new();
    let mut in_summary = BTreeSet::new();
    for (name, text) in pages {
        let found = references(text);
        checked += found.len();
        for (line, reference) in found {
            let complaint = match reference {
                Reference::Link { path, anchor } => {
                    let target = resolve(name, path);
                    if name == SUMMARY {
                        in_summary.extend(target.clone());
                    }
                    link_error(name, target.as_deref(), anchor, &ids, repository)
                }
                Reference::Include { path, anchor } => {
                    include_error(resolve(name, path).as_deref(), anchor, repository)
                }
                Reference::Path(path) => (!repository.exists(path)).then(|| format!("no file {path}")),
            };
            wrong.extend(complaint.map(|what| format!("{name}:{line}: {what}")));
        }
    }
    let is_missing =
        |name: &&String| name.starts_with(BOOK) && *name != SUMMARY && !in_summary.contains(*name);
    if pages.contains_key(SUMMARY) {
        wrong.extend(
            pages
                .keys()
                .filter(is_missing)
                .map(|name| format!("{name} is not in {SUMMARY}")),
        );
    }
    (checked, wrong)
}

fn link_error(
    from: &str,
    target: Option<&str>,
    anchor: Option<&str>,
    ids: &BTreeMap<&str, BTreeSet<String>>,
    repository: &dyn Repository,
) -> Option<String> {
    let Some(target) = target.filter(|target| repository.exists(target)) else {
        return Some(format!("no file {}", target.unwrap_or("outside the repository")));
    };
    if from.starts_with(BOOK) && !target.starts_with(BOOK) {
        return Some(format!("{target} is not in the book"));
    }
    let anchor = anchor?;
    match ids.get(target) {
        Some(ids) if ids.contains(anchor) => None,
        Some(_) => Some(format!("{target} has no heading #{anchor}")),
        None => Some(format!("{target} is no page with headings")),
    }
}

fn include_error(target: Option<&str>, anchor: Option<&str>, repository: &dyn Repository) -> Option<String> {
    let Some((target, text)) = target.and_then(|target| Some((target, repository.read(target)?))) else {
        return Some(format!(
            "no file {} to include",
            target.unwrap_or("in the repository")
        ));
    };
    let anchor = anchor?;
    let marks = [format!("ANCHOR: {anchor}"), format!("ANCHOR_END: {anchor}")];
    let is_complete = marks
        .iter()
        .all(|mark| text.lines().any(|line| line.trim_end().ends_with(mark.as_str())));
    (!is_complete).then(|| format!("{target} has no part {anchor}"))
}

/// The path from the repository's root; `None` above it. `""`: the page itself.
fn resolve(from: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<String> = Path::new(from)
        .parent()?
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    for component in PathBuf::from(path).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// Relative links and includes with their lines. Code holds no links; includes may be inside code blocks.
fn references(text: &str) -> Vec<(usize, Reference<'_>)> {
    let mut found = Vec::new();
    let mut in_code = false;
    // A code span may start on an earlier line of the paragraph.
    let mut in_span = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            in_span = false;
            continue;
        }
        in_span &= !line.trim().is_empty();
        let includes = between(line, "{{#include ", "}}").into_iter().map(|what| {
            let (path, anchor) = what
                .split_once(':')
                .map_or((what, None), |(path, a)| (path, Some(a)));
            Reference::Include {
                path: path.trim(),
                anchor,
            }
        });
        found.extend(includes.map(|reference| (index + 1, reference)));
        if in_code {
            continue;
        }
        let in_spans = line.split('`').skip(usize::from(!in_span)).step_by(2);
        found.extend(
            in_spans
                .filter(|text| is_path(text))
                .map(|text| (index + 1, Reference::Path(text))),
        );
        // The target of a link whose text ends with code is in the part after that code.
        let outside_code = line.split('`').skip(usize::from(in_span)).step_by(2);
        in_span ^= line.matches('`').count() % 2 == 1;
        for target in outside_code.flat_map(|text| between(text, "](", ")")) {
            let target = target.split_whitespace().next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target
                .split_once('#')
                .map_or((target, None), |(path, anchor)| (path, Some(anchor)));
            found.push((index + 1, Reference::Link { path, anchor }));
        }
    }
    found
}

fn is_path(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    FOLDERS.iter().any(|folder| text.starts_with(folder)) && text.chars().all(is_plain)
}

/// Each text between two marks.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(start) {
        let Some((inside, more)) = after.split_once(end) else {
            break;
        };
        found.push(inside);
        rest = more;
    }
    found
}

/// Ids that mdBook and code hosts give the headings of a page.
fn heading_ids(text: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        let title = line.trim_start_matches('#');
        if in_code || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let id = heading_id(title.trim());
        let count = counts.entry(id.clone()).or_default();
        ids.insert(if *count == 0 { id } else { format!("{id}-{count}") });
        *count += 1;
    }
    ids
}

fn heading_id(title: &str) -> String {
    // Of a link in a heading only its text counts.
    let mut text = String::new();
    let mut rest = title;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, more)| more);
    }
    text.push_str(rest);
    let kept = text.chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(BTreeMap<String, String>);

    impl Repository for Files {
        fn exists(&self, name: &str) -> bool {
            self.0
                .keys()
                .any(|file| file == name || file.starts_with(&format!("{name}/")))
        }

        fn read(&self, name: &str) -> Option<String> {
            self.0.get(name).cloned()
        }
    }

    fn wrong(files: &[(&str, &str)]) -> Vec<String> {
        let all: BTreeMap<_, _> = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let pages = all
            .iter()
            .filter(|(name, _)| name.ends_with(".md"))
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect();
        broken(&pages, &Files(all)).1
    }

    #[test]
    fn files_and_headings_must_exist() {
        let other = ("b/other.md", "# The `other` page, 2.0\n\n## Same\n\n## Same\n");
        let of = |link: &str| wrong(&[("README.md", link), other, ("b/data.json", "")]);
        for good in [
            "[a](b/other.md)",
            "[a](b/other.md#the-other-page-20)",
            "[a](b/other.md#same-1) and [b](./b/../b/other.md#same)",
            "# Here\n[a](#here) [b](https://example.com/nothing#x) [c](b/data.json) [d](b)",
            "`[code](nowhere.md)`\n```\n[code](nowhere.md)\n```",
            "[`exact`](b/other.md)",
        ] {
            assert_eq!(of(good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(of("[a](b/no.md)"), ["README.md:1: no file b/no.md"]);
        assert_eq!(of("\n[`a`](b/no.md)"), ["README.md:2: no file b/no.md"]);
        assert_eq!(
            of("[a](b/other.md#nothing)"),
            ["README.md:1: b/other.md has no heading #nothing"]
        );
        assert_eq!(
            of("[a](#nothing)"),
            ["README.md:1: README.md has no heading #nothing"]
        );
        assert_eq!(
            of("[a](../x.md)"),
            ["README.md:1: no file outside the repository"]
        );
    }

    #[test]
    fn paths_in_code_must_exist() {
        let of = |text: &str| wrong(&[("a/README.md", text), ("tests/e2e/lib.rs", "")]);
        for good in [
            "`tests/e2e` and `tests/e2e/lib.rs`",
            "`tests/e2e auth_capture::x` and `tests/*/none` and `other/none`",
            "```sh\n`tests/none`\n```\ntests/none",
        ] {
            assert_eq!(of(good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(of("A\n`tests/none`"), ["a/README.md:2: no file tests/none"]);
        assert_eq!(of("A `b\nc` `tests/none`"), ["a/README.md:2: no file tests/none"]);
    }

    #[test]
    fn the_book_is_complete_and_links_to_itself_only() {
        let summary = ("docs/src/SUMMARY.md", "- [A](a.md)\n");
        assert_eq!(
            wrong(&[
                summary,
                ("docs/src/a.md", "[x](../../README.md)"),
                ("README.md", "")
            ]),
            ["docs/src/a.md:1: README.md is not in the book"]
        );
        assert_eq!(
            wrong(&[summary, ("docs/src/a.md", ""), ("docs/src/b.md", "")]),
            ["docs/src/b.md is not in docs/src/SUMMARY.md"]
        );
    }

    #[test]
    fn what_is_included_must_exist() {
        let of = |include: &str| {
            wrong(&[
                ("docs/a.md", include),
                (
                    "docs/a.mjs",
                    "// ANCHOR: shop\nlet a;\n// ANCHOR_END: shop\n// ANCHOR: open\n",
                ),
            ])
        };
        assert_eq!(of("```js\n{{#include a.mjs:shop}}\n```"), Vec::<String>::new());
        assert_eq!(of("{{#include a.mjs}}"), Vec::<String>::new());
        assert_eq!(
            of("```js\n{{#include b.mjs}}\n```"),
            ["docs/a.md:2: no file docs/b.mjs to include"]
        );
        assert_eq!(
            of("{{#include a.mjs:no}}"),
            ["docs/a.md:1: docs/a.mjs has no part no"]
        );
        assert_eq!(
            of("{{#include a.mjs:open}}"),
            ["docs/a.md:1: docs/a.mjs has no part open"]
        );
    }
}
