//! Amounts and byte strings as they cross the boundary.

use std::fmt;
use std::str::FromStr;

use ruint::aliases::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A token or native amount in atomic units (no decimals), 0 to 2^256-1. A decimal string in JSON.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub U256);

impl Amount {
    /// Zero.
    pub const ZERO: Self = Self(U256::ZERO);
    /// 2^256-1.
    pub const MAX: Self = Self(U256::MAX);

    /// `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `None` on overflow.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        self.0.checked_mul(other.0).map(Self)
    }

    /// Whether the amount is 0.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<u128> for Amount {
    fn from(value: u128) -> Self {
        Self(U256::from(value))
    }
}

impl From<u64> for Amount {
    fn from(value: u64) -> Self {
        Self(U256::from(value))
    }
}

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not `0` or digits without a leading zero (or, where accepted, `0x` hex).
    #[error("not a decimal amount in atomic units")]
    Malformed,
    /// 2^256 or more.
    #[error("amount is 2^256 or more")]
    TooLarge,
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Decimal digits without sign, separator, exponent or leading zero; or `0x` followed by hex digits.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        if let Some(digits) = text.strip_prefix("0x") {
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(AmountError::Malformed);
            }
            return U256::from_str_radix(digits, 16)
                .map(Self)
                .map_err(|_| AmountError::TooLarge);
        }
        if text.is_empty()
            || !text.bytes().all(|b| b.is_ascii_digit())
            || (text.len() > 1 && text.starts_with('0'))
        {
            return Err(AmountError::Malformed);
        }
        if text.len() > 78 {
            return Err(AmountError::TooLarge);
        }
        U256::from_str_radix(text, 10)
            .map(Self)
            .map_err(|_| AmountError::TooLarge)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Bytes, written as `0x` followed by two lower-case hex digits each.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexBytes(pub Vec<u8>);

impl HexBytes {
    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for HexBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for HexBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(&self.0))
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not `0x` followed by an even number of hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 0x followed by an even number of hex digits")]
pub struct HexError;

impl FromStr for HexBytes {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let digits = text.strip_prefix("0x").ok_or(HexError)?;
        hex::decode(digits).map(Self).map_err(|_| HexError)
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    impl JsonSchema for super::Amount {
        fn schema_name() -> Cow<'static, str> {
            "Amount".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": "string",
                "description": "Atomic units, 0 to 2^256-1, decimal",
                "pattern": "^(0|[1-9][0-9]{0,77})$"
            })
        }
    }

    impl JsonSchema for super::HexBytes {
        fn schema_name() -> Cow<'static, str> {
            "HexBytes".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_strict_decimal_or_hex() {
        assert_eq!("0".parse(), Ok(Amount::ZERO));
        assert_eq!("10000".parse(), Ok(Amount::from(10_000u64)));
        assert_eq!("0x2710".parse(), Ok(Amount::from(10_000u64)));
        for bad in [
            "", "-1", "+1", "1e6", "1.0", "01", " 1", "1_000", "0x", "0xg", "١",
        ] {
            assert_eq!(bad.parse::<Amount>(), Err(AmountError::Malformed), "{bad:?}");
        }
        let too_large = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert_eq!(too_large.parse::<Amount>(), Err(AmountError::TooLarge));
        assert_eq!(Amount::MAX.to_string().parse(), Ok(Amount::MAX));
    }

    #[test]
    fn bytes_are_prefixed_hex() {
        assert_eq!("0x".parse::<HexBytes>(), Ok(HexBytes(vec![])));
        assert_eq!("0xAb".parse::<HexBytes>(), Ok(HexBytes(vec![0xab])));
        for bad in ["", "ab", "0xa", "0xzz", "0X00"] {
            assert_eq!(bad.parse::<HexBytes>(), Err(HexError), "{bad:?}");
        }
    }
}
