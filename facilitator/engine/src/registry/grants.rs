//! What plans may call: a manifest's grants. Those that point into the instance's configuration are resolved there.
//!
//! The manifest says what kind of target a plugin calls. Which contracts these are can be the operator's choice: what
//! an operator writes into the configuration under such a path is the operator's own permission.

use std::collections::BTreeSet;

use sdk_plugin::manifest::{self, Grant};
use sdk_plugin::scheme::{LaneChoice, Step};
use sdk_plugin::{Amount, Value};

use super::spelled;

/// Targets of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Targets {
    /// Every asset that is allowed on the network.
    Assets,
    /// The payer of the plan.
    Payer,
    /// These targets, as [`spelled`].
    These(BTreeSet<String>),
}

/// One permission of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    targets: Targets,
    operations: BTreeSet<String>,
    /// For transactions that clients have signed, and for no others.
    client_signed: bool,
    /// The most native currency that one call may move, atomic units.
    pub(crate) max_native_value: Amount,
}

impl Granted {
    /// A manifest's grant to an instance with this configuration, on a network with this CAIP-2 id.
    #[must_use]
    pub fn of(grant: &Grant, config: &Value, network: &str) -> Self {
        let targets = match (grant.target.as_str(), manifest::config_path(&grant.target)) {
            (manifest::ANY_ASSET, _) => Targets::Assets,
            (manifest::PAYER, _) => Targets::Payer,
            (_, Some(path)) => Targets::These(texts_at(config, path, network)),
            (target, None) => Targets::These(BTreeSet::from([target.to_owned()])),
        };
        let limit = grant.max_native_value.as_deref().and_then(manifest::config_path);
        let limits = limit.map(|path| texts_at(config, path, network));
        Self {
            targets,
            operations: grant.operations.iter().cloned().collect(),
            client_signed: grant.client_signed,
            max_native_value: limits
                .and_then(|texts| texts.first()?.parse().ok())
                .unwrap_or(Amount::ZERO),
        }
    }

    /// Whether a plan of `payer` may call `operation` on `target` as the step does. `assets`: those allowed on the network; `None`: any.
    /// What the call may move is another question.
    #[must_use]
    pub fn allows(&self, step: &Step, payer: &str, assets: Option<&BTreeSet<String>>) -> bool {
        let (target, operation) = (&step.call.target, &step.call.operation);
        let target_fits = match &self.targets {
            Targets::Assets => assets.is_none_or(|assets| assets.contains(target)),
            Targets::Payer => *target == spelled(payer),
            Targets::These(targets) => targets.contains(target),
        };
        let is_client_signed = match step.lane {
            LaneChoice::Foreign => true,
            LaneChoice::Any | LaneChoice::Signer { .. } => false,
        };
        target_fits && self.operations.contains(operation) && self.client_signed == is_client_signed
    }
}

/// Every text at a path of a configuration; `*` stands for each element of a list or each value of a table, and `{network}` for
/// the network's id.
fn texts_at(config: &Value, path: &str, network: &str) -> BTreeSet<String> {
    let mut here = vec![config];
    for name in path.split('.') {
        let name = if name == "{network}" { network } else { name };
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
            let found = texts_at(&config, path, "eip155:1");
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
            ..Grant::default()
        };
        let config = json!({ "operators": ["asset", "config:operators.*", "AbC", "payer"] });
        let granted = Granted::of(&grant, &config, "eip155:1");
        let allows = |target: &str, operation: &str| {
            let plan = journal::testkit::plan(target, operation);
            granted.allows(&plan.steps[0], "0xAbC", None)
        };
        assert!(allows("asset", "pay"));
        assert!(allows("AbC", "pay"), "names that are not hex mean what they say");
        for target in ["abc", "0x12", "0xabc", "config:operators"] {
            assert!(!allows(target, "pay"), "{target}");
        }
        assert!(!allows("asset", "drain"));
    }

    #[test]
    fn law6_native_currency_moves_up_to_what_the_operator_wrote_for_the_network() {
        let grant = Grant {
            target: "payer".into(),
            operations: vec!["transfer".into()],
            max_native_value: Some("config:funds.{network}.most".into()),
            ..Grant::default()
        };
        let config = json!({ "funds": { "eip155:1": { "most": "70" }, "eip155:2": { "most": "much" } } });
        for (network, most) in [("eip155:1", 70u64), ("eip155:2", 0), ("eip155:3", 0)] {
            let granted = Granted::of(&grant, &config, network);
            assert_eq!(granted.max_native_value, Amount::from(most), "{network}");
        }
        let granted = Granted::of(&grant, &config, "eip155:1");
        let to = |target: &str| {
            let plan = journal::testkit::plan(target, "transfer");
            granted.allows(&plan.steps[0], "0xAB", None)
        };
        assert!(to("0xab"));
        assert!(!to("0xAB"), "plans write hex in lower case");
        assert!(!to("0xac"));
    }
}
