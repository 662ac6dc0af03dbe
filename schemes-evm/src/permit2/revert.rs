//! Maps the message of a revert to a reason (exact-evm.md section 8, the column of Permit2).

use super::{Proxy, reason};
use crate::revert::{self, Row};

const ROWS: &[Row] = &[
    Row {
        errors: &["ERC20InsufficientBalance(address,uint256,uint256)"],
        texts: &["transfer amount exceeds balance", "erc20insufficientbalance"],
        reason: reason::INSUFFICIENT_BALANCE,
    },
    Row {
        errors: &["Permit2612AmountMismatch()"],
        texts: &["permit2612amountmismatch"],
        reason: reason::SPONSORED_AMOUNT,
    },
    Row {
        errors: &["InvalidAmount()", "InvalidAmount(uint256)"],
        texts: &["invalidamount"],
        reason: reason::INVALID_AMOUNT,
    },
    Row {
        errors: &["InvalidDestination()"],
        texts: &["invaliddestination"],
        reason: reason::INVALID_DESTINATION,
    },
    Row {
        errors: &["InvalidOwner()"],
        texts: &["invalidowner"],
        reason: reason::INVALID_OWNER,
    },
    Row {
        errors: &["PaymentTooEarly()"],
        texts: &["paymenttooearly"],
        reason: reason::PAYMENT_TOO_EARLY,
    },
    Row {
        errors: &[
            "InvalidSignature()",
            "SignatureExpired(uint256)",
            "InvalidSigner()",
            "InvalidSignatureLength()",
            "InvalidContractSignature()",
        ],
        texts: &[
            "invalidsignature",
            "signatureexpired",
            "invalidsigner",
            "invalidcontractsignature",
        ],
        reason: reason::SIGNATURE,
    },
    Row {
        errors: &["InvalidNonce()"],
        texts: &["invalidnonce"],
        reason: reason::INVALID_NONCE,
    },
    Row {
        errors: &["AmountExceedsPermitted()"],
        texts: &["amountexceedspermitted"],
        reason: reason::UPTO_EXCEEDS_PERMITTED,
    },
    Row {
        errors: &["UnauthorizedFacilitator()"],
        texts: &["unauthorizedfacilitator"],
        reason: reason::UPTO_UNAUTHORIZED_FACILITATOR,
    },
];

/// The reason for a revert's message. The selector of a custom error in it decides; without one, its text.
#[must_use]
pub(super) fn reason_for(message: &str, proxy: Proxy) -> &'static str {
    match revert::find(ROWS, message) {
        Some(reason) => reason,
        None if revert::is_short_of_balance(message) => reason::INSUFFICIENT_BALANCE,
        None => proxy.names().transaction_failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverts_map_as_specified() {
        for (selector, name, expected) in [
            ("050cda49", "Permit2612AmountMismatch()", reason::SPONSORED_AMOUNT),
            ("2c5211c6", "InvalidAmount()", reason::INVALID_AMOUNT),
            ("3728b83d", "InvalidAmount(5)", reason::INVALID_AMOUNT),
            ("ac6b05f5", "InvalidDestination()", reason::INVALID_DESTINATION),
            ("49e27cff", "InvalidOwner()", reason::INVALID_OWNER),
            ("a65539fa", "PaymentTooEarly()", reason::PAYMENT_TOO_EARLY),
            ("8baa579f", "InvalidSignature()", reason::SIGNATURE),
            ("cd21db4f", "SignatureExpired(7)", reason::SIGNATURE),
            ("815e1d64", "InvalidSigner()", reason::SIGNATURE),
            ("4be6321b", "InvalidSignatureLength()", reason::SIGNATURE),
            ("b0669cbc", "InvalidContractSignature()", reason::SIGNATURE),
            ("756688fe", "InvalidNonce()", reason::INVALID_NONCE),
            (
                "fe64b4c7",
                "AmountExceedsPermitted()",
                reason::UPTO_EXCEEDS_PERMITTED,
            ),
            (
                "0f6fae87",
                "UnauthorizedFacilitator()",
                reason::UPTO_UNAUTHORIZED_FACILITATOR,
            ),
            (
                "e450d38c",
                "ERC20: transfer amount exceeds balance",
                reason::INSUFFICIENT_BALANCE,
            ),
        ] {
            for message in [
                format!("execution reverted (error data 0x{selector}…)"),
                format!("execution reverted: {name}"),
            ] {
                assert_eq!(reason_for(&message, Proxy::Exact), expected, "{message}");
            }
        }
        for message in [
            "TRANSFER_FROM_FAILED",
            "Blacklistable: account is blacklisted",
            "Pausable: paused",
            "",
        ] {
            assert_eq!(
                reason_for(message, Proxy::Exact),
                "invalid_exact_evm_transaction_failed"
            );
            assert_eq!(
                reason_for(message, Proxy::Upto),
                "invalid_upto_evm_transaction_failed"
            );
        }
    }

    #[test]
    fn a_selector_wins_over_words() {
        let message = "InvalidAmount() (error data 0x756688fe…)";
        assert_eq!(reason_for(message, Proxy::Exact), reason::INVALID_NONCE);
    }
}
