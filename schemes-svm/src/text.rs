//! Strict parsers of hostile texts: base58 addresses and signatures, base64 transactions, CAIP-2 ids. Nothing here
//! trims or guesses.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use solana_address::Address;
use solana_signature::Signature;

/// Largest legacy or version 0 transaction on the wire, bytes (Solana's packet size).
pub const MAX_TRANSACTION_BYTES: usize = 1_232;
/// Largest transaction of any version, bytes (SIMD-0385, version 1).
pub const MAX_ANY_VERSION_BYTES: usize = 4_096;

/// Base64 as clients write it: with padding or without, nothing else.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Base58 of exactly 32 bytes.
#[must_use]
pub fn address(text: &str) -> Option<Address> {
    if !(32..=44).contains(&text.len()) {
        return None;
    }
    text.parse().ok()
}

/// Base58 of exactly 64 bytes.
#[must_use]
pub fn signature(text: &str) -> Option<Signature> {
    if !(64..=88).contains(&text.len()) {
        return None;
    }
    text.parse().ok()
}

/// Base58 of at most `max_bytes` bytes.
#[must_use]
pub fn base58(text: &str, max_bytes: usize) -> Option<Vec<u8>> {
    // 58^11 > 256^8: more digits than this can't fit. Decoding takes quadratic time, so the length is checked first.
    if text.len() > max_bytes.saturating_mul(11).div_ceil(8).saturating_add(1) {
        return None;
    }
    let bytes = bs58::decode(text).into_vec().ok()?;
    (bytes.len() <= max_bytes).then_some(bytes)
}

/// A transaction's bytes from base64, 1 to [`MAX_ANY_VERSION_BYTES`]: which limit holds depends on the version in them.
#[must_use]
pub fn transaction_bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_ANY_VERSION_BYTES.div_ceil(3) * 4 {
        return None;
    }
    BASE64
        .decode(text)
        .ok()
        .filter(|bytes| (1..=MAX_ANY_VERSION_BYTES).contains(&bytes.len()))
}

/// Base64 with padding, as nodes read it.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Account data as nodes write it in base64.
#[must_use]
pub fn account_data(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// What follows `solana:`: 1 to 32 letters, digits, `-` or `_` (CAIP-2).
#[must_use]
pub fn reference(network: &str) -> Option<&str> {
    let reference = network.strip_prefix("solana:")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ((1..=32).contains(&reference.len()) && reference.bytes().all(plain)).then_some(reference)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_exactly_32_bytes_of_base58() {
        let usdc = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
        assert_eq!(address(usdc).map(|read| read.to_string()).as_deref(), Some(usdc));
        for bad in [
            "",
            "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913",
            "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1vv",
            "OPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
            " PjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
        ] {
            assert_eq!(address(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn networks_are_caip2() {
        assert_eq!(
            reference("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
            Some("EtWTRABZaYq6iMfeYKouRu166VU2xqa1")
        );
        for bad in [
            "solana:",
            "eip155:1",
            "solana",
            "solana:a b",
            "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1x",
        ] {
            assert_eq!(reference(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn padding_may_be_missing_and_nothing_else_is_forgiven() {
        assert_eq!(transaction_bytes("AQI="), Some(vec![1, 2]));
        assert_eq!(transaction_bytes("AQI"), Some(vec![1, 2]));
        for bad in ["AQI==", "AQ I=", "AQI-", "AQJ=", "\nAQI="] {
            assert_eq!(transaction_bytes(bad), None, "{bad:?}");
        }
        assert_eq!(
            transaction_bytes(&base64(&[7; 4_096])).map(|bytes| bytes.len()),
            Some(4_096)
        );
        assert_eq!(transaction_bytes(&base64(&[7; 4_097])), None);
        assert_eq!(transaction_bytes(""), None);
    }

    proptest! {
        #[test]
        fn base58_reads_what_solana_writes(bytes in any::<[u8; 32]>(), leading in 0usize..4) {
            let mut bytes = bytes;
            bytes[..leading].fill(0);
            let written = Address::new_from_array(bytes).to_string();
            prop_assert_eq!(base58(&written, 32), Some(bytes.to_vec()));
            prop_assert_eq!(base58(&written, 31 - leading.min(1)), None);
        }

        #[test]
        fn hostile_texts_do_not_panic(text in "\\PC{0,100}") {
            let _ = (base58(&text, 40), address(&text), signature(&text), transaction_bytes(&text));
        }
    }
}
