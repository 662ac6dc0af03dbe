//! Keys in fewer bytes, in the same order.
//!
//! Keys are mostly digits and hex. Each byte of a key is written as a few bits: three to five for digits and `a` to `f`, up to 14
//! for rare ones. The codes of greater bytes are greater, and none begins with another. So packed keys sort as their texts
//! do, and a scan over packed keys needs no other bounds than a scan over texts. The last byte is filled up with zeros; no
//! code consists of zeros alone, so that the end is certain.

use std::sync::LazyLock;

/// Bits of each code: one that is never used, so that none of the others is all zeros, then those of the bytes 0 to 255.
/// The best ones for the keys of `exact` payments on EVM and Solana. Never edit: packed keys are on disks.
const BITS: [u8; 257] = [
    9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
    10, 10, 10, 10, 10, 10, 10, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 4, 3, 4, 4, 4, 4, 4, 5, 5, 4, 5,
    8, 13, 13, 14, 14, 14, 14, 11, 11, 11, 10, 10, 9, 11, 12, 12, 10, 9, 10, 10, 10, 10, 10, 10, 10, 10, 9,
    9, 11, 11, 10, 9, 10, 12, 12, 13, 13, 13, 13, 5, 5, 5, 5, 5, 6, 9, 9, 8, 9, 9, 8, 8, 9, 9, 8, 10, 10, 9,
    8, 10, 10, 9, 8, 9, 10, 10, 6, 12, 12, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13,
    13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13,
    13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13,
    13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13,
    13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 14,
    14, 14, 14, 14, 14, 14, 14, 14, 14,
];
/// The longest code.
const LONGEST: u32 = 14;
const CODES: [u16; 257] = codes();

/// Codes in order, each right after the one before.
const fn codes() -> [u16; 257] {
    let mut codes = [0; 257];
    let (mut symbol, mut start): (usize, u32) = (0, 0);
    while symbol < codes.len() {
        let unused = LONGEST - BITS[symbol] as u32;
        codes[symbol] = (start >> unused) as u16;
        start += 1 << unused;
        symbol += 1;
    }
    assert!(start == 1 << LONGEST, "the codes fill all that there is");
    codes
}

/// The symbol whose code these bits begin with.
static SYMBOLS: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let mut symbols = Vec::with_capacity(1 << LONGEST);
    for (symbol, bits) in (0..).zip(BITS) {
        let end = symbols.len() + (1 << (LONGEST - u32::from(bits)));
        symbols.resize(end, symbol);
    }
    symbols
});

/// The key in bytes that sort as the keys do.
pub(super) fn pack(key: &str) -> Vec<u8> {
    let mut packed = Vec::with_capacity(key.len() * 5 / 8 + 2);
    let (mut waiting, mut count): (u32, u32) = (0, 0);
    for byte in key.bytes() {
        let symbol = usize::from(byte) + 1;
        let bits = u32::from(BITS[symbol]);
        // At most 7 bits wait, and a code has at most 14.
        waiting = (waiting << bits) | u32::from(CODES[symbol]);
        count += bits;
        while count >= 8 {
            count -= 8;
            packed.extend(u8::try_from((waiting >> count) & 0xff));
        }
        waiting &= (1 << count) - 1;
    }
    if count > 0 {
        packed.extend(u8::try_from((waiting << (8 - count)) & 0xff));
    }
    packed
}

/// The key of these bytes; `None`: they are none.
pub(super) fn unpack(packed: &[u8]) -> Option<String> {
    let mut bytes = packed.iter();
    let mut key = Vec::with_capacity(packed.len() * 2);
    let (mut waiting, mut count): (u32, u32) = (0, 0);
    loop {
        while count < LONGEST {
            let Some(byte) = bytes.next() else { break };
            waiting = (waiting << 8) | u32::from(*byte);
            count += 8;
        }
        if count < 8 && waiting == 0 {
            return String::from_utf8(key).ok();
        }
        let ahead = if count >= LONGEST {
            waiting >> (count - LONGEST)
        } else {
            waiting << (LONGEST - count)
        };
        let symbol = *SYMBOLS.get(usize::try_from(ahead).ok()?)?;
        let bits = u32::from(BITS[usize::from(symbol)]);
        // The first symbol is no byte.
        key.push(u8::try_from(symbol.checked_sub(1)?).ok()?);
        count = count.checked_sub(bits)?;
        waiting &= (1 << count) - 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_of_digits_and_hex_takes_half_of_its_bytes() {
        for (key, length) in [
            ("00000000000001563564", 9),
            ("00000000000003064852|0000000000|00000000000003064853", 22),
            ("claim|9fc3f34c658d9f6af30b81e937887d44|00000000000003064852", 33),
        ] {
            assert_eq!(pack(key).len(), length, "{key}");
        }
    }

    #[test]
    fn what_is_on_disks_stays_readable() {
        // Written once; another result would make every journal unreadable.
        let packed = pack("evm|eip155:84532|0x0123456789abcdef/é");
        assert_eq!(
            hex::encode(&packed),
            "e7abe1f73b7c9222e29e197e3ec5159e253ab633adf3a1fe47eb80"
        );
        assert_eq!(
            unpack(&packed).as_deref(),
            Some("evm|eip155:84532|0x0123456789abcdef/é")
        );
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        let whole = pack("claim|9fc3");
        let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
        for bytes in [&[0][..], &[0; 9], &[0xff; 3], &longer] {
            assert_eq!(unpack(bytes), None, "{bytes:?}");
        }
        assert_eq!(unpack(&[]).as_deref(), Some(""));
    }

    /// Texts that share beginnings, as keys do.
    fn keys() -> impl Strategy<Value = (String, String)> {
        let text = prop_oneof![
            "[0-9a-f|]{0,40}",
            ".{0,12}",
            proptest::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter),
        ];
        (text.clone(), text.clone(), text)
            .prop_map(|(start, one, other)| (start.clone() + &one, start + &other))
    }

    proptest! {
        #[test]
        fn packed_keys_sort_as_their_texts_and_come_back((one, other) in keys()) {
            prop_assert_eq!(pack(&one).cmp(&pack(&other)), one.as_bytes().cmp(other.as_bytes()));
            let packed = pack(&one);
            prop_assert_eq!(unpack(&packed), Some(one));
        }

        #[test]
        fn any_bytes_are_one_key_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Some(key) = unpack(&bytes) {
                prop_assert_eq!(pack(&key), bytes);
            }
        }
    }
}
