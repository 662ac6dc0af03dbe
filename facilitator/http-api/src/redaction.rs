//! Removes URLs and possible secrets from text that callers receive, and limits it to [`MAX_CHARACTERS`]. Sellers copy such
//! text into response headers that buyers read.
//!
//! Transaction hashes, revert data and names of contract errors are useful in a message and stay, although they are as
//! long as a key. The process's own private keys are removed by value, in every encoding: [`hide_keys`].

use sha2::{Digest as _, Sha256};

use base::key_digests::{HEX_KEY_CHARACTERS, KeyDigests, PAIR_CHARACTERS};

/// Longest message, in characters.
pub(super) const MAX_CHARACTERS: usize = 500;
/// A run of at least this many letters and digits counts as a secret, unless it is clearly something else. A key in hex has
/// 64 characters; addresses have up to 44.
const SECRET_RUN: usize = 60;
/// Most consecutive lower-case letters in the name of a contract error.
const LONGEST_WORD: usize = 24;
const REMOVED: &str = "[removed]";

/// Returns the text without URLs and secrets, cut to [`MAX_CHARACTERS`].
#[must_use]
pub fn redact(text: &str) -> String {
    // Control characters are removed first: they could split a URL or a key.
    let text: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect();
    // The rest of a hash that was cut in two is no longer a hash, so the text is checked again.
    cut(&without_secrets(&cut(&without_secrets(&text))))
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_CHARACTERS).collect()
}

fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, word) in text.split(' ').enumerate() {
        if n > 0 {
            out.push(' ');
        }
        // A URL may follow a bracket or quote, so the whole word is removed.
        if word.contains("://") {
            out.push_str(REMOVED);
        } else {
            out.push_str(&replace_runs(word, |run| {
                run.len() >= SECRET_RUN && !is_hex_data(run) && !is_signature(run) && !is_name(run)
            }));
        }
    }
    out
}

/// Replaces every run of letters and digits for which `is_secret` holds.
fn replace_runs(text: &str, is_secret: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        out.push_str(if is_secret(run) { REMOVED } else { run });
        let next = after
            .find(|c: char| c.is_ascii_alphanumeric())
            .unwrap_or(after.len());
        let (between, after) = after.split_at(next);
        out.push_str(between);
        rest = after;
    }
    out
}

/// A transaction hash, a storage word or revert data as EVM tools write them. Most people paste keys without the prefix, so
/// hex without it counts as a secret.
fn is_hex_data(run: &str) -> bool {
    run.strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A Solana signature: 64 bytes in base58. A run of hex digits is not one.
fn is_signature(run: &str) -> bool {
    PAIR_CHARACTERS.contains(&run.len())
        && run.bytes().all(is_base58)
        && !run.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_base58(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() && !matches!(byte, b'0' | b'O' | b'I' | b'l')
}

/// The name of a contract error, such as `InvalidExactPayloadAuthorizationValidBefore`: words, and hardly any digits. In
/// random text every second character is a capital or a digit.
#[must_use]
pub fn is_name(run: &str) -> bool {
    let count = |is: fn(&u8) -> bool| run.bytes().filter(is).count();
    let digits = count(u8::is_ascii_digit);
    let capitals = count(u8::is_ascii_uppercase);
    let longest_word = run
        .split(|c: char| !c.is_ascii_lowercase())
        .map(str::len)
        .max()
        .unwrap_or(0);
    run.starts_with(|c: char| c.is_ascii_alphabetic())
        && digits <= run.len() / 10
        && capitals.saturating_add(digits) <= run.len() / 4
        && longest_word <= LONGEST_WORD
}

/// Removes the process's private keys from a complete body, in every encoding. No key should ever get there: custody gives
/// them to no other module.
#[must_use]
pub fn hide_keys(body: String, keys: &KeyDigests) -> String {
    let is_key = |text: &str| keys.contains(&Sha256::digest(text).into());
    let holds_key = |run: &str| {
        let hex = run.to_ascii_lowercase();
        let hex = hex.as_bytes().windows(HEX_KEY_CHARACTERS);
        let mut hex = hex.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let in_hex = hex.any(|digits| std::str::from_utf8(digits).is_ok_and(is_key));
        in_hex || (PAIR_CHARACTERS.contains(&run.len()) && is_key(run))
    };
    if keys.is_empty() {
        return body;
    }
    replace_runs(&body, |run| run.len() >= HEX_KEY_CHARACTERS && holds_key(run))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "0x88df016429689c079f3b2f6ad39fa052532c56795b733da78a91ebe6a713944b";
    const SIGNATURE: &str =
        "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW";

    #[test]
    fn t16_urls_and_secrets_are_removed_and_addresses_stay() {
        let key = "ab".repeat(32);
        // The seed of RFC 8032's first test in other spellings of a key, and API keys as providers make them.
        let others = [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "9D61B19DEFFD5A60BA844AF492EC2CC44449C5697B326919703BAC031CAE7F60",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6Ikpv",
            "mzxw6ytboi4gk5dfon2gs3thmzxw6ytboi4gk5dfon2gs3thmzxw6ytboi4gk5df",
        ];
        for other in others {
            assert_eq!(redact(&format!("key={other};")), "key=[removed];", "{other}");
        }
        let text = format!(
            "POST https://u:p@rpc.example/v2/KEY?x=1 (via <wss://a/b>) said x{key},{key} for \
             0x036CbD53842c5426634e7929541eC2318f3dCF7e"
        );
        assert_eq!(
            redact(&text),
            "POST [removed] (via [removed] said [removed],[removed] for 0x036CbD53842c5426634e7929541eC2318f3dCF7e"
        );
    }

    #[test]
    fn hashes_revert_data_and_error_names_stay() {
        for text in [
            HASH,
            SIGNATURE,
            &HASH.to_ascii_uppercase().replacen("0X", "0x", 1),
            &format!("execution reverted: 0xe450d38c{}", "0".repeat(192)),
            "InvalidExactEip3009PayloadAuthorizationValidBeforeIsBeforeValidAfter(uint256)",
            "ERC2612InvalidSignerForPermitCollectorOperatorAuthorizationExpired",
            &format!("the transaction {HASH} reverted; ({SIGNATURE}), \"{HASH}\""),
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn t16_own_keys_are_removed_in_every_encoding() {
        // RFC 8032, test 1: the seed and its public key.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let mut pair = [0; 64];
        hex::decode_to_slice(format!("{seed}{public}"), &mut pair).unwrap();
        let mut keys = KeyDigests::default();
        keys.add_hex(&[0xab; 32]);
        keys.add_hex(pair.first_chunk().unwrap());
        keys.add_pair(&pair);
        let secrets = ["ab".repeat(32), seed.to_owned()];
        // As Solana wallets export it: seed and public key in base58.
        let pair = "49W385L4rePHy6PAaQUovbD2aacgN4HsKXSMeUzRg4fmwXszN91JuMFrQRj3vMDpZuRF3ZknQBuRBoWQJEfXstMw";
        let mut spellings = vec![pair.to_owned()];
        for text in &secrets {
            spellings.extend([
                text.clone(),
                format!("0x{text}"),
                text.to_ascii_uppercase(),
                format!("0x82b42900{text}00"),
                format!("0x8{text}"),
            ]);
        }
        for spelling in spellings {
            let body = format!("{{\"errorMessage\":\"at {spelling}, {HASH}\"}}");
            let hidden = hide_keys(body, &keys);
            assert_eq!(
                hidden,
                format!("{{\"errorMessage\":\"at [removed], {HASH}\"}}"),
                "{spelling}"
            );
        }
        let body = format!("{HASH} {SIGNATURE} {}", "cd".repeat(400));
        assert_eq!(hide_keys(body.clone(), &keys), body);
    }

    proptest! {
        #[test]
        fn t16_no_text_is_too_long_or_keeps_a_url(text in "\\PC{0,700}", tail in "(://|[0-9a-f]{64}|\n)?") {
            let redacted = redact(&format!("{text}{tail}"));
            prop_assert!(redacted.chars().count() <= MAX_CHARACTERS);
            prop_assert!(!redacted.contains("://") && !redacted.contains('\n'));
            prop_assert_eq!(redact(&redacted), redacted);
        }

        #[test]
        fn t16_random_keys_do_not_get_through(
            key in prop_oneof!["[0-9a-f]{64}", "[0-9A-F]{64}", "[0-9a-f]{128}", "[A-Za-z0-9]{60,84}", "[a-z2-7]{64}"],
            before in "([ -/:-@]|\\[|z)?",
        ) {
            let redacted = redact(&format!("{before}{key}"));
            prop_assert!(!redacted.contains(key.get(..20).unwrap()), "{redacted}");
        }

        #[test]
        fn cut_text_stays_redacted(words in prop::collection::vec(prop_oneof![
            Just(HASH.to_owned()), Just(SIGNATURE.to_owned()), "[0-9a-f]{64}", "[a-z]{1,9}",
        ], 0..12)) {
            let redacted = redact(&words.join(" "));
            prop_assert_eq!(redact(&redacted), redacted);
        }
    }
}
