//! How far a command is, on standard error: nothing for work that is quick, so that scripts stay quiet.

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::time::Instant;

/// The time between two lines.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Progress {
    last: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// Shows how far the work is, if the last line is some time ago.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.last.elapsed() >= PAUSE {
            self.last = Instant::now();
            self.end(&text());
        }
    }

    /// Shows the result.
    pub(super) fn end(&self, text: &str) {
        // A closed standard error does not stop the work.
        let _ = writeln!(io::stderr(), "{text}");
    }
}
