//! The report: a page of the handbook, its charts, and the numbers that a later run is compared with.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::results::{Ratio, Results, Row, Side, shown};
use crate::{Failure, plot};

/// The numbers of a run, beside its page.
pub(crate) const NUMBERS: &str = "results.json";
const PAGE: &str = "index.md";

/// File, title, group and unit of each chart.
const CHARTS: [(&str, &str, &str, &str); 9] = [
    (
        "verify-anvil.svg",
        "Verifies per second beside anvil (more is better)",
        "Verify, beside anvil",
        "verifies/s",
    ),
    (
        "verify-5ms.svg",
        "Verifies per second, recorded node of 5 ms (more is better)",
        "Verify, recorded node, 5 ms",
        "verifies/s",
    ),
    (
        "verify-50ms.svg",
        "Verifies per second, recorded node of 50 ms (more is better)",
        "Verify, recorded node, 50 ms",
        "verifies/s",
    ),
    (
        "verify-cpu.svg",
        "CPU of a verify beside anvil (less is better)",
        "Cost of a verify, beside anvil",
        "µs of CPU",
    ),
    (
        "settle-instant.svg",
        "Until the last settle is answered, instant blocks (less is better)",
        "Settle, instant blocks",
        "ms, the last one",
    ),
    (
        "settle-2s.svg",
        "Until the last settle is answered, blocks of 2 s (less is better)",
        "Settle, blocks of 2 s",
        "ms, the last one",
    ),
    (
        "verify-solana.svg",
        "Verifies per second on Solana (more is better)",
        "Verify, Solana",
        "verifies/s",
    ),
    ("memory.svg", "Resident memory (less is better)", "Memory", "MiB"),
    (
        "core.svg",
        "Core with a no-op plugin (more is better)",
        "Core, no-op plugin",
        "requests/s",
    ),
];

const HEAD: &str = "# Benchmarks

Three facilitators, one after the other in short rounds, on one machine and one chain: the release binary of Switchyard with its
plugin files, the facilitator of x402-rs built from its published crates (`tests/peers/x402-rs`), and the official TypeScript
facilitator from npm (`tests/js/facilitator.mjs`). `cargo xtask bench --keep` writes this page.

```sh
cargo xtask bench                    # everything, five rounds
cargo xtask bench --only verify      # one part
cargo xtask bench --check            # everything, and which ratios are worse than on this page
```

- Every subject has its own funded key and its own counting proxy in front of the same anvil with the USDC contract. Before it is
  measured, it accepts good payments of an account and of a contract wallet, and refuses a forged one.
- On Solana the chain is `tests/solana-devnet` with slots of 400 ms: the real runtime with a small RPC server. Each subject
  accepts a good payment there, and refuses one of less than the price.
- Every payment is distinct. 64 buyers pay in turn, on Solana 16.
- A recorded node answers after a fixed time and computes nothing, so that the chain takes no CPU from the subject.
- CPU and context switches are those of the subject's process only. The callers, the proxy and anvil run on the same cores.
- A subject is idle while another one is measured. Payments are signed before the clock starts.
- x402-rs runs without its telemetry feature. The TypeScript facilitator runs in one process, with `NODE_ENV=production`.

";

const HOW_TO_READ: &str = "A ratio says how many times better Switchyard is in the same round, whatever the unit: 1.00 is equal, 2.00 is twice as good, 0.50 is
half as good. The number is the median of the rounds, and the range has all of them.

";

/// Writes page, charts and numbers into a folder.
pub(crate) fn write(folder: &Path, results: &Results, remarks: &[String]) -> Result<(), Failure> {
    let lost = |e: std::io::Error| Failure(format!("cannot write the report into {}: {e}", folder.display()));
    fs::create_dir_all(folder).map_err(lost)?;
    let mut charts = String::new();
    for (file, title, group, unit) in CHARTS {
        let rows: Vec<&Row> = results
            .rows_of(group)
            .filter(|row| row.quantity.unit == unit)
            .collect();
        if rows.is_empty() {
            continue;
        }
        fs::write(folder.join(file), plot::bars(title, unit, &rows)?).map_err(lost)?;
        charts += &format!("![{title}]({file})\n\n");
    }
    let page = page(results, &charts, remarks);
    fs::write(folder.join(PAGE), page).map_err(lost)?;
    let mut numbers = serde_json::to_string_pretty(results)
        .map_err(|e| Failure(format!("cannot write the numbers: {e}")))?;
    numbers.push('\n');
    fs::write(folder.join(NUMBERS), numbers).map_err(lost)
}

/// Reads the numbers of an earlier run.
pub(crate) fn read(folder: &Path) -> Result<Results, Failure> {
    let file = folder.join(NUMBERS);
    let text = fs::read(&file).map_err(|e| {
        Failure(format!(
            "cannot read {}: {e}; `cargo xtask bench --keep` writes it",
            file.display()
        ))
    })?;
    serde_json::from_slice(&text).map_err(|e| Failure(format!("{} has another form: {e}", file.display())))
}

fn page(results: &Results, charts: &str, remarks: &[String]) -> String {
    let mut page = HEAD.to_owned();
    for remark in remarks {
        page += &format!("> {remark}\n\n");
    }
    page += "## Ratios\n\n";
    page += HOW_TO_READ;
    page += &ratios(results);
    page += "## Charts\n\n";
    page += charts;
    page += "## Numbers\n\nMedians of the rounds.\n\n";
    page += &absolute(results);
    page += "## Machine, versions, command\n\n";
    page += &conditions(results);
    page
}

fn ratios(results: &Results) -> String {
    let mut text = String::new();
    for group in results.groups() {
        let rows: Vec<&Row> = results.rows_of(group).collect();
        let Some(first) = rows.iter().max_by_key(|row| row.sides.len()) else {
            continue;
        };
        let peers: Vec<&str> = first
            .sides
            .iter()
            .skip(1)
            .map(|side| side.subject.as_str())
            .collect();
        let heads: Vec<String> = peers
            .iter()
            .map(|peer| format!("beside {peer} | all rounds"))
            .collect();
        let _ = writeln!(text, "### {group}\n\n| | | {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---:|---|".repeat(peers.len()));
        for row in rows {
            let ratios = row.ratios();
            let cells: Vec<String> = peers
                .iter()
                .map(|peer| {
                    let ratio = ratios.iter().find(|(name, _)| name == peer);
                    ratio.map_or_else(|| "| ".to_owned(), |(_, ratio)| ratio_cells(*ratio))
                })
                .collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                row.quantity.name,
                row.quantity.unit,
                cells.join(" | ")
            );
        }
        text.push('\n');
    }
    text
}

fn ratio_cells(ratio: Ratio) -> String {
    format!(
        "{} | {} to {}",
        shown(ratio.median),
        shown(ratio.from),
        shown(ratio.to)
    )
}

fn absolute(results: &Results) -> String {
    let mut text = String::new();
    for group in results.groups() {
        let rows: Vec<&Row> = results.rows_of(group).collect();
        let Some(first) = rows.iter().max_by_key(|row| row.sides.len()) else {
            continue;
        };
        let subjects: Vec<&str> = first.sides.iter().map(|side| side.subject.as_str()).collect();
        let _ = writeln!(text, "### {group}: numbers\n\n| | | {} |", subjects.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---:|".repeat(subjects.len()));
        for row in rows {
            let of = |name: &&str| {
                row.sides
                    .iter()
                    .find(|side| side.subject == **name)
                    .map(Side::median)
            };
            let cells: Vec<String> = subjects
                .iter()
                .map(|name| of(name).map(shown).unwrap_or_default())
                .collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                row.quantity.name,
                row.quantity.unit,
                cells.join(" | ")
            );
        }
        text.push('\n');
    }
    text
}

fn conditions(results: &Results) -> String {
    let conditions = &results.conditions;
    let mut text = format!(
        "`{}`, {} rounds.\n\n| | |\n|---|---|\n",
        conditions.command, conditions.rounds
    );
    for (name, value) in conditions.machine.iter().chain(&conditions.versions) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Quantity;

    fn results() -> Results {
        let mut results = Results::default();
        let quantity = Quantity::higher("Verify, beside anvil", "16 connections", "verifies/s");
        for (subject, value) in [("Switchyard", 200_000), ("x402-rs", 100_000)] {
            results.add(&quantity, subject, value);
        }
        results
    }

    #[test]
    fn ratios_come_before_numbers() {
        let page = page(&results(), "", &["The machine was busy.".to_owned()]);
        let ratio = page
            .find("| 16 connections | verifies/s | 2.00 | 2.00 to 2.00 |")
            .expect("a ratio");
        let number = page
            .find("| 16 connections | verifies/s | 2,000 | 1,000 |")
            .expect("a number");
        assert!(ratio < number);
        assert!(page.contains("> The machine was busy."));
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &results(), &[]).expect("written");
        assert_eq!(read(folder.path()).expect("read"), results());
        assert!(folder.path().join("verify-anvil.svg").is_file());
        assert!(!folder.path().join("memory.svg").exists());
    }
}
