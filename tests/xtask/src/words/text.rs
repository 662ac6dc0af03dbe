//! Prose of a file: what a person reads in it, without code, with the line of each position.

/// Texts of a file, each after the other. Lines of one paragraph are joined by a space, so that a phrase may go over lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Prose {
    pub text: String,
    /// Where in `text` something of a line starts, in order.
    starts: Vec<(usize, usize)>,
    /// A code span of this paragraph started on an earlier line.
    in_span: bool,
}

/// Stands for code in a text.
const CODE: &str = "\u{a4}";
/// Markdown between these is generated from strings of Rust sources.
const GENERATED: (&str, &str) = ("<!-- settings -->", "<!-- /settings -->");

impl Prose {
    /// The line, from 1, of a position in the text.
    pub fn line_at(&self, position: usize) -> usize {
        let after = self.starts.partition_point(|(start, _)| *start <= position);
        after
            .checked_sub(1)
            .and_then(|index| self.starts.get(index))
            .map_or(1, |(_, line)| *line)
    }

    fn push(&mut self, line: usize, text: &str) {
        self.starts.push((self.text.len(), line));
        let (kept, in_span) = without_code(text, self.in_span);
        self.text.push_str(&kept);
        self.in_span = in_span;
    }

    fn push_line(&mut self, line: usize, text: &str) {
        self.push(line, text.trim());
        self.text.push(' ');
    }

    fn end_paragraph(&mut self) {
        self.in_span = false;
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Markdown without code blocks, code spans, link targets and generated tables.
    pub fn of_markdown(source: &str) -> Prose {
        let mut prose = Prose::default();
        let (mut in_code, mut in_generated) = (false, false);
        for (index, line) in source.lines().enumerate() {
            let line = line.trim_start_matches([' ', '>']);
            if line.starts_with("```") {
                in_code = !in_code;
                prose.end_paragraph();
            } else if line.starts_with(GENERATED.0) || line.starts_with(GENERATED.1) {
                in_generated = line.starts_with(GENERATED.0);
            } else if line.trim().is_empty() {
                prose.end_paragraph();
            } else if !in_code && !in_generated {
                prose.push_line(index + 1, line);
            }
        }
        prose
    }

    /// Comments of Rust, and string literals of more than one word: messages, not names.
    pub fn of_rust(source: &str) -> Prose {
        Prose::of_code(source, true)
    }

    /// The same of C, Solidity and JavaScript.
    pub fn of_curly(source: &str) -> Prose {
        Prose::of_code(source, false)
    }

    /// Comments of TOML, and strings of more than one word.
    pub fn of_toml(source: &str) -> Prose {
        let mut prose = Prose::default();
        for (index, line) in source.lines().enumerate() {
            let mut rest = line;
            while let Some(at) = rest.find(['#', '"', '\'']) {
                let (_, from) = rest.split_at(at);
                let mut cursor = Cursor { rest: from, line: 1 };
                if from.starts_with('#') {
                    prose.push_line(index + 1, from.trim_start_matches('#'));
                    rest = "";
                } else {
                    let quote = if from.starts_with('"') { '"' } else { '\'' };
                    prose.literal(index + 1, cursor.string(quote));
                    rest = cursor.rest;
                }
            }
            if !line.trim_start().starts_with('#') {
                prose.end_paragraph();
            }
        }
        prose
    }

    fn of_code(source: &str, is_rust: bool) -> Prose {
        let mut prose = Prose::default();
        let mut cursor = Cursor {
            rest: source,
            line: 1,
        };
        // The line of the last line comment: a comment on the next line continues it.
        let mut last_comment = None;
        while let Some(next) = cursor.rest.chars().next() {
            let line = cursor.line;
            if cursor.rest.starts_with("//") {
                let comment = cursor.take_until("\n");
                if last_comment != Some(line.saturating_sub(1)) {
                    prose.end_paragraph();
                }
                prose.push_line(line, comment.trim_start_matches(['/', '!']));
                last_comment = Some(line);
            } else if cursor.rest.starts_with("/*") {
                prose.end_paragraph();
                for (index, text) in cursor.block_comment().lines().enumerate() {
                    prose.push_line(line + index, text.trim_start_matches([' ', '/', '*', '!']));
                }
            } else if let Some(hashes) = cursor.raw_string().filter(|_| is_rust) {
                cursor.take_until("\"");
                cursor.take(1);
                let end = format!("\"{}", "#".repeat(hashes));
                let text = cursor.take_until(&end);
                cursor.take(end.len());
                prose.literal(line, text);
            } else if next == '"' || (next == '`' && !is_rust) {
                let text = cursor.string(next);
                prose.literal(line, text);
            } else if next == '\'' {
                cursor.character_or_lifetime();
            } else if next.is_alphanumeric() || next == '_' {
                // A whole name, so that the `r` of `for"` starts no raw string.
                let name = cursor.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                cursor.take(name.unwrap_or(cursor.rest.len()));
            } else {
                cursor.take(next.len_utf8());
            }
        }
        prose
    }

    fn literal(&mut self, line: usize, text: &str) {
        if !text.trim().contains(' ') {
            return;
        }
        self.end_paragraph();
        for (index, part) in text.lines().enumerate() {
            let part = part.trim_start();
            // A backslash at the end of a line joins it with the next one.
            self.push(line + index, part.strip_suffix('\\').unwrap_or(part));
            if !part.ends_with('\\') {
                self.text.push(' ');
            }
        }
        self.end_paragraph();
    }
}

/// Replaces code spans and drops the targets of links. `in_span`: the text starts inside of a span; so does what follows when
/// the second result is true.
fn without_code(text: &str, mut in_span: bool) -> (String, bool) {
    let mut kept = String::with_capacity(text.len());
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            in_span = !in_span;
        }
        if in_span {
            kept.push_str(CODE);
            continue;
        }
        let mut rest = part;
        while let Some((before, target)) = rest.split_once("](") {
            kept.push_str(before);
            kept.push(']');
            rest = target.split_once(')').map_or("", |(_, after)| after);
        }
        kept.push_str(rest);
    }
    (kept, in_span)
}

/// The rest of a source, and its line.
struct Cursor<'s> {
    rest: &'s str,
    line: usize,
}

impl<'s> Cursor<'s> {
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn take_until(&mut self, end: &str) -> &'s str {
        let at = self.rest.find(end).unwrap_or(self.rest.len());
        self.take(at)
    }

    /// Block comments nest.
    fn block_comment(&mut self) -> &'s str {
        let mut depth = 0_usize;
        let mut at = 0;
        while let Some(rest) = self.rest.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with("/*") {
                depth += 1;
                at += 2;
            } else if rest.starts_with("*/") {
                depth = depth.saturating_sub(1);
                at += 2;
                if depth == 0 {
                    break;
                }
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        self.take(at)
    }

    /// The number of `#` when a raw string starts here.
    fn raw_string(&self) -> Option<usize> {
        let rest = ["r", "br", "cr"]
            .iter()
            .find_map(|prefix| self.rest.strip_prefix(prefix))?;
        let hashes = rest.chars().take_while(|c| *c == '#').count();
        rest.get(hashes..)?.starts_with('"').then_some(hashes)
    }

    /// A string with escapes, without its quotes.
    fn string(&mut self, quote: char) -> &'s str {
        self.take(1);
        let mut escaped = false;
        let end = self.rest.char_indices().find(|(_, c)| {
            let is_end = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            is_end
        });
        let text = self.take(end.map_or(self.rest.len(), |(at, _)| at));
        self.take(1);
        text
    }

    fn character_or_lifetime(&mut self) {
        self.take(1);
        let mut chars = self.rest.char_indices();
        match (chars.next(), chars.next()) {
            (Some((_, '\\')), Some(_)) => {
                // The escaped character may be a quote.
                self.take(2);
                self.take_until("'");
                self.take(1);
            }
            (Some(_), Some((at, '\''))) => {
                self.take(at + 1);
            }
            // A lifetime: its name follows.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(source: &str) -> Vec<String> {
        let text = Prose::of_rust(source).text;
        text.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn rust_gives_comments_and_messages() {
        let source = r##"
//! One
//! page.

/// Has `code` and
/// [a link](target).
fn name<'a>(c: char) -> bool {
    let quotes = ['"', '\'', '\\']; // after quotes
    /* a block /* in a block */ ends */
    let one = "name";
    let raw = r#"a "raw" text"#;
    for"not raw, a message";
    let escaped = "a \"quoted\" text \
                   over lines";
}
"##;
        assert_eq!(
            rust(source),
            [
                "One page.",
                "Has \u{a4} and [a link].",
                "after quotes",
                "a block /* in a block */ ends */",
                "a \"raw\" text",
                "not raw, a message",
                "a \\\"quoted\\\" text over lines",
            ]
        );
    }

    #[test]
    fn c_solidity_and_javascript_give_comments_and_messages() {
        let source = "/* one\n * two */\nint a; // three\nlog(\"four five\", `six seven`, \"name\");\n";
        let text = Prose::of_curly(source).text;
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["one two */", "three", "four five", "six seven"]);
    }

    #[test]
    fn toml_gives_comments_and_descriptions() {
        let source = "# one\n# two\nname = \"name\" # three\ndescription = \"a # in text\"\n";
        let text = Prose::of_toml(source).text;
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["one two three", "a # in text"]);
    }

    #[test]
    fn positions_have_their_lines() {
        let prose = Prose::of_rust("// one\n// two\n\nlet a = \"three \\\n  four\";\n");
        let line = |word: &str| prose.line_at(prose.text.find(word).expect(word));
        assert_eq!(
            [line("one"), line("two"), line("three"), line("four")],
            [1, 2, 4, 5]
        );
    }

    #[test]
    fn markdown_has_no_code_and_no_generated_table() {
        let source = "# Title\nA `code` and `more\ncode` and\n> a quote.\n\n```sh\ncommand\n```\n- [link](target.md) end\n<!-- settings -->\n| \
                      table |\n<!-- /settings -->\nlast\n";
        let prose = Prose::of_markdown(source);
        let lines: Vec<_> = prose.text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "# Title A \u{a4} and \u{a4} \u{a4} and a quote.",
                "- [link] end last"
            ]
        );
    }
}
