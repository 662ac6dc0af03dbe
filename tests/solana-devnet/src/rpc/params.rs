//! Reading of positional parameters and the options that most methods share.

use std::str::FromStr;

use serde_json::{Value, json};
use solana_address::Address;
use solana_signature::Signature;

use super::Failure;
use crate::chain::{Chain, Commitment};

/// The parameters of one call.
#[derive(Debug)]
pub(crate) struct Params(Vec<Value>);

impl Params {
    pub(crate) fn new(values: Vec<Value>) -> Params {
        Params(values)
    }

    /// The parameter at this position; null where there is none.
    pub(crate) fn at(&self, index: usize) -> &Value {
        const NOTHING: &Value = &Value::Null;
        self.0.get(index).unwrap_or(NOTHING)
    }

    pub(crate) fn text(&self, index: usize) -> Result<&str, Failure> {
        self.at(index)
            .as_str()
            .ok_or_else(|| wrong(index, "a string", self.at(index)))
    }

    pub(crate) fn number(&self, index: usize) -> Result<u64, Failure> {
        self.at(index)
            .as_u64()
            .ok_or_else(|| wrong(index, "u64", self.at(index)))
    }

    pub(crate) fn flag(&self, index: usize) -> Result<bool, Failure> {
        self.at(index)
            .as_bool()
            .ok_or_else(|| wrong(index, "a boolean", self.at(index)))
    }

    pub(crate) fn address(&self, index: usize) -> Result<Address, Failure> {
        address(self.text(index)?)
    }

    pub(crate) fn signature(&self, index: usize) -> Result<Signature, Failure> {
        signature(self.text(index)?)
    }

    pub(crate) fn addresses(&self, index: usize) -> Result<Vec<Address>, Failure> {
        let list = self
            .at(index)
            .as_array()
            .ok_or_else(|| wrong(index, "a sequence", self.at(index)))?;
        list.iter()
            .map(|item| address(item.as_str().unwrap_or_default()))
            .collect()
    }

    /// The slot and commitment for the options at this position; a bare string is a commitment, as in the oldest calls.
    pub(crate) fn bank(&self, index: usize, chain: &Chain) -> Result<Bank, Failure> {
        let options = self.at(index);
        let named = if options.is_string() {
            options
        } else {
            &options["commitment"]
        };
        bank(chain, named, &options["minContextSlot"])
    }
}

/// A view of the chain: a commitment and the newest slot that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bank {
    pub(crate) commitment: Commitment,
    pub(crate) slot: u64,
}

pub(crate) fn bank(chain: &Chain, commitment: &Value, at_least: &Value) -> Result<Bank, Failure> {
    let commitment = match commitment.as_str() {
        None if commitment.is_null() => Commitment::Finalized,
        Some("finalized") => Commitment::Finalized,
        Some("confirmed") => Commitment::Confirmed,
        Some("processed") => Commitment::Processed,
        _ => {
            return Err(Failure::invalid_params(format!(
                "Invalid params: unknown variant `{commitment}`, expected one of `processed`, `confirmed`, `finalized`."
            )));
        }
    };
    let slot = chain.slot(commitment);
    if at_least.as_u64().is_some_and(|wanted| wanted > slot) {
        let failure = Failure::new(-32016, "Minimum context slot has not been reached");
        return Err(failure.with(json!({"contextSlot": slot})));
    }
    Ok(Bank { commitment, slot })
}

pub(crate) fn address(text: &str) -> Result<Address, Failure> {
    // The two kinds that a validator names: not base58, and base58 of another length.
    Address::from_str(text).map_err(|_| match bs58::decode(text).into_vec() {
        Ok(_) => Failure::invalid_params("Invalid param: WrongSize"),
        Err(_) => Failure::invalid_params("Invalid param: Invalid"),
    })
}

pub(crate) fn signature(text: &str) -> Result<Signature, Failure> {
    Signature::from_str(text).map_err(|_| match bs58::decode(text).into_vec() {
        Ok(_) => Failure::invalid_params("Invalid param: WrongSize"),
        Err(_) => Failure::invalid_params("Invalid param: Invalid"),
    })
}

fn wrong(index: usize, expected: &str, found: &Value) -> Failure {
    if found.is_null() {
        return Failure::invalid_params("`params` should have at least one more argument");
    }
    Failure::invalid_params(format!(
        "Invalid params: parameter {index} is {found}, expected {expected}."
    ))
}
