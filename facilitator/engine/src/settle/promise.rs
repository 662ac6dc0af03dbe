//! What a verify promises: a valid payment is reserved for the tenant that verified it, if the tenant wants that.
//! Source: status-and-reservations.md, section 3. A settle reads no reservation.

use std::time::Duration;

use journal::{Outcome, SettlementRow};
use sdk_plugin::scheme::Valid;
use sdk_plugin::wire::{VerifyReply, reason};
use serde_json::json;

use super::verify::{good, invalid};
use super::{PaymentCall, Settling};
use journal::reservations::{Promise, Promised};

/// The member of `extensions` that names a reservation to its holder.
const EXTENSION: &str = "reservation";
/// A promise that other nodes might contradict is none.
const NO_JOURNAL: &str =
    "the payment can't be reserved now, because the database is not reachable; try again";

impl Settling {
    /// The reply to a valid payment. `known`: the claim's row when the verify began. `most`: how long the tenant's
    /// reservations last.
    pub(super) async fn promise(
        &self,
        call: &PaymentCall,
        mut valid: Valid,
        known: Option<&SettlementRow>,
        most: Option<Duration>,
    ) -> VerifyReply {
        // Without reserves it is an operation on an earlier payment, or a plugin that does not report them.
        let (Some(most), Some(tenant), Some(reserves)) =
            (most, call.identity.tenant.clone(), valid.reserves.take())
        else {
            return good(valid);
        };
        let lasts = self.promise_time(call, most);
        if lasts.is_zero() {
            return good(valid);
        }
        let promise = Promise {
            claim: call.claim.clone(),
            fingerprint: call.identity.fingerprint.clone(),
            tenant,
            network: call.kind.network.id().to_owned(),
            payer: valid.payer.clone(),
            reserves,
            lasts,
        };
        match self.runtime.reservations.reserve(promise).await {
            Err(error) => {
                tracing::warn!(%error, "a payment can't be reserved");
                invalid(reason::UNEXPECTED_VERIFY_ERROR, Some(NO_JOURNAL), &valid.payer)
            }
            Ok(Promised::Refused) => invalid(reason::PAYMENT_RESERVED, None, &valid.payer),
            Ok(Promised::Unlimited) => good(valid),
            Ok(Promised::Reserved) => {
                self.end_if_decided(call, known).await;
                let reservation = json!({ "claim": call.claim, "seconds": lasts.as_secs() });
                let extensions = [(EXTENSION.to_owned(), reservation)].into_iter().collect();
                VerifyReply {
                    extensions: Some(extensions),
                    ..good(valid)
                }
            }
        }
    }

    /// At most as long as the tenant's reservations last, the seller's terms allow, and the authorization is valid.
    fn promise_time(&self, call: &PaymentCall, most: Duration) -> Duration {
        let allowed = Duration::from_secs(call.request.requirements.max_timeout_seconds);
        let until_s = call
            .identified
            .as_ref()
            .and_then(|identified| identified.replayable_until_s);
        let valid = until_s.map_or(Duration::MAX, |until_s| {
            Duration::from_secs(until_s.saturating_sub(self.runtime.clock.now_s()))
        });
        most.min(allowed).min(valid)
    }

    /// A settlement that was decided during this verify found no reservation to end.
    async fn end_if_decided(&self, call: &PaymentCall, known: Option<&SettlementRow>) {
        let decided = |row: &SettlementRow| (row.outcome != Outcome::Open).then_some(row.id);
        match self.runtime.claim_row(&call.claim).await {
            Ok(now) => {
                let now = now.as_ref().and_then(decided);
                if now.is_some() && now != known.and_then(decided) {
                    self.runtime.reservations.end(&call.claim).await;
                }
            }
            // The reservation ends by its time.
            Err(error) => tracing::error!(%error, "a claim can't be read"),
        }
    }
}
