//! The plugin file for Solana networks: the driver of the family `solana`, and the scheme `exact`.
//!
//! All behaviour is the library's; this crate declares what the file contains and reads its configuration.

use std::sync::Arc;

use schemes_svm::Blockhashes;
use schemes_svm::driver::{FAMILY, SvmDriver};
use schemes_svm::exact::{Config, ExactSvm, SCHEME};
use sdk_plugin::abi::PluginRoles;
use sdk_plugin::{Fault, Value, config, export_plugin};

const MANIFEST: &str = include_str!("../manifest.json");

/// The plugin's id, as its manifest has it.
const ID: &str = "switchyard.svm";

export_plugin!(MANIFEST, create);

/// Reads the instance's configuration, which the host has validated against the manifest's schema.
fn create(config: Value) -> Result<PluginRoles, Fault> {
    let config: Config = config::instance(ID, config)?;
    config.check().map_err(|why| config::invalid_instance(ID, &why))?;
    let blockhashes = Arc::new(Blockhashes::default());
    Ok(PluginRoles::default()
        .driver(FAMILY, SvmDriver::new().sharing(blockhashes.clone()))
        .scheme(SCHEME, ExactSvm::new(config).sharing(blockhashes)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemes_svm::driver::options::Options;
    use schemes_svm::driver::{OPERATIONS, RPC_READS, RPC_SENDS};
    use schemes_svm::exact::VERSIONS;
    use schemes_svm::text;
    use sdk_plugin::Manifest;
    use sdk_plugin::host::Suite;
    use sdk_plugin::manifest::Grant;
    use sdk_plugin::testkit::manifest as kit;
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        kit::manifest(MANIFEST, env!("CARGO_PKG_VERSION"))
    }

    #[test]
    fn the_manifest_matches_the_code() {
        let manifest = manifest();
        kit::assert_driver(
            &manifest,
            kit::DriverFacts {
                family: FAMILY,
                suite: Suite::Ed25519,
                rpc_reads: RPC_READS,
                rpc_sends: RPC_SENDS,
            },
        );
        kit::assert_scheme(
            &manifest,
            kit::SchemeFacts {
                scheme: SCHEME,
                family: FAMILY,
                versions: &VERSIONS,
                services: &["rpc.v1", "sign.v1", "store.v1", "sleep.v1"],
            },
        );
        let granted = Grant {
            target: "asset".into(),
            operations: OPERATIONS.map(str::to_owned).into(),
            ..Grant::default()
        };
        assert_eq!(manifest.schemes[0].calls, [granted]);
    }

    #[test]
    fn known_assets_are_spelled_as_the_driver_spells_them() {
        for known in &manifest().drivers[0].known_assets {
            assert!(text::reference(&known.network).is_some(), "{known:?}");
            let address = text::address(&known.asset).expect("an address");
            assert_eq!(address.to_string(), known.asset);
        }
        assert_eq!(manifest().drivers[0].known_assets.len(), 2);
    }

    #[test]
    fn network_options_are_in_the_manifest_as_the_driver_reads_them() {
        let driver = manifest().drivers.remove(0);
        let schema = driver.options_schema.expect("a schema of the options");
        // Every field of the driver's options, by name: a new one does not compile until it is here.
        let Options {
            any_genesis,
            max_head_age_s,
            max_clock_skew_s,
            low_balance_lamports,
        } = Options::default();
        let fields = [
            ("any_genesis", json!(any_genesis)),
            ("max_head_age_s", json!(max_head_age_s)),
            ("max_clock_skew_s", json!(max_clock_skew_s)),
            ("low_balance_lamports", json!(low_balance_lamports)),
        ];
        let declared = schema["properties"].as_object().expect("properties");
        assert_eq!(declared.len(), fields.len());
        for (name, default) in fields {
            assert_eq!(declared[name]["default"], default, "{name}");
        }
        assert!(driver.reference_form.is_some() && driver.asset_form.is_some());
    }

    #[test]
    fn configuration_has_the_documented_defaults() {
        let schema = manifest().config_schema;
        let declared = &schema["properties"];
        let defaults = Config::default();
        for (key, value) in [
            ("layout", json!("identity")),
            (
                "max_price_micro_lamports",
                json!(defaults.max_price_micro_lamports),
            ),
            ("max_compute_units", json!(defaults.max_compute_units)),
            (
                "max_lamports_per_payment",
                json!(defaults.max_lamports_per_payment),
            ),
            ("max_signatures", json!(defaults.max_signatures)),
            ("lookup_tables", json!(defaults.lookup_tables)),
            ("min_blocks_left", json!(defaults.min_blocks_left)),
        ] {
            assert_eq!(declared[key]["default"], value, "{key}");
        }
        let create_ata = &declared["create_ata"]["properties"];
        assert_eq!(create_ata["mode"]["default"], json!("off"));
        // The host compares it with max_cost: what the plan's step may cost beside the fees.
        assert_eq!(
            create_ata["mode"]["costs"],
            json!({ "sponsor": schemes_svm::fees::MAX_RENT_LAMPORTS })
        );
        assert_eq!(
            create_ata["max_per_pay_to"]["default"],
            json!(defaults.create_ata.max_per_pay_to)
        );
        assert_eq!(
            create_ata["max_per_tenant"]["default"],
            json!(defaults.create_ata.max_per_tenant)
        );
        let wallets = &declared["smart_wallets"]["properties"];
        assert_eq!(
            wallets["enabled"]["default"],
            json!(defaults.smart_wallets.enabled)
        );
        assert_eq!(
            wallets["max_compute_units"]["default"],
            json!(defaults.smart_wallets.max_compute_units)
        );
        assert_eq!(
            wallets["max_price_micro_lamports"]["default"],
            json!(defaults.smart_wallets.max_price_micro_lamports)
        );
    }

    #[test]
    fn every_key_of_the_configuration_is_read() {
        let schema = manifest().config_schema;
        let full = json!({
            "layout": "positional",
            "max_price_micro_lamports": 1,
            "max_compute_units": 1,
            "max_lamports_per_payment": 10_000,
            "max_signatures": 3,
            "lookup_tables": false,
            "min_blocks_left": 0,
            "payees": ["SQDS4ep65T869zMMBKyuUq6aD6EgTu8psMjkvj52pCf"],
            "create_ata": {"mode": "sponsor", "max_per_pay_to": 1, "max_per_tenant": 1},
            "smart_wallets": {
                "enabled": true,
                "programs": ["SQDS4ep65T869zMMBKyuUq6aD6EgTu8psMjkvj52pCf"],
                "max_compute_units": 1,
                "max_price_micro_lamports": 1
            },
            "extension_mints": ["EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"],
            "preflight": [[{"program": "SQDS4ep65T869zMMBKyuUq6aD6EgTu8psMjkvj52pCf", "data_prefix": "0x01"}]],
            "postflight": []
        });
        let keys = |object: &Value| {
            object
                .as_object()
                .map(|map| map.keys().cloned().collect::<BTreeSet<_>>())
        };
        assert_eq!(keys(&full), keys(&schema["properties"]));
        for config in [Value::Null, json!({}), full] {
            let roles = create(config).expect("a good configuration");
            assert_eq!(roles.schemes.len() + roles.drivers.len(), 2);
        }
    }

    #[test]
    fn bad_configurations_are_refused_and_name_the_plugin() {
        for bad in [
            json!({"layout": "any"}),
            json!({"max_signatures": 1}),
            json!({"maxSignatures": 2}),
            json!({"max_lamports_per_payment": 5}),
            json!({"max_compute_units": 0}),
            json!({"min_blocks_left": 101}),
            json!({"create_ata": {"mode": "on"}}),
            json!({"extension_mints": ["0x00"]}),
            json!({"payees": ["nobody"]}),
            json!({"preflight": [[]]}),
            json!({"preflight": [[{"program": "SQDS4ep65T869zMMBKyuUq6aD6EgTu8psMjkvj52pCf", "data_prefix": "0x"}]]}),
        ] {
            let fault = create(bad.clone()).expect_err("a bad configuration");
            assert!(fault.message.contains("switchyard.svm"), "{bad}: {fault}");
        }
    }
}
