//! `cargo xtask full`: checks that take too long for every change.

use devnet::Npm;

use crate::{Failure, cargo, dist, openapi, previous, tools};

/// Seeds of the simulator's campaign.
const SEEDS: &str = "3000";
/// Seeds of random escrow operations against the release binary. Every change runs one. A seed takes about half a minute.
const ESCROW_SEEDS: &str = "20";

const SECONDS_PER_MINUTE: u64 = 60;

/// Cargo's variable for a program that runs tests.
const RUNNER: &str = if cfg!(target_arch = "aarch64") {
    "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER"
} else {
    "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
};

/// Runs the checks that take too long for every change: the simulator with many more seeds, random sequences of escrow
/// operations with many more seeds, fuzz targets for minutes instead of a second, benchmarks of the hot paths, the example
/// plugin in C under Valgrind and with another compiler, every end-to-end test with plugins in processes of their own, an hour of
/// payments while nodes lie, the facilitator is killed and the chain is reorganised, an upgrade from the last version with an
/// earlier schema of the journal and the way back, payments on surfpool, a more complete Solana runtime than the dev chain, and
/// payments of a buyer in the official Solana clients, whose types our readers are compared with; the HTTP API under a fuzzer
/// (Schemathesis), and its replies in the official clients; the release archive, from which
/// a facilitator is installed, updated and rolled back; at last licences and advisories of all dependencies, which needs a network. Run it before you close work on the engine, on auth-capture or on Solana.
///
/// The first run compiles surfpool, some 900 crates, which takes a quarter of an hour on two cores.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask full                                            everything
  cargo xtask full --only fuzz --fuzz-minutes 10              ten minutes for each fuzz target
  cargo xtask full --only benches                             ratios of the hot paths, about 80 seconds after the build
  cargo xtask full --only endurance --endurance-minutes 5     five minutes of lying nodes and kills
  cargo xtask full --only endurance --endurance-seed 7        an hour of other payments and faults")]
pub(crate) struct Args {
    /// Only one part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Minutes of payments with faults
    #[arg(long, value_name = "MINUTES", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=1440))]
    endurance_minutes: u64,
    /// Most minutes without faults afterwards, until nothing is pending
    #[arg(long, value_name = "MINUTES", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=1440))]
    calm_minutes: u64,
    /// Decides who pays what, and what breaks
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    endurance_seed: u64,
    /// Minutes for each fuzz target; as many targets run at once as there are cores
    #[arg(long, value_name = "MINUTES", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=1440))]
    fuzz_minutes: u64,
    /// Decides the inputs of the fuzz targets
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    fuzz_seed: u64,
    /// The version from which the journal is upgraded; the last one with an earlier schema when not given
    #[arg(long, value_name = "COMMIT")]
    previous: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The simulator, with many seeds
    Simulator,
    /// Changed inputs for decoders of outside bytes
    Fuzz,
    /// Benchmarks of the hot paths, each next to a limit or a peer
    Benches,
    /// Random lives of escrowed payments, with many seeds
    Escrow,
    /// The example plugin in C: under Valgrind, and built by another compiler
    Memory,
    /// Every end-to-end test, with all plugins in processes of their own
    Isolated,
    /// Payments over nodes that lie, with kills and reorganisations
    Endurance,
    /// An upgrade from the binary of an earlier version, and the way back
    Previous,
    /// Payments on surfpool
    Surfpool,
    /// Payments of a buyer in the official Solana clients, and our readers beside their types
    Official,
    /// The HTTP API, fuzzed by its OpenAPI document, and replies of every end-to-end test in the official clients' hands
    Openapi,
    /// The release archive and its lints; with it, from the archive to payments, an update and the way back
    Dist,
    /// Licences, sources and advisories of all dependencies (deny.toml)
    Dependencies,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match args.only {
        Some(Part::Dependencies) => return dependencies(),
        Some(Part::Fuzz) => return fuzz(args),
        Some(Part::Benches) => return benches(),
        Some(Part::Memory) => return memory(),
        Some(Part::Dist) => return dist::all(),
        _ => {}
    }
    Npm::ensure()?;
    let wanted = |part: Part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Simulator) {
        simulator()?;
    }
    if wanted(Part::Fuzz) {
        fuzz(args)?;
    }
    if wanted(Part::Benches) {
        benches()?;
    }
    if wanted(Part::Memory) {
        memory()?;
    }
    if args.only != Some(Part::Simulator) {
        cargo::build_what_is_shipped()?;
    }
    if wanted(Part::Escrow) {
        escrow()?;
    }
    if wanted(Part::Isolated) {
        isolated()?;
    }
    if wanted(Part::Endurance) {
        endurance(args)?;
    }
    if wanted(Part::Previous) {
        upgrade(args)?;
    }
    if wanted(Part::Surfpool) {
        surfpool()?;
    }
    if wanted(Part::Official) {
        official()?;
    }
    if wanted(Part::Openapi) {
        openapi::fuzz_and_replay(args.fuzz_seed)?;
    }
    if wanted(Part::Dist) {
        dist::all()?;
    }
    if wanted(Part::Dependencies) {
        dependencies()?;
    }
    Ok(())
}

/// A cell of the table that no fault struck is an error, too.
fn simulator() -> Result<(), Failure> {
    let campaign = [
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "simulator",
        "--",
        "--seeds",
        SEEDS,
    ];
    cargo::run("The simulator, with many seeds", &campaign, &[])
}

/// A failing target prints the file with its input and the command that repeats it.
fn fuzz(args: &Args) -> Result<(), Failure> {
    let fuzz = [
        "test",
        "--release",
        "--locked",
        "--package",
        "fuzz",
        "--test",
        "targets",
        "--",
        "--nocapture",
    ];
    let milliseconds = args.fuzz_minutes.saturating_mul(SECONDS_PER_MINUTE * 1_000);
    cargo::run(
        "Changed inputs for decoders of outside bytes",
        &fuzz,
        &[
            ("FUZZ_MILLISECONDS", milliseconds.to_string().as_str()),
            ("FUZZ_SEED", args.fuzz_seed.to_string().as_str()),
        ],
    )
}

/// Tests of the harness, then about 80 seconds of measuring. Ratios are printed and not judged: nothing fails because it is
/// slow.
fn benches() -> Result<(), Failure> {
    let package = ["--locked", "--package", cargo::BENCHES];
    cargo::run(
        "Tests of the benchmarks' harness",
        &[&["test", "--release"][..], &package].concat(),
        &[],
    )?;
    // Without the comparison with an earlier run: other programs may run now that did not run then.
    let options = ["--", "--discard-baseline"];
    cargo::run(
        "Benchmarks of the hot paths",
        &[&["bench"][..], &package, &options].concat(),
        &[],
    )
}

fn escrow() -> Result<(), Failure> {
    let escrow = [
        "test",
        "--release",
        "--locked",
        "--package",
        "e2e",
        "auth_capture::property",
        "--",
        "--nocapture",
    ];
    cargo::run(
        "Escrowed payments, with many seeds",
        &escrow,
        &[("ESCROW_SEEDS", ESCROW_SEEDS)],
    )
}

/// A thousand calls across the boundary into C code under Valgrind, and the tests of that example with another compiler than `cc`.
fn memory() -> Result<(), Failure> {
    let example = [
        "test",
        "--release",
        "--locked",
        "--package",
        "plugin-host",
        "--test",
        "plugin",
        "--",
        "example::",
    ];
    if !starts("valgrind", &["--version"]) {
        return Err(Failure(
            "valgrind is missing: install it (apt-get install valgrind)".into(),
        ));
    }
    cargo::run(
        "The example plugin in C under Valgrind",
        &example,
        &[(RUNNER, "valgrind --quiet --error-exitcode=9")],
    )?;
    let compilers = [
        ("clang", &["--version"][..]),
        ("python3", &["-m", "ziglang", "version"]),
    ];
    let compiler = match compilers.map(|(program, arguments)| starts(program, arguments)) {
        [true, _] => "clang",
        [false, true] => "python3 -m ziglang cc",
        [false, false] => {
            return Err(Failure(
                "a second C compiler is missing: install clang, or `pip install ziglang`".into(),
            ));
        }
    };
    cargo::run(
        &format!("The example plugin in C, built by {compiler}"),
        &example,
        &[("PLUGIN_CC", compiler)],
    )
}

fn starts(program: &str, arguments: &[&str]) -> bool {
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

fn isolated() -> Result<(), Failure> {
    cargo::build_solana_devnet()?;
    let e2e = [
        "test",
        "--release",
        "--locked",
        "--package",
        "e2e",
        "--",
        "--test-threads",
        "5",
    ];
    cargo::run("End-to-end tests with isolated plugins", &e2e, &[e2e::ISOLATED])
}

fn endurance(args: &Args) -> Result<(), Failure> {
    let endurance = [
        "test",
        "--release",
        "--locked",
        "--package",
        "e2e",
        "endurance::t14",
        "--",
        "--nocapture",
    ];
    let seconds = |minutes: u64| minutes.saturating_mul(SECONDS_PER_MINUTE).to_string();
    let (lasts, calm) = (seconds(args.endurance_minutes), seconds(args.calm_minutes));
    cargo::run(
        "Payments over nodes that lie, with kills and reorganisations",
        &endurance,
        &[
            ("ENDURANCE_SECONDS", lasts.as_str()),
            ("ENDURANCE_CALM_SECONDS", calm.as_str()),
            ("ENDURANCE_SEED", args.endurance_seed.to_string().as_str()),
        ],
    )
}

fn upgrade(args: &Args) -> Result<(), Failure> {
    let earlier = previous::build(args.previous.as_deref())?;
    let upgrade = [
        "test",
        "--release",
        "--locked",
        "--package",
        "e2e",
        "--test",
        "e2e",
        "previous::",
        "--",
        "--ignored",
        "--nocapture",
    ];
    cargo::run(
        "An upgrade, and the way back",
        &upgrade,
        &[("PREVIOUS_RELEASE", &*earlier.to_string_lossy())],
    )
}

fn surfpool() -> Result<(), Failure> {
    // In the same target directory: the tests run the release binaries next to themselves.
    let surfpool = [
        "test",
        "--locked",
        "--manifest-path",
        "tests/surfpool/Cargo.toml",
        "--target-dir",
        "target",
        "--",
        "--test-threads",
        "2",
    ];
    cargo::run("Payments on surfpool", &surfpool, &[])
}

/// Tests and clippy of the crate, which `cargo xtask test` and `cargo xtask lint` leave out: it compiles for minutes.
fn official() -> Result<(), Failure> {
    cargo::build_solana_devnet()?;
    let package = ["--release", "--locked", "--package", cargo::SOLANA_OFFICIAL];
    cargo::run(
        "Payments of the official Solana clients in Rust",
        &[&["test"][..], &package[..]].concat(),
        &[],
    )?;
    let strict = ["--all-targets", "--", "--deny", "warnings"];
    cargo::run(
        "Clippy of the same",
        &[&["clippy"][..], &package[..], &strict].concat(),
        &[],
    )
}

/// Licences, sources and advisories of all dependencies, with cargo-deny.
fn dependencies() -> Result<(), Failure> {
    let path = tools::ensure(&tools::CARGO_DENY)?;
    let environment = [("PATH", path.as_str())];
    for (what, checks) in [
        (
            "Licences and sources of all dependencies",
            &["licenses", "bans", "sources"][..],
        ),
        ("Advisories, from the network", &["advisories"]),
    ] {
        let deny = ["deny", "--locked", "check", "--hide-inclusion-graph"];
        cargo::run(what, &[&deny[..], checks].concat(), &environment)?;
    }
    Ok(())
}
