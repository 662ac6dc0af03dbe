//! The history of a payment: the rows of our own operations, and what the escrow's events add, such as
//! the void after a capture and the payer's reclaim.

use alloy_primitives::{B256, U256};
use sdk_plugin::host::RpcResult;
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;

use super::Own;
use crate::auth_capture::authorizer::Balances;
use crate::auth_capture::fees::Fee;
use crate::auth_capture::reason::Reason;
use crate::auth_capture::records::{self, OperationKind, OperationRow};
use crate::auth_capture::state::{Event, State};
use crate::{rpc, text};

/// Operations in order, and whether they result in the balances that the chain shows.
pub(super) struct History {
    pub(super) operations: Vec<Value>,
    pub(super) is_whole: bool,
    /// What becomes of the rest after the last capture that orders its void; `Null` where none does.
    pub(super) void_remainder: Value,
}

/// Searches for events only where the rows don't result in the balances that the chain shows. If a node refuses so long a
/// search, the history is incomplete and marked so.
pub(super) async fn history(cx: &Cx, own: &Own<'_>, state: Option<State>) -> Result<History, Fault> {
    let rows = records::operations(cx, &cx.network().id, own.hash).await?;
    let mut moves: Vec<Move> = rows.iter().map(Move::of_row).collect();
    // Rows come in the order in which they were planned, to the second only.
    moves.sort_by_key(|done| (done.height, done.kind));
    let is_whole = |moves: &[Move]| state.is_some_and(|state| sum(moves) == Some(state.balances));
    if let Some(from) = gap(&rows)
        && !is_whole(&moves)
    {
        for found in search(cx, own, from).await? {
            if !moves.iter().any(|known| known.is_same(&found)) {
                moves.push(found);
            }
        }
        moves.sort_by_key(|done| (done.height, done.kind));
    }
    Ok(History {
        void_remainder: void_remainder(cx, own, &rows, &moves, state).await?,
        is_whole: is_whole(&moves),
        operations: moves.iter().map(Move::json).collect(),
    })
}

/// The void that a capture with `voidRemainder` orders waits until the capture is final. It is to come, has happened, or
/// was skipped, because it failed or because its payer was faster.
async fn void_remainder(
    cx: &Cx,
    own: &Own<'_>,
    rows: &[OperationRow],
    moves: &[Move],
    state: Option<State>,
) -> Result<Value, Fault> {
    let Some(capture) = rows.iter().rev().find(|row| row.voids_remainder) else {
        return Ok(Value::Null);
    };
    let after = |kind: Kind| {
        let mut later = moves.iter().filter(|done| done.height >= capture.height);
        later.find(|done| done.kind == kind)
    };
    let shown = |state: &str, more: Value| {
        let mut shown = json!({
            "state": state,
            "capture": capture.transaction,
            "captureHeight": capture.height,
            "orderedAt": capture.planned_at_s,
        });
        if let (Some(members), Value::Object(more)) = (shown.as_object_mut(), more) {
            members.extend(more);
        }
        shown
    };
    if let Some(void) = after(Kind::Void) {
        return Ok(shown("done", json!({ "transaction": void.transaction })));
    }
    let network = &cx.network().id;
    let skipped = records::skipped_void(cx, network, own.hash, capture.planned_at_s).await?;
    if let Some(skipped) = skipped {
        return Ok(shown(
            "skipped",
            json!({ "reason": skipped.reason, "message": skipped.message, "skippedAt": skipped.at_s }),
        ));
    }
    if after(Kind::Reclaim).is_some() {
        return Ok(shown(
            "skipped",
            json!({
                "reason": Reason::ZeroAuthorization.v1_1(),
                "message": "the payer has taken back what was held",
            }),
        ));
    }
    // Without the events it is unknown whether it was the void.
    if state.is_some_and(|state| state.collected && state.balances.capturable.is_zero()) {
        return Ok(shown(
            "ended",
            json!({ "message": "nothing is held any more; the transaction that did it was not found" }),
        ));
    }
    // A block is at depth 1 when it is the head.
    let final_at = capture
        .height
        .saturating_add(cx.network().finality.saturating_sub(1));
    Ok(shown("waiting", json!({ "dueAtHeight": final_at })))
}

/// Where what the rows don't show begins. What is held can leave without a row by the void after a capture and by its
/// payer's reclaim, and no operation of ours moves it after either: both come after the last row that is no refund.
/// `None`: there are no rows.
fn gap(rows: &[OperationRow]) -> Option<u64> {
    let of_hold = rows.iter().filter(|row| match row.kind {
        OperationKind::Authorize | OperationKind::Charge | OperationKind::Capture | OperationKind::Void => {
            true
        }
        OperationKind::Refund => false,
    });
    of_hold.map(|row| row.height).max()
}

/// Something that moved a payment's balances.
struct Move {
    kind: Kind,
    /// Atomic units.
    amount: U256,
    fee: Option<Fee>,
    transaction: String,
    height: u64,
}

/// In the order in which one block can hold them: our own operations on a payment never share one, but the payer's
/// reclaim may come right after ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Authorize,
    Charge,
    Capture,
    Refund,
    Void,
    /// By the payer, past the capture deadline.
    Reclaim,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Charge => "charge",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Reclaim => "reclaim",
            Self::Refund => "refund",
        }
    }
}

impl Move {
    fn of_row(row: &OperationRow) -> Self {
        let kind = match row.kind {
            OperationKind::Authorize => Kind::Authorize,
            OperationKind::Charge => Kind::Charge,
            OperationKind::Capture => Kind::Capture,
            OperationKind::Void => Kind::Void,
            OperationKind::Refund => Kind::Refund,
        };
        Self {
            kind,
            amount: row.amount,
            fee: row.fee,
            transaction: row.transaction.clone(),
            height: row.height,
        }
    }

    /// `None`: not an event of this payment.
    fn of_log(hash: B256, log: &Value) -> Option<Self> {
        let topics = log.get("topics")?.as_array()?.iter().map(rpc::as_word);
        let topics: Vec<B256> = topics.collect::<Option<_>>()?;
        let data = rpc::as_bytes(log.get("data")?)?;
        let (kind, amount, fee) = match Event::read(hash, &topics, &data)? {
            Event::Authorized { amount, .. } => (Kind::Authorize, amount, None),
            Event::Charged { amount, fee, .. } => (Kind::Charge, amount, Some(fee)),
            Event::Captured { amount, fee, .. } => (Kind::Capture, amount, Some(fee)),
            Event::Voided { amount } => (Kind::Void, amount, None),
            Event::Reclaimed { amount } => (Kind::Reclaim, amount, None),
            Event::Refunded { amount, .. } => (Kind::Refund, amount, None),
        };
        Some(Self {
            kind,
            amount,
            fee,
            transaction: rpc::as_word(log.get("transactionHash")?)?.to_string(),
            height: rpc::as_count(log.get("blockNumber")?)?,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.transaction.eq_ignore_ascii_case(&other.transaction)
    }

    fn after(&self, now: Balances) -> Option<Balances> {
        let Balances {
            capturable,
            refundable,
        } = now;
        let (capturable, refundable) = match self.kind {
            Kind::Authorize => (capturable.checked_add(self.amount)?, refundable),
            Kind::Charge => (capturable, refundable.checked_add(self.amount)?),
            Kind::Capture => (
                capturable.checked_sub(self.amount)?,
                refundable.checked_add(self.amount)?,
            ),
            Kind::Void | Kind::Reclaim => (capturable.checked_sub(self.amount)?, refundable),
            Kind::Refund => (capturable, refundable.checked_sub(self.amount)?),
        };
        Some(Balances {
            capturable,
            refundable,
        })
    }

    fn json(&self) -> Value {
        let mut shown = json!({
            "type": self.kind.name(),
            "amount": self.amount.to_string(),
            "transaction": self.transaction,
            "height": self.height,
        });
        if let (Some(fee), Some(members)) = (self.fee, shown.as_object_mut()) {
            match fee {
                Fee::Bps(bps) => members.insert("feeBps".into(), bps.into()),
                Fee::Amount(amount) => members.insert("feeAmount".into(), amount.to_string().into()),
            };
        }
        shown
    }
}

/// The result of moves. `None`: they contradict one another.
fn sum(moves: &[Move]) -> Option<Balances> {
    let nothing = Balances {
        capturable: U256::ZERO,
        refundable: U256::ZERO,
    };
    moves.iter().try_fold(nothing, |now, done| done.after(now))
}

/// The payment's events from a height on, as far as the node shows them.
async fn search(cx: &Cx, own: &Own<'_>, from: u64) -> Result<Vec<Move>, Fault> {
    let filter = json!([{
        "address": text::lower(own.record.escrow),
        "topics": [null, own.hash],
        "fromBlock": text::quantity(from),
        "toBlock": "latest",
    }]);
    let search = vec![rpc::request("eth_getLogs", filter)];
    Ok(match rpc::NODES.read_all(cx, search).await?.take()? {
        RpcResult::Ok(Value::Array(logs)) => logs
            .iter()
            .filter_map(|log| Move::of_log(own.hash, log))
            .collect(),
        RpcResult::Ok(_) | RpcResult::Error(_) => Vec::new(),
    })
}
