//! JSON schemas of everything that crosses the boundary, derived from the types.
//!
//! They are checked in as `schemas/*.json`, for authors who write in another language: a diff of them is a change of
//! the ABI. `UPDATE_SCHEMAS=1 cargo test -p sdk-plugin --features schema` writes them anew.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};

use crate::operation::{self, Operation};
use crate::ops::FaultBody;

/// A schema and the name of its message: `x402.verify.request`, `rpc.v1.response`, `fault`, `manifest`.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Name of the message.
    pub name: String,
    /// JSON schema, draft 2020-12.
    pub schema: Schema,
}

fn named<T: JsonSchema>(name: impl Into<String>) -> Named {
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

/// The schemas of an operation's request and response.
pub(crate) fn pair<O>() -> [Named; 2]
where
    O: Operation,
    for<'a> O::Request<'a>: JsonSchema,
    O::Response: JsonSchema,
{
    [
        named::<O::Request<'_>>(format!("{}.request", O::NAME)),
        named::<O::Response>(format!("{}.response", O::NAME)),
    ]
}

/// Every schema: two for each operation and host service, the body of a fault, and the manifest.
#[must_use]
pub fn all() -> Vec<Named> {
    let mut all = operation::operation_schemas();
    all.extend(operation::service_schemas());
    all.push(named::<FaultBody>("fault"));
    all.push(named::<crate::Manifest>("manifest"));
    all
}
