//! Sets up logging, once per process. Log lines go to standard error; standard output belongs to the commands.
//!
//! This module can't keep secrets out of the lines that other modules write. They follow a rule: the `Debug` form of a type
//! that holds a secret does not show it, and URLs are logged without credentials, path and query.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format;
use tracing_subscriber::util::TryInitError;

use super::json::Json;
use super::repetition::{self, SuppressRepetition};

/// Environment variable that overrides the configured level.
pub const FILTER_VARIABLE: &str = "SWITCHYARD_LOG";

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Why logging was not set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not a filter.
    #[error(
        "{}{text:?} is not a log level ({why}); write error, warn, info, debug or trace, or directives such as \
         \"info,http_api=debug\"",
        variable.map(|name| format!("the environment variable {name}: ")).unwrap_or_default()
    )]
    Filter {
        text: String,
        why: String,
        /// The environment variable that holds the text; `None` when it comes from the configuration.
        variable: Option<&'static str>,
    },
    /// Another subscriber is installed already.
    #[error("logging is set up already: {0}")]
    Installed(TryInitError),
}

/// Levels that a directive without a target may name.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Parses a level or a list of `target=level` directives. Targets that no directive names have the level of the list, or
/// `info` if the list names none: a list about one target must not silence the others.
///
/// # Errors
/// [`LogError::Filter`] when the text is not a filter.
pub fn parse_filter(text: &str) -> Result<EnvFilter, LogError> {
    let refuse = |why: String| LogError::Filter {
        text: text.to_owned(),
        why,
        variable: None,
    };
    let directives: Vec<&str> = directives(text).map(str::trim).collect();
    let mut has_level = false;
    for directive in &directives {
        if directive.is_empty() {
            return Err(refuse("a part of it is empty".to_owned()));
        }
        if directive.contains(['=', '[']) {
            continue;
        }
        // `EnvFilter` reads any other word as the name of a target, and silences all other targets.
        if !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive)) {
            return Err(refuse(format!(
                "{directive:?} is none; for one part of the program write {directive}=debug"
            )));
        }
        has_level = true;
    }
    let whole = directives.join(",");
    let whole = if has_level { whole } else { format!("info,{whole}") };
    EnvFilter::builder()
        .parse(whole)
        .map_err(|error| refuse(error.to_string()))
}

/// Splits the text at commas outside the brackets of a span.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0u32;
    text.split(move |c| {
        match c {
            '[' | '{' => depth = depth.saturating_add(1),
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// Installs the process's subscriber. `level`: a level or directives; the variable [`FILTER_VARIABLE`] overrides it.
///
/// # Errors
/// When the level is not a filter, or a subscriber is installed already.
pub fn init(format: Format, level: &str) -> Result<(), LogError> {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = effective_filter(std::env::var(FILTER_VARIABLE).ok(), level)?;
    let lines = tracing_subscriber::fmt::layer()
        // A line that can't be written must not abort a payment: reporting it would panic at the same closed pipe.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(SuppressRepetition);
    match format {
        Format::Human => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry
                .with(lines.with_ansi(colour).fmt_fields(one_line()))
                .try_init()
        }
        Format::Json => registry
            .with(lines.with_ansi(false).event_format(Json))
            .try_init(),
    }
    .map_err(LogError::Installed)
}

/// The fields of an event on one line, whatever they contain: nodes, callers and plugins write some of them, and none may write
/// lines of their own.
fn one_line() -> impl for<'writer> FormatFields<'writer> + 'static {
    let fields = format::debug_fn(|writer: &mut format::Writer<'_>, field, value| {
        let value = printable(&format!("{value:?}"));
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{name}={value}"),
        }
    });
    fields.delimited(" ")
}

/// The text with its control characters escaped.
fn printable(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    for c in text.chars() {
        // U+2028 and U+2029 end lines for some readers, the others turn the direction of the text.
        if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            printed.extend(c.escape_default());
        } else {
            printed.push(c);
        }
    }
    printed
}

/// The filter of the environment variable, else of the configuration.
fn effective_filter(variable: Option<String>, level: &str) -> Result<EnvFilter, LogError> {
    match variable {
        Some(text) if !text.is_empty() => parse_filter(&text).map_err(|error| match error {
            LogError::Filter { text, why, .. } => LogError::Filter {
                text,
                why,
                variable: Some(FILTER_VARIABLE),
            },
            installed @ LogError::Installed(_) => installed,
        }),
        _ => parse_filter(level),
    }
}

/// Logs how many repeated lines were suppressed in windows that have ended. Call it every few seconds.
pub fn report_suppressed() {
    repetition::report(repetition::Windows::Ended);
}

/// Logs how many repeated lines were suppressed in all windows. Call it when the process ends.
pub fn report_all_suppressed() {
    repetition::report(repetition::Windows::All);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_writes_no_line_of_its_own() {
        use tracing_subscriber::layer::SubscriberExt as _;

        let sink = Sink::default();
        let writer = sink.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(one_line());
        let hostile = "no\n2026-11-30T00:00:00Z  INFO payment_settled\r\u{1b}[2K\u{202e}";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::warn!(plugin = "evm", text = %hostile, "it says: {hostile}");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("it says: no\\n2026") && text.contains("plugin=\"evm\""),
            "{text}"
        );
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }

    #[test]
    fn levels_and_directives_are_accepted_and_nonsense_is_explained() {
        for (good, filter) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("off", "off"),
            ("warn,engine=debug", "engine=debug,warn"),
            ("engine=debug", "engine=debug,info"),
            (" info , hyper=warn", "hyper=warn,info"),
        ] {
            assert_eq!(parse_filter(good).unwrap().to_string(), filter, "{good}");
        }
        for bad in [
            "inof",
            "verbose",
            "",
            "info,",
            "facilitator",
            "info,facilitator",
            "facilitator=loud",
            "warn,,info",
        ] {
            let error = parse_filter(bad).unwrap_err().to_string();
            assert!(
                error.contains("write error, warn, info, debug or trace"),
                "{bad}: {error}"
            );
        }
        let error = effective_filter(Some("inof".to_owned()), "info")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("SWITCHYARD_LOG") && error.contains("\"inof\""),
            "{error}"
        );
        assert!(effective_filter(Some(String::new()), "info").is_ok());
    }

    /// Collects written lines.
    #[derive(Clone, Default)]
    struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_has_the_id_of_its_request() {
        use tracing_subscriber::layer::SubscriberExt as _;

        let sink = Sink::default();
        let writer = sink.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(Json);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let _request = tracing::error_span!("request", message = %"order-17").entered();
            tracing::info!("answered");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["request"], &line["message"]),
            (&"order-17".into(), &"answered".into())
        );
    }

    #[test]
    fn a_json_line_has_each_member_once_whatever_the_names_of_its_fields() {
        use tracing_subscriber::layer::SubscriberExt as _;

        let sink = Sink::default();
        let writer = sink.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .event_format(Json);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let message = "another";
            tracing::info!(
                message,
                level = 3,
                target = "t",
                timestamp = true,
                n = 1u64,
                "reply: refused"
            );
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
        for name in ["timestamp", "level", "target", "message", "n"] {
            assert_eq!(
                text.matches(&format!("\"{name}\":")).count(),
                1,
                "{name} in {text}"
            );
        }
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["n"], 1);
        let both = [line["message"].as_str(), line["message_2"].as_str()];
        assert!(
            both.contains(&Some("reply: refused")) && both.contains(&Some("another")),
            "{line}"
        );
    }
}
