//! Which networks a new configuration has: from flags, or typed.

use super::answers::typed as answer;
use super::text::NetworkLines;
use super::{CliError, InitCommand, pairs};
use crate::known::{Known, Network};

pub(super) fn networks(
    command: &InitCommand,
    known: &Known,
    is_typed: bool,
) -> Result<Vec<NetworkLines>, CliError> {
    let named = match command.networks.as_slice() {
        [] if is_typed => typed_networks(known)?,
        [] => {
            return Err(CliError(format!(
                "name at least one network: --network NAME. Known are {}; another one by its CAIP-2 id",
                names(known)
            )));
        }
        named => named.to_vec(),
    };
    let (rpc, costs) = (pairs("rpc", &command.rpc)?, pairs("max-cost", &command.max_cost)?);
    let mut lines: Vec<NetworkLines> = Vec::new();
    for name in &named {
        let network = network(name, known, &rpc, &costs, is_typed)?;
        if lines.iter().any(|other| other.id == network.id) {
            return Err(CliError(format!("{name} is named twice")));
        }
        lines.push(network);
    }
    let is_named = |given: &str| {
        named.iter().any(|name| name == given) || lines.iter().any(|network| network.id == given)
    };
    if let Some((given, _)) = rpc.iter().chain(&costs).find(|(given, _)| !is_named(given)) {
        return Err(CliError(format!(
            "{given} has a value and is not served; add --network {given}"
        )));
    }
    Ok(lines)
}

fn network(
    name: &str,
    known: &Known,
    rpc: &[(&str, &str)],
    costs: &[(&str, &str)],
    is_typed: bool,
) -> Result<NetworkLines, CliError> {
    let found = known.network(name);
    let id = found.map_or(name, |network| network.id.as_str());
    if found.is_none() && !(name.contains(':') && known.family(name).is_some()) {
        return Err(CliError(format!(
            "{name} is not a known network; known are {}. Name another one by its CAIP-2 id, e.g. eip155:8453",
            names(known)
        )));
    }
    let is_it = |given: &&(&str, &str)| given.0 == name || given.0 == id;
    let mut urls: Vec<String> = rpc
        .iter()
        .filter(is_it)
        .map(|(_, url)| (*url).to_owned())
        .collect();
    if urls.is_empty() {
        let public = found.and_then(|network| network.rpc.clone());
        let url = match (public, is_typed) {
            (public, true) => typed_url(name, public.as_deref())?,
            (Some(public), false) => public,
            (None, false) => {
                return Err(CliError(format!("{name} needs a node: --rpc {name}=https://…")));
            }
        };
        urls.push(url);
    }
    let cost = costs.iter().find(is_it).map(|(_, cost)| (*cost).to_owned());
    let cost = match (cost, found) {
        (Some(cost), _) => cost,
        (None, Some(network)) => network.max_cost.clone(),
        (None, None) => {
            return Err(CliError(format!(
                "{name} needs a limit for the cost of a transaction, in atomic units: --max-cost {name}=AMOUNT"
            )));
        }
    };
    Ok(NetworkLines::new(id, found, urls, cost))
}

fn names(known: &Known) -> String {
    let names: Vec<&str> = known
        .networks
        .iter()
        .map(|network| network.name.as_str())
        .collect();
    names.join(", ")
}

fn typed_networks(known: &Known) -> Result<Vec<String>, CliError> {
    eprintln!("Networks:");
    for Network {
        name, title, testnet, ..
    } in &known.networks
    {
        let test = if *testnet { ", a test network" } else { "" };
        eprintln!("  {name:<18} {title}{test}");
    }
    loop {
        let said = answer("Which ones, separated by spaces? [base-sepolia] ")?;
        let named: Vec<String> = said.split_whitespace().map(str::to_owned).collect();
        if named.is_empty() {
            return Ok(vec!["base-sepolia".to_owned()]);
        }
        match named.iter().find(|name| known.network(name).is_none()) {
            None => return Ok(named),
            Some(name) => eprintln!(
                "{name} is not in the list; another network is given by flags (--network --rpc --max-cost)"
            ),
        }
    }
}

fn typed_url(name: &str, public: Option<&str>) -> Result<String, CliError> {
    loop {
        let shown = public.map_or_else(String::new, |url| format!(" [{url}, public and limited]"));
        let said = answer(&format!("URL of a node of {name}?{shown} "))?;
        match (said.as_str(), public) {
            ("", Some(public)) => return Ok(public.to_owned()),
            ("", None) => eprintln!("{name} needs a node"),
            _ => return Ok(said),
        }
    }
}
