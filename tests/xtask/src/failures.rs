//! What failed tests said, repeated at the end of a long run, where people read first.

use std::io::{BufRead, Write};

/// As much of a failure as its assertion prints.
const LINES_EACH: usize = 12;
/// The rest is above, in the output itself.
const LINES_IN_ALL: usize = 120;
/// What the test program writes after the message of a panic.
const AFTER_A_MESSAGE: [&str; 4] = ["stack backtrace:", "note: ", "---", "test "];

/// The messages of panics in the output of tests.
#[derive(Default)]
pub(crate) struct Failures {
    lines: Vec<String>,
    /// How many lines of the current message may follow.
    rest: usize,
}

impl Failures {
    /// Shows the output of tests, and keeps the messages of the panics in it.
    pub(crate) fn of(output: impl BufRead, mut shown: impl Write) -> std::io::Result<Self> {
        let mut failures = Self::default();
        for line in output.split(b'\n') {
            let line = line?;
            shown.write_all(&line)?;
            shown.write_all(b"\n")?;
            shown.flush()?;
            failures.read(&String::from_utf8_lossy(&line));
        }
        Ok(failures)
    }

    fn read(&mut self, line: &str) {
        if line.starts_with("thread '") && line.contains(" panicked at ") {
            self.rest = LINES_EACH;
        } else if AFTER_A_MESSAGE.iter().any(|after| line.starts_with(after)) {
            self.rest = 0;
        }
        if self.rest > 0 && self.lines.len() < LINES_IN_ALL && !line.is_empty() {
            self.rest -= 1;
            self.lines.push(line.to_owned());
        }
    }

    /// Each message, with the test that it is of.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 2 tests
test one ... ok
test two ... FAILED

failures:

---- two stdout ----

thread 'two' (17) panicked at src/lib.rs:3:5:
assertion `left == right` failed
  left: 1
 right: 2
stack backtrace:
   0: somewhere
--- end of the log ---
a line of a log
---

failures:
    two

test result: FAILED. 1 passed; 1 failed
";

    #[test]
    fn the_message_of_each_panic_is_kept_and_everything_is_shown() {
        let mut shown = Vec::new();
        let failures = Failures::of(OUTPUT.as_bytes(), &mut shown).expect("reads");
        assert_eq!(String::from_utf8_lossy(&shown), OUTPUT);
        assert_eq!(
            failures.lines(),
            [
                "thread 'two' (17) panicked at src/lib.rs:3:5:",
                "assertion `left == right` failed",
                "  left: 1",
                " right: 2",
            ]
        );
    }

    #[test]
    fn a_message_without_end_is_cut() {
        let endless = format!(
            "thread 'two' panicked at src/lib.rs:3:5:\n{}",
            "more\n".repeat(1_000)
        );
        let failures = Failures::of(endless.as_bytes(), std::io::sink()).expect("reads");
        assert_eq!(failures.lines().len(), LINES_EACH);
        let many = Failures::of(endless.repeat(100).as_bytes(), std::io::sink()).expect("reads");
        assert_eq!(many.lines().len(), LINES_IN_ALL);
    }
}
