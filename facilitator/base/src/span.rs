//! Spans: how long a part of the work for a request took, in the request's trace.
//!
//! A span is recorded only in a trace that is sampled, and only while a collector of spans is [`install`]ed; otherwise nothing is
//! allocated. The collector must not block: payments wait for it.
//!
//! Attributes are names of the configuration, operations, methods and transaction ids. Nobody puts payloads, URLs, signatures or
//! messages of others into them.

use std::borrow::Cow;
use std::future::Future;
use std::sync::OnceLock;

use crate::trace::{self, Trace};

/// Receives finished spans.
pub trait SpanCollector: Send + Sync + 'static {
    /// Takes a finished span, or drops it. Must not block.
    fn collect(&self, span: Span);

    /// Whether a trace that starts here is recorded.
    fn samples(&self, trace: &Trace) -> bool;

    /// Nanoseconds since the epoch.
    fn now_ns(&self) -> u64;

    /// A new id of a span, not 0.
    fn new_id(&self) -> u64;
}

/// Whose view of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A part of this process's own work.
    Internal,
    /// A request of a caller.
    Server,
    /// A request to another process.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

/// A finished span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Names the trace and this span.
    pub trace: Trace,
    /// The span that this one is a part of; `None`: it is the trace's first.
    pub parent: Option<u64>,
    pub name: Cow<'static, str>,
    pub kind: SpanKind,
    /// Nanoseconds since the epoch.
    pub started_ns: u64,
    pub ended_ns: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// It failed. The attribute `error.type` says how.
    pub failed: bool,
}

static COLLECTOR: OnceLock<Box<dyn SpanCollector>> = OnceLock::new();

/// Sends the spans of this process to a collector from now on. The first one that is installed stays.
pub fn install(collector: Box<dyn SpanCollector>) {
    let _ = COLLECTOR.set(collector);
}

/// A span that is open. It ends when this is dropped.
#[must_use]
#[derive(Debug)]
pub struct OpenSpan(Option<Box<Span>>);

/// Opens a span in the current trace, if that is sampled.
pub fn open(name: impl Into<Cow<'static, str>>, kind: SpanKind) -> OpenSpan {
    open_under(trace::current(), name, kind)
}

/// Opens a span in a trace, if that is sampled.
pub fn open_under(trace: Option<Trace>, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> OpenSpan {
    match trace.filter(Trace::is_sampled) {
        Some(within) => open_in(within, Some(within.parent()), name, kind),
        None => OpenSpan(None),
    }
}

/// Opens the first span that this process has of a trace. `is_from_caller`: the trace has a span of the caller already, and the
/// caller has decided whether it is sampled.
pub fn open_first(trace: Trace, is_from_caller: bool, name: impl Into<Cow<'static, str>>) -> OpenSpan {
    let Some(collector) = COLLECTOR.get() else {
        return OpenSpan(None);
    };
    let (is_sampled, parent) = match is_from_caller {
        true => (trace.is_sampled(), Some(trace.parent())),
        false => (collector.samples(&trace), None),
    };
    if !is_sampled {
        return OpenSpan(None);
    }
    open_in(trace, parent, name, SpanKind::Server)
}

fn open_in(
    within: Trace,
    parent: Option<u64>,
    name: impl Into<Cow<'static, str>>,
    kind: SpanKind,
) -> OpenSpan {
    let Some(collector) = COLLECTOR.get() else {
        return OpenSpan(None);
    };
    let now_ns = collector.now_ns();
    OpenSpan(Some(Box::new(Span {
        trace: within.sampled_child(collector.new_id()),
        parent,
        name: name.into(),
        kind,
        started_ns: now_ns,
        ended_ns: now_ns,
        attributes: Vec::new(),
        failed: false,
    })))
}

impl OpenSpan {
    /// One that is not recorded.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The trace whose further spans are parts of this one; `None`: nothing is recorded.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        self.0.as_ref().map(|span| span.trace)
    }

    /// Whether it is recorded: attributes that cost something need not be made otherwise.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Sets a text.
    pub fn text(&mut self, key: &'static str, value: &str) {
        if let Some(span) = &mut self.0 {
            let value = Value::Text(value.to_owned().into());
            span.attributes.push((key, value));
        }
    }

    /// Sets a number.
    pub fn number(&mut self, key: &'static str, value: u64) {
        if let Some(span) = &mut self.0 {
            let value = Value::Number(i64::try_from(value).unwrap_or(i64::MAX));
            span.attributes.push((key, value));
        }
    }

    /// Replaces its name by a more precise one.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.0 {
            span.name = name.into();
        }
    }

    /// It started at this time already, in milliseconds since the epoch.
    pub fn started_at_ms(&mut self, ms: u64) {
        if let Some(span) = &mut self.0 {
            span.started_ns = ms.saturating_mul(1_000_000).min(span.ended_ns);
        }
    }

    /// It failed, in this way: one of few words.
    pub fn fail(&mut self, kind: &str) {
        self.text("error.type", kind);
        if let Some(span) = &mut self.0 {
            span.failed = true;
        }
    }

    /// Runs a future as a part of this span.
    pub async fn contain<F: Future>(&self, future: F) -> F::Output {
        trace::within(self.trace(), future).await
    }

    /// Forgets it: it is not recorded.
    pub fn discard(mut self) {
        self.0 = None;
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let (Some(mut span), Some(collector)) = (self.0.take(), COLLECTOR.get()) {
            span.ended_ns = collector.now_ns().max(span.started_ns);
            collector.collect(*span);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static SEEN: Mutex<Vec<Span>> = Mutex::new(Vec::new());
    static NOW: AtomicU64 = AtomicU64::new(1);

    struct Test;

    impl SpanCollector for Test {
        fn collect(&self, span: Span) {
            SEEN.lock().unwrap().push(span);
        }
        fn samples(&self, trace: &Trace) -> bool {
            trace.id() % 2 == 1
        }
        fn now_ns(&self) -> u64 {
            NOW.fetch_add(1, Ordering::Relaxed)
        }
        fn new_id(&self) -> u64 {
            1_000 + self.now_ns()
        }
    }

    // One test: the collector is the process's.
    #[tokio::test]
    async fn spans_of_sampled_traces_form_a_tree() {
        let caller = |flags: &str| {
            Trace::parse(&format!(
                "00-000000000000000000000000000000f1-00000000000000b7-{flags}"
            ))
            .unwrap()
        };
        assert!(!open_first(caller("01"), true, "before").is_recorded());
        install(Box::new(Test));
        assert!(!open("no trace", SpanKind::Internal).is_recorded());
        let unsampled = open_first(caller("00"), true, "not sampled");
        assert!(!unsampled.is_recorded());
        trace::within(Some(caller("00")), async {
            assert!(!open("inside", SpanKind::Internal).is_recorded());
        })
        .await;
        let even = Trace::of_id("000000000000000000000000000000f2").unwrap();
        assert!(!open_first(even, false, "by its id").is_recorded());
        let odd = Trace::of_id("000000000000000000000000000000f3").unwrap();
        open_first(odd, false, "forgotten").discard();
        let root = open_first(caller("01"), true, "root");
        root.contain(async {
            let mut child = open("child", SpanKind::Client);
            child.number("size", 7);
            child.fail("timeout");
        })
        .await;
        drop(root);
        let seen = SEEN.lock().unwrap();
        let [child, root] = seen.as_slice() else {
            panic!("{seen:?}")
        };
        assert_eq!((root.parent, root.trace.id()), (Some(0xb7), 0xf1));
        assert_eq!(
            (child.parent, child.trace.id()),
            (Some(root.trace.parent()), 0xf1)
        );
        assert!(child.failed && child.started_ns < child.ended_ns && child.ended_ns < root.ended_ns);
        let expected = [
            ("size", Value::Number(7)),
            ("error.type", Value::Text("timeout".into())),
        ];
        assert_eq!(child.attributes, expected);
    }
}
