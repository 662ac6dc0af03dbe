//! One collection: the seller's terms and the buyer's payload together, and every check that needs no chain.
//!
//! The checks before the buyer's signature are [`Payment::read`] and [`Payment::refused_before_signature`], those behind
//! it are [`Payment::collection`], each in the order of auth-capture-evm.md sections 7 and 13.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::PaymentRequest;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::scheme::Refusal;

use super::Wanted;
use super::payload::{Payload, payer_as_sent};
use crate::auth_capture::abi::{Escrow, EscrowV10, EscrowV11, PaymentInfo};
use crate::auth_capture::authorizer::Operation;
use crate::auth_capture::config::Config;
use crate::auth_capture::deployment::{FeeForm, Method};
use crate::auth_capture::fees::{Fee, FeeFault};
use crate::auth_capture::payment_info::bound_salt;
use crate::auth_capture::reason::{Dialect, No, Reason};
use crate::auth_capture::state::State;
use crate::auth_capture::terms::{self, Flow, OperatorType, Terms};
use crate::text;

/// Seconds that an authorization and a capture deadline must still be away, so that a transaction sent now lands in time.
const TIME_MARGIN_S: u64 = 6;

/// Terms and payload, well formed. Nothing is said yet about whether they are good.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    /// As sent.
    pub(super) payer: String,
    pub(super) terms: Terms,
    pub(super) payload: Payload,
}

/// What is asked of the escrow.
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
    /// Whether the seller has said what to charge; otherwise the most that can be is tried.
    pub(super) completed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::auth_capture) struct Charge {
    pub(in crate::auth_capture) fee: Fee,
    pub(in crate::auth_capture) fee_receiver: Address,
}

impl Payment {
    /// Steps 1 to 13 of v1.1, 1 to 5 of v1.0.
    pub(super) fn read(request: &PaymentRequest, config: &Config) -> Result<Self, Refusal> {
        let dialect = terms::dialect(request, config);
        let payer = payer_as_sent(&request.payload);
        let read = || {
            let payload = Payload::read(&request.payload, dialect)?;
            let terms = Terms::read(request, dialect, config)?;
            Ok((payload, terms))
        };
        match read() {
            Ok((payload, terms)) => Ok(Self {
                payer,
                terms,
                payload,
            }),
            Err(no) => Err(No::refusal(no, dialect, &payer)),
        }
    }

    pub(super) fn refuse(&self, no: No) -> Refusal {
        no.refusal(self.terms.dialect, &self.payer)
    }

    /// Steps 14 to 25; in v1.0 those up to the signature. `now_s`: seconds since the epoch.
    pub(super) fn refused_before_signature(
        &self,
        request: &PaymentRequest,
        config: &Config,
        network: &NetworkView,
        wanted: Wanted,
        now_s: u64,
    ) -> Result<(), No> {
        match self.terms.dialect {
            Dialect::V1_1 => {
                Terms::no_policy(&request.requirements.extra)?;
                self.admitted(config, network)?;
                self.salt_nonce_fits(config, request)?;
                self.completion_fits(config, wanted)?;
                self.method_fits()?;
            }
            Dialect::V1_0 => {
                self.method_fits()?;
                self.admitted(config, network)?;
            }
        }
        self.in_time(config, now_s)?;
        self.collector_fits()
    }

    /// Step 15, and the operator's own list of assets.
    fn admitted(&self, config: &Config, network: &NetworkView) -> Result<(), No> {
        self.terms.admitted(config, network)?;
        if self.terms.operator_type == OperatorType::Custom
            && self.terms.flow == Flow::Authorization
            && !config.charges_through(self.terms.operator, &network.id)
        {
            return Err(No::new(
                Reason::OperatorTypeMismatch,
                "the contract that is extra.captureAuthorizer can hold payments, and has no charge of the escrow's form",
            ));
        }
        let asset = text::lower(self.terms.asset);
        let listed = network
            .assets
            .as_ref()
            .is_none_or(|assets| assets.iter().any(|listed| listed.eq_ignore_ascii_case(&asset)));
        if listed {
            return Ok(());
        }
        let id = &network.id;
        Err(No::new(
            Reason::Extra,
            format!(
                "asset {asset} is not allowed on {id}; the operator can add it to `assets` of network {id}"
            ),
        ))
    }

    /// Step 16.
    fn salt_nonce_fits(&self, config: &Config, request: &PaymentRequest) -> Result<(), No> {
        let refuse = |message| Err(No::new(Reason::PayloadFormat, message));
        match (self.terms.is_bound(), self.payload.salt_nonce) {
            (true, Some(_)) | (false, None) => Ok(()),
            (true, None) if config.probes_nonces_for(request.tenant.as_deref()) => Ok(()),
            (true, None) => refuse("extra.receiverAuthorizer needs payload.saltNonce"),
            (false, Some(_)) => refuse("payload.saltNonce needs extra.receiverAuthorizer"),
        }
    }

    /// Step 17: all of the completion or none, and only where something is charged.
    fn completion_fits(&self, config: &Config, wanted: Wanted) -> Result<(), No> {
        let refuse = |message| Err(No::new(Reason::PayloadFormat, message));
        let completion = &self.payload.completion;
        if completion.is_absent() {
            return match (self.terms.flow, wanted) {
                (Flow::Authorization, Wanted::Plan) => refuse(
                    "to settle a charge, payload needs amount, feeAmount (or feeBps), feeReceiver and authorizerSignature",
                ),
                (Flow::Authorization, Wanted::Verdict) | (Flow::Escrow, _) => Ok(()),
            };
        }
        match self.terms.flow {
            Flow::Escrow => {
                return refuse("amount, fee and authorizerSignature complete a charge; this is a hold");
            }
            Flow::Authorization => {}
        }
        let fee = match (completion.fee_bps, completion.fee_amount) {
            (Some(_), Some(_)) => return refuse("payload must have feeAmount or feeBps, not both"),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        let signed = completion.authorizer_signature.is_some()
            || config.is_our_authorizer(self.terms.receiver_authorizer);
        if completion.amount.is_some() && fee && completion.fee_receiver.is_some() && signed {
            Ok(())
        } else {
            refuse(
                "a charge is completed by amount, feeAmount (or feeBps), feeReceiver and authorizerSignature together",
            )
        }
    }

    /// Step 18.
    fn method_fits(&self) -> Result<(), No> {
        if self.payload.authorization.method == self.terms.method {
            return Ok(());
        }
        Err(No::new(
            Reason::PayloadMethodMismatch,
            "the payload's authorization is not of extra.assetTransferMethod",
        ))
    }

    /// Steps 19 to 23; in v1.0 the order is another, and the time that the seller asks for is not looked at.
    pub(super) fn in_time(&self, config: &Config, now_s: u64) -> Result<(), No> {
        let terms = &self.terms;
        let soon_s = now_s.saturating_add(TIME_MARGIN_S);
        let no = |reason, message: &str| Err(No::new(reason, message));
        if terms.capture_deadline_s <= soon_s {
            return no(
                Reason::CaptureDeadlineExpired,
                "extra.captureDeadline is past, or within 6 seconds",
            );
        }
        if terms.refund_deadline_s < terms.capture_deadline_s {
            return no(
                Reason::DeadlineOrdering,
                "extra.refundDeadline is before extra.captureDeadline",
            );
        }
        let beyond = |deadline_s: u64, horizon_s: u64| deadline_s > now_s.saturating_add(horizon_s);
        if beyond(terms.capture_deadline_s, config.max_capture_horizon_s)
            || beyond(terms.refund_deadline_s, config.max_refund_horizon_s)
        {
            return Err(No::new(
                Reason::DeadlineOrdering,
                format!(
                    "extra.captureDeadline may be at most {} seconds from now, extra.refundDeadline {}",
                    config.max_capture_horizon_s, config.max_refund_horizon_s
                ),
            ));
        }
        if terms.dialect == Dialect::V1_1
            && now_s.saturating_add(terms.max_timeout_s) > terms.capture_deadline_s
        {
            return no(
                Reason::DeadlineOrdering,
                "extra.captureDeadline is within maxTimeoutSeconds",
            );
        }
        let signed = &self.payload.authorization;
        if signed.expiry <= U256::from(soon_s) {
            return no(
                Reason::AuthorizationExpired,
                "the authorization has expired, or expires within 6 seconds",
            );
        }
        if terms.dialect == Dialect::V1_1 {
            self.expires_before_capture()?;
        }
        if signed.valid_after > U256::from(now_s) {
            return no(
                Reason::AuthorizationNotYetValid,
                "the authorization is not valid yet",
            );
        }
        if !signed.valid_after.is_zero() {
            return no(
                Reason::AuthorizationNotYetValid,
                "authorization.validAfter must be \"0\": the collector submits no other",
            );
        }
        Ok(())
    }

    /// Step 22.
    fn expires_before_capture(&self) -> Result<(), No> {
        if self.payload.authorization.expiry <= U256::from(self.terms.capture_deadline_s) {
            return Ok(());
        }
        Err(No::new(
            Reason::DeadlineOrdering,
            "the authorization expires behind extra.captureDeadline",
        ))
    }

    /// Steps 24 and 25.
    fn collector_fits(&self) -> Result<(), No> {
        let signed = &self.payload.authorization;
        if signed.collector != self.terms.deployment.collector(self.terms.method) {
            return Err(No::new(
                Reason::TokenCollectorMismatch,
                "the authorization is not made out to the collector of this escrow and method",
            ));
        }
        if signed.token.is_some_and(|token| token != self.terms.asset) {
            return Err(No::new(
                Reason::TokenMismatch,
                "the authorization's token is not the asset",
            ));
        }
        Ok(())
    }

    /// Steps 28 to 31: the amounts, the fee, the salt and the nonce.
    pub(super) fn collection(&self) -> Result<Collection, No> {
        let (terms, signed) = (&self.terms, &self.payload.authorization);
        let max_amount = U256::from(terms.max_amount);
        // 28
        let asked = match (terms.dialect, terms.flow) {
            (Dialect::V1_1, Flow::Authorization) => terms.amount <= max_amount,
            (Dialect::V1_1, Flow::Escrow) | (Dialect::V1_0, _) => terms.amount == max_amount,
        };
        if signed.amount != max_amount || max_amount.is_zero() || !asked {
            return Err(No::new(
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
            hash: info.hash(terms.place()),
            info,
            salt_nonce,
            amount,
            collector: signed.collector,
            charge,
            completed,
        })
    }

    fn least_charge(&self, amount: U256) -> Result<Charge, No> {
        let fees = &self.terms.fees;
        let fee = fees
            .least(self.terms.deployment.fee_form, amount)
            .ok_or_else(|| No::new(Reason::AmountMismatch, "the fee does not fit 256 bits"))?;
        Ok(Charge {
            fee,
            fee_receiver: fees.recipient,
        })
    }

    /// Step 29.
    fn completed_charge(&self, max_amount: U256) -> Result<(U256, Charge), No> {
        let completion = &self.payload.completion;
        let amount = completion.amount.unwrap_or_default();
        if amount.is_zero() || amount > max_amount {
            return Err(No::new(
                Reason::AmountMismatch,
                "payload.amount must be above zero and at most the signed amount",
            ));
        }
        let fee = match self.terms.deployment.fee_form {
            FeeForm::Bps => completion.fee_bps.map(Fee::Bps),
            FeeForm::Amount => completion.fee_amount.map(Fee::Amount),
        }
        .ok_or_else(|| {
            No::new(
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
            .ok_or_else(|| No::new(Reason::FeeReceiver, "payload.feeReceiver must be an address"))?;
        if let Some(fault) = self.terms.fees.fault(fee, fee_receiver, amount) {
            return Err(match fault {
                FeeFault::Receiver => No::new(
                    Reason::FeeReceiver,
                    "payload.feeReceiver is not extra.feeRecipient",
                ),
                FeeFault::OutOfRange => No::new(
                    Reason::FeeBpsOutOfRange,
                    "the fee is outside of extra.minFeeBps and extra.maxFeeBps",
                ),
                FeeFault::ZeroReceiver => No::new(Reason::ZeroFeeReceiver, "a fee needs a receiver"),
            });
        }
        Ok((amount, Charge { fee, fee_receiver }))
    }

    /// Steps 30 and 31. A bound payment without `saltNonce` got here by probing: the buyer signed the salt as it is, or
    /// the commitment over it, and the nonce tells which.
    fn matching_info(&self) -> Result<(PaymentInfo, Option<U256>), No> {
        let (terms, payload) = (&self.terms, &self.payload);
        let commit = |salt_nonce| bound_salt(terms.receiver_authorizer, Address::ZERO, salt_nonce);
        let plain = (payload.salt, payload.salt_nonce);
        let mut candidates = vec![plain];
        if terms.is_bound() {
            match payload.salt_nonce {
                Some(salt_nonce) if commit(salt_nonce) != payload.salt => {
                    return Err(No::new(
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
                U256::from_be_bytes(info.signature_nonce(terms.place()).0) == payload.authorization.nonce
            })
            .ok_or_else(|| {
                No::new(
                    Reason::NonceMismatch,
                    "the signed nonce is not the hash of this payment",
                )
            })
    }

    /// The address that pays whatever is collected.
    pub(super) fn from(&self) -> Address {
        self.payload.authorization.from
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
