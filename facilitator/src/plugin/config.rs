//! A plugin's configuration against the schema in its manifest, before any of its code runs.

use serde_json::Value;

/// At most this many faults are told at once.
const TOLD: usize = 5;

/// Whether the schema is one. External references are not followed.
pub(super) fn check_schema(schema: &Value) -> Result<(), String> {
    jsonschema::validator_for(schema)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Every fault of `config` with its place in it; values are not repeated, they may be secret.
pub(super) fn validate(schema: &Value, config: &Value) -> Result<(), String> {
    let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
    let faults: Vec<String> = validator
        .iter_errors(config)
        .take(TOLD)
        .map(|fault| {
            let place = fault.instance_path().to_string();
            let place = if place.is_empty() {
                "the configuration".to_owned()
            } else {
                place
            };
            format!("{place}: {}", fault.masked())
        })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_names_its_place_and_not_the_value() {
        let schema = json!({
            "type": "object",
            "properties": { "limit": { "type": "integer" } },
            "additionalProperties": false
        });
        assert_eq!(validate(&schema, &json!({ "limit": 5 })), Ok(()));
        let message = validate(&schema, &json!({ "limit": "hunter2" })).expect_err("a string");
        assert!(
            message.contains("/limit") && message.contains("integer"),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
        let message = validate(&schema, &json!({ "limt": 5 })).expect_err("an unknown key");
        assert!(message.contains("limt"), "{message}");
    }

    #[test]
    fn a_schema_that_is_none_or_points_outside_is_refused() {
        assert!(check_schema(&json!({ "type": 7 })).is_err());
        assert!(check_schema(&json!({ "$ref": "http://127.0.0.1:1/schema.json" })).is_err());
        assert!(check_schema(&json!({ "$ref": "file:///etc/hostname" })).is_err());
        assert!(check_schema(&json!({ "type": "object" })).is_ok());
    }
}
