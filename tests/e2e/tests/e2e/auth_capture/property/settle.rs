//! What is requested of a facilitator that may die at any moment, and what comes of it.

use e2e::World;
use e2e::escrow::{SHOP_KEY, call_or_lost};
use serde_json::Value;

use super::books::Move;

/// What a settle came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Done,
    /// With the transaction that it names, if any.
    Refused(String, String),
    /// No answer, or none yet.
    Unknown,
}

pub(super) fn settle(world: &World, body: &Value) -> Told {
    let Ok(reply) = call_or_lost(world, "/settle", body, SHOP_KEY) else {
        return Told::Unknown;
    };
    let (reason, transaction) = (reply.field("errorReason"), reply.field("transaction"));
    if reply.is_success() {
        Told::Done
    } else if reply.status >= 500 || reason == "settlement_pending" {
        Told::Unknown
    } else {
        Told::Refused(reason.to_owned(), transaction.to_owned())
    }
}

pub(super) fn at_once(world: &World, asked: &[(Value, Move)]) -> Vec<Told> {
    std::thread::scope(|scope| {
        let running: Vec<_> = asked
            .iter()
            .map(|(body, _)| scope.spawn(|| settle(world, body)))
            .collect();
        running
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    })
}

/// A void may come after a capture; all else excludes one another.
pub(super) fn may_all_be(asked: &[(Value, Move)], done: &[usize]) -> bool {
    match done {
        [] | [_] => true,
        [first, second] => matches!(
            (asked[*first].1, asked[*second].1),
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
