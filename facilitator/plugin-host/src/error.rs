//! Why a plugin is not served: one sentence that says what is wrong and what to do.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A plugin that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin {}: {message}", .plugin.display())]
pub struct PluginError {
    /// The file, or the id of a plugin without one.
    pub plugin: PathBuf,
    pub kind: ErrorKind,
    /// What is wrong and what to do instead.
    pub message: String,
}

/// The kind of a [`PluginError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The file can't be read or copied.
    File,
    /// Not a plugin file.
    NotAPlugin,
    /// Its manifest is invalid.
    Manifest,
    /// Built for another version of the ABI.
    Abi,
    /// Not pinned, or not the file that was pinned.
    Pin,
    /// It needs libraries that the operator has not named.
    Libraries,
    /// Its configuration does not match its schema.
    Config,
    /// The system's loader refuses it, or the file breaks a rule of the ABI.
    Load,
    /// The system lacks a part of the sandbox for its process.
    Sandbox,
    /// It refuses, or does not answer, while an instance is created or started.
    Start,
}

impl PluginError {
    pub(super) fn new(plugin: &Path, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            plugin: plugin.to_owned(),
            kind,
            message: message.into(),
        }
    }
}
