//! What a plugin's configuration says about other sections: names of tenants, and what a payment may cost.
//!
//! The manifest's schema marks such values: `"format": "tenant"` is the name of a `[[tenants]]`, with `"scope"` of one that
//! has this scope; `"format": "cost"` is the most that one payment may cost, in atomic units of the native currency.
//! Without this check a tenant that is misspelled, or may not settle, has no rights and nobody hears it, and a limit above
//! the network's `max_cost` refuses payments that look allowed.

use sdk_plugin::Amount;
use serde_json::Value;

use super::survey::{Survey, Surveyed};
use crate::config::suggest::closest;
use crate::config::{Config, ConfigError, Scope};

/// A marked value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Tenant {
        /// What the tenant must be allowed to call for the value to have any use.
        scope: Option<Scope>,
    },
    Cost,
}

impl Mark {
    fn of(schema: &Value) -> Option<Self> {
        match schema.get("format").and_then(Value::as_str) {
            Some("tenant") => Some(Self::Tenant {
                scope: schema.get("scope").and_then(Value::as_str).and_then(Scope::read),
            }),
            Some("cost") => Some(Self::Cost),
            _ => None,
        }
    }
}

/// A marked value and where it is.
#[derive(Debug)]
struct Found<'v> {
    place: Vec<String>,
    mark: Mark,
    value: &'v Value,
}

/// Everything in the configurations of all plugins that contradicts another section.
pub(super) fn reference_errors(config: &Config, survey: &Survey) -> Vec<ConfigError> {
    let instances = survey.instances.iter();
    instances
        .flat_map(|one| {
            let mut found = Vec::new();
            let schema = &one.manifest.config_schema;
            find(schema, Some(&one.instance.config), &mut Vec::new(), &mut found);
            found
                .into_iter()
                .flat_map(|found| errors(config, one, &found))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn errors(config: &Config, one: &Surveyed, found: &Found<'_>) -> Vec<ConfigError> {
    let key = format!("plugin.{}.config", one.instance.name);
    match found.mark {
        Mark::Tenant { scope } => {
            let Some(name) = found.value.as_str() else {
                return Vec::new();
            };
            unusable_tenant(config, name, scope)
                .map(|why| config.source.error_below(&key, &found.place, why))
                .into_iter()
                .collect()
        }
        Mark::Cost => {
            let limit = match found.value {
                Value::Number(number) => number.as_u64().map(Amount::from),
                Value::String(text) => text.parse().ok(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            };
            let Some(limit) = limit else { return Vec::new() };
            let networks = one.networks.iter().filter_map(|id| config.networks.get(id));
            networks
                .filter(|network| network.max_cost < limit)
                .map(|network| {
                    let (max_cost, place) = (network.max_cost, found.place.join("."));
                    let why = format!(
                        "{max_cost} is below {key}.{place}, which is {limit}: payments that this allows would be refused; \
                         write at least {limit} here, or less there"
                    );
                    config.source.error(&format!("networks.{:?}.max_cost", network.id), why)
                })
                .collect()
        }
    }
}

/// Why this is the name of no tenant that has the scope.
fn unusable_tenant(config: &Config, name: &str, scope: Option<Scope>) -> Option<String> {
    if let Some(tenant) = config.tenants.iter().find(|tenant| tenant.name == name) {
        let missing = scope.filter(|scope| !tenant.scopes.contains(scope))?;
        let missing = missing.name();
        return Some(format!(
            "{name:?} is a tenant without the scope {missing:?} and can't use this; add {missing:?} to its scopes, or take \
             this out"
        ));
    }
    let names = || config.tenants.iter().map(|tenant| tenant.name.as_str());
    let what = match closest(name, names()) {
        Some(near) => format!("did you mean {near:?}?"),
        None if config.tenants.is_empty() => {
            "none is configured: write [[tenants]] with this name and a key_sha256, or take this out"
                .to_owned()
        }
        None => format!("write one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    Some(format!("{name:?} is not a tenant of [[tenants]]; {what}"))
}

/// Every marked value, defaults included.
fn find<'v>(
    schema: &'v Value,
    value: Option<&'v Value>,
    place: &mut Vec<String>,
    found: &mut Vec<Found<'v>>,
) {
    let Some(value) = value.or_else(|| schema.get("default")) else {
        return;
    };
    if let Some(mark) = Mark::of(schema) {
        found.push(Found {
            place: place.clone(),
            mark,
            value,
        });
    }
    let mut below = |name: String, schema: &'v Value, value: Option<&'v Value>| {
        place.push(name);
        find(schema, value, place, found);
        place.pop();
    };
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, schema) in properties {
            below(name.clone(), schema, value.get(name));
        }
    }
    if let (Some(schema), Some(items)) = (schema.get("items"), value.as_array()) {
        for (n, item) in items.iter().enumerate() {
            below(n.to_string(), schema, Some(item));
        }
    }
    if let (Some(schema @ Value::Object(_)), Some(members)) =
        (schema.get("additionalProperties"), value.as_object())
    {
        let named = |name: &str| schema.get("properties").and_then(|all| all.get(name)).is_some();
        for (name, member) in members.iter().filter(|(name, _)| !named(name)) {
            below(name.clone(), schema, Some(member));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"
[keys.hot]
env = "SWITCHYARD_KEY"
[networks."test:7"]
rpc = ["https://node.example"]
signers = ["hot"]
max_cost = "100000"
[plugin.a]
file = "a.so"
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
[plugin.a.config]
probing = ["shop", "shopp"]
receivers = [{ tenant = "other" }]
[[tenants]]
name = "shop"
key_sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
[[tenants]]
name = "reader"
key_sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
scopes = ["verify", "supported"]
"#;

    fn told(text: &str) -> Vec<String> {
        let config = Config::parse("c.toml", Path::new(""), text, &|_| None).unwrap();
        let schema = json!({ "type": "object", "properties": {
            "probing": { "type": "array", "items": { "type": "string", "format": "tenant" } },
            "receivers": { "type": "array", "items": {
                "type": "object",
                "properties": { "tenant": { "type": "string", "format": "tenant", "scope": "settle" } } } },
            "per_payment": { "type": "integer", "format": "cost", "default": 120_000 },
        } });
        let manifest = json!({
            "id": "a.a", "version": "0.1.0", "abi": { "major": 1, "minor": 0 }, "description": "d",
            "licence": "MIT", "configSchema": schema,
        });
        let survey = Survey {
            instances: vec![Surveyed {
                instance: config.plugin["a"].clone(),
                manifest: serde_json::from_value(manifest).unwrap(),
                sha256: crate::plugin::Sha256Digest::of(b""),
                pin: crate::plugin::Pin::DevMode,
                networks: vec!["test:7".to_owned()],
            }],
        };
        let errors = reference_errors(&config, &survey);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tenants_that_do_not_exist_and_costs_that_are_never_paid_are_told_with_their_place() {
        let mut seen = told(TEXT);
        seen.sort();
        assert_eq!(
            seen,
            [
                "c.toml:12: plugin.a.config.probing[1]: \"shopp\" is not a tenant of [[tenants]]; did you mean \"shop\"?",
                "c.toml:13: plugin.a.config.receivers[0].tenant: \"other\" is not a tenant of [[tenants]]; write one of shop, reader",
                "c.toml:7: networks.\"test:7\".max_cost: 100000 is below plugin.a.config.per_payment, which is 120000: \
                 payments that this allows would be refused; write at least 120000 here, or less there",
            ]
        );
        let without = TEXT.split("[[tenants]]").next().unwrap();
        assert!(
            told(without)
                .iter()
                .any(|error| error.contains("none is configured: write [[tenants]]"))
        );
        let good = TEXT
            .replace(", \"shopp\"", "")
            .replace("\"other\"", "\"shop\"")
            .replace("\"100000\"", "\"120000\"");
        assert_eq!(told(&good), [] as [&str; 0]);
    }

    #[test]
    fn a_tenant_that_may_not_call_what_a_value_is_for_is_told_with_its_place() {
        let good = TEXT
            .replace(", \"shopp\"", ", \"reader\"")
            .replace("\"other\"", "\"shop\"")
            .replace("\"100000\"", "\"120000\"");
        assert_eq!(
            told(&good),
            [] as [&str; 0],
            "any tenant may be named where no scope is"
        );
        assert_eq!(
            told(&good.replace("tenant = \"shop\"", "tenant = \"reader\"")),
            [
                "c.toml:13: plugin.a.config.receivers[0].tenant: \"reader\" is a tenant without the scope \"settle\" and can't \
                 use this; add \"settle\" to its scopes, or take this out",
            ]
        );
    }
}
