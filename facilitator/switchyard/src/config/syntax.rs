//! Errors of a text that is not TOML: where, the line itself, and what to write.
//!
//! The line may contain a secret that was pasted by mistake: parts that may be one are not shown.

use super::error::ConfigError;

/// Replaces a part that is not shown.
const HIDDEN: &str = "…";
/// Words with a digit in them are shown up to this length, in characters. The shortest API keys have 16.
const SHOWN_WITH_DIGITS: usize = 7;
/// Words without a digit are shown up to this length: longer than any key's name.
const SHOWN_WITHOUT_DIGITS: usize = 31;

/// Turns a syntax error into an error for the operator.
pub(super) fn config_error(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let what = error.message().trim();
    let (line, column, shown) = match error.span() {
        Some(span) => {
            let before = text.get(..span.start.min(text.len())).unwrap_or(text);
            let start = before.rfind('\n').map_or(0, |at| at + 1);
            let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
            let column = before.get(start..).unwrap_or_default().chars().count() + 1;
            let whole = text.get(start..).and_then(|rest| rest.lines().next());
            (line, column, whole.unwrap_or_default().trim())
        }
        None => (0, 0, ""),
    };
    let mut message = format!("this is not TOML ({what}); {}", hint(what, shown));
    if !shown.is_empty() {
        message.push_str(&format!("\n    {}", censored(shown)));
    }
    ConfigError {
        file: file.to_owned(),
        line,
        column,
        key: String::new(),
        message,
    }
}

/// What to write, derived from the parser's message and the line.
fn hint(what: &str, line: &str) -> &'static str {
    let is = |word: &str| what.contains(word);
    let value = line.split_once('=').map(|(_, value)| value.trim());
    if is("duplicate") {
        "write each key and each section once"
    } else if line.starts_with('[') && !line.contains(']') {
        "close the section's name: [section]"
    } else if value == Some("") {
        "write a value after the ="
    } else if value.is_some_and(|value| value.starts_with('"') && value.matches('"').count() % 2 == 1) {
        "close the text with \""
    } else if value.is_some_and(|value| value.starts_with('[') && !value.ends_with(']')) {
        "separate the list's members with commas and close it with ]"
    } else if value.is_some_and(|value| value.starts_with(|c: char| c.is_alphabetic() || c == '/')) {
        "write text in double quotes: key = \"text\""
    } else if line.starts_with('[') && line.contains(':') && !line.contains('"') {
        "write a name with a colon in quotes: [networks.\"eip155:8453\"]"
    } else if value.is_none() && !line.is_empty() {
        "write key = value, or [section]"
    } else {
        "write key = value, with text in double quotes"
    }
}

/// The line without parts that may be a secret: paths of URLs, and long words with digits.
fn censored(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("://") {
            out.push_str("://");
            out.push_str(HIDDEN);
            let end = after.find(['"', '\'', ',', ']', ' ']).unwrap_or(after.len());
            rest = after.get(end..).unwrap_or_default();
            continue;
        }
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '/' | '.');
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let most = if word.contains(|c: char| c.is_ascii_digit()) {
            SHOWN_WITH_DIGITS
        } else {
            SHOWN_WITHOUT_DIGITS
        };
        out.push_str(if word.chars().count() > most { HIDDEN } else { word });
        let mut characters = after.chars();
        // The character that ended the word. `://` is handled first.
        rest = if word.is_empty() || !after.starts_with("://") {
            out.extend(characters.next());
            characters.as_str()
        } else {
            after
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    fn first(text: &str) -> String {
        let (_, errors) = DeTable::parse_recoverable(text);
        config_error("c.toml", text, &errors[0]).to_string()
    }

    #[test]
    fn a_syntax_error_shows_the_line_and_what_to_write() {
        for (text, place, shown, hint) in [
            (
                "[server]\nlisten = \n",
                "c.toml:2:",
                "listen =",
                "write a value after the =",
            ),
            (
                "[log]\n\nlevel = info\n",
                "c.toml:3:9: ",
                "level = info",
                "double quotes",
            ),
            ("[server\nlegacy0 = true", "c.toml:1:", "[server", "[section]"),
            (
                "[log]\nlevel = \"info\n",
                "c.toml:2:",
                "level = \"info",
                "close the text",
            ),
            (
                "[log]\nlevel = \"a\"\nlevel = \"b\"\n",
                "c.toml:3:1: ",
                "level = \"b\"",
                "once",
            ),
            ("hello\n", "c.toml:1:", "hello", "key = value"),
        ] {
            let error = first(text);
            assert!(error.starts_with(place), "{error}");
            assert!(error.ends_with(&format!("\n    {shown}")), "{error}");
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn t105_a_line_that_is_shown_hides_what_may_be_a_secret() {
        let key = "abcdef3333333333333333333333333333333333333333333333333333333333";
        for (text, kept) in [
            (format!("[keys.hot]\nenv = {key}\n"), "env = …"),
            (
                format!("[a]\nrpc = [\"https://user:pw@node.example/v2/{key}\n"),
                "rpc = [\"https://…",
            ),
            (
                "[a]\nkey = 0b9c2d44-aaaa-bbbb-cccc-0123456789ab\n".to_owned(),
                "key = …",
            ),
        ] {
            let error = first(&text);
            let line = error.lines().last().unwrap().trim();
            assert_eq!(line, kept);
            for secret in ["3333", "pw@", "0b9c", "node"] {
                assert!(!error.contains(secret), "{error}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_a_line_stays_one(text in "(\\PC|\n|://|[\\[\\]=\"é]){0,80}") {
            let (_, errors) = DeTable::parse_recoverable(&text);
            for error in &errors {
                drop(config_error("c.toml", &text, error).to_string());
            }
            for line in text.lines() {
                assert!(!censored(line).contains('\n'));
            }
        }
    }
}
