//! The HTTP API from the outside: its OpenAPI document is valid, a fuzzer finds no reply that the document does not have, and the
//! official clients read every reply of the end-to-end tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use devnet::{Devnet, Npm, Options};
use e2e::{Facilitator, Settings};

use crate::paint::heading;
use crate::{Failure, cargo};

/// Where the Python programs are installed.
const PYTHON: &str = "target/openapi-python";
/// Where replies are recorded.
const RECORDING: &str = "target/openapi-recorded.jsonl";
/// Requests for each operation and phase of the fuzzer.
const EXAMPLES: &str = "300";
/// A tenant's API key.
const KEY: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
const KEY_SHA256: &str = "dc4c5d17d972b66638dd360cf701ca3d0d7ef3b06c5156cd4de5da931555d567";

/// Checks the document against the specification's schema, with a validator that npm installs (5 MB).
pub(crate) fn validate() -> Result<(), Failure> {
    heading("The OpenAPI document");
    let folder = cargo::root().join("tests/js/openapi");
    let stamp = folder.join("node_modules/.installed-from.json");
    let lock = folder.join("package-lock.json");
    let wanted = fs::read(&lock).map_err(|error| Failure(format!("{}: {error}", lock.display())))?;
    if !fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        let mut install = Command::new("npm");
        let install = install.args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]);
        run(install.current_dir(&folder))?;
        fs::write(&stamp, wanted).map_err(|error| Failure(format!("{}: {error}", stamp.display())))?;
    }
    let mut check = Command::new("node");
    run(check
        .args(["check.mjs", "../../../docs/src/openapi.json"])
        .current_dir(&folder))
}

/// Fuzzes the release binary, then replays every reply of the end-to-end tests to the official clients.
pub(crate) fn fuzz_and_replay(seed: u64) -> Result<(), Failure> {
    validate()?;
    let python = python()?;
    heading("The HTTP API, fuzzed by its OpenAPI document");
    let tenant = format!(
        "[[tenants]]\nname = \"shop\"\nkey_sha256 = \"{KEY_SHA256}\"\nrequests_per_minute = 0\nreserve_at_verify = true\n"
    );
    for (more, key) in [("", None), (tenant.as_str(), Some(KEY))] {
        fuzz(&python, seed, more, key)?;
    }
    replay(&python)
}

fn fuzz(python: &Path, seed: u64, more: &str, key: Option<&str>) -> Result<(), Failure> {
    let evm = Devnet::start(Options::default())?;
    let settings = Settings {
        network: "options = { max_head_age_s = 0 }".to_owned(),
        more: format!("[limits]\naddress_requests_per_minute = 0\n{more}"),
        ..Settings::new(evm.url(), &evm.facilitators[..1])
    };
    let facilitator = Facilitator::start(&settings)?;
    let mut command = Command::new(python.join("python3"));
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .arg(cargo::root().join("tests/openapi/fuzz.py"))
        .args([facilitator.url().as_str(), EXAMPLES, &seed.to_string()])
        .args(key)
        .env("PATH", format!("{}:{path}", python.display()));
    run(&mut command)
}

fn replay(python: &Path) -> Result<(), Failure> {
    let recording = cargo::root().join(RECORDING);
    if recording.exists() {
        fs::remove_file(&recording).map_err(|error| Failure(format!("{RECORDING}: {error}")))?;
    }
    let file = recording.display().to_string();
    let tests = [
        "test",
        "--release",
        "--locked",
        "--package",
        "e2e",
        "--test",
        "e2e",
    ];
    cargo::run(
        "End-to-end tests, recorded",
        &tests,
        &[(e2e::http::RECORD, file.as_str())],
    )?;
    heading("Recorded replies, read by the official clients");
    run(Npm::ensure()?.script("recorded.mjs").arg(&recording))?;
    let mut models = Command::new(python.join("python3"));
    run(models
        .arg(cargo::root().join("tests/openapi/models.py"))
        .arg(&recording))
}

/// Installs the pinned Python programs, and returns the folder of their commands.
fn python() -> Result<PathBuf, Failure> {
    let requirements = cargo::root().join("tests/openapi/requirements.txt");
    let folder = cargo::root().join(PYTHON);
    let stamp = folder.join("installed.txt");
    let wanted =
        fs::read(&requirements).map_err(|error| Failure(format!("{}: {error}", requirements.display())))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder.join("bin"));
    }
    heading("Schemathesis and the Python client, into a virtual environment");
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut install = Command::new(folder.join("bin/pip"));
    run(install
        .args(["install", "--quiet", "--requirement"])
        .arg(&requirements))?;
    fs::write(&stamp, wanted).map_err(|error| Failure(format!("{}: {error}", stamp.display())))?;
    Ok(folder.join("bin"))
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|error| Failure(format!("{program} did not start ({error}): install it")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure(format!(
            "{program} failed ({status}); its output is above"
        )))
    }
}
