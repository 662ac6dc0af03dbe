//! Settles at a facilitator that may crash at any moment, and their outcomes.

use e2e::World;
use e2e::escrow::{SHOP_KEY, try_post};
use serde_json::Value;

use super::books::Move;

/// How a settle ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// With the transaction that it names, if any.
    Refused(String, String),
    /// No answer, or none yet.
    Unknown,
}

pub(super) fn settle(world: &World, body: &Value) -> Outcome {
    let Ok(reply) = try_post(world, "/settle", body, SHOP_KEY) else {
        return Outcome::Unknown;
    };
    let (reason, transaction) = (reply.field("errorReason"), reply.field("transaction"));
    if reply.is_success() {
        Outcome::Done
    } else if reply.status >= 500 || reason == "settlement_pending" {
        Outcome::Unknown
    } else {
        Outcome::Refused(reason.to_owned(), transaction.to_owned())
    }
}

pub(super) fn settle_concurrently(world: &World, orders: &[(Value, Move)]) -> Vec<Outcome> {
    std::thread::scope(|scope| {
        let running: Vec<_> = orders
            .iter()
            .map(|(body, _)| scope.spawn(|| settle(world, body)))
            .collect();
        running
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    })
}

/// Whether these orders can succeed together. Only a void can, after a capture.
pub(super) fn may_all_succeed(orders: &[(Value, Move)], done: &[usize]) -> bool {
    match done {
        [] | [_] => true,
        [first, second] => matches!(
            (orders[*first].1, orders[*second].1),
            (
                Move::Capture {
                    rest_goes_back: false,
                    ..
                },
                Move::Return
            )
        ),
        _ => false,
    }
}
