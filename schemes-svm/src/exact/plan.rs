//! What must be sent for a good payment, and what proves that it paid.

use sdk_plugin::scheme::{
    Call, EvidenceWanted, Gate, LaneChoice, LogFilter, OnFail, Parties, Plan, Planned, ReadWanted, Reserve,
    Step,
};
use sdk_plugin::{Amount, Fault, HexBytes};
use serde::{Deserialize, Serialize};
use solana_address::Address;
use solana_signature::Signature;

use super::check::{Good, Way};
use super::reason;
use super::terms::Terms;
use crate::driver::{CREATE_AND_TRANSFER, TRANSFER, WALLET_TRANSFER, lifetime};
use crate::fees;
use crate::programs::{TOKEN, TOKEN_2022};
use crate::token;

/// What judge needs to know of the payment. Addresses are base58.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memo {
    pub(super) v1: bool,
    pub(super) wallet: bool,
    pub(super) mint: String,
    /// Token accounts of the payee, one of which must receive the amount.
    pub(super) destinations: Vec<String>,
    /// Atomic units.
    pub(super) amount: Amount,
}

/// The client's transaction, co-signed by the fee payer it names.
pub(super) fn plan(good: Good) -> Result<Planned, Fault> {
    let reserve = reserve(&good);
    let parties = parties(&good);
    let Good {
        payment,
        way,
        transfer,
        simulated,
        blocks_left,
        counters,
    } = good;
    let terms = &payment.terms;
    let message = payment.transaction.message();
    let fee = fees::bound(message);
    let (operation, max_cost) = match way {
        Way::Plain => (TRANSFER, fee),
        Way::Sponsored => (CREATE_AND_TRANSFER, fee.saturating_add(fees::MAX_RENT_LAMPORTS)),
        Way::Wallet => (WALLET_TRANSFER, fee),
    };
    let memo = memo(terms, way, &transfer.mint, &transfer.destination)?;
    // The bytes that were sent in the fee payer's signature are not used.
    let data = payment
        .transaction
        .clone()
        .with_fee_payer_signature(Signature::default())
        .to_bytes();
    let life = lifetime::wanted(&message.recent_blockhash, simulated.slot, blocks_left);
    let step = Step {
        call: Call {
            target: transfer.mint.to_string(),
            operation: operation.into(),
            data: HexBytes(data),
            native_value: Amount::ZERO,
            compute_limit: None,
        },
        lane: LaneChoice::Signer {
            address: terms.fee_payer.to_string(),
        },
        gate: Gate::None,
        on_fail: OnFail::Stop,
        batchable: false,
        one_per_payer: false,
        renewable: false,
        max_cost: Some(Amount::from(max_cost)),
        expires_at_s: None,
        evidence: evidence(&transfer.mint, &memo.destinations, life)?,
        pays: true,
        memo: serde_json::to_value(&memo).map_err(|error| Fault::internal(format!("memo: {error}")))?,
    };
    Ok(Planned::Plan(Plan {
        payer: transfer.authority.to_string(),
        steps: vec![step],
        reserves: reserve.into_iter().collect(),
        holds: Vec::new(),
        writes: counters.map(super::sponsor::Counters::writes).unwrap_or_default(),
        jobs: Vec::new(),
        parties,
    }))
}

/// Owners; the token account where the requirements do not name its owner.
pub(super) fn parties(good: &Good) -> Parties {
    let payee = good.payment.terms.pay_to.unwrap_or(good.transfer.destination);
    Parties::pair(good.transfer.authority.to_string(), payee.to_string())
}

/// What the payment needs of its source; `None` where the node shows no balances.
pub(super) fn reserve(good: &Good) -> Option<Reserve> {
    let (transfer, simulated) = (&good.transfer, &good.simulated);
    let balances = simulated.balances.as_ref()?;
    let available = balances.get(&transfer.source)?.pre?;
    Some(Reserve {
        asset: transfer.mint.to_string(),
        // Funds are in token accounts, of which an owner may have several.
        payer: transfer.source.to_string(),
        amount: Amount::from(transfer.amount),
        available: Amount::from(available),
        as_of_height: simulated.slot,
        refusal_reason: if good.payment.terms.is_v1() {
            reason::in_v1(reason::SIMULATION_FAILED).into()
        } else {
            reason::SIMULATION_FAILED.into()
        },
    })
}

fn memo(terms: &Terms, way: Way, mint: &Address, destination: &Address) -> Result<Memo, Fault> {
    let amount = terms
        .amount
        .ok_or_else(|| Fault::internal("a plan without an amount"))?;
    let destinations = match (way, terms.pay_to) {
        (Way::Wallet, Some(owner)) => [TOKEN, TOKEN_2022]
            .map(|program| token::associated_account(&owner, mint, &program).to_string())
            .to_vec(),
        (Way::Wallet | Way::Plain | Way::Sponsored, _) => vec![destination.to_string()],
    };
    Ok(Memo {
        v1: terms.is_v1(),
        wallet: way == Way::Wallet,
        mint: mint.to_string(),
        destinations,
        amount: Amount::from(amount),
    })
}

/// Transfers of the mint to the payee by either token program, wherever in the transaction; and how long it can land.
fn evidence(mint: &Address, destinations: &[String], life: ReadWanted) -> Result<EvidenceWanted, Fault> {
    let mut logs = Vec::new();
    for destination in destinations {
        let destination = crate::text::address(destination)
            .ok_or_else(|| Fault::internal("a destination that is no address"))?;
        for program in [TOKEN, TOKEN_2022] {
            let topic = |address: &Address| Some(HexBytes(address.to_bytes().to_vec()));
            logs.push(LogFilter {
                emitter: program.to_string(),
                topics: vec![None, topic(mint), topic(&destination)],
            });
        }
    }
    Ok(EvidenceWanted {
        logs,
        reads: vec![life],
        ..EvidenceWanted::default()
    })
}
