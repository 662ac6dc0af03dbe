//! Payers whose payments pass every simulation and then fail on chain cost gas each time. After a few they have to wait.
//! Where many of one network fail in a short time, of whichever payers, payers who have not paid there since the start have to
//! wait: new payers cost an attacker nothing. Those who have paid go on, or a few failures would stop everybody.
//!
//! Operations on earlier payments are not counted and not held back: what is held for a seller must not become
//! unreachable because its payer lets other payments fail.
//!
//! In memory only: a restart forgives. What it bounds is gas, not correctness.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use sdk_plugin::scheme::{Plan, Refusal};
use sdk_plugin::wire::reason;

/// Failed transactions that a payer may cost within [`WINDOW`].
const ALLOWED: usize = 3;
/// How long a failed transaction is remembered.
const WINDOW: Duration = Duration::from_secs(600);
/// Failed transactions of one network within [`WINDOW`] from which on payers that are not known have to wait.
const ALLOWED_ON_A_NETWORK: usize = 20;
/// Payers remembered at once; beyond that the oldest are forgiven.
const MAX_PAYERS: usize = 10_000;

/// Whether a plan's failure on chain is in its payer's hands: it is a payment of theirs. What is about an earlier payment
/// has conflict keys and counts on no funds of the payer.
pub(crate) fn concerns_payer(plan: &Plan, conflict_keys: &[String]) -> bool {
    let of_payer = |payer: &str| payer.eq_ignore_ascii_case(&plan.payer);
    conflict_keys.is_empty() || plan.reserves.iter().any(|reserve| of_payer(&reserve.payer))
}

/// Why a payer has to wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its own payments have failed.
    Payer(Duration),
    /// Those of many have, and this one is not known.
    Stranger(Duration),
}

impl Wait {
    /// What verify and settle answer to such a payer.
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
    /// Of each network, of all payers; the newest [`ALLOWED_ON_A_NETWORK`].
    of_networks: HashMap<String, VecDeque<Instant>>,
    /// Who has paid since the start.
    paid: HashSet<Payer>,
}

impl Griefing {
    /// A transaction for this payer landed and did not pay. `true`: from now on payers that are not known have to wait.
    pub(crate) fn note(&self, network: &str, payer: &str) -> bool {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let payer = (network.to_owned(), payer.to_ascii_lowercase());
        // Who fails is known no more than others.
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

    /// A payment of this payer landed.
    pub(crate) fn note_paid(&self, network: &str, payer: &str) {
        let mut seen = self.seen.lock();
        if seen.paid.len() >= MAX_PAYERS {
            // A payer that pays again is known again.
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

    /// For operators: that payers who are not known have to wait on this network.
    pub(crate) fn alarm(&self, network: &str) -> Option<String> {
        let wait = self.seen.lock().strangers_wait(network, Instant::now())?;
        Some(format!(
            "{ALLOWED_ON_A_NETWORK} payments failed on chain within {} minutes after passing every check: payers who have not \
             paid here since the start wait for another {} s. Look in the log for what failed, and who pays for it",
            WINDOW.as_secs() / 60,
            wait.as_secs().saturating_add(1)
        ))
    }
}

impl Seen {
    /// How long payers that are not known have to wait on this network.
    fn strangers_wait(&self, network: &str, now: Instant) -> Option<Duration> {
        let times = self.of_networks.get(network)?;
        if times.len() < ALLOWED_ON_A_NETWORK {
            return None;
        }
        let oldest = now.duration_since(*times.front()?);
        WINDOW.checked_sub(oldest).filter(|wait| !wait.is_zero())
    }
}

/// How long a payer waits for its own failures.
fn own_wait(times: &[Instant], now: Instant) -> Option<Duration> {
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
    async fn t31_when_many_payments_fail_payers_that_are_not_known_wait_and_the_others_go_on() {
        let griefing = Griefing::default();
        griefing.note_paid("n", "0xOld");
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
        assert!(!griefing.note("n", "another"), "said once");
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
            griefing.note_paid("n", &payer.to_string());
        }
        assert!(griefing.seen.lock().paid.len() <= MAX_PAYERS);
        for payer in 0..MAX_PAYERS + 10 {
            griefing.note("n", &payer.to_string());
        }
        assert!(griefing.seen.lock().failures.len() <= MAX_PAYERS);
    }
}
