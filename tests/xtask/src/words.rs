//! Keeps the words of plain_words.toml out of documentation pages, and limits their number in comments and messages.

mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::files::{self, Kind};
use crate::{Failure, cargo};
use text::Prose;

/// The list and the ceilings, from the repository's root.
const LIST: &str = "tests/xtask/plain_words.toml";
/// At most this many hits are printed for one folder.
const SHOWN: usize = 20;

/// The list as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    generated: Vec<String>,
    /// Finds names of functions and one-word literals with a word that has no technical use in a name.
    names: String,
    /// Hits by top-level folder; a folder that is not named may have none.
    ceilings: BTreeMap<String, usize>,
    word: Vec<WordEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WordEntry {
    not: String,
    #[serde(rename = "use")]
    instead: String,
    #[serde(default)]
    allowed: Vec<String>,
}

/// The list, compiled.
#[derive(Debug)]
struct Words(Vec<Word>);

#[derive(Debug)]
struct Word {
    not: Regex,
    instead: String,
    allowed: Vec<Regex>,
}

/// One use of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hit {
    line: usize,
    found: String,
    instead: String,
}

impl Words {
    fn compile(entries: &[WordEntry]) -> Result<Words, regex::Error> {
        let regex = |pattern: &String| RegexBuilder::new(pattern).case_insensitive(true).build();
        let words = entries.iter().map(|entry| {
            Ok(Word {
                not: regex(&entry.not)?,
                instead: entry.instead.clone(),
                allowed: entry.allowed.iter().map(regex).collect::<Result<_, _>>()?,
            })
        });
        words.collect::<Result<_, _>>().map(Words)
    }

    /// Every use in a text that no allowed phrase covers, by line.
    fn hits(&self, prose: &Prose) -> Vec<Hit> {
        let mut hits = Vec::new();
        for word in &self.0 {
            let allowed: Vec<_> = word
                .allowed
                .iter()
                .flat_map(|phrase| phrase.find_iter(&prose.text).map(|found| found.range()))
                .collect();
            for found in word.not.find_iter(&prose.text) {
                let covers = |phrase: &std::ops::Range<usize>| {
                    phrase.start <= found.start() && found.end() <= phrase.end
                };
                if !allowed.iter().any(covers) {
                    hits.push(Hit {
                        line: prose.line_at(found.start()),
                        found: found.as_str().to_owned(),
                        instead: word.instead.clone(),
                    });
                }
            }
        }
        hits.sort_by(|a, b| (a.line, &a.found).cmp(&(b.line, &b.found)));
        hits
    }
}

/// Names of functions, and string literals that are one name, with such a word; by line.
fn name_hits(names: &Regex, source: &str) -> Vec<Hit> {
    let found = |(index, line): (usize, &str)| {
        let hits = names.captures_iter(line).filter_map(|name| name.get(1));
        let hit = |name: regex::Match<'_>| Hit {
            line: index + 1,
            found: name.as_str().to_owned(),
            instead: "a name without a word of the list".to_owned(),
        };
        hits.map(hit).collect::<Vec<_>>()
    };
    source.lines().enumerate().flat_map(found).collect()
}

/// What the lint reports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    errors: Vec<String>,
    hints: Vec<String>,
}

/// Compares the hits of each folder with its ceiling. `pages`: hits in documentation pages, which have no ceiling.
fn compare(
    pages: &[String],
    folders: &BTreeMap<String, Vec<String>>,
    ceilings: &BTreeMap<String, usize>,
) -> Report {
    let mut report = Report::default();
    report.errors.extend(pages.iter().cloned());
    for (folder, hits) in folders {
        let ceiling = ceilings.get(folder).copied().unwrap_or(0);
        let count = hits.len();
        if count > ceiling {
            report.errors.push(format!(
                "{folder}: {count} words to avoid, at most {ceiling} are allowed:"
            ));
            report
                .errors
                .extend(hits.iter().take(SHOWN).map(|hit| format!("  {hit}")));
            if count > SHOWN {
                report.errors.push(format!(
                    "  and {} more: `cargo xtask lint --words {folder}` lists all",
                    count - SHOWN
                ));
            }
        }
    }
    for (folder, ceiling) in ceilings {
        let count = folders.get(folder).map_or(0, Vec::len);
        if count < *ceiling {
            report.hints.push(format!(
                "{folder} has {count} words to avoid: write `{folder} = {count}` into {LIST}"
            ));
        }
    }
    report
}

/// The list and all hits.
#[derive(Debug)]
struct Found {
    ceilings: BTreeMap<String, usize>,
    /// In documentation pages.
    pages: Vec<String>,
    folders: BTreeMap<String, Vec<String>>,
}

fn find() -> Result<Found, Failure> {
    let root = cargo::root();
    let list = fs::read_to_string(root.join(LIST))
        .map_err(|error| Failure(format!("cannot read {LIST}: {error}")))?;
    let list: List = toml::from_str(&list).map_err(|error| Failure(format!("{LIST}: {error}")))?;
    let words = Words::compile(&list.word).map_err(|error| Failure(format!("{LIST}: {error}")))?;

    let names = Regex::new(&list.names).map_err(|error| Failure(format!("{LIST}: {error}")))?;
    let mut pages = Vec::new();
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let kinds = [Kind::Rust, Kind::Markdown, Kind::Curly, Kind::Toml];
    for file in files::of_kinds(root, &kinds)? {
        // The list itself has every word.
        if file.name == LIST || list.generated.contains(&file.name) {
            continue;
        }
        let prose = match file.kind {
            Kind::Rust => Prose::of_rust(&file.text),
            Kind::Markdown => Prose::of_markdown(&file.text),
            Kind::Curly => Prose::of_curly(&file.text),
            Kind::Toml => Prose::of_toml(&file.text),
        };
        let mut hits = words.hits(&prose);
        // The lints' own tests need the words.
        if file.kind == Kind::Rust && !file.name.starts_with("tests/xtask/") {
            hits.extend(name_hits(&names, &file.text));
        }
        let hits = hits.into_iter().map(|hit| {
            let Hit { line, found, instead } = hit;
            format!("{}:{line}: \"{found}\"; better: {instead}", file.name)
        });
        match top_folder(&file.name, file.kind) {
            Some(folder) => folders.entry(folder.to_owned()).or_default().extend(hits),
            None => pages.extend(hits),
        }
    }
    Ok(Found {
        ceilings: list.ceilings,
        pages,
        folders,
    })
}

/// Prints every hit in files whose path starts with `path`.
pub(crate) fn list(path: &str) -> Result<(), Failure> {
    let found = find()?;
    let hits = found.pages.iter().chain(found.folders.values().flatten());
    let mut count = 0;
    for hit in hits.filter(|hit| hit.starts_with(path)) {
        println!("{hit}");
        count += 1;
    }
    println!("{count} words to avoid");
    Ok(())
}

/// Fails when a documentation page has a word of the list, or a folder has more of them than its ceiling.
pub(crate) fn check() -> Result<(), Failure> {
    let Found {
        ceilings,
        pages,
        folders,
    } = find()?;
    let report = compare(&pages, &folders, &ceilings);
    for hint in &report.hints {
        println!("{hint}");
    }
    if report.errors.is_empty() {
        let counted: usize = folders.values().map(Vec::len).sum();
        println!(
            "Documentation pages have no words to avoid; comments and messages have {counted}, within the ceilings."
        );
        return Ok(());
    }
    Err(Failure(format!(
        "words to avoid ({LIST} says what to write instead):\n  {}",
        report.errors.join("\n  ")
    )))
}

/// The folder whose ceiling counts a file; `None` for a documentation page.
fn top_folder(name: &str, kind: Kind) -> Option<&str> {
    let mut parts = Path::new(name).iter().filter_map(|part| part.to_str());
    let first = parts.next()?;
    let is_page = kind == Kind::Markdown && (first == "docs" || parts.next().is_none());
    (!is_page).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        let text = fs::read_to_string(cargo::root().join(LIST)).expect("the list");
        toml::from_str(&text).expect("a valid list")
    }

    fn found(text: &str) -> Vec<(usize, String)> {
        let words = Words::compile(&list().word).expect("valid patterns");
        let hits = words.hits(&Prose::of_markdown(text));
        hits.into_iter().map(|hit| (hit.line, hit.found)).collect()
    }

    fn words_of(text: &str) -> Vec<String> {
        found(text).into_iter().map(|(_, word)| word).collect()
    }

    #[test]
    fn the_repository_is_within_the_ceilings() {
        check().expect("no words to avoid");
    }

    // A `_` in each word keeps this file itself out of the count.
    #[test]
    fn each_entry_of_the_list_finds_its_word() {
        for (text, word) in [
            ("the seller is t_old success", "t_old"),
            ("a node is ask_ed again", "a_sked"),
            ("the node's w_ord for it", "node's w_ord"),
            ("the engine l_ooks at it", "l_ooks"),
            ("what comes b_ehind the slot", "b_ehind"),
            ("it t_akes in what it read", "t_akes in"),
            ("a p_oor signer", "p_oor"),
            ("a chain that is i_ll", "is i_ll"),
            ("the m_isfits of a file", "m_isfits"),
            ("it g_oes on", "g_oes on"),
            ("a job is p_ut off", "p_ut off"),
            ("a d_earer one", "d_earer"),
            ("a p_lace in a lane", "p_lace"),
            ("nothing was b_egun", "b_egun"),
            ("c_ounted is the most", "c_ounted is"),
            ("s_omebody else", "s_omebody"),
        ] {
            let plain = |text: &str| text.replace('_', "");
            assert_eq!(words_of(&plain(text)), [plain(word)], "{text}");
        }
        assert_eq!(list().word.len(), 15, "add a line above for a new entry");
    }

    #[test]
    fn allowed_phrases_and_code_are_no_hits() {
        for text in [
            "Run it b_ehind a reverse proxy, because a node f_alls b_ehind.",
            "L_ook up the claim; it is l_ooked up again.",
            "the ask price, in pl_ace of the old one; this takes pl_ace once",
            "the line `t_old: pending` and [a link](b_ehind.md#ask)",
            "```\nask\n```",
            "task, replaced, basked, dearth",
        ] {
            assert_eq!(words_of(&text.replace('_', "")), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_hit_has_its_line_and_phrases_go_over_lines() {
        let text = "One line.\n\nIt g_oes\non; run it b_ehind a\nreverse proxy, b_ehind it.".replace('_', "");
        assert_eq!(
            found(&text),
            [(3, "g_oes on"), (5, "b_ehind")].map(|(line, word)| (line, word.replace('_', "")))
        );
    }

    #[test]
    fn comments_and_messages_of_rust_count_and_code_does_not() {
        let source = "/// It is t_old.\nfn t_old() {\n    let t_old = \"t_old\";\n    error!(\"a node is \\\n        ask_ed\");\n}\n"
            .replace("t_old", "told")
            .replace("ask_ed", "asked");
        let words = Words::compile(&list().word).expect("valid patterns");
        let hits = words.hits(&Prose::of_rust(&source));
        let lines: Vec<_> = hits.iter().map(|hit| (hit.line, hit.found.as_str())).collect();
        assert_eq!(lines, [(1, "told"), (5, "asked")]);
    }

    #[test]
    fn names_of_functions_and_events_count() {
        let names = Regex::new(&list().names).expect("a valid pattern");
        let source =
            "fn a_node_is_asked_once() {\n  log(\"node_asked\", task, \"basked\", \"node_behind\");\n}\n";
        let hits = name_hits(&names, source);
        let lines: Vec<_> = hits.iter().map(|hit| (hit.line, hit.found.as_str())).collect();
        assert_eq!(lines, [(1, "a_node_is_asked_once"), (2, "node_asked")]);
    }

    #[test]
    fn a_folder_above_its_ceiling_fails_and_one_below_gets_a_hint() {
        let of = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
            pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
        };
        let folders: BTreeMap<_, _> = [("engine".to_owned(), vec!["hit".to_owned(); 3])].into();
        let at = |ceiling| compare(&[], &folders, &of(&[("engine", ceiling)]));
        assert_eq!(at(3), Report::default());
        assert_eq!(at(2).errors.len(), 4, "{:?}", at(2));
        assert_eq!((at(4).errors.len(), at(4).hints.len()), (0, 1));
        // A folder without a ceiling may have none.
        assert!(!compare(&[], &folders, &of(&[])).errors.is_empty());
        // A ceiling for what is gone is to be removed.
        assert_eq!(
            compare(&[], &BTreeMap::new(), &of(&[("engine", 1)])).hints.len(),
            1
        );
        // Pages have no ceiling.
        assert_eq!(
            compare(&["hit".to_owned()], &BTreeMap::new(), &of(&[]))
                .errors
                .len(),
            1
        );
    }

    #[test]
    fn pages_are_the_handbook_and_the_top_level_files() {
        assert_eq!(top_folder("docs/src/laws.md", Kind::Markdown), None);
        assert_eq!(top_folder("README.md", Kind::Markdown), None);
        assert_eq!(
            top_folder("sdk-plugin/README.md", Kind::Markdown),
            Some("sdk-plugin")
        );
        assert_eq!(top_folder("tests/xtask/src/main.rs", Kind::Rust), Some("tests"));
    }
}
