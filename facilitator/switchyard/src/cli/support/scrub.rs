//! Removes secrets from the texts of a support bundle: known ones in every usual encoding, and whatever may be one.
//!
//! A text of the bundle leaves the operator's hands, so a doubtful part is removed. Addresses, transaction hashes of EVM networks and
//! words stay.

use std::collections::BTreeSet;

use base::key_digests::{HEX_KEY_CHARACTERS, KeyDigests, PAIR_CHARACTERS};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http_api::redaction::{hide_keys, is_name};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::patterns::{without_credentials, without_urls};
use crate::cli::harmless;

pub(super) const REMOVED: &str = "[removed]";
/// Shorter values are too common: they would make holes everywhere.
const SHORTEST_VALUE: usize = 4;
/// Shorter runs are shown, unless they are a known secret.
const SHORTEST_RUN: usize = 20;
/// Characters of a Solana transaction that are shown.
const SHOWN_OF_SIGNATURE: usize = 12;
/// The most characters of a line.
const MAX_LINE: usize = 4_000;
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// What must not be in the bundle.
#[derive(Default, Clone)]
pub(super) struct Scrubber {
    values: Vec<Zeroizing<Vec<u8>>>,
    /// SHA-256 of API keys and operators' tokens.
    digests: BTreeSet<[u8; 32]>,
    keys: KeyDigests,
    /// A key is in a keystore that was not opened: whatever has the length of a key is removed.
    misses_keys: bool,
    /// Runs that stay, although they are as long as a secret.
    kept: BTreeSet<String>,
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scrubber({} values)", self.values.len())
    }
}

impl Scrubber {
    /// Adds a secret, and each of its usual spellings.
    pub(super) fn hide(&mut self, value: &[u8]) {
        let value = value.trim_ascii();
        if value.len() < SHORTEST_VALUE {
            return;
        }
        self.hide_bytes(value);
        // A key in hex, in base58 or as a list of numbers: its bytes may be spelled otherwise, too.
        if let Ok(text) = std::str::from_utf8(value) {
            let decoded = decoded(text.strip_prefix("0x").unwrap_or(text));
            for bytes in decoded.iter().filter(|bytes| bytes.len() >= 16) {
                self.hide_bytes(bytes);
            }
            if let Ok(bytes) = serde_json::from_str::<Vec<u8>>(text) {
                self.hide_bytes(&bytes);
            }
        }
    }

    fn hide_bytes(&mut self, bytes: &[u8]) {
        let hex = hex::encode(bytes);
        let spelled = [
            bytes.to_vec(),
            hex.to_ascii_uppercase().into_bytes(),
            hex.into_bytes(),
            STANDARD.encode(bytes).trim_end_matches('=').as_bytes().to_vec(),
            URL_SAFE.encode(bytes).trim_end_matches('=').as_bytes().to_vec(),
            bs58::encode(bytes).into_vec(),
        ];
        for value in spelled.into_iter().filter(|value| value.len() >= SHORTEST_VALUE) {
            self.values.push(Zeroizing::new(value));
        }
        // The longest first, so that a secret that contains another one disappears whole.
        self.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        self.values.dedup();
    }

    /// Adds a secret of which only the SHA-256 is known.
    pub(super) fn hide_digest(&mut self, digest: [u8; 32]) {
        self.digests.insert(digest);
    }

    /// Adds private keys: all that the configuration has.
    pub(super) fn hide_keys(&mut self, keys: KeyDigests) {
        self.keys = keys;
        self.misses_keys = false;
    }

    /// There is a key that only [`Self::hide_keys`] can add.
    pub(super) fn miss_keys(&mut self) {
        self.misses_keys = true;
    }

    fn is_public(&self, run: &str) -> bool {
        is_public(run) && !(self.misses_keys && has_length_of_key(run))
    }

    /// Adds a run of letters and digits that is public.
    pub(super) fn keep(&mut self, run: &str) {
        self.kept.insert(run.to_owned());
    }

    /// The same, and these runs stay.
    pub(super) fn keeping(&self, runs: Vec<String>) -> Self {
        let mut other = self.clone();
        other.kept.extend(runs);
        other
    }

    /// The text without secrets. Hashes of transactions stay. No character acts on a terminal.
    pub(super) fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for line in text.lines() {
            out.push_str(&self.line(line));
            out.push('\n');
        }
        out
    }

    fn line(&self, line: &str) -> String {
        // Control characters could split a secret.
        let mut line = harmless::line(line);
        if let Some((end, _)) = line.char_indices().nth(MAX_LINE) {
            line.truncate(end);
            line.push_str(" [cut]");
        }
        let line = without_urls(&self.without_values(&line));
        let line = without_credentials(&line);
        hide_keys(replace_runs(&line, |run| self.shown(run)), &self.keys)
    }

    /// A value of the configuration: as [`Self::text`], and no hash stays.
    pub(super) fn value(&self, text: &str) -> String {
        let text = self.line(text);
        replace_runs(&text, |run| {
            let is_hash = run.len() > HEX_KEY_CHARACTERS && is_hash(run);
            (is_hash && !self.kept.contains(run)).then(|| REMOVED.to_owned())
        })
    }

    fn without_values(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in &self.values {
            if let Ok(value) = std::str::from_utf8(value)
                && text.contains(value)
            {
                text = text.replace(value, REMOVED);
            }
        }
        text
    }

    /// `None`: the run is shown as it is.
    fn shown(&self, run: &str) -> Option<String> {
        if self.kept.contains(run) {
            return None;
        }
        if self.is_known(run) {
            return Some(REMOVED.to_owned());
        }
        if run.len() < SHORTEST_RUN || self.is_public(run) {
            return None;
        }
        if is_signature(run) {
            return Some(format!("{}…", run.get(..SHOWN_OF_SIGNATURE)?));
        }
        let pieces: Vec<&str> = run.split('/').collect();
        let all_shown = pieces
            .iter()
            .all(|piece| self.is_public(piece) || !is_random(piece));
        (!all_shown).then(|| REMOVED.to_owned())
    }

    /// Whether a run is a known secret, as it stands or decoded.
    fn is_known(&self, run: &str) -> bool {
        let pieces = std::iter::once(run).chain(run.split('/'));
        pieces.filter(|piece| piece.len() >= 16).any(|piece| {
            let piece = piece.trim_end_matches('=');
            self.has_digest(piece.as_bytes())
                || decoded(piece.strip_prefix("0x").unwrap_or(piece))
                    .iter()
                    .any(|bytes| self.is_secret(bytes))
        })
    }

    fn has_digest(&self, bytes: &[u8]) -> bool {
        self.digests.contains::<[u8; 32]>(&Sha256::digest(bytes).into())
    }

    fn is_secret(&self, bytes: &[u8]) -> bool {
        let has_value = |value: &Zeroizing<Vec<u8>>| {
            !bytes.is_empty()
                && bytes
                    .windows(value.len())
                    .any(|window| window == value.as_slice())
        };
        let is_key = |window: &[u8]| {
            let text = Zeroizing::new(hex::encode(window));
            self.keys.contains(&Sha256::digest(text.as_bytes()).into())
        };
        self.has_digest(bytes)
            || self.values.iter().any(has_value)
            || (!self.keys.is_empty() && bytes.len() <= 256 && bytes.windows(32).any(is_key))
    }
}

/// Replaces runs of the characters of encodings by what `shown` makes of them.
fn replace_runs(text: &str, shown: impl Fn(&str) -> Option<String>) -> String {
    let is_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_run(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        match shown(run) {
            Some(other) => out.push_str(&other),
            None => out.push_str(run),
        }
        let next = after.find(is_run).unwrap_or(after.len());
        let (between, after) = after.split_at(next);
        out.push_str(between);
        rest = after;
    }
    out
}

/// The bytes of a text in hex, in base58 and in base64, where it is that.
fn decoded(text: &str) -> Vec<Zeroizing<Vec<u8>>> {
    // Longer runs are removed whatever they are, and base58 takes the square of their length.
    let base58 = (text.len() <= 128).then(|| bs58::decode(text).into_vec().ok());
    let found = [
        hex::decode(text).ok(),
        base58.flatten(),
        STANDARD.decode(text).ok(),
        URL_SAFE.decode(text).ok(),
    ];
    found.into_iter().flatten().map(Zeroizing::new).collect()
}

/// An address, a hash with `0x`, or a number.
fn is_public(run: &str) -> bool {
    let is_base58_address = (32..=44).contains(&run.len()) && is_base58(run);
    is_hash(run) || is_base58_address || run.bytes().all(|b| b.is_ascii_digit())
}

/// 32 bytes in hex or in base58.
fn has_length_of_key(run: &str) -> bool {
    let is_hex = run.len() > HEX_KEY_CHARACTERS && is_hash(run);
    is_hex || ((32..=44).contains(&run.len()) && is_base58(run))
}

/// Up to 32 bytes in hex, with `0x`: addresses, selectors and hashes.
fn is_hash(run: &str) -> bool {
    run.strip_prefix("0x").is_some_and(|digits| {
        digits.len() <= HEX_KEY_CHARACTERS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_signature(run: &str) -> bool {
    PAIR_CHARACTERS.contains(&run.len()) && is_base58(run)
}

fn is_base58(run: &str) -> bool {
    run.bytes()
        .all(|b| b.is_ascii_alphanumeric() && !matches!(b, b'0' | b'O' | b'I' | b'l'))
        && !run.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a run is no word. Short ones change between small letters, capitals and digits as often as random text does.
fn is_random(run: &str) -> bool {
    if run.len() >= SHORTEST_RUN {
        return !is_name(run);
    }
    let class = |byte: &u8| match byte {
        b'a'..=b'z' => Some(0),
        b'A'..=b'Z' => Some(1),
        b'0'..=b'9' => Some(2),
        _ => None,
    };
    let classes: Vec<i32> = run.as_bytes().iter().filter_map(class).collect();
    let changes = classes
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a != b))
        .count();
    run.len() >= 3 && changes.saturating_mul(3) >= run.len()
}
