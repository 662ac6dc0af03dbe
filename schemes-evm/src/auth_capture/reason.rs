//! Reason strings of both dialects (auth-capture-evm.md sections 7, 9, 13 and 14). Clients compare them byte for byte.

/// The version of the scheme that a payment uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Dialect {
    /// The seed documents: unprefixed names, `autoCapture`, no lifecycle calls.
    #[serde(rename = "1.0")]
    V1_0,
    #[serde(rename = "1.1")]
    V1_1,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident: $bare:literal $(, $old:literal)?;)*) => {
        /// Why a request is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason, for tests that want one case of each.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            const fn bare(self) -> &'static str {
                match self {
                    $(Self::$variant => $bare,)*
                }
            }

            /// The name in v1.1.
            #[must_use]
            pub const fn v1_1(self) -> &'static str {
                if matches!(self, Self::InvalidNetwork) {
                    return self.bare();
                }
                match self {
                    $(Self::$variant => concat!("invalid_auth_capture_evm_", $bare),)*
                }
            }

            /// The name in v1.0: one of its own, or that of v1.1 without the prefix.
            #[must_use]
            pub const fn v1_0(self) -> &'static str {
                match self {
                    $($(Self::$variant => $old,)?)*
                    other => other.bare(),
                }
            }
        }
    };
}

reasons! {
    InvalidNetwork: "invalid_network";
    PayloadFormat: "payload_format", "invalid_payload_format";
    PayloadType: "payload_type", "invalid_payload_format";
    VoidAuthorizerSignature: "void_authorizer_signature";
    VoidRemainderFullCapture: "void_remainder_full_capture";
    UnsupportedPaymentFlow: "unsupported_payment_flow";
    Scheme: "scheme", "unsupported_scheme";
    NetworkMismatch: "network_mismatch";
    Extra: "extra", "invalid_auth_capture_extra";
    MissingReceiverAuthorizer: "missing_receiver_authorizer";
    UnsupportedOperatorType: "unsupported_operator_type";
    Policy: "policy";
    /// Only a policy operator returns it, and none is served yet; its revert is mapped.
    PolicyDenied: "policy_denied";
    LifecycleNotRelayed: "lifecycle_not_relayed";
    OperatorTypeMismatch: "operator_type_mismatch";
    OperatorNotAdmitted: "operator_not_admitted", "invalid_capture_authorizer";
    OperatorMismatch: "operator_mismatch", "invalid_capture_authorizer";
    SaltBindingMismatch: "salt_binding_mismatch";
    AuthorizerSignature: "authorizer_signature";
    UnauthenticatedAuthorizerRequest: "unauthenticated_authorizer_request";
    /// An older build's name for the one above, where the operator configures it.
    UnauthenticatedLifecycleRequest: "unauthenticated_lifecycle_request";
    DelegatedAuthUnavailable: "delegated_auth_unavailable";
    UnexpectedPaymentState: "unexpected_payment_state";
    RefundFundingUnavailable: "refund_funding_unavailable";
    UnsupportedAssetTransferMethod: "unsupported_asset_transfer_method";
    PayloadMethodMismatch: "payload_method_mismatch";
    CaptureDeadlineExpired: "capture_deadline_expired";
    RefundDeadlineExpired: "refund_deadline_expired";
    DeadlineOrdering: "deadline_ordering", "invalid_deadline_ordering";
    AuthorizationExpired: "authorization_expired";
    AuthorizationNotYetValid: "authorization_not_yet_valid";
    TokenCollectorMismatch: "token_collector_mismatch";
    TokenMismatch: "token_mismatch";
    Signature: "signature", "invalid_auth_capture_signature";
    Erc6492FactoryNotAllowed: "erc6492_factory_not_allowed", "invalid_auth_capture_signature";
    AmountMismatch: "amount_mismatch";
    NonceMismatch: "nonce_mismatch";
    InsufficientBalance: "insufficient_balance";
    SimulationFailed: "simulation_failed";
    PaymentAlreadyCollected: "payment_already_collected";
    TokenCollectionFailed: "token_collection_failed";
    Collector: "collector", "invalid_collector";
    AmountOverflow: "amount_overflow";
    FeeBps: "fee_bps", "invalid_fee_bps";
    FeeBpsRange: "fee_bps_range", "invalid_fee_bps_range";
    FeeBpsOutOfRange: "fee_bps_out_of_range";
    ZeroFeeReceiver: "zero_fee_receiver";
    FeeReceiver: "fee_receiver", "invalid_fee_receiver";
    InsufficientAuthorization: "insufficient_authorization";
    ZeroAuthorization: "zero_authorization";
    RefundExceedsCapture: "refund_exceeds_capture";
    VerificationFailed: "verification_failed";
    TransactionReverted: "transaction_reverted";
}

impl Reason {
    #[must_use]
    pub const fn name(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::V1_0 => self.v1_0(),
            Dialect::V1_1 => self.v1_1(),
        }
    }
}

/// A refusal before its payer is known: a reason and a sentence that names what to send instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Reason,
    pub message: String,
    /// It rests on the payment's state, which an in-flight operation may change.
    pub of_state: bool,
}

impl Rejection {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            of_state: false,
        }
    }

    /// The same, where everything but the payment's state is in order.
    #[must_use]
    pub fn of_state(self) -> Self {
        Self {
            of_state: true,
            ..self
        }
    }

    /// For a payer, in the strings of a dialect.
    #[must_use]
    pub fn refusal(self, dialect: Dialect, payer: &str) -> sdk_plugin::scheme::Refusal {
        let refusal =
            sdk_plugin::scheme::Refusal::new(self.reason.name(dialect), payer).with_message(self.message);
        if self.of_state {
            refusal.of_state()
        } else {
            refusal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_specified_ones() {
        assert_eq!(
            Reason::PayloadFormat.v1_1(),
            "invalid_auth_capture_evm_payload_format"
        );
        assert_eq!(Reason::PayloadFormat.v1_0(), "invalid_payload_format");
        assert_eq!(Reason::InvalidNetwork.v1_1(), "invalid_network");
        assert_eq!(Reason::NonceMismatch.v1_0(), "nonce_mismatch");
        assert_eq!(Reason::ALL.len(), 53);
    }
}
