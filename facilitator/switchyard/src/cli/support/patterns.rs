//! Parts of a text that are secrets because of what stands in front of them: URLs, and credentials after their names.

use super::scrub::REMOVED;

/// The text after these words is a credential.
const CREDENTIALS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "api_key",
    "api-key",
    "apikey",
    "access_token",
    "auth_token",
    "api_token",
    "private_key",
    "authorization",
    "x-payment",
];

/// The parts of a URL that may be secrets: user info, path and query.
pub(super) fn url_secrets(url: &str) -> Vec<String> {
    let Some((_, rest)) = url.split_once("://") else {
        return Vec::new();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let mut secrets: Vec<String> = Vec::new();
    if let Some((user_info, _)) = authority.rsplit_once('@') {
        secrets.push(user_info.to_owned());
        secrets.extend(user_info.split(':').skip(1).map(str::to_owned));
        secrets.extend(
            user_info
                .split(':')
                .take(1)
                .filter(|user| user.len() >= 8)
                .map(str::to_owned),
        );
    }
    // Shorter parts are names such as `v2` and `mainnet`.
    let parts = path.split(['/', '?', '&', '=', ';', '#']);
    // The end of `${NAME:-https://…}`.
    let parts = parts.map(|part| part.trim_end_matches('}'));
    secrets.extend(parts.filter(|part| part.len() >= 8).map(str::to_owned));
    secrets
}

/// Each URL becomes its scheme and its host.
pub(super) fn without_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let after = after.get(3..).unwrap_or_default();
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ',' | ')' | '`' | '\\');
        let end = after.find(ends).unwrap_or(after.len());
        let (url, remaining) = after.split_at(end);
        let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
        let (authority, path) = url.split_at(host_end);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        out.push_str("://");
        out.push_str(host);
        if path.len() > 1 {
            out.push('/');
            out.push_str(REMOVED);
        }
        rest = remaining;
    }
    out.push_str(rest);
    out
}

/// Removes what follows `Bearer`, `password=` and the like.
pub(super) fn without_credentials(line: &str) -> String {
    let mut out = line.to_owned();
    for scheme in ["bearer ", "basic "] {
        out = cut_after(&out, scheme, |_| true);
    }
    for name in CREDENTIALS {
        out = cut_after(&out, name, |rest| {
            rest.trim_start_matches(['"', '\'', '\\', ' '])
                .starts_with([':', '='])
        });
    }
    out
}

/// Replaces the word after each `name`, in any case, where `applies` to what follows it.
fn cut_after(line: &str, name: &str, applies: impl Fn(&str) -> bool) -> String {
    let lower = line.to_ascii_lowercase();
    let mut out = String::with_capacity(line.len());
    let mut from = 0;
    while let Some(found) = lower.get(from..).and_then(|rest| rest.find(name)) {
        let end = from.saturating_add(found).saturating_add(name.len());
        let Some((kept, rest)) = line.get(from..end).zip(line.get(end..)) else {
            break;
        };
        out.push_str(kept);
        from = end;
        if !applies(rest) {
            continue;
        }
        let is_separator = |c: char| matches!(c, '"' | '\'' | '\\' | ' ' | ':' | '=');
        let start = rest.find(|c| !is_separator(c)).unwrap_or(rest.len());
        let (separators, value) = rest.split_at(start);
        let length = value
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '}' | ')'))
            .unwrap_or(value.len());
        out.push_str(separators);
        if length > 0 && !value.starts_with(REMOVED) {
            out.push_str(REMOVED);
            from = end.saturating_add(start).saturating_add(length);
        } else {
            from = end.saturating_add(start);
        }
    }
    out.push_str(line.get(from..).unwrap_or_default());
    out
}
