//! One error type: what was being done, and what went wrong. The node's own refusals keep their code and data, because
//! tests assert on revert texts and revert data.

use std::fmt;

/// Why a command to the dev chain failed.
#[derive(Debug)]
pub enum Error {
    /// A file, process or socket failed.
    Io { doing: String, source: std::io::Error },
    /// The node did not answer, or not with JSON-RPC.
    Transport { method: String, detail: String },
    /// The node answered with an error; a revert has code 3 and its data in `data`.
    Rpc {
        method: String,
        code: i64,
        message: String,
        data: Option<String>,
    },
    /// Node.js, npm or a package is missing or broken; the text names the fix.
    Setup(String),
    /// An artefact, an address, or an answer of the node is not what it should be.
    Malformed(String),
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Io { doing, source }
    }

    /// The node's message, when the node refused; a failed call carries its revert text here.
    #[must_use]
    pub fn rpc_message(&self) -> Option<&str> {
        match self {
            Error::Rpc { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The revert data as `0x` hex, when a call reverted with any.
    #[must_use]
    pub fn revert_data(&self) -> Option<&str> {
        match self {
            Error::Rpc { data, .. } => data.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { doing, source } => write!(f, "{doing}: {source}"),
            Error::Transport { method, detail } => write!(f, "{method}: no answer from the node: {detail}"),
            Error::Rpc {
                method,
                code,
                message,
                ..
            } => write!(f, "{method}: {message} (code {code})"),
            Error::Setup(what) | Error::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
