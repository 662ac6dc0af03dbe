//! Maps the message of a revert to a reason (exact-evm.md section 8, the column of EIP-3009).

use super::reason;
use crate::revert::{self, Row};

const ROWS: &[Row] = &[
    Row {
        errors: &["AuthorizationExpired()"],
        texts: &["authorization is expired", "authorizationexpired"],
        reason: reason::VALID_BEFORE,
    },
    Row {
        errors: &["AuthorizationNotYetValid()"],
        texts: &["authorization is not yet valid", "authorizationnotyetvalid"],
        reason: reason::VALID_AFTER,
    },
    Row {
        errors: &["AuthorizationAlreadyUsed()", "AuthorizationUsedOrCanceled()"],
        texts: &[
            "authorization is used or canceled",
            "authorizationalreadyused",
            "authorizationusedorcanceled",
        ],
        reason: reason::NONCE_USED,
    },
    Row {
        errors: &["ERC20InsufficientBalance(address,uint256,uint256)"],
        texts: &["transfer amount exceeds balance", "erc20insufficientbalance"],
        reason: reason::INSUFFICIENT_BALANCE,
    },
    Row {
        errors: &["SignerMismatch()", "InvalidSignatureV()", "InvalidSignatureS()"],
        texts: &[
            "fiattokenv2: invalid signature",
            "ecrecover: invalid signature",
            "signermismatch",
            "invalidsignaturev",
            "invalidsignatures",
        ],
        reason: reason::SIGNATURE,
    },
];

/// The reason for a revert's message. The selector of a custom error in it decides; without one, its text.
#[must_use]
pub(super) fn reason_for(message: &str) -> &'static str {
    match revert::find(ROWS, message) {
        Some(reason) => reason,
        None if revert::is_short_of_balance(message) => reason::INSUFFICIENT_BALANCE,
        None => reason::TRANSACTION_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    #[test]
    fn reverts_map_as_specified() {
        for (message, expected) in [
            ("FiatTokenV2: authorization is expired", reason::VALID_BEFORE),
            ("AuthorizationExpired()", reason::VALID_BEFORE),
            (
                "execution reverted: FiatTokenV2: authorization is not yet valid",
                reason::VALID_AFTER,
            ),
            ("AuthorizationNotYetValid", reason::VALID_AFTER),
            (
                "FiatTokenV2: authorization is used or canceled",
                reason::NONCE_USED,
            ),
            ("AuthorizationAlreadyUsed", reason::NONCE_USED),
            ("AuthorizationUsedOrCanceled()", reason::NONCE_USED),
            (
                "ERC20: transfer amount exceeds balance",
                reason::INSUFFICIENT_BALANCE,
            ),
            (
                "ERC20InsufficientBalance(0x00, 1, 2)",
                reason::INSUFFICIENT_BALANCE,
            ),
            (
                "execution reverted (error data 0xe450d38c…)",
                reason::INSUFFICIENT_BALANCE,
            ),
            (
                "Token: Insufficient funds in balance",
                reason::INSUFFICIENT_BALANCE,
            ),
            ("FiatTokenV2: invalid signature", reason::SIGNATURE),
            ("ECRecover: invalid signature length", reason::SIGNATURE),
            ("ECRecover: invalid signature 's' value", reason::SIGNATURE),
            ("ECRecover: invalid signature 'v' value", reason::SIGNATURE),
            ("ECRecover: invalid signature", reason::SIGNATURE),
            ("SignerMismatch", reason::SIGNATURE),
            ("InvalidSignatureV()", reason::SIGNATURE),
            ("InvalidSignatureS()", reason::SIGNATURE),
            (
                "Blacklistable: account is blacklisted",
                reason::TRANSACTION_FAILED,
            ),
            (
                "FiatTokenV2_2: Account is blacklisted",
                reason::TRANSACTION_FAILED,
            ),
            ("Pausable: paused", reason::TRANSACTION_FAILED),
            ("something new", reason::TRANSACTION_FAILED),
            ("", reason::TRANSACTION_FAILED),
        ] {
            assert_eq!(reason_for(message), expected, "{message:?}");
        }
    }

    #[test]
    fn a_selector_wins_over_words() {
        let message = "Pausable: paused, ERC20: transfer amount exceeds balance";
        assert_eq!(reason_for(message), reason::INSUFFICIENT_BALANCE);
        let expired = keccak256("AuthorizationExpired()");
        let with_selector = format!("{message} (error data 0x{}…)", hex::encode(&expired[..4]));
        assert_eq!(reason_for(&with_selector), reason::VALID_BEFORE);
    }
}
