//! From the bytes of a body to a request. `/verify` and `/settle` share this code.

use std::hint::black_box;

use benches::{Comparisons, repeat};
use http_api::fuzzing::read_body;
use sdk_plugin::Value;

use crate::vectors;

pub(crate) fn compare(comparisons: &mut Comparisons) {
    let body = vectors::evm_body();
    let request = vectors::evm_payment();
    assert_eq!(
        Value::Object(request.payload),
        vectors::evm()["request_v2"]["paymentPayload"]["payload"]
    );
    comparisons.compare(
        ("http", "read and normalise a body"),
        repeat(|| read_body(black_box(&body)).is_ok()),
        "serde_json: the same bytes to a Value",
        repeat(|| serde_json::from_slice::<Value>(black_box(&body)).is_ok()),
    );
}
