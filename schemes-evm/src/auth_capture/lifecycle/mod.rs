//! Capture, void and refund of a payment that was collected (auth-capture-evm.md section 9).
//!
//! | step | module | chain reads |
//! |---|---|---|
//! | the requested operation | `payload` | none |
//! | identify | `identify` | none |
//! | every check, in order | `check`, with `request_check` and `reads` | one batch |
//! | who consents | `consent` | in the batch of `check`; a row of the store where the authorizer is us |
//! | who pays for a refund | `funding` | in the batch of `check`; a row of the store |
//! | what must be sent | `plan` | none |
//! | what the chain showed | `judge`, with `others` | none |

mod check;
mod consent;
mod funding;
mod identify;
mod judge;
mod others;
pub(crate) mod payload;
mod plan;
mod reads;
mod request_check;

use sdk_plugin::chain::Evidence;
use sdk_plugin::scheme::{Identity, Judgement, Plan, Planned, Valid, Verdict};
use sdk_plugin::{Cx, Fault, PaymentRequest};

use super::AuthCaptureEvm;
use crate::step::{Checked, Wanted};

impl AuthCaptureEvm {
    pub(super) fn lifecycle_identify(&self, request: &PaymentRequest) -> Identity {
        identify::identify(request)
    }

    pub(super) async fn lifecycle_verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        Ok(match self.lifecycle_check(cx, request, Wanted::Verdict).await? {
            Checked::Good(good) => Verdict::Valid(Valid {
                parties: plan::parties(&good),
                extensions: None,
                payer: good.payer,
                extra: None,
                reserves: None,
            }),
            Checked::Refused(refusal) => Verdict::Invalid(refusal),
        })
    }

    pub(super) async fn lifecycle_plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        match self.lifecycle_check(cx, request, Wanted::Plan).await? {
            Checked::Good(good) => plan::plan(*good, cx.network(), self.config.max_gas),
            Checked::Refused(refusal) => Ok(Planned::Refused(refusal)),
        }
    }

    pub(super) fn lifecycle_judge(
        &self,
        plan: &Plan,
        evidence: &Evidence,
        now_s: u64,
    ) -> Result<Judgement, Fault> {
        judge::judge(plan, evidence, now_s)
    }
}
