//! `POST /payments/{hash}/usage`: what was used of a payment that is held, reported as it happens and captured in one go.
//!
//! Every report has an id of the merchant's; the same report again changes nothing.

use alloy_primitives::U256;
use sdk_plugin::host::{JobRequest, StoreCondition, StoreRequest, StoreResponse, StoreWrite};
use sdk_plugin::scheme::RouteRequest;
use sdk_plugin::{Cx, Fault, Value};
use serde_json::json;

use super::{Answered, Own, Refused, body_units, ok};
use crate::auth_capture::AuthCaptureEvm;
use crate::auth_capture::authorizer::Balances;
use crate::auth_capture::keeper;
use crate::auth_capture::order::is_ours;
use crate::auth_capture::records::{self, Usage};

/// Longest id, in bytes.
const MAX_ID_BYTES: usize = 128;
/// Reports that come at once are put in order by trying again.
const TRIES: usize = 64;

struct Report {
    id: String,
    amount: U256,
}

impl AuthCaptureEvm {
    pub(super) async fn report_usage(&self, cx: &Cx, request: &RouteRequest, own: &Own<'_>) -> Answered {
        let report = match read(&request.body) {
            Ok(report) => report,
            Err(refused) => return Ok(Err(refused)),
        };
        if own.record.charged {
            return Ok(Err(Refused::new(
                409,
                "this payment was charged at once; nothing is held",
            )));
        }
        let keeps = is_ours(&own.record, &self.config);
        let Some(job) = keeper::next_job(&self.config, &own.record, cx.now_s()).filter(|_| keeps) else {
            return Ok(Err(Refused::new(
                409,
                "nobody captures reported usage of this payment: it needs a keeper for its receiver, this facilitator as \
                 receiverAuthorizer, and a captureDeadline that is not near; capture it yourself",
            )));
        };
        let Some(state) = Self::state_of(cx, own).await? else {
            return Err(Fault::unavailable("the escrow tells no state of the payment"));
        };
        let expires_at_ms = records::rows_expire_at_ms(own.record.refund_deadline_s());
        let network = &cx.network().id;
        let key = records::usage_key(network, own.hash);
        let id_key = records::usage_id_key(network, own.hash, &report.id);
        for _ in 0..TRIES {
            if let Some(known) = records::get::<U256>(cx, id_key.clone()).await? {
                if known.record != report.amount {
                    return Ok(Err(Refused::new(
                        409,
                        format!(
                            "id {:?} was reported with {} units; give another report another id",
                            report.id, known.record
                        ),
                    )));
                }
                let found = records::get::<Usage>(cx, key).await?;
                let usage = found.map(|found| found.record).unwrap_or_default();
                // The report may have been written right before a crash.
                cx.job(JobRequest::Schedule { job }).await?;
                return Ok(Ok(shown(&usage, own.record.amount, state.balances)));
            }
            let found = records::get::<Usage>(cx, key.clone()).await?;
            let (usage, value) = match found {
                Some(found) => (found.record, Some(found.value)),
                None => (Usage::default(), None),
            };
            let next = match with(&usage, &report, own.record.amount, state.balances) {
                Ok(next) => next,
                Err(refused) => return Ok(Err(refused)),
            };
            let writes = vec![
                StoreWrite {
                    key: id_key.clone(),
                    value: json!(report.amount),
                    condition: StoreCondition::Absent,
                    expires_at_ms: Some(expires_at_ms),
                },
                records::replacing(key.clone(), value.as_ref(), &next, expires_at_ms)?,
            ];
            match cx.store(StoreRequest::Write { writes }).await? {
                StoreResponse::Written => {
                    cx.job(JobRequest::Schedule { job }).await?;
                    return Ok(Ok(shown(&next, own.record.amount, state.balances)));
                }
                // Another report was faster.
                StoreResponse::Conflict { .. } => {}
                StoreResponse::Rows { .. } => {
                    return Err(Fault::internal("the store answered a write with rows"));
                }
            }
        }
        Err(Fault::unavailable("too many reports for one payment at once"))
    }
}

fn read(body: &Value) -> Result<Report, Refused> {
    let id = body
        .get("id")
        .and_then(Value::as_str)
        .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()))
        .ok_or_else(|| {
            Refused::new(
                400,
                format!(
                    "the body needs id: a text of yours, 1 to {MAX_ID_BYTES} bytes, that names this report for ever"
                ),
            )
        })?;
    let amount = body_units(body, "amount")?;
    if amount.is_zero() {
        return Err(Refused::new(400, "amount must be above 0"));
    }
    Ok(Report {
        id: id.to_owned(),
        amount,
    })
}

/// Usage may reach what was held at first, and needs room in what is held now: a void or the payer's reclaim ends it.
fn with(usage: &Usage, report: &Report, amount: U256, now: Balances) -> Result<Usage, Refused> {
    if now.capturable.is_zero() {
        return Err(Refused::new(409, "nothing is held for this payment any more"));
    }
    let total = usage
        .total
        .checked_add(report.amount)
        .filter(|total| *total <= amount)
        .ok_or_else(|| {
            Refused::new(
                409,
                format!(
                    "{} units are held at most and {} are reported; this report does not fit",
                    amount, usage.total
                ),
            )
        })?;
    Ok(Usage {
        total,
        reports: usage.reports.saturating_add(1),
    })
}

fn shown(usage: &Usage, amount: U256, now: Balances) -> sdk_plugin::scheme::RouteResponse {
    let captured = amount.saturating_sub(now.capturable);
    ok(json!({
        "total": usage.total.to_string(),
        "reports": usage.reports,
        "held": now.capturable.to_string(),
        "due": usage.total.saturating_sub(captured).min(now.capturable).to_string(),
    }))
}
