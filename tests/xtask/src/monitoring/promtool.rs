//! Runs Prometheus' own tool, which is not a crate: Debian's package `prometheus` has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::panels::Query;
use crate::{Failure, cargo};

/// Where .ci/run unpacks it, from the repository's root.
const UNPACKED: &str = "target/ci-prometheus/usr/bin/promtool";
/// Where the queries of panels are written for promtool, from the repository's root.
const PANELS: &str = "target/monitoring";

/// The program.
#[derive(Debug)]
pub(super) struct Promtool(PathBuf);

impl Promtool {
    /// The one on the PATH, or the one that .ci/run has unpacked.
    pub(super) fn find() -> Option<Self> {
        let candidates = [PathBuf::from("promtool"), cargo::root().join(UNPACKED)];
        let works = |program: &PathBuf| {
            let version = Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            version.is_ok_and(|status| status.success())
        };
        candidates.into_iter().find(works).map(Self)
    }

    /// Parses the configuration and the rule files. `count`: the rules that were found by their lines.
    pub(super) fn check_rules(&self, files: &[PathBuf], count: usize) -> Result<(), Failure> {
        let is_config = |path: &&PathBuf| path.file_name().is_some_and(|name| name == super::CONFIG);
        for config in files.iter().filter(is_config) {
            self.run(&["check", "config"], &[config.as_path()])?;
        }
        let rules: Vec<&Path> = files
            .iter()
            .filter(|path| !is_config(path))
            .map(PathBuf::as_path)
            .collect();
        let printed = self.run(&["check", "rules"], &rules)?;
        let found = rules_found(&printed);
        if found != count {
            return Err(Failure(format!(
                "promtool finds {found} rules, and {count} were found by their lines: write `- alert: NAME` or `- record: NAME` first in \
                 each rule\n{printed}"
            )));
        }
        Ok(())
    }

    /// Runs the tests of the rules.
    pub(super) fn test_rules(&self, files: &[PathBuf]) -> Result<(), Failure> {
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        self.run(&["test", "rules"], &files).map(|_| ())
    }

    /// Parses queries of panels. promtool has no command for a query alone, so each becomes a recording rule.
    pub(super) fn parse(&self, queries: &[Query]) -> Result<(), Failure> {
        let record = |number: usize| format!("panel:{number}:");
        let rules: Vec<_> = queries
            .iter()
            .enumerate()
            .map(|(number, query)| json!({ "record": record(number), "expr": query.text }))
            .collect();
        let folder = cargo::root().join(PANELS);
        let file = folder.join("panels.yml");
        // JSON is YAML.
        let text = json!({ "groups": [{ "name": "panels", "rules": rules }] }).to_string();
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&file, text))
            .map_err(|error| Failure(format!("cannot write {}: {error}", file.display())))?;
        self.run(&["check", "rules"], &[&file])
            .map(|_| ())
            .map_err(|Failure(mut printed)| {
                for (number, query) in queries.iter().enumerate() {
                    printed = printed.replace(&record(number), &query.title);
                }
                Failure(format!("a query of a panel can't be parsed:\n{printed}"))
            })
    }

    /// What it printed; an error with it when it failed.
    fn run(&self, command: &[&str], files: &[&Path]) -> Result<String, Failure> {
        let line = format!("promtool {}", command.join(" "));
        let output = Command::new(&self.0)
            .args(command)
            .args(files)
            .output()
            .map_err(|error| Failure(format!("cannot start promtool: {error}")))?;
        let printed = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.success() {
            Ok(printed)
        } else {
            Err(Failure(format!(
                "`{line}` failed ({}):\n{printed}",
                output.status
            )))
        }
    }
}

/// The sum of the lines `SUCCESS: 33 rules found`.
fn rules_found(printed: &str) -> usize {
    printed
        .lines()
        .filter_map(|line| {
            line.split_once(" rules found")?
                .0
                .rsplit(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_several_files_are_added() {
        let printed =
            "Checking a.yml\n  SUCCESS: 33 rules found\n\nChecking b.yml\n  SUCCESS: 5 rules found\n";
        assert_eq!((rules_found(printed), rules_found("FAILED")), (38, 0));
    }

    #[test]
    fn a_query_that_does_not_parse_fails_with_the_title_of_its_panel() {
        // Without promtool there is nothing to test; .ci/run installs it.
        let Some(promtool) = Promtool::find() else {
            return;
        };
        let query = |text: &str| Query {
            title: "My panel".to_owned(),
            text: text.to_owned(),
        };
        assert!(promtool.parse(&[query("sum by (a) (rate(b[5m]))")]).is_ok());
        let Failure(why) = promtool.parse(&[query("a"), query("rate(b[5m)")]).unwrap_err();
        assert!(why.contains("My panel"), "{why}");
    }
}
