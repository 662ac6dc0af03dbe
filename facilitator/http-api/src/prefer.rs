//! How long a caller wants to wait: the header `Prefer` of RFC 7240. Source: status-and-reservations.md, section 2.
//!
//! `wait=N`: at most so many seconds for the chain. `respond-async`: no longer than until a transaction is recorded. The
//! answer is HTTP 200 all the same, `settlement_pending` with the hash: clients reject 202. What can't be read is no error.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;

/// Longest wait that a caller may ask for.
const MOST_S: u64 = 85;
const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a caller prefers; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Preference {
    /// Capped.
    wait_s: Option<u64>,
    respond_async: bool,
}

impl Preference {
    /// All `Prefer` headers together; of a repeated preference the first counts.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut wait_s = None;
        let mut respond_async = false;
        let values = headers.get_all(PREFER);
        let parts = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for part in parts {
            // Parameters of a preference say nothing that is known here.
            let preference = part.split(';').next().unwrap_or_default().trim();
            let (name, value) = match preference.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (preference, None),
            };
            if name.eq_ignore_ascii_case("respond-async") {
                respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && wait_s.is_none() {
                // The first one counts, also when it is no number.
                wait_s = Some(value.and_then(seconds));
            }
        }
        Self {
            wait_s: wait_s.flatten(),
            respond_async,
        }
    }

    /// The whole time for the answer, from the one that the operator set for this caller. A shorter wait does not shorten
    /// it: until something is recorded there is nothing to answer with.
    pub(super) fn whole(self, usual: Duration) -> Duration {
        self.wait_s
            .map_or(usual, |wait_s| usual.max(Duration::from_secs(wait_s)))
    }

    /// When the hash is preferred to waiting on.
    pub(super) fn early(self) -> Option<Duration> {
        match (self.wait_s, self.respond_async) {
            (Some(wait_s), _) => Some(Duration::from_secs(wait_s)),
            (None, true) => Some(Duration::ZERO),
            (None, false) => None,
        }
    }

    /// Says in the answer what was heeded.
    pub(super) fn tell(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Prefer"));
        let mut applied = Vec::new();
        if self.respond_async {
            applied.push("respond-async".to_owned());
        }
        if let Some(wait_s) = self.wait_s {
            applied.push(format!("wait={wait_s}"));
        }
        // Letters and digits.
        if let (false, Ok(applied)) = (applied.is_empty(), HeaderValue::try_from(applied.join(", "))) {
            headers.insert(APPLIED, applied);
        }
    }
}

/// Digits alone; a number of any length is capped.
fn seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(MOST_S).min(MOST_S))
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
    fn preferences_are_read_and_what_is_none_is_ignored() {
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
