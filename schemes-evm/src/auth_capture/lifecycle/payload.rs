//! A lifecycle payload (auth-capture-evm.md section 6), hostile in every member, and how this crate writes one.
//!
//! The collection's members may stand beside it and are not looked at.

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::ruint::UintTryTo;
use alloy_primitives::{Address, B256, U256};
use sdk_plugin::{Amount, Value};
use serde_json::{Map, json};

use super::super::abi::PaymentInfo;
use super::super::authorizer::{Balances, Operation};
use super::super::deployment::Deployment;
use super::super::fees::Fee;
use super::super::reason::{No, Reason};
use crate::{members, signature, text};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Capture,
    Void,
    Refund,
}

impl Action {
    /// As `type` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }

    pub(crate) fn read(name: &str) -> Option<Self> {
        [Self::Capture, Self::Void, Self::Refund]
            .into_iter()
            .find(|action| action.name() == name)
    }
}

/// Who wants the rest given back behind a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CloseOut {
    Signed(Vec<u8>),
    /// `voidRemainder`, for those whose authorizer we are.
    Asked,
}

/// A payload whose members are well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) action: Action,
    pub(super) info: PaymentInfo,
    pub(super) salt_nonce: U256,
    /// Atomic units; zero for a void.
    pub(super) amount: U256,
    /// What is wrong with the fee members is a matter of a later step.
    pub(super) fee: Result<Fee, &'static str>,
    pub(super) fee_receiver: Option<Address>,
    pub(super) expected: Balances,
    /// `None`: the authorizer is ours, or the signature was forgotten.
    pub(super) signature: Option<Vec<u8>>,
    pub(super) close_out: Option<CloseOut>,
}

impl Payload {
    /// Step 1.
    pub(super) fn decode(sent: &Map<String, Value>) -> Result<Self, No> {
        let action = sent
            .get("type")
            .and_then(Value::as_str)
            .and_then(Action::read)
            .ok_or_else(|| {
                No::new(
                    Reason::PayloadType,
                    "payload.type must be \"capture\", \"void\" or \"refund\", or absent to collect",
                )
            })?;
        let malformed = |message: String| No::new(Reason::PayloadFormat, message);
        let info = sent
            .get("paymentInfo")
            .and_then(Value::as_object)
            .ok_or_else(|| malformed("payload.paymentInfo must be an object".into()))?;
        let info = read_info(info).map_err(malformed)?;
        let salt_nonce = members::word(sent, "saltNonce")
            .ok_or_else(|| malformed("payload.saltNonce must be 0x and 64 hex digits".into()))?;
        let close_out = close_out(sent, action)?;
        let units = |name: &str| {
            decimal(sent, name)
                .ok_or_else(|| malformed(format!("payload.{name} must be a decimal string of atomic units")))
        };
        let amount = match action {
            Action::Void => U256::ZERO,
            Action::Capture | Action::Refund => units("amount")?,
        };
        let expected = match action {
            Action::Void => Balances {
                capturable: U256::ZERO,
                refundable: U256::ZERO,
            },
            Action::Capture | Action::Refund => Balances {
                capturable: units("expectedCapturableAmount")?,
                refundable: units("expectedRefundableAmount")?,
            },
        };
        Ok(Self {
            action,
            info,
            salt_nonce: salt_nonce.into(),
            amount,
            fee: read_fee(sent),
            fee_receiver: members::address(sent, "feeReceiver"),
            expected,
            signature: optional_signature(sent, "authorizerSignature").map_err(malformed)?,
            close_out,
        })
    }

    /// What an authorizer would sign. `None`: a capture without a fee or its receiver.
    pub(super) fn operation(&self, deployment: &Deployment) -> Option<Operation> {
        Some(match self.action {
            Action::Capture => Operation::Capture {
                amount: self.amount,
                fee: self.fee.ok()?,
                fee_receiver: self.fee_receiver?,
                expected: self.expected,
            },
            Action::Void => Operation::Void,
            Action::Refund => Operation::Refund {
                amount: self.amount,
                token_collector: deployment.operator_refund_collector,
                expected: self.expected,
            },
        })
    }
}

fn close_out(sent: &Map<String, Value>, action: Action) -> Result<Option<CloseOut>, No> {
    let signed = match members::present(sent, "voidAuthorizerSignature") {
        Some(_) if action != Action::Capture => {
            return Err(No::new(
                Reason::VoidAuthorizerSignature,
                "payload.voidAuthorizerSignature belongs to a capture only",
            ));
        }
        Some(_) => optional_signature(sent, "voidAuthorizerSignature")
            .map_err(|message| No::new(Reason::PayloadFormat, message))?,
        None => None,
    };
    let asked = match members::present(sent, "voidRemainder") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => action == Action::Capture,
        Some(_) => {
            return Err(No::new(
                Reason::PayloadFormat,
                "payload.voidRemainder must be true or false",
            ));
        }
    };
    Ok(match signed {
        Some(signature) => Some(CloseOut::Signed(signature)),
        None => asked.then_some(CloseOut::Asked),
    })
}

/// Absent, `null`, empty and `0x` are all no signature.
fn optional_signature(sent: &Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>, String> {
    match members::present(sent, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() || text == "0x" => Ok(None),
        Some(_) => {
            let bytes = members::signature(sent, name)?;
            // A wrapper is not defined for authorizers: it is checked as it is, and a wallet may refuse it.
            if bytes.len() > signature::MAX_SIGNATURE_BYTES {
                return Err(format!(
                    "payload.{name} is longer than {} bytes",
                    signature::MAX_SIGNATURE_BYTES
                ));
            }
            Ok(Some(bytes))
        }
    }
}

/// Exactly one of the two forms, each in its own type. Which of them the deployment takes is another question (T-69).
fn read_fee(sent: &Map<String, Value>) -> Result<Fee, &'static str> {
    match (
        members::present(sent, "feeBps"),
        members::present(sent, "feeAmount"),
    ) {
        (Some(bps), None) => bps
            .as_u64()
            .and_then(|bps| u16::try_from(bps).ok())
            .map(Fee::Bps)
            .ok_or("payload.feeBps must be an integer of basis points"),
        (None, Some(_)) => decimal(sent, "feeAmount")
            .map(Fee::Amount)
            .ok_or("payload.feeAmount must be a decimal string of atomic units"),
        (None, None) => {
            Err("a capture needs payload.feeAmount (escrow v1.1) or payload.feeBps (escrow v1.0)")
        }
        (Some(_), Some(_)) => Err("payload.feeAmount and payload.feeBps exclude one another"),
    }
}

/// A decimal string and nothing else.
fn decimal(sent: &Map<String, Value>, name: &str) -> Option<U256> {
    let text = sent.get(name)?.as_str()?;
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    if plain {
        text.parse::<Amount>().ok().map(|amount| amount.0)
    } else {
        None
    }
}

/// The twelve members as they travel.
fn read_info(sent: &Map<String, Value>) -> Result<PaymentInfo, String> {
    let address = |name: &str| {
        members::address(sent, name)
            .ok_or_else(|| format!("paymentInfo.{name} must be a 20-byte hex address"))
    };
    let seconds = |name: &str| {
        sent.get(name)
            .and_then(Value::as_u64)
            .and_then(|seconds| U48::try_from(seconds).ok())
            .ok_or_else(|| format!("paymentInfo.{name} must be an integer of unix seconds below 2^48"))
    };
    let bps = |name: &str| {
        sent.get(name)
            .and_then(Value::as_u64)
            .and_then(|bps| u16::try_from(bps).ok())
            .ok_or_else(|| format!("paymentInfo.{name} must be an integer of basis points"))
    };
    let max_amount: Option<U120> = decimal(sent, "maxAmount").and_then(|amount| amount.uint_try_to().ok());
    Ok(PaymentInfo {
        operator: address("operator")?,
        payer: address("payer")?,
        receiver: address("receiver")?,
        token: address("token")?,
        maxAmount: max_amount.ok_or("paymentInfo.maxAmount must be a decimal string below 2^120")?,
        preApprovalExpiry: seconds("preApprovalExpiry")?,
        authorizationExpiry: seconds("authorizationExpiry")?,
        refundExpiry: seconds("refundExpiry")?,
        minFeeBps: bps("minFeeBps")?,
        maxFeeBps: bps("maxFeeBps")?,
        feeReceiver: address("feeReceiver")?,
        salt: members::word(sent, "salt")
            .ok_or("paymentInfo.salt must be 0x and 64 hex digits")?
            .into(),
    })
}

/// The same the other way round.
pub(crate) fn info_json(info: &PaymentInfo) -> Value {
    let seconds = |time: U48| -> u64 { time.to() };
    json!({
        "operator": text::lower(info.operator),
        "payer": text::lower(info.payer),
        "receiver": text::lower(info.receiver),
        "token": text::lower(info.token),
        "maxAmount": info.maxAmount.to_string(),
        "preApprovalExpiry": seconds(info.preApprovalExpiry),
        "authorizationExpiry": seconds(info.authorizationExpiry),
        "refundExpiry": seconds(info.refundExpiry),
        "minFeeBps": info.minFeeBps,
        "maxFeeBps": info.maxFeeBps,
        "feeReceiver": text::lower(info.feeReceiver),
        "salt": word_json(info.salt),
    })
}

/// `0x` and 64 hex digits.
pub(crate) fn word_json(word: U256) -> Value {
    B256::from(word).to_string().into()
}

#[cfg(test)]
mod tests {
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
            let no = Payload::decode(&sent).expect_err("malformed");
            assert_eq!(no.reason, expected, "{name} {value}");
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
            let no = Payload::decode(&sent).expect_err("malformed");
            assert_eq!(no.reason, PayloadFormat, "{name} {value}");
        }
        for kind in ["void", "refund"] {
            let mut sent = capture();
            sent.insert("type".into(), json!(kind));
            sent.insert("voidAuthorizerSignature".into(), json!("0x01"));
            let no = Payload::decode(&sent).expect_err("forbidden");
            assert_eq!(no.reason, VoidAuthorizerSignature, "{kind}");
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
}
