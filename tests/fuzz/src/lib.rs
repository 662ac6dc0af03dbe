//! A harness for fuzz targets on stable Rust.
//!
//! A target is a function of bytes that must not panic, take long or allocate much. [`run`] gives it every file of its
//! corpus and then random changes of those files. Input number `n` of a target depends only on the seed, the target's
//! name, `n`, the corpus and the toolchain, so a run with the same seed makes the same inputs in the same order.
//!
//! Not guaranteed: no coverage guides the changes. An abort, such as a stack overflow, leaves no file with its input
//! unless `FUZZ_KEEP` is set.

mod meter;
mod mutate;

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use meter::Meter;
use mutate::{Random, mutate};

/// Longest time for one input. The machine may be busy: a target needs a small part of it.
const MAX_TIME: Duration = Duration::from_secs(5);
/// Most bytes that a target may hold at once.
const MAX_HELD: usize = 64 << 20;
/// Time for each target when `FUZZ_MILLISECONDS` is not set, as in `cargo xtask test`.
const SHORT_RUN: Duration = Duration::from_millis(800);

/// Runs a target on its corpus and on changes of it.
///
/// Environment: `FUZZ_SEED` (default 1), `FUZZ_MILLISECONDS` (time for each target), `FUZZ_INPUT` (only this file),
/// `FUZZ_KEEP` (each input is written to a file before it runs).
///
/// # Panics
/// The target failed on an input. The message names the file with the input and the command that repeats it.
pub fn run(name: &str, max_bytes: usize, target: impl Fn(&[u8])) {
    if let Some(path) = std::env::var_os("FUZZ_INPUT") {
        let input = std::fs::read(&path).expect("FUZZ_INPUT names a file");
        attempt(&input, &target).expect("this input passes");
        return;
    }
    let corpus = corpus(name);
    for input in &corpus {
        check(name, input, &target);
    }
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let budget = number("FUZZ_MILLISECONDS").map_or(SHORT_RUN, Duration::from_millis);
    let started = Instant::now();
    let mut inputs: u64 = 0;
    while started.elapsed() < budget {
        let mut random = Random::new(seed, name, inputs);
        check(name, &mutate(&corpus, &mut random, max_bytes), &target);
        inputs += 1;
    }
    println!(
        "{name}: {} files, {inputs} changed inputs, seed {seed}",
        corpus.len()
    );
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number in FUZZ_SEED and FUZZ_MILLISECONDS"))
}

/// The files of a target's corpus, in the order of their names. Cargo runs tests in the folder of their package.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new("corpus").join(name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the target has a folder in tests/fuzz/corpus")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no files", folder.display());
    let read = |path: &PathBuf| std::fs::read(path).expect("a readable file");
    paths.iter().map(read).collect()
}

/// Runs one input and reports a failure with what repeats it.
fn check(name: &str, input: &[u8], target: &impl Fn(&[u8])) {
    if std::env::var_os("FUZZ_KEEP").is_some() {
        keep(name, input);
    }
    if let Err(why) = attempt(input, target) {
        let path = keep(name, input);
        panic!(
            "fuzz target {name} failed: {why}. Repeat with: FUZZ_INPUT={} cargo test --release --locked -p fuzz {name}",
            path.display()
        );
    }
}

/// Runs one input. `Err` describes what is wrong.
fn attempt(input: &[u8], target: &impl Fn(&[u8])) -> Result<(), String> {
    let started = Instant::now();
    meter::start();
    let result = catch_unwind(AssertUnwindSafe(|| target(input)));
    let held = meter::most_held();
    let took = started.elapsed();
    if let Err(panic) = result {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        return Err(format!("it panicked: {}", text.unwrap_or("without a text")));
    }
    if took > MAX_TIME {
        return Err(format!("it took {} ms", took.as_millis()));
    }
    if held > MAX_HELD {
        return Err(format!("it held {} MiB", held >> 20));
    }
    Ok(())
}

/// Writes an input to a file of its own.
fn keep(name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new("../../target/fuzz");
    std::fs::create_dir_all(folder).expect("a folder for failing inputs");
    let folder = folder.canonicalize().expect("the folder exists");
    let mut file = name.to_owned();
    if std::env::var_os("FUZZ_KEEP").is_none() {
        // Another input gets another name.
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        write!(file, "-{:016x}", hasher.finish()).expect("a string grows");
    }
    let path = folder.join(file);
    std::fs::write(&path, input).expect("a file for the failing input");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static METER: Meter = Meter;

    #[test]
    fn panics_and_large_allocations_fail_an_input() {
        let fails = |target: &dyn Fn(&[u8])| attempt(b"x", &target).expect_err("it fails");
        assert!(fails(&|_| panic!("at once")).contains("at once"));
        let large = fails(&|_| drop(std::hint::black_box(vec![1_u8; MAX_HELD + 1])));
        assert!(large.contains("held"), "{large}");
        assert_eq!(attempt(b"x", &|_: &[u8]| ()), Ok(()));
    }

    #[test]
    fn a_failure_names_a_file_with_the_input() {
        let failed = catch_unwind(|| check("harness", b"bad", &|input: &[u8]| assert_ne!(input, b"bad")));
        let panic = failed.expect_err("it fails");
        let text = panic.downcast_ref::<String>().expect("a message");
        let (_, rest) = text.split_once("FUZZ_INPUT=").expect("a command");
        let path = rest.split(' ').next().expect("a path");
        assert_eq!(std::fs::read(path).expect("the file"), b"bad");
        std::fs::remove_file(path).expect("it can be removed");
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_another_one_does_not() {
        let corpus = [b"{\"amount\":\"10000\"}".to_vec(), b"0x1234".to_vec()];
        let inputs = |seed| -> Vec<_> {
            (0..200)
                .map(|index| mutate(&corpus, &mut Random::new(seed, "t", index), 64))
                .collect()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(1).iter().all(|input| input.len() <= 64));
    }
}
