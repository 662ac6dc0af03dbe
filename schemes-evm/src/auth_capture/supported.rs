//! What is advertised where (auth-capture-evm.md section 16): only what can be carried out.
//!
//! Addresses of deployments are the same on every chain, and not deployed on every chain. So each network is probed once
//! in a while, in one round trip: does every escrow answer with the payment type's hash, and has each collector code;
//! and where contract operators are admitted, can the nodes simulate a call with the state around it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, b256};
use alloy_sol_types::SolCall;
use sdk_plugin::host::{Level, RpcResult};
use sdk_plugin::scheme::Supported;
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

/// How long a network is believed to have everything, in milliseconds.
const GOOD_FOR_MS: u64 = 15 * 60 * 1_000;
/// The same where something is missing: it may be deployed any moment.
const POOR_FOR_MS: u64 = 30 * 1_000;

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
    /// The host's time, milliseconds.
    at_ms: u64,
    /// Escrows of the configuration that are not there, or not whole.
    missing: Vec<Address>,
    /// Whether calls can be simulated with the state around them.
    simulates: bool,
}

impl Probe {
    fn is_fresh(&self, now_ms: u64, wants_simulation: bool) -> bool {
        let whole = self.missing.is_empty() && (self.simulates || !wants_simulation);
        let good_for_ms = if whole { GOOD_FOR_MS } else { POOR_FOR_MS };
        now_ms
            .checked_sub(self.at_ms)
            .is_some_and(|age_ms| age_ms < good_for_ms)
    }
}

impl Probes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Probe>> {
        // A probe is written whole, so a map left by a panicking thread is as good as any.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kinds and signers. None while no signer is granted: nobody could be a payment's operator.
pub(super) async fn supported(cx: &Cx, config: &Config, probes: &Probes) -> Result<Supported, Fault> {
    let network = cx.network();
    let Some(first) = network.lanes.first() else {
        return Ok(Supported::default());
    };
    let operators: Vec<Value> = config
        .custom_operators
        .iter()
        .filter(|admitted| admitted.network.as_ref().is_none_or(|only| *only == network.id))
        .map(|admitted| json!({ "address": text::lower(admitted.address), "operatorType": "custom" }))
        .collect();
    let probe = probe(cx, config, probes, !operators.is_empty()).await?;
    if probe.missing.contains(&V1_1.escrow) {
        return Ok(Supported::default());
    }
    let mut extra = Map::new();
    extra.insert("captureAuthorizer".into(), first.signer.clone().into());
    if let Some(delegated) = config.delegated_authorizer {
        extra.insert("receiverAuthorizer".into(), text::lower(delegated.address).into());
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

/// The last probe while it is fresh; an older one where the nodes don't answer now.
async fn probe(cx: &Cx, config: &Config, probes: &Probes, simulate: bool) -> Result<Probe, Fault> {
    let id = &cx.network().id;
    let now_ms = cx.now_ms();
    let last = probes.lock().get(id).cloned();
    if let Some(last) = &last
        && last.is_fresh(now_ms, simulate)
    {
        return Ok(last.clone());
    }
    match ask(cx, config, simulate).await {
        Ok(probe) => {
            for escrow in &probe.missing {
                let fields = json!({ "network": id, "escrow": text::lower(*escrow) });
                cx.log(
                    Level::Warn,
                    "auth_capture",
                    "an escrow or one of its collectors is not deployed",
                    &fields,
                );
            }
            probes.lock().insert(id.clone(), probe.clone());
            Ok(probe)
        }
        Err(fault) => last.ok_or(fault),
    }
}

async fn ask(cx: &Cx, config: &Config, simulate: bool) -> Result<Probe, Fault> {
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
    }
    if simulate {
        let call = json!({ "to": text::lower(V1_1.escrow), "data": format!("0x{}", hex::encode(type_hash(V1_1.escrow).data)) });
        let blocks = json!([{ "blockStateCalls": [{ "calls": [call] }] }, "latest"]);
        batch.push(rpc::request("eth_simulateV1", blocks));
    }
    let mut answers = rpc::read_all(cx, batch).await?;
    let mut missing = Vec::new();
    for deployment in deployments {
        if !is_whole(&mut answers)? {
            missing.push(deployment.escrow);
        }
    }
    let simulates = simulate && is_simulated(answers.take()?);
    Ok(Probe {
        at_ms: cx.now_ms(),
        missing,
        simulates,
    })
}

fn is_whole(answers: &mut Answers) -> Result<bool, Fault> {
    let escrow = match rpc::executed(answers.take()?, "PAYMENT_INFO_TYPEHASH of an escrow")? {
        Executed::Returned(data) => data == PAYMENT_INFO_TYPEHASH.as_slice(),
        Executed::Failed(_) => false,
    };
    let erc3009 = !rpc::bytes(answers.take()?, "eth_getCode of a collector")?.is_empty();
    let permit2 = !rpc::bytes(answers.take()?, "eth_getCode of a collector")?.is_empty();
    Ok(escrow && erc3009 && permit2)
}

/// Nodes without the method say so in many ways; only the right answer counts.
fn is_simulated(answer: RpcResult) -> bool {
    let RpcResult::Ok(blocks) = answer else {
        return false;
    };
    blocks
        .pointer("/0/calls/0/returnData")
        .and_then(rpc::as_word)
        .is_some_and(|told| told == PAYMENT_INFO_TYPEHASH)
}
