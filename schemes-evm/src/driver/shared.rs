//! Several steps in one transaction: Multicall3 makes each call, and one that fails leaves the others their effect.
//!
//! Before anything is signed the whole transaction is simulated at the newest block, and calls that would fail are left out. A
//! replacement is not simulated: its steps are those of the transaction before it.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::chain::{Bid, Built, Slot};
use sdk_plugin::scheme::Step;
use sdk_plugin::{Cx, Fault};

use super::build::{self, Wanted};
use crate::abi::{MULTICALL3, Multicall};
use crate::rpc::{self, EthCall, Executed};

/// The most gas that the steps of one transaction may use together. Chains limit a transaction to 2^24 (EIP-7825).
const MAX_GAS: u64 = 12_000_000;

/// Signs these steps for the slot, without those that are left out.
pub(super) async fn steps(cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
    let mut calls = Vec::new();
    for step in steps {
        calls.push(call_of(cx, slot, step)?);
    }
    let works = if slot.replaces {
        vec![true; calls.len()]
    } else {
        simulate(cx, slot, &calls).await?
    };
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    let mut gas: u64 = 0;
    for (index, (call, works)) in (0u32..).zip(calls.into_iter().zip(works)) {
        let with_it = gas.saturating_add(call.gas_limit);
        if works && (with_it <= MAX_GAS || slot.replaces) {
            gas = with_it;
            kept.push(call);
        } else {
            left_out.push(index);
        }
    }
    let built = match kept.as_slice() {
        [] => Built::would_fail("each of the calls would fail"),
        [alone] if !slot.replaces => build::sign(cx, slot, bid, alone).await?,
        _ => {
            let all = Wanted {
                to: MULTICALL3,
                value: U256::ZERO,
                input: Bytes::from(aggregate(&kept)),
                // Each limit has the cost of a whole transaction in it, which is more than Multicall3 needs for a call.
                gas_limit: gas,
            };
            build::sign(cx, slot, bid, &all).await?
        }
    };
    Ok(Built { left_out, ..built })
}

/// The step's call, if it may share a transaction.
fn call_of(cx: &Cx, slot: &Slot, step: &Step) -> Result<Wanted, Fault> {
    let denied = |why: &str| {
        Err(Fault::denied(format!(
            "the step can't share a transaction: {why}"
        )))
    };
    build::check_lane(step, slot)?;
    if !step.batchable {
        return denied("its plan does not allow it");
    }
    let wanted = Wanted::of_call(cx, &step.call)?;
    if wanted.to == MULTICALL3 {
        return denied("it is a call of Multicall3 itself");
    }
    if !wanted.value.is_zero() {
        return denied("it moves native currency");
    }
    Ok(wanted)
}

/// Which calls work when all of them are made at the newest block.
async fn simulate(cx: &Cx, slot: &Slot, calls: &[Wanted]) -> Result<Vec<bool>, Fault> {
    let gas = calls
        .iter()
        .map(|call| call.gas_limit)
        .fold(0, u64::saturating_add);
    let together = EthCall {
        from: Some(build::lane_signer(slot)?),
        to: MULTICALL3,
        data: aggregate(calls),
        gas: Some(gas.min(MAX_GAS)),
    };
    let reads = vec![rpc::chain_id(), together.call()];
    let mut answers = rpc::NODES.read_all(cx, reads).await?;
    rpc::check_chain(answers.take()?, &slot.lane.network)?;
    let returned = match rpc::executed(answers.take()?, "simulation of several calls")? {
        Executed::Returned(data) => data,
        Executed::Failed(failure) => {
            return Err(Fault::unavailable(format!(
                "the calls can't be simulated together: {}",
                failure.text()
            )));
        }
    };
    // An address without code returns nothing.
    let results = Multicall::aggregate3Call::abi_decode_returns(&returned)
        .map_err(|_| Fault::unsupported("Multicall3 is not deployed on this network"))?;
    if results.len() != calls.len() {
        return Err(Fault::unavailable("Multicall3 gave another number of results"));
    }
    Ok(results.iter().map(|result| result.success).collect())
}

fn aggregate(calls: &[Wanted]) -> Vec<u8> {
    let call = |wanted: &Wanted| Multicall::Call3 {
        target: wanted.to,
        allowFailure: true,
        callData: wanted.input.clone(),
    };
    let calls = calls.iter().map(call).collect();
    Multicall::aggregate3Call { calls }.abi_encode()
}
