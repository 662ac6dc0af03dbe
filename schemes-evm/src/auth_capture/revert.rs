//! From a contract's typed error to a reason (auth-capture-evm.md section 14), and to a text for people.

use alloy_sol_types::SolError;

use super::abi::{Escrow, OperatorErrors};
use super::reason::Reason;
use crate::permit2::abi::Permit2;
use crate::rpc::Failure;

struct Row {
    selector: [u8; 4],
    name: &'static str,
    /// `None`: the simulation failed, for this reason of the contract's own.
    reason: Option<Reason>,
}

const fn row<E: SolError>(name: &'static str, reason: Option<Reason>) -> Row {
    Row {
        selector: E::SELECTOR,
        name,
        reason,
    }
}

const ROWS: &[Row] = &[
    row::<Escrow::AfterPreApprovalExpiry>("AfterPreApprovalExpiry", Some(Reason::AuthorizationExpired)),
    row::<Escrow::InvalidExpiries>("InvalidExpiries", Some(Reason::DeadlineOrdering)),
    row::<Escrow::ExceedsMaxAmount>("ExceedsMaxAmount", Some(Reason::AmountMismatch)),
    row::<Escrow::ZeroAmount>("ZeroAmount", Some(Reason::AmountMismatch)),
    row::<Escrow::AmountOverflow>("AmountOverflow", Some(Reason::AmountOverflow)),
    row::<Escrow::PaymentAlreadyCollected>("PaymentAlreadyCollected", Some(Reason::PaymentAlreadyCollected)),
    row::<Escrow::TokenCollectionFailed>("TokenCollectionFailed", Some(Reason::TokenCollectionFailed)),
    row::<Escrow::InvalidCollectorForOperation>("InvalidCollectorForOperation", Some(Reason::Collector)),
    row::<Escrow::InvalidSender>("InvalidSender", Some(Reason::OperatorMismatch)),
    row::<Escrow::FeeBpsOverflow>("FeeBpsOverflow", Some(Reason::FeeBps)),
    row::<Escrow::InvalidFeeBpsRange>("InvalidFeeBpsRange", Some(Reason::FeeBpsRange)),
    row::<Escrow::FeeBpsOutOfRange>("FeeBpsOutOfRange", Some(Reason::FeeBpsOutOfRange)),
    row::<Escrow::FeeAmountOutOfRange>("FeeAmountOutOfRange", Some(Reason::FeeBpsOutOfRange)),
    row::<Escrow::ZeroFeeReceiver>("ZeroFeeReceiver", Some(Reason::ZeroFeeReceiver)),
    row::<Escrow::InvalidFeeReceiver>("InvalidFeeReceiver", Some(Reason::FeeReceiver)),
    row::<Escrow::AfterAuthorizationExpiry>("AfterAuthorizationExpiry", Some(Reason::CaptureDeadlineExpired)),
    row::<Escrow::InsufficientAuthorization>(
        "InsufficientAuthorization",
        Some(Reason::InsufficientAuthorization),
    ),
    row::<Escrow::ZeroAuthorization>("ZeroAuthorization", Some(Reason::ZeroAuthorization)),
    row::<Escrow::AfterRefundExpiry>("AfterRefundExpiry", Some(Reason::RefundDeadlineExpired)),
    row::<Escrow::RefundExceedsCapture>("RefundExceedsCapture", Some(Reason::RefundExceedsCapture)),
    row::<Escrow::BeforeAuthorizationExpiry>("BeforeAuthorizationExpiry", None),
    row::<Escrow::Reentrancy>("Reentrancy", None),
    row::<Escrow::OnlyAuthCaptureEscrow>("OnlyAuthCaptureEscrow", None),
    row::<Escrow::PaymentNotPreApproved>("PaymentNotPreApproved", None),
    row::<Escrow::PaymentAlreadyPreApproved>("PaymentAlreadyPreApproved", None),
    row::<Escrow::SafeERC20FailedOperation>("SafeERC20FailedOperation", None),
    row::<Permit2::InvalidNonce>("Permit2 InvalidNonce", None),
    row::<Permit2::SignatureExpired>("Permit2 SignatureExpired", None),
    row::<Permit2::InvalidSigner>("Permit2 InvalidSigner", None),
    row::<Permit2::InvalidSignatureLength>("Permit2 InvalidSignatureLength", None),
    row::<Permit2::InvalidContractSignature>("Permit2 InvalidContractSignature", None),
    row::<OperatorErrors::WrongOperator>("WrongOperator", Some(Reason::OperatorMismatch)),
    row::<OperatorErrors::SaltMismatch>("SaltMismatch", Some(Reason::SaltBindingMismatch)),
    row::<OperatorErrors::ZeroAuthorizer>("ZeroAuthorizer", Some(Reason::MissingReceiverAuthorizer)),
    // Permit2 has an error of the same name.
    row::<Permit2::InvalidSignature>("InvalidSignature", Some(Reason::AuthorizerSignature)),
    row::<OperatorErrors::UnexpectedPaymentState>(
        "UnexpectedPaymentState",
        Some(Reason::UnexpectedPaymentState),
    ),
    row::<OperatorErrors::InvalidPolicy>("InvalidPolicy", Some(Reason::Policy)),
    row::<OperatorErrors::NonZeroPolicy>("NonZeroPolicy", Some(Reason::Policy)),
    row::<OperatorErrors::AuthorizationDenied>("AuthorizationDenied", Some(Reason::PolicyDenied)),
    row::<OperatorErrors::ConditionNotMet>("operator ConditionNotMet", None),
    row::<OperatorErrors::InvalidFeeReceiver>("operator InvalidFeeReceiver", None),
    row::<OperatorErrors::FeeBoundsIncompatible>("operator FeeBoundsIncompatible", None),
    row::<OperatorErrors::FeeTooHigh>("operator FeeTooHigh", None),
];

/// The reason for a failed call's error data; `None` where it has none.
#[must_use]
pub fn reason(failure: &Failure) -> Option<Reason> {
    find(failure.selector()?)?.reason
}

/// The error's name where it is known, else the contract's or the node's own message.
#[must_use]
pub fn message(failure: &Failure) -> String {
    match failure.selector().and_then(find) {
        Some(row) => format!("the contract answered {}", row.name),
        None => failure.text(),
    }
}

/// The same for the message of a receipt's diagnosis, which ends with the selector; a contract's plain text counts
/// for nothing.
#[must_use]
pub fn reason_in(message: &str) -> Option<Reason> {
    let (_, quoted) = message.strip_suffix("…)")?.rsplit_once(" (error data 0x")?;
    let selector = hex::decode(quoted).ok()?;
    find(selector.try_into().ok()?)?.reason
}

/// Whether a collection by one of our signers can fail for this reason. `InvalidSignature()` is an error of contract operators
/// about their authorizer and of Permit2 about the payer; where one of our signers collects, it is Permit2's.
#[must_use]
pub fn can_be_of_own_signer(reason: Reason) -> bool {
    reason != Reason::AuthorizerSignature
}

fn find(selector: [u8; 4]) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.selector == selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(selector: u32) -> Failure {
        Failure {
            data: selector.to_be_bytes().to_vec(),
            message: "execution reverted".into(),
        }
    }

    #[test]
    fn typed_errors_have_the_specified_selectors_and_reasons() {
        use Reason::*;
        for (selector, expected) in [
            (0xc46c_f60f, AuthorizationExpired),
            (0x88ef_0760, DeadlineOrdering),
            (0x092a_f19e, AmountMismatch),
            (0x1f2a_2005, AmountMismatch),
            (0x6c04_42a2, AmountOverflow),
            (0xad7c_145a, PaymentAlreadyCollected),
            (0x3c73_c4a0, TokenCollectionFailed),
            (0x5313_287d, Collector),
            (0xe113_0dba, OperatorMismatch),
            (0xbf47_e3f7, FeeBps),
            (0x0950_d5d0, FeeBpsRange),
            (0x0b34_5f0c, FeeBpsOutOfRange),
            (0x7c2d_cc22, FeeBpsOutOfRange),
            (0xb680_2b7f, ZeroFeeReceiver),
            (0x4caf_6a34, FeeReceiver),
            (0x36f2_d211, CaptureDeadlineExpired),
            (0x604b_0947, InsufficientAuthorization),
            (0x93bb_7a12, ZeroAuthorization),
            (0x9427_1bde, RefundDeadlineExpired),
            (0x6295_d604, RefundExceedsCapture),
            (0x2b3b_1add, OperatorMismatch),
            (0xc255_e938, SaltBindingMismatch),
            (0xf911_e398, MissingReceiverAuthorizer),
            (0x8baa_579f, AuthorizerSignature),
            (0xa956_6c28, UnexpectedPaymentState),
            (0xd06b_96b1, Policy),
            (0x34ae_42ee, Policy),
            (0x1e9d_d5b8, PolicyDenied),
        ] {
            assert_eq!(reason(&failure(selector)), Some(expected), "{selector:#010x}");
        }
        for (selector, named) in [
            (0xaa56_74ad, "BeforeAuthorizationExpiry"),
            (0xab14_3c06, "Reentrancy"),
            (0xbde0_34f9, "OnlyAuthCaptureEscrow"),
            (0xa833_4d15, "PaymentNotPreApproved"),
            (0x19af_2135, "PaymentAlreadyPreApproved"),
            (0x5274_afe7, "SafeERC20FailedOperation"),
            (0x7566_88fe, "InvalidNonce"),
            (0xcd21_db4f, "SignatureExpired"),
            (0x815e_1d64, "InvalidSigner"),
            (0x7419_26a1, "ConditionNotMet"),
            (0xa465_d66c, "FeeBoundsIncompatible"),
            (0xcd4e_6167, "FeeTooHigh"),
        ] {
            assert_eq!(reason(&failure(selector)), None, "{named}");
            assert!(message(&failure(selector)).contains(named), "{selector:#010x}");
        }
        assert_eq!(reason(&failure(0xdead_beef)), None);
        assert_eq!(
            reason_in("execution reverted (error data 0xad7c145a…)"),
            Some(PaymentAlreadyCollected)
        );
        assert_eq!(reason_in("0xad7c145a"), None, "a contract's own error");
    }
}
