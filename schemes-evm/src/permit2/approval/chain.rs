//! The checks of an approval that need the chain, for a payer without the allowance.
//!
//! The transfer itself can't be simulated before the approval has landed. What it needs is read instead: the permit's nonce, and
//! whether the token lets the payer move the amount to the payee at all. The proxy's call is simulated before it is signed,
//! once the approval is there.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::host::{RpcCall, RpcResult, StoreWrite};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Amount, Cx, Fault};
use serde_json::json;

use super::funding::{self, Denied};
use super::{Approval, EXTENSION, Limits, RECEIVING_GAS};
use crate::abi::AuthorizedToken::transferCall;
use crate::abi::{GAS_PRICE_ORACLE, GasPriceOracle, PERMIT2};
use crate::client_signed::SignedByClient;
use crate::permit2::payment::Payment;
use crate::permit2::{nonce, reason};
use crate::rpc::{self, Answers, EthCall, Executed};
use crate::step::{self, GasLimits, Wanted};
use crate::text;
use crate::transfer::Funds;

/// The highest gas limit of an approval. That of official buyers is 70,000.
const MAX_GAS: u64 = 100_000;
/// The highest price, as a multiple of the base fee.
const MOST_BASE_FEES: u128 = 10;
/// Official buyers offer this where they know no price, in wei: it is accepted at any base fee.
const USUAL_PRICE_WEI: u128 = 1_000_000_000;
/// The most gas that a payment through the proxy may use, as far as it can't be simulated: the official facilitators' limit. The
/// driver lowers it to what the payment needs.
const USUAL_GAS: u64 = 300_000;
/// The least time that each transaction may take to be confirmed, in seconds: for one block, and for each further one.
const STEP_S: u64 = 4;
const CONFIRMATION_S: u64 = 2;
/// Transactions of the types 0 to 2 carry no blobs and no authorizations of EIP-7702.
const HIGHEST_TYPE: u8 = 2;

/// An approval that is worth sending.
#[derive(Debug)]
pub(crate) struct Sponsored {
    pub(crate) bytes: Vec<u8>,
    /// Of the approval.
    pub(crate) gas_limit: u64,
    /// What the payer lacks for it, and the rows that record it.
    pub(crate) funding: Option<(Amount, Vec<StoreWrite>)>,
}

/// The checks of row 8, and those of the payment that a simulation would make. Two nodes are read where there are two: a node
/// that lags knows another nonce, and one that finds nothing wrong is enough.
///
/// # Errors
/// A fault of the nodes or of the store.
pub(crate) async fn check(
    cx: &Cx,
    limits: &Limits,
    payment: &Payment,
    approval: &Approval,
    (wanted, max_gas): (Wanted, u64),
) -> Result<Result<(Sponsored, Option<Funds>), Refusal>, Fault> {
    let refuse = |message: &str| payment.refuse_extension(EXTENSION, reason::APPROVAL_FAILED, message);
    let Some(signed) = &approval.signed else {
        return Err(Fault::internal(
            "an approval that does not decode passed its checks",
        ));
    };
    if let Some(why) = refused_terms(payment, approval, signed) {
        return Ok(Err(refuse(why)));
    }
    let gas = GasLimits::of(cx.network(), payment.asset, max_gas)?;
    let calls = reads(payment, approval, signed, gas, step::first_signer(cx)?);
    let (mut refusal, mut fault) = (None, None);
    for mut answers in rpc::compare_or_read(cx, calls).await?.sets {
        match Seen::read(cx, payment, &mut answers) {
            Ok(Ok(seen)) => match seen.refused(cx, payment, signed) {
                None => {
                    let lacking = seen.lacking(signed);
                    let funding = match funded(cx, limits, payment, lacking).await? {
                        Ok(funding) => funding,
                        Err((why, of_state)) => {
                            return Ok(Err(Refusal {
                                of_state,
                                ..refuse(why)
                            }));
                        }
                    };
                    let sponsored = Sponsored {
                        bytes: approval.bytes.clone(),
                        gas_limit: signed.gas_limit,
                        funding,
                    };
                    let funds = Funds {
                        available: Amount(seen.balance),
                        height: seen.height,
                        gas_limit: gas.assumed.min(USUAL_GAS),
                    };
                    let is_planned = wanted == Wanted::Plan;
                    return Ok(Ok((sponsored, is_planned.then_some(funds))));
                }
                Some(refused) => refusal = Some(refused),
            },
            Ok(Err(refused)) => refusal = Some(refused),
            Err(unread) => fault = Some(unread),
        }
    }
    match (refusal, fault) {
        (Some(refusal), _) => Ok(Err(refusal)),
        (None, Some(fault)) => Err(fault),
        (None, None) => Err(Fault::unavailable("no node answered")),
    }
}

/// What needs no chain.
fn refused_terms(payment: &Payment, approval: &Approval, signed: &SignedByClient) -> Option<&'static str> {
    let is_short = approval
        .amount()
        .is_none_or(|amount| amount < payment.permit.amount);
    [
        (signed.kind > HIGHEST_TYPE, "the approval's type is not 0, 1 or 2"),
        (
            signed.chain_id != Some(payment.chain_id),
            "the approval is not for this chain alone",
        ),
        (!signed.value.is_zero(), "the approval moves native currency"),
        (
            signed.gas_limit > MAX_GAS,
            "the approval's gas limit is above 100000",
        ),
        (
            signed.max_priority_fee > signed.max_fee,
            "the approval's tip is above its price",
        ),
        (is_short, "the approval is for less than the payment"),
    ]
    .into_iter()
    .find_map(|(fails, why)| fails.then_some(why))
}

/// The height comes before the balance, so that the balance is not older. The nonce that counts is the one after all that the
/// node knows of; where that differs from the landed ones, another transaction of the payer is on its way.
fn reads(
    payment: &Payment,
    approval: &Approval,
    signed: &SignedByClient,
    gas: GasLimits,
    sender: Address,
) -> Vec<RpcCall> {
    let payer = payment.permit.from;
    let from_payer = |data: Vec<u8>, gas: u64| EthCall {
        from: Some(payer),
        to: payment.asset,
        data,
        gas: Some(gas),
    };
    let transfer = transferCall {
        to: payment.pay_to,
        value: payment.permit.amount,
    };
    let data_fee = GasPriceOracle::getL1FeeCall {
        data: approval.bytes.clone().into(),
    };
    vec![
        rpc::chain_id(),
        rpc::newest_block(),
        rpc::balance_of(payment.asset, payer, None).call(),
        rpc::transaction_count(&text::lower(payer), json!("latest")),
        rpc::transaction_count(&text::lower(payer), json!("pending")),
        rpc::request("eth_getBalance", json!([text::lower(payer), "latest"])),
        EthCall {
            from: None,
            to: PERMIT2,
            data: nonce::bitmap_call(payer, payment.permit.nonce),
            gas: None,
        }
        .call(),
        // With the gas that it has, which pays for its calldata too.
        from_payer(signed.input.to_vec(), signed.gas_limit).call(),
        from_payer(transfer.abi_encode(), gas.max_gas).call(),
        receiving(sender, payer),
        EthCall {
            from: None,
            to: GAS_PRICE_ORACLE,
            data: data_fee.abi_encode(),
            gas: None,
        }
        .call(),
    ]
}

/// A transfer of the least native currency to the payer: an account with code may not take it.
fn receiving(sender: Address, payer: Address) -> RpcCall {
    let mut call = EthCall {
        from: Some(sender),
        to: payer,
        data: Vec::new(),
        gas: Some(RECEIVING_GAS),
    }
    .object();
    call["value"] = "0x1".into();
    rpc::request("eth_call", json!([call, "latest"]))
}

/// What one node shows.
#[derive(Debug)]
struct Seen {
    /// The payer's account takes native currency.
    takes_native: bool,
    height: u64,
    /// Wei; `None`: the chain has no base fee.
    base_fee: Option<U256>,
    /// Atomic units of the asset.
    balance: U256,
    next_nonce: u64,
    pending_nonce: u64,
    /// Wei.
    native: U256,
    /// Wei that the chain takes for the transaction's bytes, beside its gas.
    data_fee: U256,
}

impl Seen {
    fn read(cx: &Cx, payment: &Payment, answers: &mut Answers) -> Result<Result<Self, Refusal>, Fault> {
        rpc::check_chain(answers.take()?, &cx.network().id)?;
        let block = rpc::value(answers.take()?, "eth_getBlockByNumber")?;
        let height = block
            .get("number")
            .and_then(rpc::as_count)
            .ok_or_else(|| rpc::malformed_block(&block, &["number"]))?;
        let balance = rpc::executed_word(answers.take()?, "balanceOf of the payer")?;
        let next_nonce = rpc::count(answers.take()?, "eth_getTransactionCount")?;
        // Some nodes know no pending transactions.
        let pending_nonce = match answers.take()? {
            RpcResult::Error(_) => next_nonce,
            answer @ RpcResult::Ok(_) => rpc::count(answer, "eth_getTransactionCount")?,
        };
        let native = rpc::big_quantity(answers.take()?, "eth_getBalance of the payer")?;
        let used = rpc::executed_word(answers.take()?, "nonceBitmap of Permit2")?
            .ok_or_else(|| Fault::unavailable("nonceBitmap of Permit2: the node answered no word"))?;
        let approves = rpc::executed(answers.take()?, "simulation of the approval")?;
        let transfers = rpc::executed(answers.take()?, "simulation of the transfer")?;
        let receives = rpc::executed(answers.take()?, "simulation of the funding")?;
        let data_fee = match rpc::executed(answers.take()?, "getL1Fee")? {
            Executed::Returned(data) => data.first_chunk::<32>().map(|word| U256::from_be_bytes(*word)),
            Executed::Failed(_) => None,
        };
        if nonce::is_used(used, payment.permit.nonce) {
            return Ok(Err(
                payment.refuse(reason::INVALID_NONCE, "the permit's nonce is used")
            ));
        }
        let failed = match approves {
            Executed::Failed(failure) => Some(failure.text()),
            // Tokens that return nothing revert instead.
            Executed::Returned(data) if !data.is_empty() && data.iter().all(|byte| *byte == 0) => {
                Some("the token returns false".to_owned())
            }
            Executed::Returned(_) => None,
        };
        if let Some(why) = failed {
            let why = format!("the approval would fail: {why}");
            return Ok(Err(payment.refuse_extension(
                EXTENSION,
                reason::APPROVAL_FAILED,
                &why,
            )));
        }
        if let Executed::Failed(failure) = transfers {
            let why = format!("the transfer would fail: {}", failure.text());
            return Ok(Err(payment.refuse(reason::SIMULATION_FAILED, &why)));
        }
        let Some(balance) = balance else {
            let why = "the asset answers no balance";
            return Ok(Err(payment.refuse(reason::SIMULATION_FAILED, why)));
        };
        if balance < payment.permit.amount {
            let why = format!(
                "the payer has {balance} atomic units of the asset, and {} are required",
                payment.permit.amount
            );
            return Ok(Err(payment.refuse(reason::INSUFFICIENT_BALANCE, &why)));
        }
        Ok(Ok(Self {
            takes_native: matches!(receives, Executed::Returned(_)),
            height,
            base_fee: block.get("baseFeePerGas").and_then(rpc::as_u256),
            balance,
            next_nonce,
            pending_nonce,
            native,
            data_fee: data_fee.unwrap_or_default(),
        }))
    }

    fn refused(&self, cx: &Cx, payment: &Payment, signed: &SignedByClient) -> Option<Refusal> {
        let refuse = |why: &str| {
            let mut refusal = payment.refuse_extension(EXTENSION, reason::APPROVAL_FAILED, why);
            // An earlier payment of the payer with an approval may be what stands in the way.
            refusal.of_state = true;
            Some(refusal)
        };
        if signed.nonce != self.next_nonce || signed.nonce != self.pending_nonce {
            return refuse("the approval's nonce is not the payer's next one");
        }
        let is_funded = !self.lacking(signed).is_zero();
        if is_funded && !self.takes_native {
            return refuse("the payer's account does not take the native currency that it lacks");
        }
        if !has_time(cx, payment, is_funded) {
            return refuse("the permit ends before an approval and the payment can be made");
        }
        let base_fee = self.base_fee?;
        let price = U256::from(signed.max_fee);
        if price < base_fee {
            return refuse("the approval's price is below the base fee");
        }
        let most = base_fee
            .saturating_mul(U256::from(MOST_BASE_FEES))
            .max(U256::from(USUAL_PRICE_WEI));
        (price > most)
            .then(|| refuse("the approval's price is above ten times the base fee"))
            .flatten()
    }

    /// What the payer lacks to pay for the approval, in wei. The fee for its bytes may rise before it lands.
    fn lacking(&self, signed: &SignedByClient) -> U256 {
        let gas = U256::from(signed.gas_limit).saturating_mul(U256::from(signed.max_fee));
        let data = self.data_fee.saturating_mul(U256::from(2));
        gas.saturating_add(data).saturating_sub(self.native)
    }
}

/// Whether the permit leaves time for all transactions, one after the other.
fn has_time(cx: &Cx, payment: &Payment, is_funded: bool) -> bool {
    let each_s = CONFIRMATION_S
        .saturating_mul(cx.network().confirmations)
        .saturating_add(STEP_S);
    let steps = if is_funded { 3 } else { 2 };
    let ends_s = each_s.saturating_mul(steps).saturating_add(cx.now_s());
    payment.permit.deadline >= U256::from(ends_s)
}

/// What the payer is given; or why it gets nothing, and whether that may change with an earlier payment of the payer.
async fn funded(
    cx: &Cx,
    limits: &Limits,
    payment: &Payment,
    lacking: U256,
) -> Result<Result<Option<(Amount, Vec<StoreWrite>)>, (&'static str, bool)>, Fault> {
    if lacking.is_zero() {
        return Ok(Ok(None));
    }
    let wei = Amount(lacking);
    let payer = text::lower(payment.permit.from);
    Ok(match funding::rows(cx, limits, &payer, wei).await? {
        Ok(rows) => Ok(Some((wei, rows))),
        Err(Denied::TooMuch) => Err((
            "the payer lacks more native currency for its approval than this facilitator gives",
            false,
        )),
        // What it was given may be on its way.
        Err(Denied::PayerToday) => Err((
            "the payer was given native currency for an approval today already",
            true,
        )),
        Err(Denied::Day) => Err((
            "what this facilitator gives for approvals is used up today",
            false,
        )),
    })
}
