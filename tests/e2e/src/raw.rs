//! Signed EVM transactions of type 2, as far as tests compare what was bid.

/// What a signed transaction offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawTransaction {
    pub nonce: u128,
    /// Wei per unit of gas.
    pub max_fee: u128,
    pub gas_limit: u128,
}

impl RawTransaction {
    /// Reads the bytes, as `0x` hex.
    ///
    /// # Panics
    /// When it is no transaction of type 2.
    #[must_use]
    pub fn read(hex: &str) -> RawTransaction {
        let bytes = hex::decode(hex.trim_start_matches("0x")).expect("hex");
        assert_eq!(bytes.first(), Some(&2), "a transaction of type 2: {hex}");
        let (fields, _) = item(&bytes[1..]);
        let mut rest = fields;
        let mut numbers = Vec::new();
        // chain id, nonce, tip, max fee, gas limit
        for _ in 0..5 {
            let (field, after) = item(rest);
            numbers.push(
                field
                    .iter()
                    .fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte)),
            );
            rest = after;
        }
        RawTransaction {
            nonce: numbers[1],
            max_fee: numbers[3],
            gas_limit: numbers[4],
        }
    }

    /// The most that it can cost, in wei, without value.
    #[must_use]
    pub fn max_cost(&self) -> u128 {
        self.max_fee * self.gas_limit
    }
}

/// The payload of the first RLP item, and what follows it.
fn item(bytes: &[u8]) -> (&[u8], &[u8]) {
    let long = |offset: u8| {
        let digits = usize::from(bytes[0] - offset);
        let length = bytes[1..=digits]
            .iter()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        (1 + digits, length)
    };
    let (start, length) = match bytes[0] {
        0..=0x7f => (0, 1),
        first @ 0x80..=0xb7 => (1, usize::from(first - 0x80)),
        0xb8..=0xbf => long(0xb7),
        first @ 0xc0..=0xf7 => (1, usize::from(first - 0xc0)),
        0xf8..=0xff => long(0xf7),
    };
    (&bytes[start..start + length], &bytes[start + length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bid_of_a_signed_transaction_is_decoded() {
        // [chain id 84532, nonce 5, tip 1, max fee 1000, gas 21000, …]
        let fields = "83014a34".to_owned() + "05" + "01" + "8203e8" + "825208" + "80" + "80" + "80" + "c0";
        let bytes = hex::decode(&fields).expect("hex");
        let raw = format!("0x02{:02x}{fields}", 0xc0 + bytes.len());
        let read = RawTransaction::read(&raw);
        assert_eq!((read.nonce, read.max_fee, read.gas_limit), (5, 1_000, 21_000));
        assert_eq!(read.max_cost(), 21_000_000);
    }
}
