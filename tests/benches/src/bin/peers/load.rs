//! Callers: so many connections, each of which sends its next request when the last one is answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::wire::Connection;

/// Characters of an answer that is shown.
const MOST_SHOWN: usize = 200;

/// What a series of requests gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Answers with the wanted text.
    pub(crate) accepted: u64,
    /// Other answers.
    pub(crate) refused: u64,
    /// Requests without an answer.
    pub(crate) lost: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Of each answer, in ascending order.
    pub(crate) latencies: Vec<Duration>,
    /// The bodies of accepted answers, when they are wanted.
    pub(crate) bodies: Vec<Vec<u8>>,
    /// What the first request that was not accepted got.
    pub(crate) complaint: Option<String>,
}

impl Outcome {
    pub(crate) fn answers(&self) -> u64 {
        self.accepted + self.refused
    }

    /// Accepted answers per second, in hundredths.
    pub(crate) fn rate(&self) -> u64 {
        rate(self.accepted, self.elapsed)
    }

    /// The latency that so many hundredths of the answers did not exceed.
    pub(crate) fn percentile(&self, hundredths: usize) -> Duration {
        let at = self.latencies.len() * hundredths / 100;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(at.min(last)).copied().unwrap_or_default()
    }

    /// Prints answers other than `wanted`. More than one in ten are an error: something else was measured then.
    pub(crate) fn mostly_accepted(&self, name: &str, wanted: &str) -> Result<(), Failure> {
        let Some(what) = self.shortfall(name, wanted) else {
            return Ok(());
        };
        let other = self.refused + self.lost;
        if other > (self.answers() + self.lost) / 10 {
            return Err(Failure(what));
        }
        println!("   note: {what}");
        Ok(())
    }

    /// How many answers were others than `wanted`, with one of them; `None`: no answer was.
    pub(crate) fn shortfall(&self, name: &str, wanted: &str) -> Option<String> {
        let other = self.refused + self.lost;
        let all = self.answers() + self.lost;
        let got = self.complaint.as_deref().unwrap_or_default();
        (other > 0).then(|| {
            let got: String = got.chars().take(MOST_SHOWN).collect();
            format!("{name} did not answer {wanted} to {other} of {all} requests, for example: {got}")
        })
    }

    fn add(&mut self, other: Outcome) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.lost += other.lost;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latencies.extend(other.latencies);
        self.bodies.extend(other.bodies);
        if self.complaint.is_none() {
            self.complaint = other.complaint;
        }
    }
}

/// So many per second, in hundredths.
pub(crate) fn rate(count: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(count) * 100 * 1_000_000_000 / elapsed.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// How the requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) server: SocketAddr,
    /// Each is sent at most once.
    pub(crate) requests: &'a [Vec<u8>],
    pub(crate) connections: usize,
    /// No request begins later.
    pub(crate) limit: Duration,
    /// What an accepted answer contains.
    pub(crate) wanted: &'a str,
    pub(crate) keep_bodies: bool,
}

impl Load<'_> {
    /// Sends until the requests or the time is used up.
    pub(crate) fn run(self) -> Outcome {
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        let mut whole = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(|| self.call(&next, started)))
                .collect();
            let mut whole = Outcome::default();
            for caller in callers {
                match caller.join() {
                    Ok(outcome) => whole.add(outcome),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            whole
        });
        whole.latencies.sort_unstable();
        whole
    }

    fn call(&self, next: &AtomicUsize, started: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut connection = None;
        while started.elapsed() < self.limit {
            let Some(request) = self.requests.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let sent = Instant::now();
            let open = connection
                .take()
                .map_or_else(|| Connection::open(self.server), Ok);
            let answered = open.and_then(|mut open| open.exchange(request).map(|answer| (open, answer)));
            match answered {
                Ok((open, answer)) => {
                    connection = Some(open);
                    outcome.latencies.push(sent.elapsed());
                    outcome.elapsed = started.elapsed();
                    if contains(&answer.body, self.wanted.as_bytes()) {
                        outcome.accepted += 1;
                        if self.keep_bodies {
                            outcome.bodies.push(answer.body);
                        }
                    } else {
                        outcome.refused += 1;
                        outcome.complaint.get_or_insert_with(|| {
                            let body = String::from_utf8_lossy(&answer.body);
                            format!("{}: {body}", answer.status().unwrap_or_default())
                        });
                    }
                }
                Err(error) => {
                    outcome.lost += 1;
                    outcome.complaint.get_or_insert_with(|| error.to_string());
                }
            }
        }
        outcome
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_rates() {
        let outcome = Outcome {
            accepted: 50,
            elapsed: Duration::from_millis(500),
            latencies: (1..=200).map(Duration::from_micros).collect(),
            ..Outcome::default()
        };
        assert_eq!(outcome.rate(), 100 * 100);
        assert_eq!(outcome.percentile(50), Duration::from_micros(101));
        assert_eq!(outcome.percentile(100), Duration::from_micros(200));
        assert_eq!(Outcome::default().percentile(50), Duration::ZERO);
    }
}
