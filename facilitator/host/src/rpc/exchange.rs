//! One batch of calls to one node: in one exchange, or call by call where the node refuses batches.
//!
//! Assumes that the caller records successes and failures in the node's health; here only latency and missing methods are
//! recorded, because every exchange shows those.

use std::sync::Arc;
use std::time::Duration;

use base::span::{self, OpenSpan, SpanKind};
use hyper::body::Bytes;
use sdk_plugin::Fault;
use sdk_plugin::host::{RpcCall, RpcResult};
use tokio::time::Instant;

use super::failure::Failure;
use super::node::Node;
use super::pool::Pool;
use super::{classify, http, wire};

/// Calls, and their bytes as one JSON-RPC body.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) calls: Arc<[RpcCall]>,
    first_id: u64,
    body: Bytes,
}

impl Batch {
    pub(super) fn new(calls: &[RpcCall], first_id: u64) -> Result<Self, Fault> {
        Ok(Self {
            calls: calls.into(),
            first_id,
            body: wire::encode(calls, first_id)?,
        })
    }

    pub(super) fn methods(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(|call| call.method.as_str())
    }
}

/// The longest that a request waits for a node's limit of calls: less than the time after which another node is tried.
const MOST_WAIT: Duration = Duration::from_millis(500);

impl Pool {
    /// As [`Self::call`], and gives up after `limit` where that is shorter than the node's usual timeout.
    pub(super) async fn call_within(
        &self,
        node: &Node,
        batch: &Batch,
        deadline: Instant,
        limit: Option<Duration>,
    ) -> Result<Vec<RpcResult>, Failure> {
        let timeout = self.limits().timeout;
        let Some(limit) = limit.filter(|limit| *limit < timeout) else {
            return self.call(node, batch, deadline).await;
        };
        match tokio::time::timeout(limit, self.call(node, batch, deadline)).await {
            Ok(answer) => answer,
            Err(_) => {
                node.record_latency(timeout);
                Err(Failure::TimedOut)
            }
        }
    }

    /// All the calls to one node. Results are in the order of the calls.
    pub(super) async fn call(
        &self,
        node: &Node,
        batch: &Batch,
        deadline: Instant,
    ) -> Result<Vec<RpcResult>, Failure> {
        let is_batch = batch.calls.len() > 1;
        if is_batch && node.refuses_batches() {
            return self.call_one_by_one(node, batch, deadline).await;
        }
        let answer = self
            .exchange(node, batch.body.clone(), batch.first_id, &batch.calls, deadline)
            .await;
        let answer = match answer {
            Err(failure) if is_batch && failure.may_mean_no_batches() => {
                self.retry_one_by_one(node, batch, deadline, failure).await
            }
            answer => answer,
        };
        if let Ok(results) = &answer {
            let now = Instant::now();
            for (call, result) in batch.calls.iter().zip(results) {
                if classify::lacks_method(result) {
                    node.record_missing_method(&call.method, now);
                }
            }
        }
        answer
    }

    /// After a batch failed in a way that may mean that the node accepts none.
    async fn retry_one_by_one(
        &self,
        node: &Node,
        batch: &Batch,
        deadline: Instant,
        failure: Failure,
    ) -> Result<Vec<RpcResult>, Failure> {
        match self.call_one_by_one(node, batch, deadline).await {
            Ok(results) if classify::uncertain_errors(&batch.calls, &results) < batch.calls.len() => {
                node.record_refused_batch();
                tracing::warn!(network = %self.limits().id, host = node.label(),
                    "RPC node refuses batches: its calls are sent one by one, which costs more requests");
                Ok(results)
            }
            // The cause is not the batch.
            Ok(_) | Err(_) => Err(failure),
        }
    }

    async fn call_one_by_one(
        &self,
        node: &Node,
        batch: &Batch,
        deadline: Instant,
    ) -> Result<Vec<RpcResult>, Failure> {
        let mut results = Vec::with_capacity(batch.calls.len());
        for (call, id) in batch.calls.iter().zip(batch.first_id..) {
            let body = wire::encode(std::slice::from_ref(call), id).map_err(|_| Failure::NotJsonRpc)?;
            results.extend(
                self.exchange(node, body, id, std::slice::from_ref(call), deadline)
                    .await?,
            );
        }
        Ok(results)
    }

    /// One HTTP exchange with one node.
    async fn exchange(
        &self,
        node: &Node,
        body: Bytes,
        first_id: u64,
        calls: &[RpcCall],
        deadline: Instant,
    ) -> Result<Vec<RpcResult>, Failure> {
        let (limits, count) = (self.limits(), calls.len());
        // Several requests may have waited for the same moment: each computes its wait again. What has waited for long enough
        // is sent: the node may take it, and a request that was never sent must not count as unanswered.
        let wait_until = deadline.min(Instant::now() + MOST_WAIT);
        loop {
            let now = Instant::now();
            let wait = node.wait_of(count, now);
            if wait.is_zero() || now + wait >= wait_until {
                node.record_sent(count, now);
                break;
            }
            tokio::time::sleep(wait).await;
        }
        self.count_round_trip();
        let started = Instant::now();
        let until = deadline.min(started + limits.timeout);
        let mut span = span_of(calls, &limits.id, node.label());
        let trace = span.trace().filter(|_| limits.traceparent);
        let sent = http::post(
            self.client(),
            &node.url,
            body,
            limits.max_answer_bytes,
            trace,
            until,
        );
        let answer = sent
            .await
            .and_then(|bytes| wire::decode(&bytes, first_id, count).map_err(Failure::from));
        let outcome = answer.as_ref().map_or_else(Failure::label, |_| "ok");
        if answer.is_ok() {
            node.record_latency(started.elapsed());
        } else {
            span.fail(outcome);
        }
        self.observer()
            .exchanged(&limits.id, node.label(), outcome, started.elapsed());
        let redact = |text: &str| node.url.redact(text);
        answer.map(|results| {
            results
                .into_iter()
                .map(|result| match result {
                    RpcResult::Ok(value) => RpcResult::Ok(value),
                    RpcResult::Error(error) => RpcResult::Error(wire::redact_error(error, &redact)),
                })
                .collect()
        })
    }
}

/// One round trip, in the trace of the call that needs it. It has the methods' names and the node's, and nothing that was sent.
fn span_of(calls: &[RpcCall], network: &str, node: &str) -> OpenSpan {
    let mut span = span::open("rpc", SpanKind::Client);
    if span.is_recorded() {
        let method = calls.first().map_or("", |call| call.method.as_str());
        span.rename(method.to_owned());
        span.text("rpc.system.name", "jsonrpc");
        span.text("rpc.method", method);
        span.text("server.address", node);
        span.text("switchyard.network", network);
        if calls.len() > 1 {
            span.number(
                "switchyard.rpc.batch_size",
                u64::try_from(calls.len()).unwrap_or(u64::MAX),
            );
        }
    }
    span
}
