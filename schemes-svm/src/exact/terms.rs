//! The terms of a payment, in the chain's own types, and how a check refuses.

use std::collections::BTreeSet;

use sdk_plugin::request::ProtocolVersion;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, PaymentRequest, Value};
use solana_address::Address;

use super::reason;
use crate::programs::is_token;
use crate::wire::Message;
use crate::{text, token};

/// Longest memo that a seller may require, bytes of UTF-8.
const MAX_MEMO_BYTES: usize = 256;

/// A check's no.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) reason: String,
    pub(super) message: String,
    /// Set once the transfer's authority is known.
    pub(super) payer: Option<Address>,
    /// The transaction is no plain transfer: a smart wallet's may still be good.
    pub(super) is_layout: bool,
}

impl Rejection {
    pub(super) fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
            payer: None,
            is_layout: false,
        }
    }

    pub(super) fn too_many_signatures(required: u8, limit: u8) -> Self {
        let message = format!("the transaction needs {required} signatures, {limit} are allowed");
        Self::new(reason::EXCESSIVE_SIGNERS, message)
    }

    /// The reason is about the order or kind of instructions.
    pub(super) fn layout(reason: &str, message: impl Into<String>) -> Self {
        Self {
            is_layout: true,
            ..Self::new(reason, message)
        }
    }

    pub(super) fn by(self, payer: Address) -> Self {
        Self {
            payer: Some(payer),
            ..self
        }
    }

    /// As in the reply; protocol v1 has its own names for some reasons.
    pub(super) fn refusal(self, version: ProtocolVersion) -> Refusal {
        let payer = self.payer.map(|payer| payer.to_string()).unwrap_or_default();
        let reason = if version.is_v1() {
            reason::in_v1(&self.reason).to_owned()
        } else {
            self.reason
        };
        Refusal::new(reason, payer).with_message(self.message)
    }
}

/// The seller's terms. A member that is malformed matches nothing.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) version: ProtocolVersion,
    pub(super) asset: Option<Address>,
    pub(super) pay_to: Option<Address>,
    /// Atomic units; `None`: more than any token account can hold.
    pub(super) amount: Option<u64>,
    /// What the one memo must contain.
    pub(super) memo: Option<Memo>,
    pub(super) fee_payer: Address,
    /// All of our fee payers, active and retained.
    pub(super) ours: BTreeSet<Address>,
}

/// A memo that the seller requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Memo {
    Text(String),
    /// Not a text of at most 256 bytes: no memo can equal it.
    Impossible,
}

impl Terms {
    pub(super) fn read(cx: &Cx, request: &PaymentRequest, fee_payer: Address) -> Self {
        let terms = &request.requirements;
        let memo = match terms.extra.get("memo") {
            None | Some(Value::Null) => None,
            // The official client takes an empty text for none and writes a random memo.
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) if text.len() <= MAX_MEMO_BYTES => Some(Memo::Text(text.clone())),
            Some(_) => Some(Memo::Impossible),
        };
        Self {
            version: request.version,
            asset: text::address(&terms.asset),
            pay_to: text::address(&terms.pay_to),
            amount: u64::try_from(terms.amount.0).ok(),
            memo,
            fee_payer,
            ours: fee_payers(cx),
        }
    }

    /// The payee's token account of the token program that the message calls, where the terms name one.
    pub(super) fn destination(&self, message: &Message) -> Option<Address> {
        let programs = message.instructions.iter().filter_map(|one| message.program(one));
        let program = programs.into_iter().find(is_token)?;
        Some(token::associated_account(&self.pay_to?, &self.asset?, &program))
    }

    pub(super) fn is_v1(&self) -> bool {
        self.version.is_v1()
    }

    /// The memo rule: with `extra.memo`, exactly one memo with that text.
    pub(super) fn check_memos(&self, memos: &[&[u8]]) -> Result<(), Rejection> {
        let Some(wanted) = &self.memo else {
            return Ok(());
        };
        let [memo] = memos else {
            return Err(Rejection::new(
                reason::MEMO_COUNT,
                format!(
                    "the seller requires exactly one memo, the transaction has {}",
                    memos.len()
                ),
            ));
        };
        match wanted {
            Memo::Text(text) if *memo == text.as_bytes() => Ok(()),
            Memo::Text(_) => Err(Rejection::new(
                reason::MEMO_MISMATCH,
                "the memo is not the requirements' extra.memo",
            )),
            Memo::Impossible => Err(Rejection::new(
                reason::MEMO_MISMATCH,
                "the requirements' extra.memo is not a text of at most 256 bytes",
            )),
        }
    }
}

/// Fee payers that are or were offered on the call's network.
pub(super) fn fee_payers(cx: &Cx) -> BTreeSet<Address> {
    let network = cx.network();
    let lanes = network.lanes.iter().chain(&network.retained);
    lanes.filter_map(|lane| text::address(&lane.signer)).collect()
}
