//! The real SQLite back end on files that lose, tear and reorder what was not synced when the power fails: whatever is
//! there afterwards, every acknowledged commit is in it, and none in part.

use std::process::Command;

/// Seeds whose journal is in files: 5, 13, 21 and so on.
const SEEDS: &str = "40";

#[test]
fn law3_a_power_cut_during_any_write_of_any_commit_loses_and_tears_nothing() {
    let run = Command::new(env!("CARGO_BIN_EXE_simulator"))
        .args(["--from", "5", "--step", "8", "--seeds", SEEDS])
        .output()
        .expect("the simulator starts");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(
        text.contains("lost 0, twice 0, released twice 0, false answers 0, other violations 0"),
        "{text}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let cuts: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("commit") && !line.contains("seeds"))
        .filter_map(|line| line.get(24..)?.split_whitespace().nth(2))
        .collect();
    let struck = cuts
        .iter()
        .filter(|count| count.parse::<u64>().is_ok_and(|count| count > 0));
    assert!(
        struck.count() >= 8,
        "the power failed at few kinds of commit: {text}"
    );
}

/// What the simulator is good for: each defect that is planted alone is noticed.
#[test]
fn every_planted_defect_is_noticed() {
    let run = Command::new(env!("CARGO_BIN_EXE_simulator"))
        .arg("--defects")
        .output()
        .expect("the simulator starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}
