//! The JSON schema of one message.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};

/// A schema and the name of its message: `x402.verify.request`, `rpc.v1.response`, `fault`, `manifest`.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Name of the message.
    pub name: String,
    /// JSON schema, draft 2020-12.
    pub schema: Schema,
}

pub(crate) fn named<T: JsonSchema>(name: impl Into<String>) -> Named {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(bound_integers));
    let schema = settings.into_generator().into_root_schema_for::<T>();
    Named {
        name: name.into(),
        schema,
    }
}

/// Numbers are doubles to many a JSON library: no integer is larger than 2^53 - 1 (R9).
fn bound_integers(schema: &mut Schema) {
    const LARGEST: i64 = (1 << 53) - 1;
    let format = schema
        .get("format")
        .and_then(|format| format.as_str())
        .unwrap_or_default();
    let signed = format == "int64";
    if signed || format == "uint64" {
        schema.insert("maximum".to_owned(), LARGEST.into());
    }
    if signed {
        schema.insert("minimum".to_owned(), (-LARGEST).into());
    }
}
