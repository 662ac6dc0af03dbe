//! Text of payers, sellers and nodes, made harmless for terminals and spreadsheets.

/// The text without characters that a terminal acts on or that change the order of what is shown.
pub(super) fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) {
            line.extend(character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        // Marks, embeddings, overrides and isolates of writing directions, and separators of lines.
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// JSON in ASCII only.
pub(super) fn json(value: &serde_json::Value) -> String {
    let mut text = String::new();
    let mut units = [0; 2];
    for character in value.to_string().chars() {
        if character.is_ascii() && character != '\u{7f}' {
            text.push(character);
        } else {
            // Only strings contain such characters.
            for unit in character.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// With these a spreadsheet's formula begins. Some programs read the wide forms in the same way.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A cell of a CSV file (RFC 4180) that no spreadsheet reads as a formula. A plain number stays one.
pub(super) fn cell(text: &str) -> String {
    let text = line(text);
    let digits = text.strip_prefix('-').unwrap_or(&text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let text = if text.trim_start().starts_with(FORMULA) && !is_number {
        format!("'{text}")
    } else {
        text
    };
    if text.contains([',', '"', ';', ' ', '\'']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(line("0xAb é USD₮0"), "0xAb é USD₮0");
        assert_eq!(line("a\x1b[2Jb\r\nc\u{9b}d"), "a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{9b}d");
        assert_eq!(line("x\u{202e}y\u{2066}"), "x\\u{202e}y\\u{2066}");
    }

    #[test]
    fn json_is_ascii_and_means_the_same() {
        let value = serde_json::json!({"a\u{7f}": "é\u{202e}\u{9b}\n😀\"\\"});
        let text = json(&value);
        assert!(text.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_cell_is_never_a_formula() {
        for (text, expected) in [
            ("0xab", "0xab"),
            ("", ""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "-1"),
            ("120", "120"),
            ("-1-1", "\"'-1-1\""),
            ("-", "\"'-\""),
            (" =1+1", "\"' =1+1\""),
            ("＝1", "\"'＝1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("\t=1", "\\u{9}=1"),
            ("a\r\n=1", "a\\u{d}\\u{a}=1"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
