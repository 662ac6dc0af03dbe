//! From the bytes of a request to a [`PaymentRequest`]: rows H5 to H11 of the dispatch checklist, in that order.
//!
//! All input is hostile. A refused request has exactly one status and one reason; an accepted one is for a served kind and
//! its numbers are valid. Members with an effect on money are read strictly ([`members`]). Members without one
//! (`resource`, `extensions`, descriptions) are read leniently ([`lenient`]): a seller's mistake there must not fail a
//! buyer's payment.

use axum::http::StatusCode;
use base::service::Membership;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sdk_plugin::wire::reason;
use sdk_plugin::{PaymentRequest, ProtocolVersion, Purpose};
use serde_json::Value;

use super::members::{self, Object, VersionMembers, kind_of, member, take_object, text};
use super::{lenient, strict_json};
use crate::names::NetworkNames;

/// What a caller has to send; part of the messages to callers that send something else.
const SHAPE: &str = "one JSON object with x402Version, paymentPayload and paymentRequirements";
const MISSING: &str = "Missing paymentPayload or paymentRequirements";

const BASE64: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, BASE64);

/// What the process serves.
pub(super) struct Rules<'a> {
    pub(super) names: &'a NetworkNames,
    pub(super) legacy0: bool,
    pub(super) membership: &'a dyn Fn(ProtocolVersion, &str, &str) -> Membership,
}

/// What is known about the request apart from its body.
pub(super) struct Caller {
    pub(super) purpose: Purpose,
    pub(super) tenant: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) remaining_ms: u64,
}

/// The form of the request, and so of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Current,
    Legacy0,
}

/// A request that is not passed on to the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) shape: Shape,
    /// The caller's spelling, once the kind is known; else empty.
    pub(super) network: String,
}

impl Refused {
    /// A request that can't be dispatched: HTTP 400, so that a server with several facilitators tries the next one.
    pub(super) fn undispatched(shape: Shape, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            reason,
            message: message.into(),
            shape,
            network: String::new(),
        }
    }
}

/// The payment of a request, in the form in which it was sent.
struct Payment {
    payment: Object,
    shape: Shape,
}

/// The kind of a payment: what selects its scheme.
struct Kind<'r> {
    scheme: &'r str,
    /// CAIP-2.
    network: &'r str,
    /// The caller's spelling of the network.
    spelled: &'r str,
}

/// Rows H5 to H11.
pub(super) fn normalise(body: &[u8], rules: &Rules<'_>, caller: Caller) -> Result<PaymentRequest, Refused> {
    let mut body = parse_body(body)?;
    let Payment { mut payment, shape } = find_payment(&mut body, rules.legacy0)?;
    let requirements = find_requirements(&body, shape)?;
    let version = find_version(&body, &payment, requirements, shape)?;
    let kind = find_kind(requirements, version, shape, rules)?;

    // H11
    let malformed = |(reason, message): members::Malformed| Refused {
        status: StatusCode::OK,
        reason,
        message,
        shape,
        network: kind.spelled.to_owned(),
    };
    let terms = members::terms(version, requirements, kind.scheme, kind.network).map_err(malformed)?;
    let payload = take_object(&mut payment, "payload", reason::INVALID_PAYLOAD).map_err(malformed)?;
    let payload = payload.ok_or_else(|| {
        malformed((
            reason::INVALID_PAYLOAD,
            "paymentPayload.payload must be an object".to_owned(),
        ))
    })?;
    let VersionMembers {
        accepted,
        resource,
        extensions,
    } = match version {
        ProtocolVersion::V2 => members::v2(&mut payment).map_err(malformed)?,
        ProtocolVersion::V1 | ProtocolVersion::Legacy0 => members::v1(&payment, requirements, rules.names),
    };
    Ok(PaymentRequest {
        version,
        scheme: kind.scheme.to_owned(),
        network: kind.network.to_owned(),
        network_as_sent: kind.spelled.to_owned(),
        payload,
        accepted,
        requirements: terms,
        resource,
        extensions,
        purpose: caller.purpose,
        tenant: caller.tenant,
        idempotency_key: caller.idempotency_key,
        remaining_ms: caller.remaining_ms,
        wants_reserves: false,
    })
}

/// H5: the body is a JSON object.
fn parse_body(body: &[u8]) -> Result<Object, Refused> {
    let refuse = |message: String| Refused::undispatched(Shape::Current, reason::INVALID_PAYLOAD, message);
    let body = lenient::without_bom(body);
    if body.trim_ascii().is_empty() {
        return Err(refuse(format!("the body is empty; send {SHAPE}")));
    }
    match strict_json::parse(body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(other) => Err(refuse(format!(
            "the body must be a JSON object, not {}; send {SHAPE}",
            kind_of(&other)
        ))),
        Err(error) => Err(refuse(format!(
            "the body is not acceptable JSON: {error}; send {SHAPE}"
        ))),
    }
}

/// H6, first half: the payment is an object, which is taken out of the body, or the header of the oldest form.
fn find_payment(body: &mut Object, legacy0: bool) -> Result<Payment, Refused> {
    let refuse = |shape, message: String| Refused::undispatched(shape, reason::INVALID_PAYLOAD, message);
    if let Some(Value::Object(payment)) = body.get_mut("paymentPayload") {
        return Ok(Payment {
            payment: std::mem::take(payment),
            shape: Shape::Current,
        });
    }
    match (member(body, "paymentPayload"), member(body, "paymentHeader")) {
        (Some(other), _) => Err(refuse(
            Shape::Current,
            format!(
                "paymentPayload must be an object, not {}; send the decoded content of the buyer's header",
                kind_of(other)
            ),
        )),
        (None, Some(Value::String(header))) if legacy0 => match decode_header(header) {
            Ok(payment) => Ok(Payment {
                payment,
                shape: Shape::Legacy0,
            }),
            Err(why) => Err(refuse(Shape::Legacy0, why)),
        },
        (None, _) => Err(refuse(Shape::Current, MISSING.to_owned())),
    }
}

/// H6, second half: the requirements are an object.
fn find_requirements(body: &Object, shape: Shape) -> Result<&Object, Refused> {
    let refuse = |message: &str| {
        Refused::undispatched(shape, reason::INVALID_PAYMENT_REQUIREMENTS, message.to_owned())
    };
    match member(body, "paymentRequirements") {
        Some(Value::Object(requirements)) => Ok(requirements),
        Some(other) => Err(refuse(&format!(
            "paymentRequirements must be one object, not {}; send the member of accepts that the buyer selected",
            kind_of(other)
        ))),
        None => Err(refuse(MISSING)),
    }
}

/// H7: the protocol version is stated, or follows from the members.
fn find_version(
    body: &Object,
    payment: &Object,
    requirements: &Object,
    shape: Shape,
) -> Result<ProtocolVersion, Refused> {
    let stated = member(payment, "x402Version").or_else(|| member(body, "x402Version"));
    let number = match stated {
        Some(stated) => lenient::version(stated),
        None if member(payment, "accepted").is_some() => Some(2),
        None if member(requirements, "maxAmountRequired").is_some() => Some(1),
        None => None,
    };
    match (number, shape) {
        (Some(1), Shape::Current) => Ok(ProtocolVersion::V1),
        (Some(1), Shape::Legacy0) => Ok(ProtocolVersion::Legacy0),
        (Some(2), Shape::Current) => Ok(ProtocolVersion::V2),
        (Some(_) | None, _) => Err(Refused::undispatched(
            shape,
            reason::INVALID_X402_VERSION,
            "x402Version must be 1 or 2",
        )),
    }
}

/// H8 to H10: scheme and network are strings, the network is one of the version, and the kind is served.
fn find_kind<'r>(
    requirements: &'r Object,
    version: ProtocolVersion,
    shape: Shape,
    rules: &'r Rules<'_>,
) -> Result<Kind<'r>, Refused> {
    let refuse = |reason, message: &str| Refused::undispatched(shape, reason, message);

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
    Ok(Kind {
        scheme,
        network,
        spelled,
    })
}

/// Decodes the header of the oldest form: base64 or base64url of JSON, padded or not, or the JSON itself.
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
    match strict_json::parse(&decoded) {
        Ok(Value::Object(payment)) => Ok(payment),
        Ok(_) => Err("paymentHeader must hold a JSON object".to_owned()),
        Err(error) => Err(format!("paymentHeader does not hold acceptable JSON: {error}")),
    }
}
