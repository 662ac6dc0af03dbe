//! From a request to a planned settlement in a lane's queue, and the wait for its outcome.
//!
//! Until the first commit a settlement belongs to its callers and is withdrawn when the last of them leaves. From then
//! on it belongs to the engine, and a caller that leaves changes nothing.

use crate::decide::claim::RequestIdentity;
use crate::decide::faults::public_message;
use crate::decide::hashes::request_hash;
use crate::decide::keys::{fingerprint_of, own_key};
use crate::decide::replies;
use crate::decide::replies::{stopped, unavailable};
use crate::endings::Endings;
use crate::outcome::Outcomes;
use crate::registry::Kind;
use crate::runtime::Runtime;
use crate::state::settlement::Settlement;
mod answer_log;
mod answers;
mod done;
mod elsewhere;
mod handover;
mod keys;
mod known_claim;
mod opening;
mod planning;
mod promise;
mod verify;
mod wait;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sdk_plugin::scheme::{Identified, Identity, Refusal};
use sdk_plugin::{Fault, PaymentRequest};
use tokio::sync::oneshot;
use tokio::time::Instant;

use base::service::{SettleAnswer, SettleWait, Settled};
use journal::JournalError;
use known_claim::KnownClaim;
use wait::Patience;

/// How long past its time a caller waits for a commit that is in progress.
const COMMIT_GRACE: Duration = Duration::from_secs(5);
/// How long past its time a caller is answered at the latest. Longer than the wait for a commit.
const LAST_GRACE: Duration = Duration::from_secs(7);
/// The reply to callers when a scheme's self-check says that it can't be served now.
pub(crate) const NOT_READY: &str = "this kind of payment is not ready on this network; try again";
/// Reads of a claim before giving up: each read meets the state of another process or of another moment.
const READS: u32 = 50;

/// A request in progress.
pub(crate) struct PaymentCall {
    pub kind: Arc<Kind>,
    pub request: PaymentRequest,
    /// `None`: the plugin could not identify the request, but the journal has this same request. Nothing new can be
    /// opened.
    pub identified: Option<Identified>,
    pub payer: String,
    pub claim: String,
    pub identity: RequestIdentity,
    /// How long it may wait for others to share its transaction.
    pub gather: Duration,
}

/// Why a request could not be identified.
pub(crate) enum CallRejected {
    Refused(Refusal),
    Stopped(Fault),
}

enum Lookup {
    /// The caller waits for the outcome.
    Waiting {
        settlement: Arc<Settlement>,
        number: u64,
        answer: oneshot::Receiver<Settled>,
    },
    Decided(Box<Settled>),
    /// Read again: the state changed between two reads.
    Retry,
}

/// Settles and verifies payments.
pub(crate) struct Settling {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) endings: Arc<Endings>,
}

impl Settling {
    /// Settles a payment, or reports the outcome of an equal request. The answer counts as delivered when this
    /// returns.
    pub async fn settle(self: &Arc<Self>, request: PaymentRequest) -> SettleAnswer {
        let Settled { answer, receipt } = self.settle_with_receipt(request).await;
        receipt.delivered();
        answer
    }

    /// Settles a payment, or reports the outcome of an equal request, within the request's time and [`LAST_GRACE`],
    /// whatever hangs. A caller with a recorded transaction gets its hash.
    pub async fn settle_with_receipt(self: &Arc<Self>, request: PaymentRequest) -> Settled {
        self.settle_waiting(request, SettleWait::default()).await
    }

    /// The same, for a caller that says what it waits for.
    pub async fn settle_waiting(self: &Arc<Self>, request: PaymentRequest, wait: SettleWait) -> Settled {
        let now = Instant::now();
        let deadline = now + Duration::from_millis(request.remaining_ms);
        let patience = Patience {
            early: wait
                .early
                .map(|early| now + early)
                .filter(|early| *early < deadline),
            last: deadline,
            until_final: wait.until_final,
            gather: wait.gather.min(Duration::from_millis(request.remaining_ms) / 2),
        };
        let (network, network_as_sent) = (request.network.clone(), request.network_as_sent.clone());
        let known = KnownClaim::default();
        let settled = {
            let settled = AssertUnwindSafe(self.settle_recording(request, patience, &known)).catch_unwind();
            tokio::time::timeout_at(deadline + LAST_GRACE, settled).await
        };
        let settled = match settled {
            Ok(Ok(settled)) => settled,
            Ok(Err(panic)) => match known.row() {
                Some(row) => replies::late(&row, &network_as_sent).into(),
                None => resume_unwind(panic),
            },
            Err(_) => {
                tracing::error!(
                    network,
                    claim = known.claim(),
                    "a settle did not end within its time: check whether the disk hangs"
                );
                match known.row() {
                    Some(row) => replies::late(&row, &network_as_sent).into(),
                    None => unavailable("no answer within the time; try again").into(),
                }
            }
        };
        let settled = self.unless_elsewhere(settled, &known).await;
        answer_log::log(&network, &known.claim(), &settled.answer);
        settled
    }

    async fn settle_recording(
        self: &Arc<Self>,
        request: PaymentRequest,
        patience: Patience,
        known: &KnownClaim,
    ) -> Settled {
        let network_as_sent = request.network_as_sent.clone();
        match self.identify(request).await {
            Ok(mut call) => {
                call.identity.until_final = patience.until_final;
                call.gather = patience.gather;
                known.set_claim(&call.claim);
                known.set_identity(&call.identity);
                self.settle_claim(&Arc::new(call), patience, known).await
            }
            Err(CallRejected::Refused(refusal)) => {
                SettleAnswer::Reply(replies::failure(&refusal, "", &network_as_sent)).into()
            }
            // Another node may be about to record it.
            Err(CallRejected::Stopped(fault)) if self.runtime.ownership.is_shared() => {
                unavailable(public_message(&fault)).into()
            }
            Err(CallRejected::Stopped(fault)) => stopped(&fault, &network_as_sent).into(),
        }
    }

    async fn settle_claim(
        self: &Arc<Self>,
        call: &Arc<PaymentCall>,
        patience: Patience,
        known: &KnownClaim,
    ) -> Settled {
        for attempt in 0..READS {
            match self.find(call, known).await {
                Ok(Lookup::Waiting {
                    settlement,
                    number,
                    answer,
                }) => {
                    known.set_held(&settlement);
                    return self.wait(call, settlement, number, answer, patience).await;
                }
                Ok(Lookup::Decided(answer)) => return *answer,
                Ok(Lookup::Retry) => tokio::time::sleep(Duration::from_millis(u64::from(attempt))).await,
                Err(error) => {
                    tracing::error!(%error, "a claim can't be read");
                    return unavailable("the journal can't be read").into();
                }
            }
        }
        match known.row() {
            Some(row) => replies::late(&row, &call.request.network_as_sent).into(),
            None => unavailable("the claim is busy").into(),
        }
    }

    /// Identifies a request. The error says how to refuse it.
    pub(crate) async fn identify(&self, request: PaymentRequest) -> Result<PaymentCall, CallRejected> {
        let kind = self
            .runtime
            .registry
            .kind(request.version.number(), &request.scheme, &request.network)
            .ok_or_else(|| CallRejected::Stopped(Fault::unsupported("this kind is not served")))?;
        let identified = match self.runtime.ops.identify(kind, &request).await {
            Ok(Identity::Identified(identified)) => identified,
            Ok(Identity::Refused(refusal)) => return Err(CallRejected::Refused(refusal)),
            Err(fault) => {
                // An in-flight payment must not be called failed because its plugin fails now.
                return match self.known(kind, &request).await {
                    Ok(known) => known.ok_or(CallRejected::Stopped(fault)),
                    Err(error) => {
                        tracing::error!(%error, "a request can't be read");
                        Err(CallRejected::Stopped(Fault::unavailable(
                            "the journal can't be read",
                        )))
                    }
                };
            }
        };
        let identity = RequestIdentity {
            fingerprint: fingerprint_of(&identified.fingerprint, request.tenant.as_deref()),
            digest: identified.payload_digest.clone(),
            tenant: request.tenant.clone(),
            idempotency_key: request.idempotency_key.clone(),
            until_final: false,
        };
        let claim = own_key(kind, &identified.claim_key);
        let payer = identified.payer.clone();
        Ok(PaymentCall {
            kind: Arc::clone(kind),
            request,
            identified: Some(identified),
            payer,
            claim,
            identity,
            gather: Duration::ZERO,
        })
    }

    /// The claim that this same request opened before.
    async fn known(
        &self,
        kind: &Arc<Kind>,
        request: &PaymentRequest,
    ) -> Result<Option<PaymentCall>, JournalError> {
        let hash = request_hash(request);
        // Found in memory only during its first commit. It is recorded before that ends, so it stays found.
        let held = self.runtime.claims.committing(&hash);
        let Some(row) = self.runtime.journal.request(&hash).await?.or(held) else {
            return Ok(None);
        };
        if row.plugin != kind.instance.plugin {
            return Ok(None);
        }
        let identity = RequestIdentity {
            fingerprint: row.fingerprint,
            digest: row.digest,
            tenant: request.tenant.clone(),
            idempotency_key: request.idempotency_key.clone(),
            until_final: false,
        };
        Ok(Some(PaymentCall {
            kind: Arc::clone(kind),
            request: request.clone(),
            identified: None,
            payer: row.payer,
            claim: row.claim,
            identity,
            gather: Duration::ZERO,
        }))
    }
}
