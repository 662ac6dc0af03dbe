//! `switchyard payments` and `switchyard explain`, over the journal of a process that runs.

use std::sync::Arc;

use clap::Parser as _;
use journal::lease::Shared as _;
use journal::memory::MemoryJournal;
use journal::postgres::{PostgresJournal, Settings};
use journal::sqlite::SqliteJournal;
use journal::testkit::{opened_with, paid, prepared};
use journal::{Journal, SettlementRow};
use sdk_plugin::Amount;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

pub(super) struct Operator {
    pub(super) folder: TempDir,
    pub(super) journal: Arc<dyn Journal>,
}

/// A folder with a configuration.
fn configured(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[keys.hot]\nfile = \"none.key\"\n[networks.\"eip155:1\"]\nrpc = [\"http://127.0.0.1:1\"]\n\
         signers = [\"hot\"]\nmax_cost = \"1000000\"\n[plugins]\ndev = true\n[plugin.x]\nfile = \"x.so\"\n\
         [data]\ndirectory = \"data\"\n{more}"
    );
    std::fs::write(folder.path().join("switchyard.toml"), text).unwrap();
    folder
}

impl Operator {
    pub(super) fn new() -> Self {
        let folder = configured("");
        let journal = SqliteJournal::open(&folder.path().join("data")).unwrap();
        let journal = Arc::new(journal);
        Self { folder, journal }
    }

    /// Before the first start.
    pub(super) fn new_without_journal() -> Self {
        let (folder, journal) = (configured(""), Arc::new(MemoryJournal::default()));
        Self { folder, journal }
    }

    /// The process stops.
    pub(super) fn close(&mut self) {
        self.journal = Arc::new(MemoryJournal::default());
    }

    /// With the journal in a database, as a node that owns the lane of the attempts.
    pub(super) async fn in_database() -> Self {
        let database = pg::server().database();
        let folder = configured(&format!("[journal]\npostgres = {database:?}\n"));
        let journal = PostgresJournal::open(&Settings::new(database)).unwrap();
        let taken = journal.take("eip155:84532|0xa", None).await;
        assert!(taken.unwrap().is_some());
        let journal = Arc::new(journal);
        Self { folder, journal }
    }

    /// One of each back end.
    pub(super) async fn of_each() -> [Self; 2] {
        [Self::new(), Self::in_database().await]
    }

    pub(super) async fn opened(&self, id: u64, change: impl FnOnce(&mut SettlementRow)) {
        let opened = opened_with(id, &format!("evm|eip155:1|0xC{id}"), |row, _, _| {
            row.reference = format!("ref{id}");
            row.payer = format!("0xP{id}");
            row.pay_to = "0xShop".into();
            row.asset = "0xUSD".into();
            row.amount = Some(Amount::from(500_u64));
            row.opened_at_ms = id * 1_000;
            change(row);
        });
        self.journal.commit(vec![opened]).await.unwrap();
    }

    pub(super) fn run(&self, words: &[&str]) -> Result<String, String> {
        let file = self.folder.path().join("switchyard.toml");
        let words = ["switchyard"].iter().chain(words).copied();
        let cli = Cli::try_parse_from(words.chain(["--config", file.to_str().unwrap()]));
        let mut out = Vec::new();
        execute(cli.map_err(|error| error.to_string())?.command, &mut out)
            .map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn json(&self, words: &[&str]) -> Vec<Value> {
        let lines = self.run(&[words, &["--json"]].concat()).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn ids(&self, words: &[&str]) -> Vec<String> {
        let payments = self.json(&[&["payments"], words].concat());
        payments
            .iter()
            .map(|payment| payment["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn payments_are_selected_by_every_option_while_a_process_runs() {
    for operator in Operator::of_each().await {
        select_by_every_option(&operator).await;
    }
}

async fn select_by_every_option(operator: &Operator) {
    for id in 1..=4 {
        operator
            .opened(id, |row| row.tenant = (id == 4).then(|| "shop".to_owned()))
            .await;
    }
    operator
        .journal
        .commit(vec![prepared(11, 1, 0), paid(1, "log")])
        .await
        .unwrap();
    for (words, expected) in [
        (&[][..], &["ref4", "ref3", "ref2", "ref1"][..]),
        (&["--limit", "0"], &["ref4", "ref3", "ref2", "ref1"]),
        (&["--limit", "2"], &["ref4", "ref3"]),
        (&["--open"], &["ref4", "ref3", "ref2"]),
        (&["--open", "--limit", "1"], &["ref4"]),
        (&["--status", "settled"], &["ref1"]),
        (&["--status", "failed"], &[]),
        (&["--tx", "0xt11"], &["ref1"]),
        (&["--tx", "0xt11", "--open"], &[]),
        (&["--claim", "0xc2"], &["ref2"]),
        (&["--claim", "evm|eip155:1|0xC2", "--payer", "0xP2"], &["ref2"]),
        (&["--claim", "evm|eip155:1|0xC2", "--payer", "0xP3"], &[]),
        (&["--payer", "0xP3"], &["ref3"]),
        (
            &["--payee", "0xShop", "--until", "1970-01-01T00:00:03Z"],
            &["ref2", "ref1"],
        ),
        (&["--since", "1970-01-01T00:00:03Z"], &["ref4", "ref3"]),
        (&["--since", "1h"], &[]),
        (&["--tenant", "shop"], &["ref4"]),
    ] {
        assert_eq!(operator.ids(words), expected, "{words:?}");
    }
    let table = operator.run(&["payments", "--limit", "1"]).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("OPENED (UTC)") && lines.len() == 2,
        "{table}"
    );
    assert!(
        lines[1].starts_with("1970-01-01T00:00:04.000Z  pending  500     0xP4"),
        "{table}"
    );
    assert_eq!(
        operator.run(&["payments", "--payer", "0xP9"]).unwrap(),
        "no payment matches\n"
    );
    for (words, hint) in [
        (&["--since", "tomorrow"][..], "24h"),
        (&["--since", "h"], "24h"),
        (&["--status", "lost"], "reversed"),
        (&["--json", "--csv"], "cannot be used"),
    ] {
        let error = operator.run(&[&["payments"], words].concat()).unwrap_err();
        assert!(error.contains(hint), "{words:?}: {error}");
    }
}

#[tokio::test]
async fn explain_shows_every_event_in_order() {
    for operator in Operator::of_each().await {
        explain_every_event(&operator).await;
    }
}

async fn explain_every_event(operator: &Operator) {
    operator
        .opened(1, |row| {
            row.tenant = Some("shop".into());
            row.idempotency_key = Some("order 7".into());
        })
        .await;
    operator.journal.commit(vec![prepared(11, 1, 5)]).await.unwrap();
    operator.journal.commit(vec![paid(1, "log")]).await.unwrap();
    for name in ["ref1", "0xC1", "evm|eip155:1|0xC1", "0xt11", " 0xt11 "] {
        let explained = operator.json(&["explain", name]);
        let [explained] = explained.as_slice() else {
            panic!("{name}: {explained:?}");
        };
        let listed = operator.json(&["payments"]);
        for (member, value) in listed[0].as_object().unwrap() {
            assert_eq!(&explained[member], value, "{member}");
        }
        let events: Vec<&str> = explained["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["event"].as_str().unwrap())
            .collect();
        assert_eq!(events, ["opened", "prepared", "paid"]);
        let prepared = &explained["history"][1];
        assert_eq!(
            (&prepared["transaction"], &prepared["sequence"]),
            (&"0xt11".into(), &5.into())
        );
        assert_eq!(prepared["bid"]["fee"], "1");
        assert!(prepared["at"].as_str().unwrap().ends_with('Z') && prepared.get("atMs").is_none());
    }
    let text = operator.run(&["explain", "ref1"]).unwrap();
    for part in [
        "payment      ref1\n",
        "status       settled: the chain shows the payment; the payer must not pay again\n",
        "amount       500 atomic units of 0xUSD\n",
        "tenant       shop\n",
        "key          order 7\n",
        "claim        evm|eip155:1|0xC1, generation 0\n",
        "Z  opened           generation 0\n",
        "Z  signed           step 0, transaction 0xt11, signer 0xa, nonce 5, attempt 11, max cost 7 native atomic units, \
         bid {\"fee\":\"1\"}\n",
        "Z  paid             transaction 0xt, block 50\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let error = operator.run(&["explain", "0xno\x1b[2J"]).unwrap_err();
    assert!(
        error.contains("no payment is recorded under 0xno\\u{1b}[2J"),
        "{error}"
    );
    // No signed bytes and no plan: they are worth money, or belong to others.
    for words in [&["explain", "ref1"][..], &["explain", "ref1", "--json"]] {
        let text = operator.run(words).unwrap();
        assert!(
            !text.contains("plan of") && !text.contains("000000000000000b"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn hostile_names_reach_neither_terminal_nor_spreadsheet() {
    for operator in Operator::of_each().await {
        print_hostile_names(&operator).await;
    }
}

async fn print_hostile_names(operator: &Operator) {
    operator
        .opened(1, |row| {
            row.payer = "=HYPERLINK(\"http://evil\")".into();
            row.pay_to = "\x1b]0;owned\x07\u{202e}".into();
            row.idempotency_key = Some("a\u{9b}2J".into());
            row.asset = "@x".into();
        })
        .await;
    let csv = operator.run(&["payments", "--csv"]).unwrap();
    assert!(csv.contains(",\"'=HYPERLINK(\"\"http://evil\"\")\","), "{csv}");
    assert!(csv.contains(",\"'@x\","), "{csv}");
    assert_eq!(csv.matches("\r\n").count(), 2);
    for words in [
        &["payments"][..],
        &["payments", "--csv"],
        &["payments", "--json"],
        &["explain", "ref1"],
        &["explain", "ref1", "--json"],
    ] {
        let text = operator.run(words).unwrap();
        let harmful = |character: char| {
            (character.is_control() && !matches!(character, '\n' | '\r')) || character == '\u{202e}'
        };
        assert!(!text.contains(harmful), "{words:?}: {text:?}");
    }
    assert_eq!(
        operator.json(&["payments"])[0]["payTo"],
        "\x1b]0;owned\x07\u{202e}"
    );
}

#[test]
fn without_a_journal_the_commands_say_so() {
    let operator = Operator::new();
    let Operator { folder, journal } = operator;
    drop(journal);
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    let file = folder.path().join("switchyard.toml");
    for words in [&["payments"][..], &["explain", "x"]] {
        let words = ["switchyard"].iter().chain(words).copied();
        let cli = Cli::try_parse_from(words.chain(["--config", file.to_str().unwrap()])).unwrap();
        let error = execute(cli.command, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("there is no journal"), "{error}");
    }
}

#[test]
fn the_help_teaches_with_examples() {
    use clap::CommandFactory as _;
    let mut help = Cli::command();
    for name in ["payments", "explain"] {
        let text = help
            .find_subcommand_mut(name)
            .unwrap()
            .render_long_help()
            .to_string();
        assert!(
            text.contains(&format!("Examples:\n  switchyard {name} ")),
            "{text}"
        );
    }
}
