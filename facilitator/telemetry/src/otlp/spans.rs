//! The collector of spans, and spans as messages of OTLP.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base::span::{Span, SpanCollector, SpanKind, Value};
use base::trace::Trace;
use tokio::sync::mpsc;

use super::EVERY_TRACE;
use super::wire::{KeyValue, SpanMessage, Status};
use crate::Metrics;

const ERROR: i32 = 2;
/// Counts what was not sent.
pub(super) const DROPPED: &str = "switchyard_otlp_dropped_total";

/// Puts finished spans into the queue.
pub(super) struct Queue {
    pub(super) spans: mpsc::Sender<Span>,
    pub(super) sampled_per_million: u32,
    pub(super) metrics: Arc<Metrics>,
    ids: RandomState,
    count: AtomicU64,
}

impl Queue {
    pub(super) fn new(spans: mpsc::Sender<Span>, sampled_per_million: u32, metrics: Arc<Metrics>) -> Self {
        Self {
            spans,
            sampled_per_million,
            metrics,
            ids: RandomState::new(),
            count: AtomicU64::new(0),
        }
    }
}

impl SpanCollector for Queue {
    fn collect(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.metrics.add(DROPPED, &[("signal", "spans")], 1);
        }
    }

    fn samples(&self, trace: &Trace) -> bool {
        // By the id, so that all processes of a trace decide the same. A caller can choose the id of a request: hashed, it can't
        // choose the decision for many.
        let number = self.ids.hash_one(trace.id()) % u64::from(EVERY_TRACE);
        number < u64::from(self.sampled_per_million)
    }

    fn now_ns(&self) -> u64 {
        now_ns()
    }

    fn new_id(&self) -> u64 {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.ids.hash_one(number).max(1)
    }
}

/// Nanoseconds since the epoch.
#[allow(clippy::disallowed_methods, reason = "times of telemetry decide nothing")]
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn message(span: Span) -> SpanMessage {
    let attributes = span.attributes.into_iter().map(|(key, value)| match value {
        Value::Text(text) => KeyValue::text(key, text),
        Value::Number(number) => KeyValue::number(key, number),
    });
    SpanMessage {
        trace_id: span.trace.id().to_be_bytes().to_vec(),
        span_id: span.trace.parent().to_be_bytes().to_vec(),
        parent_span_id: span
            .parent
            .map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
        name: span.name.into_owned(),
        kind: match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
        start_time_unix_nano: span.started_ns,
        end_time_unix_nano: span.ended_ns,
        attributes: attributes.collect(),
        status: span.failed.then_some(Status { code: ERROR }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span {
            trace: Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap(),
            parent: None,
            name: "a".into(),
            kind: SpanKind::Server,
            started_ns: 1,
            ended_ns: 2,
            attributes: vec![("n", Value::Number(3))],
            failed: true,
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let metrics = Arc::new(Metrics::default());
        let (sender, _receiver) = mpsc::channel(2);
        let queue = Queue::new(sender, EVERY_TRACE, Arc::clone(&metrics));
        for _ in 0..5 {
            queue.collect(span());
        }
        let text = metrics.render();
        assert!(
            text.contains("switchyard_otlp_dropped_total{signal=\"spans\"} 3"),
            "{text}"
        );
    }

    #[test]
    fn a_part_of_the_traces_is_sampled() {
        let (sender, _receiver) = mpsc::channel(1);
        let mut queue = Queue::new(sender, EVERY_TRACE / 4, Arc::default());
        let sampled = |queue: &Queue| {
            let traces = (1..=10_000_u32).filter_map(|id| Trace::of_id(&format!("{id:032x}")));
            traces.filter(|trace| queue.samples(trace)).count()
        };
        let quarter = sampled(&queue);
        assert!((2_000..3_000).contains(&quarter), "{quarter}");
        queue.sampled_per_million = EVERY_TRACE;
        assert_eq!(sampled(&queue), 10_000);
        queue.sampled_per_million = 0;
        assert_eq!(sampled(&queue), 0);
    }

    #[test]
    fn a_message_has_the_ids_in_network_order() {
        let message = message(span());
        assert_eq!(hex(&message.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(hex(&message.span_id), "00f067aa0ba902b7");
        assert_eq!(message.parent_span_id, Vec::<u8>::new());
        assert_eq!((message.kind, message.status), (2, Some(Status { code: ERROR })));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
