//! The two endpoints that take payments.

use sdk_plugin::Purpose;

use super::concurrency::Endpoint;
use super::settings::Scope;

/// The two endpoints that take payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaymentEndpoint {
    Verify,
    Settle,
}

impl PaymentEndpoint {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Verify => "/verify",
            Self::Settle => "/settle",
        }
    }

    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::Verify => Purpose::Verify,
            Self::Settle => Purpose::Settle,
        }
    }

    pub(super) fn scope(self) -> Scope {
        match self {
            Self::Verify => Scope::Verify,
            Self::Settle => Scope::Settle,
        }
    }

    pub(super) fn limit(self) -> Endpoint {
        match self {
            Self::Verify => Endpoint::Verify,
            Self::Settle => Endpoint::Settle,
        }
    }
}
