//! Every check of verify, in the specified order: those that need no chain here, the others in [`crate::transfer`].

use sdk_plugin::{Cx, Fault, PaymentRequest};

use super::payment::Payment;
use super::{ExactEvm, reason};
use crate::signature::Unwrapped;
use crate::step::{self, Checked, Wanted};
use crate::transfer::{Candidate, Passed, Wrapper};

/// A payment that passed every check.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) payment: Payment,
    pub(super) passed: Passed,
    /// Extensions of the request that it uses.
    pub(super) used: Vec<String>,
}

impl ExactEvm {
    pub(super) async fn check_eip3009(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
    ) -> Result<Checked<Good>, Fault> {
        let payment = match Payment::decode(request) {
            Ok(payment) => payment,
            Err(refusal) => return Ok(Checked::Refused(refusal)),
        };
        step::same_network(cx, request)?;
        let Some(Unwrapped { inner, deployment }) = payment.signature.clone() else {
            return Ok(Checked::Refused(
                payment.refuse(reason::SIGNATURE, "the ERC-6492 wrapper can't be decoded"),
            ));
        };
        let refused_later = payment
            .refused_terms(cx.now_s())
            // In the specified order this comes directly before the first use of the asset.
            .or_else(|| {
                let refused = step::listed(payment.asset, cx.network()).err()?;
                Some(payment.refuse(reason::INVALID_PAYMENT_REQUIREMENTS, &refused))
            });
        let sender = step::first_signer(cx)?;
        let digest = payment.digest();
        let candidate = Candidate {
            transfer: &payment,
            digest,
            signature: &inner,
            account_signed: self.checks.signed_by(payment.authorization.from, &digest, &inner),
            wrapper: Wrapper::of(deployment, cx.network(), payment.asset, || {
                payment.calldata_with_bytes(&inner)
            })?,
            sender,
            refused_later,
        };
        let attempt = self.config.attempt(request, wanted);
        Ok(match self.checks.check(cx, candidate, &attempt).await? {
            Ok(passed) => Checked::Good(Box::new(Good {
                payment,
                passed,
                used: attempt.used,
            })),
            Err(refusal) => Checked::Refused(refusal),
        })
    }
}
