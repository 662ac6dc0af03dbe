//! One collection: the seller's terms and the buyer's payload together, and every check that needs no chain.
//!
//! The checks before the buyer's signature are [`Payment::read`] and [`Payment::refused_before_signature`], those after
//! it are [`Payment::collection`], each in the order of auth-capture-evm.md sections 7 and 13.

use alloy_primitives::{Address, U256};
use sdk_plugin::PaymentRequest;
use sdk_plugin::cx::NetworkView;
use sdk_plugin::scheme::Refusal;

use super::payload::{Payload, payer_as_sent};
use crate::auth_capture::config::Config;
use crate::auth_capture::reason::{Dialect, Reason, Rejection};
use crate::auth_capture::terms::{self, Flow, OperatorType, Terms};
use crate::step::{self, Wanted};

/// Seconds that an authorization and a capture deadline must still have left, so that a transaction sent now lands in time.
const TIME_MARGIN_S: u64 = 6;

/// Terms and payload, well formed. Whether they are valid is not checked yet.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    /// As sent.
    pub(super) payer: String,
    pub(super) terms: Terms,
    pub(super) payload: Payload,
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
            Err(rejection) => Err(Rejection::refusal(rejection, dialect, &payer)),
        }
    }

    pub(super) fn refuse(&self, rejection: Rejection) -> Refusal {
        rejection.refusal(self.terms.dialect, &self.payer)
    }

    /// Steps 14 to 25; in v1.0 those up to the signature. `now_s`: seconds since the epoch.
    pub(super) fn refused_before_signature(
        &self,
        request: &PaymentRequest,
        config: &Config,
        network: &NetworkView,
        wanted: Wanted,
        now_s: u64,
    ) -> Result<(), Rejection> {
        match self.terms.dialect {
            Dialect::V1_1 => {
                Terms::no_policy(&request.requirements.extra)?;
                self.admitted(config, network, request.tenant.as_deref())?;
                self.salt_nonce_fits(config, request)?;
                self.completion_fits(config, wanted)?;
                self.method_fits()?;
            }
            Dialect::V1_0 => {
                self.method_fits()?;
                self.admitted(config, network, request.tenant.as_deref())?;
            }
        }
        self.in_time(config, now_s)?;
        self.collector_fits()
    }

    /// Step 15, and the operator's own lists of assets and of tenants' receivers.
    fn admitted(
        &self,
        config: &Config,
        network: &NetworkView,
        tenant: Option<&str>,
    ) -> Result<(), Rejection> {
        self.terms.admitted(config, network)?;
        if self.terms.operator_type == OperatorType::Custom
            && self.terms.flow == Flow::Authorization
            && !config.charges_through(self.terms.operator, &network.id)
        {
            return Err(Rejection::new(
                Reason::OperatorTypeMismatch,
                "the contract that is extra.captureAuthorizer can hold payments, and has no charge of the escrow's form",
            ));
        }
        step::listed(self.terms.asset, network).map_err(|refused| Rejection::new(Reason::Extra, refused))?;
        // Nothing has been sent yet: the buyer keeps its money, and the receiver's tenant can still settle.
        if config
            .tenant_of(self.terms.receiver)
            .is_some_and(|owner| Some(owner) != tenant)
        {
            return Err(Rejection::new(
                Reason::UnauthenticatedAuthorizerRequest,
                "payments to this payTo belong to another account of this facilitator: send that account's API key",
            ));
        }
        Ok(())
    }

    /// Step 16.
    fn salt_nonce_fits(&self, config: &Config, request: &PaymentRequest) -> Result<(), Rejection> {
        let refuse = |message| Err(Rejection::new(Reason::PayloadFormat, message));
        match (self.terms.is_bound(), self.payload.salt_nonce) {
            (true, Some(_)) | (false, None) => Ok(()),
            (true, None) if config.probes_nonces_for(request.tenant.as_deref()) => Ok(()),
            (true, None) => refuse("extra.receiverAuthorizer needs payload.saltNonce"),
            (false, Some(_)) => refuse("payload.saltNonce needs extra.receiverAuthorizer"),
        }
    }

    /// Step 17: all of the completion or none, and only where something is charged.
    fn completion_fits(&self, config: &Config, wanted: Wanted) -> Result<(), Rejection> {
        let refuse = |message| Err(Rejection::new(Reason::PayloadFormat, message));
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
    fn method_fits(&self) -> Result<(), Rejection> {
        if self.payload.authorization.method == self.terms.method {
            return Ok(());
        }
        Err(Rejection::new(
            Reason::PayloadMethodMismatch,
            "the payload's authorization is not of extra.assetTransferMethod",
        ))
    }

    /// Steps 19 to 23; in v1.0 the order differs, and the seller's timeout is not checked.
    pub(super) fn in_time(&self, config: &Config, now_s: u64) -> Result<(), Rejection> {
        let terms = &self.terms;
        let soon_s = now_s.saturating_add(TIME_MARGIN_S);
        let rejection = |reason, message: &str| Err(Rejection::new(reason, message));
        if terms.capture_deadline_s <= soon_s {
            return rejection(
                Reason::CaptureDeadlineExpired,
                "extra.captureDeadline is past, or within 6 seconds",
            );
        }
        if terms.refund_deadline_s < terms.capture_deadline_s {
            return rejection(
                Reason::DeadlineOrdering,
                "extra.refundDeadline is before extra.captureDeadline",
            );
        }
        let beyond = |deadline_s: u64, horizon_s: u64| deadline_s > now_s.saturating_add(horizon_s);
        if beyond(terms.capture_deadline_s, config.max_capture_horizon_s)
            || beyond(terms.refund_deadline_s, config.max_refund_horizon_s)
        {
            return Err(Rejection::new(
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
            return rejection(
                Reason::DeadlineOrdering,
                "extra.captureDeadline is within maxTimeoutSeconds",
            );
        }
        let signed = &self.payload.authorization;
        if signed.expiry <= U256::from(soon_s) {
            return rejection(
                Reason::AuthorizationExpired,
                "the authorization has expired, or expires within 6 seconds",
            );
        }
        if terms.dialect == Dialect::V1_1 {
            self.expires_before_capture()?;
        }
        if signed.valid_after > U256::from(now_s) {
            return rejection(
                Reason::AuthorizationNotYetValid,
                "the authorization is not valid yet",
            );
        }
        if !signed.valid_after.is_zero() {
            return rejection(
                Reason::AuthorizationNotYetValid,
                "authorization.validAfter must be \"0\": the collector submits no other",
            );
        }
        Ok(())
    }

    /// Step 22.
    pub(super) fn expires_before_capture(&self) -> Result<(), Rejection> {
        if self.payload.authorization.expiry <= U256::from(self.terms.capture_deadline_s) {
            return Ok(());
        }
        Err(Rejection::new(
            Reason::DeadlineOrdering,
            "the authorization expires after extra.captureDeadline",
        ))
    }

    /// Steps 24 and 25.
    fn collector_fits(&self) -> Result<(), Rejection> {
        let signed = &self.payload.authorization;
        if signed.collector != self.terms.deployment.collector(self.terms.method) {
            return Err(Rejection::new(
                Reason::TokenCollectorMismatch,
                "the authorization is not made out to the collector of this escrow and method",
            ));
        }
        if signed.token.is_some_and(|token| token != self.terms.asset) {
            return Err(Rejection::new(
                Reason::TokenMismatch,
                "the authorization's token is not the asset",
            ));
        }
        Ok(())
    }

    /// The address that pays whatever is collected.
    pub(super) fn from(&self) -> Address {
        self.payload.authorization.from
    }
}
