//! Checks values in a plugin's configuration that refer to other sections: names of tenants, and costs of payments.
//!
//! The manifest's schema marks such values. `"format": "tenant"` is the name of one of `[[tenants]]`, and `"scope"` a scope
//! that the tenant must have. `"format": "cost"` is the most that one payment may cost, in atomic units of the native
//! currency. If the value is one of a list of strings, `"costs"` gives the additional cost of each. Without this check, a
//! misspelled tenant, or one that may not settle, would silently have no rights, and a limit above the network's `max_cost`
//! would refuse payments that seem to be allowed.

use sdk_plugin::Amount;
use serde_json::Value;

use super::survey::{Survey, SurveyedPlugin};
use crate::config::{Config, ConfigError};
use base::suggest::closest;
use http_api::Scope;

/// A marked value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark<'v> {
    Tenant {
        /// The scope without which the value has no use.
        scope: Option<Scope>,
    },
    /// With the additional cost of each string, if the value is one of a list of strings.
    Cost(Option<&'v Value>),
}

impl<'v> Mark<'v> {
    fn of(schema: &'v Value) -> Option<Self> {
        match schema.get("format").and_then(Value::as_str) {
            Some("tenant") => Some(Self::Tenant {
                scope: schema
                    .get("scope")
                    .and_then(Value::as_str)
                    .and_then(Scope::from_name),
            }),
            Some("cost") => Some(Self::Cost(schema.get("costs"))),
            _ => None,
        }
    }
}

/// A marked value and its path.
#[derive(Debug)]
struct Reference<'v> {
    path: Vec<String>,
    mark: Mark<'v>,
    value: &'v Value,
}

/// What a payment may cost because of one value, in native atomic units.
#[derive(Debug)]
struct Cost {
    /// The path of the value, and for a string also the value: `create_ata.mode = "sponsor"`.
    text: String,
    amount: u64,
}

/// Errors in the configurations of all plugins that contradict another section.
pub(super) fn reference_errors(config: &Config, survey: &Survey) -> Vec<ConfigError> {
    let instances = survey.instances.iter();
    instances
        .flat_map(|one| {
            let mut found = Vec::new();
            let schema = &one.manifest.config_schema;
            collect(schema, Some(&one.instance.config), &mut Vec::new(), &mut found);
            let mut errors = unusable_tenants(config, one, &found);
            errors.extend(costs_above_limits(config, one, &found));
            errors
        })
        .collect()
}

fn unusable_tenants(config: &Config, one: &SurveyedPlugin, references: &[Reference<'_>]) -> Vec<ConfigError> {
    let key = format!("plugin.{}.config", one.instance.name);
    references
        .iter()
        .filter_map(|reference| {
            let Mark::Tenant { scope } = reference.mark else {
                return None;
            };
            let why = unusable_tenant(config, reference.value.as_str()?, scope)?;
            Some(config.source.error_below(&key, &reference.path, why))
        })
        .collect()
}

/// Errors of networks whose `max_cost` is below a limit of one payment, or below the highest limit plus all additional
/// costs.
fn costs_above_limits(
    config: &Config,
    one: &SurveyedPlugin,
    references: &[Reference<'_>],
) -> Vec<ConfigError> {
    let key = format!("plugin.{}.config", one.instance.name);
    let (mut limits, mut added) = (Vec::new(), Vec::new());
    for reference in references {
        let Mark::Cost(costs) = reference.mark else {
            continue;
        };
        let path = reference.path.join(".");
        match (reference.value, costs) {
            (Value::String(option), Some(costs)) => {
                if let Some(amount) = costs.get(option).and_then(Value::as_u64) {
                    let text = format!("{key}.{path} = {option:?}");
                    added.push(Cost { text, amount });
                }
            }
            (value, _) => {
                if let Some(amount) = atomic_units(value) {
                    let text = format!("{key}.{path}");
                    limits.push(Cost { text, amount });
                }
            }
        }
    }
    let highest = limits.iter().map(|limit| limit.amount).max().unwrap_or(0);
    let sum = added
        .iter()
        .fold(highest, |sum, cost| sum.saturating_add(cost.amount));
    let mut errors = Vec::new();
    for network in one.networks.iter().filter_map(|id| config.networks.get(id)) {
        let max_cost = network.max_cost;
        let mut refuse = |why: String| {
            let key = format!("networks.{:?}.max_cost", network.id);
            errors.push(config.source.error(&key, why));
        };
        if !added.is_empty() && max_cost < Amount::from(sum) {
            let costs: Vec<String> = added
                .iter()
                .map(|cost| format!("{}, which costs {}", cost.text, cost.amount))
                .collect();
            refuse(format!(
                "{max_cost} is below {sum}, what a payment may cost with {}, and fees of {highest}: payments that this allows \
                 would be refused; write at least {sum} here, or another value there",
                costs.join(" and ")
            ));
            continue;
        }
        for limit in limits
            .iter()
            .filter(|limit| max_cost < Amount::from(limit.amount))
        {
            let Cost { text, amount } = limit;
            refuse(format!(
                "{max_cost} is below {text}, which is {amount}: payments that this allows would be refused; write at least \
                 {amount} here, or less there"
            ));
        }
    }
    errors
}

fn atomic_units(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Why the name is not that of a tenant with the scope. `None`: it is.
fn unusable_tenant(config: &Config, name: &str, scope: Option<Scope>) -> Option<String> {
    if let Some(tenant) = config
        .tenants
        .iter()
        .map(|tenant| &tenant.access)
        .find(|tenant| tenant.name == name)
    {
        let missing = scope.filter(|scope| !tenant.scopes.contains(scope))?;
        let missing = missing.name();
        return Some(format!(
            "{name:?} is a tenant without the scope {missing:?} and can't use this; add {missing:?} to its scopes, or take \
             this out"
        ));
    }
    let names = || config.tenants.iter().map(|tenant| tenant.access.name.as_str());
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

/// Collects every marked value, including defaults.
fn collect<'v>(
    schema: &'v Value,
    value: Option<&'v Value>,
    path: &mut Vec<String>,
    references: &mut Vec<Reference<'v>>,
) {
    let Some(value) = value.or_else(|| schema.get("default")) else {
        return;
    };
    if let Some(mark) = Mark::of(schema) {
        references.push(Reference {
            path: path.clone(),
            mark,
            value,
        });
    }
    let mut below = |name: String, schema: &'v Value, value: Option<&'v Value>| {
        path.push(name);
        collect(schema, value, path, references);
        path.pop();
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

    fn errors_in(text: &str) -> Vec<String> {
        let config = Config::parse("c.toml", Path::new(""), text, &|_| None).unwrap();
        let schema = json!({ "type": "object", "properties": {
            "probing": { "type": "array", "items": { "type": "string", "format": "tenant" } },
            "receivers": { "type": "array", "items": {
                "type": "object",
                "properties": { "tenant": { "type": "string", "format": "tenant", "scope": "settle" } } } },
            "per_payment": { "type": "integer", "format": "cost", "default": 120_000 },
            "opens": { "type": "object", "default": {}, "properties": { "mode": {
                "enum": ["off", "paid"], "default": "off", "format": "cost", "costs": { "paid": 2_500_000 } } } },
        } });
        let manifest = json!({
            "id": "a.a", "version": "0.1.0", "abi": { "major": 1, "minor": 0 }, "description": "d",
            "licence": "MIT", "configSchema": schema,
        });
        let survey = Survey {
            instances: vec![SurveyedPlugin {
                instance: config.plugin["a"].clone(),
                manifest: serde_json::from_value(manifest).unwrap(),
                sha256: plugin_host::Sha256Digest::of(b""),
                pin: plugin_host::Pin::DevMode,
                signed_by: None,
                networks: vec!["test:7".to_owned()],
            }],
        };
        let errors = reference_errors(&config, &survey);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_tenants_and_costs_above_max_cost_are_errors_with_their_line() {
        let mut errors = errors_in(TEXT);
        errors.sort();
        assert_eq!(
            errors,
            [
                "c.toml:12: plugin.a.config.probing[1]: \"shopp\" is not a tenant of [[tenants]]; did you mean \"shop\"?",
                "c.toml:13: plugin.a.config.receivers[0].tenant: \"other\" is not a tenant of [[tenants]]; write one of shop, reader",
                "c.toml:7: networks.\"test:7\".max_cost: 100000 is below plugin.a.config.per_payment, which is 120000: \
                 payments that this allows would be refused; write at least 120000 here, or less there",
            ]
        );
        let without = TEXT.split("[[tenants]]").next().unwrap();
        assert!(
            errors_in(without)
                .iter()
                .any(|error| error.contains("none is configured: write [[tenants]]"))
        );
        let good = TEXT
            .replace(", \"shopp\"", "")
            .replace("\"other\"", "\"shop\"")
            .replace("\"100000\"", "\"120000\"");
        assert_eq!(errors_in(&good), [] as [&str; 0]);
    }

    #[test]
    fn a_tenant_without_the_scope_of_a_value_is_an_error_with_its_line() {
        let good = TEXT
            .replace(", \"shopp\"", ", \"reader\"")
            .replace("\"other\"", "\"shop\"")
            .replace("\"100000\"", "\"120000\"");
        assert_eq!(
            errors_in(&good),
            [] as [&str; 0],
            "any tenant may be named where no scope is"
        );
        assert_eq!(
            errors_in(&good.replace("tenant = \"shop\"", "tenant = \"reader\"")),
            [
                "c.toml:13: plugin.a.config.receivers[0].tenant: \"reader\" is a tenant without the scope \"settle\" and can't \
                 use this; add \"settle\" to its scopes, or take this out",
            ]
        );
    }

    #[test]
    fn additional_costs_of_options_must_be_allowed_too() {
        let paid = |max_cost: &str| {
            let config = "[plugin.a.config]\nopens = { mode = \"paid\" }\n";
            let text = TEXT.split("[plugin.a.config]").next().unwrap().to_owned() + config;
            errors_in(&text.replace("\"100000\"", max_cost))
        };
        for max_cost in ["\"100000\"", "\"120000\"", "\"2500000\"", "\"2619999\""] {
            assert_eq!(
                paid(max_cost),
                [format!(
                    "c.toml:7: networks.\"test:7\".max_cost: {} is below 2620000, what a payment may cost with \
                     plugin.a.config.opens.mode = \"paid\", which costs 2500000, and fees of 120000: payments that this \
                     allows would be refused; write at least 2620000 here, or another value there",
                    max_cost.trim_matches('"')
                )]
            );
        }
        assert_eq!(paid("\"2620000\""), [] as [&str; 0]);
    }
}
