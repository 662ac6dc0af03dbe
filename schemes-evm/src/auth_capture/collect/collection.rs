//! What the escrow must do for a payment: the checks of amounts, fee, salt and nonce after the signature, and the call
//! itself. Steps 28 to 31 of auth-capture-evm.md section 7, 11 and 12 of section 13.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;

use super::payment::Payment;
use crate::auth_capture::abi::{Escrow, EscrowV10, EscrowV11, PaymentInfo};
use crate::auth_capture::authorizer::Operation;
use crate::auth_capture::deployment::{FeeForm, Method};
use crate::auth_capture::fees::{Fee, FeeFault};
use crate::auth_capture::payment_info::bound_salt;
use crate::auth_capture::reason::{Dialect, Reason, Rejection};
use crate::auth_capture::state::State;
use crate::auth_capture::terms::{Flow, OperatorType, Terms};
use crate::text;

/// What the escrow must do.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    pub(super) info: PaymentInfo,
    pub(super) hash: B256,
    /// Present when the salt that the buyer signed commits to the authorizer.
    pub(super) salt_nonce: Option<U256>,
    /// Atomic units that are collected.
    pub(super) amount: U256,
    pub(super) collector: Address,
    /// `None`: a hold.
    pub(super) charge: Option<Charge>,
    /// Whether the seller has named the amount to charge; otherwise the highest possible amount is simulated.
    pub(super) completed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::auth_capture) struct Charge {
    pub(in crate::auth_capture) fee: Fee,
    pub(in crate::auth_capture) fee_receiver: Address,
}

impl Payment {
    /// Steps 28 to 31: the amounts, the fee, the salt and the nonce.
    pub(super) fn collection(&self) -> Result<Collection, Rejection> {
        let (terms, signed) = (&self.terms, &self.payload.authorization);
        let max_amount = U256::from(terms.max_amount);
        // 28
        let amount_fits = match (terms.dialect, terms.flow) {
            (Dialect::V1_1, Flow::Authorization) => terms.amount <= max_amount,
            (Dialect::V1_1, Flow::Escrow) | (Dialect::V1_0, _) => terms.amount == max_amount,
        };
        if signed.amount != max_amount || max_amount.is_zero() || !amount_fits {
            return Err(Rejection::new(
                Reason::AmountMismatch,
                "the signed amount, accepted.amount and the requirements' amount don't fit together",
            ));
        }
        // 29
        let (amount, charge, completed) = match (terms.dialect, terms.flow) {
            (_, Flow::Escrow) => (max_amount, None, true),
            (Dialect::V1_0, Flow::Authorization) => (max_amount, Some(self.least_charge(max_amount)?), true),
            (Dialect::V1_1, Flow::Authorization) if self.payload.completion.is_absent() => {
                (max_amount, Some(self.least_charge(max_amount)?), false)
            }
            (Dialect::V1_1, Flow::Authorization) => {
                let (amount, charge) = self.completed_charge(max_amount)?;
                (amount, Some(charge), true)
            }
        };
        if terms.dialect == Dialect::V1_0 {
            self.expires_before_capture()?;
        }
        // 30, 31
        let (info, salt_nonce) = self.matching_info()?;
        Ok(Collection {
            hash: info.hash(terms.escrow_id()),
            info,
            salt_nonce,
            amount,
            collector: signed.collector,
            charge,
            completed,
        })
    }

    fn least_charge(&self, amount: U256) -> Result<Charge, Rejection> {
        let fees = &self.terms.fees;
        let fee = fees
            .least(self.terms.deployment.fee_form, amount)
            .ok_or_else(|| Rejection::new(Reason::AmountMismatch, "the fee does not fit 256 bits"))?;
        Ok(Charge {
            fee,
            fee_receiver: fees.recipient,
        })
    }

    /// Step 29.
    fn completed_charge(&self, max_amount: U256) -> Result<(U256, Charge), Rejection> {
        let completion = &self.payload.completion;
        let amount = completion.amount.unwrap_or_default();
        if amount.is_zero() || amount > max_amount {
            return Err(Rejection::new(
                Reason::AmountMismatch,
                "payload.amount must be above zero and at most the signed amount",
            ));
        }
        let fee = match self.terms.deployment.fee_form {
            FeeForm::Bps => completion.fee_bps.map(Fee::Bps),
            FeeForm::Amount => completion.fee_amount.map(Fee::Amount),
        }
        .ok_or_else(|| {
            Rejection::new(
                Reason::PayloadFormat,
                match self.terms.deployment.fee_form {
                    FeeForm::Bps => "this escrow takes feeBps, a number of basis points",
                    FeeForm::Amount => "this escrow takes feeAmount, a decimal string of atomic units",
                },
            )
        })?;
        let fee_receiver = completion
            .fee_receiver
            .as_deref()
            .and_then(text::address)
            .ok_or_else(|| Rejection::new(Reason::FeeReceiver, "payload.feeReceiver must be an address"))?;
        if let Some(fault) = self.terms.fees.fault(fee, fee_receiver, amount) {
            return Err(match fault {
                FeeFault::Receiver => Rejection::new(
                    Reason::FeeReceiver,
                    "payload.feeReceiver is not extra.feeRecipient",
                ),
                FeeFault::OutOfRange => Rejection::new(
                    Reason::FeeBpsOutOfRange,
                    "the fee is outside of extra.minFeeBps and extra.maxFeeBps",
                ),
                FeeFault::ZeroReceiver => Rejection::new(Reason::ZeroFeeReceiver, "a fee needs a receiver"),
            });
        }
        Ok((amount, Charge { fee, fee_receiver }))
    }

    /// Steps 30 and 31. A bound payment without `saltNonce` got here by probing: the buyer signed the salt as it is, or
    /// the commitment over it, and the nonce shows which one.
    fn matching_info(&self) -> Result<(PaymentInfo, Option<U256>), Rejection> {
        let (terms, payload) = (&self.terms, &self.payload);
        let commit = |salt_nonce| bound_salt(terms.receiver_authorizer, Address::ZERO, salt_nonce);
        let plain = (payload.salt, payload.salt_nonce);
        let mut candidates = vec![plain];
        if terms.is_bound() {
            match payload.salt_nonce {
                Some(salt_nonce) if commit(salt_nonce) != payload.salt => {
                    return Err(Rejection::new(
                        Reason::SaltBindingMismatch,
                        "payload.salt does not commit to extra.receiverAuthorizer and payload.saltNonce",
                    ));
                }
                Some(_) => {}
                None => candidates.push((commit(payload.salt), Some(payload.salt))),
            }
        }
        // Beyond 48 bits no expiry passed the check against the capture deadline.
        let expiry = u64::try_from(payload.authorization.expiry).unwrap_or(u64::MAX);
        candidates
            .into_iter()
            .map(|(salt, salt_nonce)| {
                let info = terms.payment_info(payload.authorization.from, expiry, salt);
                (info, salt_nonce)
            })
            .find(|(info, _)| {
                U256::from_be_bytes(info.signature_nonce(terms.escrow_id()).0) == payload.authorization.nonce
            })
            .ok_or_else(|| {
                Rejection::new(
                    Reason::NonceMismatch,
                    "the signed nonce is not the hash of this payment",
                )
            })
    }

    /// Atomic units that leave the payer for a moment at least: the ERC-3009 collector takes the signed maximum and gives
    /// back what is not needed, Permit2 moves only what is.
    pub(super) fn needs(&self, collection: &Collection) -> U256 {
        match self.terms.method {
            Method::Eip3009 => U256::from(self.terms.max_amount),
            Method::Permit2 => collection.amount,
        }
    }
}

impl Collection {
    /// What a contract operator or one of our signers is called with: the same arguments either way.
    pub(super) fn calldata(&self, signature: &[u8]) -> Vec<u8> {
        let (info, amount, collector) = (self.info.clone(), self.amount, self.collector);
        let data = signature.to_vec().into();
        match self.charge {
            None => Escrow::authorizeCall {
                paymentInfo: info,
                amount,
                tokenCollector: collector,
                collectorData: data,
            }
            .abi_encode(),
            Some(Charge { fee, fee_receiver }) => match fee {
                Fee::Bps(fee_bps) => EscrowV10::chargeCall {
                    paymentInfo: info,
                    amount,
                    tokenCollector: collector,
                    collectorData: data,
                    feeBps: fee_bps,
                    feeReceiver: fee_receiver,
                }
                .abi_encode(),
                Fee::Amount(fee_amount) => EscrowV11::chargeCall {
                    paymentInfo: info,
                    amount,
                    tokenCollector: collector,
                    collectorData: data,
                    feeAmount: fee_amount,
                    feeReceiver: fee_receiver,
                }
                .abi_encode(),
            },
        }
    }

    /// What the seller's authorizer signs for a charge; `None` for a hold, which needs no consent.
    pub(super) fn operation(&self, signature: &[u8]) -> Option<Operation> {
        self.charge.map(|Charge { fee, fee_receiver }| Operation::Charge {
            amount: self.amount,
            token_collector: self.collector,
            collector_data_hash: alloy_primitives::keccak256(signature),
            fee,
            fee_receiver,
        })
    }
}

/// The payment's state right after a collection.
pub(super) fn state_after(charge: Option<Charge>, amount: U256) -> State {
    match charge {
        None => State::held(amount),
        Some(_) => State::charged(amount),
    }
}

/// Whom the collection is sent to.
pub(super) fn target(terms: &Terms) -> Address {
    match terms.operator_type {
        OperatorType::Delegated => terms.deployment.escrow,
        OperatorType::Custom => terms.operator,
    }
}
