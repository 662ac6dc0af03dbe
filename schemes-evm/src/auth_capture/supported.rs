//! What is advertised where (auth-capture-evm.md section 16): only what can be carried out.
//!
//! Addresses of deployments are the same on every chain, and not deployed on every chain. So the host's check probes each
//! network in one round trip: does every escrow answer with the payment type's hash, and has each collector code; and
//! where contract operators are admitted, can the nodes simulate a call with the state around it. What is advertised
//! goes by the last probe.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, b256};
use alloy_sol_types::SolCall;
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::{SchemeCheck, Supported};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Cx, Fault, Value};
use serde_json::{Map, json};

use super::abi::Escrow;
use super::config::Config;
use super::deployment::{Deployment, V1_1};
use super::state::READ_GAS;
use super::{SCHEME, VERSIONS};
use crate::rpc::{self, Answers, EthCall, Executed};
use crate::text;

/// `PAYMENT_INFO_TYPEHASH()` of every escrow.
const PAYMENT_INFO_TYPEHASH: B256 =
    b256!("0xae68ac7ce30c86ece8196b61a7c486d8f0061f575037fbd34e7fe4e2820c6591");

/// What was found on the networks.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// By CAIP-2 id.
    seen: Mutex<HashMap<String, Probe>>,
}

#[derive(Debug, Clone)]
struct Probe {
    /// Escrows of the configuration that are not there, or not whole.
    missing: Vec<Address>,
    /// Whether calls can be simulated with the state around them.
    simulates: bool,
}

impl Probes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Probe>> {
        // A probe is written whole, so a map left by a panicking thread is as good as any.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kinds and signers. None while no signer is granted: a payment could have no operator.
pub(super) async fn supported(cx: &Cx, config: &Config, probes: &Probes) -> Result<Supported, Fault> {
    let network = cx.network();
    let Some(first) = network.lanes.first() else {
        return Ok(Supported::default());
    };
    let last = probes.lock().get(&network.id).cloned();
    let probe = match last {
        Some(probe) => probe,
        None => probe(cx, config, probes).await?,
    };
    if probe.missing.contains(&V1_1.escrow) {
        return Ok(Supported::default());
    }
    let operators: Vec<Value> = admitted(config, &network.id)
        .collect::<BTreeSet<Address>>()
        .into_iter()
        .map(|operator| json!({ "address": text::lower(operator), "operatorType": "custom" }))
        .collect();
    let mut extra = Map::new();
    extra.insert("captureAuthorizer".into(), first.signer.clone().into());
    if let Some(authorizer) = config.offered_authorizer() {
        extra.insert("receiverAuthorizer".into(), text::lower(authorizer).into());
    }
    if let Some(terms) = config.fee_terms {
        extra.insert("feeRecipient".into(), text::lower(terms.fee_recipient).into());
        extra.insert("minFeeBps".into(), terms.min_fee_bps.into());
        extra.insert("maxFeeBps".into(), terms.max_fee_bps.into());
    }
    if !operators.is_empty() && probe.simulates {
        extra.insert("operators".into(), operators.into());
    }
    Ok(Supported {
        kinds: VERSIONS
            .map(|x402_version| Kind {
                x402_version,
                scheme: SCHEME.into(),
                network: network.id.clone(),
                extra: Some(extra.clone()),
            })
            .into(),
        extensions: Vec::new(),
        // Retained signers serve what is bound to them: nothing new shall name them.
        signers: network.lanes.iter().map(|lane| lane.signer.clone()).collect(),
    })
}

/// Whether collections can be made on this network: not without the default deployment; anything else that is missing is a
/// warning.
pub(super) async fn check(cx: &Cx, config: &Config, probes: &Probes) -> Result<SchemeCheck, Fault> {
    let id = &cx.network().id;
    let probe = probe(cx, config, probes).await?;
    let is_missing = |escrow: Address| {
        format!(
            "the escrow {} or one of its collectors is not deployed on {id}",
            text::lower(escrow)
        )
    };
    if probe.missing.contains(&V1_1.escrow) {
        let why_not = format!(
            "{}; take {id} out of the plugin's networks",
            is_missing(V1_1.escrow)
        );
        return Ok(SchemeCheck::not_ready(why_not));
    }
    let mut check = SchemeCheck::ready();
    check
        .warnings
        .extend(probe.missing.iter().copied().map(is_missing));
    if admitted(config, id).next().is_some() && !probe.simulates {
        check.warnings.push(format!(
            "custom_operators are not served on {id}: its nodes have no eth_simulateV1; add an rpc url that has"
        ));
    }
    Ok(check)
}

/// Contract operators that may be named on a network.
fn admitted<'a>(config: &'a Config, network: &'a str) -> impl Iterator<Item = Address> + 'a {
    config
        .custom_operators
        .iter()
        .map(|admitted| admitted.address)
        .filter(move |operator| config.admits(*operator, network))
}

async fn probe(cx: &Cx, config: &Config, probes: &Probes) -> Result<Probe, Fault> {
    let id = &cx.network().id;
    let simulate = admitted(config, id).next().is_some();
    let type_hash = |escrow: Address| EthCall {
        from: None,
        to: escrow,
        data: Escrow::PAYMENT_INFO_TYPEHASHCall {}.abi_encode(),
        gas: Some(READ_GAS),
    };
    let deployments: Vec<&Deployment> = config.all_deployments().collect();
    let mut batch = Vec::new();
    for deployment in &deployments {
        batch.push(type_hash(deployment.escrow).call());
        batch.push(rpc::get_code(deployment.erc3009_collector));
        batch.push(rpc::get_code(deployment.permit2_collector));
        batch.push(rpc::get_code(deployment.operator_refund_collector));
    }
    if simulate {
        let call = json!({ "to": text::lower(V1_1.escrow), "data": format!("0x{}", hex::encode(type_hash(V1_1.escrow).data)) });
        let blocks = json!([{ "blockStateCalls": [{ "calls": [call] }] }, "latest"]);
        batch.push(rpc::request("eth_simulateV1", blocks));
    }
    let mut answers = rpc::NODES.read_all(cx, batch).await?;
    let mut missing = Vec::new();
    for deployment in deployments {
        if !is_whole(&mut answers)? {
            missing.push(deployment.escrow);
        }
    }
    let simulates = simulate && is_simulated(answers.take()?);
    let probe = Probe { missing, simulates };
    probes.lock().insert(id.clone(), probe.clone());
    Ok(probe)
}

fn is_whole(answers: &mut Answers) -> Result<bool, Fault> {
    let escrow = match rpc::executed(answers.take()?, "PAYMENT_INFO_TYPEHASH of an escrow")? {
        Executed::Returned(data) => data == PAYMENT_INFO_TYPEHASH.as_slice(),
        Executed::Failed(_) => false,
    };
    let erc3009 = !rpc::bytes(answers.take()?, "eth_getCode of a collector")?.is_empty();
    let permit2 = !rpc::bytes(answers.take()?, "eth_getCode of a collector")?.is_empty();
    let refunds = !rpc::bytes(answers.take()?, "eth_getCode of a collector")?.is_empty();
    Ok(escrow && erc3009 && permit2 && refunds)
}

/// Nodes without the method report that in many ways; only the right answer counts.
fn is_simulated(answer: RpcResult) -> bool {
    let RpcResult::Ok(blocks) = answer else {
        return false;
    };
    blocks
        .pointer("/0/calls/0/returnData")
        .and_then(rpc::as_word)
        .is_some_and(|answer| answer == PAYMENT_INFO_TYPEHASH)
}
