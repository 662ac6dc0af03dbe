//! What a merchant's authorizer signs: the only consent of the merchant that anything checks, and we are what checks it.
//!
//! auth-capture-evm.md section 10. The domain's verifying contract is the payment's operator, also when that is an
//! ordinary account.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue};

use super::abi::{of_both, with_fee_amount, with_fee_bps};
use super::fees::Fee;

/// One operation on one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Charge {
        amount: U256,
        token_collector: Address,
        /// Hash of the payer's signature bytes as sent.
        collector_data_hash: B256,
        fee: Fee,
        fee_receiver: Address,
    },
    Capture {
        amount: U256,
        fee: Fee,
        fee_receiver: Address,
        expected: Balances,
    },
    Void,
    Refund {
        amount: U256,
        token_collector: Address,
        expected: Balances,
    },
}

/// What the escrow holds for a payment, in atomic units. No pair of these ever comes back, which makes a signature over
/// both good for one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balances {
    pub capturable: U256,
    pub refundable: U256,
}

impl Operation {
    /// The EIP-712 digest for a payment of `operator`.
    #[must_use]
    pub fn digest(&self, payment_info_hash: B256, chain_id: u64, operator: Address) -> B256 {
        let domain = Eip712Domain::new(
            Some("x402 Auth Capture Operator".into()),
            Some("1".into()),
            Some(U256::from(chain_id)),
            Some(operator),
            None,
        );
        match self.clone() {
            Self::Charge {
                amount,
                token_collector,
                collector_data_hash,
                fee,
                fee_receiver,
            } => match fee {
                Fee::Amount(fee_amount) => with_fee_amount::Charge {
                    paymentInfoHash: payment_info_hash,
                    amount,
                    tokenCollector: token_collector,
                    collectorDataHash: collector_data_hash,
                    feeAmount: fee_amount,
                    feeReceiver: fee_receiver,
                }
                .eip712_signing_hash(&domain),
                Fee::Bps(fee_bps) => with_fee_bps::Charge {
                    paymentInfoHash: payment_info_hash,
                    amount,
                    tokenCollector: token_collector,
                    collectorDataHash: collector_data_hash,
                    feeBps: fee_bps,
                    feeReceiver: fee_receiver,
                }
                .eip712_signing_hash(&domain),
            },
            Self::Capture {
                amount,
                fee,
                fee_receiver,
                expected,
            } => match fee {
                Fee::Amount(fee_amount) => with_fee_amount::Capture {
                    paymentInfoHash: payment_info_hash,
                    amount,
                    feeAmount: fee_amount,
                    feeReceiver: fee_receiver,
                    expectedCapturableAmount: expected.capturable,
                    expectedRefundableAmount: expected.refundable,
                }
                .eip712_signing_hash(&domain),
                Fee::Bps(fee_bps) => with_fee_bps::Capture {
                    paymentInfoHash: payment_info_hash,
                    amount,
                    feeBps: fee_bps,
                    feeReceiver: fee_receiver,
                    expectedCapturableAmount: expected.capturable,
                    expectedRefundableAmount: expected.refundable,
                }
                .eip712_signing_hash(&domain),
            },
            Self::Void => of_both::Void {
                paymentInfoHash: payment_info_hash,
            }
            .eip712_signing_hash(&domain),
            Self::Refund {
                amount,
                token_collector,
                expected,
            } => of_both::Refund {
                paymentInfoHash: payment_info_hash,
                amount,
                tokenCollector: token_collector,
                expectedCapturableAmount: expected.capturable,
                expectedRefundableAmount: expected.refundable,
            }
            .eip712_signing_hash(&domain),
        }
    }

    /// Names an operation that we authorize ourselves for an authenticated tenant: the same request again has the same
    /// name. Never a digest that is signed.
    #[must_use]
    pub fn delegated_key(&self, payment_info_hash: B256) -> B256 {
        let (kind, amount, expected) = match self {
            Self::Charge { amount, .. } => ("charge", *amount, None),
            Self::Capture { amount, expected, .. } => ("capture", *amount, Some(*expected)),
            Self::Void => ("void", U256::ZERO, None),
            Self::Refund { amount, expected, .. } => ("refund", *amount, Some(*expected)),
        };
        let expected = expected.unwrap_or(Balances {
            capturable: U256::ZERO,
            refundable: U256::ZERO,
        });
        keccak256(
            (
                "switchyard delegated".to_owned(),
                payment_info_hash,
                kind.to_owned(),
                amount,
                expected.capturable,
                expected.refundable,
            )
                .abi_encode(),
        )
    }
}
