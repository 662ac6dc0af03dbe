//! From the bytes of a request to a [`PaymentRequest`]: rows H5 to H11 of the dispatch checklist, in that order.
//!
//! Everything here is hostile. What is refused has exactly one status and one reason; what passes is for a kind that is
//! served, with numbers that are numbers. Money members are read strictly. Members that decide nothing (`resource`,
//! `extensions`, descriptions) are read kindly, in [`loose`]: a buyer's payment must not fail over a seller's typo there.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sdk_plugin::request::Accepted;
use sdk_plugin::wire::reason;
use sdk_plugin::{Amount, PaymentRequest, ProtocolVersion, Purpose, Requirements};
use serde_json::{Map, Value, json};

use super::{loose, strict};
use crate::names::NetworkNames;
use base::service::Membership;

/// Largest integer that every JSON implementation reads exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// What a caller has to send, for the messages of those who send something else.
const SHAPE: &str = "one JSON object with x402Version, paymentPayload and paymentRequirements";

const BASE64: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, BASE64);

type Object = Map<String, Value>;

/// What the process serves.
pub(super) struct Rules<'a> {
    pub(super) names: &'a NetworkNames,
    pub(super) legacy0: bool,
    pub(super) membership: &'a dyn Fn(ProtocolVersion, &str, &str) -> Membership,
}

/// What is known of the request beside its body.
pub(super) struct Caller {
    pub(super) purpose: Purpose,
    pub(super) tenant: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) remaining_ms: u64,
}

/// In which form the caller wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Current,
    Legacy0,
}

/// A request that goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) shape: Shape,
    /// The caller's spelling, once the kind is known; else empty.
    pub(super) network: String,
}

impl Refused {
    /// A request that can't be dispatched: HTTP 400, so that a server with several facilitators asks the next one.
    pub(super) fn undispatched(shape: Shape, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            reason,
            message: message.into(),
            shape,
            network: String::new(),
        }
    }
}

/// Rows H5 to H11.
pub(super) fn normalise(body: &[u8], rules: &Rules<'_>, caller: Caller) -> Result<PaymentRequest, Refused> {
    let current = |reason, message: &str| Refused::undispatched(Shape::Current, reason, message);

    // H5
    let body = loose::without_bom(body);
    if body.trim_ascii().is_empty() {
        return Err(current(
            reason::INVALID_PAYLOAD,
            &format!("the body is empty; send {SHAPE}"),
        ));
    }
    let body = match strict::parse(body) {
        Ok(Value::Object(body)) => body,
        Ok(other) => {
            let message = format!(
                "the body must be a JSON object, not {}; send {SHAPE}",
                kind_of(&other)
            );
            return Err(current(reason::INVALID_PAYLOAD, &message));
        }
        Err(error) => {
            return Err(current(
                reason::INVALID_PAYLOAD,
                &format!("the body is not acceptable JSON: {error}; send {SHAPE}"),
            ));
        }
    };

    // H6
    const MISSING: &str = "Missing paymentPayload or paymentRequirements";
    let (payment, shape) = match (member(&body, "paymentPayload"), member(&body, "paymentHeader")) {
        (Some(Value::Object(payment)), _) => (payment.clone(), Shape::Current),
        (Some(other), _) => {
            let message = format!(
                "paymentPayload must be an object, not {}; send what the buyer's header holds, decoded",
                kind_of(other)
            );
            return Err(current(reason::INVALID_PAYLOAD, &message));
        }
        (None, Some(Value::String(header))) if rules.legacy0 => match decode_header(header) {
            Ok(payment) => (payment, Shape::Legacy0),
            Err(why) => {
                return Err(Refused::undispatched(
                    Shape::Legacy0,
                    reason::INVALID_PAYLOAD,
                    why,
                ));
            }
        },
        (None, _) => return Err(current(reason::INVALID_PAYLOAD, MISSING)),
    };
    let refuse = |reason, message: &str| Refused::undispatched(shape, reason, message);
    let requirements = match member(&body, "paymentRequirements") {
        Some(Value::Object(requirements)) => requirements,
        Some(other) => {
            let message = format!(
                "paymentRequirements must be one object, not {}; send the member of accepts that the buyer chose",
                kind_of(other)
            );
            return Err(refuse(reason::INVALID_PAYMENT_REQUIREMENTS, &message));
        }
        None => return Err(refuse(reason::INVALID_PAYMENT_REQUIREMENTS, MISSING)),
    };

    // H7
    let stated = member(&payment, "x402Version").or_else(|| member(&body, "x402Version"));
    let number = match stated {
        Some(stated) => loose::version(stated),
        None if member(&payment, "accepted").is_some() => Some(2),
        None if member(requirements, "maxAmountRequired").is_some() => Some(1),
        None => None,
    };
    let version = match (number, shape) {
        (Some(1), Shape::Current) => ProtocolVersion::V1,
        (Some(1), Shape::Legacy0) => ProtocolVersion::Legacy0,
        (Some(2), Shape::Current) => ProtocolVersion::V2,
        (Some(_) | None, _) => {
            return Err(refuse(reason::INVALID_X402_VERSION, "x402Version must be 1 or 2"));
        }
    };

    // H8
    let (Some(scheme), Some(spelled)) = (text(requirements, "scheme"), text(requirements, "network")) else {
        let message = "paymentRequirements.scheme and paymentRequirements.network must be strings";
        return Err(refuse(reason::INVALID_PAYMENT_REQUIREMENTS, message));
    };

    // H9
    let network = match version {
        ProtocolVersion::Legacy0 | ProtocolVersion::V1 => rules.names.caip2(spelled),
        ProtocolVersion::V2 => {
            (spelled.matches(':').count() == 1 && spelled.chars().count() >= 3).then_some(spelled)
        }
    };
    let Some(network) = network else {
        let message = format!(
            "{spelled:?} is not a network of x402 version {}",
            version.number()
        );
        return Err(refuse(reason::INVALID_NETWORK, &message));
    };

    // H10
    let unserved = match (rules.membership)(version, scheme, network) {
        Membership::Served => None,
        Membership::OtherNetwork => Some(reason::INVALID_NETWORK),
        Membership::UnknownScheme => Some(reason::UNSUPPORTED_SCHEME),
    };
    if let Some(reason) = unserved {
        let message = format!("No facilitator registered for scheme: {scheme} and network: {spelled}");
        return Err(refuse(reason, &message));
    }

    // H11
    let malformed = |(reason, message): (&'static str, String)| Refused {
        status: 200,
        reason,
        message,
        shape,
        network: spelled.to_owned(),
    };
    let terms = terms(version, requirements, scheme, network).map_err(malformed)?;
    let payload = object(&payment, "payload", reason::INVALID_PAYLOAD).map_err(malformed)?;
    let payload = payload.ok_or_else(|| {
        malformed((
            reason::INVALID_PAYLOAD,
            "paymentPayload.payload must be an object".to_owned(),
        ))
    })?;
    let (accepted, resource, extensions) = match version {
        ProtocolVersion::V2 => v2_members(&payment).map_err(malformed)?,
        ProtocolVersion::V1 | ProtocolVersion::Legacy0 => v1_members(&payment, requirements, rules.names),
    };
    Ok(PaymentRequest {
        version,
        scheme: scheme.to_owned(),
        network: network.to_owned(),
        network_as_sent: spelled.to_owned(),
        payload: payload.clone(),
        accepted,
        requirements: terms,
        resource,
        extensions,
        purpose: caller.purpose,
        tenant: caller.tenant,
        idempotency_key: caller.idempotency_key,
        remaining_ms: caller.remaining_ms,
    })
}

type Malformed = (&'static str, String);

fn terms(
    version: ProtocolVersion,
    requirements: &Object,
    scheme: &str,
    network: &str,
) -> Result<Requirements, Malformed> {
    let wrong = |message: String| (reason::INVALID_PAYMENT_REQUIREMENTS, message);
    let amount_name = match version {
        ProtocolVersion::V2 => "amount",
        ProtocolVersion::V1 | ProtocolVersion::Legacy0 => "maxAmountRequired",
    };
    let amount = member(requirements, amount_name).and_then(number).ok_or_else(|| {
        wrong(format!("paymentRequirements.{amount_name} must be a whole number of atomic units, as a decimal string"))
    })?;
    let max_timeout_seconds = member(requirements, "maxTimeoutSeconds")
        .and_then(|value| match loose::integral(value) {
            Some(seconds) => Some(seconds),
            None => number(value).and_then(|seconds| u64::try_from(seconds.0).ok()),
        })
        .filter(|seconds| (1..=MAX_SAFE_INTEGER).contains(seconds))
        .ok_or_else(|| {
            wrong(
                "paymentRequirements.maxTimeoutSeconds must be a whole number of seconds above 0".to_owned(),
            )
        })?;
    let required = |name: &str| {
        text(requirements, name)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| wrong(format!("paymentRequirements.{name} must be a string")))
    };
    let extra = object(requirements, "extra", reason::INVALID_PAYMENT_REQUIREMENTS)?;
    Ok(Requirements {
        scheme: scheme.to_owned(),
        network: network.to_owned(),
        amount,
        asset: required("asset")?,
        pay_to: required("payTo")?,
        max_timeout_seconds,
        extra: extra.cloned().unwrap_or_default(),
    })
}

type VersionMembers = (Accepted, Option<Value>, Object);

fn v2_members(payment: &Object) -> Result<VersionMembers, Malformed> {
    let accepted = object(payment, "accepted", reason::INVALID_PAYLOAD)?.ok_or_else(|| {
        (
            reason::INVALID_PAYLOAD,
            "paymentPayload.accepted must be an object".to_owned(),
        )
    })?;
    let word = |name: &str| text(accepted, name).unwrap_or_default().to_owned();
    Ok((
        Accepted {
            scheme: word("scheme"),
            network: word("network"),
            raw: accepted.clone(),
        },
        loose::resource(member(payment, "resource")),
        loose::extensions(member(payment, "extensions")),
    ))
}

fn v1_members(payment: &Object, requirements: &Object, names: &NetworkNames) -> VersionMembers {
    let scheme = text(payment, "scheme").unwrap_or_default().to_owned();
    let network = text(payment, "network").unwrap_or_default();
    let network = names.caip2(network).unwrap_or(network).to_owned();
    let mut resource = Map::new();
    for (from, to) in [
        ("resource", "url"),
        ("description", "description"),
        ("mimeType", "mimeType"),
    ] {
        // Texts for people: one of another type is left out.
        if let Some(text) = text(requirements, from) {
            resource.insert(to.to_owned(), json!(text));
        }
    }
    let resource = (!resource.is_empty()).then_some(Value::Object(resource));
    (
        Accepted {
            scheme,
            network,
            raw: Map::new(),
        },
        resource,
        Map::new(),
    )
}

/// What a value is, for people.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The member; `null` is absent.
fn member<'o>(object: &'o Object, name: &str) -> Option<&'o Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn text<'o>(object: &'o Object, name: &str) -> Option<&'o str> {
    object.get(name).and_then(Value::as_str)
}

/// An optional member that must be an object.
fn object<'o>(parent: &'o Object, name: &str, reason: &'static str) -> Result<Option<&'o Object>, Malformed> {
    match member(parent, name) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err((reason, format!("{name} must be an object"))),
    }
}

/// A decimal or `0x` string below 2^256, or a JSON integer that no parser rounds.
fn number(value: &Value) -> Option<Amount> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number
            .as_u64()
            .filter(|number| *number <= MAX_SAFE_INTEGER)
            .map(Amount::from),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The oldest form's header: base64 or base64url of JSON, padded or not, or the JSON itself.
fn decode_header(header: &str) -> Result<Object, String> {
    let header = header.trim();
    let decoded = if header.starts_with('{') {
        header.as_bytes().to_vec()
    } else {
        STANDARD
            .decode(header)
            .or_else(|_| URL_SAFE.decode(header))
            .map_err(|_| "paymentHeader must be base64 of a JSON object".to_owned())?
    };
    match strict::parse(&decoded) {
        Ok(Value::Object(payment)) => Ok(payment),
        Ok(_) => Err("paymentHeader must hold a JSON object".to_owned()),
        Err(error) => Err(format!("paymentHeader does not hold acceptable JSON: {error}")),
    }
}
