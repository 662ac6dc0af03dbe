//! Classifies a node's error by its text (exact-evm.md section 18).
//!
//! The text decides first, in the order of the classes; a code decides only where no text does, because nodes give one
//! code to several classes. A text that no class knows is no class: the transaction may have been taken.

mod table;

use sdk_plugin::host::RpcError;

use self::table::WORDINGS;

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The node has this very transaction.
    Known,
    NonceTooLow,
    /// An earlier nonce has not arrived at this node yet.
    NonceGap,
    ReplacementUnderpriced,
    FeeCapBelowBaseFee,
    Underpriced,
    TipAboveCap,
    /// The node refuses to send anything that may cost so much.
    NodeFeeCap,
    /// The signer can't pay for the gas.
    InsufficientFunds,
    /// The pool is full, or the node is busy or not synced.
    PoolFull,
    /// A log search over too many blocks, or with too many hits.
    RangeTooLarge,
    RateLimit,
    MethodMissing,
    StateMissing,
    /// A block tag that the node does not know.
    BlockTag,
    TimeLimit,
    /// The bytes themselves are wrong; no node will ever take them.
    BadTransaction,
}

/// The class of an error; `None` when it is none of those known.
pub(super) fn class(error: &RpcError) -> Option<Class> {
    let message = error.message.to_lowercase();
    let known = |texts: &[&str]| texts.iter().any(|text| occurs(&message, text));
    let by_text = WORDINGS.iter().find(|(_, texts)| known(texts));
    by_text.map(|(class, _)| *class).or(match error.code {
        // JSON-RPC's own code, and Besu's for a method that is switched off.
        -32601 | -32604 => Some(Class::MethodMissing),
        // HTTP's code, copied by some proxies.
        429 => Some(Class::RateLimit),
        _ => None,
    })
}

/// Whether a pattern of the table occurs in a message.
fn occurs(message: &str, pattern: &str) -> bool {
    if let Some(whole) = pattern.strip_prefix('=') {
        return message.trim() == whole;
    }
    let mut rest = Some(message);
    for part in pattern.split('…') {
        rest = rest.and_then(|text| after(text, part));
    }
    rest.is_some()
}

/// What follows the first occurrence of `part` at the beginning of a word: "unknown transaction type" does not mean
/// that the transaction is a "known transaction".
fn after<'a>(message: &'a str, part: &str) -> Option<&'a str> {
    let (head, tail) = part.split_once('#').unwrap_or((part, ""));
    let is_numbered = part.contains('#');
    message.match_indices(head).find_map(|(at, found)| {
        let before = message.get(..at)?.chars().next_back();
        if head.starts_with(char::is_alphanumeric) && before.is_some_and(char::is_alphanumeric) {
            return None;
        }
        let rest = message.get(at.checked_add(found.len())?..)?;
        if !is_numbered {
            return Some(rest);
        }
        let (_, rest) = leading_number(rest)?;
        rest.strip_prefix(tail)
    })
}

/// The most blocks that a refused log search may have by its own text, or by the range that the text proposes.
pub(super) fn allowed_blocks(message: &str) -> Option<u64> {
    let message = message.to_lowercase();
    proposed_range(&message).or_else(|| named_maximum(&message))
}

/// `[0x10, 0x1f]` or `range 16-31`: both ends counted.
fn proposed_range(message: &str) -> Option<u64> {
    let pair = |from: u64, to: u64| to.checked_sub(from)?.checked_add(1);
    if let Some((_, rest)) = message.split_once("[0x") {
        let (from, rest) = rest.split_once(',')?;
        let to = rest.trim_start().strip_prefix("0x")?;
        let digits = |text: &str| {
            let end = text
                .find(|digit: char| !digit.is_ascii_hexdigit())
                .unwrap_or(text.len());
            u64::from_str_radix(text.get(..end)?, 16).ok()
        };
        return pair(digits(from)?, digits(to)?);
    }
    let (_, rest) = message.split_once("with the range ")?;
    let (from, rest) = leading_number(rest)?;
    let (to, _) = leading_number(rest.strip_prefix('-')?)?;
    pair(from, to)
}

/// Texts in front of a number of blocks.
const MAXIMUM_BEFORE: &[&str] = &[
    "maximum block range:",
    "maximum is set to",
    "max block range:",
    "max block range",
    "up to a",
    "(maximum",
    "blocks distance:",
    "limited to a",
    "limited to",
    " > ",
    "allowed number of requested blocks is",
    "max range:",
    "to at most",
    "block range greater than",
    "block range exceeds",
    "max is",
    "smaller than size",
];

fn named_maximum(message: &str) -> Option<u64> {
    MAXIMUM_BEFORE.iter().find_map(|text| {
        let (_, rest) = message.split_once(text)?;
        leading_number(rest.trim_start()).map(|(number, _)| number)
    })
}

/// The least price in wei per unit of gas that a text names which calls a bid too low.
pub(super) fn minimum_price_wei(message: &str) -> Option<u128> {
    let message = message.to_lowercase();
    let texts = [
        "minimum needed ",
        "minimum required priority fee ",
        "use at least tx.gasprice = ",
    ];
    texts.iter().find_map(|text| {
        let (_, rest) = message.split_once(text)?;
        let end = rest
            .find(|digit: char| !digit.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    })
}

/// A number with thousands separators, or with a `k` after it, and what follows.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let is_of_number = |mark: char| mark.is_ascii_digit() || mark == ',' || mark == '.';
    let end = text.find(|mark| !is_of_number(mark)).unwrap_or(text.len());
    // A full stop or a comma at the end belongs to the sentence.
    let written = text.get(..end)?.trim_end_matches([',', '.']);
    let digits: String = written.chars().filter(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().ok()?;
    let rest = text.get(written.len()..)?;
    match rest
        .strip_prefix('k')
        .filter(|rest| !rest.starts_with(char::is_alphanumeric))
    {
        Some(rest) => Some((number.checked_mul(1_000)?, rest)),
        None => Some((number, rest)),
    }
}

#[cfg(test)]
mod tests;
