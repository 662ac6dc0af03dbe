//! A readable trace of a run, in virtual time: made only for a run that is repeated because it failed.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Where the trace is kept.
#[derive(Debug, Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Buffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Milliseconds since the first line.
#[derive(Debug, Default)]
struct Virtual(Mutex<Option<tokio::time::Instant>>);

impl FormatTime for Virtual {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        let now = tokio::time::Instant::now();
        let start = *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(now);
        write!(to, "{:>9}", now.saturating_duration_since(start).as_millis())
    }
}

/// Writes everything from level info on into the buffer.
pub fn subscriber(buffer: Buffer) -> impl Subscriber + Send + Sync {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_target(false)
        .with_timer(Virtual::default())
        .with_writer(buffer)
        .finish()
}
