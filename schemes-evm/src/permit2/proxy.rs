//! The two proxies, and what is called differently between their schemes.

use alloy_primitives::Address;
use alloy_sol_types::SolCall;
use serde::{Deserialize, Serialize};

use super::abi::{EXACT_PROXY, ExactProxy, UPTO_PROXY, UptoProxy};
use super::reason;

/// The contract that a payer names as spender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proxy {
    /// It pays the permitted amount; any account may call it.
    Exact,
    /// It pays any amount up to the permitted one; only the facilitator of the witness may call it.
    Upto,
}

/// Reasons that differ between the schemes.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) scheme: &'static str,
    pub(crate) network_mismatch: &'static str,
    /// The transaction failed for a reason without a name of its own.
    pub(crate) transaction_failed: &'static str,
    /// It succeeded without the exact transfer.
    pub(crate) event_mismatch: &'static str,
}

impl Proxy {
    /// The same on every chain.
    #[must_use]
    pub fn address(self) -> Address {
        match self {
            Self::Exact => EXACT_PROXY,
            Self::Upto => UPTO_PROXY,
        }
    }

    /// Selectors of `settle` and `settleWithPermit`.
    #[must_use]
    pub fn selectors(self) -> [[u8; 4]; 2] {
        match self {
            Self::Exact => [
                ExactProxy::settleCall::SELECTOR,
                ExactProxy::settleWithPermitCall::SELECTOR,
            ],
            Self::Upto => [
                UptoProxy::settleCall::SELECTOR,
                UptoProxy::settleWithPermitCall::SELECTOR,
            ],
        }
    }

    /// The name of the scheme that it serves.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Upto => "upto",
        }
    }

    pub(crate) fn names(self) -> &'static Names {
        match self {
            Self::Exact => &Names {
                scheme: reason::UNSUPPORTED_PAYLOAD,
                network_mismatch: reason::EXACT_NETWORK_MISMATCH,
                transaction_failed: reason::EXACT_TRANSACTION_FAILED,
                event_mismatch: reason::EXACT_EVENT_MISMATCH,
            },
            Self::Upto => &Names {
                scheme: reason::UPTO_SCHEME,
                network_mismatch: reason::UPTO_NETWORK_MISMATCH,
                transaction_failed: reason::UPTO_TRANSACTION_FAILED,
                event_mismatch: reason::UPTO_TRANSACTION_FAILED,
            },
        }
    }
}
