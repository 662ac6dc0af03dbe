//! Random changes of a corpus.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Texts and bytes at which decoders have limits.
const TOKENS: &[&[u8]] = &[
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"\"",
    b",",
    b"0",
    b"-1",
    b"-0",
    b"01",
    b"1.5",
    b"1e400",
    b"4294967296",
    b"9007199254740993",
    b"18446744073709551615",
    b"18446744073709551616",
    b"115792089237316195423570985008687907853269984665640564039457584007913129639935",
    b"115792089237316195423570985008687907853269984665640564039457584007913129639936",
    b"0x",
    b"0x0",
    b"0xffffffffffffffff",
    b"0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    b"\\u0000",
    b"\\ud800",
    b"\xc3\xa9",
    b"\xff",
    b"\0",
    b"\x80\x80\x03",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"\n",
];

/// Random numbers that a seed repeats.
pub(crate) struct Random(fastrand::Rng);

impl Random {
    /// The numbers of one input.
    pub(crate) fn new(seed: u64, name: &str, index: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, name, index).hash(&mut hasher);
        Self(fastrand::Rng::with_seed(hasher.finish()))
    }

    /// Below `limit`; 0 where that is 0.
    fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { self.0.usize(..limit) }
    }

    fn byte(&mut self) -> u8 {
        self.0.u8(..)
    }

    /// A range within `length`, mostly short.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 16 };
        let end = start + self.below((length - start).min(most) + 1);
        start..end
    }
}

/// One input of at most `max_bytes`: a file with a few changes, or at times random bytes.
pub(crate) fn mutate(corpus: &[Vec<u8>], random: &mut Random, max_bytes: usize) -> Vec<u8> {
    if random.below(32) == 0 {
        let length = random.below(max_bytes.min(256) + 1);
        return (0..length).map(|_| random.byte()).collect();
    }
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        change(&mut input, corpus, random);
    }
    input.truncate(max_bytes);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let token = TOKENS[random.below(TOKENS.len())];
    let at = random.below(input.len());
    match random.below(9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            let new = random.byte();
            if let Some(byte) = input.get_mut(at) {
                *byte = new;
            }
        }
        2 => {
            let range = random.range(input.len());
            input.drain(range);
        }
        3 => {
            let range = random.range(input.len());
            let copy = input[range].to_vec();
            input.splice(at..at, copy);
        }
        4 => {
            let other = &corpus[random.below(corpus.len())];
            let piece = other[random.range(other.len())].to_vec();
            let range = random.range(input.len());
            input.splice(range, piece);
        }
        5 => {
            input.splice(at..at, token.iter().copied());
        }
        6 => replace_run(input, at, token, |byte| byte.is_ascii_digit()),
        7 => replace_run(input, at, token, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'"'
        }),
        _ => input.truncate(at),
    }
}

/// Replaces the first run of such bytes after `at`: a whole number, or a whole word with its quotes.
fn replace_run(input: &mut Vec<u8>, at: usize, token: &[u8], part: impl Fn(u8) -> bool) {
    let after = |from: usize, wanted: bool| {
        (from..input.len())
            .find(|index| part(input[*index]) == wanted)
            .unwrap_or(input.len())
    };
    let start = after(at, true);
    let end = after(start, false);
    input.splice(start..end, token.iter().copied());
}
