//! The `switchyard` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    facilitator::cli::run()
}
