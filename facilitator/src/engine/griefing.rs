//! Payers whose payments pass every simulation and then fail on chain cost gas each time. After a few they have to wait.
//!
//! Operations on earlier payments are not counted and not held back: what is held for a seller must not become
//! unreachable because its payer lets other payments fail.
//!
//! In memory only: a restart forgives. What it bounds is gas, not correctness.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use sdk_plugin::scheme::{Plan, Refusal};
use sdk_plugin::wire::reason;

use super::lock;

/// Failed transactions that a payer may cost within [`WINDOW`].
const ALLOWED: usize = 3;
/// How long a failed transaction is remembered.
const WINDOW: Duration = Duration::from_secs(600);
/// Payers remembered at once; beyond that the oldest are forgiven.
const MAX_PAYERS: usize = 10_000;

/// Whether a plan's failure on chain is in its payer's hands: it is a payment of theirs. What is about an earlier payment
/// has conflict keys and counts on no funds of the payer.
pub(super) fn concerns_payer(plan: &Plan, conflict_keys: &[String]) -> bool {
    let of_payer = |payer: &str| payer.eq_ignore_ascii_case(&plan.payer);
    conflict_keys.is_empty() || plan.reserves.iter().any(|reserve| of_payer(&reserve.payer))
}

/// What such a payer is told, by verify as by settle.
pub(super) fn refusal(wait: Duration) -> Refusal {
    let message = format!(
        "payments of this payer have failed on chain after passing every check; try again in {} s",
        wait.as_secs().saturating_add(1)
    );
    Refusal::new(reason::INVALID_TRANSACTION_STATE, "").with_message(message)
}

/// Failed transactions by network and payer.
#[derive(Debug, Default)]
pub(super) struct Griefing {
    failures: Mutex<HashMap<(String, String), Vec<Instant>>>,
}

impl Griefing {
    /// A transaction for this payer landed and did not pay.
    pub(super) fn note(&self, network: &str, payer: &str) {
        let now = Instant::now();
        let mut failures = lock(&self.failures);
        if failures.len() >= MAX_PAYERS {
            failures.retain(|_, times| times.iter().any(|time| now.duration_since(*time) < WINDOW));
        }
        if failures.len() >= MAX_PAYERS
            && let Some(oldest) = failures
                .iter()
                .min_by_key(|(_, times)| times.last().copied())
                .map(|(key, _)| key.clone())
        {
            failures.remove(&oldest);
        }
        let times = failures
            .entry((network.to_owned(), payer.to_ascii_lowercase()))
            .or_default();
        times.retain(|time| now.duration_since(*time) < WINDOW);
        times.push(now);
    }

    /// How long this payer has to wait; `None` when it may pay.
    pub(super) fn must_wait(&self, network: &str, payer: &str) -> Option<Duration> {
        let now = Instant::now();
        let failures = lock(&self.failures);
        let times = failures.get(&(network.to_owned(), payer.to_ascii_lowercase()))?;
        let recent: Vec<&Instant> = times
            .iter()
            .filter(|time| now.duration_since(**time) < WINDOW)
            .collect();
        if recent.len() < ALLOWED {
            return None;
        }
        // Until so many are forgotten that one more fits.
        let frees = recent.len().saturating_sub(ALLOWED);
        recent
            .get(frees)
            .map(|time| WINDOW.saturating_sub(now.duration_since(**time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn t31_after_three_paid_failures_a_payer_waits_and_others_do_not() {
        let griefing = Griefing::default();
        for _ in 0..ALLOWED {
            assert_eq!(griefing.must_wait("n", "0xAB"), None);
            griefing.note("n", "0xab");
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert_eq!(
            griefing.must_wait("n", "0xAb"),
            Some(WINDOW - Duration::from_secs(180))
        );
        assert_eq!(griefing.must_wait("n", "0xcd"), None);
        assert_eq!(griefing.must_wait("m", "0xab"), None);
        tokio::time::advance(WINDOW - Duration::from_secs(180)).await;
        assert_eq!(
            griefing.must_wait("n", "0xab"),
            None,
            "the first failure is forgotten"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let griefing = Griefing::default();
        for payer in 0..MAX_PAYERS + 10 {
            griefing.note("n", &payer.to_string());
        }
        assert!(lock(&griefing.failures).len() <= MAX_PAYERS);
    }
}
