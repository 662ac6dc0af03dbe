//! The nodes of one network: whom to ask in which order, one exchange with one of them, and what becomes known of it.
//!
//! Buyers never wait for a node that failed while another is well: it is found to be back by reads of the engine, which
//! are shown to it as well, beside the node that answers them. Where the engine judges nodes, only those are asked that it
//! found good since they last failed; while there is none, a request waits a little for the judgement.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use parking_lot::Mutex;
use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Fault, FaultKind, HexBytes};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::gate::{self, Gate};
use super::node::{Failure, Http, Node, Standing};
use super::wire::{self, Garbage, doubtful};
use super::{RpcNetwork, RpcObserver, Traffic};

/// How long a request waits for a judgement of the nodes when none is known to be good.
const JUDGED_WITHIN: Duration = Duration::from_secs(2);
/// A node that has shown what it serves so recently can take over from another one.
const SHOWN_JUST_NOW: Duration = Duration::from_secs(2);
/// Transactions of which it is remembered how often they were sent; to forget one only begins with the first node again.
const MAX_SENT: usize = 4_096;

/// What is asked: the calls, and their bytes as one batch.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) calls: Arc<[RpcCall]>,
    pub(super) first_id: u64,
    pub(super) body: Bytes,
}

impl Question {
    pub(super) fn new(calls: &[RpcCall], first_id: u64) -> Result<Self, Fault> {
        Ok(Self {
            calls: calls.into(),
            first_id,
            body: wire::encode(calls, first_id)?,
        })
    }

    fn methods(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(|call| call.method.as_str())
    }
}

/// In which order nodes are asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// `all_resting`: nodes that rest are asked as well, and not one of them at most.
    Read { all_resting: bool },
    /// Another node begins with each turn.
    Send { turn: usize },
}

pub(super) struct Pool {
    limits: RpcNetwork,
    nodes: Vec<Node>,
    /// Whether somebody judges what the nodes serve.
    is_judged: AtomicBool,
    /// A request finds no good node.
    judgement_wanted: Notify,
    /// The nodes have been looked at.
    judgement_made: Notify,
    /// How often bytes were sent, by their hash: each time begins with another node.
    sent: Mutex<HashMap<u64, usize>>,
    hasher: RandomState,
    intake: Gate,
    engine: Gate,
    round_trips: AtomicU64,
    http: Http,
    observer: Arc<dyn RpcObserver>,
}

impl Pool {
    pub(super) fn new(network: RpcNetwork, http: Http, observer: Arc<dyn RpcObserver>) -> Self {
        let is_alone = |url: &super::SecretUrl| {
            let same = network.urls.iter().filter(|other| other.host() == url.host());
            same.count() == 1
        };
        let nodes = network.urls.iter().zip(1..);
        let nodes = nodes.map(|(url, place)| Node::new(url.clone(), (!is_alone(url)).then_some(place)));
        Self {
            nodes: nodes.collect(),
            is_judged: AtomicBool::new(false),
            judgement_wanted: Notify::new(),
            judgement_made: Notify::new(),
            sent: Mutex::default(),
            hasher: RandomState::new(),
            intake: Gate::new(network.max_concurrent, network.max_queued),
            engine: Gate::new(network.max_concurrent, network.max_queued),
            round_trips: AtomicU64::new(0),
            limits: network,
            http,
            observer,
        }
    }

    pub(super) fn limits(&self) -> &RpcNetwork {
        &self.limits
    }

    /// As configured.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    pub(super) async fn enter(
        &self,
        traffic: Traffic,
        deadline: Instant,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, Fault> {
        let gate = match traffic {
            Traffic::Intake => &self.intake,
            Traffic::Engine => &self.engine,
        };
        gate.enter(deadline).await.map_err(|gate::Full| Fault {
            kind: FaultKind::Overloaded,
            message: format!("too many RPC requests to {} at once", self.limits.id),
            retry_after_ms: Some(1_000),
        })
    }

    /// From now on only nodes are asked that somebody has judged to be good.
    pub(super) fn begin_judging(&self) {
        self.is_judged.store(true, Ordering::Release);
    }

    /// Somebody has looked at the nodes, whatever was found.
    pub(super) fn end_judgement(&self) {
        self.judgement_made.notify_waiters();
    }

    pub(super) async fn judgement_wanted(&self) {
        self.judgement_wanted.notified().await;
    }

    /// Takes a judgement of one node: `None`, it serves what it should.
    pub(super) fn judge(&self, at: usize, why_not: Option<&str>) {
        let Some(node) = self.nodes.get(at) else { return };
        if node.judge(why_not, Instant::now()) {
            let (network, host) = (&self.limits.id, node.label());
            match why_not {
                Some(why) => tracing::warn!(%network, host, why, "RPC node is not used"),
                None => tracing::info!(%network, host, "RPC node is used again"),
            }
        }
        if why_not.is_none() {
            // Who waits for a node has one; the others may take their time to show what they serve.
            self.judgement_made.notify_waiters();
        }
    }

    pub(super) fn is_usable(&self, node: &Node) -> bool {
        node.is_good() || !self.is_judged.load(Ordering::Acquire)
    }

    /// The node at this place, unless it rests while another one may be asked. One that failed only just now is asked all the
    /// same, if that may pass at once.
    pub(super) fn this(&self, at: usize) -> Option<&Node> {
        let none_is_good = !self.nodes.iter().any(|node| self.is_usable(node));
        let now = Instant::now();
        let rests = |node: &Node| {
            matches!(node.standing(now), Standing::Resting { .. }) && !node.may_be_asked_again()
        };
        self.nodes.get(at).filter(|node| none_is_good || !rests(node))
    }

    /// The node to ask next: the first in order that was not asked. While there is none that may be asked, it waits for the
    /// judgement.
    pub(super) async fn next(
        &self,
        order: Order,
        question: &Question,
        asked: &[&Node],
        deadline: Instant,
    ) -> Option<(&Node, bool)> {
        self.await_judgement(deadline).await;
        let nodes = self.in_order(order, question);
        let mut left = nodes
            .into_iter()
            .filter(|node| !asked.iter().any(|other| std::ptr::eq(*other, *node)));
        let node = left.next()?;
        Some((node, left.next().is_none()))
    }

    /// Waits until a node may be asked, for a little while.
    async fn await_judgement(&self, deadline: Instant) {
        let made = self.judgement_made.notified();
        tokio::pin!(made);
        made.as_mut().enable();
        if self.nodes.iter().any(|node| self.is_usable(node)) {
            return;
        }
        self.judgement_wanted.notify_one();
        let _ = timeout_at(deadline.min(Instant::now() + JUDGED_WITHIN), made).await;
    }

    /// Where to begin this time with bytes that may have been sent before: a node that takes them and drops them must not
    /// get all of the repetitions.
    pub(super) fn next_turn(&self, bytes: &HexBytes) -> usize {
        let key = self.hasher.hash_one(&bytes.0);
        let mut sent = self.sent.lock();
        if sent.len() >= MAX_SENT && !sent.contains_key(&key) {
            sent.clear();
        }
        let turn = sent.entry(key).or_default();
        let this = *turn;
        *turn = turn.wrapping_add(1);
        this
    }

    /// Nodes that are well as configured, slow ones and those that do not serve one of the methods behind the others; then
    /// those whose rest is over, then resting ones, the next to wake first. A read asks one resting node at most: a flood of
    /// reads must not keep hammering nodes that ask for a rest. With the turn of a send, another one of those that are well comes
    /// first each time, and those that lately left a send without an answer come last.
    fn in_order(&self, order: Order, question: &Question) -> Vec<&Node> {
        let now = Instant::now();
        let mut well = Vec::with_capacity(self.nodes.len());
        let mut due = Vec::new();
        let mut resting = Vec::new();
        for node in self.nodes.iter().filter(|node| self.is_usable(node)) {
            match node.standing(now) {
                Standing::Well => well.push(node),
                Standing::Due => due.push(node),
                Standing::Resting { until } => resting.push((until, node)),
            }
        }
        let fastest = well.iter().filter_map(|node| node.usual()).min();
        well.sort_by_key(|node| {
            let is_slow = fastest.is_some_and(|fastest| node.is_slow_beside(fastest));
            (!node.serves(question.methods(), now), is_slow)
        });
        if let Order::Send { turn } = order {
            if let Some(first) = turn.checked_rem(well.len()) {
                well.rotate_left(first);
            }
            well.sort_by_key(|node| node.may_leave_sends(now));
        }
        resting.sort_by_key(|(until, _)| *until);
        let most = match order {
            Order::Read { all_resting: false } => 1,
            Order::Read { all_resting: true } | Order::Send { .. } => resting.len(),
        };
        let resting = resting.into_iter().take(most).map(|(_, node)| node);
        well.into_iter().chain(due).chain(resting).collect()
    }

    /// Shows a read to each node that failed and has rested, in the background, to learn whether it is back. Where none
    /// is well they are asked anyway.
    pub(super) fn probe(self: &Arc<Self>, probes: &mut JoinSet<()>, question: &Question) {
        let now = Instant::now();
        let standings: Vec<Standing> = self.nodes.iter().map(|node| node.standing(now)).collect();
        if !standings.contains(&Standing::Well) {
            return;
        }
        for (at, standing) in standings.into_iter().enumerate() {
            let is_due = standing == Standing::Due;
            if !is_due || !self.nodes.get(at).is_some_and(Node::begin_probe) {
                continue;
            }
            let pool = Arc::clone(self);
            let question = question.clone();
            probes.spawn(async move {
                let Some(node) = pool.nodes.get(at) else { return };
                let deadline = Instant::now() + pool.limits.timeout;
                let answer = pool.ask(node, &question, deadline).await;
                match answer.and_then(all_well) {
                    Ok(_) => pool.well(node),
                    Err(failure) => {
                        pool.ill(node, &failure);
                        pool.doubt(node);
                    }
                }
                node.end_probe();
            });
        }
    }

    /// A node has answered.
    pub(super) fn well(&self, node: &Node) {
        if let Some(cause) = node.succeeded(Instant::now()) {
            tracing::info!(network = %self.limits.id, host = node.label(), %cause, "RPC node is back");
        }
    }

    /// A node has failed.
    pub(super) fn ill(&self, node: &Node, failure: &Failure) {
        let host = node.label();
        tracing::debug!(network = %self.limits.id, host, "RPC node {failure}");
        if node.failed(failure, Instant::now()) {
            tracing::warn!(network = %self.limits.id, host, cause = %failure, "RPC node went away");
        }
        if failure.is_of_the_node() {
            self.doubt_others(node);
            // One that may answer at once when it is asked again need not show itself before.
            if !node.may_be_asked_again() {
                self.doubt(node);
            }
        }
    }

    /// A node has to show what it serves before it is asked again.
    pub(super) fn doubt(&self, node: &Node) {
        // An only node is looked at regularly, and nothing else could be asked meanwhile.
        if self.nodes.len() > 1 {
            node.doubt(Duration::ZERO, Instant::now());
        }
    }

    /// Who takes a node's place may serve something else by now.
    fn doubt_others(&self, node: &Node) {
        if !node.is_good() {
            return;
        }
        let now = Instant::now();
        for other in self.nodes.iter().filter(|other| !std::ptr::eq(*other, node)) {
            other.doubt(SHOWN_JUST_NOW, now);
        }
    }

    /// As [`Self::ask`], and gives up after `patience`.
    pub(super) async fn ask_patiently(
        &self,
        node: &Node,
        question: &Question,
        deadline: Instant,
        patience: Option<Duration>,
    ) -> Result<Vec<RpcResult>, Failure> {
        let Some(patience) = patience.filter(|patience| *patience < self.limits.timeout) else {
            return self.ask(node, question, deadline).await;
        };
        match tokio::time::timeout(patience, self.ask(node, question, deadline)).await {
            Ok(answer) => answer,
            Err(_) => {
                node.took(self.limits.timeout);
                Err(Failure::TimedOut)
            }
        }
    }

    /// All the calls to one node: in one exchange, or call by call where it refuses batches.
    pub(super) async fn ask(
        &self,
        node: &Node,
        question: &Question,
        deadline: Instant,
    ) -> Result<Vec<RpcResult>, Failure> {
        let is_batch = question.calls.len() > 1;
        if is_batch && node.one_by_one.load(Ordering::Acquire) {
            return self.ask_one_by_one(node, question, deadline).await;
        }
        let count = question.calls.len();
        let answer = self
            .exchange(node, question.body.clone(), question.first_id, count, deadline)
            .await;
        let answer = match answer {
            Err(failure) if is_batch && may_refuse_batches(&failure) => {
                match self.ask_one_by_one(node, question, deadline).await {
                    Ok(results) if doubtful(&question.calls, &results) < count => {
                        node.one_by_one.store(true, Ordering::Release);
                        tracing::warn!(network = %self.limits.id, host = node.label(),
                            "RPC node refuses batches: it is asked call by call, which costs more requests");
                        Ok(results)
                    }
                    // It is not the batch that it does not like.
                    Ok(_) | Err(_) => Err(failure),
                }
            }
            answer => answer,
        };
        if let Ok(results) = &answer {
            let now = Instant::now();
            for (call, result) in question.calls.iter().zip(results) {
                if wire::lacks_method(result) {
                    node.lacks(&call.method, now);
                }
            }
        }
        answer
    }

    async fn ask_one_by_one(
        &self,
        node: &Node,
        question: &Question,
        deadline: Instant,
    ) -> Result<Vec<RpcResult>, Failure> {
        let mut results = Vec::with_capacity(question.calls.len());
        for (call, id) in question.calls.iter().zip(question.first_id..) {
            let body = wire::encode(std::slice::from_ref(call), id).map_err(|_| Failure::NotJsonRpc)?;
            results.extend(self.exchange(node, body, id, 1, deadline).await?);
        }
        Ok(results)
    }

    /// One exchange with one node.
    async fn exchange(
        &self,
        node: &Node,
        body: Bytes,
        first_id: u64,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<RpcResult>, Failure> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let until = deadline.min(started + self.limits.timeout);
        let answer = node
            .post(&self.http, body, self.limits.max_answer_bytes, until)
            .await
            .and_then(|bytes| wire::decode(&bytes, first_id, count).map_err(Failure::from));
        let outcome = answer.as_ref().map_or_else(Failure::label, |_| "ok");
        if answer.is_ok() {
            node.took(started.elapsed());
        }
        self.observer
            .exchanged(&self.limits.id, node.label(), outcome, started.elapsed());
        let redact = |text: &str| node.url.redact(text);
        answer.map(|results| {
            results
                .into_iter()
                .map(|result| match result {
                    RpcResult::Ok(value) => RpcResult::Ok(value),
                    RpcResult::Error(error) => RpcResult::Error(wire::tidy(error, &redact)),
                })
                .collect()
        })
    }
}

/// Whether a node that answered a batch so may answer its calls one by one.
fn may_refuse_batches(failure: &Failure) -> bool {
    match failure {
        Failure::NotJsonRpc | Failure::Unwell { code: -32_600 } => true,
        Failure::Status(status, _) => matches!(
            *status,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_IMPLEMENTED
        ),
        Failure::Connect(_)
        | Failure::TimedOut
        | Failure::Broken
        | Failure::TooLarge { .. }
        | Failure::WrongIds
        | Failure::Unwell { .. } => false,
    }
}

impl From<Garbage> for Failure {
    fn from(garbage: Garbage) -> Self {
        match garbage {
            Garbage::Shape => Self::NotJsonRpc,
            Garbage::Ids => Self::WrongIds,
            Garbage::Refused { code } => Self::Unwell { code },
        }
    }
}

/// What went wrong at each node, as one sentence.
#[derive(Default)]
pub(super) struct Failures {
    texts: Vec<String>,
    pub(super) may_have_arrived: bool,
}

impl Failures {
    pub(super) fn add(&mut self, pool: &Pool, node: &Node, failure: &Failure) {
        let host = node.label();
        pool.ill(node, failure);
        self.may_have_arrived |= failure.may_have_arrived();
        let text = format!("{host} {failure}");
        // One that was asked again says the same.
        if !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }

    pub(super) fn into_fault(self, pool: &Pool, kind: FaultKind) -> Fault {
        let network = &pool.limits.id;
        let not_used = || {
            let nodes = pool.nodes.iter().filter(|node| !pool.is_usable(node));
            let why = nodes.map(|node| {
                let why = node
                    .state()
                    .trouble
                    .unwrap_or_else(|| "has not shown what it serves".into());
                format!("{} {why}", node.label())
            });
            why.collect::<Vec<_>>().join("; ")
        };
        let mut why = self.texts.join("; ");
        if why.is_empty() {
            why = not_used();
        }
        if why.is_empty() {
            "the one to ask rests after failures, or is not configured".clone_into(&mut why);
        }
        Fault::new(kind, format!("no node of {network} gave a usable answer: {why}"))
    }
}

/// A read with one element about the node's own trouble is no answer: another node is asked for all of it.
pub(super) fn all_well(results: Vec<RpcResult>) -> Result<Vec<RpcResult>, Failure> {
    match unwell_code(&results) {
        None => Ok(results),
        Some(code) => Err(Failure::Unwell { code }),
    }
}

pub(super) fn unwell_code(results: &[RpcResult]) -> Option<i64> {
    results.iter().find_map(|result| match result {
        RpcResult::Error(error) if wire::is_unwell(error) => Some(error.code),
        RpcResult::Error(_) | RpcResult::Ok(_) => None,
    })
}
