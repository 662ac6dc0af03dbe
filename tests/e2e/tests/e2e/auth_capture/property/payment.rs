//! A payment of random terms, and where it stands.

use devnet::{AUTH_CAPTURE_V10, AUTH_CAPTURE_V11};
use e2e::World;
use e2e::hold::{Hold, Method};
use e2e::order::{Bound, Order};
use e2e::payment::now_s;
use serde_json::Value;

use super::books::{self, Model};
use super::dice::Dice;
use super::life::People;

/// No capture is started so shortly before its deadline.
pub(super) const MARGIN_S: u64 = 30;
const ZERO: &str = "0x0000000000000000000000000000000000000000";

#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub(super) bound: Bound,
    pub(super) hash: String,
    pub(super) model: Model,
    pub(super) charged: bool,
    /// Of v1.1: it takes orders.
    pub(super) takes_orders: bool,
    /// Orders that were carried out.
    pub(super) spent: Vec<Value>,
}

/// Seconds since the epoch, by the clock that is ahead.
pub(super) fn clock(world: &World) -> u64 {
    let (_, head_s) = world.chain.head().expect("the node answers");
    now_s().max(u64::try_from(head_s).expect("seconds"))
}

impl Payment {
    /// The facilitator's view and the escrow's own reports.
    pub(super) fn audit(&self, world: &World) {
        let hold = &self.bound.hold;
        let reports = books::reported(world, &hold.deployment, &self.hash);
        books::within_terms(&hold.deployment, &hold.info, &reports);
        books::reported_as_it_is(world, &hold.deployment, &self.hash, &self.model);
    }
}

pub(super) fn on_chain(world: &World, payment: &Payment) -> Model {
    let state = world
        .chain
        .payment_state(&payment.bound.hold.deployment, &payment.hash);
    let state = state.expect("the node answers");
    Model {
        collected: state.collected,
        capturable: state.capturable,
        refundable: state.refundable,
    }
}

/// The time from which an order is refused.
pub(super) fn deadline(payment: &Payment, order: &Order) -> Option<u64> {
    let info = &payment.bound.hold.info;
    match order {
        Order::Capture { .. } => Some(info.authorization_expiry - MARGIN_S),
        Order::Void => None,
        Order::Refund { .. } => Some(info.refund_expiry),
    }
}

/// A payment of random terms, and whether it can be collected.
pub(super) fn draw(dice: &mut Dice, world: &World, people: &People, name: &str) -> (Payment, bool) {
    let method = dice.one_of(&[Method::Eip3009, Method::Permit2]);
    let takes_orders = dice.percent(85);
    let charged = dice.percent(20);
    let mut hold = if takes_orders {
        let deployment = dice.one_of(&[AUTH_CAPTURE_V11, AUTH_CAPTURE_V10]);
        Hold::v1_1(world, people.buyer, deployment, method)
    } else {
        Hold::v1_0(world, people.buyer, method, charged)
    };
    let now = clock(world);
    let info = &mut hold.info;
    info.operator
        .clone_from(&world.chain.facilitators[usize::from(dice.percent(40))].address);
    info.receiver.clone_from(&people.receiver);
    info.max_amount = match dice.between(1, 6) {
        1 => dice.one_of(&[1, 2, 99, 100, 101, 9_999, 10_000]),
        _ => dice.units(1, 3_000_000),
    };
    info.pre_approval_expiry = now + 60;
    info.authorization_expiry = now
        + if dice.percent(50) {
            dice.between(100, 400)
        } else {
            4_000
        };
    info.refund_expiry = info.authorization_expiry + dice.one_of(&[0, 60, 5_000]);
    (info.min_fee_bps, info.max_fee_bps) = match dice.between(1, 5) {
        1 => (0, 0),
        2 => (0, 10_000),
        3 => (100, 100),
        4 => (1, 250),
        _ => (9_999, 10_000),
    };
    people.fee_receiver.clone_into(&mut info.fee_receiver);
    if info.max_fee_bps == 0 && dice.percent(50) {
        ZERO.clone_into(&mut info.fee_receiver);
    }
    info.salt = e2e::sign::keccak(name.as_bytes());
    let mut bound = if takes_orders {
        Bound::new(world, hold, name)
    } else {
        Bound {
            salt_nonce: hold.info.salt,
            hold,
        }
    };
    if takes_orders && charged {
        bound = bound.charged();
    }
    let good = !dice.percent(12);
    if !good {
        let other = world.chain.buyers[people.buyer + 1].key.clone();
        match dice.between(1, 3) {
            1 => bound.hold = bound.hold.signed_by(&other),
            2 => bound.hold.info.pre_approval_expiry = now - 1,
            _ => bound.hold.info.authorization_expiry = bound.hold.info.refund_expiry + 1,
        }
    }
    let payment = Payment {
        hash: bound.hold.hash(world),
        bound,
        model: Model::default(),
        charged,
        takes_orders,
        spent: Vec::new(),
    };
    (payment, good)
}
