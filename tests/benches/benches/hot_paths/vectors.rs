//! Inputs: the golden vectors of the schemes.

use http_api::fuzzing::read_body;
use sdk_plugin::{PaymentRequest, Value};

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
