//! Runs cargo, with its own progress on the terminal.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::Failure;
use crate::paint::heading;

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Builds what is shipped, exactly as an operator does.
pub(crate) fn build_what_is_shipped() -> Result<(), Failure> {
    run("The facilitator and its plugins, release build", &SHIPPED, &[])
}

const SHIPPED: [&str; 11] = [
    "build",
    "--release",
    "--locked",
    "--package",
    "switchyard",
    "--package",
    "plugin-evm",
    "--package",
    "plugin-evm-auth-capture",
    "--package",
    "plugin-svm",
];

/// Builds the Solana dev chain, a program of its own that `devnet::SolanaDevnet` starts. Its runtime brings hundreds of
/// crates, so it is no dependency of anything else.
pub(crate) fn build_solana_devnet() -> Result<(), Failure> {
    let build = ["build", "--release", "--locked", "--package", SOLANA_DEVNET];
    run("The Solana dev chain", &build, &[])
}

pub(crate) const SOLANA_DEVNET: &str = "solana-devnet";

/// Variables that `cargo run` sets for the program it runs.
const OF_THIS_PROGRAM: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// Runs one cargo command in the repository, under a heading that names it.
pub(crate) fn run(what: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), Failure> {
    heading(what);
    let line = format!("cargo {}", arguments.join(" "));
    println!("{line}");
    let started = Instant::now();
    // The cargo that runs this program, so that a `+toolchain` holds for everything.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What the outer cargo says of this program would make build scripts run again that look at the same names.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OF_THIS_PROGRAM.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    let status = command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|e| Failure(format!("cannot start cargo: {e}")))?;
    if !status.success() {
        return Err(Failure(format!(
            "`{line}` failed ({status}); what is wrong stands above"
        )));
    }
    println!("done in {} s", started.elapsed().as_secs());
    Ok(())
}
