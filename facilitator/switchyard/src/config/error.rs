//! Errors of a configuration: file, line, key, and what to write instead.
//!
//! `Display` of [`ConfigError`] is our own: its parts are optional, which an attribute of `thiserror` can't express.

use std::collections::BTreeMap;
use std::fmt;

use super::reader::join;

/// One error of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub file: String,
    /// From 1; 0 where the error has no line (a file that can't be read).
    pub line: usize,
    /// From 1, in characters; 0 where the key is enough.
    pub column: usize,
    /// Dotted path of the key; empty for syntax errors.
    pub key: String,
    /// What is wrong and what to write instead. Never contains a value from the environment.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All errors of a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// The line of each key, for later checks (a plugin's own configuration, a key's file).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub(super) lines: BTreeMap<String, usize>,
}

impl Source {
    /// Makes an error at `key` (a dotted path such as `plugin.evm.config.gas`), with the line of its nearest parent in the
    /// file.
    #[must_use]
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let mut path = key;
        let line = loop {
            if let Some(line) = self.lines.get(path) {
                break *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => break 0,
            }
        };
        ConfigError {
            file: self.file.clone(),
            line,
            column: 0,
            key: key.to_owned(),
            message: message.into(),
        }
    }

    /// Makes an error inside the value of a key. `path`: the names and indices that lead to it.
    #[must_use]
    pub fn error_below(&self, key: &str, path: &[String], message: impl Into<String>) -> ConfigError {
        let path = path.iter().fold(key.to_owned(), |path, name| {
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
                format!("{path}[{name}]")
            } else {
                join(&path, name)
            }
        });
        self.error(&path, message)
    }
}
