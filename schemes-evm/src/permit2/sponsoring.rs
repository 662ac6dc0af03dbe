//! The extension `eip2612GasSponsoring` (exact-evm.md section 9): a payer without native currency signs a token's own permit
//! (EIP-2612), and the proxy uses it to give Permit2 the allowance in the payment's transaction.
//!
//! The token checks that signature, and the proxy continues where it is not valid: then the allowance that exists decides, as
//! the simulation shows.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::Value;
use serde_json::{Map, json};

use super::permit::Permit;
use super::reason;
use crate::abi::PERMIT2;
use crate::{signature, step, text};

/// The extension's key, in `/supported` and in payloads.
pub const EXTENSION: &str = "eip2612GasSponsoring";
/// Its members, all of which must be there.
const MEMBERS: [&str; 8] = [
    "from",
    "asset",
    "spender",
    "amount",
    "nonce",
    "deadline",
    "signature",
    "version",
];

/// A token's permit for Permit2, well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sponsoring {
    from: Address,
    asset: Address,
    spender: Address,
    /// Atomic units.
    pub(crate) amount: U256,
    nonce: U256,
    /// Seconds since the epoch.
    pub(crate) deadline: U256,
    pub(crate) v: u8,
    pub(crate) r: B256,
    pub(crate) s: B256,
}

/// A refusal's reason, and what is wrong.
pub(crate) type Objection = (&'static str, &'static str);

impl Sponsoring {
    /// Reads the extension of a payload. `None`: it is absent, and so is one with any member missing or empty.
    pub(crate) fn read(extensions: &Map<String, Value>) -> Option<Result<Self, Objection>> {
        let info = info(extensions, EXTENSION, &MEMBERS)?;
        Some(Self::parse(info).ok_or((
            reason::SPONSORING_FORMAT,
            "extensions.eip2612GasSponsoring.info must have hex addresses, decimal strings, a signature of 65 bytes, and a \
             version",
        )))
    }

    /// Check 1.
    fn parse(info: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| info.get(name).and_then(Value::as_str);
        let number = |name: &str| text(name).and_then(decimal);
        let address = |name: &str| text(name).and_then(text::address);
        let (v, r, s) = signature::split(&text::bytes(text("signature")?, 65)?)?;
        is_version(text("version")?).then_some(())?;
        Some(Self {
            from: address("from")?,
            asset: address("asset")?,
            spender: address("spender")?,
            amount: number("amount")?,
            nonce: number("nonce")?,
            deadline: number("deadline")?,
            v,
            r,
            s,
        })
    }

    /// Checks 2 to 6, the first that fails. `now_s`: seconds since the epoch.
    pub(crate) fn refused(&self, permit: &Permit, now_s: u64) -> Option<Objection> {
        let first = [
            (
                self.from != permit.from,
                reason::SPONSORING_FROM,
                "the sponsored permit is of another account than the payer",
            ),
            (
                self.asset != permit.token,
                reason::SPONSORING_ASSET,
                "the sponsored permit is of another token than the payment",
            ),
            (
                self.spender != PERMIT2,
                reason::SPONSORING_SPENDER,
                "the spender of the sponsored permit is not Permit2",
            ),
            (
                step::is_over(self.deadline, now_s),
                reason::SPONSORING_DEADLINE,
                "the sponsored permit has expired, or expires within 6 seconds",
            ),
            (
                self.amount != permit.amount,
                reason::SPONSORED_AMOUNT,
                "the amount of the sponsored permit is not permitted.amount",
            ),
        ]
        .into_iter()
        .find(|(fails, ..)| *fails)?;
        Some((first.1, first.2))
    }
}

/// The extension in one canonical form, for digests; what is malformed stays as it was sent.
pub(crate) fn canonical(extensions: &Map<String, Value>) -> Value {
    match Sponsoring::read(extensions) {
        None => Value::Null,
        Some(Err(_)) => json!({ "malformed": extensions.get(EXTENSION) }),
        Some(Ok(info)) => json!([
            text::lower(info.from),
            text::lower(info.asset),
            text::lower(info.spender),
            info.amount.to_string(),
            info.nonce.to_string(),
            info.deadline.to_string(),
            info.v,
            info.r,
            info.s,
        ]),
    }
}

/// `info` of an extension; `None`: it is absent, and so is one with any of these members missing or empty.
pub(super) fn info<'a>(
    extensions: &'a Map<String, Value>,
    key: &str,
    members: &[&str],
) -> Option<&'a Map<String, Value>> {
    let info = extensions.get(key)?.get("info")?.as_object()?;
    let is_missing = |name: &&str| match info.get(*name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    (!members.iter().any(is_missing)).then_some(info)
}

/// Decimal digits only.
pub(super) fn decimal(text: &str) -> Option<U256> {
    let is_plain = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    is_plain.then(|| U256::from_str_radix(text, 10).ok()).flatten()
}

/// Numbers with points between them.
pub(super) fn is_version(text: &str) -> bool {
    text.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit()))
}
