//! Text that goes out to callers: at most [`MAX_CHARACTERS`], without addresses of services and without anything that
//! could be a key. Sellers put it into response headers that buyers read.

/// Longest message, in characters.
pub(super) const MAX_CHARACTERS: usize = 500;
/// Letters and digits in one run from which on they count as a secret: a key in hex has 64; addresses have up to 44.
const SECRET_RUN: usize = 60;
const REMOVED: &str = "[removed]";

/// The text without URLs and secrets, cut.
pub(super) fn clean(text: &str) -> String {
    // Control characters go first: they could split a URL or a key.
    let text: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect();
    let mut out = String::with_capacity(text.len());
    for (n, word) in text.split(' ').enumerate() {
        if n > 0 {
            out.push(' ');
        }
        // A URL may hide behind a bracket or quote, so its whole word goes.
        if word.contains("://") {
            out.push_str(REMOVED);
        } else {
            push_without_secrets(&mut out, word);
        }
    }
    out.chars().take(MAX_CHARACTERS).collect()
}

fn push_without_secrets(out: &mut String, word: &str) {
    let mut run = String::new();
    let flush = |run: &mut String, out: &mut String| {
        out.push_str(if run.len() >= SECRET_RUN {
            REMOVED
        } else {
            run.as_str()
        });
        run.clear();
    };
    for c in word.chars() {
        if c.is_ascii_alphanumeric() {
            run.push(c);
        } else {
            flush(&mut run, out);
            out.push(c);
        }
    }
    flush(&mut run, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn t16_urls_and_secrets_are_removed_and_addresses_stay() {
        let key = "ab".repeat(32);
        let text = format!(
            "POST https://u:p@rpc.example/v2/KEY?x=1 (via <wss://a/b>) said 0x{key},{key} for \
             0x036CbD53842c5426634e7929541eC2318f3dCF7e"
        );
        assert_eq!(
            clean(&text),
            "POST [removed] (via [removed] said [removed],[removed] for 0x036CbD53842c5426634e7929541eC2318f3dCF7e"
        );
    }

    proptest! {
        #[test]
        fn t16_no_text_is_too_long_or_keeps_a_url(text in "\\PC{0,700}", tail in "(://|[0-9a-f]{64}|\n)?") {
            let cleaned = clean(&format!("{text}{tail}"));
            prop_assert!(cleaned.chars().count() <= MAX_CHARACTERS);
            prop_assert!(!cleaned.contains("://") && !cleaned.contains('\n'));
            prop_assert_eq!(clean(&cleaned), cleaned);
        }
    }
}
