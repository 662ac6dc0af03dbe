//! Sellers: patient and impatient ones, twins, and some that try what they should not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::service::SettleAnswer;
use engine::Engine;
use sdk_plugin::request::{Accepted, Purpose, Requirements};
use sdk_plugin::wire::{SettleReply, reason};
use sdk_plugin::{Amount, PaymentRequest, ProtocolVersion, Value};
use serde_json::Map;
use tokio::sync::Notify;

use crate::faults::{Harm, Point};
use crate::run::Visit;
use crate::scheme::Payload;
use crate::token::TOKEN;
use crate::world::World;

pub const NETWORK: &str = "sim:1";
/// Longer than any answer takes.
const LONG: Duration = Duration::from_secs(3_600);

/// One settle as a seller sends it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    pub scheme: &'static str,
    pub payload: Payload,
    pub pay_to: String,
    pub amount: u64,
    pub tenant: Option<String>,
    pub idempotency_key: Option<String>,
}

impl Ask {
    /// Whether the terms are what the buyer signed.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.pay_to == self.payload.to && self.amount == self.payload.value
    }

    fn request(&self, remaining_ms: u64) -> PaymentRequest {
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
        }
    }
}

/// What a caller heard, and when.
#[derive(Debug, Clone)]
pub struct Told {
    /// When the request began.
    pub asked_ms: u64,
    pub at_ms: u64,
    pub ask: Arc<Ask>,
    pub answer: SettleAnswer,
    /// Sent when every fault was over.
    pub is_last: bool,
}

impl Told {
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

/// The running engine, or none. (Not a `watch` channel: that one wakes its readers in a random order.)
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
    told: Arc<Mutex<Vec<Told>>>,
}

/// How one request ended for its caller.
#[derive(Debug)]
pub enum Heard {
    Said(Box<SettleAnswer>),
    /// The connection broke: the process died.
    Lost,
    /// The caller hung up.
    Gone,
}

impl Clients {
    #[must_use]
    pub fn new(world: Arc<World>, engine: Arc<Cell>) -> Self {
        Self {
            world,
            engine,
            told: Arc::default(),
        }
    }

    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One request over one connection, on which the caller hangs up after its patience.
    pub async fn send_once(
        &self,
        ask: &Arc<Ask>,
        mut wait_ms: u64,
        mut patience: Duration,
        is_last: bool,
    ) -> Heard {
        let (at, engine) = self.engine.running().await;
        let asked_ms = self.world.now_ms();
        match self.world.faults.draw(Point::Reply) {
            Some(Harm::HangUp) => patience = Duration::from_millis(self.world.rng().between(0, wait_ms)),
            Some(Harm::Impatient) => wait_ms = self.world.rng().between(0, 300),
            _ => {}
        }
        tokio::select! {
            biased;
            () = self.engine.left(at) => Heard::Lost,
            () = tokio::time::sleep(patience) => Heard::Gone,
            answer = engine.settle(ask.request(wait_ms)) => {
                tracing::info!("HEARD {} of {:?}: {answer:?}", ask.payload.nonce, ask.tenant);
                let told = Told { asked_ms, at_ms: self.world.now_ms(), ask: Arc::clone(ask), answer: answer.clone(), is_last };
                self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
                Heard::Said(Box::new(answer))
            }
        }
    }

    /// Retries as a seller's middleware does: again after `settlement_pending`, after 503, and after a broken connection.
    pub async fn ask(&self, ask: Arc<Ask>, wait_ms: u64, tries: u32, is_last: bool) {
        let visit = Visit {
            at_ms: 0,
            ask,
            wait_ms,
            tries,
            hangs_up_after_ms: None,
        };
        self.repeat(visit, is_last).await;
    }

    /// The same, as a script has it.
    pub async fn visit(&self, visit: Visit) {
        self.repeat(visit, false).await;
    }

    async fn repeat(&self, visit: Visit, is_last: bool) {
        let Visit {
            ask,
            wait_ms,
            tries,
            mut hangs_up_after_ms,
            ..
        } = visit;
        for _ in 0..tries {
            let patience = hangs_up_after_ms.take().map_or(LONG, Duration::from_millis);
            match self.send_once(&ask, wait_ms, patience, is_last).await {
                Heard::Said(answer) => match *answer {
                    SettleAnswer::Reply(reply)
                        if reply.error_reason.as_deref() == Some(reason::SETTLEMENT_PENDING) => {}
                    SettleAnswer::Unavailable { .. } => tokio::time::sleep(Duration::from_secs(2)).await,
                    SettleAnswer::Reply(_) | SettleAnswer::Replay(_) => return,
                },
                Heard::Lost => tokio::time::sleep(Duration::from_secs(2)).await,
                Heard::Gone => {
                    let pause = self.world.rng().between(0, 8_000);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }
}
