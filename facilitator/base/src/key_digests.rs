//! Digests of the private keys: enough to recognise a key in a text, and useless to an attacker who reads them.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A private key of 32 bytes in hex, without `0x`.
pub const HEX_KEY_CHARACTERS: usize = 64;
/// Characters of 64 bytes in base58 (an ed25519 pair, or a signature). One in 16,000 begins with zeros and is shorter.
pub const PAIR_CHARACTERS: RangeInclusive<usize> = 85..=88;

/// The alphabet of Bitcoin and Solana.
pub const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// SHA-256 of the two usual text forms of each key: lower-case hex, and base58 of an ed25519 pair.
#[derive(Clone, Default)]
pub struct KeyDigests(BTreeSet<[u8; 32]>);

impl fmt::Debug for KeyDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigests({})", self.0.len())
    }
}

impl KeyDigests {
    /// Whether the text with this SHA-256 is a key: 64 lower-case hex digits, or a pair in base58.
    #[must_use]
    pub fn contains(&self, digest: &[u8; 32]) -> bool {
        self.0.contains(digest)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add_hex(&mut self, key: &[u8; 32]) {
        let text = Zeroizing::new(hex::encode(key));
        self.0.insert(Sha256::digest(text.as_bytes()).into());
    }

    pub fn add_pair(&mut self, pair: &[u8; 64]) {
        self.0.insert(Sha256::digest(base58(pair).as_bytes()).into());
    }
}

fn base58(bytes: &[u8]) -> Zeroizing<String> {
    // Written by hand, because a library would leave copies of the key. Digits of the number, the lowest first. Capacity for
    // all of them: a buffer that grows would leave copies too.
    let mut digits = Zeroizing::new(Vec::with_capacity(bytes.len().saturating_mul(2)));
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in digits.iter_mut() {
            carry = carry.saturating_add(u32::from(*digit) << 8);
            *digit = u8::try_from(carry % 58).unwrap_or(0);
            carry /= 58;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 58).unwrap_or(0));
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().saturating_mul(2)));
    text.extend(std::iter::repeat_n('1', zeros));
    let letters = digits
        .iter()
        .rev()
        .filter_map(|digit| BASE58.get(usize::from(*digit)));
    text.extend(letters.map(|letter| char::from(*letter)));
    text
}
