//! What plans may call: a manifest's grants. Those that point into the instance's configuration are resolved there.
//!
//! The manifest says what kind of target a plugin calls. Which contracts these are can be the operator's choice: what
//! an operator writes into the configuration under such a path is the operator's own permission.

use std::collections::BTreeSet;

use sdk_plugin::Value;
use sdk_plugin::manifest::{self, Grant};

use super::spelled;

/// Targets of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Targets {
    /// Every asset that is allowed on the network.
    Assets,
    /// These targets, as [`spelled`].
    These(BTreeSet<String>),
}

/// One permission of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    targets: Targets,
    operations: BTreeSet<String>,
}

impl Granted {
    /// A manifest's grant to an instance with this configuration.
    #[must_use]
    pub fn of(grant: &Grant, config: &Value) -> Self {
        let targets = match (grant.target.as_str(), manifest::config_path(&grant.target)) {
            (manifest::ANY_ASSET, _) => Targets::Assets,
            (_, Some(path)) => Targets::These(texts_at(config, path)),
            (target, None) => Targets::These(BTreeSet::from([target.to_owned()])),
        };
        Self {
            targets,
            operations: grant.operations.iter().cloned().collect(),
        }
    }

    /// Whether a plan may call `operation` on `target`. `assets`: those allowed on the network; `None`: any.
    #[must_use]
    pub fn allows(&self, target: &str, operation: &str, assets: Option<&BTreeSet<String>>) -> bool {
        let target_fits = match &self.targets {
            Targets::Assets => assets.is_none_or(|assets| assets.contains(target)),
            Targets::These(targets) => targets.contains(target),
        };
        target_fits && self.operations.contains(operation)
    }
}

/// Every text at a path of a configuration; `*` stands for each element of a list or each value of a table.
fn texts_at(config: &Value, path: &str) -> BTreeSet<String> {
    let mut here = vec![config];
    for name in path.split('.') {
        here = here
            .into_iter()
            .flat_map(|value| match (name, value) {
                ("*", Value::Array(items)) => items.iter().collect(),
                ("*", Value::Object(members)) => members.values().collect(),
                ("*", _) => Vec::new(),
                (name, value) => value.get(name).into_iter().collect::<Vec<_>>(),
            })
            .collect();
    }
    here.into_iter().filter_map(Value::as_str).map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_finds_every_text_below_lists_and_tables_and_nothing_else() {
        let config = json!({
            "deployments": { "base": { "escrow": "0xAB" }, "old": { "escrow": "0xcd", "collector": "0xef" } },
            "operators": [{ "address": "0x12" }, { "address": 7 }, { "name": "0x34" }, "0x56"],
            "one": "0xOne",
        });
        let cases: [(&str, &[&str]); 8] = [
            ("deployments.*.escrow", &["0xab", "0xcd"]),
            ("deployments.base.escrow", &["0xab"]),
            ("deployments.*.*", &["0xab", "0xcd", "0xef"]),
            ("operators.*.address", &["0x12"]),
            ("operators.*", &["0x56"]),
            ("one", &["0xone"]),
            ("one.*", &[]),
            ("nothing.*.here", &[]),
        ];
        for (path, expected) in cases {
            let found = texts_at(&config, path);
            assert!(
                found.iter().map(String::as_str).eq(expected.iter().copied()),
                "{path}: {found:?}"
            );
        }
    }

    #[test]
    fn a_value_of_the_configuration_is_a_target_and_never_a_path() {
        let grant = Grant {
            target: "config:operators.*".into(),
            operations: vec!["pay".into()],
        };
        let granted = Granted::of(
            &grant,
            &json!({ "operators": ["asset", "config:operators.*", "AbC"] }),
        );
        assert!(granted.allows("asset", "pay", None));
        assert!(
            granted.allows("AbC", "pay", None),
            "names that are not hex mean what they say"
        );
        for target in ["abc", "0x12", "config:operators"] {
            assert!(!granted.allows(target, "pay", None), "{target}");
        }
        assert!(!granted.allows("asset", "drain", None));
    }
}
