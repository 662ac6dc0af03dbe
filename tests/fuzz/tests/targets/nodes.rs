//! Answers of nodes: JSON-RPC on the wire, and what the drivers read from results.
//!
//! The input of a driver's target is a JSON object. It maps a method to the result of every call of it, or to an object
//! with the member `error`.

use std::sync::Arc;

use schemes_evm::driver::{self as evm, EvmDriver};
use schemes_svm::driver::{self as svm, SvmDriver};
use sdk_plugin::chain::{Attempt, Bid, BlockRef, KeyInfo, Lane, Network, Watch};
use sdk_plugin::host::{RpcError, RpcResult, Suite};
use sdk_plugin::scheme::EvidenceWanted;
use sdk_plugin::testkit::{ScriptHost, block_on};
use sdk_plugin::{ChainDriver, HexBytes, Value};
use serde::Deserialize as _;

const NOW_S: u64 = 1_800_000_000;

#[test]
fn rpc_answers() {
    fuzz::run("rpc_answers", 16_384, |bytes| {
        for count in 1..=3 {
            let Some(results) = host::fuzzing::decode_answers(bytes, 7, count) else {
                continue;
            };
            assert_eq!(results.len(), count, "one result for each call");
            for result in results {
                if let RpcResult::Error(error) = result {
                    let _ = host::fuzzing::is_node_error(&error);
                }
            }
        }
    });
}

/// A host whose nodes answer from the input.
fn host(bytes: &[u8], methods: &[&'static str]) -> Option<Arc<ScriptHost>> {
    let answers: Value = serde_json::from_slice(bytes).ok()?;
    let host = ScriptHost::at_unix_s(NOW_S);
    for method in methods {
        let answer = answers.get(method).cloned().unwrap_or_default();
        host.answer_rpc(method, move |_| {
            match answer
                .get("error")
                .map(|error| RpcError::deserialize(error.clone()))
            {
                Some(Ok(error)) => RpcResult::Error(error),
                _ => RpcResult::Ok(answer.clone()),
            }
        });
    }
    Some(host)
}

/// Every read of a driver. A fault is an answer; a panic is not.
fn drive(driver: &impl ChainDriver, host: &Arc<ScriptHost>, lane: &Lane, key: KeyInfo, tx_id: &str) {
    let cx = host.cx(host.context(&lane.network));
    let network = Network {
        id: lane.network.clone(),
        keys: vec![key],
        options: Value::Null,
        calls_failed: false,
        brief: false,
    };
    let watch = Watch {
        attempt_id: "1".into(),
        tx_id: tx_id.into(),
        lane: lane.clone(),
        sequence: 7,
        terms: Value::Null,
        since_height: 90,
        evidence: vec![EvidenceWanted::default()],
        search_foreign: true,
        pool: true,
        block: Some(BlockRef {
            id: "0x63".into(),
            height: 99,
            time_s: NOW_S,
        }),
        by_block: false,
        final_at: Some(100),
        read_guards: true,
        whole_block: true,
        brief: false,
    };
    let attempt = Attempt {
        id: "1".into(),
        tx_id: tx_id.into(),
        lane: lane.clone(),
        sequence: 7,
    };
    let _ = block_on(driver.check(&cx, &network));
    let _ = block_on(driver.lane(&cx, lane));
    if let Ok(bid) = block_on(driver.quote(&cx, lane, None)) {
        let _: Result<Bid, _> = block_on(driver.quote(&cx, lane, Some(&bid)));
    }
    let _ = block_on(driver.broadcast(&cx, &attempt));
    let watches = [watch];
    if let Ok(seen) = block_on(driver.observe(&cx, &watches)) {
        assert_eq!(seen.len(), watches.len(), "one observation for each watch");
    }
}

#[test]
fn evm_nodes() {
    let methods: Vec<_> = evm::RPC_READS.iter().chain(evm::RPC_SENDS).copied().collect();
    let lane = Lane {
        network: "eip155:84532".into(),
        signer: "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A".into(),
        key: "main".into(),
        ordered: true,
    };
    fuzz::run("evm_nodes", 16_384, |bytes| {
        if let Some(host) = host(bytes, &methods) {
            let key = KeyInfo {
                name: "main".into(),
                suite: Suite::Secp256k1,
                public_key: HexBytes(vec![4; 65]),
            };
            let tx_id = format!("0x{:064x}", 2);
            drive(&EvmDriver::new(), &host, &lane, key, &tx_id);
        }
    });
}

#[test]
fn svm_nodes() {
    let methods: Vec<_> = svm::RPC_READS.iter().chain(svm::RPC_SENDS).copied().collect();
    let lane = Lane {
        network: "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1".into(),
        signer: "AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9".into(),
        key: "main".into(),
        ordered: false,
    };
    fuzz::run("svm_nodes", 16_384, |bytes| {
        if let Some(host) = host(bytes, &methods) {
            let key = KeyInfo {
                name: "main".into(),
                suite: Suite::Ed25519,
                public_key: HexBytes(vec![1; 32]),
            };
            drive(&SvmDriver::new(), &host, &lane, key, &"1".repeat(64));
        }
    });
}
