//! Log set-up, once per process. Lines go to standard error; standard output belongs to the commands.
//!
//! Nothing here can keep a secret out of a line that somebody writes: the rule is that types holding secrets have
//! no `Debug` that shows them, and that URLs are logged without credentials, path and query.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

/// Environment variable that overrides the configured level.
pub const FILTER_VARIABLE: &str = "SWITCHYARD_LOG";

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line for people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Why logging was not set up.
#[derive(Debug)]
pub enum LogError {
    /// The level is not a filter.
    Filter { text: String, why: String },
    /// Another subscriber is installed already.
    Installed(TryInitError),
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Filter { text, why } => write!(
                f,
                "{text:?} is not a log level ({why}); write error, warn, info, debug or trace, or directives such as \
                 \"info,facilitator::http=debug\""
            ),
            Self::Installed(error) => write!(f, "logging is set up already: {error}"),
        }
    }
}

impl std::error::Error for LogError {}

/// Checks a level or a list of `target=level` directives.
pub fn parse_filter(text: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| LogError::Filter {
            text: text.to_owned(),
            why: error.to_string(),
        })
}

/// Installs the process's subscriber. `level`: a level or directives; [`FILTER_VARIABLE`] wins over it when set.
pub fn init(format: Format, level: &str) -> Result<(), LogError> {
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => parse_filter(&text)?,
        _ => parse_filter(level)?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that can't be written must not end a payment: what reports that would panic at the same closed pipe.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match format {
        Format::Human => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colour).finish().try_init()
        }
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .finish()
            .try_init(),
    }
    .map_err(LogError::Installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_accepted_and_nonsense_is_explained() {
        for good in ["info", "warn,facilitator::engine=debug"] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        let error = parse_filter("facilitator=loud").unwrap_err().to_string();
        assert!(
            error.contains("write error, warn, info, debug or trace"),
            "{error}"
        );
    }
}
