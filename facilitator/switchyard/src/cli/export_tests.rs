//! `switchyard journal export`, over the journal of a process that runs.

use journal::testkit::{opened_with, paid, prepared};
use journal::{AttemptKind, Event};
use sdk_plugin::{Amount, StepIndex};
use serde_json::Value;

use super::payments_tests::Operator;

impl Operator {
    async fn commit(&self, events: Vec<Event>) {
        self.journal.commit(events).await.unwrap();
    }

    fn exported(&self, words: &[&str]) -> Vec<Value> {
        let text = self.run(&[&["journal", "export"], words].concat()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn attempt(id: u64, sequence: u64, kind: AttemptKind, covers: &[u64]) -> Event {
    let Event::Prepared(mut new) = prepared(id, 0, sequence) else {
        panic!("an attempt");
    };
    new.row.kind = kind;
    new.row.covers = covers.iter().map(|id| (*id, StepIndex::FIRST)).collect();
    Event::Prepared(new)
}

fn fee(attempt: u64, fee: u64) -> Event {
    Event::FeePaid {
        attempt,
        fee: Amount::from(fee),
        node: None,
    }
}

fn paid_by(settlement: u64, tx: &str) -> Event {
    let mut event = paid(settlement, &format!("log {settlement}"));
    if let Event::Paid { tx_id, .. } = &mut event {
        *tx_id = tx.into();
    }
    event
}

#[tokio::test]
async fn the_sum_of_gas_is_what_the_signers_paid() {
    for operator in Operator::of_each().await {
        sum_the_gas(&operator).await;
    }
}

async fn sum_the_gas(operator: &Operator) {
    for id in 1..=3 {
        operator.opened(id, |row| row.tenant = Some("shop".into())).await;
    }
    // One transaction pays 1 and 2; a fill takes the slot of 3, and its step is open again elsewhere; another fill carries nothing.
    operator
        .commit(vec![
            attempt(11, 0, AttemptKind::Steps, &[1, 2]),
            attempt(12, 1, AttemptKind::Steps, &[3]),
            attempt(13, 1, AttemptKind::Fill, &[3]),
            attempt(14, 2, AttemptKind::Fill, &[]),
        ])
        .await;
    operator
        .commit(vec![paid_by(1, "0xT11"), fee(11, 101), paid_by(2, "0xt11")])
        .await;
    operator.commit(vec![fee(13, 7), fee(14, 5)]).await;
    let lines = operator.exported(&[]);
    let of = |line: &Value, names: &[&str]| -> Vec<String> {
        let text = |name: &&str| line[*name].as_str().unwrap_or("-").to_owned();
        names.iter().map(text).collect()
    };
    let shown: Vec<_> = lines
        .iter()
        .map(|line| {
            of(
                line,
                &["kind", "payment", "amount", "outcome", "transaction", "gasPaid"],
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ["payment", "ref1", "500", "settled", "0xT11", "51"],
            ["payment", "ref2", "500", "settled", "0xt11", "50"],
            ["payment", "ref3", "500", "pending", "0xt12", "-"],
            ["cost", "ref3", "-", "filled", "0xt13", "7"],
            ["cost", "-", "-", "filled", "0xt14", "5"],
        ]
    );
    assert_eq!(
        of(
            &lines[0],
            &[
                "time", "payer", "payee", "asset", "network", "scheme", "tenant", "signer"
            ]
        ),
        [
            "1970-01-01T00:00:01.000Z",
            "0xP1",
            "0xShop",
            "0xUSD",
            "eip155:84532",
            "exact",
            "shop",
            "0xa"
        ]
    );
    let csv = operator.run(&["journal", "export", "--csv"]).unwrap();
    let mut rows = csv.split("\r\n");
    let names: Vec<&str> = rows.next().unwrap().split(',').collect();
    let gas = names.iter().position(|name| *name == "gasPaid").unwrap();
    let sum: u64 = rows
        .filter(|row| !row.is_empty())
        .map(|row| row.split(',').nth(gas).unwrap())
        .map(|cell| cell.parse().unwrap_or(0))
        .sum();
    assert_eq!(sum, 101 + 7 + 5, "{csv}");
}

#[tokio::test]
async fn every_payment_of_a_time_is_exported_once_and_in_order() {
    for operator in Operator::of_each().await {
        export_everything(&operator).await;
    }
}

async fn export_everything(operator: &Operator) {
    let number = 2 * super::export::PAGE as u64 + 3;
    let all = (1..=number).map(|id| {
        opened_with(id, &format!("c{id}"), |row, _, _| {
            row.reference = format!("ref{id}");
            row.opened_at_ms = id * 1_000;
        })
    });
    operator.commit(all.collect()).await;
    for (words, expected) in [
        (&[][..], 1..=number),
        (&["--since", "1970-01-01T00:01:00Z"], 60..=number),
        (&["--until", "1970-01-01T00:01:00Z"], 1..=59),
        (
            &[
                "--since",
                "1970-01-01T00:01:00Z",
                "--until",
                "1970-01-01T00:10:00Z",
            ],
            60..=599,
        ),
    ] {
        let lines = operator.exported(words);
        let names: Vec<&str> = lines
            .iter()
            .map(|line| line["payment"].as_str().unwrap())
            .collect();
        let expected: Vec<String> = expected.map(|id| format!("ref{id}")).collect();
        assert_eq!(names, expected, "{words:?}");
    }
}

#[tokio::test]
async fn hostile_names_run_nothing_in_a_spreadsheet_and_break_no_line() {
    let operator = Operator::new();
    let hostile = [
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1+1",
        "\r=1+1",
        "a\r\n=1+1,\"x\"",
        "\u{202e}\u{0}\u{1b}[2J",
        "\",=1+1,\"",
        " =1",
        "＝1",
    ];
    for (id, text) in (1..).zip(hostile) {
        operator
            .opened(id, |row| {
                row.payer = text.into();
                row.pay_to = text.into();
                row.tenant = Some(text.into());
            })
            .await;
    }
    let csv = operator.run(&["journal", "export", "--csv"]).unwrap();
    let rows: Vec<&str> = csv.trim_end().split("\r\n").collect();
    assert_eq!(rows.len(), 1 + hostile.len(), "{csv}");
    for row in &rows {
        let cells = cells(row);
        assert_eq!(cells.len(), 16, "{row}");
        for cell in cells {
            let start = cell.trim_start().chars().next().unwrap_or('x');
            assert!(!"=+-@＝\t\r".contains(start), "{cell:?} in {row}");
            assert!(!cell.contains(char::is_control), "{cell:?}");
        }
    }
    // A number stays one.
    assert!(rows[1].contains(",500,"), "{}", rows[1]);
    let text = operator.run(&["journal", "export"]).unwrap();
    assert!(
        text.bytes()
            .all(|byte| byte == b'\n' || (b' '..0x7f).contains(&byte)),
        "{text}"
    );
    for (line, hostile) in operator.exported(&[]).iter().zip(hostile) {
        for name in ["payer", "payee", "tenant"] {
            assert_eq!(line[name], hostile);
        }
    }
}

/// The cells of a line of CSV (RFC 4180).
fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    let mut characters = row.chars().peekable();
    while let Some(character) = characters.next() {
        let cell = cells.last_mut().unwrap();
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    assert!(!is_quoted, "{row}");
    cells
}

#[tokio::test]
async fn a_file_is_written_once_and_never_over_another() {
    let operator = Operator::new();
    operator.opened(1, |_| {}).await;
    let path = operator.folder.path().join("export.jsonl");
    let words = ["journal", "export", "--out", path.to_str().unwrap()];
    assert_eq!(operator.run(&words).unwrap(), "");
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"ref1\""));
    let error = operator.run(&words).unwrap_err();
    assert!(
        error.contains("export.jsonl") && error.contains("name a new file"),
        "{error}"
    );
}
