//! `cargo xtask monitoring`: the alert rules, their tests, the dashboard and the runbook are right and fit the code.
//!
//! `promtool` of Prometheus parses rules and queries and runs the tests of the rules. This module compares names: a rule or panel
//! about a metric that the code does not have, an alarm of the handbook without an alert, or an alert without a section of the
//! runbook would be noticed only in an incident.

mod names;
mod panels;
mod promtool;
mod rules;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{self, Kind};
use crate::{Failure, cargo};
use promtool::Promtool;
use rules::{Alert, Rules};

/// Rules and an example of a configuration, from the repository's root.
const PROMETHEUS: &str = "docs/monitoring/prometheus";
/// The configuration that names the rule files.
const CONFIG: &str = "prometheus.yml";
/// Tests of the rules, in the folder of the rules.
const TESTS: &str = "tests";
const DASHBOARDS: &str = "docs/monitoring/grafana";
/// Name and HELP of every metric of the core.
const HELP: &str = "facilitator/telemetry/src/help.rs";
/// The page with the table of alarms.
const ALARMS: &str = "docs/src/running.md";
const RUNBOOK: &str = "docs/src/runbook.md";
/// Crates whose plugins write metrics.
const PLUGINS: [&str; 3] = ["schemes-evm/", "schemes-svm/", "plugins/"];

/// Checks the files below docs/monitoring and the runbook.
#[derive(Debug, clap::Args)]
#[command(after_help = "What is checked:
  - promtool parses the rules and the example configuration, runs the tests of the rules, and parses the query of each panel.
  - Each metric in rules, tests and panels is in facilitator/telemetry/src/help.rs, or a plugin writes it.
  - Each metric of the table \"Set alarms\" in docs/src/running.md, and each whose HELP text speaks of an alarm, has an alert.
  - Each alert has a severity, a summary, a description, a section in docs/src/runbook.md and its address, a test in which it
    fires and one in which it does not.
`cargo xtask lint` does the same, and leaves out what needs promtool where it is not installed.

promtool is a part of Prometheus. It is searched for on the PATH and in target/ci-prometheus. On Debian and Ubuntu, these lines get
it without the server, which the package's installation would start (.ci/run does the same):
  mkdir -p target/ci-prometheus && cd target/ci-prometheus
  apt-get download prometheus && dpkg-deb --extract prometheus_*.deb .
Elsewhere: the archive of a release from https://prometheus.io/download/ contains it.

To add an alert:
  1. Write the rule in docs/monitoring/prometheus/alerts.yml, with runbook_url ending in #ALERTNAME in lower case.
  2. Write two tests in docs/monitoring/prometheus/tests/alerts.yml: it fires, and exp_alerts: [] in the healthy process.
  3. Write the section ### ALERTNAME in docs/src/runbook.md.
  4. Run cargo xtask monitoring.

Examples:
  cargo xtask monitoring           everything; fails without promtool
  cargo xtask monitoring --names   only names and the runbook, in a moment, without promtool")]
pub(crate) struct Args {
    /// Only compare names, without promtool
    #[arg(long)]
    names: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.names {
        return check(None);
    }
    let promtool = Promtool::find().ok_or_else(|| {
        Failure("promtool is not installed: `cargo xtask monitoring --help` says how to get it".to_owned())
    })?;
    check(Some(&promtool))
}

/// As a part of `cargo xtask lint`: without promtool, only names are compared.
pub(crate) fn lint() -> Result<(), Failure> {
    let promtool = Promtool::find();
    check(promtool.as_ref())?;
    if promtool.is_none() {
        println!(
            "promtool is not installed, so rules and queries were not parsed: `cargo xtask monitoring --help` says how to get it."
        );
    }
    Ok(())
}

/// Everything that is compared.
#[derive(Debug, Default)]
struct Files {
    rules: Rules,
    /// Texts of the tests of the rules.
    tests: Vec<String>,
    panels: Vec<panels::Query>,
    help: String,
    /// Metrics that plugins write, without their prefix.
    plugin_metrics: BTreeSet<String>,
    alarms: String,
    runbook: String,
}

fn check(promtool: Option<&Promtool>) -> Result<(), Failure> {
    let files = Files::read(cargo::root())?;
    let wrong = files.errors();
    if !wrong.is_empty() {
        return Err(Failure(format!(
            "docs/monitoring does not fit the code or the handbook:\n  {}",
            wrong.join("\n  ")
        )));
    }
    println!(
        "{} alerts and {} queries of panels name metrics that exist; each alert has tests and a section in {RUNBOOK}.",
        files.rules.names().len(),
        files.panels.len()
    );
    let Some(promtool) = promtool else {
        return Ok(());
    };
    promtool.check_rules(&paths(PROMETHEUS)?, files.rules.count)?;
    promtool.test_rules(&paths(&format!("{PROMETHEUS}/{TESTS}"))?)?;
    promtool.parse(&files.panels)?;
    println!("promtool has parsed all rules and queries, and the tests of the rules pass.");
    Ok(())
}

impl Files {
    fn read(root: &Path) -> Result<Self, Failure> {
        let mut rules = Rules::default();
        let mut config = String::new();
        for path in paths(PROMETHEUS)? {
            let text = read(&path)?;
            if path.file_name().is_some_and(|name| name == CONFIG) {
                config = text;
            } else {
                rules.add(&text);
            }
        }
        for path in paths(PROMETHEUS)? {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name != CONFIG && !config.contains(&format!("- {name}\n")) {
                return Err(Failure(format!("{PROMETHEUS}/{CONFIG} does not name {name}")));
            }
        }
        let tests = paths(&format!("{PROMETHEUS}/{TESTS}"))?;
        let mut queries = Vec::new();
        for path in listed(DASHBOARDS, "json")? {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            queries.extend(panels::queries(&name, &read(&path)?)?);
        }
        let sources = files::of_kinds(root, &[Kind::Rust])?;
        let of_plugins = sources
            .iter()
            .filter(|file| PLUGINS.iter().any(|folder| file.name.starts_with(folder)));
        Ok(Self {
            rules,
            tests: tests.iter().map(|path| read(path)).collect::<Result<_, _>>()?,
            panels: queries,
            help: read(&root.join(HELP))?,
            plugin_metrics: of_plugins.flat_map(|file| names::of_plugin(&file.text)).collect(),
            alarms: read(&root.join(ALARMS))?,
            runbook: read(&root.join(RUNBOOK))?,
        })
    }

    /// What is wrong, one sentence each.
    fn errors(&self) -> Vec<String> {
        let mut wrong = self.unknown_metrics();
        wrong.extend(self.missing_alerts());
        for name in self.rules.names() {
            let alerts: Vec<&Alert> = self
                .rules
                .alerts
                .iter()
                .filter(|alert| alert.name == name)
                .collect();
            for alert in &alerts {
                wrong.extend(alert.errors());
            }
            let section = rules::section(&self.runbook, name);
            wrong.extend(rules::section_errors(name, section.as_deref()));
            let (fires, stays) = rules::tested(&self.tests, name);
            if !fires {
                wrong.push(format!("{name}: no test in which it fires"));
            }
            if !stays {
                wrong.push(format!(
                    "{name}: no test in which it does not fire (exp_alerts: [])"
                ));
            }
        }
        let names = self.rules.names();
        let left_over = rules::sections(&self.runbook).filter(|section| !names.contains(section));
        wrong.extend(
            left_over.map(|section| format!("{RUNBOOK} has a section {section}, and no alert has this name")),
        );
        wrong
    }

    fn unknown_metrics(&self) -> Vec<String> {
        let known = names::Known {
            core: names::of_core(&self.help).into_keys().collect(),
            plugins: &self.plugin_metrics,
            recorded: &self.rules.recorded,
        };
        let of_rules = self
            .rules
            .expressions
            .iter()
            .map(|text| ("a rule", text.as_str()));
        let of_tests = self.tests.iter().map(|text| ("a test", text.as_str()));
        let of_panels = self
            .panels
            .iter()
            .map(|query| (query.title.as_str(), query.text.as_str()));
        let mut wrong = BTreeSet::new();
        for (what, text) in of_rules.chain(of_tests).chain(of_panels) {
            let unknown = names::used(text).filter(|name| !known.has(name));
            wrong.extend(unknown.map(|name| format!("{what} names {name}, which the code does not have")));
        }
        wrong.into_iter().collect()
    }

    fn missing_alerts(&self) -> Vec<String> {
        let mut wanted = names::alarms(&self.alarms);
        if wanted.is_empty() {
            return vec![format!("{ALARMS} has no table of alarms")];
        }
        let of_help = names::of_core(&self.help);
        wanted.extend(of_help.into_iter().filter_map(|(name, help)| {
            let speaks_of_alarm = help.contains("alarm");
            speaks_of_alarm.then_some((name, None))
        }));
        let has_alert = |(metric, matcher): &(String, Option<String>)| {
            self.rules.alerts.iter().any(|alert| {
                names::used(&alert.expression).any(|used| used == metric)
                    && matcher
                        .as_ref()
                        .is_none_or(|m| alert.expression.contains(m.as_str()))
            })
        };
        let missing = wanted.iter().filter(|alarm| !has_alert(alarm));
        missing
            .map(|(metric, matcher)| {
                format!(
                    "{metric}{{{}}}: the handbook or its HELP text speaks of an alarm, and no alert has it",
                    matcher.clone().unwrap_or_default()
                )
            })
            .collect()
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))
}

/// The YAML files of a folder, by name.
fn paths(folder: &str) -> Result<Vec<PathBuf>, Failure> {
    listed(folder, "yml")
}

fn listed(folder: &str, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure(format!("cannot read {folder}: {error}"));
    let mut found = Vec::new();
    for entry in fs::read_dir(cargo::root().join(folder)).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Failure(format!("{folder} has no .{extension} file")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "groups:\n  - name: g\n    rules:\n      - alert: SwitchyardBad\n        expr: switchyard_bad > 0\n        \
                        labels:\n          severity: page\n        annotations:\n          summary: \"s\"\n          description: \
                        \"d\"\n          runbook_url: https://handbook.example/runbook.html#switchyardbad\n";
    const RUNBOOK_PAGE: &str = "### SwitchyardBad\n\n- **Meaning:** m\n- **Callers get:** c\n- **Read:** r\n- **Do:** d\n- **Over:** o\n";
    const TEST: &str = "      - eval_time: 1m\n        alertname: SwitchyardBad\n        exp_alerts: []\n      - eval_time: 9m\n        \
                        alertname: SwitchyardBad\n        exp_alerts:\n          - exp_labels:\n";

    fn files() -> Files {
        let mut rules = Rules::default();
        rules.add(RULE);
        Files {
            rules,
            tests: vec![TEST.to_owned()],
            help: "(\"switchyard_bad\", \"Bad. Worth an alarm.\"),".to_owned(),
            alarms: "### Set alarms\n\n| `switchyard_bad` | above 0 |\n".to_owned(),
            runbook: RUNBOOK_PAGE.to_owned(),
            ..Files::default()
        }
    }

    #[test]
    fn what_fits_has_no_errors() {
        assert_eq!(files().errors(), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_an_error() {
        let only = |change: fn(&mut Files)| {
            let mut files = files();
            change(&mut files);
            files.errors().join("; ")
        };
        let renamed = only(|files| files.help = "(\"switchyard_worse\", \"Bad.\"),".to_owned());
        assert!(renamed.contains("a rule names switchyard_bad"), "{renamed}");
        let new = only(|files| files.help += "(\"switchyard_new\", \"New. Worth an alarm.\"),");
        assert!(new.contains("switchyard_new{}: the handbook"), "{new}");
        let row = only(|files| files.alarms += "| `switchyard_bad{kind=\"a\"}` | 1 |\n");
        assert!(row.contains("switchyard_bad{kind=\"a\"}: the handbook"), "{row}");
        let no_section = only(|files| files.runbook.clear());
        assert!(no_section.contains("has no section"), "{no_section}");
        let left_over = only(|files| files.runbook += "\n### SwitchyardGone\n");
        assert!(left_over.contains("no alert has this name"), "{left_over}");
        let untested = only(|files| files.tests.clear());
        assert!(
            untested.contains("in which it fires") && untested.contains("in which it does not"),
            "{untested}"
        );
        let panel = only(|files| {
            files.panels =
                panels::queries("d", r#"{"title":"p","targets":[{"expr":"switchyard_x"}]}"#).unwrap()
        });
        assert!(panel.contains("names switchyard_x"), "{panel}");
    }

    #[test]
    fn the_files_of_the_repository_fit() {
        assert_eq!(Files::read(cargo::root()).unwrap().errors(), Vec::<String>::new());
    }
}
