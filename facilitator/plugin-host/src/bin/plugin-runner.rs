//! The process of an isolated plugin, alone: for the tests of this crate. What ships is a subcommand of `switchyard`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match plugin_host::runner::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
