//! What is wrong with a configuration: file, line, key, and what to write instead.

use std::collections::BTreeMap;
use std::fmt;

use super::reader::join;

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub file: String,
    /// From 1; 0 where no line is to blame (a file that can't be read).
    pub line: usize,
    /// From 1, in characters; 0 where the key says enough.
    pub column: usize,
    /// Dotted path of the key; empty for syntax errors.
    pub key: String,
    /// What is wrong and what to write instead. Never quotes a value that came from the environment.
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

/// Everything that was found wrong, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Remembers where each key was written, for checks that come later (a plugin's own configuration, a key's file).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub(super) lines: BTreeMap<String, usize>,
}

impl Source {
    /// An error at `key` (a dotted path such as `plugin.evm.config.gas`), or at its nearest parent that was written.
    #[must_use]
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let mut place = key;
        let line = loop {
            if let Some(line) = self.lines.get(place) {
                break *line;
            }
            match place.rfind(['.', '[']) {
                Some(end) => place = place.get(..end).unwrap_or_default(),
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

    /// An error inside the value of a key: `place` has the names and indices that lead to it.
    #[must_use]
    pub fn error_below(&self, key: &str, place: &[String], message: impl Into<String>) -> ConfigError {
        let path = place.iter().fold(key.to_owned(), |path, name| {
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
                format!("{path}[{name}]")
            } else {
                join(&path, name)
            }
        });
        self.error(&path, message)
    }
}
