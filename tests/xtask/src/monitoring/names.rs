//! Names of metrics: those that the code has, those that a query uses, and those that the handbook sets alarms on.

use std::collections::{BTreeMap, BTreeSet};

/// What the name of a histogram's series ends with.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];
/// Families that plugins write start with this and the id of the plugin.
const PLUGIN: &str = "plugin_";

/// What names of the core start with: `process_` as in Prometheus's own clients.
const CORE: [&str; 2] = ["switchyard_", "process_"];

fn is_of_core(name: &str) -> bool {
    CORE.iter().any(|prefix| name.starts_with(prefix))
}

/// Every metric that a query may name.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub core: BTreeSet<String>,
    /// Without the prefix.
    pub plugins: &'a BTreeSet<String>,
    /// Names that recording rules write.
    pub recorded: &'a BTreeSet<String>,
}

impl Known<'_> {
    pub(super) fn has(&self, name: &str) -> bool {
        if name.contains(':') {
            return self.recorded.contains(name);
        }
        if let Some(of_plugin) = name.strip_prefix(PLUGIN) {
            // `plugin_.+` is the start of a pattern.
            return of_plugin.is_empty()
                || self.plugins.iter().any(|metric| {
                    of_plugin
                        .strip_suffix(metric.as_str())
                        .is_some_and(|id| id.len() > 1 && id.ends_with('_'))
                });
        }
        let of_histogram = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
        self.core.contains(name) || of_histogram.is_some_and(|family| self.core.contains(family))
    }
}

/// HELP texts of the core by metric: pairs of string literals of which the first is a name.
pub(super) fn of_core(source: &str) -> BTreeMap<String, String> {
    let table = source.split("#[cfg(test)]").next().unwrap_or_default();
    let literals: Vec<&str> = table.split('"').skip(1).step_by(2).collect();
    literals
        .windows(2)
        .filter_map(|pair| match pair {
            [name, help] if is_of_core(name) && !is_of_core(help) => {
                Some(((*name).to_owned(), (*help).to_owned()))
            }
            _ => None,
        })
        .collect()
}

/// Metrics that a plugin's source declares: constants whose name ends in METRIC.
pub(super) fn of_plugin(source: &str) -> Vec<String> {
    let values = source.split("METRIC: &str = \"").skip(1);
    values
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Metrics and recorded names in a query or another text.
pub(super) fn used(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(move |c: char| !is_part(c))
        .map(|token| token.trim_end_matches(':'))
        .filter(|token| {
            let own = token.strip_prefix("job:").unwrap_or(token);
            is_of_core(own) || own.starts_with(PLUGIN)
        })
}

/// Metrics of the table "Set alarms", each with the label matcher that the row names.
pub(super) fn alarms(page: &str) -> Vec<(String, Option<String>)> {
    let section = page.split("### Set alarms").nth(1).unwrap_or_default();
    let rows = section
        .lines()
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    for row in rows {
        let mut last = String::new();
        // The first span has lost its opening mark.
        for span in row.split('`').step_by(2) {
            let (name, matcher) = span.split_once('{').unwrap_or((span, ""));
            // `{answer="rejected"}` is about the metric before it.
            if !name.is_empty() {
                name.clone_into(&mut last);
            }
            let matcher = matcher.trim_end_matches('}');
            if is_of_core(&last) {
                found.push((last.clone(), (!matcher.is_empty()).then(|| matcher.to_owned())));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_sources_queries_and_the_table() {
        let help = of_core(
            "(\n \"switchyard_a_total\",\n \"A.\"),\n (\"switchyard_b\", \"B. Worth an alarm.\"),\n#[cfg(test)] \"switchyard_c\"",
        );
        assert_eq!(
            help.keys().collect::<Vec<_>>(),
            ["switchyard_a_total", "switchyard_b"]
        );
        assert_eq!(help["switchyard_b"], "B. Worth an alarm.");
        assert_eq!(
            of_plugin("pub const UNUSED_METRIC: &str = \"unused_total\";"),
            ["unused_total"]
        );
        let query = "sum by (plugin) (rate(switchyard_b_bucket{le=\"1.0\"}[5m])) / job:switchyard_x:ratio_rate5m > plugin_a_total";
        assert_eq!(
            used(query).collect::<Vec<_>>(),
            [
                "switchyard_b_bucket",
                "job:switchyard_x:ratio_rate5m",
                "plugin_a_total"
            ]
        );
        let page = "### Set alarms\n\n| Metric | When |\n|---|---|\n| `switchyard_a`, `switchyard_b` | 0 |\n| `switchyard_c{x=\"1\"}`, \
                    `{x=\"2\"}` | above 0 |\n\n## Other\n\n| `switchyard_d` | |\n";
        let expected = [
            ("a", None),
            ("b", None),
            ("c", Some("x=\"1\"")),
            ("c", Some("x=\"2\"")),
        ];
        let expected =
            expected.map(|(name, matcher)| (format!("switchyard_{name}"), matcher.map(str::to_owned)));
        assert_eq!(alarms(page), expected);
    }

    #[test]
    fn a_metric_is_known_by_its_family_its_plugin_or_its_rule() {
        let set = |name: &str| BTreeSet::from([name.to_owned()]);
        let (plugins, recorded) = (set("unused_total"), set("job:switchyard_x:ratio_rate5m"));
        let known = Known {
            core: set("switchyard_seconds"),
            plugins: &plugins,
            recorded: &recorded,
        };
        for name in [
            "switchyard_seconds",
            "switchyard_seconds_bucket",
            "plugin_evm_unused_total",
            "plugin_",
            "job:switchyard_x:ratio_rate5m",
        ] {
            assert!(known.has(name), "{name}");
        }
        for name in [
            "switchyard_second",
            "switchyard_seconds_total",
            "plugin_unused_total",
            "plugin_evm_other",
            "job:switchyard_x:ratio_rate1h",
        ] {
            assert!(!known.has(name), "{name}");
        }
    }
}
