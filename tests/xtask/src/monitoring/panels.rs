//! The queries of a Grafana dashboard.

use serde_json::Value;

use crate::Failure;

/// A query with the title of its panel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub title: String,
    pub text: String,
}

/// Durations that Grafana inserts.
const DURATIONS: [&str; 3] = ["$__rate_interval", "$__interval", "$__range"];

/// Every query of a dashboard: of panels, of annotations, and of variables.
pub(super) fn queries(file: &str, text: &str) -> Result<Vec<Query>, Failure> {
    let dashboard: Value =
        serde_json::from_str(text).map_err(|error| Failure(format!("{file} is not JSON: {error}")))?;
    let mut found = Vec::new();
    collect(&dashboard, file, &mut found);
    if found.is_empty() {
        return Err(Failure(format!("{file} has no query")));
    }
    Ok(found)
}

fn collect(value: &Value, title: &str, found: &mut Vec<Query>) {
    match value {
        Value::Object(members) => {
            let own = members.get("title").or_else(|| members.get("name"));
            let title = own.and_then(Value::as_str).unwrap_or(title);
            for (key, member) in members {
                match (key.as_str(), member.as_str()) {
                    ("expr", Some(text)) => found.push(query(title, text)),
                    ("definition", Some(text)) => found.extend(series(text).map(|text| query(title, text))),
                    _ => collect(member, title, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, title, found)),
        _ => {}
    }
}

/// What `label_values(SERIES, LABEL)` reads.
fn series(definition: &str) -> Option<&str> {
    let arguments = definition.strip_prefix("label_values(")?.strip_suffix(')')?;
    arguments.rsplit_once(',').map(|(series, _)| series)
}

fn query(title: &str, text: &str) -> Query {
    let mut text = text.to_owned();
    for duration in DURATIONS {
        text = text.replace(duration, "5m");
    }
    Query {
        title: title.to_owned(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_found_with_its_panel() {
        let dashboard = r#"{"title":"D","panels":[{"title":"P","targets":[{"expr":"rate(a[$__rate_interval])"},{"expr":"b"}]},
            {"title":"Row","panels":[{"title":"Q","targets":[{"expr":"c{network=~\"$network\"}"}]}]}],
            "templating":{"list":[{"name":"v","definition":"label_values(d{job=~\"$job\"}, instance)"}]}}"#;
        let found = queries("f", dashboard).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|query| (query.title.as_str(), query.text.as_str()))
            .collect();
        for expected in [
            ("P", "rate(a[5m])"),
            ("P", "b"),
            ("Q", "c{network=~\"$network\"}"),
            ("v", "d{job=~\"$job\"}"),
        ] {
            assert!(found.contains(&expected), "{found:?}");
        }
        assert_eq!(found.len(), 4);
        assert!(queries("f", "{}").is_err() && queries("f", "[").is_err());
    }
}
