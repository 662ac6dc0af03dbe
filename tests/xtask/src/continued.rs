//! A string literal that continues in the next line without a backslash carries the indentation of that line into what a reader sees.

use crate::files::{self, Kind};
use crate::rust::lines_outside_tests;
use crate::{Failure, cargo};

/// As long as the shortest indentation of a continued literal.
const INDENTATION: &str = "        ";

/// Fails with every line whose string literal holds an indentation.
pub(crate) fn check() -> Result<(), Failure> {
    let sources = files::of_kinds(cargo::root(), &[Kind::Rust])?;
    let shipped = sources
        .iter()
        .filter(|file| !file.name.starts_with("tests/") && !file.name.ends_with("tests.rs"));
    let found: Vec<String> = shipped
        .flat_map(|file| {
            let lines = indented(&file.text).into_iter();
            lines.map(|line| format!("{}:{line}", file.name))
        })
        .collect();
    if found.is_empty() {
        println!("No string literal holds an indentation.");
        return Ok(());
    }
    Err(Failure(format!(
        "string literals that hold an indentation; end the line before with `\\`:\n  {}",
        found.join("\n  ")
    )))
}

/// Numbers and texts of lines with an indentation after their first quote. Spaces before a `#` align the comments of a TOML file.
fn indented(text: &str) -> Vec<String> {
    let literals = lines_outside_tests(text)
        .into_iter()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter_map(|(number, line)| Some((number, line.split_once('"')?.1)));
    literals
        .filter(|(_, literal)| {
            let mut runs = literal.match_indices(INDENTATION);
            runs.any(|(at, _)| {
                let after = literal.get(at..).unwrap_or_default().trim_start();
                !after.starts_with('#')
            })
        })
        .map(|(number, literal)| format!("{number}: {literal}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_indentation_is_found_and_aligned_comments_are_not() {
        let text = "let a = \"one         two\";\n// \"one         two\"\nlet b = \"key = 1         # why\";\n        let c = 1;\n";
        assert_eq!(indented(text), ["1: one         two\";"]);
        assert_eq!(
            indented("#[cfg(test)]\nmod tests {\n    \"a         b\"\n}\n"),
            [""; 0]
        );
    }
}
