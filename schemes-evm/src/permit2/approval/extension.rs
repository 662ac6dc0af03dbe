//! What the payer sent: the extension's members and the signed transaction in it, hostile in every byte.

use alloy_primitives::{Address, U256, keccak256};
use alloy_sol_types::SolCall;
use sdk_plugin::Value;
use serde_json::{Map, json};

use crate::abi::AuthorizedToken::approveCall;
use crate::abi::{APPROVE_SELECTOR, PERMIT2};
use crate::client_signed::SignedByClient;
use crate::permit2::permit::Permit;
use crate::permit2::reason;
use crate::permit2::sponsoring::{Objection, decimal, info, is_version};
use crate::text;

/// The extension's key, in `/supported` and in payloads.
pub const EXTENSION: &str = "erc20ApprovalGasSponsoring";
/// Its members, all of which must be there.
const MEMBERS: [&str; 6] = [
    "from",
    "asset",
    "spender",
    "amount",
    "signedTransaction",
    "version",
];
/// The longest transaction that is read. A usual one has 180 bytes.
const MAX_BYTES: usize = 4_096;

/// The extension of a payload, well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approval {
    from: Address,
    asset: Address,
    spender: Address,
    /// As the payer signed it.
    pub(crate) bytes: Vec<u8>,
    /// `None`: it does not decode.
    pub(crate) signed: Option<SignedByClient>,
}

impl Approval {
    /// Reads the extension of a payload. `None`: it is absent, and so is one with any member missing or empty.
    pub(crate) fn read(extensions: &Map<String, Value>) -> Option<Result<Self, Objection>> {
        let info = info(extensions, EXTENSION, &MEMBERS)?;
        Some(Self::parse(info).ok_or((
            reason::APPROVAL_FORMAT,
            "extensions.erc20ApprovalGasSponsoring.info must have hex addresses, a decimal string, a transaction of at most \
             4096 bytes as hex, and a version",
        )))
    }

    /// Check 1. The amount that counts is that of the transaction.
    fn parse(info: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| info.get(name).and_then(Value::as_str);
        let address = |name: &str| text(name).and_then(text::address);
        decimal(text("amount")?)?;
        is_version(text("version")?).then_some(())?;
        let bytes = text::bytes(text("signedTransaction")?, MAX_BYTES)?;
        Some(Self {
            from: address("from")?,
            asset: address("asset")?,
            spender: address("spender")?,
            signed: SignedByClient::read(&bytes),
            bytes,
        })
    }

    /// Checks 2 to 7, the first that fails.
    pub(crate) fn refused(&self, permit: &Permit) -> Option<Objection> {
        let members = [
            (
                self.from != permit.from,
                reason::APPROVAL_FROM,
                "the approval is of another account than the payer",
            ),
            (
                self.asset != permit.token,
                reason::APPROVAL_ASSET,
                "the approval is of another token than the payment",
            ),
            (
                self.spender != PERMIT2,
                reason::APPROVAL_SPENDER,
                "the spender of the approval is not Permit2",
            ),
        ];
        if let Some((_, reason, message)) = members.into_iter().find(|(fails, ..)| *fails) {
            return Some((reason, message));
        }
        let Some(signed) = &self.signed else {
            return Some((
                reason::APPROVAL_PARSE,
                "signedTransaction is not a signed transaction of a known type",
            ));
        };
        if signed.to != Some(permit.token) {
            return Some((reason::APPROVAL_TARGET, "the transaction does not call the token"));
        }
        if !signed.input.starts_with(APPROVE_SELECTOR.as_slice()) {
            return Some((reason::APPROVAL_SELECTOR, "the transaction does not call approve"));
        }
        let Ok(call) = approveCall::abi_decode_validate(&signed.input) else {
            return Some((
                reason::APPROVAL_CALLDATA,
                "the arguments of approve can't be decoded",
            ));
        };
        if call.spender != PERMIT2 {
            return Some((
                reason::APPROVAL_WRONG_SPENDER,
                "the transaction does not approve Permit2",
            ));
        }
        match signed.signer() {
            None => Some((
                reason::APPROVAL_SIGNATURE,
                "the transaction's signature is not valid",
            )),
            Some(signer) if signer != permit.from => Some((
                reason::APPROVAL_SIGNER,
                "the transaction is signed by another account than the payer",
            )),
            Some(_) => None,
        }
    }

    /// What the transaction approves, in atomic units, once [`Self::refused`] has found nothing.
    pub(crate) fn amount(&self) -> Option<U256> {
        let signed = self.signed.as_ref()?;
        let call = approveCall::abi_decode_validate(&signed.input).ok()?;
        Some(call.value)
    }
}

/// The extension in one canonical form, for digests; `None`: it is absent. What is malformed stays as it was sent.
pub(crate) fn canonical(extensions: &Map<String, Value>) -> Option<Value> {
    Some(match Approval::read(extensions)? {
        Err(_) => json!({ "malformed": extensions.get(EXTENSION) }),
        Ok(info) => json!([
            text::lower(info.from),
            text::lower(info.asset),
            text::lower(info.spender),
            keccak256(&info.bytes),
        ]),
    })
}
