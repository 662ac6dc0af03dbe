//! Inputs: the golden vectors of the schemes.

use http_api::fuzzing::read_body;
use sdk_plugin::{PaymentRequest, Value};
use serde_json::json;

/// Of EIP-3009.
pub(crate) fn evm() -> Value {
    let text = include_str!("../../../../schemes-evm/tests/vectors/exact_eip3009.json");
    serde_json::from_str(text).expect("the vectors are JSON")
}

/// Of payments on Solana.
pub(crate) fn svm() -> Value {
    let text = include_str!("../../../../schemes-svm/tests/vectors/exact_svm.json");
    serde_json::from_str(text).expect("the vectors are JSON")
}

/// A text in the vectors, by its JSON pointer.
pub(crate) fn text(vectors: &Value, pointer: &str) -> String {
    let text = vectors.pointer(pointer).and_then(Value::as_str);
    text.expect("a text of the vectors").to_owned()
}

/// Bytes in the vectors, written in hex with `0x`.
pub(crate) fn bytes(vectors: &Value, pointer: &str) -> Vec<u8> {
    let text = text(vectors, pointer);
    hex::decode(text.trim_start_matches("0x")).expect("hex")
}

/// The body of a request with an EVM payment.
pub(crate) fn evm_body() -> Vec<u8> {
    serde_json::to_vec(&evm()["request_v2"]).expect("JSON can be written")
}

/// The same, as the scheme gets it.
pub(crate) fn evm_payment() -> PaymentRequest {
    read_body(&evm_body()).expect("the vectors' request is accepted")
}

/// The payment of the vectors, and each payment that differs from it in one member: left out, or with another value.
pub(crate) fn evm_corpus() -> Vec<PaymentRequest> {
    let body = evm()["request_v2"].clone();
    let mut bodies = vec![body.clone()];
    for pointer in leaves(&body, "") {
        for value in [
            Value::Null,
            json!("0"),
            json!("1800000000"),
            json!("not what is expected"),
            json!("0xaf88d065e77c8cc2239327c5edb3a432268e5831"),
            json!({ "an": "object" }),
        ] {
            let mut changed = body.clone();
            if let Some(leaf) = changed.pointer_mut(&pointer) {
                *leaf = value;
            }
            bodies.push(changed);
        }
    }
    let read = |body: &Value| read_body(&serde_json::to_vec(body).expect("JSON can be written")).ok();
    bodies.iter().filter_map(read).collect()
}

/// Pointers to everything in a value that has no members.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| leaves(member, &format!("{at}/{name}")))
            .collect(),
        Value::Array(items) => (0..)
            .zip(items)
            .flat_map(|(number, item)| leaves(item, &format!("{at}/{number}")))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![at.to_owned()],
    }
}
