//! What members can be mistaken for, put in place of each of them.

use serde_json::{Value, json};

use super::Case;

fn replacements() -> Vec<Value> {
    let texts = ["", "0", "-1", "1e3", " 1", "0x", "0X1", "escrow"].map(|text| json!(text));
    let long = [
        format!("0x{}", "00".repeat(20)),
        format!("0x{}", "ff".repeat(32)),
        // An ERC-6492 suffix after nothing.
        format!("0x{}{}", "00".repeat(96), "6492".repeat(16)),
        "9".repeat(5_000),
    ]
    .map(|text| json!(text));
    let mut all = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!([]),
        json!({}),
    ];
    all.extend(texts);
    all.extend(long);
    all
}

/// JSON pointers to everything that is no object or list.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(member, &format!("{path}/{name}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// Each leaf of the payload, and each of the terms in both of their copies, replaced by everything else; and each removed.
pub(super) fn every_member(what: &str, body: &Value) -> Vec<Case> {
    let mut places: Vec<Vec<String>> = Vec::new();
    let (mut own, mut terms) = (Vec::new(), Vec::new());
    leaves(
        &body["paymentPayload"]["payload"],
        "/paymentPayload/payload",
        &mut own,
    );
    leaves(&body["paymentRequirements"], "", &mut terms);
    places.extend(own.into_iter().map(|place| vec![place]));
    places.extend(
        terms
            .into_iter()
            .map(|leaf| {
                ["/paymentPayload/accepted", "/paymentRequirements"].map(|copy| format!("{copy}{leaf}"))
            })
            .map(Vec::from),
    );
    let mut cases = Vec::new();
    for place in places {
        let name = place.last().cloned().unwrap_or_default();
        let mut without = body.clone();
        for pointer in &place {
            let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
            let members = without.pointer_mut(parent).and_then(Value::as_object_mut);
            members.expect("an object").remove(member);
        }
        cases.push(Case::some(format!("{what}: {name} left out"), without));
        for replacement in replacements() {
            if body.pointer(&name) == Some(&replacement) {
                continue;
            }
            let mut spoiled = body.clone();
            for pointer in &place {
                *spoiled.pointer_mut(pointer).expect("a leaf") = replacement.clone();
            }
            let shown: String = replacement.to_string().chars().take(40).collect();
            cases.push(Case::some(format!("{what}: {name} = {shown}"), spoiled));
        }
    }
    cases
}
