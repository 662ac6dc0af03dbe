//! What shells and people need of the program itself: its version, completions and manual pages.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory as _;
use sdk_plugin::abi::raw::{ABI_MAJOR, ABI_MINOR};

use super::{Cli, CliError};

/// Set by the build of a release.
pub(super) const COMMIT: Option<&str> = option_env!("SWITCHYARD_COMMIT");

pub(super) fn version(out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(out, "switchyard {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(
        out,
        "commit      {}",
        COMMIT.unwrap_or("not recorded (a build of the source, not a release)")
    )?;
    writeln!(out, "plugin ABI  {ABI_MAJOR}.{ABI_MINOR}")?;
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "commands have one form")]
pub(super) fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "switchyard", &mut script);
    out.write_all(&script)?;
    Ok(())
}

pub(super) fn man(folder: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    clap_mangen::generate_to(Cli::command(), folder).map_err(|error| {
        CliError(format!(
            "the pages can't be written into {}: {error}",
            folder.display()
        ))
    })?;
    writeln!(out, "wrote switchyard*.1 into {}", folder.display())?;
    Ok(())
}
