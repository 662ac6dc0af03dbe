//! The sections `[[tenants]]`: who may call, how often, and at what cost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http_api::{Rate, Scope, WaitUntil};
use sdk_plugin::Amount;

use super::values::{below_max_cost, count, digest, is_name, millis, native_amount, seconds};
use crate::config::reader::{Reader, Section};
use crate::config::{Network, Tenant};

/// The longest wait of a settle.
const LONGEST_WAIT: Duration = Duration::from_secs(85);

/// Reads one section. `max_costs`: `max_cost` by network.
pub(super) fn tenant(
    section: &Section<'_, '_>,
    default_rate: Option<Rate>,
    default_wait: Option<Duration>,
    network_ids: &[String],
    max_costs: &BTreeMap<String, Amount>,
) -> Option<Tenant> {
    let name = section.get("name", |node| {
        node.parsed(
            |text| is_name(text).then(|| text.to_owned()),
            "a name; write letters, digits, - and _ only",
        )
    });
    let key_sha256 = section.get("key_sha256", |node| {
        let keys = node.list_or_one(digest)?;
        if keys.is_empty() {
            node.fail("is empty; write what `switchyard key hash` prints")
        } else {
            Some(keys)
        }
    });
    let scopes = section.get("scopes", |node| {
        let scopes = node.list(|node| {
            node.parsed(
                Scope::from_name,
                "a scope; write \"verify\", \"settle\" or \"supported\"",
            )
        });
        match scopes {
            Some(scopes) if scopes.is_empty() => node.fail(
                "is empty, so this tenant could call nothing; write the paths it may use, leave the line out for all, or \
                 take the tenant out",
            ),
            scopes => scopes.map(BTreeSet::from_iter),
        }
    });
    let per_minute = section.maybe("requests_per_minute", |node| count(node, 0, 10_000_000));
    let burst = section.maybe("burst", |node| count(node, 1, 1_000_000));
    let settle_wait = section.maybe("settle_wait_seconds", |node| seconds(node, 1, 85));
    let wait_until = section.get("wait_until", |node| {
        node.parsed(
            WaitUntil::from_name,
            "a level; write \"submitted\", \"confirmed\" or \"final\"",
        )
    });
    let gather = section.get("gather_ms", |node| {
        let gather = millis(node, 0, 5_000)?;
        let waits_for_chain = match wait_until {
            Some(WaitUntil::Confirmed | WaitUntil::Final) => true,
            Some(WaitUntil::Submitted) | None => false,
        };
        if waits_for_chain && !gather.is_zero() {
            return node.fail(
                "delays each payment before it is sent, so it needs wait_until = \"submitted\"; write that too, or take this line \
                 out",
            );
        }
        Some(gather)
    });
    let reserve_at_verify = section.get("reserve_at_verify", |node| node.boolean());
    let reservation = section.get("reservation_seconds", |node| seconds(node, 1, 3_600));
    let max_cost_per_day = section.get("max_cost_per_day", |node| {
        node.table(|id, node| {
            if network_ids.iter().any(|known| known == id) {
                let amount = native_amount(node)?;
                match max_costs.get(id) {
                    Some(max_cost) if amount < *max_cost => below_max_cost(node, *max_cost),
                    Some(_) | None => Some(amount),
                }
            } else {
                node.fail(format!(
                    "{id:?} is not a network of [networks]; write one of {}",
                    network_ids.join(", ")
                ))
            }
        })
    });
    let default_rate = default_rate?;
    let reserves = reserve_at_verify?;
    let access = http_api::Tenant {
        name: name?,
        key_sha256: key_sha256?,
        scopes: scopes?,
        rate: Rate {
            per_minute: per_minute?.unwrap_or(default_rate.per_minute),
            burst: burst?.unwrap_or(default_rate.burst),
        },
        settle_wait: settle_wait?.or(default_wait)?,
        wait_until: wait_until?,
        gather: gather?,
        reserve_at_verify: Some(reservation?).filter(|_| reserves),
    };
    Some(Tenant {
        access,
        max_cost_per_day: max_cost_per_day?,
    })
}

/// Refuses tenants that wait for finality where it does not come within the longest wait.
pub(super) fn require_finality_in_time(
    reader: &Reader<'_>,
    tenants: &[Tenant],
    networks: &BTreeMap<String, Network>,
) {
    for (n, tenant) in tenants.iter().enumerate() {
        match tenant.access.wait_until {
            WaitUntil::Submitted | WaitUntil::Confirmed => continue,
            WaitUntil::Final => {}
        }
        let key = format!("tenants[{n}].wait_until");
        let line = reader.source.error(&key, "").line;
        for network in networks.values().filter(|network| network.has_chain) {
            let (id, finality) = (&network.id, network.finality);
            let Some(block_time) = network.block_time else {
                let why = format!(
                    "is \"final\", and it is not known how long that takes on {id}; write block_time_ms in \
                     [networks.{id:?}]"
                );
                reader.fail(line, &key, why);
                continue;
            };
            // A product that is too large to be represented is too long as well.
            let takes = u32::try_from(finality)
                .ok()
                .and_then(|blocks| block_time.checked_mul(blocks))
                .unwrap_or(Duration::MAX);
            if takes > LONGEST_WAIT {
                let why = format!(
                    "is \"final\", which takes {finality} blocks of {} ms on {id}, more than the longest wait of {} s; write \
                     \"confirmed\", and a greater confirmations in [networks.{id:?}] if its replies should come later",
                    block_time.as_millis(),
                    LONGEST_WAIT.as_secs()
                );
                reader.fail(line, &key, why);
            }
        }
    }
}

/// Refuses tenants with equal names or equal keys.
pub(super) fn require_distinct(reader: &Reader<'_>, tenants: &[Tenant]) {
    for (n, tenant) in tenants.iter().enumerate() {
        let key = |name: &str| format!("tenants[{n}].{name}");
        let line = |key: &str| reader.source.error(key, "").line;
        let tenant = &tenant.access;
        for earlier in tenants.iter().take(n).map(|earlier| &earlier.access) {
            if earlier.name == tenant.name {
                let key = key("name");
                reader.fail(
                    line(&key),
                    &key,
                    format!(
                        "{:?} is a tenant already; several keys of one go into a list",
                        tenant.name
                    ),
                );
            }
            if earlier
                .key_sha256
                .iter()
                .any(|hash| tenant.key_sha256.contains(hash))
            {
                let key = key("key_sha256");
                reader.fail(
                    line(&key),
                    &key,
                    format!("is also the key of {:?}; give each tenant its own", earlier.name),
                );
            }
        }
    }
}
