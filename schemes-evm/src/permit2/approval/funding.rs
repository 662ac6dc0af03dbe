//! What payers were given today, in rows of the plugin's store. They are written in the commit that opens the payment, with
//! conditions, so that no two payments spend the same part of a budget, on any node.
//!
//! A day's budget has equal shares, each of what one payer may be given at most. A payer uses up one share, however little it
//! lacks: the transfer to it costs gas too. Each share has a row of its own, so that payments seldom want the same one.

use std::collections::BTreeSet;

use alloy_primitives::keccak256;
use sdk_plugin::host::{StoreCondition, StoreRequest, StoreResponse, StoreRow, StoreWrite};
use sdk_plugin::{Amount, Cx, Fault};
use serde_json::json;

use super::Limits;

const DAY_S: u64 = 24 * 60 * 60;
/// The most shares of a day: as many rows as one scan returns.
const MOST_SHARES: u32 = 1_000;

/// Why a payer gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It needs more than one payer gets.
    TooMuch,
    /// It was given something today.
    PayerToday,
    /// The day's budget is used up.
    Day,
}

/// The rows of a funding of `wei` to this payer, today.
///
/// # Errors
/// The store can't be read.
pub(super) async fn rows(
    cx: &Cx,
    limits: &Limits,
    payer: &str,
    wei: Amount,
) -> Result<Result<Vec<StoreWrite>, Denied>, Fault> {
    if wei > limits.max_funding_wei {
        return Ok(Err(Denied::TooMuch));
    }
    let day = cx.now_s() / DAY_S;
    let of_day = format!("approval-funding/{}/{day}", cx.network().id);
    let of_payer = format!("{of_day}/payer/{payer}");
    let get = StoreRequest::Get {
        key: of_payer.clone(),
    };
    if !read(cx, get).await?.is_empty() {
        return Ok(Err(Denied::PayerToday));
    }
    let shares_prefix = format!("{of_day}/share/");
    let scan = StoreRequest::Scan {
        prefix: shares_prefix.clone(),
        after: None,
        limit: MOST_SHARES,
    };
    let used: BTreeSet<String> = read(cx, scan).await?.into_iter().map(|row| row.key).collect();
    let shares = limits.shares().min(MOST_SHARES);
    let start = u32::from_be_bytes(keccak256(payer).0[..4].try_into().unwrap_or_default());
    let free = (0..shares)
        .filter_map(|at| start.wrapping_add(at).checked_rem(shares))
        .map(|share| format!("{shares_prefix}{share}"))
        .find(|key| !used.contains(key));
    let Some(of_share) = free else {
        return Ok(Err(Denied::Day));
    };
    let row = |key| StoreWrite {
        key,
        value: json!({ "payer": payer, "wei": wei }),
        condition: StoreCondition::Absent,
        // A clock may jump back by less than a day.
        expires_at_ms: day.checked_add(2).and_then(|day| day.checked_mul(DAY_S * 1_000)),
    };
    Ok(Ok(vec![row(of_payer), row(of_share)]))
}

async fn read(cx: &Cx, request: StoreRequest) -> Result<Vec<StoreRow>, Fault> {
    match cx.store(request).await? {
        StoreResponse::Rows { rows } => Ok(rows),
        StoreResponse::Written | StoreResponse::Conflict { .. } => {
            Err(Fault::internal("the store answered a read with no rows"))
        }
    }
}
