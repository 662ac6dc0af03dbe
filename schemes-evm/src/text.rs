//! Strict parsers of hostile texts: addresses, 32-byte words, numbers, bytes. Nothing here trims or guesses.

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::{Amount, Value};

/// Largest integer that every JSON reader keeps exactly (2^53 - 1).
pub const MAX_JSON_INTEGER: u64 = (1 << 53) - 1;

/// `0x` and 40 hex digits of any case; a checksum in the case is not enforced.
#[must_use]
pub fn address(text: &str) -> Option<Address> {
    fixed::<20>(text).map(Address::from)
}

/// `0x` and 64 hex digits of any case.
#[must_use]
pub fn word(text: &str) -> Option<B256> {
    fixed::<32>(text).map(B256::from)
}

fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x")?;
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// `0x` and an even number of hex digits, at most `max_bytes` bytes of them.
#[must_use]
pub fn bytes(text: &str, max_bytes: usize) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    if digits.len() / 2 > max_bytes {
        return None;
    }
    hex::decode(digits).ok()
}

/// A decimal string, `0x` hex string, or JSON integer from 0 to 2^53 - 1.
#[must_use]
pub fn number(value: &Value) -> Option<U256> {
    match value {
        Value::String(text) => text.parse::<Amount>().ok().map(|amount| amount.0),
        Value::Number(number) => number
            .as_u64()
            .filter(|integer| *integer <= MAX_JSON_INTEGER)
            .map(U256::from),
        _ => None,
    }
}

/// The decimal digits after `eip155:`: no sign, no leading zero, at most 2^53 - 1.
#[must_use]
pub fn chain_id(network: &str) -> Option<u64> {
    let digits = network.strip_prefix("eip155:")?;
    let plain = !digits.is_empty()
        && digits.bytes().all(|digit| digit.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if !plain {
        return None;
    }
    digits
        .parse::<u64>()
        .ok()
        .filter(|id| *id != 0 && *id <= MAX_JSON_INTEGER)
}

/// Seconds since the epoch; `None` for times too far in the future to be written as a JSON integer: they never come.
#[must_use]
pub fn seconds(time: U256) -> Option<u64> {
    u64::try_from(time)
        .ok()
        .filter(|seconds| *seconds <= MAX_JSON_INTEGER)
}

/// This crate's canonical form of an address: lower case. Plans, lanes and claim keys use this form only.
#[must_use]
pub fn lower(address: Address) -> String {
    format!("0x{}", hex::encode(address))
}

/// `0x` hex without leading zeros, as JSON-RPC writes quantities.
#[must_use]
pub fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_strict() {
        for (good, expected) in [
            (json!("10000"), 10_000u64),
            (json!(10_000), 10_000),
            (json!("0x2710"), 10_000),
            (json!(0), 0),
            (json!(9_007_199_254_740_991u64), 9_007_199_254_740_991),
        ] {
            assert_eq!(number(&good), Some(U256::from(expected)), "{good}");
        }
        for bad in [
            json!("1e6"),
            json!("1.0"),
            json!(1.0),
            json!(-1),
            json!("-1"),
            json!("+1"),
            json!(""),
            json!("01"),
            json!(" 1"),
            json!(9_007_199_254_740_992u64),
            json!(null),
            json!(true),
            json!([1]),
            json!({"a": 1}),
            json!("115792089237316195423570985008687907853269984665640564039457584007913129639936"),
            json!("١"),
        ] {
            assert_eq!(number(&bad), None, "{bad}");
        }
    }

    #[test]
    fn chain_ids_are_strict() {
        assert_eq!(chain_id("eip155:84532"), Some(84_532));
        for bad in [
            "eip155:",
            "eip155:0",
            "eip155:08453",
            "eip155:+1",
            "EIP155:1",
            "eip155:1e3",
            "eip155:9007199254740992",
            "solana:1",
            "eip155:٣",
            "",
            "eip155:0x1",
        ] {
            assert_eq!(chain_id(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn decoders_take_any_text(text in "\\PC{0,90}") {
            let decoded = (address(&text), word(&text), bytes(&text, 64), chain_id(&text));
            if let (Some(address), ..) = decoded {
                prop_assert_eq!(lower(address), text.to_lowercase());
            }
            if let (.., Some(bytes), _) = decoded {
                prop_assert!(bytes.len() <= 64);
            }
        }

        #[test]
        fn addresses_survive_any_case(bytes in any::<[u8; 20]>(), upper in any::<bool>()) {
            let digits = if upper { hex::encode_upper(bytes) } else { hex::encode(bytes) };
            let parsed = address(&format!("0x{digits}"));
            prop_assert_eq!(parsed, Some(Address::from(bytes)));
            prop_assert_eq!(address(&digits), None);
        }
    }
}
