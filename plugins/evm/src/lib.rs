//! The plugin file for EVM networks: the driver of the family `eip155`, and the schemes `exact` and `upto`.
//!
//! All behaviour is the library's; this crate declares what the file contains and reads its configuration.

use schemes_evm::builder_code::OwnCodes;
use schemes_evm::driver::{EvmDriver, FAMILY};
use schemes_evm::exact::{self, Config, DEFAULT_MAX_GAS, ExactEvm};
use schemes_evm::permit2::approval::LimitsByNetwork;
use schemes_evm::upto::{self, UptoEvm};
use sdk_plugin::abi::PluginRoles;
use sdk_plugin::{Fault, Manifest, Value, config, export_plugin};
use serde::Deserialize;

const MANIFEST: &str = include_str!("../manifest.json");

export_plugin!(MANIFEST, create);

/// The instance's configuration, which the host has validated against the manifest's schema.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    max_gas: u64,
    builder_code: OwnCodes,
    approvals: LimitsByNetwork,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_gas: DEFAULT_MAX_GAS,
            builder_code: OwnCodes::default(),
            approvals: LimitsByNetwork::new(),
        }
    }
}

fn create(config: Value) -> Result<PluginRoles, Fault> {
    let settings: Settings = config::instance("switchyard.evm", config)?;
    settings
        .builder_code
        .check()
        .map_err(|why| config::invalid_instance("switchyard.evm", &why))?;
    for (network, limits) in &settings.approvals {
        limits
            .check(network)
            .map_err(|why| config::invalid_instance("switchyard.evm", &why))?;
    }
    let driver = EvmDriver::with_known_assets(Manifest::parse(MANIFEST)?.known_assets())
        .with_max_gas(settings.max_gas);
    let schemes = Config {
        max_gas: settings.max_gas,
        builder_code: settings.builder_code,
        approvals: settings.approvals,
    };
    Ok(PluginRoles::default()
        .driver(FAMILY, driver)
        .scheme(exact::SCHEME, ExactEvm::new(schemes.clone()))
        .scheme(upto::SCHEME, UptoEvm::new(schemes)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemes_evm::abi::{
        AGGREGATE3_SELECTOR, APPROVE_SELECTOR, MULTICALL3, NATIVE_TRANSFER, TRANSFER_BYTES_SELECTOR,
        TRANSFER_VRS_SELECTOR,
    };
    use schemes_evm::driver::{RPC_READS, RPC_SENDS};
    use schemes_evm::options::Options;
    use schemes_evm::permit2::Proxy;
    use schemes_evm::text;
    use sdk_plugin::host::Suite;
    use sdk_plugin::manifest::{Grant, SchemeRole};
    use sdk_plugin::testkit::manifest as kit;
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        kit::manifest(MANIFEST, env!("CARGO_PKG_VERSION"))
    }

    fn hex(selector: [u8; 4]) -> String {
        let digits = selector.iter().map(|byte| format!("{byte:02x}"));
        format!("0x{}", digits.collect::<String>())
    }

    #[test]
    fn the_manifest_matches_the_code() {
        let manifest = manifest();
        kit::assert_driver(
            &manifest,
            kit::DriverFacts {
                family: FAMILY,
                suite: Suite::Secp256k1,
                rpc_reads: RPC_READS,
                rpc_sends: RPC_SENDS,
            },
        );
        for (scheme, versions) in [
            (exact::SCHEME, exact::VERSIONS.as_slice()),
            (upto::SCHEME, upto::VERSIONS.as_slice()),
        ] {
            kit::assert_scheme(
                &manifest,
                kit::SchemeFacts {
                    scheme,
                    family: FAMILY,
                    versions,
                    services: &["rpc.v1", "sign.v1", "store.v1"],
                },
            );
        }
        let by_authorization = Grant {
            target: "asset".into(),
            operations: vec![
                TRANSFER_VRS_SELECTOR.to_string(),
                TRANSFER_BYTES_SELECTOR.to_string(),
            ],
            ..Grant::default()
        };
        // The driver checks what is called through Multicall3.
        let with_deployment = Grant {
            target: text::lower(MULTICALL3),
            operations: vec![AGGREGATE3_SELECTOR.to_string()],
            ..Grant::default()
        };
        let by_proxy = |proxy: Proxy| Grant {
            target: text::lower(proxy.address()),
            operations: proxy.selectors().map(hex).into(),
            ..Grant::default()
        };
        // No signer of ours approves anything (T-42).
        let approval = Grant {
            target: "asset".into(),
            operations: vec![APPROVE_SELECTOR.to_string()],
            client_signed: true,
            ..Grant::default()
        };
        let funding = Grant {
            target: "payer".into(),
            operations: vec![NATIVE_TRANSFER.into()],
            max_native_value: Some("config:approvals.{network}.max_funding_wei".into()),
            ..Grant::default()
        };
        let calls = |scheme: &str| {
            let schemes = manifest.schemes.iter();
            let of = |declared: &&SchemeRole| declared.scheme == scheme;
            schemes
                .filter(of)
                .map(|declared| declared.calls.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            calls(exact::SCHEME),
            [vec![
                by_authorization,
                with_deployment,
                by_proxy(Proxy::Exact),
                approval.clone(),
                funding.clone()
            ]]
        );
        assert_eq!(
            calls(upto::SCHEME),
            [vec![by_proxy(Proxy::Upto), approval, funding]]
        );
    }

    #[test]
    fn known_assets_are_spelled_as_the_driver_spells_them() {
        let assets = &manifest().drivers[0].known_assets;
        let mut seen = BTreeSet::new();
        for known in assets {
            assert!(text::chain_id(&known.network).is_some(), "{known:?}");
            let address = text::address(&known.asset).expect("an address");
            assert_eq!(text::lower(address), known.asset);
            assert!(
                seen.insert((known.network.as_str(), known.asset.as_str())),
                "{known:?} twice"
            );
        }
        assert!(seen.contains(&("eip155:84532", "0x036cbd53842c5426634e7929541ec2318f3dcf7e")));
        assert!(seen.contains(&("eip155:8453", "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913")));
    }

    #[test]
    fn network_options_are_in_the_manifest_as_the_driver_reads_them() {
        let schema = manifest().drivers[0]
            .options_schema
            .clone()
            .expect("a schema of the options");
        assert_eq!(schema["additionalProperties"], json!(false));
        let declared = schema["properties"].as_object().expect("properties");
        // Every field of the driver's options, by name: a new one does not compile until it is here.
        let Options {
            legacy: _,
            max_fee_per_gas_wei: _,
            min_priority_fee_per_gas_wei: _,
            fill_gas: _,
            max_head_age_s: _,
            max_clock_skew_s: _,
            low_balance_wei: _,
            max_log_range: _,
            max_gas: _,
            fixed_gas: _,
            asset_gas: _,
            wallet_factories: _,
            tokens: _,
            deployment_gas: _,
        } = Options::default();
        let fields = [
            "legacy",
            "max_fee_per_gas_wei",
            "min_priority_fee_per_gas_wei",
            "fill_gas",
            "max_head_age_s",
            "max_clock_skew_s",
            "low_balance_wei",
            "max_log_range",
            "max_gas",
            "fixed_gas",
            "asset_gas",
            "wallet_factories",
            "tokens",
            "deployment_gas",
        ];
        assert_eq!(
            declared.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            BTreeSet::from(fields)
        );
        let defaults: serde_json::Map<String, Value> = declared
            .iter()
            .map(|(name, property)| (name.clone(), property["default"].clone()))
            .collect();
        assert_eq!(Options::read(&Value::Object(defaults)), Ok(Options::default()));
        for (name, property) in declared {
            assert!(property["description"].is_string(), "{name}");
            for example in property["examples"].as_array().into_iter().flatten() {
                assert!(
                    Options::read(&json!({ name: example })).is_ok(),
                    "{name}: {example}"
                );
            }
            // The least that the schema allows is allowed by the driver, and what is below it is not.
            if let Some(least) = property["minimum"].as_u64() {
                assert!(Options::read(&json!({ name: least })).is_ok(), "{name}");
                if let Some(below) = least.checked_sub(1) {
                    assert!(Options::read(&json!({ name: below })).is_err(), "{name}");
                }
            }
        }
    }

    #[test]
    fn forms_have_examples_that_the_driver_reads() {
        let driver = &manifest().drivers[0];
        let reference = driver.reference_form.as_ref().expect("a form of references");
        assert!(text::chain_id(&format!("{FAMILY}:{}", reference.example)).is_some());
        let asset = driver.asset_form.as_ref().expect("a form of assets");
        assert!(text::address(&asset.example).is_some());
    }

    #[test]
    fn configuration_has_the_documented_keys_and_defaults() {
        let schema = manifest().config_schema;
        let declared = &schema["properties"];
        assert_eq!(declared["max_gas"]["default"], json!(DEFAULT_MAX_GAS));
        assert!(declared["builder_code"]["properties"]["service"].is_object());
        assert_eq!(declared.as_object().map(serde_json::Map::len), Some(3));
        for example in declared["approvals"]["examples"].as_array().into_iter().flatten() {
            assert!(create(json!({ "approvals": example })).is_ok());
        }

        assert!(create(Value::Null).is_ok());
        assert!(create(json!({})).is_ok());
        let roles = create(json!({"max_gas": 100_000})).expect("a good configuration");
        assert_eq!((roles.schemes.len(), roles.drivers.len()), (2, 1));
        for bad in [
            json!({"max_gas": "many"}),
            json!({"max_gas": -1}),
            json!({"maxGas": 1}),
            json!({"builder_code": {"facilitator": "My Code"}}),
            json!({"builder_code": {"w": "code"}}),
            json!({"approvals": {"eip155:1": {"max_funding_wei": "1"}}}),
            json!({"approvals": {"eip155:1": {"max_funding_wei": "2", "max_funding_per_day_wei": "1"}}}),
            json!({"approvals": {"eip155:1": {"max_funding_wei": "-1", "max_funding_per_day_wei": "1"}}}),
        ] {
            let fault = create(bad.clone()).expect_err("a bad configuration");
            assert!(fault.message.contains("switchyard.evm"), "{bad}: {fault}");
        }
    }
}
