//! How long a caller wants to wait: the header `Prefer` of RFC 7240. Source: status-and-reservations.md, section 2.
//!
//! `wait=N`: wait at most N seconds for the chain. `respond-async`: wait only until a transaction is recorded. The response
//! is HTTP 200 in both cases, `settlement_pending` with the hash, because clients reject 202. An invalid preference is
//! ignored.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use base::service::SettleWait;

use crate::settings::WaitUntil;

/// Longest wait that a caller may request, in seconds.
const MAX_WAIT_S: u64 = 85;
const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A caller's preference; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Preference {
    /// At most `MAX_WAIT_S`.
    wait_s: Option<u64>,
    respond_async: bool,
}

impl Preference {
    /// Reads all `Prefer` headers. The first of a repeated preference counts.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut wait_s = None;
        let mut respond_async = false;
        let values = headers.get_all(PREFER);
        let parts = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for part in parts {
            // No known preference has parameters.
            let preference = part.split(';').next().unwrap_or_default().trim();
            let (name, value) = match preference.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (preference, None),
            };
            if name.eq_ignore_ascii_case("respond-async") {
                respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && wait_s.is_none() {
                // The first one counts, also when it is not a number.
                wait_s = Some(value.and_then(seconds));
            }
        }
        Self {
            wait_s: wait_s.flatten(),
            respond_async,
        }
    }

    /// The longest time until the response. `usual`: the time that the operator configured for this caller. A shorter
    /// preference does not reduce it: until a transaction is recorded there is nothing to reply.
    pub(super) fn longest_wait(self, usual: Duration) -> Duration {
        self.wait_s
            .map_or(usual, |wait_s| usual.max(Duration::from_secs(wait_s)))
    }

    /// What the settle waits for. `usual`: what the operator configured for this caller.
    pub(super) fn settle_wait(self, usual: WaitUntil) -> SettleWait {
        let (usual_early, until_final) = match usual {
            WaitUntil::Submitted => (Some(Duration::ZERO), false),
            WaitUntil::Confirmed => (None, false),
            WaitUntil::Final => (None, true),
        };
        let early = match (self.wait_s, self.respond_async) {
            (Some(wait_s), _) => Some(Duration::from_secs(wait_s)),
            (None, true) => Some(Duration::ZERO),
            (None, false) => usual_early,
        };
        SettleWait {
            early,
            until_final,
            gather: Duration::ZERO,
        }
    }

    /// Adds headers that tell which preferences were applied.
    pub(super) fn add_headers(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Prefer"));
        let mut applied = Vec::new();
        if self.respond_async {
            applied.push("respond-async".to_owned());
        }
        if let Some(wait_s) = self.wait_s {
            applied.push(format!("wait={wait_s}"));
        }
        // Always valid: letters, digits and punctuation.
        if let (false, Ok(applied)) = (applied.is_empty(), HeaderValue::try_from(applied.join(", "))) {
            headers.insert(APPLIED, applied);
        }
    }
}

/// Parses digits. A number of any length is capped.
fn seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(MAX_WAIT_S).min(MAX_WAIT_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> (Option<u64>, bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_str(value).unwrap());
        }
        let preference = Preference::of(&headers);
        (preference.wait_s, preference.respond_async)
    }

    #[test]
    fn preferences_are_read_and_invalid_ones_are_ignored() {
        for (values, want) in [
            (&[][..], (None, false)),
            (&["respond-async"], (None, true)),
            (&["Respond-Async, WAIT = 10"], (Some(10), true)),
            (&["wait=4", "wait=9"], (Some(4), false)),
            (&["wait=\"7\"; foo=bar"], (Some(7), false)),
            (&["wait=86"], (Some(85), false)),
            (&["wait=99999999999999999999999"], (Some(85), false)),
            (&["wait=-1"], (None, false)),
            (&["wait=x, wait=3"], (None, false)),
            (&["wait"], (None, false)),
            (&["return=minimal, handling=lenient,,;=,"], (None, false)),
        ] {
            assert_eq!(of(values), want, "{values:?}");
        }
    }
}
