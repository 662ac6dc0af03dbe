//! Who pays: workers that make payments by `exact` and lead payments by `auth-capture` through their lives, and write
//! down every answer that they get.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use devnet::{AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, AuthCapture};
use e2e::World;
use e2e::escrow::{SHOP_KEY, try_post};
use e2e::hold::{Hold, Method};
use e2e::order::{Bound, Order};
use serde_json::Value;

use crate::auth_capture::property::dice::Dice;

/// What a payment holds, in units.
const HELD: u128 = 10_000;
/// How long a worker follows one operation.
const FOLLOWED_FOR: Duration = Duration::from_secs(25);
/// How often an operation that was refused without a transaction is retried: the node may have lagged.
const MAX_RETRIES: usize = 3;

/// What an operation does on chain, so that it can be found there.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// By the payer's authorization.
    Exact { payer: String, nonce: String },
    /// By the escrow's event about this payment. Captures and refunds of a payment differ in their amounts.
    Escrow {
        deployment: AuthCapture,
        hash: String,
        event: &'static str,
        amount: Option<u128>,
    },
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Exact { payer, nonce } => write!(f, "nonce {nonce} of {payer}"),
            Operation::Escrow {
                hash, event, amount, ..
            } => write!(f, "{event} of {amount:?} of payment {hash}"),
        }
    }
}

/// An answer to a settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Success(String),
    Pending(String),
    Duplicate(String),
    /// Reason and transaction.
    Failed(String, String),
    /// 503, or an answer that leaves the payment undecided.
    Unavailable,
    /// The connection broke.
    ConnectionLost,
}

impl Answer {
    fn is_decided(&self) -> bool {
        match self {
            Answer::Success(_) | Answer::Duplicate(_) | Answer::Failed(..) => true,
            Answer::Pending(_) | Answer::Unavailable | Answer::ConnectionLost => false,
        }
    }
}

/// One operation, and every answer about it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) operation: Operation,
    body: Value,
    pub(super) answers: Vec<Answer>,
}

impl Entry {
    pub(super) fn of(operation: Operation, body: Value, answers: Vec<Answer>) -> Entry {
        Entry {
            operation,
            body,
            answers,
        }
    }

    pub(super) fn is_decided(&self) -> bool {
        self.answers.last().is_some_and(Answer::is_decided)
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) entries: Vec<Entry>,
}

fn settle(world: &World, body: &Value) -> Answer {
    let Ok(reply) = try_post(world, "/settle", body, SHOP_KEY) else {
        return Answer::ConnectionLost;
    };
    let transaction = reply.field("transaction").to_owned();
    match (reply.status, reply.field("errorReason")) {
        (200, _) if reply.is_success() => Answer::Success(transaction),
        (200, "settlement_pending") => Answer::Pending(transaction),
        (200, "duplicate_settlement") => Answer::Duplicate(transaction),
        (200, "unexpected_settle_error") if transaction.is_empty() => Answer::Unavailable,
        (200, reason) => Answer::Failed(reason.to_owned(), transaction),
        (503, _) => Answer::Unavailable,
        _ => panic!("an answer that nobody expects: {reply:?}"),
    }
}

/// One buyer and what it buys.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    world: &'a World,
    ledger: &'a Mutex<Ledger>,
    stop: &'a AtomicBool,
    dice: Dice,
    buyer: usize,
    payments: usize,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        world: &'a World,
        ledger: &'a Mutex<Ledger>,
        stop: &'a AtomicBool,
        dice: Dice,
        number: usize,
    ) -> Worker<'a> {
        Worker {
            world,
            ledger,
            stop,
            dice,
            buyer: 2 + number,
            payments: 0,
        }
    }

    pub(super) fn run(&mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.payments += 1;
            if self.dice.percent(50) {
                self.pay();
            } else {
                self.live();
            }
            std::thread::sleep(Duration::from_millis(self.dice.between(50, 500)));
        }
    }

    fn pay(&mut self) {
        let payment = self.world.payment(self.buyer);
        let operation = Operation::Exact {
            payer: payment.transfer.from.clone(),
            nonce: payment.nonce(),
        };
        self.carry_out(operation, payment.v2());
    }

    /// Hold, captures, perhaps a refund, and what is left goes back.
    fn live(&mut self) {
        let deployment = self.dice.one_of(&[AUTH_CAPTURE_V11, AUTH_CAPTURE_V10]);
        let method = self.dice.one_of(&[Method::Eip3009, Method::Permit2]);
        let mut hold = Hold::v1_1(self.world, self.buyer, deployment, method);
        hold.info.max_amount = HELD;
        // The first one alone pays refunds.
        let operator = usize::from(self.dice.percent(50));
        let signers = &self.world.chain.facilitators;
        hold.info.operator.clone_from(&signers[operator].address);
        // Longer than any disturbance.
        hold.info.pre_approval_expiry += 900;
        let name = format!("buyer {} payment {}", self.buyer, self.payments);
        let bound = Bound::new(self.world, hold, &name);
        let hash = bound.hold.hash(self.world);
        let event = |event: &'static str, amount: Option<u128>| Operation::Escrow {
            deployment,
            hash: hash.clone(),
            event,
            amount,
        };
        let body = bound.collect(self.world);
        if !self.carry_out(event("authorize", Some(HELD)), body) {
            return;
        }
        let (mut held, mut captured) = (HELD, 0);
        for turn in 0..self.dice.between(1, 3) {
            let amount = 1_000 + u128::from(turn) * 500 + u128::from(self.dice.between(1, 400));
            let body = bound.order(self.world, &bound.capture(amount, (held, captured)));
            if !self.carry_out(event("capture", Some(amount)), body) {
                return;
            }
            held -= amount;
            captured += amount;
        }
        if operator == 0 && self.dice.percent(50) {
            let amount = captured / 2;
            let order = Order::Refund {
                amount,
                expected: (held, captured),
            };
            let body = bound.order(self.world, &order);
            if !self.carry_out(event("refund", Some(amount)), body) {
                return;
            }
        }
        if self.dice.percent(70) {
            let body = bound.order(self.world, &Order::Void);
            self.carry_out(event("void", None), body);
        }
    }

    /// Settles until it is decided or takes too long, and writes every answer down. Whether it was done.
    fn carry_out(&mut self, operation: Operation, body: Value) -> bool {
        let mut entry = Entry::of(operation, body, Vec::new());
        let (started, mut refusals) = (Instant::now(), 0);
        let done = loop {
            let answer = settle(self.world, &entry.body);
            entry.answers.push(answer.clone());
            match answer {
                Answer::Success(_) | Answer::Duplicate(_) => break true,
                Answer::Failed(_, transaction) => {
                    refusals += 1;
                    if !transaction.is_empty() || refusals > MAX_RETRIES {
                        break false;
                    }
                    std::thread::sleep(Duration::from_secs(2));
                }
                Answer::Pending(_) | Answer::Unavailable | Answer::ConnectionLost => {
                    std::thread::sleep(Duration::from_millis(300));
                }
            }
            if started.elapsed() > FOLLOWED_FOR {
                break false;
            }
        };
        self.ledger.lock().expect("no panic").entries.push(entry);
        done
    }
}

/// Without faults every operation is decided in this time, and nothing is on its way any more. Whether it is so.
pub(super) fn settle_until_decided(world: &World, ledger: &mut Ledger, calm: Duration) -> bool {
    let started = Instant::now();
    loop {
        for entry in &mut ledger.entries {
            if !entry.is_decided() {
                let answer = settle(world, &entry.body);
                entry.answers.push(answer);
            }
        }
        // What is open is measured every five seconds.
        let quiet = started.elapsed() > Duration::from_secs(6)
            && ledger.entries.iter().all(Entry::is_decided)
            && world.metric("switchyard_open_slots", "") == 0;
        if quiet || started.elapsed() >= calm {
            return quiet;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
