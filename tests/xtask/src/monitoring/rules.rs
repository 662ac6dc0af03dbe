//! Rule files and their tests, as far as names need it. They are read line by line in the form in which they are written here;
//! promtool reads them as YAML, and the number of rules that it finds is compared.

use std::collections::BTreeSet;

/// An alert.
#[derive(Debug, Default)]
pub(super) struct Alert {
    pub name: String,
    pub expression: String,
    /// The lines of the rule.
    text: String,
}

/// The rules of all files.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub alerts: Vec<Alert>,
    /// Names that recording rules write.
    pub recorded: BTreeSet<String>,
    pub expressions: Vec<String>,
    pub count: usize,
}

/// Bold leads of a section of the runbook.
const LEADS: [&str; 5] = ["Meaning", "Callers get", "Read", "Do", "Over"];

impl Rules {
    pub(super) fn add(&mut self, file: &str) {
        let lines: Vec<&str> = file
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        let starts = |line: &&str| line.trim_start().starts_with("- ");
        let mut rest = lines.as_slice();
        while let [first, after @ ..] = rest {
            let end = after.iter().position(starts).unwrap_or(after.len());
            let (block, next) = after.split_at(end);
            self.add_rule(first.trim_start(), block);
            rest = next;
        }
    }

    fn add_rule(&mut self, first: &str, block: &[&str]) {
        let expression = expression(block);
        if let Some(name) = first.strip_prefix("- alert: ") {
            self.alerts.push(Alert {
                name: name.trim().to_owned(),
                expression: expression.clone(),
                text: block.join("\n"),
            });
        } else if let Some(name) = first.strip_prefix("- record: ") {
            self.recorded.insert(name.trim().to_owned());
        } else {
            return;
        }
        self.expressions.push(expression);
        self.count += 1;
    }

    /// Names of alerts. Two severities of one alert have the same name.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.alerts.iter().map(|alert| alert.name.as_str()).collect()
    }
}

/// The lines of `expr:`, up to the next key beside it.
fn expression(block: &[&str]) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let Some(start) = block
        .iter()
        .position(|line| line.trim_start().starts_with("expr:"))
    else {
        return String::new();
    };
    let own = block.get(start).map_or(0, |line| indent(line));
    let more = block.iter().skip(start + 1).take_while(|line| indent(line) > own);
    let lines: Vec<&str> = block.get(start).into_iter().chain(more).copied().collect();
    lines.join("\n")
}

impl Alert {
    /// What it lacks.
    pub(super) fn errors(&self) -> Vec<String> {
        let value = |key: &str| {
            let mut lines = self.text.lines();
            lines
                .find_map(|line| line.trim_start().strip_prefix(key))
                .map(str::trim)
        };
        let mut wrong = Vec::new();
        if !matches!(value("severity:"), Some("page" | "ticket")) {
            wrong.push("its severity is neither page nor ticket".to_owned());
        }
        for key in ["summary:", "description:"] {
            if value(key).is_none_or(|text| text.trim_matches('"').is_empty()) {
                wrong.push(format!("it has no {key}"));
            }
        }
        let anchor = format!("/runbook.html#{}", self.name.to_ascii_lowercase());
        if !value("runbook_url:").is_some_and(|url| url.ends_with(&anchor)) {
            wrong.push(format!("its runbook_url does not end with {anchor}"));
        }
        wrong
            .into_iter()
            .map(|what| format!("{}: {what}", self.name))
            .collect()
    }
}

/// Sections of the runbook that are about an alert.
pub(super) fn sections(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|heading| heading.starts_with("Switchyard") && !heading.contains(' '))
}

/// The text of a section, up to the next heading.
pub(super) fn section(page: &str, name: &str) -> Option<String> {
    let heading = format!("### {name}");
    let mut lines = page.lines().skip_while(|line| *line != heading);
    lines.next()?;
    let text: Vec<&str> = lines.take_while(|line| !line.starts_with('#')).collect();
    Some(text.join("\n"))
}

/// What a section lacks.
pub(super) fn section_errors(name: &str, section: Option<&str>) -> Vec<String> {
    let Some(text) = section else {
        return vec![format!(
            "{name}: the runbook has no section with this heading (### {name})"
        )];
    };
    LEADS
        .iter()
        .filter(|lead| !text.contains(&format!("- **{lead}:** ")))
        .map(|lead| format!("{name}: its section of the runbook has no \"- **{lead}:** …\""))
        .collect()
}

/// Whether a test expects that the alert fires, and whether one expects that it does not.
pub(super) fn tested(tests: &[String], name: &str) -> (bool, bool) {
    let mut found = (false, false);
    for test in tests {
        let mut lines = test.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line.strip_prefix("alertname: ") != Some(name) {
                continue;
            }
            match lines.next() {
                Some("exp_alerts:") => found.0 = true,
                Some("exp_alerts: []") => found.1 = true,
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# - alert: Not\ngroups:\n  - name: g\n    rules:\n      - record: job:switchyard_x:rate5m\n        expr: |\n          \
                        switchyard_a\n            / switchyard_b\n      - alert: SwitchyardA\n        expr: 'switchyard_c > 0'\n        \
                        for: 1m\n        labels:\n          severity: loud\n        annotations:\n          summary: \"\"\n";

    #[test]
    fn rules_are_read_with_their_expressions() {
        let mut rules = Rules::default();
        rules.add(FILE);
        assert_eq!((rules.count, rules.names()), (2, BTreeSet::from(["SwitchyardA"])));
        assert!(rules.recorded.contains("job:switchyard_x:rate5m"));
        assert!(
            rules.expressions[0].contains("switchyard_a\n") && rules.expressions[0].contains("switchyard_b")
        );
        assert_eq!(rules.alerts[0].expression.trim(), "expr: 'switchyard_c > 0'");
        let wrong = rules.alerts[0].errors().join("; ");
        for what in ["severity", "summary:", "description:", "#switchyarda"] {
            assert!(wrong.contains(what), "{what}: {wrong}");
        }
    }

    #[test]
    fn a_section_ends_at_the_next_heading_and_needs_every_lead() {
        let page = "### SwitchyardA\n\n- **Meaning:** m\n- **Do:** d\n\n### A symptom\n\n- **Read:** r\n";
        assert_eq!(sections(page).collect::<Vec<_>>(), ["SwitchyardA"]);
        let wrong = section_errors("SwitchyardA", section(page, "SwitchyardA").as_deref());
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert_eq!(
            section_errors("SwitchyardB", section(page, "SwitchyardB").as_deref()).len(),
            1
        );
    }

    #[test]
    fn a_test_fires_or_stays_silent() {
        let test = |lines: &str| vec![format!("alertname: A\n  {lines}\n")];
        assert_eq!(
            tested(&test("exp_alerts:\n    - exp_labels:"), "A"),
            (true, false)
        );
        assert_eq!(tested(&test("exp_alerts: []"), "A"), (false, true));
        assert_eq!(tested(&test("exp_alerts: []"), "AB"), (false, false));
    }
}
