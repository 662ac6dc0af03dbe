//! The plugin file for the scheme `auth-capture` on EVM networks. Their driver is in another file.
//!
//! All behaviour is the library's; this crate declares what the file contains and reads its configuration.

use schemes_evm::auth_capture::config::Config;
use schemes_evm::auth_capture::{AuthCaptureEvm, SCHEME};
use sdk_plugin::abi::PluginRoles;
use sdk_plugin::{Fault, Value, config, export_plugin};

const MANIFEST: &str = include_str!("../manifest.json");

export_plugin!(MANIFEST, create);

/// `config`: what the host has validated against the manifest's schema; `Null` where the operator wrote nothing.
fn create(config: Value) -> Result<PluginRoles, Fault> {
    let config: Config = config::instance("switchyard.evm-auth-capture", config)?;
    config.check().map_err(Fault::invalid)?;
    Ok(PluginRoles::default().scheme(SCHEME, AuthCaptureEvm::new(config)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use alloy_sol_types::SolCall;
    use schemes_evm::auth_capture::VERSIONS;
    use schemes_evm::auth_capture::abi::{Escrow, EscrowV10, EscrowV11};
    use schemes_evm::auth_capture::deployment::{V1_0, V1_1};
    use schemes_evm::text;
    use sdk_plugin::Manifest;
    use sdk_plugin::testkit::manifest as kit;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        kit::manifest(MANIFEST, env!("CARGO_PKG_VERSION"))
    }

    fn selectors(selectors: &[[u8; 4]]) -> BTreeSet<String> {
        selectors
            .iter()
            .map(|selector| format!("0x{}", hex(selector)))
            .collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_manifest_matches_the_code() {
        let manifest = manifest();
        assert!(manifest.drivers.is_empty());
        kit::assert_scheme(
            &manifest,
            kit::SchemeFacts {
                scheme: SCHEME,
                family: "eip155",
                versions: &VERSIONS,
                services: &["rpc.v1", "store.v1", "job.v1", "sleep.v1"],
            },
        );
        assert!(manifest.schemes[0].routes);
        // A capture that its operator requests names the escrow in the requirements.
        assert!(!manifest.schemes[0].payload_authorizes);
    }

    #[test]
    fn plans_may_call_the_canonical_escrows_and_what_the_operator_names() {
        let manifest = manifest();
        let both = [
            Escrow::authorizeCall::SELECTOR,
            Escrow::voidCall::SELECTOR,
            Escrow::refundCall::SELECTOR,
        ];
        let old = [EscrowV10::chargeCall::SELECTOR, EscrowV10::captureCall::SELECTOR];
        let new = [EscrowV11::chargeCall::SELECTOR, EscrowV11::captureCall::SELECTOR];
        let relayed = [both[0], old[0], new[0]];
        let expected = [
            (text::lower(V1_1.escrow), selectors(&[&both[..], &new].concat())),
            (text::lower(V1_0.escrow), selectors(&[&both[..], &old].concat())),
            (
                "config:deployments.*.escrow".to_owned(),
                selectors(&[&both[..], &old, &new].concat()),
            ),
            (
                "config:custom_operators.*.address".to_owned(),
                selectors(&relayed),
            ),
        ];
        let declared = manifest.schemes[0].calls.iter().map(|grant| {
            (
                grant.target.clone(),
                grant.operations.iter().cloned().collect::<BTreeSet<_>>(),
            )
        });
        assert_eq!(declared.collect::<Vec<_>>(), expected);
    }

    /// Every setting by name: a new one does not compile until it is here.
    #[test]
    fn configuration_has_the_documented_keys_and_defaults() {
        let Config {
            max_gas: _,
            custom_max_gas: _,
            scheme_v1_0: _,
            nonce_probing_tenants: _,
            max_capture_horizon_s: _,
            max_refund_horizon_s: _,
            capture_margin_s: _,
            min_capture_amount: _,
            deployments: _,
            fee_terms: _,
            custom_operators: _,
            wallet_factories: _,
            refund_funding: _,
            receivers: _,
            delegated_authorizer: _,
            keepers: _,
            older_unauthenticated_reason: _,
        } = Config::default();
        let fields = [
            "max_gas",
            "custom_max_gas",
            "scheme_v1_0",
            "nonce_probing_tenants",
            "max_capture_horizon_s",
            "max_refund_horizon_s",
            "capture_margin_s",
            "min_capture_amount",
            "deployments",
            "fee_terms",
            "custom_operators",
            "wallet_factories",
            "refund_funding",
            "receivers",
            "delegated_authorizer",
            "keepers",
            "older_unauthenticated_reason",
        ];
        let schema = manifest().config_schema;
        let declared = schema["properties"].as_object().expect("properties");
        assert_eq!(
            declared.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            BTreeSet::from(fields)
        );
        let defaults: serde_json::Map<String, Value> = declared
            .iter()
            .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())))
            .collect();
        assert_eq!(
            Config::deserialize(Value::Object(defaults)).expect("defaults"),
            Config::default()
        );
        for (name, property) in declared {
            assert!(property["description"].is_string(), "{name}");
        }
    }

    #[test]
    fn tables_of_the_configuration_are_read_as_their_examples_are_written() {
        let schema = manifest().config_schema;
        let mut config = serde_json::Map::new();
        for (name, property) in schema["properties"].as_object().expect("properties") {
            let table = |described: &Value| -> Option<Value> {
                let members = described["properties"].as_object()?;
                let row = members.iter().map(|(key, member)| {
                    let example = member["examples"].get(0).or_else(|| member.get("default"));
                    (key.clone(), example.expect("an example or a default").clone())
                });
                Some(Value::Object(row.collect()))
            };
            if let Some(row) = table(property) {
                config.insert(name.clone(), row);
            } else if let Some(row) = table(&property["items"]) {
                config.insert(name.clone(), json!([row]));
            } else if let Some(example) = property["examples"].get(0) {
                config.insert(name.clone(), example.clone());
            }
        }
        assert!(config.len() >= 8, "{config:?}");
        create(Value::Object(config)).expect("examples are good");
    }

    #[test]
    fn contradictions_are_reported() {
        let agreement = json!({
            "tenant": "shop",
            "receiver": "0x2222222222222222222222222222222222222222",
            "network": "eip155:8453",
            "asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
            "max_per_day": "1",
        });
        for (bad, declared) in [
            (json!({"max_gas": "many"}), "switchyard.evm-auth-capture"),
            (json!({"maxGas": 1}), "switchyard.evm-auth-capture"),
            (
                json!({"fee_terms": {
                    "fee_recipient": "0x2222222222222222222222222222222222222222",
                    "min_fee_bps": 60,
                    "max_fee_bps": 50,
                }}),
                "fee_terms.min_fee_bps",
            ),
            (
                json!({"fee_terms": {
                    "fee_recipient": "0x0000000000000000000000000000000000000000",
                    "min_fee_bps": 0,
                    "max_fee_bps": 50,
                }}),
                "fee_terms.fee_recipient",
            ),
            (
                json!({"max_capture_horizon_s": 1000, "max_refund_horizon_s": 999}),
                "max_refund_horizon_s",
            ),
            (
                json!({"delegated_authorizer": {
                    "address": "0x0000000000000000000000000000000000000000",
                    "receivers": [],
                }}),
                "delegated_authorizer.address",
            ),
            (
                json!({"keepers": [{"receiver": "0x2222222222222222222222222222222222222222", "margin_s": 60}],
                    "capture_margin_s": 60}),
                "keepers.0.margin_s",
            ),
            (
                json!({"keepers": [
                    {"receiver": "0x2222222222222222222222222222222222222222"},
                    {"receiver": "0x2222222222222222222222222222222222222222"},
                ]}),
                "keepers.1.receiver",
            ),
            (
                json!({"receivers": [
                    {"tenant": "shop", "receiver": "0x2222222222222222222222222222222222222222"},
                    {"tenant": "other", "receiver": "0x2222222222222222222222222222222222222222"},
                ]}),
                "receivers.1.receiver",
            ),
            (
                json!({
                    "receivers": [{"tenant": "shop", "receiver": "0x2222222222222222222222222222222222222222"}],
                    "delegated_authorizer": {
                        "address": "0x3333333333333333333333333333333333333333",
                        "receivers": [{"tenant": "other", "receiver": "0x2222222222222222222222222222222222222222"}],
                    },
                }),
                "delegated_authorizer.receivers.0.tenant",
            ),
            (
                json!({"refund_funding": [agreement, agreement]}),
                "refund_funding.1",
            ),
        ] {
            let fault = create(bad.clone())
                .err()
                .unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(fault.message.contains(declared), "{bad}: {fault}");
        }
    }

    /// The host checks only the names that the schema marks: a misspelled one would have no rights, and no error would
    /// report it.
    #[test]
    fn every_tenant_in_the_schema_is_marked_as_one() {
        fn tenants(name: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
            if name.ends_with("tenant") || name.ends_with("tenants") {
                let marked = schema.get("items").unwrap_or(schema);
                found.push((name.to_owned(), marked["format"].clone()));
            }
            for part in [schema, &schema["items"]] {
                for (member, schema) in part["properties"].as_object().into_iter().flatten() {
                    tenants(&format!("{name}.{member}"), schema, found);
                }
            }
        }
        let mut found = Vec::new();
        tenants("", &manifest().config_schema, &mut found);
        let mut names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                ".delegated_authorizer.receivers.tenant",
                ".nonce_probing_tenants",
                ".receivers.tenant",
                ".refund_funding.tenant",
            ]
        );
        assert!(found.iter().all(|(_, format)| format == "tenant"), "{found:?}");
    }

    /// Regenerate with `UPDATE_DOCS=1 cargo test -p plugin-evm-auth-capture the_handbook`.
    #[test]
    fn the_handbook_has_every_setting() {
        const BEGIN: &str = "<!-- settings -->\n";
        const END: &str = "<!-- /settings -->";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/escrow.md");
        let page = std::fs::read_to_string(file).expect("docs/src/escrow.md");
        let (before, rest) = page.split_once(BEGIN).expect("a mark before the settings");
        let (declared, after) = rest.split_once(END).expect("a mark after the settings");
        let schema = manifest().config_schema;
        let mut table = "| Key | Default | |\n|---|---|---|\n".to_owned();
        for (name, property) in schema["properties"].as_object().expect("properties") {
            row(&mut table, name, property, false);
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, [before, BEGIN, &table, END, after].concat()).expect("written");
        } else {
            assert_eq!(
                declared, table,
                "docs/src/escrow.md is not current: run this test with UPDATE_DOCS=1"
            );
        }
    }

    fn row(table: &mut String, name: &str, property: &Value, required: bool) {
        let default = match property.get("default") {
            Some(Value::Array(_)) => "none".to_owned(),
            Some(default) => default.to_string().replace('"', ""),
            None if required => "required".to_owned(),
            None => "none".to_owned(),
        };
        let description = property["description"].as_str().expect("a description");
        table.push_str(&format!("| `{name}` | {default} | {description} |\n"));
        let (inner, mark) = match property["items"]["properties"].as_object() {
            Some(_) => (&property["items"], "[]"),
            None => (property, ""),
        };
        let required: Vec<&str> = inner["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (member, described) in inner["properties"].as_object().into_iter().flatten() {
            let is_required = required.contains(&member.as_str());
            row(table, &format!("{name}{mark}.{member}"), described, is_required);
        }
    }
}
