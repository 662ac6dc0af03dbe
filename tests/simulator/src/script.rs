//! Scenarios written by hand: calm weather, and exactly what a test schedules.

use sdk_plugin::StepIndex;
use std::collections::BTreeMap;
use std::sync::Arc;

use base::service::SettleAnswer;
use journal::{AttemptKind, AttemptRow, Event};
use sdk_plugin::wire::{SettleReply, reason};

use crate::chain::Weather;
use crate::clients::{Exchange, SettleRequest};
use crate::driver::unnumbered::last_block_of;
use crate::faults::{Harm, Mode, Point, Scripted};
use crate::hold::HOLD;
use crate::matrix::Tour;
use crate::message::Message;
use crate::run::{Act, Report, Scenario, ScheduledRequest, Terms, simulate_traced};
use crate::scheme::{EXACT, Payload, STEPS, Shape};
use crate::token::Op;

/// The clock's start, in seconds since the epoch.
pub const EPOCH_S: u64 = 1_800_000_000;

/// One signer, a block each second, nothing happens.
#[must_use]
pub fn quiet() -> Scenario {
    let payers = [
        "ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ida", "joe",
    ];
    Scenario {
        seed: 1,
        terms: Terms {
            signers: 1,
            ..Terms::default()
        },
        weather: Weather {
            block_ms: 1_000,
            ..Weather::default()
        },
        mode: Mode::Never,
        journal_lies: false,
        on_disk: false,
        defect: None,
        planted: None,
        balances: payers.map(|payer| (payer.to_owned(), 10_000)).to_vec(),
        requests: Vec::new(),
        calm_at_ms: 120_000,
        acts: Vec::new(),
    }
}

/// A payment of 100 to the shop, good for ten minutes.
#[must_use]
pub fn payment(from: &str, nonce: u64, shape: Shape) -> SettleRequest {
    SettleRequest {
        scheme: match shape {
            Shape::Plain => EXACT,
            Shape::Hold | Shape::Close | Shape::Return => HOLD,
            Shape::Escrow | Shape::Noted | Shape::Shaky | Shape::Stopped | Shape::Approved => STEPS,
        },
        payload: Payload {
            from: from.into(),
            to: "shop".into(),
            value: 100,
            nonce,
            valid_before_s: EPOCH_S + 600,
            shape,
            message: None,
        },
        pay_to: "shop".into(),
        amount: 100,
        tenant: None,
        idempotency_key: None,
    }
}

/// 300 of the payer's are held for the shop.
#[must_use]
pub fn held(from: &str, nonce: u64) -> SettleRequest {
    let mut request = payment(from, nonce, Shape::Hold);
    request.payload.value = 300;
    request.amount = 300;
    request
}

/// The same, good until so many seconds after the start.
#[must_use]
pub fn good_until(mut request: SettleRequest, second: u64) -> SettleRequest {
    request.payload.valid_before_s = EPOCH_S + second;
    request
}

/// The transfer of a payment, as another sender would send it.
#[must_use]
pub fn transfer(request: &SettleRequest) -> Op {
    let payload = request.payload.clone();
    Op::Transfer {
        from: payload.from,
        to: payload.to,
        value: payload.value,
        nonce: payload.nonce,
        valid_before_s: payload.valid_before_s,
        by_allowance: payload.shape == Shape::Approved,
    }
}

/// One signer, a block each second, and transactions have no numbers.
#[must_use]
pub fn quiet_unnumbered() -> Scenario {
    let mut scenario = quiet();
    scenario.terms.ordered = false;
    scenario
}

/// A payment of 100 to the shop by transactions that the buyer signs, good up to this block.
#[must_use]
pub fn signed(from: &str, nonce: u64, shape: Shape, good_until: u64) -> SettleRequest {
    let mut request = payment(from, nonce, shape);
    request.payload.message = Some(Message {
        fee_payer: "signer-k0".into(),
        good_until,
        is_offer: false,
    });
    request
}

/// The same by transactions that the driver makes, until this block.
#[must_use]
pub fn offered(from: &str, nonce: u64, shape: Shape, good_until: u64) -> SettleRequest {
    let mut request = signed(from, nonce, shape, good_until);
    if let Some(message) = &mut request.payload.message {
        message.is_offer = true;
    }
    request
}

impl Scenario {
    /// A seller settles as middleware does: it retries after `settlement_pending`, 503 and broken connections.
    #[must_use]
    pub fn settle(mut self, at_ms: u64, request: &SettleRequest, wait_ms: u64, tries: u32) -> Self {
        self.requests.push(ScheduledRequest {
            at_ms,
            request: Arc::new(request.clone()),
            wait_ms,
            tries,
            hangs_up_after_ms: None,
        });
        self
    }

    /// A caller settles once and hangs up after so long.
    #[must_use]
    pub fn hang_up(mut self, at_ms: u64, request: &SettleRequest, after_ms: u64) -> Self {
        self.requests.push(ScheduledRequest {
            at_ms,
            request: Arc::new(request.clone()),
            wait_ms: 25_000,
            tries: 1,
            hangs_up_after_ms: Some(after_ms),
        });
        self
    }

    #[must_use]
    pub fn act(mut self, at_ms: u64, act: Act) -> Self {
        self.acts.push((at_ms, act));
        self
    }

    /// These passes of a point suffer.
    #[must_use]
    pub fn harm(mut self, point: Point, harm: Harm, from: u64, count: u64) -> Self {
        let one = Scripted {
            point,
            harm,
            from,
            count,
        };
        match &mut self.mode {
            Mode::Script(script) | Mode::Random { aimed: script, .. } => script.push(one),
            Mode::Never => self.mode = Mode::Script(vec![one]),
        }
        self
    }

    /// Runs it and demands a clean verdict; prints the trace otherwise.
    ///
    /// # Panics
    /// The verdict is not clean.
    #[must_use]
    pub fn run_clean(&self) -> Report {
        let (report, trace) = simulate_traced(self).unwrap_or_else(|error| panic!("no runtime: {error}"));
        assert!(
            report.verdict.is_clean(),
            "{trace}\n{:#?}\n{:?}",
            report.verdict,
            self.mode
        );
        report
    }
}

/// The kind of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Pending,
    Duplicate,
    /// HTTP 503.
    Unavailable,
    /// The plugin failed before anything was started.
    Unexpected,
    /// Any other reason.
    Refused(String),
}

impl Outcome {
    #[must_use]
    pub fn of(exchange: &Exchange) -> Self {
        if matches!(exchange.answer, SettleAnswer::Unavailable { .. }) {
            return Self::Unavailable;
        }
        match exchange.reply() {
            Some(reply) if reply.success => Self::Success,
            Some(reply) => match reply.error_reason.as_deref() {
                Some(reason::SETTLEMENT_PENDING) => Self::Pending,
                Some(reason::DUPLICATE_SETTLEMENT) => Self::Duplicate,
                Some(reason::UNEXPECTED_SETTLE_ERROR) => Self::Unexpected,
                other => Self::Refused(other.unwrap_or_default().to_owned()),
            },
            None => Self::Refused("an answer that can't be read".into()),
        }
    }
}

impl Report {
    /// The answers to this request, in order.
    #[must_use]
    pub fn outcomes(&self, request: &SettleRequest) -> Vec<Outcome> {
        self.exchanges
            .iter()
            .filter(|exchange| *exchange.request == *request)
            .map(Outcome::of)
            .collect()
    }

    /// Asserts that exactly one caller with this request was answered `success`, and none with a failure.
    ///
    /// # Panics
    /// The answers are others.
    #[track_caller]
    pub fn assert_paid_once(&self, request: &SettleRequest) {
        let outcomes = self.outcomes(request);
        let successes = outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Success)
            .count();
        assert_eq!(successes, 1, "{:?}: {outcomes:?}", request.payload);
        let failed = |outcome: &&Outcome| matches!(outcome, Outcome::Refused(_) | Outcome::Unexpected);
        assert_eq!(
            outcomes.iter().find(failed),
            None,
            "{:?}: {outcomes:?}",
            request.payload
        );
    }

    /// The replies to this request, in order.
    #[must_use]
    pub fn replies(&self, request: &SettleRequest) -> Vec<SettleReply> {
        let exchanges = self
            .exchanges
            .iter()
            .filter(|exchange| *exchange.request == *request);
        exchanges.filter_map(Exchange::reply).collect()
    }

    /// Transactions that were journaled for steps, fills left out.
    pub fn attempts(&self) -> impl Iterator<Item = &AttemptRow> {
        self.log.iter().filter_map(|event| match event {
            Event::Prepared(new) if new.row.kind == AttemptKind::Steps => Some(&new.row),
            _ => None,
        })
    }

    /// An account's balance at the end.
    #[must_use]
    pub fn balance(&self, of: &str) -> u64 {
        self.state.balances.get(of).copied().unwrap_or(0)
    }

    /// Whether no slot ever got a second transaction or a fill, and no step that the buyer has signed a second slot.
    ///
    /// # Errors
    /// What did.
    pub fn never_replaced(&self) -> Result<(), String> {
        let mut attempts: BTreeMap<((u64, StepIndex), Option<u64>), u32> = BTreeMap::new();
        for event in &self.log {
            let Event::Prepared(attempt) = event else {
                continue;
            };
            if attempt.row.kind == AttemptKind::Fill {
                return Err(format!("a fill: {:?}", attempt.row));
            }
            for step in &attempt.row.covers {
                let slot = last_block_of(&attempt.row).map(|_| attempt.row.sequence);
                *attempts.entry((*step, slot)).or_default() += 1;
            }
        }
        match attempts.iter().find(|(_, count)| **count > 1) {
            Some((step, count)) => Err(format!("{step:?} has {count} attempts")),
            None => Ok(()),
        }
    }

    /// How often a fault struck.
    #[must_use]
    pub fn struck(&self, point: Point, harm: Harm) -> u64 {
        self.faults.get(&(point, harm)).copied().unwrap_or(0)
    }
}

/// Payments of the tour that are paid in the end, whatever single fault strikes.
#[must_use]
pub fn tour_payments() -> Vec<SettleRequest> {
    let shapes = [
        ("ann", Shape::Plain),
        ("bob", Shape::Escrow),
        ("cyd", Shape::Noted),
        ("eve", Shape::Shaky),
        ("fay", Shape::Plain),
        ("hal", Shape::Plain),
        ("ida", Shape::Plain),
    ];
    (1..)
        .zip(shapes)
        .map(|(at, (payer, shape))| payment(payer, at * 10, shape))
        .collect()
}

/// A run that passes every point of the pipeline: all plans, a client's own transaction, twins, a thief, an impatient seller whose release is taken
/// later, a payment that is held and given back, a slot that must be filled, one that must be rebid, and a restart.
#[must_use]
pub fn tour() -> Scenario {
    let requests = tour_payments();
    let [plain, escrow, noted, shaky, impatient, stuck, last] = requests.as_slice() else {
        unreachable!("seven payments")
    };
    let thief = SettleRequest {
        pay_to: "thief".into(),
        ..plain.clone()
    };
    let stopped = payment("dan", 900, Shape::Stopped);
    let expiring = good_until(payment("gus", 910, Shape::Plain), 62);
    let approved = payment("gus", 960, Shape::Approved);
    quiet()
        .settle(650, &approved, 25_000, 8)
        .settle(500, plain, 25_000, 8)
        .settle(510, plain, 25_000, 8)
        .settle(600, escrow, 25_000, 8)
        .settle(700, noted, 25_000, 8)
        .settle(700, &stopped, 25_000, 2)
        .settle(700, shaky, 25_000, 8)
        .settle(900, &thief, 25_000, 1)
        .settle(20_000, impatient, 300, 1)
        .settle(40_000, impatient, 25_000, 8)
        .act(50_000, Act::Delay(true))
        .settle(50_200, &expiring, 10_000, 2)
        .act(75_000, Act::Delay(false))
        .act(79_500, Act::Delay(true))
        .settle(80_000, stuck, 25_000, 8)
        .act(80_500, Act::Fee(Some(50)))
        .act(80_600, Act::Delay(false))
        .act(95_000, Act::Fee(None))
        .act(100_000, Act::Kill)
        .settle(101_000, last, 25_000, 8)
        .settle(30_000, &held("joe", 950), 25_000, 8)
}

/// The same where transactions have no numbers. A fork loses a payment that was answered, the price rises above what the
/// buyer of another has signed, and a third can't land before it is too old.
#[must_use]
pub fn unnumbered_tour() -> Tour {
    let requests: Vec<SettleRequest> = tour_payments()
        .into_iter()
        .map(|request| {
            signed(
                &request.payload.from,
                request.payload.nonce,
                request.payload.shape,
                600,
            )
        })
        .collect();
    let [plain, escrow, noted, shaky, impatient, stuck, last] = requests.as_slice() else {
        unreachable!("seven payments")
    };
    let thief = SettleRequest {
        pay_to: "thief".into(),
        ..plain.clone()
    };
    let stopped = signed("dan", 900, Shape::Stopped, 600);
    let expiring = signed("gus", 910, Shape::Plain, 62);
    let scenario = quiet_unnumbered()
        .settle(500, plain, 25_000, 8)
        .settle(510, plain, 25_000, 8)
        .settle(600, escrow, 25_000, 8)
        .settle(700, noted, 25_000, 8)
        .settle(700, &stopped, 25_000, 2)
        .settle(700, shaky, 25_000, 8)
        .settle(900, &thief, 25_000, 1)
        .settle(20_000, impatient, 300, 1)
        .act(23_400, Act::LoseInReorgs(1_000))
        .act(23_500, Act::Reorg(4))
        .settle(40_000, impatient, 25_000, 8)
        .act(50_000, Act::Delay(true))
        .settle(50_200, &expiring, 10_000, 4)
        .act(75_000, Act::Delay(false))
        .act(79_500, Act::Fee(Some(100)))
        .settle(80_000, stuck, 25_000, 8)
        .act(95_000, Act::Fee(None))
        .act(100_000, Act::Kill)
        .settle(101_000, last, 25_000, 8);
    Tour {
        scenario,
        payments: requests,
    }
}
