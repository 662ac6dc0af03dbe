//! `GET /payments`: a tenant's payments in the order of their capture deadlines, a page at a time.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use sdk_plugin::scheme::RouteRequest;
use sdk_plugin::{Cx, Fault};
use serde_json::json;

use super::payment::{Standing, summary};
use super::{Answered, Refused, ok, query};
use crate::auth_capture::AuthCaptureEvm;
use crate::auth_capture::records::{self, List, Record, entry, read_entry};
use crate::auth_capture::state::{self, State};
use crate::{rpc, text};

/// Payments on a page: the default, and the most.
const USUAL: u32 = 20;
const MOST: u32 = 50;

/// Members of the query.
const KNOWN: [&str; 8] = [
    "network", "tenant", "receiver", "operator", "state", "deadline", "limit", "after",
];

/// What is wanted.
struct Wanted {
    list: List,
    standing: Option<Standing>,
    /// Capture deadlines up to here, seconds since the epoch.
    until_s: Option<u64>,
    limit: u32,
    after: Option<(u64, B256)>,
}

impl Wanted {
    fn read(request: &RouteRequest, tenant: &str) -> Result<Self, Refused> {
        // A filter that is misspelled would list everything.
        if let Some((unknown, _)) = request
            .query
            .iter()
            .find(|(name, _)| !KNOWN.contains(&name.as_str()))
        {
            return Err(Refused::new(
                400,
                format!("the query has {unknown:?}; write only {}", KNOWN.join(", ")),
            ));
        }
        if query(request, "tenant")?.is_some_and(|named| named != tenant) {
            return Err(Refused::new(
                403,
                "a tenant sees its own payments only; leave out tenant",
            ));
        }
        let address = |name: &str| -> Result<Option<Address>, Refused> {
            query(request, name)?
                .map(|sent| {
                    text::address(sent)
                        .ok_or_else(|| Refused::new(400, format!("{name} must be a 20-byte hex address")))
                })
                .transpose()
        };
        let list = match (address("receiver")?, address("operator")?) {
            (None, None) => List::All,
            (Some(receiver), None) => List::Receiver(receiver),
            (None, Some(operator)) => List::Operator(operator),
            (Some(_), Some(_)) => {
                return Err(Refused::new(
                    400,
                    "receiver and operator exclude one another; name one",
                ));
            }
        };
        let standing = query(request, "state")?
            .map(|sent| {
                Standing::read(sent).ok_or_else(|| {
                    Refused::new(
                        400,
                        "state must be one of uncollected, held, expired, captured, closed",
                    )
                })
            })
            .transpose()?;
        let until_s = query(request, "deadline")?
            .map(|sent| {
                sent.parse::<u64>().map_err(|_| {
                    Refused::new(
                        400,
                        "deadline must be unix seconds; captures that end by then are listed",
                    )
                })
            })
            .transpose()?;
        let limit = match query(request, "limit")? {
            None => USUAL,
            Some(sent) => sent
                .parse::<u32>()
                .ok()
                .filter(|limit| (1..=MOST).contains(limit))
                .ok_or_else(|| Refused::new(400, format!("limit must be 1 to {MOST}")))?,
        };
        let after = query(request, "after")?
            .map(|sent| {
                read_entry(sent)
                    .ok_or_else(|| Refused::new(400, "after must be the `next` of the page before"))
            })
            .transpose()?;
        Ok(Self {
            list,
            standing,
            until_s,
            limit,
            after,
        })
    }
}

impl AuthCaptureEvm {
    /// A page may hold fewer payments than its limit, or none, and still have a `next`: the filter by state is applied
    /// to a page of the list, with what the chain shows now.
    pub(super) async fn list(&self, cx: &Cx, request: &RouteRequest, tenant: &str) -> Answered {
        let wanted = match Wanted::read(request, tenant) {
            Ok(wanted) => wanted,
            Err(refused) => return Ok(Err(refused)),
        };
        let network = &cx.network().id;
        let limit = wanted.limit as usize;
        let mut listed: BTreeSet<(u64, B256)> = BTreeSet::new();
        let mut is_full = false;
        for prefix in self.prefixes(wanted.list, network, tenant) {
            let after = wanted
                .after
                .map(|(deadline_s, hash)| format!("{prefix}{}", entry(deadline_s, hash)));
            let rows = records::scan(cx, prefix.clone(), after, wanted.limit).await?;
            is_full |= rows.len() == limit;
            listed.extend(
                rows.iter()
                    .filter_map(|row| read_entry(row.key.strip_prefix(&prefix)?)),
            );
        }
        is_full |= listed.len() > limit;
        let entries: Vec<(u64, B256)> = listed.into_iter().take(limit).collect();
        let in_time = |deadline_s: u64| wanted.until_s.is_none_or(|until_s| deadline_s <= until_s);
        let more = is_full && entries.iter().all(|(at, _)| in_time(*at));
        let next = entries
            .last()
            .filter(|_| more)
            .map(|(deadline_s, hash)| entry(*deadline_s, *hash));

        let mut payments: Vec<(B256, Record)> = Vec::with_capacity(entries.len());
        for (_, hash) in entries.into_iter().filter(|(deadline_s, _)| in_time(*deadline_s)) {
            if let Some(found) = records::find(cx, network, hash).await? {
                // A list's row may outlive a record that became another tenant's.
                let is_own = found.record.owner(&self.config) == Some(tenant);
                let is_wanted = match wanted.list {
                    // A receiver's list holds the payments of all operators.
                    List::Operator(operator) => found.record.payment_info.operator == operator,
                    List::All | List::Receiver(_) => true,
                };
                if is_own && is_wanted {
                    payments.push((hash, found.record));
                }
            }
        }
        let states = states(cx, &payments).await?;
        let now_s = cx.now_s();
        let shown: Vec<_> = payments
            .iter()
            .zip(states)
            .filter(|((_, record), state)| {
                wanted
                    .standing
                    .is_none_or(|standing| Standing::of(record, *state, now_s) == Some(standing))
            })
            .map(|((hash, record), state)| summary(*hash, record, state, now_s))
            .collect();
        Ok(Ok(ok(json!({ "payments": shown, "next": next }))))
    }

    /// Where a tenant's payments are listed: under its name those that it had collected, and under each receiver that the
    /// operator gives to it those that others had collected before. All are in one order, so that a page of each holds
    /// the page of the whole.
    fn prefixes(&self, list: List, network: &str, tenant: &str) -> Vec<String> {
        let wanted = |receiver: &Address| match list {
            List::Receiver(one) => *receiver == one,
            List::All | List::Operator(_) => true,
        };
        let by_receiver = self
            .config
            .receivers_of(tenant)
            .filter(wanted)
            .map(|receiver| List::Receiver(receiver).prefix(network, None));
        std::iter::once(list.prefix(network, Some(tenant)))
            .chain(by_receiver)
            .collect()
    }
}

/// What the chain shows of each, in one round trip.
async fn states(cx: &Cx, payments: &[(B256, Record)]) -> Result<Vec<Option<State>>, Fault> {
    if payments.is_empty() {
        return Ok(Vec::new());
    }
    let questions = payments
        .iter()
        .map(|(hash, record)| state::payment_state(record.escrow, *hash).call())
        .collect();
    let mut answers = rpc::NODES.read_all(cx, questions).await?;
    payments
        .iter()
        .map(|_| Ok(State::of_answer(rpc::executed(answers.take()?, "paymentState")?)))
        .collect()
}
