//! Reads: one batch of calls, answered by one node, by one particular node, or by two nodes.
//!
//! Assumes nothing about a node: each may fail, hang or return anything. Results come from one node per set, never mixed.

use std::sync::Arc;

use parking_lot::Mutex;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Fault, FaultKind};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::exchange::Batch;
use super::failure::{Failure, Failures, reject_node_errors};
use super::node::Node;
use super::pool::Pool;
use super::retries::{READ_PAUSES, Retries};
use super::selection::{Candidate, Order, Remaining};
use super::{FAILOVER_AFTER, MethodList, RpcPools, Traffic, classify, not_listed};

/// Calls in one batch. The tightest public providers accept fewer; one plan needs far fewer.
pub const MAX_BATCH: usize = 1_000;

/// Whose answers a read needs.
#[derive(Debug, Clone, Copy)]
enum Readers {
    /// One node; whichever comes first in order.
    Any,
    /// The node at this position of the configuration.
    Only(usize),
    /// Two different nodes; one where the network has only one.
    Two,
}

/// One read while it tries nodes.
pub(super) struct Reading<'a> {
    pub(super) pool: &'a Arc<Pool>,
    /// For calls that outlive the request.
    pub(super) background: &'a Mutex<JoinSet<()>>,
    readers: Readers,
    traffic: Traffic,
    pub(super) batch: Batch,
    pub(super) deadline: Instant,
    pub(super) retries: Retries<'a>,
    failures: Failures,
    /// Sets of results that count, one per node.
    answers: Vec<Vec<RpcResult>>,
    /// Whether this round has tried a node that was backing off.
    tried_backing_off: bool,
    /// The results with the fewest errors that another node might not return, and how many those are.
    fallback: Option<(usize, Vec<RpcResult>)>,
    /// The node whose results were kept last.
    answered: Option<&'a Node>,
}

/// The results of a read, and where they are from.
#[derive(Debug, Default)]
pub struct Answered {
    /// In the order of the calls.
    pub results: Vec<RpcResult>,
    /// The node's name in logs; of two nodes, the second one's. `None`: no node was needed.
    pub node: Option<String>,
}

impl RpcPools {
    /// Results in the order of `calls`, all by one node.
    ///
    /// # Errors
    /// `Denied` if a method is not in `allowed`; `Overloaded` when the network's queue is full; `Unavailable` when no
    /// node answered.
    pub async fn read(
        &self,
        network: &str,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Vec<RpcResult>, Fault> {
        self.read_by(network, Readers::Any, calls, allowed, traffic).await
    }

    /// The results of two different nodes, one set after the other; of one node where the network has only one.
    ///
    /// # Errors
    /// As [`Self::read`], and `Unavailable` also when only one of several nodes answered.
    pub async fn compare(
        &self,
        network: &str,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Vec<RpcResult>, Fault> {
        self.read_by(network, Readers::Two, calls, allowed, traffic).await
    }

    /// As [`RpcPools::read`]; with a `node`, counted from 0 as configured, that node alone answers. While it backs off
    /// after failures it is not tried: a caller that needs this node must not wait for a hanging one each time.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_from(
        &self,
        network: &str,
        node: Option<usize>,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Vec<RpcResult>, Fault> {
        self.read_named(network, node, calls, allowed, traffic)
            .await
            .map(|answered| answered.results)
    }

    /// As [`RpcPools::read_from`], with the name of the node that answered.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_named(
        &self,
        network: &str,
        node: Option<usize>,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Answered, Fault> {
        let readers = node.map_or(Readers::Any, Readers::Only);
        self.answered_by(network, readers, calls, allowed, traffic).await
    }

    async fn read_by(
        &self,
        network: &str,
        readers: Readers,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Vec<RpcResult>, Fault> {
        self.answered_by(network, readers, calls, allowed, traffic)
            .await
            .map(|answered| answered.results)
    }

    async fn answered_by(
        &self,
        network: &str,
        readers: Readers,
        calls: &[RpcCall],
        allowed: &MethodList,
        traffic: Traffic,
    ) -> Result<Answered, Fault> {
        let pool = self.pool(network)?;
        if let Some(call) = calls.iter().find(|call| !allowed.contains(&call.method)) {
            return Err(not_listed(&call.method, "reads"));
        }
        if calls.is_empty() {
            return Ok(Answered::default());
        }
        if calls.len() > MAX_BATCH {
            return Err(Fault::invalid(format!(
                "{} calls in a batch; at most {MAX_BATCH}",
                calls.len()
            )));
        }
        let batch = self.batch(calls)?;
        let deadline = Instant::now() + pool.limits().deadline;
        let _permit = pool.enter(traffic, deadline).await?;
        if traffic == Traffic::Engine {
            self.probe(pool, &batch);
        }
        let reading = Reading {
            pool,
            background: &self.background,
            readers,
            traffic,
            batch,
            deadline,
            retries: Retries::new(pool, READ_PAUSES),
            failures: Failures::default(),
            answers: Vec::new(),
            tried_backing_off: false,
            fallback: None,
            answered: None,
        };
        reading.run().await
    }
}

impl<'a> Reading<'a> {
    async fn run(mut self) -> Result<Answered, Fault> {
        let only = match self.readers {
            Readers::Only(position) => self.pool.node_if_ready(position),
            Readers::Any | Readers::Two => None,
        };
        loop {
            let Some(candidate) = self.next_candidate(only).await else {
                // A result that another node might improve is better than none.
                if self.fallback.is_none() && self.retries.wait_for_next_round(self.deadline).await {
                    self.tried_backing_off = false;
                    continue;
                }
                break;
            };
            self.try_node(candidate).await;
            if self.has_enough() {
                return Ok(Answered {
                    node: self.answered.map(|node| node.label().to_owned()),
                    results: self.answers.into_iter().flatten().collect(),
                });
            }
            if Instant::now() >= self.deadline {
                break;
            }
        }
        self.give_up()
    }

    pub(super) fn has_enough(&self) -> bool {
        self.answers.len() >= self.wanted()
    }

    fn wanted(&self) -> usize {
        match self.readers {
            Readers::Any | Readers::Only(_) => 1,
            Readers::Two => self.pool.nodes().len().min(2),
        }
    }

    async fn next_candidate(&self, only: Option<&'a Node>) -> Option<Candidate<'a>> {
        if let Readers::Only(_) = self.readers {
            let node = only.filter(|_| self.retries.tried().is_empty())?;
            return Some(Candidate {
                node,
                remaining: Remaining::None,
                is_backing_off: false,
            });
        }
        self.pool
            .wait_for_usable_node(self.retries.tried(), self.deadline)
            .await;
        self.candidate_now()
    }

    /// The next node, without waiting for the check of one.
    pub(super) fn candidate_now(&self) -> Option<Candidate<'a>> {
        let order = match self.readers {
            Readers::Only(_) => return None,
            Readers::Any => Order::Read {
                tries_backing_off: !self.tried_backing_off,
            },
            Readers::Two => Order::Compare,
        };
        self.pool.first(order, &self.batch, self.retries.tried())
    }

    async fn try_node(&mut self, candidate: Candidate<'a>) {
        let Candidate {
            node,
            remaining,
            is_backing_off,
        } = candidate;
        self.retries.record_try(node);
        self.tried_backing_off |= is_backing_off;
        let fails_over_soon = self.traffic == Traffic::Intake && remaining == Remaining::Some;
        if fails_over_soon && matches!(self.readers, Readers::Any) {
            return self.try_hedged(node).await;
        }
        // Callers fail over sooner than the engine does.
        let limit = fails_over_soon.then_some(FAILOVER_AFTER);
        let answer = self
            .pool
            .call_within(node, &self.batch, self.deadline, limit)
            .await;
        self.take(node, answer);
    }

    /// Records what came of a call to a node.
    pub(super) fn take(&mut self, node: &'a Node, answer: Result<Vec<RpcResult>, Failure>) {
        match answer.and_then(reject_node_errors) {
            Ok(results) => {
                self.pool.record_success(node);
                self.keep(node, results);
            }
            Err(failure) => {
                self.failures.record(self.pool, node, &failure);
                self.retries.record_failure(node);
            }
        }
    }

    /// Keeps a node's results: as an answer, or as the fallback where another node might do better.
    fn keep(&mut self, node: &'a Node, results: Vec<RpcResult>) {
        let uncertain = classify::uncertain_errors(&self.batch.calls, &results);
        if uncertain == 0 || !matches!(self.readers, Readers::Any) {
            self.answers.push(results);
            self.answered = Some(node);
            return;
        }
        let is_better = self
            .fallback
            .as_ref()
            .is_none_or(|(fewest, _)| uncertain < *fewest);
        if is_better {
            self.fallback = Some((uncertain, results));
            self.answered = Some(node);
        }
    }

    fn give_up(self) -> Result<Answered, Fault> {
        let wanted = self.wanted();
        if let Some((_, results)) = self.fallback {
            return Ok(Answered {
                results,
                node: self.answered.map(|node| node.label().to_owned()),
            });
        }
        let mut fault = self.failures.into_fault(self.pool, FaultKind::Unavailable);
        if !self.answers.is_empty() {
            let some = self.answers.len();
            fault.message = format!(
                "only {some} of {wanted} nodes answered, which is no proof; {}",
                fault.message
            );
        }
        Err(fault)
    }
}
