//! Whose money a refund is. With a delegated operator it is paid by our own signer, so a refund needs an agreement that
//! the operator configured, room in the day's limit, and a signer that has the tokens and lets the collector take them.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::host::{RpcCall, StoreWrite};
use sdk_plugin::scheme::Reserve;
use sdk_plugin::{Amount, Cx, Fault, PaymentRequest};

use super::super::config::{Config, RefundAgreement};
use super::super::deployment::Deployment;
use super::super::reason::{Reason, Rejection};
use super::super::records::{self, RefundLedger};
use super::super::state::READ_GAS;
use super::super::terms::Terms;
use crate::abi::AuthorizedToken;
use crate::rpc::{self, Answers, EthCall};
use crate::text;

/// Entries of a ledger are of no use after this long.
const LEDGER_KEPT_MS: u64 = 2 * 86_400 * 1_000;

/// Step 6: the agreement that pays for this refund.
pub(super) fn agreement<'a>(
    config: &'a Config,
    request: &PaymentRequest,
    receiver: Address,
    asset: Address,
) -> Result<&'a RefundAgreement, Rejection> {
    config
        .refund_funding
        .iter()
        .find(|agreement| {
            Some(&agreement.tenant) == request.tenant.as_ref()
                && agreement.receiver == receiver
                && agreement.network == request.requirements.network
                && agreement.asset == asset
        })
        .ok_or_else(|| {
            unavailable(
                "no funding agreement covers refunds of this receiver's payments in this asset for your account; request \
                 one from this facilitator's operator",
            )
        })
}

fn unavailable(message: impl Into<String>) -> Rejection {
    Rejection::new(Reason::RefundFundingUnavailable, message)
}

/// What the chain and the ledger show.
#[derive(Debug, Clone)]
pub(super) struct Funding {
    available: U256,
    ledger: StoreWrite,
    amount: U256,
}

/// [`take`] takes as many answers.
pub(super) fn reads(terms: &Terms) -> Vec<RpcCall> {
    let balance = rpc::balance_of(terms.asset, terms.operator, Some(READ_GAS));
    let allowance = AuthorizedToken::allowanceCall {
        owner: terms.operator,
        spender: terms.deployment.operator_refund_collector,
    };
    let allowance = EthCall {
        data: allowance.abi_encode(),
        ..balance.clone()
    };
    vec![balance.call(), allowance.call()]
}

/// Balance and allowance of the signer that pays, in atomic units. `None`: the token does not return them.
pub(super) fn take(answers: &mut Answers) -> Result<(Option<U256>, Option<U256>), Fault> {
    let mut word = |what| rpc::executed_word(answers.take()?, what);
    Ok((
        word("balanceOf of the signer that refunds")?,
        word("allowance of the signer that refunds")?,
    ))
}

/// Balance, allowance and the day's limit, in this order; then what the plan must write down.
pub(super) async fn funded(
    cx: &Cx,
    terms: &Terms,
    agreement: &RefundAgreement,
    amount: U256,
    now_s: u64,
    (balance, allowance): (Option<U256>, Option<U256>),
) -> Result<Result<Funding, Rejection>, Fault> {
    let (operator, asset) = (text::lower(terms.operator), text::lower(terms.asset));
    let Deployment {
        operator_refund_collector,
        ..
    } = terms.deployment;
    let available = match (balance, allowance) {
        (Some(balance), Some(allowance)) if balance >= amount && allowance >= amount => {
            balance.min(allowance)
        }
        (Some(balance), _) if balance < amount => {
            return Ok(Err(unavailable(format!(
                "the facilitator's operator must send {} more units of {asset} to {operator}: refunds are paid from there",
                amount.saturating_sub(balance)
            ))));
        }
        (Some(_), Some(allowance)) => {
            return Ok(Err(unavailable(format!(
                "the facilitator's operator must let {} spend {asset} of {operator}: {allowance} units are allowed",
                text::lower(operator_refund_collector)
            ))));
        }
        (None, _) | (_, None) => {
            return Ok(Err(unavailable(
                "the asset tells no balance or no allowance of the refunding signer",
            )));
        }
    };
    let network = &agreement.network;
    let key = records::refunded_key(network, &agreement.tenant, agreement.receiver, agreement.asset);
    let found = records::get::<RefundLedger>(cx, key.clone()).await?;
    let (ledger, value) = match found {
        Some(found) => (found.record, Some(found.value)),
        None => (RefundLedger::default(), None),
    };
    let Some(next) = ledger.with(amount, agreement.max_per_day.0, now_s) else {
        return Ok(Err(unavailable(format!(
            "the funding agreement pays {} units within a day, and {} of them are used",
            agreement.max_per_day,
            ledger.spent(now_s).unwrap_or(U256::MAX)
        ))));
    };
    let expires_at_ms = now_s.saturating_mul(1_000).saturating_add(LEDGER_KEPT_MS);
    let ledger = records::replacing(key, value.as_ref(), &next, expires_at_ms)?;
    Ok(Ok(Funding {
        available,
        ledger,
        amount,
    }))
}

impl Funding {
    /// Two refunds by one signer at a time count against one balance.
    pub(super) fn reserve(&self, terms: &Terms, height: u64) -> Reserve {
        Reserve {
            asset: text::lower(terms.asset),
            payer: text::lower(terms.operator),
            amount: Amount(self.amount),
            available: Amount(self.available),
            as_of_height: height,
            refusal_reason: Reason::RefundFundingUnavailable.v1_1().into(),
        }
    }

    pub(super) fn into_write(self) -> StoreWrite {
        self.ledger
    }
}
