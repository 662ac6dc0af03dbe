//! Permit2's nonces: 256 of them share one word of `nonceBitmap`, and a bit that is set stays set. A use sets it, and so
//! does the owner's cancellation.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolEvent};
use sdk_plugin::HexBytes;
use sdk_plugin::chain::LogEntry;
use sdk_plugin::scheme::{Guard, LogFilter, ReadAt, ReadWanted};

use super::abi::{NONCE_INVALIDATION_TOPIC, Permit2};
use crate::abi::PERMIT2;
use crate::text;

/// The calldata that reads the nonce's word.
pub(crate) fn bitmap_call(owner: Address, nonce: U256) -> Vec<u8> {
    Permit2::nonceBitmapCall {
        owner,
        word: word_of(nonce),
    }
    .abi_encode()
}

/// Whether the nonce is used or cancelled. `word`: the word of the bitmap that holds it.
pub(crate) fn is_used(word: U256, nonce: U256) -> bool {
    !(word & bit_of(nonce)).is_zero()
}

/// Unchanged while the nonce's bit is 0.
pub(crate) fn guard(owner: Address, nonce: U256) -> Guard {
    Guard {
        read: ReadWanted {
            name: "nonceBitmap".into(),
            target: text::lower(PERMIT2),
            data: HexBytes(bitmap_call(owner, nonce)),
            required: true,
            at: ReadAt::Block,
        },
        mask: HexBytes(bit_of(nonce).to_be_bytes::<32>().to_vec()),
        unchanged: HexBytes(vec![0; 32]),
    }
}

/// Cancellations by the owner, of any nonce: the event has a word and a mask.
pub(crate) fn cancellations(owner: Address) -> LogFilter {
    LogFilter {
        emitter: text::lower(PERMIT2),
        topics: [NONCE_INVALIDATION_TOPIC, owner.into_word()]
            .map(|topic| Some(HexBytes(topic.to_vec())))
            .into(),
    }
}

/// Whether a log reports that the owner cancelled the nonce. The event also occurs for a nonce that was used before.
pub(crate) fn is_cancellation(log: &LogEntry, owner: Address, nonce: U256) -> bool {
    if text::address(&log.emitter) != Some(PERMIT2) {
        return false;
    }
    let topics = log.topics.iter().map(|topic| text::word(&topic.to_string()));
    let Some(topics) = topics.collect::<Option<Vec<_>>>() else {
        return false;
    };
    Permit2::UnorderedNonceInvalidation::decode_raw_log(topics, log.data.as_ref()).is_ok_and(|event| {
        event.owner == owner && event.word == word_of(nonce) && !(event.mask & bit_of(nonce)).is_zero()
    })
}

fn word_of(nonce: U256) -> U256 {
    nonce >> 8
}

fn bit_of(nonce: U256) -> U256 {
    U256::ONE << usize::from(nonce.byte(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_one_word_is_the_guard() {
        for (nonce, word, bit) in [
            (U256::ZERO, U256::ZERO, U256::ONE),
            (U256::from(255), U256::ZERO, U256::ONE << 255),
            (U256::from(256), U256::ONE, U256::ONE),
            (U256::MAX, U256::MAX >> 8, U256::ONE << 255),
        ] {
            let guard = guard(Address::ZERO, nonce);
            assert_eq!(guard.check(), Ok(()));
            assert_eq!(U256::from_be_slice(&guard.read.data.0[36..]), word);
            let answer = |word: U256| word.to_be_bytes::<32>();
            assert_eq!(guard.is_unchanged(&answer(U256::ZERO)), Some(true));
            assert_eq!(guard.is_unchanged(&answer(!bit)), Some(true), "other nonces");
            assert_eq!(guard.is_unchanged(&answer(bit)), Some(false));
            assert!(is_used(bit, nonce) && !is_used(!bit, nonce));
        }
    }
}
