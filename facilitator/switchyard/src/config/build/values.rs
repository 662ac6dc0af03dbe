//! Values of the configuration that several sections have: amounts, times, counts, names, paths and digests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::suggest::closest;
use http_api::Origins;
use sdk_plugin::Amount;

use crate::config::node::Node;

/// A run of at least this many hex digits may be a private key.
const KEY_DIGITS: usize = 48;

pub(super) fn amount(node: &Node<'_, '_>, wanted: &str) -> Option<Amount> {
    let decimal = |text: &str| text.parse::<Amount>().ok().filter(|_| !text.starts_with("0x"));
    node.parsed(decimal, wanted)
}

pub(super) fn native_amount(node: &Node<'_, '_>) -> Option<Amount> {
    amount(
        node,
        "an amount; write atomic units of the native currency, e.g. \"1000000000000000\"",
    )
}

/// Refuses a budget that is below the cost of one payment.
pub(super) fn below_max_cost<T>(node: &Node<'_, '_>, max_cost: Amount) -> Option<T> {
    node.fail(format!(
        "is below max_cost, which is {max_cost}: a payment that may cost that much never fits in; write at least that, or a \
         smaller max_cost"
    ))
}

/// Longest text that an error repeats: a CAIP-2 id has at most 41 characters, a private key at least 43.
const LONGEST_NAME: usize = 41;

/// One of `names`; the error suggests the nearest.
pub(super) fn known_name(node: &Node<'_, '_>, what: &str, names: &[String]) -> Option<String> {
    let text = node.text()?;
    if names.contains(&text) {
        return Some(text);
    }
    let hint = match closest(&text, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None if names.is_empty() => "none is configured".to_owned(),
        None => format!("there are {}", names.join(", ")),
    };
    let written = node.as_written();
    // What is longer than any name may be a key that was pasted here.
    if written.len() > LONGEST_NAME {
        return node.fail(format!(
            "a text of {} characters is not a {what}; {hint}",
            written.len()
        ));
    }
    node.fail(format!("{written:?} is not a {what}; {hint}"))
}

pub(super) fn path(node: &Node<'_, '_>, folder: &Path) -> Option<PathBuf> {
    let text = node.text()?;
    if text.is_empty() {
        node.fail("is empty; write a path")
    } else {
        Some(folder.join(text))
    }
}

pub(super) fn digest(node: &Node<'_, '_>) -> Option<[u8; 32]> {
    let parse = |text: &str| {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
    };
    node.parsed_unseen(
        parse,
        "a SHA-256; write the 64 hex digits that are printed for it, nothing else",
    )
}

/// Whether the text may be a private key that was pasted by mistake.
pub(super) fn is_like_a_key(text: &str) -> bool {
    let longest = text.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    longest.is_some_and(|digits| digits >= KEY_DIGITS)
}

pub(super) fn seconds(node: &Node<'_, '_>, least: u64, most: u64) -> Option<Duration> {
    node.integer(least..=most).map(Duration::from_secs)
}

pub(super) fn millis(node: &Node<'_, '_>, least: u64, most: u64) -> Option<Duration> {
    node.integer(least..=most).map(Duration::from_millis)
}

pub(super) fn count(node: &Node<'_, '_>, least: u32, most: u32) -> Option<u32> {
    node.integer(u64::from(least)..=u64::from(most))
        .and_then(|number| u32::try_from(number).ok())
}

pub(super) fn size(node: &Node<'_, '_>, least: u32, most: u32) -> Option<usize> {
    count(node, least, most).and_then(|number| usize::try_from(number).ok())
}

/// Parses `/a/b`, without a trailing slash. `None`: not a path.
pub(super) fn base_path(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Some(String::new());
    }
    let parts = text.strip_prefix('/')?;
    let is_valid = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    };
    parts.split('/').all(is_valid).then(|| text.to_owned())
}

/// `["*"]`, or origins as browsers send them: scheme, host and port, and nothing else.
pub(super) fn origins(node: &Node<'_, '_>) -> Option<Origins> {
    let origin = |text: &str| {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))?;
        let is_valid = |b: u8| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
        };
        (!host.is_empty() && host.bytes().all(is_valid)).then(|| text.to_owned())
    };
    let listed = node.list(|node| {
        node.parsed(
            |text| if text == "*" { Some(text.to_owned()) } else { origin(text) },
            "an origin; write e.g. \"https://shop.example\" (lower case, no path), or \"*\" alone for every page",
        )
    })?;
    match listed.as_slice() {
        [only] if only == "*" => Some(Origins::Any),
        several if several.iter().any(|origin| origin == "*") => {
            node.fail("holds \"*\" beside other origins; write [\"*\"] alone, or only the others")
        }
        _ => Some(Origins::These(listed)),
    }
}

/// Whether the text is the name of an environment variable.
pub(super) fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether the text is a name: 1 to 64 letters, digits, `-` and `_`.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
