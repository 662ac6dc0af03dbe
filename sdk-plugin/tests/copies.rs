//! Code that the EVM and the Solana crates share belongs in this crate: no run of more than [`MAX_RUN`] lines occurs in both.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest run of identical lines, not counting blank ones and ignoring indentation.
const MAX_RUN: usize = 15;

const EVM: &[&str] = &["schemes-evm", "plugins/evm", "plugins/evm-auth-capture"];
const SOLANA: &[&str] = &["schemes-svm", "plugins/svm"];

struct File {
    path: PathBuf,
    /// Number and text of each line that is not blank.
    lines: Vec<(usize, String)>,
}

fn files(folders: &[&str]) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        // The crate may be tested without its neighbours.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let lines = text.lines().map(str::trim).zip(1..);
                let lines = lines.filter(|(line, _)| !line.is_empty());
                let lines = lines.map(|(line, number)| (number, line.to_owned()));
                files.push(File {
                    path,
                    lines: lines.collect(),
                });
            }
        }
    }
    files
}

/// How many lines from here on are the same.
fn run(one: &[(usize, String)], other: &[(usize, String)]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|((_, one), (_, other))| one == other).count()
}

#[test]
fn evm_and_solana_crates_share_no_long_runs_of_lines() {
    let solana = files(SOLANA);
    let mut starts: HashMap<&str, Vec<(&File, usize)>> = HashMap::new();
    for file in &solana {
        for (index, (_, line)) in file.lines.iter().enumerate() {
            starts.entry(line).or_default().push((file, index));
        }
    }
    let mut copies = Vec::new();
    for evm in files(EVM) {
        for (index, (number, line)) in evm.lines.iter().enumerate() {
            for (solana, start) in starts.get(line.as_str()).into_iter().flatten() {
                let before = |lines: &[(usize, String)], at: usize| {
                    let before = at.checked_sub(1)?;
                    lines.get(before).map(|(_, line)| line.clone())
                };
                // A run is reported at its first line.
                let (a, b) = (before(&evm.lines, index), before(&solana.lines, *start));
                if a.is_some() && a == b {
                    continue;
                }
                let length = run(&evm.lines[index..], &solana.lines[*start..]);
                if length > MAX_RUN {
                    let other = solana.lines[*start].0;
                    copies.push(format!(
                        "{}:{number} and {}:{other}: {length} lines",
                        evm.path.display(),
                        solana.path.display()
                    ));
                }
            }
        }
    }
    assert!(
        copies.is_empty(),
        "move these into sdk-plugin:\n{}",
        copies.join("\n")
    );
}
