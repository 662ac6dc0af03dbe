//! Entries for fuzz targets (tests/fuzz) and benchmarks (tests/benches). Not part of the API.

use std::sync::LazyLock;

use base::service::Membership;
use sdk_plugin::{PaymentRequest, ProtocolVersion, Purpose};
use serde_json::Value;

use crate::endpoint::PaymentEndpoint;
use crate::names::NetworkNames;
use crate::normalise::{Caller, Refused, Rules, normalise};
use crate::{envelope, strict_json};

/// The value of a text that every parser reads in the same way.
#[must_use]
pub fn strict(bytes: &[u8]) -> Option<Value> {
    strict_json::parse(bytes).ok()
}

/// The request in a body of `/settle`, for a process that serves every kind; else the status and body of the refusal.
///
/// # Errors
/// The body is refused: the HTTP status, 400 to 599, as a number as on the wire, and the text of the response.
pub fn read_body(body: &[u8]) -> Result<PaymentRequest, (u16, String)> {
    normalise_settle(body, &|_, _, _| Membership::Served).map_err(|refused| {
        let reply = envelope::refused(PaymentEndpoint::Settle, &refused);
        (refused.status.as_u16(), reply.text)
    })
}

/// The request in a body of `/settle`, for a process that serves what `membership` says.
pub(crate) fn normalise_settle(
    body: &[u8],
    membership: &dyn Fn(ProtocolVersion, &str, &str) -> Membership,
) -> Result<PaymentRequest, Refused> {
    // A process makes them once.
    static NAMES: LazyLock<NetworkNames> = LazyLock::new(NetworkNames::default);
    let rules = Rules {
        names: &NAMES,
        legacy0: true,
        membership,
    };
    let caller = Caller {
        purpose: Purpose::Settle,
        tenant: None,
        idempotency_key: None,
        remaining_ms: 1_000,
    };
    normalise(body, &rules, caller)
}
