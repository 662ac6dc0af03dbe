//! The configuration as a support bundle has it, and the secrets that it names. The document is read as TOML, not as a checked
//! configuration, so that both also work where it has errors.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::patterns::url_secrets;
use super::scrub::{REMOVED, Scrubber};
use crate::config::keys::{KEYS, SECTIONS};
use crate::config::{Environment, substitute};

/// The most bytes of a file with a secret.
const MAX_SECRET_FILE: u64 = 64 << 10;
/// Variables with such a word in their name hold secrets, whether or not the configuration names them.
const SECRET_VARIABLES: [&str; 6] = ["KEY", "SECRET", "PASS", "TOKEN", "CREDENTIAL", "HEADERS"];
const SHORTEST_VARIABLE: usize = 8;

/// How a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// As written.
    Plain,
    /// As written, also where it has 32 bytes in hex: digests of files, domains, public keys.
    Digest,
    /// Scheme and host only.
    Url,
    /// Not at all.
    Secret,
    /// Numbers, `true` and `false`, and addresses: what plugins and drivers define.
    Free,
}

fn class(section: &str, name: &str) -> Class {
    match (section, name) {
        ("tenants[]", "key_sha256") | ("operators[]", "token_sha256") | ("telemetry", "otlp_headers") => {
            Class::Secret
        }
        ("networks.*", "rpc")
        | ("journal", "postgres")
        | ("telemetry", "otlp_endpoint")
        | ("keys.*", "remote") => Class::Url,
        ("networks.*", "options") | ("plugin.*", "config") => Class::Free,
        ("plugin.*", "sha256" | "authorizers") | ("keys.*", "public_key") | ("plugins", "trusted_keys") => {
            Class::Digest
        }
        _ => Class::Plain,
    }
}

/// The configuration without secrets, in the form of TOML.
pub(super) fn config(root: &DeTable<'_>, scrubber: &Scrubber) -> String {
    let mut out = String::new();
    Shown {
        scrubber,
        out: &mut out,
    }
    .table("", "", root);
    out
}

struct Shown<'s> {
    scrubber: &'s Scrubber,
    out: &'s mut String,
}

impl Shown<'_> {
    /// `section`: as the table of keys names it. `path`: as it is shown.
    fn table(&mut self, section: &str, path: &str, table: &DeTable<'_>) {
        let mut tables = Vec::new();
        for (name, value) in table {
            let (name, value) = (name.get_ref().as_ref(), value.get_ref());
            let below = join(section, name);
            let shown = join(path, &self.name(name));
            match value {
                DeValue::Table(inner) if is_section(&below) => {
                    tables.push((below, format!("[{shown}]"), shown, inner))
                }
                DeValue::Table(inner) if section.is_empty() && is_section(&format!("{name}.*")) => {
                    for (own, inner) in inner {
                        if let DeValue::Table(inner) = inner.get_ref() {
                            let shown = join(&shown, &self.name(own.get_ref()));
                            tables.push((format!("{name}.*"), format!("[{shown}]"), shown, inner));
                        }
                    }
                }
                DeValue::Array(members) if section.is_empty() && is_section(&format!("{name}[]")) => {
                    for member in members {
                        if let DeValue::Table(inner) = member.get_ref() {
                            let heading = format!("[[{shown}]]");
                            tables.push((format!("{name}[]"), heading, shown.clone(), inner));
                        }
                    }
                }
                _ => {
                    let is_known = KEYS.iter().any(|key| key.section == section && key.name == name);
                    let text = if is_known {
                        self.value(value, class(section, name))
                    } else {
                        format!("{REMOVED:?} # not a key of this section")
                    };
                    self.out.push_str(&format!("{} = {text}\n", self.name(name)));
                }
            }
        }
        for (section, heading, path, inner) in tables {
            self.out.push_str(&format!("\n{heading}\n"));
            self.table(&section, &path, inner);
        }
    }

    /// A name of the document, where a secret may have been pasted, too.
    fn name(&self, name: &str) -> String {
        let shown = self.scrubber.value(name);
        let is_bare = !shown.is_empty()
            && shown
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if is_bare { shown } else { format!("{shown:?}") }
    }

    fn value(&self, value: &DeValue<'_>, class: Class) -> String {
        match value {
            DeValue::String(text) => format!("{:?}", self.text(text, class)),
            DeValue::Array(members) => {
                let members = members.iter().map(|member| self.value(member.get_ref(), class));
                format!("[{}]", members.collect::<Vec<_>>().join(", "))
            }
            DeValue::Table(members) => {
                let members = members.iter().map(|(name, member)| {
                    let name = name.get_ref();
                    // A node is written as a URL, or as a URL with a name.
                    let class = match class {
                        Class::Url if name != "url" => Class::Plain,
                        Class::Plain | Class::Digest | Class::Url | Class::Secret | Class::Free => class,
                    };
                    format!("{} = {}", self.name(name), self.value(member.get_ref(), class))
                });
                format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_)
                if class == Class::Secret =>
            {
                format!("{REMOVED:?}")
            }
            DeValue::Integer(number) => self.scrubber.value(&number.to_string()),
            DeValue::Float(number) => self.scrubber.value(&number.to_string()),
            DeValue::Boolean(is_true) => is_true.to_string(),
            DeValue::Datetime(time) => self.scrubber.value(&time.to_string()),
        }
    }

    fn text(&self, text: &str, class: Class) -> String {
        let text = without_defaults(text);
        let shown = match class {
            Class::Secret => REMOVED.to_owned(),
            Class::Free | Class::Url if is_variable(&text) => text,
            Class::Free if is_address(&text) => text,
            Class::Free => REMOVED.to_owned(),
            Class::Url if text.contains("://") || text.starts_with("unix:/") => text,
            Class::Url => REMOVED.to_owned(),
            Class::Digest => return self.scrubber.text(&text).trim_end().to_owned(),
            Class::Plain => text,
        };
        self.scrubber.value(&shown)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == name)
}

/// 20 bytes in hex.
fn is_address(text: &str) -> bool {
    text.strip_prefix("0x")
        .is_some_and(|digits| digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether the text is one variable and nothing else.
fn is_variable(text: &str) -> bool {
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| !inner.contains(['{', '}', '$']))
}

/// The text with `${NAME:-…}` in it instead of defaults, which may be secrets.
fn without_defaults(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(":-") {
        let end = after.find('}').unwrap_or(after.len());
        out.push_str(before);
        out.push_str(":-");
        if end > 0 {
            out.push_str(REMOVED);
        }
        rest = after.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Adds every secret that the document names: in itself, in variables and in files. `folder`: where relative paths start.
pub(super) fn hide_secrets(
    scrubber: &mut Scrubber,
    text: &str,
    root: &DeTable<'_>,
    folder: &Path,
    environment: Environment<'_>,
) {
    hide_urls(scrubber, text);
    let mut gather = Gather {
        scrubber,
        folder,
        environment,
    };
    gather.table("", root);
}

/// Adds the values of variables whose name says that they are secrets.
pub(super) fn hide_environment(scrubber: &mut Scrubber, variables: impl Iterator<Item = (String, String)>) {
    for (name, value) in variables {
        let is_secret = SECRET_VARIABLES
            .iter()
            .any(|word| name.to_uppercase().contains(word));
        if is_secret && value.len() >= SHORTEST_VARIABLE && !value.starts_with('/') {
            hide_value(scrubber, &value);
        }
    }
}

/// Adds the secret parts of each URL in the text.
fn hide_urls(scrubber: &mut Scrubber, text: &str) {
    for part in text.split(['"', '\'', ' ', '\n', '\t', ',']) {
        for secret in url_secrets(part) {
            hide_unless_variable(scrubber, &secret);
        }
    }
}

fn hide_value(scrubber: &mut Scrubber, value: &str) {
    if value.contains("://") {
        hide_urls(scrubber, value);
    } else {
        scrubber.hide(value.as_bytes());
    }
}

/// The names of variables are shown.
fn hide_unless_variable(scrubber: &mut Scrubber, text: &str) {
    if !text.contains("${") {
        scrubber.hide(text.as_bytes());
    }
}

struct Gather<'g> {
    scrubber: &'g mut Scrubber,
    folder: &'g Path,
    environment: Environment<'g>,
}

impl Gather<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let name = name.get_ref().as_ref();
            let below = join(section, name);
            match value.get_ref() {
                DeValue::Table(inner) if is_section(&below) => self.table(&below, inner),
                DeValue::Table(inner) if section.is_empty() && is_section(&format!("{name}.*")) => {
                    for (_, inner) in inner {
                        if let DeValue::Table(inner) = inner.get_ref() {
                            self.table(&format!("{name}.*"), inner);
                        }
                    }
                }
                DeValue::Array(members) if section.is_empty() && is_section(&format!("{name}[]")) => {
                    for member in members {
                        if let DeValue::Table(inner) = member.get_ref() {
                            self.table(&format!("{name}[]"), inner);
                        }
                    }
                }
                value => self.value(section, name, value),
            }
        }
    }

    fn value(&mut self, section: &str, name: &str, value: &DeValue<'_>) {
        match value {
            DeValue::String(text) => self.text(section, name, text),
            DeValue::Array(members) => {
                for member in members {
                    self.value(section, name, member.get_ref());
                }
            }
            DeValue::Table(members) => {
                for (_, member) in members {
                    self.value(section, name, member.get_ref());
                }
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn text(&mut self, section: &str, name: &str, text: &str) {
        let substituted = substitute(text, self.environment);
        let full = Zeroizing::new(substituted.unwrap_or_else(|_| text.to_owned()));
        match (section, name) {
            ("keys.*", "env" | "password_env") => {
                if let Some(value) = (self.environment)(&full) {
                    self.scrubber.hide(Zeroizing::new(value).as_bytes());
                }
                return;
            }
            ("keys.*", "file" | "password_file") | ("telemetry", "otlp_headers_file") => {
                let read = read_secret(&self.folder.join(full.as_str()));
                self.scrubber.hide(&read);
                if name == "otlp_headers_file" {
                    self.headers(&String::from_utf8_lossy(&read));
                }
                return;
            }
            ("keys.*", "keystore") => self.scrubber.miss_keys(),
            ("telemetry", "otlp_headers") => self.headers(&full),
            ("tenants[]", "key_sha256") | ("operators[]", "token_sha256") => {
                let mut digest = [0; 32];
                if hex::decode_to_slice(full.as_bytes(), &mut digest).is_ok() {
                    self.scrubber.hide_digest(digest);
                }
                self.scrubber.hide(full.as_bytes());
            }
            ("plugin.*", "sha256") => self.scrubber.keep(&full.to_ascii_lowercase()),
            _ => {}
        }
        if matches!(class(section, name), Class::Url | Class::Free) {
            hide_urls(self.scrubber, &full);
            for variable in variables(text) {
                if let Some(value) = (self.environment)(variable) {
                    hide_value(self.scrubber, &value);
                }
            }
        }
    }

    /// `NAME=VALUE`, several with commas.
    fn headers(&mut self, text: &str) {
        let headers = text
            .split([',', '\n'])
            .filter_map(|header| header.split_once('='));
        for (_, value) in headers {
            for word in value.split_whitespace() {
                self.scrubber.hide(word.as_bytes());
            }
        }
    }
}

/// The names of the variables in a text.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
    inside.filter_map(|inside| inside.split(":-").next())
}

fn read_secret(path: &Path) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    // A file that can't be read has nothing that could get into the bundle.
    if let Ok(file) = File::open(path) {
        let _ = file.take(MAX_SECRET_FILE).read_to_end(&mut bytes);
    }
    bytes
}
