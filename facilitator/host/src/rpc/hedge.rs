//! A caller's read of a node that takes longer than it usually does: another node is tried beside it, and the first usable
//! answer counts.
//!
//! Reads only: bytes to send go to one node at a time. A node that answers too late is not at fault until it exceeds the time
//! after which the next node takes over anyway; its call runs on in the background, so that its health learns the outcome.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::host::RpcResult;
use tokio::time::timeout;

use super::FAILOVER_AFTER;
use super::failure::{Failure, reject_node_errors};
use super::node::Node;
use super::pool::Pool;
use super::read::Reading;
use super::selection::Candidate;

/// A node may take this many times as long as it usually does.
const USUAL_TIMES: u32 = 4;
/// Variations below this are noise: a second request would cost more than it saves.
const SHORTEST: Duration = Duration::from_millis(100);

/// A node's answer.
type Answer = Result<Vec<RpcResult>, Failure>;
/// A call that may outlive the request for which it was made.
type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

impl Node {
    /// How long a caller's read waits for this node alone; `None`: until the next node takes over anyway.
    fn hedge_after(&self) -> Option<Duration> {
        let usual = self.usual_latency()?;
        let after = usual.saturating_mul(USUAL_TIMES).max(SHORTEST);
        (after < FAILOVER_AFTER).then_some(after)
    }
}

impl<'a> Reading<'a> {
    /// Tries a node, and the next one beside it when it is late.
    pub(super) async fn try_hedged(&mut self, first: &'a Node) {
        let mut late = self.call(first);
        let in_time = match first.hedge_after() {
            Some(after) => timeout(after, &mut late).await.ok(),
            None => Some((&mut late).await),
        };
        if let Some(answer) = in_time {
            self.take(first, answer);
            return;
        }
        let Some(second) = self.second_node() else {
            let answer = late.await;
            self.take(first, answer);
            return;
        };
        self.retries.record_try(second);
        let mut hedge = self.call(second);
        tokio::select! {
            biased;
            answer = &mut late => {
                self.take(first, answer);
                if !self.has_enough() {
                    let answer = hedge.await;
                    self.take(second, answer);
                }
            }
            answer = &mut hedge => {
                self.take(second, answer);
                if self.has_enough() {
                    self.finish_in_background(first, late);
                } else {
                    let answer = late.await;
                    self.take(first, answer);
                }
            }
        }
    }

    /// A healthy node that is ready now, and has no limit of calls that it has reached.
    fn second_node(&self) -> Option<&'a Node> {
        let Candidate {
            node, is_backing_off, ..
        } = self.candidate_now()?;
        let must_wait = !node
            .wait_of(self.batch.calls.len(), tokio::time::Instant::now())
            .is_zero();
        (!is_backing_off && !must_wait).then_some(node)
    }

    fn call(&self, node: &Node) -> Call {
        let (pool, batch, deadline) = (Arc::clone(self.pool), self.batch.clone(), self.deadline);
        let position = pool.position_of(node);
        Box::pin(async move {
            // Every node of a request is one of its pool's.
            let node = position.and_then(|position| pool.nodes().get(position));
            let node = node.ok_or(Failure::Broken)?;
            pool.call_within(node, &batch, deadline, Some(FAILOVER_AFTER))
                .await
        })
    }

    /// The node's health learns how the call ends.
    fn finish_in_background(&self, node: &Node, call: Call) {
        let pool = Arc::clone(self.pool);
        let Some(position) = pool.position_of(node) else {
            return;
        };
        let mut background = self.background.lock();
        while background.try_join_next().is_some() {}
        background.spawn(async move {
            let answer = call.await.and_then(reject_node_errors);
            if let Some(node) = pool.nodes().get(position) {
                match answer {
                    Ok(_) => pool.record_success(node),
                    Err(failure) => pool.record_failure(node, &failure),
                }
            }
        });
    }
}

impl Pool {
    fn position_of(&self, node: &Node) -> Option<usize> {
        self.nodes().iter().position(|other| std::ptr::eq(other, node))
    }
}
