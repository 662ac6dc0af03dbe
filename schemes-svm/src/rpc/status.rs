//! Statuses of signatures: `getSignatureStatuses`.

use sdk_plugin::host::{RpcCall, RpcResult};
use sdk_plugin::{Fault, Value};
use serde_json::json;

use crate::rpc;

/// Signatures per `getSignatureStatuses`, the nodes' limit.
pub(crate) const MAX_STATUSES: usize = 256;

/// One node's status of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) slot: u64,
    pub(crate) stage: Stage,
    /// The error, where the transaction had no effect but its fee.
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Processed,
    Confirmed,
    Finalized,
}

impl Status {
    fn read(item: &Value) -> Option<Self> {
        let stage = match item.get("confirmationStatus").and_then(Value::as_str) {
            Some("processed") => Stage::Processed,
            Some("confirmed") => Stage::Confirmed,
            Some("finalized") => Stage::Finalized,
            Some(_) => return None,
            // Nodes from before the member: no confirmations means rooted.
            None if item.get("confirmations")?.is_null() => Stage::Finalized,
            None => Stage::Processed,
        };
        Some(Self {
            slot: item.get("slot")?.as_u64()?,
            stage,
            error: item
                .get("err")
                .filter(|error| !error.is_null())
                .map(ToString::to_string),
        })
    }

    /// Whether it can't be undone that the transaction had no effect.
    pub(crate) fn is_final_failure(&self) -> bool {
        self.error.is_some() && self.stage == Stage::Finalized
    }

    /// `None` while a supermajority has not voted for it. The network's `finality` is reached only by what is final.
    pub(crate) fn depth(&self, head: u64, finality: u64) -> Option<u64> {
        let slots = head.saturating_sub(self.slot).saturating_add(1);
        match self.stage {
            Stage::Processed => None,
            Stage::Confirmed => Some(slots.min(finality.saturating_sub(1)).max(1)),
            Stage::Finalized => Some(slots.max(finality)),
        }
    }
}

/// Where a node searches for statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusSearch {
    /// In its cache of recent slots.
    Recent,
    /// In all transactions that it has kept.
    History,
}

/// The call, for at most [`MAX_STATUSES`] signatures.
pub(crate) fn get_statuses(ids: &[&str], search: StatusSearch) -> RpcCall {
    let in_history = search == StatusSearch::History;
    rpc::request(
        "getSignatureStatuses",
        json!([ids, { "searchTransactionHistory": in_history }]),
    )
}

/// The slot of the bank that answered, and one status for each of `count` signatures, `None` where the node shows none.
pub(crate) fn read_statuses(answer: RpcResult, count: usize) -> Result<(u64, Vec<Option<Status>>), Fault> {
    let what = "getSignatureStatuses";
    let (slot, value) = rpc::at_slot(answer, what)?;
    let items = value.as_array().filter(|items| items.len() == count);
    let items = items.ok_or_else(|| rpc::unexpected_answer(what, "another number of statuses"))?;
    let statuses = items.iter().map(|item| {
        if item.is_null() {
            return Ok(None);
        }
        let status = Status::read(item).ok_or_else(|| rpc::unexpected_answer(what, "a malformed status"))?;
        Ok(Some(status))
    });
    Ok((slot, statuses.collect::<Result<_, Fault>>()?))
}

/// Whether an answer is one for so many signatures.
pub(crate) fn are_statuses(answer: RpcResult, count: usize) -> bool {
    read_statuses(answer, count).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_final_is_as_deep_as_finality() {
        let status = |stage| Status {
            slot: 100,
            stage,
            error: None,
        };
        assert_eq!(status(Stage::Processed).depth(500, 32), None);
        assert_eq!(status(Stage::Confirmed).depth(100, 32), Some(1));
        assert_eq!(status(Stage::Confirmed).depth(110, 32), Some(11));
        assert_eq!(status(Stage::Confirmed).depth(500, 32), Some(31));
        assert_eq!(
            status(Stage::Confirmed).depth(90, 32),
            Some(1),
            "a node that lags"
        );
        assert_eq!(status(Stage::Finalized).depth(100, 32), Some(32));
        assert_eq!(status(Stage::Finalized).depth(500, 32), Some(401));
    }
}
