//! Runs cargo, with its own progress on the terminal.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::failures::Failures;
use crate::paint::heading;

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Builds what is shipped, exactly as an operator does.
pub(crate) fn build_what_is_shipped() -> Result<(), Failure> {
    run("The facilitator and its plugins, release build", &SHIPPED, &[])
}

/// The same with other flags in the environment.
pub(crate) fn build_what_is_shipped_as(environment: &[(&str, &str)]) -> Result<(), Failure> {
    run(
        "The facilitator and its plugins, reproducible build",
        &SHIPPED,
        environment,
    )
}

/// The same in one build with another package of this repository: with the same features, nothing is compiled twice.
pub(crate) fn build_what_is_shipped_with(package: &str) -> Result<(), Failure> {
    let build = [&SHIPPED[..], &["--package", package]].concat();
    run(
        &format!("The facilitator, its plugins and {package}, release build"),
        &build,
        &[],
    )
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

/// Builds what serves an EVM chain.
pub(crate) fn build_evm() -> Result<(), Failure> {
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "switchyard",
        "--package",
        "plugin-evm",
        "--package",
        "plugin-evm-auth-capture",
    ];
    run("The facilitator and its EVM plugins, release build", &build, &[])
}

/// Starts to build what Solana needs in addition: the plugin and the dev chain. The output goes to the file `log`.
pub(crate) fn start_solana_build(log: &Path) -> Result<Background, Failure> {
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "plugin-svm",
        "--package",
        SOLANA_DEVNET,
    ];
    Background::start(&build, log)
}

/// A cargo command that runs beside something else. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Background {
    line: String,
    child: Child,
    log: PathBuf,
}

impl Background {
    fn start(arguments: &[&str], log: &Path) -> Result<Self, Failure> {
        let line = format!("cargo {}", arguments.join(" "));
        let file = File::create(log).map_err(|e| Failure(format!("cannot write {}: {e}", log.display())))?;
        let child = command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(cannot_start)?;
        Ok(Self {
            line,
            child,
            log: log.to_owned(),
        })
    }

    /// Waits for its end, and shows its output meanwhile.
    pub(crate) fn finish(mut self, what: &str) -> Result<(), Failure> {
        heading(what);
        println!("{}", self.line);
        let lost = |e: std::io::Error| Failure(format!("cannot follow the build: {e}"));
        let mut output = File::open(&self.log).map_err(lost)?;
        loop {
            let ended = self.child.try_wait().map_err(lost)?;
            std::io::copy(&mut output, &mut std::io::stderr()).map_err(lost)?;
            match ended {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(Failure(format!(
                        "`{}` failed ({status}); see its messages above",
                        self.line
                    )));
                }
                None => std::thread::sleep(FOLLOW_EVERY),
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // An ended process can be killed again without effect.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between two reads of a background build's output.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Builds the Solana dev chain, a program of its own that `devnet::SolanaDevnet` starts. Its runtime brings hundreds of
/// crates, so it is no dependency of anything else.
pub(crate) fn build_solana_devnet() -> Result<(), Failure> {
    let build = ["build", "--release", "--locked", "--package", SOLANA_DEVNET];
    run("The Solana dev chain", &build, &[])
}

pub(crate) const SOLANA_DEVNET: &str = "solana-devnet";

/// Tests with the official Solana clients in Rust: some 200 crates more than the dev chain, and eight minutes of one core.
pub(crate) const SOLANA_OFFICIAL: &str = "solana-official";

/// Benchmarks, whose peers bring crates and features that nothing else needs.
pub(crate) const BENCHES: &str = "benches";
/// A scheme that does nothing, which only benchmarks need.
pub(crate) const NOOP: &str = "noop";

/// Variables that `cargo run` sets for the program it runs.
const OF_THIS_PROGRAM: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// Runs one cargo command in the repository, under a heading that names it. What failed tests said is repeated at the end.
pub(crate) fn run(what: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), Failure> {
    heading(what);
    let line = format!("cargo {}", arguments.join(" "));
    println!("{line}");
    let started = Instant::now();
    let mut command = command(arguments);
    command.envs(environment.iter().copied());
    let (status, failures) = if arguments.first() == Some(&"test") {
        run_tests(command)?
    } else {
        (command.status().map_err(cannot_start)?, Failures::default())
    };
    if !status.success() {
        let failures: String = failures
            .lines()
            .iter()
            .map(|line| format!("\n  {line}"))
            .collect();
        return Err(Failure(format!(
            "`{line}` failed ({status}); see its messages above{failures}"
        )));
    }
    println!("done in {} s", started.elapsed().as_secs());
    Ok(())
}

fn run_tests(mut command: Command) -> Result<(ExitStatus, Failures), Failure> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(cannot_start)?;
    let failures = match child.stdout.take() {
        Some(output) => Failures::of(BufReader::new(output), std::io::stdout().lock()),
        None => Ok(Failures::default()),
    };
    let status = child.wait().map_err(cannot_start)?;
    let failures = failures.map_err(|e| Failure(format!("cannot follow the tests: {e}")))?;
    Ok((status, failures))
}

fn cannot_start(error: std::io::Error) -> Failure {
    Failure(format!("cannot start cargo: {error}"))
}

/// A cargo command in the repository.
fn command(arguments: &[&str]) -> Command {
    // The cargo that runs this program, so that a `+toolchain` holds for everything.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The outer cargo's variables for this program would make build scripts that read the same names run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OF_THIS_PROGRAM.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.args(arguments).current_dir(root());
    command
}
