//! Sellers: patient and impatient ones, twins, and some that try what they should not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::service::{SettleAnswer, SettleWait, Settled};
use engine::Engine;
use sdk_plugin::request::{Accepted, Purpose, Requirements};
use sdk_plugin::wire::{SettleReply, reason};
use sdk_plugin::{Amount, PaymentRequest, ProtocolVersion, Value};
use serde_json::Map;
use tokio::sync::Notify;

use crate::faults::{Harm, Point};
use crate::run::ScheduledRequest;
use crate::scheme::Payload;
use crate::token::TOKEN;
use crate::world::World;

pub const NETWORK: &str = "sim:1";
/// Longer than any answer takes.
const LONG: Duration = Duration::from_secs(3_600);

/// One settle as a seller sends it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettleRequest {
    pub scheme: &'static str,
    pub payload: Payload,
    pub pay_to: String,
    pub amount: u64,
    pub tenant: Option<String>,
    pub idempotency_key: Option<String>,
}

impl SettleRequest {
    /// Whether the terms are what the buyer signed.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.pay_to == self.payload.to && self.amount == self.payload.value
    }

    fn payment_request(&self, remaining_ms: u64) -> PaymentRequest {
        let payload = match serde_json::to_value(&self.payload) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        PaymentRequest {
            version: ProtocolVersion::V2,
            scheme: self.scheme.into(),
            network: NETWORK.into(),
            network_as_sent: NETWORK.into(),
            payload,
            accepted: Accepted {
                scheme: self.scheme.into(),
                network: NETWORK.into(),
                raw: Map::new(),
            },
            requirements: Requirements {
                scheme: self.scheme.into(),
                network: NETWORK.into(),
                amount: Amount::from(self.amount),
                asset: TOKEN.into(),
                pay_to: self.pay_to.clone(),
                max_timeout_seconds: 60,
                extra: Map::new(),
            },
            resource: None,
            extensions: Map::new(),
            purpose: Purpose::Settle,
            tenant: self.tenant.clone(),
            idempotency_key: self.idempotency_key.clone(),
            remaining_ms,
            wants_reserves: false,
        }
    }
}

/// One request and its answer, with the times of both.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub requested_ms: u64,
    pub answered_ms: u64,
    pub request: Arc<SettleRequest>,
    pub answer: SettleAnswer,
    /// Sent after the last fault.
    pub is_last: bool,
}

impl Exchange {
    /// The reply in the answer, also of a replay.
    #[must_use]
    pub fn reply(&self) -> Option<SettleReply> {
        match &self.answer {
            SettleAnswer::Reply(reply) => Some(reply.clone()),
            SettleAnswer::Replay(body) => serde_json::from_str(body).ok(),
            SettleAnswer::Unavailable { .. } => None,
        }
    }

    #[must_use]
    pub fn is_replay(&self) -> bool {
        matches!(self.answer, SettleAnswer::Replay(_))
    }

    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reply().and_then(|reply| reply.error_reason)
    }
}

/// The running engine, or none. (Not a `watch` channel, because that wakes its readers in a random order.)
#[derive(Debug, Default)]
pub struct Cell {
    now: Mutex<(u64, Option<Arc<Engine>>)>,
    changed: Notify,
}

impl Cell {
    pub fn set(&self, engine: Option<Arc<Engine>>) {
        {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            *now = (now.0 + 1, engine);
        }
        self.changed.notify_waiters();
    }

    /// The engine, and how often it changed so far.
    #[must_use]
    pub fn get(&self) -> (u64, Option<Arc<Engine>>) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn running(&self) -> (u64, Arc<Engine>) {
        loop {
            let changed = self.changed.notified();
            if let (at, Some(engine)) = self.get() {
                return (at, engine);
            }
            changed.await;
        }
    }

    async fn left(&self, at: u64) {
        loop {
            let changed = self.changed.notified();
            if self.get().0 != at {
                return;
            }
            changed.await;
        }
    }
}

/// What all clients share.
#[derive(Debug, Clone)]
pub struct Clients {
    pub world: Arc<World>,
    pub engine: Arc<Cell>,
    /// How long a payment may wait for others to share its transaction.
    gather: Duration,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

/// How one request ended for its caller.
#[derive(Debug)]
pub enum SendResult {
    Answered(Box<SettleAnswer>),
    /// The connection broke: the process died.
    ConnectionLost,
    /// The caller hung up.
    HungUp,
}

impl Clients {
    #[must_use]
    pub fn new(world: Arc<World>, engine: Arc<Cell>, gather: Duration) -> Self {
        Self {
            world,
            engine,
            gather,
            exchanges: Arc::default(),
        }
    }

    /// The same clients at another node.
    #[must_use]
    pub fn at(&self, world: Arc<World>, engine: Arc<Cell>) -> Self {
        Self {
            world,
            engine,
            gather: self.gather,
            exchanges: Arc::clone(&self.exchanges),
        }
    }

    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sends one request over one connection. The caller hangs up after `patience`.
    pub async fn send_once(
        &self,
        request: &Arc<SettleRequest>,
        mut wait_ms: u64,
        mut patience: Duration,
        is_last: bool,
    ) -> SendResult {
        let (at, engine) = self.engine.running().await;
        let requested_ms = self.world.now_ms();
        tracing::info!(
            "nonce {} of tenant {:?} is requested: {request:?}",
            request.payload.nonce,
            request.tenant
        );
        let harm = self.world.faults.draw(Point::Reply);
        match harm {
            Some(Harm::HangUp) => patience = Duration::from_millis(self.world.rng().between(0, wait_ms)),
            Some(Harm::Impatient) => wait_ms = self.world.rng().between(0, 300),
            Some(Harm::CrashBefore) => self.world.faults.die(),
            _ => {}
        }
        let leave = self.world.faults.callers_leave.notified();
        tokio::select! {
            biased;
            () = self.engine.left(at) => SendResult::ConnectionLost,
            () = leave => SendResult::HungUp,
            () = tokio::time::sleep(patience) => SendResult::HungUp,
            settled = engine.settle_waiting(request.payment_request(wait_ms), self.wait()) => {
                let Settled { answer, receipt } = settled;
                if harm == Some(Harm::AnswerLost) {
                    // Dropped: nothing of the answer was written.
                    drop(receipt);
                    return SendResult::HungUp;
                }
                receipt.delivered();
                if harm == Some(Harm::CrashAfter) {
                    self.world.faults.die();
                }
                tracing::info!("nonce {} of tenant {:?} is answered: {answer:?}", request.payload.nonce, request.tenant);
                let exchange = Exchange {
                    requested_ms,
                    answered_ms: self.world.now_ms(),
                    request: Arc::clone(request),
                    answer: answer.clone(),
                    is_last,
                };
                self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
                SendResult::Answered(Box::new(answer))
            }
        }
    }

    fn wait(&self) -> SettleWait {
        SettleWait {
            gather: self.gather,
            ..SettleWait::default()
        }
    }

    /// Settles as a seller's middleware does: it retries after `settlement_pending`, 503 and a broken connection.
    pub async fn settle(&self, request: Arc<SettleRequest>, wait_ms: u64, tries: u32, is_last: bool) {
        let scheduled = ScheduledRequest {
            at_ms: 0,
            request,
            wait_ms,
            tries,
            hangs_up_after_ms: None,
        };
        self.repeat(scheduled, is_last).await;
    }

    /// The same for a request of a scenario.
    pub async fn settle_scheduled(&self, scheduled: ScheduledRequest) {
        self.repeat(scheduled, false).await;
    }

    async fn repeat(&self, scheduled: ScheduledRequest, is_last: bool) {
        let ScheduledRequest {
            request,
            wait_ms,
            tries,
            mut hangs_up_after_ms,
            ..
        } = scheduled;
        for _ in 0..tries {
            let patience = hangs_up_after_ms.take().map_or(LONG, Duration::from_millis);
            let sent = self.send_once(&request, wait_ms, patience, is_last).await;
            if self.is_over(sent).await {
                return;
            }
        }
    }

    /// Whether the caller has its answer. Otherwise it waits as a seller's middleware does before it sends the request
    /// again.
    pub async fn is_over(&self, sent: SendResult) -> bool {
        match sent {
            SendResult::Answered(answer) => match *answer {
                SettleAnswer::Reply(reply)
                    if reply.error_reason.as_deref() == Some(reason::SETTLEMENT_PENDING) => {}
                SettleAnswer::Unavailable { .. } => tokio::time::sleep(Duration::from_secs(2)).await,
                SettleAnswer::Reply(_) | SettleAnswer::Replay(_) => return true,
            },
            SendResult::ConnectionLost => tokio::time::sleep(Duration::from_secs(2)).await,
            SendResult::HungUp => {
                let pause = self.world.rng().between(0, 8_000);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        false
    }
}
