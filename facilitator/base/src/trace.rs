//! W3C trace context: what names the work for one request, across processes.
//!
//! A request's trace comes from its caller or is made for it. Everything that is done for it runs [`within`] the trace, also
//! what the engine's own tasks do for the request's payment, so that calls into plugins carry it.
//!
//! Assumes nothing of a caller's header: one that is not as the specification has it counts as absent.

use std::future::Future;

/// The trace that some work belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Not 0.
    id: u128,
    /// Not 0.
    parent: u64,
    flags: u8,
}

tokio::task_local! {
    static CURRENT: Trace;
}

/// The trace of what runs now; `None`: it belongs to none.
#[must_use]
pub fn current() -> Option<Trace> {
    CURRENT.try_with(|trace| *trace).ok()
}

/// Runs a future in a trace.
pub async fn within<F: Future>(trace: Option<Trace>, future: F) -> F::Output {
    match trace {
        Some(trace) => CURRENT.scope(trace, future).await,
        None => future.await,
    }
}

impl Trace {
    /// A trace of its own, whose id is 32 hex digits; `None`: the text is something else.
    #[must_use]
    pub fn of_id(id: &str) -> Option<Self> {
        let id = hex_number(id, 32).filter(|id| *id != 0)?;
        // Any number: this is where the trace begins.
        let parent = u64::try_from(id >> 64).unwrap_or(1).max(1);
        Some(Self { id, parent, flags: 0 })
    }

    /// By the value of a header `traceparent`. Of a version later than 00 the known part is read, as the specification has it.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let version = hex_number(parts.next()?, 2)?;
        let id = hex_number(parts.next()?, 32).filter(|id| *id != 0)?;
        let parent = hex_number(parts.next()?, 16).filter(|parent| *parent != 0)?;
        let flags = hex_number(parts.next()?, 2)?;
        let has_more = parts.next().is_some();
        if version == 0xff || (version == 0 && has_more) {
            return None;
        }
        Some(Self {
            id,
            parent: u64::try_from(parent).ok()?,
            flags: u8::try_from(flags).ok()? & 1,
        })
    }

    /// The id of the whole trace.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.id
    }

    /// The span that further ones are parts of.
    #[must_use]
    pub fn parent(&self) -> u64 {
        self.parent
    }

    /// Whether its spans are recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The same trace, sampled, of which further spans are parts of this one.
    #[must_use]
    pub fn sampled_child(&self, span: u64) -> Self {
        Self {
            id: self.id,
            parent: span.max(1),
            flags: 1,
        }
    }

    /// As the value of a header `traceparent`.
    #[must_use]
    pub fn header(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.id, self.parent, self.flags)
    }
}

/// Exactly so many lower-case hex digits.
fn hex_number(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_header_is_kept() {
        assert_eq!(Trace::parse(GOOD).unwrap().header(), GOOD);
        let later = GOOD.replacen("00", "01", 1) + "-more";
        assert_eq!(Trace::parse(&later).unwrap().header(), GOOD);
    }

    #[test]
    fn a_bad_header_counts_as_absent() {
        let (no_id, no_parent) = ("0".repeat(32), "0".repeat(16));
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &format!("00-{no_id}-00f067aa0ba902b7-01"),
            &format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{no_parent}-01"),
        ] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
        assert_eq!(Trace::of_id(&no_id), None);
        assert_eq!(Trace::of_id("4bf92f35"), None);
    }

    #[tokio::test]
    async fn what_runs_in_a_trace_knows_it() {
        let trace = Trace::parse(GOOD);
        assert_eq!(current(), None);
        assert_eq!(within(trace, async { current() }).await, trace);
        assert_eq!(within(None, async { current() }).await, None);
    }
}
