//! Payloads that are well formed, and those that are not.

use proptest::prelude::*;

use super::*;

fn info() -> PaymentInfo {
    PaymentInfo {
        operator: Address::repeat_byte(1),
        payer: Address::repeat_byte(2),
        receiver: Address::repeat_byte(3),
        token: Address::repeat_byte(4),
        maxAmount: U120::MAX,
        preApprovalExpiry: U48::MAX,
        authorizationExpiry: U48::MAX,
        refundExpiry: U48::MAX,
        minFeeBps: 0,
        maxFeeBps: u16::MAX,
        feeReceiver: Address::ZERO,
        salt: U256::from(7),
    }
}

fn capture() -> Map<String, Value> {
    let Value::Object(members) = json!({
        "type": "capture",
        "paymentInfo": info_json(&info()),
        "saltNonce": word_json(U256::from(1)),
        "amount": "10",
        "feeAmount": "0",
        "feeReceiver": text::lower(Address::ZERO),
        "expectedCapturableAmount": "20",
        "expectedRefundableAmount": "0",
        "authorizerSignature": "0x",
    }) else {
        unreachable!("an object was written")
    };
    members
}

#[test]
fn what_is_written_is_what_is_read() {
    let payload = Payload::decode(&capture()).expect("well formed");
    assert_eq!(payload.info, info());
    assert_eq!(payload.signature, None, "an empty signature is none");
    assert_eq!(payload.close_out, None);
    assert_eq!(payload.fee, Ok(Fee::Amount(U256::ZERO)));
}

#[test]
fn every_member_is_read_strictly() {
    use Reason::{PayloadFormat, PayloadType, VoidAuthorizerSignature};
    let cases: [(&str, Value, Reason); 14] = [
        ("type", json!("close"), PayloadType),
        ("type", json!(1), PayloadType),
        ("paymentInfo", json!([]), PayloadFormat),
        ("saltNonce", json!("0x1"), PayloadFormat),
        ("saltNonce", json!(1), PayloadFormat),
        ("amount", json!(10), PayloadFormat),
        ("amount", json!("0x10"), PayloadFormat),
        ("amount", json!("010"), PayloadFormat),
        ("amount", Value::Null, PayloadFormat),
        ("expectedCapturableAmount", Value::Null, PayloadFormat),
        ("expectedRefundableAmount", json!("-1"), PayloadFormat),
        ("authorizerSignature", json!("zz"), PayloadFormat),
        ("voidRemainder", json!("true"), PayloadFormat),
        ("voidAuthorizerSignature", json!(7), PayloadFormat),
    ];
    for (name, value, expected) in cases {
        let mut sent = capture();
        sent.insert(name.into(), value.clone());
        let rejection = Payload::decode(&sent).expect_err("malformed");
        assert_eq!(rejection.reason, expected, "{name} {value}");
    }
    for (name, value) in [
        ("maxAmount", json!(1)),
        ("maxAmount", json!("1329227995784915872903807060280344576")),
        ("preApprovalExpiry", json!("1")),
        ("refundExpiry", json!(281_474_976_710_656u64)),
        ("minFeeBps", json!(65_536)),
        ("salt", json!("0x07")),
        ("payer", json!("0x02")),
    ] {
        let mut sent = capture();
        sent.get_mut("paymentInfo")
            .and_then(Value::as_object_mut)
            .expect("an object")
            .insert(name.into(), value.clone());
        let rejection = Payload::decode(&sent).expect_err("malformed");
        assert_eq!(rejection.reason, PayloadFormat, "{name} {value}");
    }
    for kind in ["void", "refund"] {
        let mut sent = capture();
        sent.insert("type".into(), json!(kind));
        sent.insert("voidAuthorizerSignature".into(), json!("0x01"));
        let rejection = Payload::decode(&sent).expect_err("forbidden");
        assert_eq!(rejection.reason, VoidAuthorizerSignature, "{kind}");
    }
}

#[test]
fn t69_the_two_forms_of_a_fee_exclude_one_another() {
    let mut both = capture();
    both.insert("feeBps".into(), json!(1));
    let mut neither = capture();
    neither.remove("feeAmount");
    let mut text = neither.clone();
    text.insert("feeBps".into(), json!("1"));
    let mut number = capture();
    number.insert("feeAmount".into(), json!(1));
    for sent in [both, neither, text, number] {
        assert!(Payload::decode(&sent).expect("well formed").fee.is_err());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,80}".prop_map(Value::from),
        "(0x)?[0-9a-f]{0,140}".prop_map(Value::from),
        "[0-9]{0,80}".prop_map(Value::from),
        Just(json!({})),
        Just(json!([1])),
    ]
}

proptest! {
    #[test]
    fn decoders_take_any_json(
        changes in prop::collection::vec((0usize..24, any_json()), 0..4)
    ) {
        const OUTER: [&str; 12] = [
            "type", "paymentInfo", "saltNonce", "amount", "feeAmount", "feeBps", "feeReceiver",
            "expectedCapturableAmount", "expectedRefundableAmount", "authorizerSignature",
            "voidAuthorizerSignature", "voidRemainder",
        ];
        const INNER: [&str; 12] = [
            "operator", "payer", "receiver", "token", "maxAmount", "preApprovalExpiry",
            "authorizationExpiry", "refundExpiry", "minFeeBps", "maxFeeBps", "feeReceiver", "salt",
        ];
        let mut sent = capture();
        for (at, value) in changes {
            if let Some(name) = OUTER.get(at) {
                sent.insert((*name).into(), value);
            } else if let Some(info) = sent.get_mut("paymentInfo").and_then(Value::as_object_mut) {
                info.insert(INNER[at - OUTER.len()].into(), value);
            }
        }
        if let Ok(payload) = Payload::decode(&sent) {
            // What was taken can be written and taken again.
            sent.insert("paymentInfo".into(), info_json(&payload.info));
            prop_assert_eq!(Payload::decode(&sent), Ok(payload));
        }
    }
}
