//! The self-check of a network: the right chain, a current head, the contracts that schemes use, and signers without approvals.

use alloy_primitives::{Address, U256};
use sdk_plugin::chain::{KeyInfo, Network, NodeFault, Readiness};
use sdk_plugin::findings::{Findings, HeadLimits};
use sdk_plugin::host::{RpcResult, Suite};
use sdk_plugin::{Amount, Cx, Fault, Value};
use serde_json::json;

use super::EvmDriver;
use super::allowances::{self, Subject};
use super::{depths, gas, tokens};
use crate::abi::MULTICALL3;
use crate::options::{self, Options};
use crate::{rpc, text};

/// Head blocks older than this are worth a warning where the operator lets them pass.
const WARN_HEAD_AGE_S: u64 = 180;
/// The same of head blocks ahead of the host's clock.
const WARN_CLOCK_SKEW_S: u64 = 5;

impl EvmDriver {
    /// A node that does not answer is a fault; a network that is wrong is an answer.
    pub(super) async fn checked(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let (mut readiness, has_multicall, base_fee) = check(cx, network).await?;
        if let Some(known) = self.networks().get(&network.id) {
            readiness.warnings.extend(known.log_limits.warnings(cx.now_ms()));
        }
        if readiness.ready {
            readiness.why_not = self.too_expensive(cx, network, base_fee).await;
            readiness.ready = readiness.why_not.is_none();
        }
        if network.brief {
            return Ok(readiness);
        }
        // On another chain the addresses mean something else, and a lagging node may not know of the newest approval.
        if readiness.ready {
            self.audit(cx, network, &mut readiness, has_multicall).await?;
        }
        Ok(readiness)
    }

    /// Why no new settlement starts: a transaction's price would be above the ceiling. `verify` must not report as valid
    /// what can't be sent. The answer of one node is not enough.
    async fn too_expensive(&self, cx: &Cx, network: &Network, base_fee: Option<u128>) -> Option<String> {
        let options = Options::read(&network.options).ok()?;
        let ceiling = options.max_fee_per_gas_wei;
        let known = self.known_market(&network.id, cx.now_ms());
        let tip = known.map_or(0, |market| market.tip);
        let needed = match base_fee {
            Some(base_fee) => base_fee.checked_add(tip.max(options.min_priority_fee_per_gas_wei))?,
            // Without a base fee the tip is the whole price.
            None => known.filter(|market| market.base_fee.is_none())?.tip,
        };
        if needed <= ceiling {
            return None;
        }
        if base_fee.is_some()
            && let Ok(nodes) = rpc::compare_or_read(cx, vec![rpc::newest_block()]).await
        {
            let base_fees = nodes
                .sets
                .into_iter()
                .filter_map(|mut answers| Head::read(answers.take().ok()?).ok());
            let lowest = base_fees.filter_map(|head| head.base_fee).min();
            let is_below = |base_fee: u128| {
                base_fee.saturating_add(tip.max(options.min_priority_fee_per_gas_wei)) <= ceiling
            };
            if lowest.is_some_and(is_below) {
                return None;
            }
        }
        let id = &network.id;
        Some(format!(
            "a transaction takes {needed} wei per gas now, above max_fee_per_gas_wei ({ceiling}): wait for a lower price, or \
             raise max_fee_per_gas_wei in the options of networks.{id:?}"
        ))
    }

    async fn audit(
        &self,
        cx: &Cx,
        checked: &Network,
        readiness: &mut Readiness,
        has_multicall: bool,
    ) -> Result<(), Fault> {
        let signers = readiness
            .addresses
            .values()
            .filter_map(|signer| text::address(signer));
        let assets: Vec<Address> = match &cx.network().assets {
            Some(assets) => assets.iter().filter_map(|asset| text::address(asset)).collect(),
            None => self
                .known_assets
                .iter()
                .filter(|(network, _)| *network == cx.network().id)
                .map(|(_, asset)| *asset)
                .collect(),
        };
        let subject = Subject {
            signers: signers.collect(),
            assets,
        };
        let network = &cx.network().id;
        let is_audited = {
            let networks = self.networks();
            let known = networks.get(network);
            let is_audited = known.is_some_and(|known| known.audited.as_ref() == Some(&subject));
            if let Some(known) = known.filter(|_| is_audited && !checked.calls_failed) {
                readiness.warnings.extend(known.asset_warnings.iter().cloned());
                return Ok(());
            }
            is_audited
        };
        // Methods can break while the nodes still answer others: then every payment fails and nothing else shows it.
        let found = if is_audited {
            allowances::Audit::default()
        } else {
            allowances::audit(cx, &subject, has_multicall).await?
        };
        // A described token changes with its configuration, or with an upgrade of its code.
        let described = tokens::warnings(cx, &checked.options).await?;
        let probe = match subject.signers.first() {
            Some(signer) => gas::probe(cx, *signer, &subject.assets, self.max_gas).await?,
            None => gas::Probe::default(),
        };
        readiness.why_not = found.why_not;
        if let Some(why) = probe
            .broken
            .or(found.broken)
            .filter(|_| readiness.why_not.is_none())
        {
            readiness.why_not = Some(format!(
                "the nodes do not run the calls that payments need ({why}): use nodes that serve eth_call and \
                 eth_estimateGas"
            ));
            // Transactions in flight are still observed through such a node, where no other one is better.
            readiness.node_fault = Some(NodeFault::Behind);
        }
        readiness.ready = readiness.why_not.is_none();
        readiness.warnings.extend(found.warnings);
        let asset_warnings = [probe.warnings, described].concat();
        readiness.warnings.extend(asset_warnings.iter().cloned());
        let audited = readiness.ready.then_some(subject);
        let mut networks = self.networks();
        let known = networks.entry(network.clone()).or_default();
        known.audited = audited;
        known.asset_warnings = asset_warnings;
        Ok(())
    }
}

/// One round trip: all but the allowances, whether Multicall3 is deployed, and the head's base fee. A brief check reads only
/// the chain id and the head.
async fn check(cx: &Cx, network: &Network) -> Result<(Readiness, bool, Option<u128>), Fault> {
    let mut findings = Findings::default();
    let Some(chain_id) = text::chain_id(&network.id) else {
        return Err(Fault::invalid(format!(
            "{:?} is not eip155:<chain id>",
            network.id
        )));
    };
    let options = findings.options(Options::read(&network.options));
    let addresses = findings.signers(&network.keys, |key| signer(key).map(text::lower));

    let mut calls = vec![
        rpc::request("eth_chainId", json!([])),
        rpc::request("eth_getBlockByNumber", json!(["latest", false])),
    ];
    if !network.brief {
        calls.push(rpc::get_code(MULTICALL3));
        calls.extend(
            addresses
                .values()
                .map(|address| rpc::request("eth_getBalance", json!([address, "latest"]))),
        );
    }
    let mut answers = rpc::NODES.read_all(cx, calls).await?;

    let reported = rpc::quantity(answers.take()?, "eth_chainId")?;
    if reported != chain_id {
        let why = format!(
            "the nodes of {} serve chain id {reported}; correct the network's rpc urls, or its id",
            network.id
        );
        findings.stop_for_node(NodeFault::WrongChain, why);
    }
    let configured = cx.network();
    findings.warnings.extend(depths::warnings(
        chain_id,
        configured.confirmations,
        configured.finality,
    ));
    let head = Head::read(answers.take()?)?;
    findings.check_head_time(
        &format!("the head block {}", head.height),
        head.timestamp_s,
        cx.now_s(),
        HeadLimits {
            max_age_s: options.max_head_age_s,
            warn_age_s: WARN_HEAD_AGE_S,
            max_ahead_s: options.max_clock_skew_s,
            warn_ahead_s: WARN_CLOCK_SKEW_S,
        },
        "on a development chain, or another one without regular blocks, write options = { max_head_age_s = 0 }; on a slow \
         one a higher number",
    );
    if network.brief {
        let readiness = findings.into_readiness(addresses, true, head.height);
        return Ok((readiness, false, head.base_fee));
    }
    let has_multicall = !rpc::bytes(answers.take()?, "eth_getCode of Multicall3")?.is_empty();
    if !has_multicall {
        findings.warnings.push(format!(
            "Multicall3 is not deployed at {}: failed simulations can't be explained",
            text::lower(MULTICALL3)
        ));
    }
    for (name, address) in &addresses {
        let balance = rpc::big_quantity(answers.take()?, "eth_getBalance")?;
        if balance < U256::from(options.low_balance_wei) {
            findings.warnings.push(format!(
                "signer {address} (key {name}) has {} wei left, less than low_balance_wei ({}); send it native currency",
                Amount(balance),
                options::amount(options.low_balance_wei)
            ));
        }
    }
    let readiness = findings.into_readiness(addresses, true, head.height);
    Ok((readiness, has_multicall, head.base_fee))
}

struct Head {
    height: u64,
    timestamp_s: u64,
    /// In wei per unit of gas; `None`: blocks have none.
    base_fee: Option<u128>,
}

impl Head {
    fn read(result: RpcResult) -> Result<Self, Fault> {
        let block = rpc::value(result, "eth_getBlockByNumber")?;
        let member = |name: &str| block.get(name).and_then(rpc::as_count);
        let base_fee = block.get("baseFeePerGas").and_then(rpc::as_u256);
        match (member("number"), member("timestamp")) {
            (Some(height), Some(timestamp_s)) => Ok(Self {
                height,
                timestamp_s,
                base_fee: base_fee.and_then(|fee| u128::try_from(fee).ok()),
            }),
            _ if block == Value::Null => Err(Fault::unavailable(
                "eth_getBlockByNumber: the node answered null: it has no head block yet",
            )),
            _ => Err(rpc::malformed_block(&block, &["number", "timestamp"])),
        }
    }
}

/// The address of a key: the last 20 bytes of the public key's hash.
fn signer(key: &KeyInfo) -> Result<Address, String> {
    let name = &key.name;
    match key.suite {
        Suite::Secp256k1 => {}
        Suite::Ed25519 => {
            return Err(format!(
                "key {name} is an ed25519 key; EVM networks need a secp256k1 key"
            ));
        }
    }
    match key.public_key.as_ref() {
        [0x04, point @ ..] if point.len() == 64 => Ok(Address::from_raw_public_key(point)),
        _ => Err(format!("key {name} has no uncompressed public key of 65 bytes")),
    }
}
