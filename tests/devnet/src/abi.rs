//! Just enough ABI encoding for calls from tests, and the checked-in artefacts of `tests/contracts`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::Error;

/// One argument of a call. A tuple of static members is its members, one after the other.
#[derive(Debug, Clone)]
pub enum Arg {
    /// A static value, one 32-byte word.
    Word([u8; 32]),
    /// `bytes` or `string`.
    Bytes(Vec<u8>),
}

impl Arg {
    /// # Errors
    /// [`Error::Malformed`] when the text is no 20-byte `0x` hex.
    pub fn address(address: &str) -> Result<Arg, Error> {
        Ok(Arg::Word(word_of_address(address)?))
    }

    /// # Errors
    /// [`Error::Malformed`] when the text is no 32-byte `0x` hex.
    pub fn word(text: &str) -> Result<Arg, Error> {
        let word = <[u8; 32]>::try_from(bytes_of(text, Some(32))?);
        word.map(Arg::Word)
            .map_err(|_| Error::Malformed(format!("{text} is no word")))
    }

    #[must_use]
    pub fn uint(value: u128) -> Arg {
        Arg::Word(word_of_u128(value))
    }
}

/// `0x` calldata: the selector (`0x` and 8 digits), then the arguments.
///
/// # Errors
/// [`Error::Malformed`] when the selector is no 4-byte `0x` hex.
pub fn encode(selector: &str, args: &[Arg]) -> Result<String, Error> {
    let mut data = bytes_of(selector, Some(4))?;
    let mut tail = Vec::new();
    for arg in args {
        match arg {
            Arg::Word(word) => data.extend(word),
            Arg::Bytes(bytes) => {
                data.extend(word_of_usize(args.len() * 32 + tail.len()));
                tail.extend(word_of_usize(bytes.len()));
                tail.extend(bytes);
                tail.resize(tail.len().next_multiple_of(32), 0);
            }
        }
    }
    data.extend(tail);
    Ok(format!("0x{}", hex::encode(data)))
}

/// An address, left-padded to a word.
///
/// # Errors
/// [`Error::Malformed`] when the text is no 20-byte `0x` hex.
pub fn word_of_address(address: &str) -> Result<[u8; 32], Error> {
    let mut word = [0; 32];
    word[12..].copy_from_slice(&bytes_of(address, Some(20))?);
    Ok(word)
}

/// A number, as a big-endian word.
#[must_use]
pub fn word_of_u128(value: u128) -> [u8; 32] {
    let mut word = [0; 32];
    word[16..].copy_from_slice(&value.to_be_bytes());
    word
}

fn word_of_usize(value: usize) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - size_of::<usize>()..].copy_from_slice(&value.to_be_bytes());
    word
}

pub(crate) fn u128_of_word(word: &[u8]) -> Result<u128, Error> {
    let low = word.get(16..32).and_then(|low| <[u8; 16]>::try_from(low).ok());
    match low {
        Some(low) if word[..16].iter().all(|byte| *byte == 0) => Ok(u128::from_be_bytes(low)),
        _ => Err(Error::Malformed(format!(
            "0x{} is no number below 2^128",
            hex::encode(word)
        ))),
    }
}

pub(crate) fn bytes_of(text: &str, length: Option<usize>) -> Result<Vec<u8>, Error> {
    let bytes = text
        .strip_prefix("0x")
        .and_then(|digits| hex::decode(digits).ok());
    bytes
        .filter(|bytes| length.is_none_or(|length| bytes.len() == length))
        .ok_or_else(|| Error::Malformed(format!("{text:?} is not 0x hex of the right length")))
}

/// A compiled contract, as `tests/js/contracts.mjs` writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    pub contract: String,
    /// Signature to selector.
    pub functions: BTreeMap<String, String>,
    /// Signature to selector.
    pub errors: BTreeMap<String, String>,
    /// Signature to first topic.
    pub events: BTreeMap<String, String>,
    storage: BTreeMap<String, Slot>,
    pub bytecode: String,
    pub deployed_bytecode: String,
}

/// Where a state variable lives.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Slot {
    pub(crate) slot: u64,
    /// Bytes from the low end of the word.
    pub(crate) offset: usize,
}

impl Artifact {
    /// Reads `tests/contracts/artifacts/<contract>.json`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Malformed`] when it is missing or broken.
    pub fn load(contract: &str) -> Result<Artifact, Error> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../contracts/artifacts")
            .join(format!("{contract}.json"));
        let text = std::fs::read(&file).map_err(Error::io(format!("cannot read artefact {contract}")))?;
        serde_json::from_slice(&text).map_err(|e| Error::Malformed(format!("artefact {contract}: {e}")))
    }

    /// Calldata for a function, named by its full signature.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the contract has no such function.
    pub fn call(&self, signature: &str, args: &[Arg]) -> Result<String, Error> {
        let selector = self
            .functions
            .get(signature)
            .ok_or_else(|| Error::Malformed(format!("{} has no function {signature}", self.contract)))?;
        encode(selector, args)
    }

    pub(crate) fn slot(&self, variable: &str) -> Result<Slot, Error> {
        self.storage
            .get(variable)
            .copied()
            .ok_or_else(|| Error::Malformed(format!("{} has no variable {variable}", self.contract)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_argument_is_an_offset_then_length_and_padded_bytes() {
        let data = encode("0x01020304", &[Arg::uint(7), Arg::Bytes(vec![0xaa; 3])]).expect("encodes");
        let words = [
            format!("{:064x}", 7),
            format!("{:064x}", 64),
            format!("{:064x}", 3),
        ];
        assert_eq!(
            data,
            format!("0x01020304{}aaaaaa{}", words.concat(), "0".repeat(58))
        );
    }

    #[test]
    fn a_number_above_128_bits_is_refused() {
        assert_eq!(u128_of_word(&word_of_u128(u128::MAX)).expect("fits"), u128::MAX);
        assert!(u128_of_word(&[1; 32]).is_err());
    }
}
