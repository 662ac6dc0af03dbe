//! Fuzz targets for the decoders of outside bytes. Each test is a target, and its folder in `corpus` has its name.

mod boundary;
mod facilitator;
mod nodes;
mod payments;

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[global_allocator]
static METER: fuzz::Meter = fuzz::Meter;

/// What is read is written, and read again as the same.
fn round_trip<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else {
        return;
    };
    let written = serde_json::to_value(&read).expect("what was read can be written");
    if has_float(&written) {
        return;
    }
    let again: T = serde_json::from_value(written).expect("what was written can be read");
    assert_eq!(read, again);
}

/// `serde_json` reads a float with an error in its last digit, and may do so again with what it writes.
fn has_float(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => false,
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_float),
        Value::Object(members) => members.values().any(has_float),
    }
}
