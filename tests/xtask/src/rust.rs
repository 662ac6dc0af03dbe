//! Rust sources as tokens: the paths that a text names, and its lines outside tests.

use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`.
    Colons,
    Sign(char),
    /// A literal or a lifetime.
    Other,
}

/// A token and the line on which it starts, counted from 0.
#[derive(Debug)]
struct At {
    token: Token,
    line: usize,
}

/// A path that a text names, from the crate's root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub path: Vec<String>,
    /// The name that a `use` declaration gives it: `*` for all names of a module. `None` outside `use`.
    pub import: Option<String>,
    /// A `pub use`.
    pub re_export: bool,
    /// Inside an inline `mod`.
    pub nested: bool,
}

/// What one file names, without its tests.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub paths: Vec<Named>,
    /// Modules that the file declares at its top level.
    pub modules: BTreeSet<String>,
    /// Macros that it defines.
    pub macros: BTreeSet<String>,
}

/// Every path of a text outside comments and strings that starts at `crate`, `super`, `self` or a module declared in the
/// same text, wherever it stands. `module` is the path of the file's module.
pub(crate) fn names(text: &str, module: &[&str]) -> Names {
    let tokens = outside_tests(&tokens(text)).0;
    let mut names = Names::default();
    let declared = declared(&tokens);
    // The modules around the current token, and the depth of braces inside each.
    let mut inside: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
    let (mut depth, mut opened) = (0_usize, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let nested = !opened.is_empty();
        match &tokens[at] {
            Token::Word(word) if word == "mod" => {
                if let Some(Token::Word(name)) = tokens.get(at + 1) {
                    if !nested {
                        names.modules.insert(name.clone());
                    }
                    if tokens.get(at + 2) == Some(&Token::Sign('{')) {
                        depth += 1;
                        opened.push(depth);
                        inside.push(name.clone());
                        at += 2;
                    }
                }
            }
            Token::Word(word) if word == "macro_rules" => {
                if let Some(Token::Word(name)) = tokens.get(at + 2) {
                    names.macros.insert(name.clone());
                }
            }
            Token::Word(word) if word == "use" && starts_item(&tokens, at) => {
                let re_export = at > 0 && is_visibility(&tokens, at - 1);
                let mut leaves = Vec::new();
                let end = tree(&tokens, at + 1, &[], &mut leaves);
                for (path, name) in leaves {
                    if let Some(path) = absolute(&path, &inside, &declared) {
                        names.paths.push(Named {
                            path,
                            import: Some(name),
                            re_export,
                            nested,
                        });
                    }
                }
                at = end;
                continue;
            }
            Token::Word(_) if starts_path(&tokens, at) => {
                let mut path = Vec::new();
                while let Some(Token::Word(part)) = tokens.get(at) {
                    path.push(part.clone());
                    if tokens.get(at + 1) != Some(&Token::Colons) {
                        break;
                    }
                    at += 2;
                }
                // A path of a generic call or a glob ends with `::`.
                if !matches!(tokens.get(at), Some(Token::Word(_))) {
                    at -= 1;
                }
                if let Some(path) = absolute(&path, &inside, &declared) {
                    names.paths.push(Named {
                        path,
                        import: None,
                        re_export: false,
                        nested,
                    });
                }
            }
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => {
                if opened.last() == Some(&depth) {
                    opened.pop();
                    inside.pop();
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
        at += 1;
    }
    names
}

/// The lines of a text outside tests, with their numbers from 1, without empty lines at the end.
pub(crate) fn lines_outside_tests(text: &str) -> Vec<(usize, &str)> {
    let tests = outside_tests(&tokens(text)).1;
    let mut lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter(|(line, _)| !tests.iter().any(|(from, to)| from <= line && line <= to))
        .map(|(line, text)| (line + 1, text))
        .collect();
    while lines.last().is_some_and(|(_, text)| text.trim().is_empty()) {
        lines.pop();
    }
    lines
}

/// Modules that a text declares, at any depth.
fn declared(tokens: &[Token]) -> BTreeSet<String> {
    tokens
        .windows(2)
        .filter_map(|pair| match pair {
            [Token::Word(word), Token::Word(name)] if word == "mod" => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// A path from the crate's root. `None`: it starts at another crate or a local name.
fn absolute(path: &[String], inside: &[String], declared: &BTreeSet<String>) -> Option<Vec<String>> {
    let mut from = inside.to_vec();
    let first = path.first()?;
    let mut rest = path;
    match first.as_str() {
        "crate" => {
            from.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {}
        name if declared.contains(name) => {}
        _ => return None,
    }
    while let Some(("super", after)) = rest.split_first().map(|(first, after)| (first.as_str(), after)) {
        from.pop()?;
        rest = after;
    }
    from.extend(rest.iter().cloned());
    Some(from)
}

/// A word that starts a path: `::` follows it and nothing of the path precedes it. The path of a visibility is none.
fn starts_path(tokens: &[Token], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| &tokens[at]);
    let of_visibility =
        matches!(before(1), Some(Token::Word(word)) if word == "in") && before(2) == Some(&Token::Sign('('));
    tokens.get(at + 1) == Some(&Token::Colons)
        && !matches!(before(1), Some(Token::Colons | Token::Sign('.')))
        && !of_visibility
}

/// `use` as a declaration; `use<'a>` in a bound is none.
fn starts_item(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1) != Some(&Token::Sign('<'))
}

/// Whether a visibility ends at this token: `pub` or `pub(…)`.
fn is_visibility(tokens: &[Token], at: usize) -> bool {
    let is_pub = |token: &Token| matches!(token, Token::Word(word) if word == "pub");
    if tokens[at] != Token::Sign(')') {
        return is_pub(&tokens[at]);
    }
    let open = tokens[..at].iter().rposition(|token| *token == Token::Sign('('));
    open.is_some_and(|open| open > 0 && is_pub(&tokens[open - 1]))
}

/// The leaves of a `use` tree from `at` on: path and name of each. Returns the position after the tree.
fn tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    leaves: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) if word == "as" => {
                if let (Some(Token::Word(name)), Some(leaf)) = (tokens.get(at + 1), leaves.last_mut()) {
                    leaf.1.clone_from(name);
                }
                return at + 2;
            }
            Some(Token::Word(word)) => {
                // `a::{self}` is `a`.
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
                at += 1;
                if tokens.get(at) != Some(&Token::Colons) {
                    let name = path.last().cloned().unwrap_or_default();
                    leaves.push((path.clone(), name));
                    if !matches!(tokens.get(at), Some(Token::Word(word)) if word == "as") {
                        return at;
                    }
                }
            }
            Some(Token::Colons) => {
                // `use ::name` is another crate.
                if path.is_empty() {
                    path.push(String::new());
                }
                at += 1;
            }
            Some(Token::Sign('*')) => {
                leaves.push((path, "*".to_owned()));
                return at + 1;
            }
            Some(Token::Sign('{')) => {
                at += 1;
                while at < tokens.len() && tokens[at] != Token::Sign('}') {
                    let next = tree(tokens, at, &path, leaves);
                    // A comma, or a token that no tree holds.
                    at = if next == at || tokens.get(next) == Some(&Token::Sign(',')) {
                        next + 1
                    } else {
                        next
                    };
                }
                return at + 1;
            }
            _ => return at,
        }
    }
}

/// The tokens without the items that `#[cfg(test)]` or `#[cfg(all(test, …))]` marks, and the first and last line of each
/// such item.
fn outside_tests(tokens: &[At]) -> (Vec<Token>, Vec<(usize, usize)>) {
    let (mut kept, mut tests, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        if let Some(end) = test_item(tokens, at) {
            tests.push((tokens[at].line, tokens[end - 1].line));
            at = end;
        } else {
            kept.push(tokens[at].token.clone());
            at += 1;
        }
    }
    (kept, tests)
}

/// The position after a test item that starts here.
fn test_item(tokens: &[At], start: usize) -> Option<usize> {
    let word = |at: usize| match tokens.get(at).map(|at| &at.token) {
        Some(Token::Word(word)) => word.as_str(),
        _ => "",
    };
    let sign = |at: usize| match tokens.get(at).map(|at| &at.token) {
        Some(Token::Sign(sign)) => *sign,
        _ => ' ',
    };
    let is_cfg = sign(start) == '#' && sign(start + 1) == '[' && word(start + 2) == "cfg";
    let is_test = is_cfg
        && (word(start + 4) == "test" && sign(start + 5) == ')'
            || word(start + 4) == "all" && word(start + 6) == "test");
    if !is_test {
        return None;
    }
    let mut at = start;
    while sign(at) == '#' {
        at = after_group(tokens, at + 1);
    }
    if word(at) == "pub" {
        at += 1;
        if sign(at) == '(' {
            at = after_group(tokens, at);
        }
    }
    // Fields and arms stay.
    if !matches!(
        word(at),
        "mod"
            | "fn"
            | "async"
            | "unsafe"
            | "use"
            | "impl"
            | "struct"
            | "enum"
            | "trait"
            | "type"
            | "const"
            | "static"
            | "let"
            | "extern"
            | "macro_rules"
    ) {
        return None;
    }
    let ends_with_brace = !matches!(word(at), "use" | "const" | "static" | "type" | "let")
        || word(at) == "const" && matches!(word(at + 1), "fn" | "async" | "unsafe");
    while at < tokens.len() {
        match sign(at) {
            ';' => return Some(at + 1),
            '{' if ends_with_brace => return Some(after_group(tokens, at)),
            '(' | '[' | '{' => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    Some(at)
}

/// The position after the group that opens here.
fn after_group(tokens: &[At], open: usize) -> usize {
    let (mut depth, mut at) = (0_usize, open);
    while at < tokens.len() {
        match tokens[at].token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn tokens(text: &str) -> Vec<At> {
    let chars: Vec<char> = text.chars().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let (mut found, mut at, mut line) = (Vec::new(), 0, 0);
    while at < chars.len() {
        let start = at;
        let token = match chars[at] {
            c if c.is_whitespace() => {
                at += 1;
                None
            }
            '/' if get(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
                None
            }
            '/' if get(at + 1) == '*' => {
                at = after_comment(&chars, at);
                None
            }
            '"' => {
                at = after_string(&chars, at);
                Some(Token::Other)
            }
            '\'' => {
                // A character, or else a lifetime.
                if get(at + 1) == '\\' {
                    at += 3;
                    while at < chars.len() && chars[at] != '\'' {
                        at += 1;
                    }
                    at += 1;
                } else if get(at + 2) == '\'' {
                    at += 3;
                } else {
                    at += 1;
                    while is_word(get(at)) {
                        at += 1;
                    }
                }
                Some(Token::Other)
            }
            c if is_word(c) => {
                while is_word(get(at)) {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                let mut hashes = 0;
                while get(at + hashes) == '#' {
                    hashes += 1;
                }
                if matches!(word.as_str(), "r" | "br" | "cr") && get(at + hashes) == '"' {
                    at = after_raw_string(&chars, at + hashes, hashes);
                    Some(Token::Other)
                } else if matches!(word.as_str(), "b" | "c") && get(at) == '"' {
                    at = after_string(&chars, at);
                    Some(Token::Other)
                } else if word == "r" && hashes == 1 && is_word(get(at + 1)) {
                    // `r#name`: the name follows.
                    at += 1;
                    None
                } else if c.is_ascii_digit() {
                    Some(Token::Other)
                } else {
                    Some(Token::Word(word))
                }
            }
            ':' if get(at + 1) == ':' => {
                at += 2;
                Some(Token::Colons)
            }
            c => {
                at += 1;
                Some(Token::Sign(c))
            }
        };
        found.extend(token.map(|token| At { token, line }));
        let end = at.min(chars.len());
        line += chars[start..end].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// The position after a block comment, which can hold others.
fn after_comment(chars: &[char], open: usize) -> usize {
    let (mut depth, mut at) = (0_usize, open);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The position after the string whose first quote is here.
fn after_string(chars: &[char], open: usize) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The position after the raw string whose first quote is here.
fn after_raw_string(chars: &[char], open: usize, hashes: usize) -> usize {
    let mut at = open + 1;
    while at < chars.len() {
        let closing = chars[at + 1..].iter().take(hashes);
        if chars[at] == '"' && closing.len() == hashes && closing.clone().all(|c| *c == '#') {
            break;
        }
        at += 1;
    }
    at + 1 + hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str, module: &[&str]) -> Vec<String> {
        names(text, module)
            .paths
            .iter()
            .map(|named| named.path.join("::"))
            .collect()
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        for (text, expected) in [
            ("fn f(owner: &crate::x::Y) {}", "x::Y"),
            ("fn f() { crate::x::y(); }", "x::y"),
            ("fn f() { let a = super::y::<u8>(); }", "a::y"),
            ("fn f() { use super::super::x::Y; }", "x::Y"),
            ("mod inner { use super::super::super::x::Y; }", "x::Y"),
            (
                "mod inner { fn f(y: super::Y) {} } fn g(y: super::Z) {}",
                "a::b::Y a::Z",
            ),
            ("use crate::{x::Y, z::{self, W as V}, q::*};", "x::Y z z::W q"),
            ("mod child; fn f() { child::run() }", "a::b::child::run"),
            ("fn f() { self::g::<u8>(); crate::x::H {} }", "a::b::g x::H"),
            ("type A = <crate::x::T as super::U>::V;", "x::T a::U"),
            ("macro_rules! m { () => { $crate::x::y() } }", "x::y"),
            (
                "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' || crate::x::y('a') }",
                "x::y",
            ),
        ] {
            assert_eq!(paths(text, &["a", "b"]).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn comments_strings_visibilities_other_crates_and_tests_name_nothing() {
        for text in [
            "// crate::x::Y\n/* crate::x /* super::y */ crate::z */",
            "const A: &str = \"\\\" crate::x::Y\";",
            "const A: &str = r#\"\" crate::x::Y\"#; const B: &[u8] = br\"crate::x::Y\\\";",
            "pub(in crate::a) fn f() {} pub(in super::super) fn g() {}",
            "use std::x::Y; use ::child::X; fn f() { std::crate_::x::Y; }",
            "#[cfg(test)]\nmod tests { use crate::x::Y; }",
            "#[cfg(test)]\npub(crate) use crate::x::{Y, Z};",
            "#[cfg(all(test, unix))] #[allow(dead_code)] const fn f() { crate::x::y() }",
        ] {
            assert_eq!(paths(text, &["a", "b"]), [] as [String; 0], "{text}");
        }
    }

    #[test]
    fn code_after_tests_counts() {
        let text =
            "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn x() { \"}\"; }\n}\n\nfn b(x: crate::x::Y) {}\n";
        assert_eq!(paths(text, &["a"]), ["x::Y"]);
        assert_eq!(
            lines_outside_tests(text),
            [(1, "fn a() {}"), (2, ""), (7, ""), (8, "fn b(x: crate::x::Y) {}")]
        );
        assert_eq!(
            lines_outside_tests("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n").len(),
            1
        );
    }
}
