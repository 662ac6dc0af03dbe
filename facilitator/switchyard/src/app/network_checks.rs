//! Checks the parts of a network's section that only its driver understands (id, options, assets) against the text forms and
//! the schema in the driver's manifest. The core knows no chain; it knows the manifest.

use sdk_plugin::manifest::{DriverRole, TextForm, Uniqueness};
use serde_json::Value;

use super::survey::{Survey, family};
use crate::config::{Assets, Config, ConfigError, Network};
use plugin_host as plugin;

/// Errors in the sections of all networks that their drivers would refuse.
pub(super) fn network_errors(config: &Config, survey: &Survey) -> Vec<ConfigError> {
    let networks = config.networks.values();
    networks
        .filter_map(|network| {
            let role = survey.driver_of(&network.id)?.driver(family(&network.id))?;
            Some(errors_of(config, network, role))
        })
        .flatten()
        .collect()
}

/// Schemes of plugins that are not trusted, on networks where nothing keeps an authorization from being used twice.
pub(super) fn untrusted_schemes(config: &Config, survey: &Survey) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for one in survey.instances.iter().filter(|one| one.is_isolated()) {
        let unprotected = one.networks.iter().find(|id| {
            let has_chain = config.networks.get(*id).is_some_and(|network| network.has_chain);
            has_chain
                && survey.uniqueness_on(id) == Uniqueness::None
                && one.schemes(family(id)).next().is_some()
        });
        if let (Some(id), Some(driver)) = (unprotected, unprotected.and_then(|id| survey.driver_of(id))) {
            let why = format!(
                "is not trusted, and on {id} nothing keeps a scheme from using one authorization twice: the driver of plugin.{} \
                 declares no `uniqueness`. Trust this plugin (a signature by a key of plugins.trusted_keys, or isolation = \
                 \"none\"), or take {id} out of its `networks`",
                driver.instance.name
            );
            let key = format!("plugin.{}", one.instance.name);
            errors.push(config.source.error(&key, why));
        }
    }
    errors
}

/// Validation errors of a configuration value, each at its own key.
pub(super) fn schema_errors(config: &Config, key: &str, schema: &Value, value: &Value) -> Vec<ConfigError> {
    plugin::validate(schema, value)
        .into_iter()
        .map(|error| config.source.error_below(key, &error.path, error.message))
        .collect()
}

fn errors_of(config: &Config, network: &Network, role: &DriverRole) -> Vec<ConfigError> {
    let key = format!("networks.{:?}", network.id);
    let mut errors = Vec::new();
    let (family, reference) = network.id.split_once(':').unwrap_or_default();
    if let Some(form) = violated_form(role.reference_form.as_ref(), reference) {
        let why = format!(
            "{:?} is not a network of the family {family}: write {} after the colon, e.g. [networks.\"{family}:{}\"]",
            network.id, form.description, form.example
        );
        errors.push(config.source.error(&key, why));
    }
    if let Some(schema) = &role.options_schema {
        errors.extend(schema_errors(
            config,
            &format!("{key}.options"),
            schema,
            &network.options,
        ));
    }
    let assets = match &network.assets {
        Assets::KnownAnd(assets) => assets.as_slice(),
        Assets::Any => &[],
    };
    for (n, asset) in assets.iter().enumerate() {
        if let Some(form) = violated_form(role.asset_form.as_ref(), asset) {
            let why = format!(
                "{asset:?} is not an asset of {}: write {}, e.g. {:?}",
                network.id, form.description, form.example
            );
            errors.push(config.source.error(&format!("{key}.assets[{n}]"), why));
        }
    }
    errors
}

/// The form, if there is one and the text does not match it.
fn violated_form<'f>(form: Option<&'f TextForm>, text: &str) -> Option<&'f TextForm> {
    form.filter(|form| !plugin::matches_form(form, text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::survey::SurveyedPlugin;
    use super::*;

    const TEXT: &str = r#"
[keys.hot]
env = "SWITCHYARD_KEY"
[networks."test:0x7"]
rpc = ["https://node.example"]
signers = ["hot"]
max_cost = "1000000"
assets = ["coin:1", "2"]
[networks."test:0x7".options]
speed = 5
sped = 6
[plugin.a]
file = "a.so"
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
"#;

    fn role() -> DriverRole {
        let role = json!({
            "family": "test", "suite": "secp256k1", "rpcReads": [], "rpcSends": [],
            "referenceForm": { "pattern": "^[0-9]+$", "description": "a number", "example": "7" },
            "assetForm": { "pattern": "^coin:[0-9]+$", "description": "coin: and a number", "example": "coin:7" },
            "optionsSchema": {
                "type": "object", "additionalProperties": false,
                "properties": { "speed": { "type": "string", "description": "How fast.", "examples": ["5"] } }
            }
        });
        serde_json::from_value(role).unwrap()
    }

    /// One plugin with a driver and a scheme.
    fn survey(uniqueness: Uniqueness, is_isolated: Option<bool>) -> (Config, Survey) {
        let isolation = match is_isolated {
            Some(true) => "isolation = \"process\"",
            Some(false) => "isolation = \"none\"",
            None => "",
        };
        let config = Config::parse(
            "c.toml",
            Path::new(""),
            &format!("{TEXT}{isolation}\n").replace("0x7", "7"),
            &|_| None,
        )
        .unwrap();
        let manifest = json!({
            "id": "a.b", "version": "1.0.0", "abi": { "major": 1, "minor": 0 }, "description": "", "licence": "MIT",
            "services": [], "configSchema": {},
            "drivers": [{ "family": "test", "suite": "secp256k1", "rpcReads": [], "rpcSends": [], "uniqueness": uniqueness }],
            "schemes": [{ "scheme": "s", "family": "test", "versions": [2], "routes": false, "calls": [] }]
        });
        let one = SurveyedPlugin {
            instance: config.plugin.values().next().unwrap().clone(),
            manifest: serde_json::from_value(manifest).unwrap(),
            sha256: [0; 32].into(),
            pin: plugin::Pin::DevMode,
            signed_by: None,
            networks: vec!["test:7".to_owned()],
        };
        (config, Survey { instances: vec![one] })
    }

    #[test]
    fn law6_without_uniqueness_only_trusted_schemes_are_served() {
        for (uniqueness, is_isolated, is_refused) in [
            (Uniqueness::None, None, true),
            (Uniqueness::None, Some(true), true),
            (Uniqueness::None, Some(false), false),
            (Uniqueness::Chain, None, false),
            (Uniqueness::ReplayKeys, Some(true), false),
        ] {
            let (config, survey) = survey(uniqueness, is_isolated);
            let errors: Vec<String> = untrusted_schemes(&config, &survey)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(
                !errors.is_empty(),
                is_refused,
                "{uniqueness:?} {is_isolated:?}: {errors:?}"
            );
            assert!(
                errors
                    .iter()
                    .all(|error| error.starts_with("c.toml:12: plugin.a: is not trusted")),
                "{errors:?}"
            );
        }
    }

    fn errors_in(text: &str) -> Vec<String> {
        let config = Config::parse("c.toml", Path::new(""), text, &|_| None).unwrap();
        let network = config.networks.values().next().unwrap();
        let errors = errors_of(&config, network, &role());
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_that_the_driver_refuses_are_errors_with_line_key_and_what_to_write() {
        let at = "networks.\"test:0x7\"";
        assert_eq!(
            errors_in(TEXT),
            [
                format!(
                    "c.toml:4: {at}: \"test:0x7\" is not a network of the family test: write a number after the colon, \
                     e.g. [networks.\"test:7\"]"
                ),
                format!(
                    "c.toml:10: {at}.options.speed: must be a string in quotes, e.g. \"5\" (How fast), not a whole number"
                ),
                format!("c.toml:11: {at}.options.sped: unknown key; did you mean \"speed\"?"),
                format!(
                    "c.toml:8: {at}.assets[1]: \"2\" is not an asset of test:0x7: write coin: and a number, e.g. \"coin:7\""
                ),
            ]
        );
    }

    #[test]
    fn values_that_the_driver_accepts_are_no_errors() {
        let good = TEXT
            .replace("0x7", "7")
            .replace("\"2\"", "\"coin:2\"")
            .replace("speed = 5", "speed = \"5\"")
            .replace("sped = 6\n", "");
        assert_eq!(errors_in(&good), [] as [&str; 0]);
    }
}
