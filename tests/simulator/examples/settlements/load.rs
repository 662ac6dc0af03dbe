//! The callers: each settles one payment after the other, and counts those that were answered with success.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::service::SettleAnswer;
use engine::Engine;
use sdk_plugin::request::{Accepted, Purpose, Requirements};
use sdk_plugin::{Amount, PaymentRequest, ProtocolVersion, Value};
use serde_json::Map;
use simulator::clients::NETWORK;
use simulator::scheme::EXACT;
use simulator::token::TOKEN;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::driver::address;
use crate::scheme::Payload;

/// What a payment moves, atomic units.
pub const AMOUNT: u64 = 1_000;
/// How long a caller waits for its answer, milliseconds.
const PATIENCE_MS: u64 = 25_000;
/// How long an authorization is good, seconds.
const GOOD_FOR_S: u64 = 3_600;
/// A caller that was refused tries its next payment so much later.
const AFTER_A_REFUSAL: Duration = Duration::from_millis(50);

/// What the callers were answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// From request to `success`, microseconds.
    successes: Mutex<Vec<u64>>,
    pending: AtomicU64,
    unavailable: AtomicU64,
    failed: AtomicU64,
    has_ended: AtomicBool,
}

/// Answers of one span of time.
#[derive(Debug)]
pub struct Replies {
    /// Sorted, microseconds.
    pub successes: Vec<u64>,
    pub pending: u64,
    pub unavailable: u64,
    pub failed: u64,
}

impl Replies {
    /// Milliseconds within which so many of 1,000 successes came.
    pub fn within_ms(&self, per_mille: usize) -> u64 {
        let at = self.successes.len().saturating_sub(1) * per_mille / 1_000;
        self.successes.get(at).copied().unwrap_or(0) / 1_000
    }
}

impl Answers {
    /// The answers since the last time.
    pub fn take(&self) -> Replies {
        let mut successes = {
            let mut successes = self.successes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *successes)
        };
        successes.sort_unstable();
        Replies {
            successes,
            pending: self.pending.swap(0, Ordering::Relaxed),
            unavailable: self.unavailable.swap(0, Ordering::Relaxed),
            failed: self.failed.swap(0, Ordering::Relaxed),
        }
    }

    /// No caller begins another payment.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

/// The payer of a caller.
pub fn payer(caller: u64) -> String {
    address(&format!("payer {caller}"))
}

fn request(caller: u64, nonce: u64, now_s: u64) -> PaymentRequest {
    let pay_to = address(&format!("payee {}", caller % 50));
    let payload = Payload {
        from: payer(caller),
        to: pay_to.clone(),
        value: AMOUNT,
        nonce,
        valid_before: now_s.saturating_add(GOOD_FOR_S),
    };
    let payload = match serde_json::to_value(&payload) {
        Ok(Value::Object(payload)) => payload,
        _ => Map::new(),
    };
    PaymentRequest {
        version: ProtocolVersion::V2,
        scheme: EXACT.into(),
        network: NETWORK.into(),
        network_as_sent: NETWORK.into(),
        payload,
        accepted: Accepted {
            scheme: EXACT.into(),
            network: NETWORK.into(),
            raw: Map::new(),
        },
        requirements: Requirements {
            scheme: EXACT.into(),
            network: NETWORK.into(),
            amount: Amount::from(AMOUNT),
            asset: TOKEN.into(),
            pay_to,
            max_timeout_seconds: 60,
            extra: Map::new(),
        },
        resource: None,
        extensions: Map::new(),
        purpose: Purpose::Settle,
        tenant: Some(format!("shop{}", caller % 20)),
        idempotency_key: None,
        remaining_ms: PATIENCE_MS,
        wants_reserves: false,
    }
}

async fn keep_settling(engine: Arc<Engine>, caller: u64, answers: Arc<Answers>) {
    let mut nonce = 0_u64;
    while !answers.has_ended.load(Ordering::Relaxed) {
        nonce = nonce.saturating_add(1);
        let began = Instant::now();
        let answer = engine.settle(request(caller, nonce, SystemClock.now_s())).await;
        let counter = match answer {
            SettleAnswer::Reply(reply) if reply.success => {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                let mut successes = answers.successes.lock().unwrap_or_else(PoisonError::into_inner);
                successes.push(took);
                continue;
            }
            SettleAnswer::Reply(reply) if reply.error_reason.as_deref() == Some("settlement_pending") => {
                &answers.pending
            }
            SettleAnswer::Unavailable { .. } => &answers.unavailable,
            SettleAnswer::Reply(_) | SettleAnswer::Replay(_) => &answers.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(AFTER_A_REFUSAL).await;
    }
}

/// Starts so many callers.
pub fn start(engine: &Arc<Engine>, callers: u64, answers: &Arc<Answers>) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for caller in 0..callers {
        running.spawn(keep_settling(Arc::clone(engine), caller, Arc::clone(answers)));
    }
    running
}
