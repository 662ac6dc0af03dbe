//! One merchant's payments, one after the other: random steps, each answered as it should be and each found on the chain.

use std::sync::RwLock;

use devnet::USDC;
use e2e::order::{Order, fee_of, fee_units};
use e2e::{World, wait};
use serde_json::{Value, json};

use super::books::{Gains, Move};
use super::dice::Dice;
use super::payment::{MARGIN_S, Payment, clock, deadline, draw, on_chain};
use super::settle::{Outcome, may_all_succeed, settle, settle_concurrently};

/// Blocks may come in between, each of which moves the chain's clock.
const SLACK_S: u64 = 12;

/// Who a worker's payments are between, and nobody else's.
#[derive(Debug, Clone)]
pub(super) struct People {
    pub(super) buyer: usize,
    pub(super) receiver: String,
    pub(super) fee_receiver: String,
}

/// What a step must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    Succeed,
    Fail,
    /// Too near a deadline to be certain.
    Either,
}

/// A step that was in flight when the facilitator died.
#[derive(Debug, Clone)]
struct Open {
    orders: Vec<(Value, Move)>,
    must: Must,
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) dice: Dice,
    people: People,
    name: String,
    payments: usize,
    current: Option<Payment>,
    open: Option<Open>,
    /// A capture was answered, and the void after it was not seen yet.
    rest_is_due: bool,
    /// Gains of all payments so far, and where the accounts started.
    gains: Gains,
    start: [i128; 3],
    /// Finished ones, to be compared again at the end.
    pub(super) past: Vec<Payment>,
    pub(super) done: usize,
    pub(super) refused: usize,
}

impl Life {
    pub(super) fn new(world: &World, dice: Dice, people: People, name: String) -> Life {
        let start = balances(world, &people);
        Life {
            dice,
            people,
            name,
            payments: 0,
            current: None,
            open: None,
            rest_is_due: false,
            gains: Gains::default(),
            start,
            past: Vec::new(),
            done: 0,
            refused: 0,
        }
    }

    /// Units in escrow under an operator that this life knows of.
    pub(super) fn held(&self, escrow: &str, operator: &str) -> u128 {
        let all = self.past.iter().chain(&self.current);
        all.filter(|payment| {
            let hold = &payment.bound.hold;
            hold.deployment.escrow == escrow && hold.info.operator == operator
        })
        .map(|payment| payment.model.capturable)
        .sum()
    }

    /// One step. Time is not moved by others meanwhile: they hold `time` for writing.
    pub(super) fn step(&mut self, world: &World, time: &RwLock<()>) {
        if self.dice.percent(3) {
            let _alone = time.write().expect("no panic");
            world
                .chain
                .increase_time(self.dice.between(20, 90))
                .expect("time passes");
            world.chain.mine(1).expect("mines");
            return;
        }
        let _still = time.read().expect("no panic");
        let Some(payment) = self.current.take() else {
            return self.begin(world);
        };
        let model = payment.model;
        let over = model.collected && model.capturable == 0 && model.refundable == 0;
        if !model.collected || over || self.dice.percent(8) {
            self.past.push(payment);
            return self.begin(world);
        }
        self.current = Some(payment.clone());
        let nothing_held = model.capturable == 0;
        match self.dice.between(1, 100) {
            // What can't be is tried too, but not most of the time.
            1..=60 if nothing_held => self.refund(world, &payment),
            1..=60 if !payment.takes_orders => self.reclaim(world, &payment),
            1..=34 => self.capture(world, &payment, false),
            35..=44 => self.capture(world, &payment, true),
            45..=54 => self.void(world, &payment),
            55..=69 => self.refund(world, &payment),
            70..=77 => self.reclaim(world, &payment),
            78..=85 => self.replay(world, &payment),
            86..=92 => self.race(world, &payment),
            _ => self.forge(world, &payment),
        }
    }

    fn begin(&mut self, world: &World) {
        self.payments += 1;
        let name = format!("{} payment {}", self.name, self.payments);
        let (payment, good) = draw(&mut self.dice, world, &self.people, &name);
        let info = payment.bound.hold.info.clone();
        let deployment = payment.bound.hold.deployment;
        let start = clock(world);
        let (body, carried) = if payment.charged && payment.takes_orders {
            let amount = self.dice.units(1, info.max_amount);
            let fee = self.fee(&payment, amount);
            let body = payment.bound.charge(world, amount, fee);
            (body, Move::Charge(amount, fee_units(&deployment, amount, fee)))
        } else if payment.charged {
            let fee = fee_of(&deployment, info.max_amount, info.min_fee_bps);
            let fee = fee_units(&deployment, info.max_amount, fee);
            (payment.bound.hold.body(world), Move::Charge(info.max_amount, fee))
        } else if payment.takes_orders {
            (payment.bound.collect(world), Move::Hold(info.max_amount))
        } else {
            (payment.bound.hold.body(world), Move::Hold(info.max_amount))
        };
        self.current = Some(payment);
        let twice = self.dice.percent(15);
        self.settle_and_check(world, &body, carried, twice, |end| {
            if !good || start + 6 >= info.pre_approval_expiry {
                Must::Fail
            } else if end + SLACK_S + 6 < info.pre_approval_expiry
                && end + SLACK_S + 60 <= info.authorization_expiry
            {
                Must::Succeed
            } else {
                Must::Either
            }
        });
    }

    /// Within the terms, in the deployment's form.
    fn fee(&mut self, payment: &Payment, amount: u128) -> u128 {
        let (info, deployment) = (&payment.bound.hold.info, &payment.bound.hold.deployment);
        let least = fee_of(deployment, amount, info.min_fee_bps);
        let most = fee_of(deployment, amount, info.max_fee_bps);
        self.dice.units(least, most)
    }

    fn draft_capture(&mut self, payment: &Payment, amount: u128, close_out: bool) -> (Order, Move) {
        let (info, deployment) = (&payment.bound.hold.info, &payment.bound.hold.deployment);
        let fee = self.fee(payment, amount);
        let order = Order::Capture {
            amount,
            fee,
            fee_receiver: info.fee_receiver.clone(),
            expected: (payment.model.capturable, payment.model.refundable),
            close_out,
        };
        let carried = Move::Capture {
            amount,
            fee: fee_units(deployment, amount, fee),
            rest_goes_back: close_out,
        };
        (order, carried)
    }

    fn capture(&mut self, world: &World, payment: &Payment, close_out: bool) {
        let held = payment.model.capturable;
        let amount = match self.dice.between(1, 10) {
            1..=2 => held,
            // More than there is.
            3 => held + self.dice.units(1, 1_000),
            _ => self.dice.units(1, held.max(1)),
        };
        let (order, carried) = self.draft_capture(payment, amount, close_out);
        let possible = payment.takes_orders
            && !payment.charged
            && (1..=held).contains(&amount)
            && !(close_out && amount == held);
        self.order(world, payment, &order, carried, possible);
    }

    fn void(&mut self, world: &World, payment: &Payment) {
        let possible = payment.takes_orders && !payment.charged && payment.model.capturable > 0;
        self.order(world, payment, &Order::Void, Move::Return, possible);
    }

    fn refund(&mut self, world: &World, payment: &Payment) {
        let refundable = payment.model.refundable;
        let amount = match self.dice.between(1, 10) {
            1..=2 => refundable,
            3 => refundable + 1,
            _ => self.dice.units(1, refundable.max(1)),
        };
        let order = Order::Refund {
            amount,
            expected: (payment.model.capturable, refundable),
        };
        let possible = payment.takes_orders && (1..=refundable).contains(&amount);
        self.order(world, payment, &order, Move::Refund(amount), possible);
    }

    fn order(&mut self, world: &World, payment: &Payment, order: &Order, carried: Move, possible: bool) {
        let body = payment.bound.order(world, order);
        let deadline = deadline(payment, order);
        let start = clock(world);
        let twice = self.dice.percent(15);
        self.settle_and_check(world, &body, carried, twice, |end| match deadline {
            _ if !possible => Must::Fail,
            Some(deadline) if start >= deadline => Must::Fail,
            Some(deadline) if end + SLACK_S >= deadline => Must::Either,
            Some(_) | None => Must::Succeed,
        });
    }

    fn reclaim(&mut self, world: &World, payment: &Payment) {
        let hold = &payment.bound.hold;
        let deadline = hold.info.authorization_expiry;
        let start = clock(world);
        let receipt = world.chain.reclaim(&hold.deployment, &hold.info);
        let done = receipt.is_ok_and(|receipt| receipt["status"] == "0x1");
        let end = clock(world);
        if start < deadline && end + SLACK_S >= deadline {
            // Too near to be certain.
        } else {
            let possible = start >= deadline && payment.model.capturable > 0;
            assert_eq!(done, possible, "reclaim of {payment:?} between {start} and {end}");
        }
        if done {
            self.carry_out(Move::Return, None);
        } else {
            self.refused += 1;
        }
        self.compare(world);
    }

    /// What was carried out once is not carried out again.
    fn replay(&mut self, world: &World, payment: &Payment) {
        if payment.spent.is_empty() {
            return;
        }
        let last = u64::try_from(payment.spent.len() - 1).expect("small");
        let at = usize::try_from(self.dice.between(0, last)).expect("small");
        self.settle_and_check(world, &payment.spent[at].clone(), Move::Return, false, |_| {
            Must::Fail
        });
    }

    /// Two orders that exclude one another, at once.
    fn race(&mut self, world: &World, payment: &Payment) {
        let model = payment.model;
        if !payment.takes_orders || payment.charged || model.capturable < 2 {
            return;
        }
        let first = self.dice.units(1, model.capturable);
        let second = self.dice.units(1, model.capturable);
        let one = self.draft_capture(payment, first, false);
        let other = if self.dice.percent(50) {
            (Order::Void, Move::Return)
        } else {
            self.draft_capture(payment, second, false)
        };
        let deadline = payment.bound.hold.info.authorization_expiry;
        let orders: Vec<(Value, Move)> = [one, other]
            .iter()
            .map(|(order, carried)| (payment.bound.order(world, order), *carried))
            .collect();
        let replies = settle_concurrently(world, &orders);
        let end = clock(world);
        let must = if end + MARGIN_S + SLACK_S < deadline {
            Must::Succeed
        } else {
            Must::Either
        };
        self.learn(world, orders, replies, must);
    }

    /// An order that nobody signed.
    fn forge(&mut self, world: &World, payment: &Payment) {
        if !payment.takes_orders {
            return;
        }
        let info = &payment.bound.hold.info;
        let amount = self.dice.units(1, payment.model.capturable.max(1));
        let (order, carried) = self.draft_capture(payment, amount, false);
        let key = world.chain.buyers[self.people.buyer].key.clone();
        let body = match self.dice.between(1, 3) {
            1 => payment.bound.order_signed(world, &order, &key),
            2 => {
                // Signed, and then raised.
                let mut body = payment.bound.order(world, &order);
                body["paymentPayload"]["payload"]["amount"] = json!((amount + 1).to_string());
                body
            }
            _ => {
                // For another tenant's account.
                let mut body = payment.bound.order(world, &order);
                let payer = info.payer.clone();
                body["paymentPayload"]["payload"]["feeReceiver"] = json!(payer);
                body
            }
        };
        self.settle_and_check(world, &body, carried, false, |_| Must::Fail);
    }

    /// Settles, once or twice at once.
    fn settle_and_check(
        &mut self,
        world: &World,
        body: &Value,
        carried: Move,
        twice: bool,
        must: impl FnOnce(u64) -> Must,
    ) {
        let orders = vec![(body.clone(), carried); if twice { 2 } else { 1 }];
        let replies = settle_concurrently(world, &orders);
        let end = clock(world);
        let must = must(end);
        self.learn(world, orders, replies, must);
    }

    /// Of the orders sent at once no more are carried out than possible, and the answers match.
    fn learn(&mut self, world: &World, orders: Vec<(Value, Move)>, replies: Vec<Outcome>, must: Must) {
        if replies.contains(&Outcome::Unknown) {
            self.open = Some(Open { orders, must });
            return;
        }
        let done: Vec<usize> = (0..replies.len())
            .filter(|at| replies[*at] == Outcome::Done)
            .collect();
        let hash = self.current.as_ref().map(|payment| payment.hash.clone());
        let what = || {
            let moves: Vec<Move> = orders.iter().map(|(_, carried)| *carried).collect();
            format!(
                "{moves:?} of {hash:?} came to {replies:?}, must {must:?}; {:?}",
                self.current
            )
        };
        assert!(may_all_succeed(&orders, &done), "{}", what());
        match must {
            Must::Succeed => assert!(!done.is_empty(), "{}", what()),
            Must::Fail => assert!(done.is_empty(), "{}", what()),
            Must::Either => {}
        }
        self.refused += replies.len() - done.len();
        self.carry_out_all(world, &orders, &done);
        self.compare(world);
    }

    fn carry_out_all(&mut self, world: &World, orders: &[(Value, Move)], done: &[usize]) {
        for at in done {
            let (body, carried) = orders[*at].clone();
            self.carry_out(carried, Some(body));
            if let Move::Capture {
                rest_goes_back: true, ..
            } = carried
            {
                self.wait_for_rest(world);
            }
        }
    }

    fn carry_out(&mut self, carried: Move, body: Option<Value>) {
        let payment = self.current.as_mut().expect("a payment");
        let gains = payment.model.carry_out(carried);
        payment.spent.extend(body);
        self.gains.payer += gains.payer;
        self.gains.receiver += gains.receiver;
        self.gains.fees += gains.fees;
        self.gains.operator += gains.operator;
        self.done += 1;
    }

    pub(super) fn refunded(&self) -> i128 {
        self.gains.operator
    }

    /// What is given back after a capture is so once that is final; if the facilitator dies before, after its restart.
    fn wait_for_rest(&mut self, world: &World) {
        let payment = self.current.as_ref().expect("a payment");
        // Not more blocks than that: each moves the chain's clock.
        world.chain.mine(3).expect("mines");
        let came = wait::until("the void after a capture", wait::LONG, || {
            if on_chain(world, payment) == payment.model {
                return Some(true);
            }
            world
                .facilitator
                .client()
                .get("/health")
                .is_err()
                .then_some(false)
        });
        self.rest_is_due = !came;
    }

    /// After a restart: the same again comes to what it came to, and to nothing twice.
    pub(super) fn close(&mut self, world: &World) {
        if self.rest_is_due {
            self.wait_for_rest(world);
            self.compare(world);
        }
        let Some(Open { orders, must }) = self.open.take() else {
            return;
        };
        let mut done: Vec<usize> = Vec::new();
        for (at, (body, _)) in orders.iter().enumerate() {
            let answer = wait::until("an answer about a step before the crash", wait::LONG, || {
                Some(settle(world, body)).filter(|answer| *answer != Outcome::Unknown)
            });
            let carried = match &answer {
                Outcome::Done => true,
                Outcome::Refused(reason, transaction) => {
                    reason == "duplicate_settlement" && !transaction.is_empty()
                }
                Outcome::Unknown => false,
            };
            println!("after the crash: {answer:?}");
            // What was carried out before only gets the same answer.
            let payment = self.current.as_ref().expect("a payment");
            let carried = carried && !payment.spent.contains(body);
            // The same order twice is one order.
            if carried && done.iter().all(|known| orders[*known].0 != *body) {
                done.push(at);
            }
        }
        assert!(may_all_succeed(&orders, &done), "all of {orders:?}");
        assert!(must != Must::Fail || done.is_empty(), "{orders:?}");
        if done.is_empty() {
            // Only time can have made it impossible.
            let payment = self.current.as_ref().expect("a payment");
            let info = &payment.bound.hold.info;
            let nearest = if payment.model.collected {
                info.authorization_expiry.saturating_sub(MARGIN_S)
            } else {
                info.pre_approval_expiry.min(info.authorization_expiry - 60)
            };
            assert!(
                must != Must::Succeed || clock(world) + SLACK_S >= nearest,
                "{orders:?} was possible and is not"
            );
        }
        self.carry_out_all(world, &orders, &done);
        self.compare(world);
    }

    /// The chain, the accounts and the journal agree with the model.
    fn compare(&self, world: &World) {
        let Some(payment) = self.current.as_ref().filter(|_| !self.rest_is_due) else {
            return;
        };
        assert_eq!(on_chain(world, payment), payment.model, "{payment:?}");
        let expected = [
            self.start[0] + self.gains.payer,
            self.start[1] + self.gains.receiver,
            self.start[2] + self.gains.fees,
        ];
        assert_eq!(
            balances(world, &self.people),
            expected,
            "payer, receiver, fees: {payment:?}"
        );
        payment.audit(world);
    }
}

fn balances(world: &World, people: &People) -> [i128; 3] {
    let payer = &world.chain.buyers[people.buyer].address;
    [payer, &people.receiver, &people.fee_receiver].map(|holder| {
        let units = world.chain.balance_of(USDC, holder).expect("the node answers");
        i128::try_from(units).expect("fits")
    })
}
