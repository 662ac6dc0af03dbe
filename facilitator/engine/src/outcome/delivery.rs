//! Delivery of releases: a release that does not arrive is given back, so that the next equal caller gets it.
//!
//! A release is durable before its answer leaves, so that no crash can give it to two callers. The answer can still
//! get lost between the journal and the connection. During the delivery no other caller gets an answer about the
//! release. After a crash in between, the release stays taken: later callers get `duplicate_settlement` with the hash.

use crate::outcome::Outcomes;
use crate::state::settlement::Settlement;
use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use base::service::{Delivery, Receipt};
use journal::{CommitError, Event};

/// Pause before another try to give a release back.
const RETURN_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(10),
};

impl Outcomes {
    /// The receipt of an answer that reports `success`. Make it before the release is committed, so that no other
    /// caller is answered about the release in between, and cancel it when the release is not committed. `number` is
    /// the release's: only that one is given back, even if it is not known whether it was recorded.
    pub(crate) fn receipt(self: &Arc<Self>, settlement: u64, claim: &str, number: u64) -> Receipt {
        let mut in_delivery = self.in_delivery.lock();
        let answers = in_delivery.entry(settlement).or_default();
        *answers = answers.saturating_add(1);
        drop(in_delivery);
        let (engine, claim) = (Arc::clone(self), claim.to_owned());
        Receipt::new(move |delivery| match delivery {
            Delivery::Delivered | Delivery::Cancelled => {
                engine.end_delivery(settlement);
                // Callers with the same idempotency key kept waiting.
                if let Some(holder) = engine
                    .holder_of(settlement, &claim)
                    .filter(|holder| holder.has_waiters())
                {
                    let network = holder.network.id().to_owned();
                    let outcomes = Arc::clone(&engine);
                    engine.runtime.keep(&network, "an answer", move || {
                        Arc::clone(&outcomes).read_and_serve(Arc::clone(&holder))
                    });
                }
            }
            Delivery::Lost => {
                let outcomes = Arc::clone(&engine);
                engine.runtime.keep("", "the return of a release", move || {
                    Arc::clone(&outcomes).give_back(settlement, claim.clone(), number)
                });
            }
        })
    }

    fn end_delivery(&self, settlement: u64) {
        let mut in_delivery = self.in_delivery.lock();
        if let Some(answers) = in_delivery.get_mut(&settlement) {
            *answers = answers.saturating_sub(1);
            if *answers == 0 {
                in_delivery.remove(&settlement);
            }
        }
    }

    /// Whether it is still unknown if a caller got the settlement's release.
    pub(crate) fn is_in_delivery(&self, settlement: u64) -> bool {
        self.in_delivery.lock().contains_key(&settlement)
    }

    /// Releases whose answers are not delivered yet, or that are being given back.
    #[must_use]
    pub fn in_delivery(&self) -> usize {
        self.in_delivery.lock().len()
    }

    /// Gives a release back; tries again as often as the journal refuses.
    async fn give_back(self: Arc<Self>, settlement: u64, claim: String, number: u64) {
        let holder = self.holder_of(settlement, &claim);
        let mut failures: u32 = 0;
        while let Err(error) = self.try_give_back(settlement, number, holder.as_ref()).await {
            let pause = RETURN_BACKOFF.after(failures);
            failures = failures.saturating_add(1);
            tracing::error!(settlement, %error, pause_ms = pause.as_millis(),
                "a release that reached nobody was not given back; it is tried again");
            tokio::time::sleep(pause).await;
        }
        self.end_delivery(settlement);
        if let Some(holder) = holder {
            self.read_and_serve(holder).await;
        }
    }

    /// The settlement in memory, while it is not finished.
    fn holder_of(&self, settlement: u64, claim: &str) -> Option<Arc<Settlement>> {
        let holder = self.runtime.claims.holder(claim);
        holder.filter(|holder| holder.id == settlement)
    }

    /// Answers the callers that wait for a settlement, at once or after the next poll.
    async fn read_and_serve(self: Arc<Self>, holder: Arc<Settlement>) {
        if let Some(run) = self.runtime.run_of(holder.network.id()) {
            run.poll_now(&holder);
        }
        self.serve_waiters(&holder, None).await;
    }

    async fn try_give_back(
        &self,
        settlement: u64,
        number: u64,
        holder: Option<&Arc<Settlement>>,
    ) -> Result<(), CommitError> {
        let _deciding = match holder {
            Some(holder) => Some(holder.deciding.lock().await),
            None => None,
        };
        match self
            .runtime
            .journal
            .commit(vec![Event::ReleaseReturned { settlement, number }])
            .await
        {
            Ok(()) => {
                tracing::warn!(
                    settlement,
                    "a release reached nobody and was given back: the next equal request gets it"
                );
                self.runtime
                    .metrics
                    .add("switchyard_releases_returned_total", &[], 1);
                if let Some(holder) = holder {
                    self.refresh_locked(holder).await;
                }
                Ok(())
            }
            Err(CommitError::Stale(why)) => {
                tracing::error!(
                    settlement,
                    why,
                    "a release that reached nobody is not there to be given back"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
