//! Checks the parts of a network's section that only its driver understands (id, options, assets) against the text forms and
//! the schema in the driver's manifest. The core knows no chain; it knows the manifest.

use sdk_plugin::manifest::{DriverRole, TextForm};
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
