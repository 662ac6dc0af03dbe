//! Reads values from a parsed TOML document: checks types, ranges and names, applies the defaults of the table of keys, and
//! collects every error instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeMap;

use base::suggest::unknown;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Source};
use super::keys::{KEYS, Key, Presence, SECTIONS};
use super::node::Node;
use super::substitute::Environment;

/// A document and the errors found in it.
pub(super) struct Reader<'d> {
    pub(super) source: Source,
    text: &'d str,
    pub(super) environment: Environment<'d>,
    errors: RefCell<Vec<ConfigError>>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(file: &str, text: &'d str, environment: Environment<'d>, root: &DeTable<'_>) -> Self {
        let mut lines = BTreeMap::new();
        collect_lines(text, "", root, &mut lines);
        Self {
            source: Source {
                file: file.to_owned(),
                lines,
            },
            text,
            environment,
            errors: RefCell::default(),
        }
    }

    /// Records an error.
    pub(super) fn fail(&self, line: usize, key: &str, message: impl Into<String>) {
        self.errors.borrow_mut().push(ConfigError {
            file: self.source.file.clone(),
            line,
            column: 0,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// The errors, in the order of the file.
    pub(super) fn into_errors(self) -> (Source, Vec<ConfigError>) {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| error.line);
        (self.source, errors)
    }

    /// Checks the names of the sections.
    pub(super) fn sections<'r>(&'r self, root: &'r DeTable<'r>, names: &[&str]) {
        for (name, value) in root {
            let name_text = name.get_ref();
            if !names.contains(&name_text.as_ref()) {
                let line = line_of(self.text, value.span().start.min(name.span().start));
                self.fail(line, name_text, unknown("section", name_text, names));
            }
        }
    }

    /// A section. If it is absent, all its keys have their defaults.
    pub(super) fn section<'r>(&'r self, root: &'r DeTable<'r>, name: &str) -> Section<'r, 'd> {
        let table = root.get(name).and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.fail(
                    self.line(value),
                    name,
                    format!("must be a table; write [{name}] on a line of its own"),
                );
                None
            }
        });
        let line = self.source.lines.get(name).copied().unwrap_or(0);
        Section::new(self, static_name(name), name.to_owned(), line, table)
    }

    /// The named tables below a section, as `[networks."eip155:1"]`.
    pub(super) fn named<'r>(&'r self, root: &'r DeTable<'r>, name: &str) -> Vec<(String, Section<'r, 'd>)> {
        let Some(value) = root.get(name) else {
            return Vec::new();
        };
        let DeValue::Table(tables) = value.get_ref() else {
            self.fail(
                self.line(value),
                name,
                format!("must hold tables; write [{name}.NAME]"),
            );
            return Vec::new();
        };
        let schema = KEYS
            .iter()
            .map(|key| key.section)
            .find(|section| section.strip_suffix(".*") == Some(name));
        let mut sections = Vec::new();
        for (key, value) in tables {
            let path = join(name, key.get_ref());
            match value.get_ref() {
                DeValue::Table(table) => {
                    let line = line_of(self.text, key.span().start);
                    let section = Section::new(self, schema.unwrap_or_default(), path, line, Some(table));
                    sections.push((key.get_ref().to_string(), section));
                }
                _ => self.fail(
                    self.line(value),
                    &path,
                    format!("must be a table; write [{path}]"),
                ),
            }
        }
        sections
    }

    /// The names of the tables below a section.
    pub(super) fn names_below(root: &DeTable<'_>, name: &str) -> Vec<String> {
        match root.get(name).map(Spanned::get_ref) {
            Some(DeValue::Table(tables)) => tables.iter().map(|(key, _)| key.get_ref().to_string()).collect(),
            _ => Vec::new(),
        }
    }

    /// An array of tables, as `[[tenants]]`.
    pub(super) fn repeated<'r>(&'r self, root: &'r DeTable<'r>, name: &str) -> Vec<Section<'r, 'd>> {
        let Some(value) = root.get(name) else {
            return Vec::new();
        };
        let schema = KEYS
            .iter()
            .map(|key| key.section)
            .find(|section| section.strip_suffix("[]") == Some(name));
        let tables: Option<Vec<_>> = match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::Table(table) => Some((item, table)),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        let Some(tables) = tables else {
            self.fail(
                self.line(value),
                name,
                format!("must be repeated tables; write [[{name}]]"),
            );
            return Vec::new();
        };
        tables
            .into_iter()
            .enumerate()
            .map(|(n, (item, table))| {
                let path = format!("{name}[{n}]");
                Section::new(
                    self,
                    schema.unwrap_or_default(),
                    path,
                    self.line(item),
                    Some(table),
                )
            })
            .collect()
    }

    pub(super) fn line(&self, value: &Spanned<DeValue<'_>>) -> usize {
        line_of(self.text, value.span().start)
    }
}

/// The name as in the table of keys.
fn static_name(name: &str) -> &'static str {
    KEYS.iter()
        .map(|key| key.section)
        .find(|section| *section == name)
        .unwrap_or_default()
}

/// The names of the sections within a section.
fn inner_names(schema: &str) -> impl Iterator<Item = &'static str> {
    SECTIONS
        .iter()
        .filter_map(move |(name, _)| name.strip_prefix(schema)?.strip_prefix('.'))
        .filter(|name| *name != "*")
}

/// One table of the document and the keys it may have.
pub(super) struct Section<'r, 'd> {
    reader: &'r Reader<'d>,
    schema: &'static str,
    path: String,
    line: usize,
    table: Option<&'r DeTable<'r>>,
}

impl<'r, 'd> Section<'r, 'd> {
    fn new(
        reader: &'r Reader<'d>,
        schema: &'static str,
        path: String,
        line: usize,
        table: Option<&'r DeTable<'r>>,
    ) -> Self {
        let keys = KEYS
            .iter()
            .filter(|key| key.section == schema)
            .map(|key| key.name);
        let names: Vec<&str> = keys.chain(inner_names(schema)).collect();
        for (name, _) in table.into_iter().flatten() {
            if !names.contains(&name.get_ref().as_ref()) {
                let line = line_of(reader.text, name.span().start);
                reader.fail(
                    line,
                    &join(&path, name.get_ref()),
                    unknown("key", name.get_ref(), &names),
                );
            }
        }
        Self {
            reader,
            schema,
            path,
            line,
            table,
        }
    }

    /// A section within this one, as `[server.tls]`; `None`: it is absent. Its keys are those of the table of keys.
    pub(super) fn inner(&self, name: &str) -> Option<Section<'r, 'd>> {
        let value = self.table?.get(name)?;
        let path = join(&self.path, name);
        let line = self.reader.source.lines.get(&path).copied().unwrap_or(self.line);
        let DeValue::Table(table) = value.get_ref() else {
            self.reader.fail(
                line,
                &path,
                format!("must be a table; write [{path}] on a line of its own"),
            );
            return None;
        };
        Some(Section::new(
            self.reader,
            static_name(&path),
            path,
            line,
            Some(table),
        ))
    }

    /// Records an error of the section as a whole.
    pub(super) fn fail_here(&self, message: impl Into<String>) {
        self.reader.fail(self.line, &self.path, message);
    }

    /// Records an error of a key.
    pub(super) fn fail(&self, name: &str, message: impl Into<String>) {
        let path = join(&self.path, name);
        let line = self.reader.source.lines.get(&path).copied().unwrap_or(self.line);
        self.reader.fail(line, &path, message);
    }

    /// The key's value, or its default. `None` after an error was recorded.
    pub(super) fn get<T>(&self, name: &str, read: impl FnOnce(&Node<'_, 'd>) -> Option<T>) -> Option<T> {
        match self.maybe(name, read) {
            Some(Some(value)) => Some(value),
            Some(None) => {
                let kind = self.key(name).map(|key| key.kind).unwrap_or_default();
                self.fail(name, format!("is missing; write {name} = … ({kind})"));
                None
            }
            None => None,
        }
    }

    /// Like [`Section::get`], for a key without a default: `Some(None)` when it is absent.
    pub(super) fn maybe<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Node<'_, 'd>) -> Option<T>,
    ) -> Option<Option<T>> {
        let path = join(&self.path, name);
        if let Some(value) = self.table.and_then(|table| table.get(name)) {
            let node = Node {
                reader: self.reader,
                path,
                line: self.reader.line(value),
                value: value.get_ref(),
            };
            return read(&node).map(Some);
        }
        let Some(Key {
            presence: Presence::Default(text),
            ..
        }) = self.key(name)
        else {
            return Some(None);
        };
        match DeValue::parse(text) {
            Ok(value) => read(&Node {
                reader: self.reader,
                path,
                line: self.line,
                value: value.get_ref(),
            })
            .map(Some),
            Err(error) => {
                self.fail(name, format!("has a default that is not TOML: {error}"));
                None
            }
        }
    }

    /// Whether the key is written.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.get(name).is_some())
    }

    /// The keys that are written, but these.
    pub(super) fn written_beside(&self, names: &[&str]) -> impl Iterator<Item = &'static str> {
        let keys = KEYS
            .iter()
            .filter(|key| key.section == self.schema)
            .map(|key| key.name);
        let is_other = |name: &&str| !names.contains(name) && self.is_written(name);
        keys.filter(is_other).collect::<Vec<_>>().into_iter()
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        KEYS.iter()
            .find(|key| key.section == self.schema && key.name == name)
    }
}

/// Appends a name to a dotted path. A name that TOML would quote is quoted.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|b| *b == b'\n')
        .count()
        .saturating_add(1)
}

/// Collects the line of every key.
fn collect_lines(text: &str, path: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (name, value) in table {
        let path = join(path, name.get_ref());
        lines.insert(path.clone(), line_of(text, name.span().start));
        match value.get_ref() {
            DeValue::Table(table) => collect_lines(text, &path, table, lines),
            DeValue::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    let path = format!("{path}[{n}]");
                    lines.insert(path.clone(), line_of(text, item.span().start));
                    if let DeValue::Table(table) = item.get_ref() {
                        collect_lines(text, &path, table, lines);
                    }
                }
            }
            _ => {}
        }
    }
}
