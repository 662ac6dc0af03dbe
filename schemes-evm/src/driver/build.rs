//! From a step to signed bytes: one signature by the host, and a comparison of what was signed with what was wanted. The
//! chain is read only for a step that lost a slot: its call is simulated again.
//!
//! Several steps share a transaction in `shared`.

use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use sdk_plugin::chain::{Bid, Built, Slot};
use sdk_plugin::host::{SignRequest, Suite};
use sdk_plugin::scheme::{Call, LaneChoice, Step};
use sdk_plugin::{Amount, Cx, Fault, HexBytes, Value};

use super::fees::{Fees, Terms};
use super::market::L1_FEE_UNIT_BYTES;
use super::shared;
use crate::abi::NATIVE_TRANSFER;
use crate::client_signed::SignedByClient;
use crate::options::Options;
use crate::recovery;
use crate::rpc::{self, EthCall, Executed};
use crate::{deployment, step, text};

/// Signs these steps for the slot.
pub(super) async fn steps(cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
    let step = match steps {
        [] => return Err(Fault::invalid("nothing to build: no steps")),
        [step] => step,
        several => return shared::steps(cx, slot, bid, several).await,
    };
    if step.lane == LaneChoice::Foreign {
        return client_signed(slot, &step.call);
    }
    check_lane(step, slot)?;
    let mut wanted = Wanted::of_call(cx, &step.call)?;
    if slot.is_simulated() {
        match simulated(cx, slot, &wanted).await? {
            Ok(Some(used)) => {
                wanted.gas_limit = step::gas_limit(&wanted.input, used, wanted.gas_limit);
            }
            Ok(None) => {}
            Err(why) => return Ok(Built::would_fail(why)),
        }
    }
    sign(cx, slot, bid, &wanted).await
}

/// Whether the slot's signer may send the step.
pub(super) fn check_lane(step: &Step, slot: &Slot) -> Result<(), Fault> {
    match &step.lane {
        LaneChoice::Any => Ok(()),
        LaneChoice::Signer { address } if address.eq_ignore_ascii_case(&slot.lane.signer) => Ok(()),
        LaneChoice::Signer { address } => Err(Fault::denied(format!(
            "the step wants signer {address}, the slot is one of {}",
            slot.lane.signer
        ))),
        LaneChoice::Foreign => Err(Fault::denied(
            "a transaction that the client has signed carries one step, and no signer of ours sends it",
        )),
    }
}

/// A client's own transaction, which goes as it is: nothing is signed, and it costs the lane's signer nothing. What it may do to
/// the client's account is the client's own will; the scheme decides whether it is worth sending.
fn client_signed(slot: &Slot, call: &Call) -> Result<Built, Fault> {
    let denied =
        |why: &str| Fault::denied(format!("the client's transaction is not what it declares: {why}"));
    if slot.lane.ordered {
        return Err(denied("the slot is one of our signer's own transactions"));
    }
    let signed = SignedByClient::read(call.data.as_ref()).ok_or_else(|| denied("it does not decode"))?;
    if text::chain_id(&slot.lane.network) != signed.chain_id {
        return Err(denied("it is for another chain"));
    }
    if signed.to.map(text::lower).as_deref() != Some(call.target.as_str()) {
        return Err(denied("it calls another target"));
    }
    let selector = signed.input.first_chunk::<4>().map(hex::encode);
    if selector.map(|selector| format!("0x{selector}")) != Some(call.operation.clone()) {
        return Err(denied("it makes another call"));
    }
    if signed.value.is_zero() && call.native_value.is_zero() {
        Ok(Built {
            tx_id: signed.hash.to_string(),
            bytes: call.data.clone(),
            max_cost: Amount::ZERO,
            terms: Value::Null,
            replay_keys: Vec::new(),
            left_out: Vec::new(),
            would_fail: None,
        })
    } else {
        Err(denied("it moves native currency"))
    }
}

/// The gas that the call uses at the newest block, as far as the node estimates it; or why it would fail.
async fn simulated(cx: &Cx, slot: &Slot, wanted: &Wanted) -> Result<Result<Option<u64>, String>, Fault> {
    let call = EthCall {
        from: Some(lane_signer(slot)?),
        to: wanted.to,
        data: wanted.input.to_vec(),
        gas: Some(wanted.gas_limit),
    };
    let calls = vec![rpc::chain_id(), call.call(), call.estimate()];
    let mut answers = rpc::NODES.read_all(cx, calls).await?;
    rpc::check_chain(answers.take()?, &slot.lane.network)?;
    Ok(match rpc::executed(answers.take()?, "eth_call")? {
        Executed::Returned(_) => {
            let estimated = rpc::estimated(answers.take()?, "eth_estimateGas");
            Ok(estimated.ok().and_then(Result::ok))
        }
        Executed::Failed(failure) => Err(failure.text()),
    })
}

/// A transfer of nothing to the signer itself.
pub(super) async fn fill(cx: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault> {
    let wanted = Wanted {
        to: lane_signer(slot)?,
        value: U256::ZERO,
        input: Bytes::new(),
        gas_limit: Options::read(&cx.network().options)?.fill_gas,
    };
    sign(cx, slot, bid, &wanted).await
}

/// The transaction without its number and price.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) to: Address,
    pub(super) value: U256,
    pub(super) input: Bytes,
    pub(super) gas_limit: u64,
}

impl Wanted {
    /// The call, once it is what it declares: grants are given by what is declared.
    pub(super) fn of_call(cx: &Cx, call: &Call) -> Result<Self, Fault> {
        let denied = |why: &str| Fault::denied(format!("the step's call is not what it declares: {why}"));
        let to = text::address(&call.target).ok_or_else(|| denied("the target is not a 20-byte address"))?;
        if call.target != text::lower(to) {
            return Err(denied("the target is not spelled in lower case"));
        }
        if call.operation == NATIVE_TRANSFER {
            if !call.data.as_ref().is_empty() || call.native_value.is_zero() {
                return Err(denied(
                    "a transfer of native currency has no calldata and moves something",
                ));
            }
        } else {
            let selector = call
                .data
                .as_ref()
                .first_chunk::<4>()
                .ok_or_else(|| denied("the calldata is shorter than a selector"))?;
            if call.operation != format!("0x{}", hex::encode(selector)) {
                return Err(denied("the operation is not the calldata's first four bytes"));
            }
        }
        let gas_limit = call
            .compute_limit
            .filter(|gas| *gas > 0)
            .ok_or_else(|| denied("it has no compute limit"))?;
        if deployment::is_target(to) {
            deployment::check(call.data.as_ref(), cx.network()).map_err(|why| {
                Fault::denied(format!(
                    "the step's call of Multicall3 is no allowed deployment of a wallet with its transfer: {why}"
                ))
            })?;
        }
        Ok(Self {
            to,
            value: call.native_value.0,
            input: Bytes::copy_from_slice(call.data.as_ref()),
            gas_limit,
        })
    }
}

pub(super) async fn sign(cx: &Cx, slot: &Slot, bid: &Bid, wanted: &Wanted) -> Result<Built, Fault> {
    let chain_id = text::chain_id(&slot.lane.network)
        .ok_or_else(|| Fault::invalid(format!("{:?} is not eip155:<chain id>", slot.lane.network)))?;
    let terms = Terms::read(bid)?;
    let envelope = match terms.fees {
        Fees::Eip1559 {
            max_fee,
            max_priority_fee,
        } => {
            let transaction = TxEip1559 {
                chain_id,
                nonce: slot.sequence,
                gas_limit: wanted.gas_limit,
                max_fee_per_gas: price(max_fee)?,
                max_priority_fee_per_gas: price(max_priority_fee)?,
                to: TxKind::Call(wanted.to),
                value: wanted.value,
                access_list: Default::default(),
                input: wanted.input.clone(),
            };
            let signature = signature(cx, slot, &transaction).await?;
            TxEnvelope::Eip1559(transaction.into_signed(signature))
        }
        Fees::Legacy { gas_price } => {
            let transaction = TxLegacy {
                chain_id: Some(chain_id),
                nonce: slot.sequence,
                gas_price: price(gas_price)?,
                gas_limit: wanted.gas_limit,
                to: TxKind::Call(wanted.to),
                value: wanted.value,
                input: wanted.input.clone(),
            };
            let signature = signature(cx, slot, &transaction).await?;
            TxEnvelope::Legacy(transaction.into_signed(signature))
        }
    };
    let bytes = envelope.encoded_2718();
    let tx_id = check_signed(&bytes, slot, chain_id, wanted)?;
    Ok(Built {
        tx_id: tx_id.to_string(),
        max_cost: max_cost(&envelope, &terms, bytes.len())?,
        bytes: HexBytes(bytes),
        terms: Value::Null,
        replay_keys: Vec::new(),
        left_out: Vec::new(),
        would_fail: None,
    })
}

async fn signature(
    cx: &Cx,
    slot: &Slot,
    transaction: &impl SignableTransaction<Signature>,
) -> Result<Signature, Fault> {
    let unsigned = transaction.encoded_for_signing();
    let signature = cx
        .sign(SignRequest {
            key: slot.lane.key.clone(),
            suite: Suite::Secp256k1,
            message: HexBytes(keccak256(&unsigned).to_vec()),
            unsigned: HexBytes(unsigned),
            typed: None,
        })
        .await?;
    let [signature @ .., recovery] = signature.as_ref() else {
        return Err(Fault::internal("the signer gave an empty signature"));
    };
    let (64, recovery @ (0 | 1)) = (signature.len(), *recovery) else {
        return Err(Fault::internal(
            "the signer gave no r, s and recovery id of 0 or 1",
        ));
    };
    Ok(Signature::from_bytes_and_parity(signature, recovery == 1))
}

/// Reads the bytes back as any node would, and compares every member with what was wanted: a signer service that
/// returns something else is found out before anything is journaled.
fn check_signed(bytes: &[u8], slot: &Slot, chain_id: u64, wanted: &Wanted) -> Result<B256, Fault> {
    let wrong = |what: &str| {
        Fault::denied(format!(
            "the signed transaction has another {what} than was requested"
        ))
    };
    let read = TxEnvelope::decode_2718_exact(bytes)
        .map_err(|error| Fault::internal(format!("the signed transaction does not decode: {error}")))?;
    let signer = recovery::signer(&read.signature_hash(), read.signature());
    if signer != Some(lane_signer(slot)?) {
        return Err(wrong("signer"));
    }
    let members = [
        ("chain id", read.chain_id() == Some(chain_id)),
        ("nonce", read.nonce() == slot.sequence),
        ("target", read.to() == Some(wanted.to)),
        ("value", read.value() == wanted.value),
        ("input", *read.input() == wanted.input),
        ("gas limit", read.gas_limit() == wanted.gas_limit),
    ];
    match members.iter().find(|(_, equal)| !equal) {
        Some((what, _)) => Err(wrong(what)),
        None => Ok(*read.tx_hash()),
    }
}

pub(super) fn lane_signer(slot: &Slot) -> Result<Address, Fault> {
    text::address(&slot.lane.signer).ok_or_else(|| {
        Fault::invalid(format!(
            "the lane's signer {:?} is not an address",
            slot.lane.signer
        ))
    })
}

fn price(amount: Amount) -> Result<u128, Fault> {
    u128::try_from(amount.0).map_err(|_| Fault::invalid("the bid's price does not fit 128 bits"))
}

/// All the gas at the highest price, the value, and the L1 data fee.
fn max_cost(envelope: &TxEnvelope, terms: &Terms, bytes: usize) -> Result<Amount, Fault> {
    let units = (bytes as u64).div_ceil(L1_FEE_UNIT_BYTES);
    let gas = U256::from(envelope.gas_limit()).checked_mul(U256::from(envelope.max_fee_per_gas()));
    let data = terms.l1_fee_per_unit.0.checked_mul(U256::from(units));
    gas.zip(data)
        .and_then(|(gas, data)| gas.checked_add(data)?.checked_add(envelope.value()))
        .map(Amount)
        .ok_or_else(|| Fault::invalid("the transaction's cost does not fit 256 bits"))
}
