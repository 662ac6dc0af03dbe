//! What happens for receivers on time: reported usage is captured on a schedule and before the capture deadline, held
//! unused money causes a warning and, where the operator's rule allows it, is given back.
//!
//! One job per payment and check. A check stores nothing of its own: what is due is what was reported less what the chain
//! shows as captured, and a capture names the balances that it expects. So a job that runs twice, late or on another
//! node requests the same operation again, which is one claim. Checks happen on a grid of times, and a job's id is its
//! time: every node that schedules the next check schedules the same one.
//!
//! Captures and voids are ordered only for payments whose authorizer we are. For all others there is only the warning.

use std::collections::BTreeMap;

use alloy_primitives::{B256, U256};
use sdk_plugin::host::{Job, JobRequest, Level, MetricKind};
use sdk_plugin::{Cx, Fault, PaymentRequest};
use serde_json::json;

use super::config::{Config, KeeperRule};
use super::order::{Order, is_ours};
use super::records::{self, Record, Usage};
use super::state::{self, State};
use super::{AuthCaptureEvm, SCHEME};
use crate::rpc::{self, Answers};
use crate::text;

/// `kind` of every job here.
pub const KIND: &str = "keep";
/// Counts payments that were held and not wholly used shortly before their capture deadline. The host puts the plugin's
/// name before it.
pub const UNUSED_METRIC: &str = "unused_holds_total";

/// Least time between two of the last checks, in seconds.
const SHORTEST_S: u64 = 60;
/// Checks in the time between the margin and the deadline: a capture that failed is tried again.
const LAST_CHECKS: u64 = 8;
/// Time that a last capture needs beyond the margin in which no new one starts, in seconds.
const TO_LAND_S: u64 = 60;

/// How far a node may lag, in seconds: what it does not show after that was never collected.
const LAG_S: u64 = 3_600;

/// The rule for a payment's receiver.
fn rule<'a>(config: &'a Config, record: &Record) -> Option<&'a KeeperRule> {
    config
        .keepers
        .iter()
        .find(|rule| rule.receiver == record.payment_info.receiver)
}

/// When a payment is checked, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    opened_s: u64,
    every_s: Option<u64>,
    /// From here on everything reported is captured, and what is unused is reported by a warning or given back.
    last_call_s: u64,
    /// No new capture starts from here on.
    end_s: u64,
}

impl Times {
    fn of(config: &Config, rule: &KeeperRule, record: &Record) -> Self {
        let deadline_s = record.capture_deadline_s();
        let end_s = deadline_s.saturating_sub(config.capture_margin_s);
        let margin_s = rule
            .margin_s
            .max(config.capture_margin_s.saturating_add(TO_LAND_S));
        Self {
            opened_s: record.planned_at_s,
            every_s: rule.capture_every_s,
            last_call_s: deadline_s.saturating_sub(margin_s),
            end_s,
        }
    }

    fn is_last_call(&self, now_s: u64) -> bool {
        now_s >= self.last_call_s
    }

    /// The first check after `now_s`. One more comes after the end: what is held then can still be given back.
    fn next_s(&self, now_s: u64) -> Option<u64> {
        if now_s < self.last_call_s {
            let on_schedule = self
                .every_s
                .and_then(|every_s| next_on_grid(self.opened_s, every_s, now_s));
            return Some(on_schedule.map_or(self.last_call_s, |at_s| at_s.min(self.last_call_s)));
        }
        if now_s < self.end_s {
            let every_s = (self.end_s.saturating_sub(self.last_call_s) / LAST_CHECKS).max(SHORTEST_S);
            return next_on_grid(self.last_call_s, every_s, now_s).map(|at_s| at_s.min(self.end_s));
        }
        None
    }
}

/// The first time after `now_s` that is a whole number of steps after `from_s`.
fn next_on_grid(from_s: u64, step_s: u64, now_s: u64) -> Option<u64> {
    let steps = now_s.saturating_sub(from_s).checked_div(step_s)?.checked_add(1)?;
    from_s.checked_add(steps.checked_mul(step_s)?)
}

/// The next check of a payment, if its receiver has a rule. For the commit that proves a collection, and for routes.
#[must_use]
pub fn next_job(config: &Config, record: &Record, now_s: u64) -> Option<Job> {
    if record.charged {
        return None;
    }
    let times = Times::of(config, rule(config, record)?, record);
    Some(check_job(record, times.next_s(now_s)?, false))
}

/// `warned`: a warning about unused money was logged before.
fn check_job(record: &Record, at_s: u64, warned: bool) -> Job {
    let (network, hash) = (record.network(), record.hash());
    Job {
        id: format!("{KIND}/{network}/{hash}/{at_s}"),
        scheme: SCHEME.into(),
        network,
        kind: KIND.into(),
        payload: json!({ "hash": hash, "warned": warned }),
        run_at_ms: at_s.saturating_mul(1_000),
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Capture { amount: U256, closes_out: bool },
    Void,
}

/// `used`: atomic units reported since the payment was opened. What was captured is what is held no more: a void and a
/// reclaim leave nothing to check.
fn due(
    record: &Record,
    held: U256,
    used: U256,
    last_call: bool,
    rule: &KeeperRule,
    min_capture: U256,
) -> Due {
    let captured = record.amount.saturating_sub(held);
    let owed = used.saturating_sub(captured).min(held);
    let voids = last_call && rule.void_unused;
    if owed.is_zero() {
        return if voids { Due::Void } else { Due::Nothing };
    }
    // Too small for a capture of its own: it waits for more, and is lost to the limit at the end.
    if owed < min_capture && owed < held {
        return if voids { Due::Void } else { Due::Nothing };
    }
    if !last_call && rule.capture_every_s.is_none() {
        return Due::Nothing;
    }
    Due::Capture {
        amount: owed,
        closes_out: voids && owed < held,
    }
}

impl AuthCaptureEvm {
    /// A due check: the requests that it makes. The next check is scheduled first, so that no later fault can lose it.
    pub(super) async fn keep(&self, cx: &Cx, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        let hash = job
            .payload
            .get("hash")
            .and_then(sdk_plugin::Value::as_str)
            .and_then(text::word)
            .ok_or_else(|| Fault::invalid("a job for a payment without the payment's hash"))?;
        let Some(found) = records::find(cx, &job.network, hash).await? else {
            return Ok(Vec::new());
        };
        let record = found.record;
        let Some(rule) = rule(&self.config, &record) else {
            return Ok(Vec::new());
        };
        let times = Times::of(&self.config, rule, &record);
        let now_s = cx.now_s();
        let state = held_by_any(cx, &record, hash).await?;
        let held = state.balances.capturable;
        // No payment at all may be a node that lags; nothing left is the end.
        if state.collected && held.is_zero() {
            return Ok(Vec::new());
        }
        let missed = !state.collected
            && now_s
                >= record
                    .payment_info
                    .preApprovalExpiry
                    .to::<u64>()
                    .saturating_add(LAG_S);
        let last_call = times.is_last_call(now_s);
        let warned = job.payload.get("warned") == Some(&true.into());
        if let Some(at_s) = times.next_s(now_s).filter(|_| !missed) {
            let job = check_job(&record, at_s, warned || last_call);
            cx.job(JobRequest::Schedule { job }).await?;
        }
        if held.is_zero() {
            return Ok(Vec::new());
        }
        let usage = records::get::<Usage>(cx, records::usage_key(&job.network, hash)).await?;
        let used = usage.map(|found| found.record.total).unwrap_or_default();
        if last_call && !warned {
            warn_of_unused(cx, &record, hash, held, used);
        }
        // A contract moves its payments itself.
        let by_contract = self.config.admits(record.payment_info.operator, &job.network);
        if by_contract || !is_ours(&record, &self.config) {
            return Ok(Vec::new());
        }
        let order = match due(
            &record,
            held,
            used,
            last_call,
            rule,
            self.config.min_capture_amount.0,
        ) {
            Due::Nothing => None,
            Due::Void => Some(Order::void()),
            // A capture is late; what is held belongs to its payer.
            Due::Capture { .. } if now_s >= times.end_s => rule.void_unused.then(Order::void),
            Due::Capture { amount, closes_out } => self
                .config
                .deployment_of(record.escrow)
                .and_then(|deployment| Order::capture(&record, deployment, amount, state.balances))
                .map(|order| Order { closes_out, ..order }),
        };
        Ok(order
            .map(|order| order.request(&record, &self.config))
            .into_iter()
            .collect())
    }
}

/// The state of a payment. That nothing of it is held may end the checks permanently, and with them the receiver's claim: it
/// takes two nodes, where two answer.
async fn held_by_any(cx: &Cx, record: &Record, hash: B256) -> Result<State, Fault> {
    let question = || vec![state::payment_state(record.escrow, hash).call()];
    let read = |mut answers: Answers| {
        State::of_answer(rpc::executed(answers.take()?, "paymentState")?)
            .ok_or_else(|| Fault::unavailable("the escrow tells no state of a payment"))
    };
    let first = read(rpc::NODES.read_all(cx, question()).await?)?;
    if !first.balances.capturable.is_zero() {
        return Ok(first);
    }
    let others = rpc::compare_or_read(cx, question())
        .await?
        .sets
        .into_iter()
        .map(read);
    let others = others.collect::<Result<Vec<_>, _>>()?;
    // If both show nothing held, one that does not show the payment at all may lag.
    let most = others
        .into_iter()
        .chain([first])
        .max_by_key(|state| (state.balances.capturable, !state.collected));
    most.ok_or_else(|| Fault::internal("no state of a payment"))
}

/// Warns when something is held shortly before the capture deadline and not reported as used.
fn warn_of_unused(cx: &Cx, record: &Record, hash: B256, held: U256, used: U256) {
    let captured = record.amount.saturating_sub(held);
    let unused = held.saturating_sub(used.saturating_sub(captured));
    if unused.is_zero() {
        return;
    }
    let network = record.network();
    cx.log(
        Level::Warn,
        "keeper",
        "a payment is held and not wholly used, and its capture deadline comes",
        &json!({
            "network": network,
            "payment": hash,
            "receiver": text::lower(record.payment_info.receiver),
            "held": held.to_string(),
            "unused": unused.to_string(),
            "captureDeadline": record.capture_deadline_s(),
        }),
    );
    let labels = BTreeMap::from([("network".to_owned(), network)]);
    cx.metric(MetricKind::Counter, UNUSED_METRIC, 1.0, &labels);
}
