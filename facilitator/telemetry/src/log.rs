//! Log set-up, once per process. Lines go to standard error; standard output belongs to the commands.
//!
//! Nothing here can keep a secret out of a line that somebody writes: the rule is that types holding secrets have
//! no `Debug` that shows them, and that URLs are logged without credentials, path and query.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

use super::floods::{self, Floods};
use super::json::Json;

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

/// What a directive without a target may say.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Checks a level or a list of `target=level` directives. Targets that no directive names are at the list's own level,
/// or at info where it has none: a list about one part must not silence the others.
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
        // The filter takes any other word for the name of a target, and silences all others.
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

/// Splits at commas that are not inside the brackets of a span.
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

/// Installs the process's subscriber. `level`: a level or directives; [`FILTER_VARIABLE`] wins over it when set.
pub fn init(format: Format, level: &str) -> Result<(), LogError> {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = chosen(std::env::var(FILTER_VARIABLE).ok(), level)?;
    let lines = tracing_subscriber::fmt::layer()
        // A line that can't be written must not end a payment: what reports that would panic at the same closed pipe.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter).with(Floods);
    match format {
        Format::Human => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(lines.with_ansi(colour)).try_init()
        }
        Format::Json => registry
            .with(lines.with_ansi(false).event_format(Json))
            .try_init(),
    }
    .map_err(LogError::Installed)
}

/// The filter of the environment, else of the configuration.
fn chosen(variable: Option<String>, level: &str) -> Result<EnvFilter, LogError> {
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

/// Writes how many lines were held back because the same was written within a minute. To be called every few seconds; at
/// the end of the process with `all`.
pub fn report_held_back(all: bool) {
    floods::report(all);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Texts of the sources below a folder that hold a run of spaces as long as an indentation.
    fn runs_of_spaces(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                runs_of_spaces(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
                let texts = lines.filter_map(|line| line.split_once('"'));
                let bad = texts.filter(|(_, text)| text.contains(&" ".repeat(8)));
                found.extend(bad.map(|(_, text)| format!("{}: {text}", path.display())));
            }
        }
    }

    #[test]
    fn no_text_has_lost_the_backslash_at_the_end_of_a_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut found = Vec::new();
        for folder in [
            "facilitator",
            "schemes-evm/src",
            "schemes-svm/src",
            "sdk-plugin/src",
            "plugins",
        ] {
            runs_of_spaces(&root.join(folder), &mut found);
        }
        assert_eq!(found, [] as [&str; 0]);
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
        let error = chosen(Some("inof".to_owned()), "info").unwrap_err().to_string();
        assert!(
            error.contains("SWITCHYARD_LOG") && error.contains("\"inof\""),
            "{error}"
        );
        assert!(chosen(Some(String::new()), "info").is_ok());
    }

    /// What a line looks like.
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
    fn a_json_line_has_each_member_once_whatever_its_fields_are_called() {
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
                "told: refused"
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
            both.contains(&Some("told: refused")) && both.contains(&Some("another")),
            "{line}"
        );
    }
}
