//! How many calls a second a node takes, learned from its refusals.
//!
//! A node that answers 429, or says in JSON-RPC that there are too many requests, gets three quarters of what it got in the
//! second before. The limit grows again while the node refuses nothing, and is forgotten after some minutes. Without a refusal
//! there is no limit.
//!
//! Does no I/O. Assumes that `now` does not run backwards.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Calls are counted over this time.
const WINDOW: Duration = Duration::from_secs(1);
/// Refusals within this time are one: requests that were sent together are refused together.
const TOGETHER: Duration = Duration::from_secs(1);
/// A limit grows by a quarter, or by [`LEAST_CALLS`], after this long without a refusal.
const GROWS_AFTER: Duration = Duration::from_secs(10);
/// No limit is below this: who refuses fewer calls a second refuses for another reason, such as the quota of a day, and a
/// back-off is the answer to that.
const LEAST_CALLS: usize = 10;
/// A limit is forgotten after this long without a refusal.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The calls of the last second, and the learned limit.
#[derive(Debug, Default)]
pub(super) struct Rate {
    sent: VecDeque<(Instant, usize)>,
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    calls: usize,
    refused_at: Instant,
    grown_at: Instant,
}

impl Rate {
    pub(super) fn record_sent(&mut self, calls: usize, now: Instant) {
        self.drop_old(now);
        self.sent.push_back((now, calls));
    }

    /// The node refused calls because there were too many. Returns the new limit, in calls a second, when operators should
    /// learn of it.
    pub(super) fn record_refusal(&mut self, now: Instant) -> Option<usize> {
        self.drop_old(now);
        let is_known = self
            .limit
            .as_ref()
            .is_some_and(|limit| now.saturating_duration_since(limit.refused_at) < TOGETHER);
        if is_known {
            return None;
        }
        let sent = self.in_window();
        let before = self.limit.as_ref().map_or(usize::MAX, |limit| limit.calls);
        let calls = (sent.min(before).saturating_mul(3) / 4).max(LEAST_CALLS);
        let is_news = self.limit.is_none();
        self.limit = Some(Limit {
            calls,
            refused_at: now,
            grown_at: now,
        });
        is_news.then_some(calls)
    }

    /// How long so many further calls have to wait; zero: they may be sent now. A batch that is larger than the limit waits
    /// for a second without calls.
    pub(super) fn wait(&mut self, calls: usize, now: Instant) -> Duration {
        self.drop_old(now);
        let Some(most) = self.limit_at(now) else {
            return Duration::ZERO;
        };
        let mut left = self.in_window();
        let mut wait = Duration::ZERO;
        for (sent_at, count) in &self.sent {
            if left == 0 || left.saturating_add(calls) <= most {
                break;
            }
            left = left.saturating_sub(*count);
            wait = (*sent_at + WINDOW).saturating_duration_since(now);
        }
        wait
    }

    fn limit_at(&mut self, now: Instant) -> Option<usize> {
        let limit = self.limit.as_mut()?;
        if now.saturating_duration_since(limit.refused_at) >= FORGOTTEN_AFTER {
            self.limit = None;
            return None;
        }
        while now.saturating_duration_since(limit.grown_at) >= GROWS_AFTER {
            limit.calls = limit.calls.saturating_add((limit.calls / 4).max(LEAST_CALLS));
            limit.grown_at += GROWS_AFTER;
        }
        Some(limit.calls)
    }

    fn in_window(&self) -> usize {
        self.sent
            .iter()
            .fold(0, |sum: usize, (_, count)| sum.saturating_add(*count))
    }

    fn drop_old(&mut self, now: Instant) {
        while let Some((sent_at, _)) = self.sent.front()
            && now.saturating_duration_since(*sent_at) >= WINDOW
        {
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_refuses_gets_fewer_calls_and_slowly_more_again() {
        let mut rate = Rate::default();
        let start = Instant::now();
        for _ in 0..20 {
            rate.record_sent(2, start);
            assert_eq!(rate.wait(100, start), Duration::ZERO, "no refusal, no limit");
        }
        assert_eq!(rate.record_refusal(start), Some(30));
        assert_eq!(rate.record_refusal(start), None, "refused together");
        assert_eq!(rate.wait(1, start), WINDOW);
        let later = start + WINDOW;
        rate.record_sent(29, later);
        assert_eq!(rate.wait(1, later), Duration::ZERO);
        rate.record_sent(1, later + WINDOW / 2);
        assert_eq!(rate.wait(1, later + WINDOW / 2), WINDOW / 2);
        assert_eq!(
            rate.wait(500, later + 2 * WINDOW),
            Duration::ZERO,
            "a large batch"
        );
        let grown = later + GROWS_AFTER;
        rate.record_sent(30, grown);
        assert_eq!(rate.wait(10, grown), Duration::ZERO);
        assert_eq!(rate.wait(11, grown), WINDOW);
        assert_eq!(rate.record_refusal(grown), None, "known to operators");
        assert_eq!(rate.wait(1, grown), WINDOW);
        let forgotten = grown + FORGOTTEN_AFTER;
        rate.record_sent(1_000, forgotten);
        assert_eq!(rate.wait(1, forgotten), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_refuses_its_only_call_still_gets_some() {
        let mut rate = Rate::default();
        let now = Instant::now();
        assert_eq!(rate.record_refusal(now), Some(LEAST_CALLS));
        rate.record_sent(LEAST_CALLS - 1, now);
        assert_eq!(rate.wait(1, now), Duration::ZERO);
        rate.record_sent(1, now);
        assert_eq!(rate.wait(1, now), WINDOW);
    }
}
