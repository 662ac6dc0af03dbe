//! Limits payers whose payments pass every simulation and then fail on chain, because each failure costs gas. After
//! a few failures a payer has to wait. When many payments of one network fail in a short time, also of different
//! payers, payers who have not paid there since the start have to wait too: new payers cost an attacker nothing.
//! Payers who have paid continue; otherwise a few failures would stop every payer.
//!
//! Operations on earlier payments are not counted and not held back: funds that are held for a seller must not
//! become unreachable because their payer lets other payments fail.
//!
//! In memory only: a restart forgets all failures. The limits bound gas, not correctness.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use sdk_plugin::scheme::{Plan, Refusal};
use sdk_plugin::wire::reason;

/// Failed transactions of one payer within [`WINDOW`] from which on the payer has to wait.
const ALLOWED: usize = 3;
/// How long a failed transaction is remembered.
const WINDOW: Duration = Duration::from_secs(600);
/// Failed transactions of one network within [`WINDOW`] from which on unknown payers have to wait.
const ALLOWED_ON_A_NETWORK: usize = 20;
/// The most payers in memory; beyond that the oldest are forgotten.
const MAX_PAYERS: usize = 10_000;

/// Whether the payer can make the plan fail on chain. This holds for the payer's own payments. An operation on an
/// earlier payment has conflict keys and reserves no funds of the payer.
pub(crate) fn concerns_payer(plan: &Plan, conflict_keys: &[String]) -> bool {
    let of_payer = |payer: &str| payer.eq_ignore_ascii_case(&plan.payer);
    conflict_keys.is_empty() || plan.reserves.iter().any(|reserve| of_payer(&reserve.payer))
}

/// Why a payer has to wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its own payments have failed.
    Payer(Duration),
    /// Payments of many payers have failed, and this payer is unknown.
    Stranger(Duration),
}

impl Wait {
    /// The reply of verify and settle to such a payer.
    pub(crate) fn refusal(self) -> Refusal {
        let (what, wait) = match self {
            Self::Payer(wait) => (
                "payments of this payer have failed on chain after passing every check",
                wait,
            ),
            Self::Stranger(wait) => (
                "many payments on this network have failed on chain after passing every check, and this payer has not paid \
                 here before",
                wait,
            ),
        };
        let message = format!("{what}; try again in {} s", wait.as_secs().saturating_add(1));
        Refusal::new(reason::INVALID_TRANSACTION_STATE, "").with_message(message)
    }
}

/// Failed transactions by network and payer.
#[derive(Debug, Default)]
pub(crate) struct Griefing {
    seen: Mutex<Seen>,
}

/// Network and payer, in lower case.
type Payer = (String, String);

#[derive(Debug, Default)]
struct Seen {
    failures: HashMap<Payer, Vec<Instant>>,
    /// By network, of all payers: the newest [`ALLOWED_ON_A_NETWORK`] failures.
    of_networks: HashMap<String, VecDeque<Instant>>,
    /// Payers who have paid since the start.
    paid: HashSet<Payer>,
}

impl Griefing {
    /// Records that a transaction for this payer landed and did not pay. `true`: from now on unknown payers have to
    /// wait.
    pub(crate) fn note(&self, network: &str, payer: &str) -> bool {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let payer = (network.to_owned(), payer.to_ascii_lowercase());
        // A payer whose payment failed is unknown again.
        seen.paid.remove(&payer);
        let failures = &mut seen.failures;
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
        let times = failures.entry(payer).or_default();
        times.retain(|time| now.duration_since(*time) < WINDOW);
        times.push(now);
        let was_open = seen.strangers_wait(network, now).is_some();
        let times = seen.of_networks.entry(network.to_owned()).or_default();
        times.push_back(now);
        while times.len() > ALLOWED_ON_A_NETWORK {
            times.pop_front();
        }
        !was_open && seen.strangers_wait(network, now).is_some()
    }

    /// Records that a payment of this payer landed.
    pub(crate) fn record_paid(&self, network: &str, payer: &str) {
        let mut seen = self.seen.lock();
        if seen.paid.len() >= MAX_PAYERS {
            // Each payer is known again after its next payment.
            seen.paid.clear();
        }
        seen.paid.insert((network.to_owned(), payer.to_ascii_lowercase()));
    }

    /// Whether and why this payer has to wait; `None` when it may pay.
    pub(crate) fn must_wait(&self, network: &str, payer: &str) -> Option<Wait> {
        let now = Instant::now();
        let seen = self.seen.lock();
        let payer = (network.to_owned(), payer.to_ascii_lowercase());
        if let Some(wait) = seen.failures.get(&payer).and_then(|times| own_wait(times, now)) {
            return Some(Wait::Payer(wait));
        }
        if seen.paid.contains(&payer) {
            return None;
        }
        seen.strangers_wait(network, now).map(Wait::Stranger)
    }

    /// The alarm for operators while unknown payers have to wait on this network.
    pub(crate) fn alarm(&self, network: &str) -> Option<String> {
        let wait = self.seen.lock().strangers_wait(network, Instant::now())?;
        Some(format!(
            "{ALLOWED_ON_A_NETWORK} payments failed on chain within {} minutes after passing every check: payers who have not \
             paid here since the start wait for another {} s. Search the log for the failed payments and their payers",
            WINDOW.as_secs() / 60,
            wait.as_secs().saturating_add(1)
        ))
    }
}

impl Seen {
    /// How long unknown payers have to wait on this network.
    fn strangers_wait(&self, network: &str, now: Instant) -> Option<Duration> {
        let times = self.of_networks.get(network)?;
        if times.len() < ALLOWED_ON_A_NETWORK {
            return None;
        }
        let oldest = now.duration_since(*times.front()?);
        WINDOW.checked_sub(oldest).filter(|wait| !wait.is_zero())
    }
}

/// How long a payer has to wait because of its own failures.
fn own_wait(times: &[Instant], now: Instant) -> Option<Duration> {
    let recent: Vec<&Instant> = times
        .iter()
        .filter(|time| now.duration_since(**time) < WINDOW)
        .collect();
    if recent.len() < ALLOWED {
        return None;
    }
    // Until enough failures are forgotten that one more is allowed.
    let frees = recent.len().saturating_sub(ALLOWED);
    recent
        .get(frees)
        .map(|time| WINDOW.saturating_sub(now.duration_since(**time)))
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
            Some(Wait::Payer(WINDOW - Duration::from_secs(180)))
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
    async fn t31_when_many_payments_fail_unknown_payers_wait_and_known_ones_do_not() {
        let griefing = Griefing::default();
        griefing.record_paid("n", "0xOld");
        for payer in 0..ALLOWED_ON_A_NETWORK {
            assert_eq!(griefing.must_wait("n", "0xnew"), None, "{payer}");
            let opens = griefing.note("n", &payer.to_string());
            assert_eq!(opens, payer + 1 == ALLOWED_ON_A_NETWORK, "{payer}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let left = WINDOW - Duration::from_secs(20);
        assert_eq!(griefing.must_wait("n", "0xnew"), Some(Wait::Stranger(left)));
        assert_eq!(griefing.must_wait("n", "0xold"), None);
        assert_eq!(griefing.must_wait("m", "0xnew"), None);
        assert!(griefing.alarm("n").is_some() && griefing.alarm("m").is_none());
        assert!(!griefing.note("n", "another"), "reported once");
        griefing.note("n", "0xold");
        assert!(matches!(
            griefing.must_wait("n", "0xold"),
            Some(Wait::Stranger(_))
        ));
        tokio::time::advance(WINDOW).await;
        assert_eq!(
            (griefing.must_wait("n", "0xnew"), griefing.alarm("n")),
            (None, None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let griefing = Griefing::default();
        for payer in 0..MAX_PAYERS + 10 {
            griefing.record_paid("n", &payer.to_string());
        }
        assert!(griefing.seen.lock().paid.len() <= MAX_PAYERS);
        for payer in 0..MAX_PAYERS + 10 {
            griefing.note("n", &payer.to_string());
        }
        assert!(griefing.seen.lock().failures.len() <= MAX_PAYERS);
    }
}
