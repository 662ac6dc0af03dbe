//! The scheme `upto`: the payer signs a maximum, and the seller settles the actual amount, once (upto-and-batch.md part A).
//!
//! A permit of [`crate::permit2`] whose witness names one of our signers: only this signer can settle it, so its key is held
//! until the permit ends. The requirements' amount is the maximum in a verify, and the actual amount in a settlement.
//!
//! An actual amount of 0 sends nothing. The permit stays usable until its deadline; here its claim is settled, and every other
//! settlement of it is a replay (T-90).

use alloy_primitives::U256;
use sdk_plugin::chain::Evidence;
use sdk_plugin::scheme::{
    Done, Hold, Identity, Judgement, LaneChoice, PaidReply, Plan, Planned, SchemeCheck, Supported, Verdict,
};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Amount, Cx, Fault, PaymentRequest, SchemeHandler, async_trait};
use serde_json::Map;

use crate::exact::Config;
use crate::permit2::plan::Sending;
use crate::permit2::probe::Probes;
use crate::permit2::{self, Good, Payment, Proxy, reason};
use crate::step::{self, Checked, Wanted};
use crate::text;
use crate::transfer::Checks;

/// The scheme's name on the wire.
pub const SCHEME: &str = Proxy::Upto.scheme();
/// Protocol versions served.
pub const VERSIONS: [u8; 1] = [2];

/// The longest that a payment keeps a signer's key, in seconds from its settlement: a payer can sign a deadline that
/// never comes. Until the payment is final, its transaction keeps the key in any case.
const MAX_HOLD_S: u64 = 90 * 24 * 60 * 60;
/// How long one signer is advertised before the next, in seconds.
const TURN_S: u64 = 600;

/// `upto` on every EVM network.
#[derive(Debug, Default)]
pub struct UptoEvm {
    config: Config,
    checks: Checks,
    probes: Probes,
}

impl UptoEvm {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            checks: Checks::default(),
            probes: Probes::default(),
        }
    }

    /// `for_maximum`: the permit is for the requirements' amount; else that is the actual amount.
    async fn checked(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
        for_maximum: bool,
    ) -> Result<Checked<Good>, Fault> {
        let mut payment = match Payment::decode(request, Proxy::Upto) {
            Ok(payment) => payment,
            Err(refusal) => return Ok(Checked::Refused(refusal)),
        };
        step::same_network(cx, request)?;
        if !for_maximum {
            payment.amount = payment.permit.amount;
        }
        let attempt = self.config.attempt(request, wanted);
        permit2::check(cx, &self.checks, payment, attempt, &self.config.approvals).await
    }
}

#[async_trait]
impl SchemeHandler for UptoEvm {
    /// No kinds while no signer is granted, and none where the proxy is not deployed.
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let network = cx.network();
        let Some(facilitator) = facilitator(cx) else {
            return Ok(Supported::default());
        };
        let is_deployed = match self.probes.known(cx) {
            Some(known) => known,
            None => self.probes.refresh(cx, Proxy::Upto).await?,
        };
        if !is_deployed {
            return Ok(Supported::default());
        }
        let kind = |x402_version| Kind {
            x402_version,
            scheme: SCHEME.into(),
            network: network.id.clone(),
            extra: Some(Map::from_iter([(
                "facilitatorAddress".to_owned(),
                facilitator.clone().into(),
            )])),
        };
        Ok(Supported {
            kinds: VERSIONS.map(kind).into(),
            extensions: [
                Some(permit2::EXTENSION),
                self.config.approval_key(&network.id),
                self.config.builder_code.key(),
            ]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect(),
            // Retained signers serve what is bound to them: nothing new shall name them.
            signers: network.lanes.iter().map(|lane| lane.signer.clone()).collect(),
        })
    }

    /// Ready in any case, so that a payment on a network without the proxy is refused by its own reason; such a network is
    /// not advertised.
    async fn check(&self, cx: &Cx) -> Result<SchemeCheck, Fault> {
        let mut check = SchemeCheck::ready();
        if !self.probes.refresh(cx, Proxy::Upto).await? {
            let id = &cx.network().id;
            let proxy = text::lower(Proxy::Upto.address());
            check.warnings.push(format!(
                "upto is not served on {id}: its proxy {proxy} is not deployed there"
            ));
        }
        Ok(check)
    }

    async fn identify(&self, _cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        Ok(permit2::identify(request, Proxy::Upto))
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        let wanted = Wanted::of_verify(request);
        Ok(permit2::verdict(self.checked(cx, request, wanted, true).await?))
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        Ok(match self.checked(cx, request, Wanted::Plan, false).await? {
            Checked::Good(good) => settled(cx, &good, request.requirements.amount.0)?,
            Checked::Refused(refusal) => Planned::Refused(refusal),
        })
    }

    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        let step = step::of_evidence(plan, evidence)?;
        permit2::judge(cx, &self.checks, plan, step, evidence)
    }
}

/// What a good permit is settled with. `actual`: atomic units.
fn settled(cx: &Cx, good: &Good, actual: U256) -> Result<Planned, Fault> {
    let payment = &good.payment;
    if actual.is_zero() {
        return Ok(Planned::Done(Done {
            reply: PaidReply {
                payer: payment.payer.clone(),
                amount: Some(Amount::ZERO),
                ..PaidReply::default()
            },
            ..Done::default()
        }));
    }
    if actual > payment.permit.amount {
        return Ok(Planned::Refused(payment.refuse(
            reason::UPTO_EXCEEDS_AMOUNT,
            "the amount to settle is above permitted.amount",
        )));
    }
    let signer = payment
        .facilitator(cx.network())
        .ok_or_else(|| Fault::internal("a payment was admitted whose facilitator is none of our signers"))?
        .to_owned();
    let longest = cx.now_s().saturating_add(MAX_HOLD_S);
    let sending = Sending {
        holds: vec![Hold {
            signer: signer.clone(),
            until_s: text::seconds(payment.permit.deadline).map_or(longest, |end_s| end_s.min(longest)),
        }],
        lane: LaneChoice::Signer { address: signer },
    };
    permit2::plan(good, actual, sending, cx)
}

/// The signer that new permits name. Several take turns.
fn facilitator(cx: &Cx) -> Option<String> {
    let lanes = &cx.network().lanes;
    let turn = (cx.now_s() / TURN_S).checked_rem(u64::try_from(lanes.len()).ok()?)?;
    let lane = lanes.get(usize::try_from(turn).ok()?)?;
    Some(lane.signer.clone())
}
