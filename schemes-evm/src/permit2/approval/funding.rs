//! What payers were given today, in rows of the plugin's store. They are written in the commit that opens the payment, with
//! conditions, so that no two payments spend the same part of a budget, on any node.

use sdk_plugin::host::{StoreCondition, StoreRequest, StoreResponse, StoreWrite};
use sdk_plugin::{Amount, Cx, Fault, Value};
use serde_json::json;

use super::Limits;

const DAY_S: u64 = 24 * 60 * 60;

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
    let network = &cx.network().id;
    let day = cx.now_s() / DAY_S;
    // A clock may jump back by less than a day.
    let expires_at_ms = day.checked_add(2).and_then(|day| day.checked_mul(DAY_S * 1_000));
    let of_payer = format!("approval-funding/{network}/{day}/{payer}");
    if get(cx, &of_payer).await?.is_some() {
        return Ok(Err(Denied::PayerToday));
    }
    let of_day = format!("approval-funding/{network}/{day}");
    let before = get(cx, &of_day).await?;
    let spent = match &before {
        Some(value) => amount(value)?,
        None => Amount::ZERO,
    };
    let Some(after) = spent
        .checked_add(wei)
        .filter(|after| *after <= limits.max_funding_per_day_wei)
    else {
        return Ok(Err(Denied::Day));
    };
    Ok(Ok(vec![
        StoreWrite {
            key: of_payer,
            value: json!(wei),
            condition: StoreCondition::Absent,
            expires_at_ms,
        },
        StoreWrite {
            key: of_day,
            value: json!(after),
            condition: match before {
                Some(value) => StoreCondition::Equals { value },
                None => StoreCondition::Absent,
            },
            expires_at_ms,
        },
    ]))
}

async fn get(cx: &Cx, key: &str) -> Result<Option<Value>, Fault> {
    match cx.store(StoreRequest::Get { key: key.to_owned() }).await? {
        StoreResponse::Rows { rows } => Ok(rows.into_iter().next().map(|row| row.value)),
        StoreResponse::Written | StoreResponse::Conflict { .. } => {
            Err(Fault::internal("the store answered a read with no rows"))
        }
    }
}

fn amount(value: &Value) -> Result<Amount, Fault> {
    serde_json::from_value(value.clone())
        .map_err(|error| Fault::internal(format!("the row of a day's approvals can't be read: {error}")))
}
