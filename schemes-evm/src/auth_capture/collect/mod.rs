//! Collections: a buyer's signature becomes a hold (`authorize`) or a payment (`charge`), in both dialects.
//!
//! | step | module | chain reads |
//! |---|---|---|
//! | identify | `identify` | none |
//! | shape of the payload | `payload` | none |
//! | checks that need no chain, and the call | `payment`, `collection` | none |
//! | signatures, payment state, simulation | `check` | one batch; one more for an account with code whose key signed, and for a contract operator's token store, once |
//! | a call of a contract operator, in a sandbox and on the chain | `custom`, `simulated` | in the batch of `check` |
//! | what must be sent, and what proves it | `plan` | in the batch of `check`, and one row of the store |
//! | what the chain showed | `judge` | none |
//!
//! A refusal that needs no chain costs no round trip; a good payment by an ordinary account costs one.

mod call;
mod check;
mod collection;
mod custom;
mod identify;
mod judge;
mod payload;
mod payment;
mod plan;
mod simulated;
mod stores;

use sdk_plugin::chain::Evidence;
use sdk_plugin::scheme::{Identity, Judgement, Plan, Planned, Step, Valid, Verdict};
use sdk_plugin::{Cx, Fault, PaymentRequest};

use super::AuthCaptureEvm;
use crate::step::{Checked, Wanted};
pub(super) use stores::TokenStores;

impl AuthCaptureEvm {
    pub(super) fn collect_identify(&self, request: &PaymentRequest) -> Identity {
        identify::identify(request, &self.config)
    }

    pub(super) async fn collect_verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        Ok(match self.collect_check(cx, request, Wanted::Verdict).await? {
            Checked::Good(good) => Verdict::Valid(Valid {
                parties: plan::parties(&good),
                extensions: None,
                reserves: Some(vec![plan::reserve(&good)]),
                payer: good.payment.payer,
                extra: None,
            }),
            Checked::Refused(refusal) => Verdict::Invalid(refusal),
        })
    }

    pub(super) async fn collect_plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        match self.collect_check(cx, request, Wanted::Plan).await? {
            Checked::Good(good) => plan::plan(cx, &self.config, request, &good).await,
            Checked::Refused(refusal) => Ok(Planned::Refused(refusal)),
        }
    }

    /// `now_s`: seconds since the epoch.
    pub(super) fn collect_judge(
        &self,
        plan: &Plan,
        step: &Step,
        evidence: &Evidence,
        now_s: u64,
    ) -> Result<Judgement, Fault> {
        judge::judge(plan, step, evidence, now_s)
    }
}
