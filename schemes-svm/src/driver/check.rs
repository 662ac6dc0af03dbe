//! The self-check of a network: the right cluster, a current clock, and fee payers that can pay.

use sdk_plugin::chain::{KeyInfo, Network, NodeFault, Readiness};
use sdk_plugin::findings::{Findings, HeadLimits};
use sdk_plugin::host::{RpcResult, Suite};
use sdk_plugin::{Cx, Fault};
use serde_json::json;
use solana_address::Address;

use super::options::Options;
use crate::blockhashes::Blockhashes;
use crate::programs::{CLOCK, RECENT_BLOCKHASHES};
use crate::rpc::Account;
use crate::{rpc, text};

/// References of the public clusters: the first 32 characters of their genesis hashes (CAIP-2, namespace solana).
const PUBLIC_CLUSTERS: [&str; 3] = [
    "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
    "EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
    "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z",
];
/// A chain clock older than this causes a warning where the operator's limit is 0.
const WARN_HEAD_AGE_S: u64 = 120;
/// The same of one that runs ahead of the host's.
const WARN_CLOCK_SKEW_S: u64 = 60;

/// What a check found out.
pub(super) struct Checked {
    pub(super) readiness: Readiness,
    /// The block height at the head or later.
    pub(super) block_height: u64,
}

/// One round trip. A node that does not answer is a fault; a network that is wrong is an answer.
pub(super) async fn check(cx: &Cx, network: &Network, blockhashes: &Blockhashes) -> Result<Checked, Fault> {
    let mut findings = Findings::default();
    let Some(reference) = text::reference(&network.id) else {
        return Err(Fault::invalid(format!(
            "{:?} is not solana:<genesis hash>",
            network.id
        )));
    };
    let options = findings.options(Options::read(&network.options));
    let signers = findings.signers(&network.keys, signer);

    let mut wanted = vec![CLOCK, RECENT_BLOCKHASHES];
    wanted.extend(signers.values().copied().take(rpc::MAX_ACCOUNTS - 2));
    let calls = vec![
        rpc::request("getGenesisHash", json!([])),
        rpc::request("getVersion", json!([])),
        rpc::request("getHealth", json!([])),
        rpc::accounts(&wanted),
        rpc::block_height(rpc::CONFIRMED),
    ];
    let mut answers = rpc::NODES.read_all(cx, calls).await?;

    let genesis = answers.take()?;
    check_genesis(&mut findings, &network.id, reference, genesis, &options)?;
    rpc::value(answers.take()?, "getVersion")?;
    if let RpcResult::Error(error) = answers.take()? {
        let why = format!("the node says that it is not healthy: {}", error.message);
        findings.stop_for_node(NodeFault::Behind, why);
    }
    let (slot, accounts) = rpc::account_list(answers.take()?, wanted.len())?;
    let block_height = rpc::number(answers.take()?, "getBlockHeight")?;
    let mut accounts = accounts.into_iter();
    match accounts.next().flatten().as_ref().and_then(chain_time) {
        Some(time_s) => check_clock(&mut findings, slot, time_s, cx.now_s(), &options),
        None => findings.stop_for_node(
            NodeFault::WrongChain,
            format!(
                "the nodes of {} do not show the chain's clock; are these Solana nodes?",
                network.id
            ),
        ),
    }
    blockhashes.record(&network.id, slot, accounts.next().flatten().as_ref());
    for ((name, address), account) in signers.iter().zip(accounts) {
        warn_of_low_balance(&mut findings, name, *address, account, &options);
    }
    if cx.network().finality == 1 {
        findings.warnings.push(format!(
            "finality = 1 on {} closes payments before they are final; set it to 32",
            network.id
        ));
    }
    let addresses = signers
        .into_iter()
        .map(|(name, address)| (name, address.to_string()));
    Ok(Checked {
        readiness: findings.into_readiness(addresses.collect(), false, slot),
        block_height,
    })
}

/// Whether a genesis hash is not that of the network, where one of the two belongs to a public cluster. Other references are
/// the operator's own.
pub(super) fn is_wrong_chain(reference: &str, genesis: &str, options: &Options) -> bool {
    let is_public = PUBLIC_CLUSTERS.iter().any(|known| genesis.starts_with(known))
        || PUBLIC_CLUSTERS.contains(&reference);
    is_public && !genesis.starts_with(reference) && !options.any_genesis
}

/// Public clusters have their genesis hash in their name; other references are the operator's own.
fn check_genesis(
    findings: &mut Findings,
    network: &str,
    reference: &str,
    answer: RpcResult,
    options: &Options,
) -> Result<(), Fault> {
    let value = rpc::value(answer, "getGenesisHash")?;
    let shown = value.as_str().filter(|hash| text::address(hash).is_some());
    let shown = shown.ok_or_else(|| rpc::unexpected_answer("getGenesisHash", "no hash"))?;
    if shown.starts_with(reference) || options.any_genesis {
        return Ok(());
    }
    let text = format!(
        "the nodes of {network} serve a chain with genesis hash {shown}: correct the network's rpc urls or its id \
         (or set any_genesis = true for a development chain)"
    );
    if is_wrong_chain(reference, shown, options) {
        findings.stop_for_node(NodeFault::WrongChain, text);
    } else {
        findings.warnings.push(text);
    }
    Ok(())
}

fn check_clock(findings: &mut Findings, slot: u64, time_s: u64, now_s: u64, options: &Options) {
    let limits = HeadLimits {
        max_age_s: options.max_head_age_s,
        warn_age_s: WARN_HEAD_AGE_S,
        max_ahead_s: options.max_clock_skew_s,
        warn_ahead_s: WARN_CLOCK_SKEW_S,
    };
    let advice = "raise max_head_age_s, or set it to 0 for a chain without regular blocks";
    findings.check_head_time(&format!("slot {slot}"), time_s, now_s, limits, advice);
}

fn warn_of_low_balance(
    findings: &mut Findings,
    name: &str,
    address: Address,
    account: Option<Account>,
    options: &Options,
) {
    let lamports = account.map_or(0, |account| account.lamports);
    let least = options.low_balance_lamports;
    if lamports < least {
        findings.warnings.push(format!(
            "fee payer {address} (key {name}) has {lamports} lamports left, less than low_balance_lamports ({least}): it \
             is not offered to new buyers; send it SOL",
        ));
    }
}

/// Seconds since the epoch in the clock sysvar: slot, epoch start, epoch, leader schedule epoch, time, 8 bytes each.
pub(crate) fn chain_time(clock: &Account) -> Option<u64> {
    let bytes = clock.data.get(32..40)?;
    u64::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok()
}

fn signer(key: &KeyInfo) -> Result<Address, String> {
    let bytes = <[u8; 32]>::try_from(key.public_key.as_ref());
    match (key.suite, bytes) {
        (Suite::Ed25519, Ok(bytes)) => Ok(Address::new_from_array(bytes)),
        (Suite::Ed25519 | Suite::Secp256k1, _) => Err(format!(
            "key {} is not an ed25519 key: set suite = \"ed25519\" for the keys of Solana networks",
            key.name
        )),
    }
}
