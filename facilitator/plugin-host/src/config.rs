//! Validates a configuration against a JSON schema of a manifest, ahead of any code of the plugin: what is wrong, where,
//! and what to write instead.
//!
//! Assumes that values may be secret: messages never repeat them.

use jsonschema::error::ValidationErrorKind;
use sdk_plugin::manifest::TextForm;
use serde_json::{Value, json};

use base::suggest::unknown;

/// At most this many errors are reported at once.
const MAX_REPORTED: usize = 20;

/// One error in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationError {
    /// Names and indices from the root of the configuration to the error.
    pub path: Vec<String>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl std::fmt::Display for ValidationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path.join("."), self.message)
        }
    }
}

/// Whether this is a valid JSON schema. External references are not followed.
pub(super) fn check_schema(schema: &Value) -> Result<(), String> {
    jsonschema::validator_for(schema)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Whether the form's pattern is valid and its example matches it.
pub(super) fn check_form(form: &TextForm) -> Result<(), String> {
    check_schema(&pattern_schema(form))?;
    if matches_form(form, &form.example) {
        Ok(())
    } else {
        Err(format!("the example {:?} does not fit the pattern", form.example))
    }
}

/// Whether a text matches the form.
#[must_use]
pub fn matches_form(form: &TextForm, text: &str) -> bool {
    // A manifest with an invalid pattern was refused when it was read.
    jsonschema::validator_for(&pattern_schema(form)).is_ok_and(|validator| validator.is_valid(&json!(text)))
}

fn pattern_schema(form: &TextForm) -> Value {
    json!({ "type": "string", "pattern": form.pattern })
}

/// Every error of `config`, up to 20.
#[must_use]
pub fn validate(schema: &Value, config: &Value) -> Vec<ValidationError> {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        // A manifest with such a schema was refused when it was read.
        Err(error) => {
            return vec![ValidationError {
                path: Vec::new(),
                message: format!("can't be checked: the plugin's schema is none ({error})"),
            }];
        }
    };
    let errors = validator.iter_errors(config).take(MAX_REPORTED);
    errors
        .flat_map(|error| {
            let path = segments(&error.instance_path().to_string());
            describe_error(schema, config, path, error.kind(), &error.masked().to_string())
        })
        .collect()
}

/// The errors to report for one error of the validator. Its own text, `fallback`, is used for kinds without one here.
fn describe_error(
    schema: &Value,
    config: &Value,
    path: Vec<String>,
    kind: &ValidationErrorKind,
    fallback: &str,
) -> Vec<ValidationError> {
    let part = part_of(schema, &path);
    let below = |name: &str, message: String| ValidationError {
        path: path.iter().cloned().chain([name.to_owned()]).collect(),
        message,
    };
    match kind {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known: Vec<&str> = part
                .and_then(|part| part.get("properties")?.as_object())
                .map(|properties| properties.keys().map(String::as_str).collect())
                .unwrap_or_default();
            unexpected
                .iter()
                .map(|name| {
                    let message = if known.is_empty() {
                        "unknown key; there are none here".to_owned()
                    } else {
                        unknown("key", name, &known)
                    };
                    below(name, message)
                })
                .collect()
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let required = part.and_then(|part| part.get("properties")?.get(name));
            let required = required
                .and_then(describe)
                .unwrap_or_else(|| "a value".to_owned());
            vec![below(name, format!("is missing; write {name} = … ({required})"))]
        }
        _ => {
            let found = path.iter().try_fold(config, |value, name| child(value, name));
            let message = match part.and_then(describe) {
                Some(required) if matches!(kind, ValidationErrorKind::Type { .. }) => {
                    format!(
                        "must be {required}, not {}",
                        found.map(type_name).unwrap_or_default()
                    )
                }
                Some(required) => format!("must be {required}"),
                None => fallback.to_owned(),
            };
            vec![ValidationError { path, message }]
        }
    }
}

/// A JSON pointer's segments.
fn segments(pointer: &str) -> Vec<String> {
    let parts = pointer.split('/').skip(1);
    parts
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect()
}

fn child<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => value.get(name),
    }
}

/// The part of a schema for a path, where plain `properties`, `items` and a schema of `additionalProperties` lead to it.
fn part_of<'s>(schema: &'s Value, path: &[String]) -> Option<&'s Value> {
    path.iter().try_fold(schema, |part, name| {
        let property = part.get("properties").and_then(|properties| properties.get(name));
        let others = part
            .get("additionalProperties")
            .filter(|others| others.is_object());
        property.or_else(|| part.get("items")).or(others)
    })
}

/// What a schema requires, as text.
fn describe(schema: &Value) -> Option<String> {
    let required = match (schema.get("enum").and_then(Value::as_array), schema.get("type")) {
        (Some(options), _) => {
            let options: Vec<String> = options.iter().map(Value::to_string).collect();
            format!("one of {}", options.join(", "))
        }
        (None, Some(Value::String(one))) => typed(one, schema),
        (None, Some(Value::Array(several))) => {
            let several = several.iter().filter_map(Value::as_str);
            several
                .map(|one| typed(one, schema))
                .collect::<Vec<_>>()
                .join(" or ")
        }
        (None, _) => return None,
    };
    Some(match schema.get("description").and_then(Value::as_str) {
        Some(text) => format!("{required} ({})", text.trim_end_matches('.')),
        None => required,
    })
}

fn typed(name: &str, schema: &Value) -> String {
    let example = schema
        .get("examples")
        .and_then(Value::as_array)
        .and_then(|all| all.first());
    let range = match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    };
    match (name, example) {
        ("string", Some(example)) => format!("a string in quotes, e.g. {example}"),
        ("string", None) => "a string in quotes".to_owned(),
        ("integer", _) => format!("a whole number{range}"),
        ("number", _) => format!("a number{range}"),
        ("boolean", _) => "true or false".to_owned(),
        ("array", _) => "a list in [ ]".to_owned(),
        ("object", _) => "a table in { }".to_owned(),
        (other, _) => other.to_owned(),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::Bool(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
        Value::Null => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(schema: &Value, config: &Value) -> String {
        let errors = validate(schema, config);
        let [error] = errors.as_slice() else {
            panic!("{errors:?}")
        };
        error.to_string()
    }

    #[test]
    fn an_error_has_its_path_and_what_to_write_and_never_the_value() {
        let schema = json!({
            "type": "object",
            "properties": {
                "limit": { "type": "integer", "minimum": 1, "description": "Most of them." },
                "price": { "type": ["string", "integer"], "pattern": "^[0-9]+$", "examples": ["5"] },
                "way": { "enum": ["a", "b"] },
                "deep": { "type": "array", "items": { "type": "object", "required": ["x"] } }
            },
            "additionalProperties": false
        });
        assert_eq!(validate(&schema, &json!({ "limit": 5, "price": "7" })), []);
        for (config, message) in [
            (
                json!({ "limit": "hunter2" }),
                "limit: must be a whole number of at least 1 (Most of them), not a string",
            ),
            (
                json!({ "limit": 0 }),
                "limit: must be a whole number of at least 1 (Most of them)",
            ),
            (json!({ "limt": 5 }), "limt: unknown key; did you mean \"limit\"?"),
            (
                json!({ "price": "hunter2" }),
                "price: must be a string in quotes, e.g. \"5\" or a whole number",
            ),
            (json!({ "way": "hunter2" }), "way: must be one of \"a\", \"b\""),
            (
                json!({ "deep": [{ "x": 1 }, {}] }),
                "deep.1.x: is missing; write x = … (a value)",
            ),
            (json!([]), "must be a table in { }, not a list"),
        ] {
            assert_eq!(one(&schema, &config), message);
        }
    }

    #[test]
    fn an_invalid_schema_or_an_external_reference_is_refused() {
        assert!(check_schema(&json!({ "type": 7 })).is_err());
        assert!(check_schema(&json!({ "$ref": "http://127.0.0.1:1/schema.json" })).is_err());
        assert!(check_schema(&json!({ "$ref": "file:///etc/hostname" })).is_err());
        assert!(check_schema(&json!({ "type": "object" })).is_ok());
    }

    #[test]
    fn a_form_has_a_pattern_and_an_example_that_matches() {
        let form = |pattern: &str, example: &str| TextForm {
            pattern: pattern.into(),
            description: "digits".into(),
            example: example.into(),
        };
        assert_eq!(check_form(&form("^[0-9]+$", "5")), Ok(()));
        assert!(check_form(&form("^[0-9+$", "5")).is_err());
        assert!(check_form(&form("^[0-9]+$", "x")).is_err());
        assert!(matches_form(&form("^[0-9]+$", "5"), "17") && !matches_form(&form("^[0-9]+$", "5"), "17 "));
    }
}
