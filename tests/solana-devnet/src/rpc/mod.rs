//! JSON-RPC over a chain: one request or a batch in, the answer out. Refusals have the codes and texts of agave 4.2 where
//! a client could read them.

mod accounts;
mod blocks;
mod control;
mod history;
mod params;
mod transactions;

use serde_json::{Value, json};

use crate::chain::Chain;
use crate::world::World;
pub use control::CONTROL_METHODS;
use params::Params;

/// Why a method was refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    code: i64,
    message: String,
    data: Option<Value>,
}

impl Failure {
    fn new(code: i64, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            data: None,
        }
    }

    fn with(self, data: Value) -> Failure {
        Failure {
            data: Some(data),
            ..self
        }
    }

    pub(crate) fn invalid_params(message: impl Into<String>) -> Failure {
        Failure::new(-32602, message)
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Failure {
        Failure::new(-32600, message)
    }
}

type Answer = Result<Value, Failure>;

/// Answers the body of a request.
#[must_use]
pub fn answer(chain: &mut Chain, world: &World, body: &[u8]) -> Value {
    chain.catch_up();
    match serde_json::from_slice(body) {
        Ok(Value::Array(calls)) if !calls.is_empty() => {
            Value::Array(calls.into_iter().map(|call| one(chain, world, call)).collect())
        }
        Ok(call @ Value::Object(_)) => one(chain, world, call),
        Ok(_) => reply(Value::Null, Err(Failure::invalid_request("Invalid request"))),
        Err(_) => reply(Value::Null, Err(Failure::new(-32700, "Parse error"))),
    }
}

fn one(chain: &mut Chain, world: &World, mut call: Value) -> Value {
    let id = call["id"].take();
    let params = match call["params"].take() {
        Value::Array(params) => Ok(Params::new(params)),
        Value::Null => Ok(Params::new(Vec::new())),
        _ => Err(Failure::invalid_params("`params` should be an array")),
    };
    let method = call["method"]
        .as_str()
        .ok_or_else(|| Failure::invalid_request("Invalid request"));
    let result = method.and_then(|method| dispatch(chain, world, method, &params?));
    reply(id, result)
}

fn reply(id: Value, result: Answer) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "result": result, "id": id}),
        Err(failure) => {
            let mut error = json!({"code": failure.code, "message": failure.message});
            if let Some(data) = failure.data {
                error["data"] = data;
            }
            json!({"jsonrpc": "2.0", "error": error, "id": id})
        }
    }
}

fn dispatch(chain: &mut Chain, world: &World, method: &str, params: &Params) -> Answer {
    match method {
        "getHealth" => Ok(json!("ok")),
        "getVersion" => Ok(json!({"solana-core": "4.2.2", "feature-set": 0})),
        "getGenesisHash" => Ok(json!(chain.genesis().to_string())),
        "getSlot" => blocks::slot(chain, params),
        "getBlockHeight" => blocks::height(chain, params),
        "getBlock" => blocks::block(chain, params),
        "getBlocks" => blocks::list(chain, params),
        "getFirstAvailableBlock" => blocks::first_available(chain),
        "getBlockTime" => blocks::time(chain, params),
        "getEpochInfo" => blocks::epoch(chain, params),
        "getLatestBlockhash" => blocks::latest_blockhash(chain, params),
        "isBlockhashValid" => blocks::is_blockhash_valid(chain, params),
        "getRecentPrioritizationFees" => blocks::recent_prioritization_fees(chain),
        "getBalance" => accounts::balance(chain, params),
        "getMinimumBalanceForRentExemption" => accounts::rent(chain, params),
        "getAccountInfo" => accounts::info(chain, params),
        "getMultipleAccounts" => accounts::multiple(chain, params),
        "getTokenAccountBalance" => accounts::token_balance(chain, params),
        "getTokenAccountsByOwner" => accounts::tokens_by_owner(chain, params),
        "getTokenSupply" => accounts::token_supply(chain, params),
        "getFeeForMessage" => transactions::fee_for_message(chain, params),
        "simulateTransaction" => transactions::simulate(chain, params),
        "sendTransaction" => transactions::send(chain, params),
        "requestAirdrop" => transactions::airdrop(chain, world, params),
        "getSignatureStatuses" => history::signature_statuses(chain, params),
        "getTransaction" => history::transaction(chain, params),
        "getSignaturesForAddress" => history::signatures_for_address(chain, params),
        method if method.starts_with("devnet_") => control::dispatch(chain, world, method, params),
        _ => Err(Failure::new(-32601, "Method not found")),
    }
}

/// An answer with the slot that it is of.
fn in_context(slot: u64, value: Value) -> Value {
    json!({"context": {"slot": slot, "apiVersion": "4.2.2"}, "value": value})
}
