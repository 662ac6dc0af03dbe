//! The machine and the versions of a run, as far as they are known.

use std::fs;
use std::path::Path;
use std::process::Command;

use devnet::Npm;
use serde_json::Value;

use crate::results::Conditions;

const KIB_PER_GIB: u64 = 1 << 20;

pub(crate) fn of(npm: &Npm, rounds: usize, command: &str) -> Conditions {
    Conditions {
        machine: machine(),
        versions: versions(npm),
        rounds,
        command: command.to_owned(),
    }
}

fn machine() -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(value);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let meminfo = read("/proc/meminfo");
    let memory = meminfo
        .lines()
        .find(|line| line.starts_with("MemTotal:"))
        .and_then(value);
    let memory = memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    pairs(&[
        ("processor", &model.unwrap_or_default()),
        ("cores", &cores.to_string()),
        (
            "memory",
            &format!("{} GiB", memory.unwrap_or_default() / KIB_PER_GIB),
        ),
        ("Linux", read("/proc/sys/kernel/osrelease").trim()),
        ("load average before the run (1, 5, 15 minutes)", &load.join(", ")),
    ])
}

fn versions(npm: &Npm) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let commit = output(
        Command::new("git")
            .args(["log", "-1", "--format=%h of %cs"])
            .current_dir(&root),
    );
    let packages: Value = fs::read(npm.folder().join("package.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let package = |name: &str| {
        packages["dependencies"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let anvil = npm
        .anvil()
        .map(|binary| output(Command::new(binary).arg("--version")))
        .unwrap_or_default();
    let lock = fs::read_to_string(root.join("tests/peers/x402-rs/Cargo.lock")).unwrap_or_default();
    pairs(&[
        ("Switchyard", &format!("commit {commit}")),
        ("Rust", &output(Command::new("rustc").arg("--version"))),
        (
            "x402-facilitator-local, x402-chain-eip155, x402-chain-solana (x402-rs)",
            &locked(&lock, "x402-facilitator-local"),
        ),
        ("@x402/core, @x402/evm, @x402/svm", &package("@x402/core")),
        ("express", &package("express")),
        ("viem", &package("viem")),
        ("@solana/kit", &package("@solana/kit")),
        ("Node.js", &output(Command::new("node").arg("--version"))),
        ("anvil", anvil.lines().next().unwrap_or_default()),
    ])
}

/// The version of a crate in a lock file.
fn locked(lock: &str, name: &str) -> String {
    let mut lines = lock
        .lines()
        .skip_while(|line| *line != format!("name = {name:?}"));
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    version.unwrap_or_default().trim_matches('"').to_owned()
}

fn output(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
