//! The levers of tests: methods that no validator has.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use solana_account::Account;

use super::params::{Params, address};
use super::{Answer, Failure};
use crate::chain::{Chain, Commitment};
use crate::world::{World, set_token_balance};
use crate::{ids, shapes};

/// The methods, as `--help` lists them.
pub const CONTROL_METHODS: &str = "\
Control methods (JSON-RPC, beside a validator's own):
  devnet_world []                        keys, tokens, wallets, look-up table
  devnet_slots []                        {processed, confirmed, finalized, frozen}
  devnet_freeze []                       stop the clock
  devnet_resume []                       let it run again
  devnet_advance [slots]                 pass slots at once
  devnet_prune [slot]                    forget the history of older slots, as a node with a small ledger does
  devnet_dropIncoming [true|false]       accept transactions and drop them silently
  devnet_forgetTransaction [signature]   undo one that is not finalized, as a fork without it does
  devnet_setAccount [address, {lamports, data, owner, executable}]
                                         edit an account (data in base64); what is left out stays
  devnet_setTokenBalance [owner, mint, \"units\"]
                                         set what the owner's associated account holds
  devnet_transactions []                 everything that landed: {signature, slot, feePayer, err}";

pub(super) fn dispatch(chain: &mut Chain, world: &World, method: &str, params: &Params) -> Answer {
    match method {
        "devnet_world" => return Ok(world.describe(chain)),
        "devnet_slots" => {}
        "devnet_freeze" => chain.freeze(),
        "devnet_resume" => chain.resume(),
        "devnet_advance" => chain.advance(params.number(0)?),
        "devnet_prune" => chain.prune(params.number(0)?),
        "devnet_dropIncoming" => chain.set_dropping(params.flag(0)?),
        "devnet_forgetTransaction" => chain
            .forget(&params.signature(0)?)
            .map_err(Failure::invalid_params)?,
        "devnet_setAccount" => set_account(chain, params)?,
        "devnet_setTokenBalance" => {
            let units = params
                .text(2)?
                .parse()
                .map_err(|_| Failure::invalid_params("units: expected a whole number as a string"))?;
            let (owner, mint) = (params.address(0)?, params.address(1)?);
            let account = set_token_balance(chain, &world.keys.admin.address(), &owner, &mint, units);
            return Ok(json!(account.map_err(Failure::invalid_params)?.to_string()));
        }
        "devnet_transactions" => {
            let landed = chain.landed().iter().map(|landed| {
                json!({
                    "signature": landed.signature.to_string(),
                    "slot": landed.slot,
                    "feePayer": landed.accounts.keys.first().map(ToString::to_string),
                    "err": shapes::error(landed.outcome.error.as_ref()),
                })
            });
            return Ok(landed.collect());
        }
        _ => {
            return Err(Failure::new(
                -32601,
                "Method not found; `solana-devnet --help` lists the control methods",
            ));
        }
    }
    Ok(json!({
        "processed": chain.slot(Commitment::Processed),
        "confirmed": chain.slot(Commitment::Confirmed),
        "finalized": chain.slot(Commitment::Finalized),
        "frozen": chain.is_frozen(),
    }))
}

fn set_account(chain: &mut Chain, params: &Params) -> Result<(), Failure> {
    let at = params.address(0)?;
    let wanted = params.at(1);
    let now = chain.account(&at, Commitment::Processed);
    let mut account = now.unwrap_or(Account {
        owner: ids::SYSTEM,
        rent_epoch: u64::MAX,
        ..Account::default()
    });
    if let Some(data) = wanted["data"].as_str() {
        account.data = BASE64
            .decode(data)
            .map_err(|e| Failure::invalid_params(format!("data: {e}")))?;
        account.lamports = account.lamports.max(chain.rent(account.data.len()));
    }
    if let Some(lamports) = wanted["lamports"].as_u64() {
        account.lamports = lamports;
    }
    if let Some(owner) = wanted["owner"].as_str() {
        account.owner = address(owner)?;
    }
    if let Some(executable) = wanted["executable"].as_bool() {
        account.executable = executable;
    }
    chain.set_account(at, account).map_err(Failure::invalid_params)
}
