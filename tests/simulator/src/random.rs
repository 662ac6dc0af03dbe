//! A scenario from a seed: payments, twins, thieves, weather and faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chain::Weather;
use crate::clients::SettleRequest;
use crate::faults::Mode;
use crate::hold::HOLD;
use crate::message::Message;
use crate::rng::Rng;
use crate::run::{Act, Scenario, ScheduledRequest, Terms};
use crate::scheme::{EXACT, Payload, STEPS, Shape};
use crate::token::Op;

/// The clock's start, in seconds since the epoch.
const EPOCH_S: u64 = 1_800_000_000;
/// Enough of them that those who have to wait after failures on chain do not bring everything to a halt.
const PAYERS: [&str; 10] = [
    "ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ida", "joe",
];
/// Nonce of the first payment that is held.
const FIRST_HELD: u64 = 1_000_000;
/// Nonce of the first payment whose payer approves it by a transaction of its own.
const FIRST_APPROVED: u64 = 2_000_000;
/// Requests come within this time.
const SPAN_MS: u64 = 90_000;

/// In every second run several payments may share a transaction.
fn max_batch(seed: u64) -> usize {
    let more = usize::try_from(seed / 2 % 5).unwrap_or_default();
    if seed.is_multiple_of(2) { 1 } else { 2 + more }
}

/// In a third of the runs with shared transactions, payments wait for each other.
fn gather_ms(seed: u64) -> u64 {
    if max_batch(seed) > 1 && seed.is_multiple_of(3) {
        700
    } else {
        0
    }
}

/// Everything about a run, from its seed.
#[must_use]
pub fn scenario(seed: u64, payments: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let terms = Terms {
        signers: usize::try_from(rng.between(1, 3)).unwrap_or(1),
        max_in_flight: usize::try_from(rng.between(1, 6)).unwrap_or(1),
        lane_queue: usize::try_from(rng.between(2, 10)).unwrap_or(2),
        // Not drawn: seeds keep their stories.
        second_source_above: seed.is_multiple_of(3).then_some(200),
        max_batch: max_batch(seed),
        gather_ms: gather_ms(seed),
        ..Terms::default()
    };
    let mut maker = Maker {
        rng: rng.fork(),
        requests: Vec::new(),
        acts: Vec::new(),
    };
    for nonce in 0..payments {
        maker.payment(nonce);
    }
    if terms.max_batch > 1 {
        maker.gather();
    }
    // From numbers of their own: seeds keep their stories.
    let mut holds = Maker {
        rng: Rng::new(seed ^ 0x0401_d5c1_0500_0003),
        requests: Vec::new(),
        acts: Vec::new(),
    };
    for at in 0..payments / 6 {
        holds.held(FIRST_HELD + at);
    }
    maker.requests.append(&mut holds.requests);
    let mut approvals = Maker {
        rng: Rng::new(seed ^ 0x0a99_04a1_5000_0007),
        requests: Vec::new(),
        acts: Vec::new(),
    };
    if seed % 4 == 3 {
        for at in 0..payments / 4 {
            approvals.approved(FIRST_APPROVED + at * 10);
        }
    }
    maker.requests.append(&mut approvals.requests);
    maker.acts.append(&mut approvals.acts);
    let mode = match rng.between(0, 9) {
        0 => Mode::Never,
        1..=6 => Mode::Random {
            per_mille: rng.between(5, 60),
            crashes: 150,
            rng: rng.fork(),
            aimed: Vec::new(),
        },
        _ => Mode::Random {
            per_mille: rng.between(60, 200),
            crashes: 60,
            rng: rng.fork(),
            aimed: Vec::new(),
        },
    };
    let balances = PAYERS.map(|payer| (payer.to_owned(), rng.between(500, 30_000)));
    for _ in 0..rng.between(0, 3) {
        maker.acts.push((rng.between(500, SPAN_MS), Act::Kill));
    }
    Scenario {
        seed,
        terms,
        weather: weather(&mut rng, terms),
        mode,
        journal_lies: false,
        on_disk: false,
        defect: None,
        planted: None,
        balances: balances.to_vec(),
        requests: maker.requests,
        calm_at_ms: SPAN_MS + 30_000,
        acts: maker.acts,
    }
}

/// The same seed's story where transactions have no numbers: what buyers sign are transactions, some of which are soon
/// too old.
#[must_use]
pub fn unnumbered(seed: u64, payments: u64) -> Scenario {
    let mut scenario = scenario(seed, payments);
    let mut rng = Rng::new(seed ^ 0x0b10_c4a5_4000_0002);
    scenario.terms.ordered = false;
    scenario.requests.retain(|scheduled| {
        scheduled.request.scheme != HOLD && scheduled.request.payload.shape != Shape::Approved
    });
    scenario.weather.key_elsewhere = 0;
    // Nobody else can make a payment that is a transaction, nor withdraw one.
    scenario
        .acts
        .retain(|(_, act)| !matches!(act, Act::Outside(Op::Transfer { .. } | Op::Cancel { .. })));
    let mut messages: BTreeMap<Payload, Message> = BTreeMap::new();
    let mut first: BTreeMap<u64, Payload> = BTreeMap::new();
    for scheduled in &mut scenario.requests {
        let mut request = (*scheduled.request).clone();
        let payload = request.payload.clone();
        let message = messages.entry(payload.clone()).or_insert_with(|| {
            let blocks = if rng.chance(250) {
                rng.between(2, 15)
            } else {
                rng.between(40, 150)
            };
            let signer = rng.index(scenario.terms.signers);
            Message {
                fee_payer: format!("signer-k{signer}"),
                good_until: scheduled.at_ms / scenario.weather.block_ms + blocks,
                is_offer: rng.chance(400),
            }
        });
        if *first.entry(payload.nonce).or_insert_with(|| payload.clone()) != payload {
            // Another message is another payment.
            request.payload.nonce += if payload.to == "kiosk" { 3 } else { 6 };
        }
        request.payload.message = Some(message.clone());
        scheduled.request = Arc::new(request);
    }
    scenario
}

fn weather(rng: &mut Rng, terms: Terms) -> Weather {
    let block_ms = [400, 1_000, 2_000][rng.index(3)];
    if rng.chance(150) {
        return Weather {
            block_ms,
            ..Weather::default()
        };
    }
    let mut upto = |most: u64| if rng.chance(500) { 0 } else { rng.between(1, most) };
    Weather {
        block_ms,
        reorg: upto(80),
        reorg_depth: 1 + upto(terms.finality - 2),
        lost_in_reorg: upto(500),
        dropped: upto(60),
        delayed: upto(500),
        spike: upto(60),
        stale: upto(100),
        halt: upto(20),
        key_elsewhere: upto(15),
        lag: upto(30),
        null: upto(30),
        pruned: upto(15),
        future_head: upto(10),
        underpriced: upto(20),
    }
}

struct Maker {
    rng: Rng,
    requests: Vec<ScheduledRequest>,
    acts: Vec<(u64, Act)>,
}

/// Payments that may share a transaction come together this often.
const TOGETHER_EVERY_MS: u64 = 5_000;

impl Maker {
    /// Has the payments that may share a transaction come at the same moments.
    fn gather(&mut self) {
        for scheduled in &mut self.requests {
            if scheduled.request.payload.shape == Shape::Plain {
                scheduled.at_ms -= scheduled.at_ms % TOGETHER_EVERY_MS;
            }
        }
    }

    /// A payment that is held, and closed by another sender or given back by its keeper.
    fn held(&mut self, nonce: u64) {
        let from = PAYERS[self.rng.index(PAYERS.len())].to_owned();
        let start_ms = self.rng.between(0, SPAN_MS);
        let value = self.rng.between(10, 600);
        let request = |shape, value| SettleRequest {
            scheme: HOLD,
            payload: Payload {
                from: from.clone(),
                to: "shop".into(),
                value,
                nonce,
                valid_before_s: EPOCH_S + start_ms / 1_000 + 300,
                shape,
                message: None,
            },
            pay_to: "shop".into(),
            amount: value,
            tenant: None,
            idempotency_key: None,
        };
        self.schedule(&request(Shape::Hold, value), start_ms);
        if self.rng.chance(600) {
            let close = request(Shape::Close, self.rng.between(1, value));
            let at_ms = start_ms + self.rng.between(2_000, 60_000);
            self.schedule(&close, at_ms);
            if self.rng.chance(300) {
                let again_ms = at_ms + self.rng.between(0, 10_000);
                self.schedule(&close, again_ms);
            }
        }
    }

    /// A payment of a payer that may not have approved yet. All of a payer's approvals are one transaction.
    fn approved(&mut self, nonce: u64) {
        let start_ms = self.rng.between(0, SPAN_MS);
        let value = self.rng.between(1, 2_000);
        let request = SettleRequest {
            scheme: STEPS,
            payload: Payload {
                from: PAYERS[self.rng.index(PAYERS.len())].to_owned(),
                to: "shop".into(),
                value,
                nonce,
                valid_before_s: EPOCH_S + start_ms / 1_000 + self.rng.between(10, 300),
                shape: Shape::Approved,
                message: None,
            },
            pay_to: "shop".into(),
            amount: value,
            tenant: None,
            idempotency_key: None,
        };
        self.schedule(&request, start_ms);
        self.rivals(&request, start_ms);
        self.strangers(&request, start_ms);
    }

    fn payment(&mut self, at: u64) {
        let rng = &mut self.rng;
        let from = PAYERS[rng.index(PAYERS.len())].to_owned();
        let to = ["shop", "cafe", "kiosk"][rng.index(3)].to_owned();
        let shape = match rng.between(0, 9) {
            0..=5 => Shape::Plain,
            6 => Shape::Escrow,
            7 => Shape::Noted,
            8 => Shape::Shaky,
            _ => Shape::Stopped,
        };
        let start_ms = rng.between(0, SPAN_MS);
        // Most are good for minutes; some run out while they are on their way.
        let life_s = if rng.chance(250) {
            rng.between(3, 40)
        } else {
            rng.between(60, 600)
        };
        let payload = Payload {
            from,
            to: to.clone(),
            value: rng.between(1, 2_000),
            nonce: at * 10,
            valid_before_s: EPOCH_S + start_ms / 1_000 + life_s,
            shape,
            message: None,
        };
        let tenant = rng.chance(300).then(|| "acme".to_owned());
        let request = SettleRequest {
            scheme: if shape == Shape::Plain { EXACT } else { STEPS },
            pay_to: to,
            amount: payload.value,
            payload,
            idempotency_key: rng.chance(200).then(|| format!("key-{at}")),
            tenant,
        };
        self.schedule(&request, start_ms);
        self.rivals(&request, start_ms);
        self.strangers(&request, start_ms);
    }

    fn schedule(&mut self, request: &SettleRequest, at_ms: u64) {
        let wait_ms = match self.rng.between(0, 4) {
            0 => self.rng.between(100, 3_000),
            1 => self.rng.between(3_000, 10_000),
            _ => 25_000,
        };
        let tries = u32::try_from(self.rng.between(1, 5)).unwrap_or(1);
        self.requests.push(ScheduledRequest {
            at_ms,
            request: Arc::new(request.clone()),
            wait_ms,
            tries,
            hangs_up_after_ms: None,
        });
    }

    /// Others with the same payload, at once or later.
    fn rivals(&mut self, request: &SettleRequest, start_ms: u64) {
        for _ in 0..self.rng.between(0, 4).saturating_sub(1) {
            let later = if self.rng.chance(500) {
                0
            } else {
                self.rng.between(0, 40_000)
            };
            let mut other = request.clone();
            match self.rng.between(0, 9) {
                0 => other.pay_to = "thief".into(),
                1 => other.amount = other.amount.saturating_mul(1_000_000),
                2 => other.tenant = Some("rival".into()),
                3 => other.payload.valid_before_s += 1,
                4 => {
                    // The buyer signs the same nonce for another receiver.
                    other.payload.to = "kiosk".into();
                    other.pay_to = "kiosk".into();
                }
                _ => {}
            }
            self.schedule(&other, start_ms + later);
        }
    }

    /// What happens on the chain beside.
    fn strangers(&mut self, request: &SettleRequest, start_ms: u64) {
        let at_ms = start_ms + self.rng.between(0, 12_000);
        let Payload {
            from,
            to,
            value,
            nonce,
            valid_before_s,
            ..
        } = request.payload.clone();
        let op = match self.rng.between(0, 19) {
            0 | 1 if request.payload.shape != Shape::Escrow => Op::Transfer {
                from,
                to,
                value,
                nonce,
                valid_before_s,
                by_allowance: request.payload.shape == Shape::Approved,
            },
            2 => Op::Cancel { from, nonce },
            3 | 4 => Op::Spend {
                from,
                value: self.rng.between(100, 20_000),
            },
            _ => return,
        };
        self.acts.push((at_ms, Act::Outside(op)));
    }
}
