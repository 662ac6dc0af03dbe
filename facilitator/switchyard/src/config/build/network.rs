//! The sections `[networks."…"]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host::rpc::SecretUrl;
use http_api::names::is_caip2;
use sdk_plugin::{Amount, Value};

use super::values::{amount, below_max_cost, count, is_name, known_name, millis, native_amount, seconds};
use crate::config::node::Node;
use crate::config::reader::Section;
use crate::config::{Assets, Network};
use crate::known::Known;

/// No transaction on any chain costs less: a lower value was written in whole coins.
const LEAST_MAX_COST: u64 = 1_000;

/// Names of keys.
struct Signers {
    active: Vec<String>,
    retained: Vec<String>,
}

/// Depths in blocks.
struct Depths {
    confirmations: u64,
    finality: u64,
}

/// Limits in native atomic units.
struct Costs {
    per_transaction: Amount,
    per_day: Option<Amount>,
    per_day_per_signer: Option<Amount>,
}

/// Reads one section. `key_names`: the names of `[keys]`.
pub(super) fn network(id: &str, section: &Section<'_, '_>, key_names: &[String]) -> Option<Network> {
    if !is_caip2(id) {
        let known = Known::load().ok();
        let named = known.as_ref().and_then(|known| known.network(id));
        let example = named.map_or("eip155:8453", |network| network.id.as_str());
        section.fail_here(format!(
            "{id:?} is not a CAIP-2 id; write e.g. [networks.{example:?}]"
        ));
    }
    if !section.get("chain", |node| node.boolean())? {
        return without_chain(id, section);
    }
    let rpc = section.get("rpc", nodes);
    let signers = signers(section, key_names);
    let depths = depths(section);
    let poll_interval = section.maybe("poll_interval_ms", |node| millis(node, 50, 60_000));
    let stuck_after = section.get("stuck_after_seconds", |node| seconds(node, 1, 3_600));
    let max_in_flight = section.maybe("max_in_flight", |node| count(node, 1, 1_000));
    let max_batch = section.get("max_batch", |node| count(node, 1, 64));
    let lane_queue = section.get("lane_queue", |node| count(node, 1, 100_000));
    let costs = costs(section);
    let second_source_above = second_source_above(section, rpc.as_deref());
    let assets = assets(section);
    let rpc_timeout = section.get("rpc_timeout_ms", |node| millis(node, 50, 60_000));
    let v1_name = v1_name(section);
    let options = section.get("options", |node| node.json_object());
    let block_time = section.maybe("block_time_ms", |node| millis(node, 1, 3_600_000));
    let (signers, depths, costs) = (signers?, depths?, costs?);
    Some(Network {
        id: id.to_owned(),
        has_chain: true,
        rpc: rpc?,
        signers: signers.active,
        retained_signers: signers.retained,
        confirmations: depths.confirmations,
        finality: depths.finality,
        block_time: block_time?,
        poll_interval: poll_interval?,
        stuck_after: stuck_after?,
        max_in_flight: max_in_flight?,
        max_batch: max_batch?,
        lane_queue: lane_queue?,
        max_cost: costs.per_transaction,
        max_cost_per_day: costs.per_day,
        max_cost_per_day_per_signer: costs.per_day_per_signer,
        second_source_above: second_source_above?,
        assets: assets?,
        rpc_timeout: rpc_timeout?,
        v1_name: v1_name?,
        options: options?,
    })
}

/// A network whose schemes keep the accounts themselves: nothing of a chain may be written about it.
fn without_chain(id: &str, section: &Section<'_, '_>) -> Option<Network> {
    for key in section.written_beside(&["chain", "assets", "allow_any_asset", "v1_name"]) {
        section.fail(
            key,
            "has no effect beside chain = false, because nothing is sent to a chain; take it out, or take chain = false out",
        );
    }
    Some(Network {
        id: id.to_owned(),
        has_chain: false,
        rpc: Vec::new(),
        signers: Vec::new(),
        retained_signers: Vec::new(),
        confirmations: 1,
        finality: 1,
        block_time: None,
        poll_interval: None,
        stuck_after: Duration::from_secs(30),
        max_in_flight: None,
        max_batch: 1,
        lane_queue: 1,
        max_cost: Amount::ZERO,
        max_cost_per_day: None,
        max_cost_per_day_per_signer: None,
        second_source_above: BTreeMap::new(),
        assets: assets(section)?,
        rpc_timeout: Duration::from_secs(5),
        v1_name: v1_name(section)?,
        options: Value::Object(serde_json::Map::new()),
    })
}

fn v1_name(section: &Section<'_, '_>) -> Option<Option<String>> {
    section.maybe("v1_name", |node| {
        node.parsed(
            |text| is_name(text).then(|| text.to_owned()),
            "a plain name; write e.g. \"base-sepolia\"",
        )
    })
}

fn nodes(node: &Node<'_, '_>) -> Option<Vec<SecretUrl>> {
    let urls = node.list_or_one(|node| {
        if node.is_table() {
            named_node(node)
        } else {
            url(node, &node.text()?)
        }
    })?;
    if urls.is_empty() {
        return node.fail("is empty; name at least one node");
    }
    let names: Vec<&str> = urls.iter().filter_map(SecretUrl::name).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    if distinct.len() < names.len() {
        return node.fail("names two nodes alike; write a name of its own for each");
    }
    Some(urls)
}

fn url(node: &Node<'_, '_>, text: &str) -> Option<SecretUrl> {
    match SecretUrl::parse(text) {
        Ok(url) => Some(url),
        Err(error) => node.fail(error.to_string()),
    }
}

/// `{ url = "https://…", name = "…" }`.
fn named_node(node: &Node<'_, '_>) -> Option<SecretUrl> {
    const FORM: &str = "write { url = \"https://rpc.example.com/v2/KEY\", name = \"example\" }";
    let members = node.table(|key, node| match key {
        "url" | "name" => node.text(),
        _ => node.fail(format!("is no key of a node; {FORM}")),
    })?;
    let (Some(address), Some(name)) = (members.get("url"), members.get("name")) else {
        return node.fail(format!("needs url and name; {FORM}"));
    };
    if !is_name(name) {
        return node.fail("has a name that is not plain: letters, digits, - and _; write e.g. \"alchemy-1\"");
    }
    Some(url(node, address)?.named(name.clone()))
}

fn signers(section: &Section<'_, '_>, key_names: &[String]) -> Option<Signers> {
    let active = section.get("signers", |node| {
        let signers = node.list(|node| known_name(node, "key of [keys]", key_names))?;
        if signers.is_empty() {
            node.fail("is empty; name at least one key of [keys]")
        } else {
            Some(signers)
        }
    });
    let retained = section.get("retained_signers", |node| {
        node.list(|node| known_name(node, "key of [keys]", key_names))
    });
    let (active, retained) = (active?, retained?);
    for (n, signer) in active.iter().enumerate() {
        if active.iter().take(n).any(|earlier| earlier == signer) {
            section.fail("signers", format!("names {signer:?} twice; each key is one lane"));
        }
        if retained.contains(signer) {
            section.fail(
                "retained_signers",
                format!("names {signer:?}, which is in signers; write it in one of them"),
            );
        }
    }
    Some(Signers { active, retained })
}

fn depths(section: &Section<'_, '_>) -> Option<Depths> {
    let confirmations = section.get("confirmations", |node| node.integer(1..=10_000));
    let finality = section.get("finality", |node| node.integer(1..=100_000));
    let single_block = section.get("single_block_finality", |node| node.boolean());
    let (confirmations, finality) = (confirmations?, finality?);
    if finality < confirmations {
        section.fail(
            "finality",
            format!("must be at least confirmations, which is {confirmations}"),
        );
    }
    match (finality, single_block?) {
        (1, false) => section.fail(
            "finality",
            "is 1: a block that is replaced, or a node that lags, would be taken for the end; write the depth at which \
             this chain's blocks are irreversible (without the line it is 64), or for a chain that never replaces a block \
             single_block_finality = true beside it",
        ),
        (finality, true) if finality > 1 => section.fail(
            "single_block_finality",
            format!("has no effect beside finality = {finality}; take it out"),
        ),
        (_, _) => {}
    }
    Some(Depths {
        confirmations,
        finality,
    })
}

fn costs(section: &Section<'_, '_>) -> Option<Costs> {
    let max_cost = section.get("max_cost", |node| {
        let amount = native_amount(node)?;
        if amount < Amount::from(LEAST_MAX_COST) {
            node.fail(format!(
                "is below {LEAST_MAX_COST} atomic units, which pay for no transaction on any chain; write the most that one \
                 may cost in the smallest unit (10^18 to one ETH, 10^9 to one SOL), e.g. \"50000000000000\" on an EVM network \
                 or \"3000000\" on Solana"
            ))
        } else {
            Some(amount)
        }
    });
    let budget = |node: &Node<'_, '_>| {
        let amount = native_amount(node)?;
        match max_cost {
            Some(max_cost) if amount < max_cost => below_max_cost(node, max_cost),
            Some(_) | None => Some(amount),
        }
    };
    let per_day = section.maybe("max_cost_per_day", budget);
    let per_day_per_signer = section.maybe("max_cost_per_day_per_signer", budget);
    Some(Costs {
        per_transaction: max_cost?,
        per_day: per_day?,
        per_day_per_signer: per_day_per_signer?,
    })
}

fn second_source_above(
    section: &Section<'_, '_>,
    rpc: Option<&[SecretUrl]>,
) -> Option<BTreeMap<String, Amount>> {
    let limits = section.get("second_source_above", |node| {
        node.table(|_, node| {
            amount(
                node,
                "an amount; write atomic units of the asset, e.g. \"1000000000\"",
            )
        })
    })?;
    if let (false, Some(rpc)) = (limits.is_empty(), rpc) {
        require_two_addresses(section, rpc);
    }
    Some(limits)
}

/// Requires that each node has an address of its own: a node under two URLs would confirm its own replies.
fn require_two_addresses(section: &Section<'_, '_>, rpc: &[SecretUrl]) {
    let mut addresses: Vec<&str> = rpc.iter().map(SecretUrl::address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() < 2 {
        section.fail(
            "second_source_above",
            "needs two nodes of different addresses; add another one to rpc, or take this line out",
        );
    } else if addresses.len() < rpc.len() {
        section.fail(
            "second_source_above",
            "needs nodes of different addresses, and rpc names one address twice: take one of them out",
        );
    }
}

fn assets(section: &Section<'_, '_>) -> Option<Assets> {
    let assets = section.get("assets", |node| node.list(|node| node.text()));
    let any = section.get("allow_any_asset", |node| node.boolean());
    match (assets?, any?) {
        (assets, true) if !assets.is_empty() => {
            section.fail(
                "assets",
                "has no effect beside allow_any_asset = true; write only one of them",
            );
            None
        }
        (_, true) => Some(Assets::Any),
        (assets, false) => Some(Assets::KnownAnd(assets)),
    }
}
