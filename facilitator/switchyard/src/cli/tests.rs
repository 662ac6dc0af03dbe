use std::path::Path;

use clap::CommandFactory as _;

use super::journal_files::{BackupCommand, JournalCommand, RestoreCommand};
use super::*;
use crate::app::NetworkReport;
use base::nodes::NodeState;
use base::service::NetworkReadiness;
use engine::measure::SignerFigures;
use journal::sqlite::SqliteJournal;
use journal::testkit::opened_with;
use journal::{Event, Journal as _};
use sdk_plugin::Amount;

fn stdout(command: Command) -> Result<String, String> {
    let mut out = Vec::new();
    execute(command, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_command_line_is_valid_and_has_examples() {
    Cli::command().debug_assert();
    let mut help = Cli::command();
    let text = help.render_long_help().to_string();
    for command in [
        "serve",
        "check",
        "plugin",
        "key",
        "config",
        "switchyard init --network",
    ] {
        assert!(text.contains(command), "{command} in {text}");
    }
    for words in [
        ["plugin", "inspect"],
        ["key", "hash"],
        ["key", "new"],
        ["key", "import"],
    ] {
        let sub = help
            .find_subcommand_mut(words[0])
            .unwrap()
            .find_subcommand_mut(words[1])
            .unwrap();
        assert!(
            sub.render_long_help().to_string().contains("Example"),
            "{words:?}"
        );
    }
    let cli = Cli::try_parse_from(["switchyard", "check", "-c", "x.toml"]).unwrap();
    assert!(matches!(cli.command,
        Command::Check(CheckCommand { ask: false, file: ConfigFile { config } }) if config == Path::new("x.toml")));
}

#[test]
fn a_key_is_hashed_as_the_http_api_hashes_it() {
    let hashed = |text: &str| {
        let mut out = Vec::new();
        key_hash::hash(text.as_bytes(), &mut out)
            .map(|()| String::from_utf8(out).unwrap())
            .map_err(|e| e.to_string())
    };
    // sha256 of 32 times "a".
    let want = "key_sha256 = \"3ba3f5f43b92602683c19aee62a20342b084dd5971ddd33808d81a328879a547\"\n";
    assert_eq!(hashed(&format!("{}\n", "a".repeat(32))).as_deref(), Ok(want));
    for bad in [
        "",
        "\n",
        "short",
        &"é".repeat(32),
        &"a ".repeat(32),
        &"a".repeat(1_025),
    ] {
        let error = hashed(bad).unwrap_err();
        assert!(error.contains("openssl rand -hex 32"), "{error}");
        assert!(bad.len() < 5 || !error.contains(bad), "a key is not repeated");
    }
}

#[test]
fn check_reports_all_errors_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switchyard.toml");
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    std::fs::write(folder.path().join("plugins/x.so"), "not a plugin").unwrap();
    let text = "[keys.hot]\nfile = \"none.key\"\n[networks.\"eip155:1\"]\nrpc = [\"http://127.0.0.1:1\"]\n\
                signers = [\"hot\"]\nmax_cost = \"1000000\"\n[plugins]\ndev = true\n[plugin.x]\nfile = \"x.so\"\n";
    std::fs::write(&file, text).unwrap();
    let error = stdout(Command::Check(CheckCommand {
        ask: true,
        file: ConfigFile { config: file.clone() },
    }))
    .unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("toml:10: plugin.x.file: ") && line.contains("not an ELF file")),
        "{error}"
    );
    assert!(
        lines.iter().any(|line| line.contains("toml:2: keys.hot.file: ")
            && line.contains("none.key does not exist; write the path")),
        "{error}"
    );
    // Errors of the file come first, as the help says: nothing else can be checked before the file is valid.
    let also = format!("{text}[server]\nlisten = \"nowhere\"\nbase_pat = \"/\"\n");
    std::fs::write(&file, also).unwrap();
    let error = stdout(Command::Check(CheckCommand {
        ask: false,
        file: ConfigFile { config: file.clone() },
    }))
    .unwrap_err();
    assert!(
        error.contains("server.listen") && error.contains("base_pat") && !error.contains("none.key"),
        "{error}"
    );
    let mut help = Cli::command();
    let help = help.find_subcommand_mut("check").unwrap().render_long_help();
    assert!(help.to_string().contains("Once the file is\nvalid"), "{help}");
    let error = stdout(Command::Serve(ConfigFile {
        config: folder.path().join("other.toml"),
    }))
    .unwrap_err();
    assert!(error.contains("other.toml: can't be read"), "{error}");
    let error = stdout(Command::Plugin(plugin::PluginCommand::Inspect { file })).unwrap_err();
    assert!(error.contains("not an ELF file"), "{error}");
}

#[test]
fn warnings_of_a_driver_are_printed_and_are_no_errors() {
    let readiness = NetworkReadiness {
        network: "eip155:1".into(),
        ready: true,
        why_not: None,
        warnings: vec!["finality = 2 is too small".into()],
        alarms: Vec::new(),
        schemes: Vec::new(),
    };
    let report = NetworkReport {
        readiness,
        nodes: vec![node("one.example", None)],
        signers: vec![SignerFigures {
            address: "0xAb".to_owned(),
            balance: Some(Amount::from(20_000_000_000_000_000u64)),
            is_active: true,
            is_drained: false,
            queued: 0,
            in_flight: 0,
        }],
        unfunded: Vec::new(),
    };
    let mut out = Vec::new();
    assert!(check::print_reports(std::slice::from_ref(&report), &mut out).unwrap());
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains(
            "  eip155:1  ready\n    signer 0xAb  has 0.02 ETH\n    warning: finality = 2 is too small\n"
        ),
        "{text}"
    );
    let printed = |report: NetworkReport| {
        let mut out = Vec::new();
        let ready = check::print_reports(&[report], &mut out).unwrap();
        (ready, String::from_utf8(out).unwrap())
    };
    let trouble = "reports chain id 0x89, and this network is 1";
    let (ready, text) = printed(NetworkReport {
        nodes: vec![node("one.example", None), node("two.example", Some(trouble))],
        ..report.clone()
    });
    assert!(!ready, "the payment after the first node's end would be refused");
    assert!(
        text.contains(&format!("    node two.example  NOT USED: {trouble}; correct it")),
        "{text}"
    );
    let (ready, text) = printed(NetworkReport {
        unfunded: vec!["0xAb".to_owned()],
        ..report
    });
    assert!(!ready && text.contains("signer 0xAb  CAN'T PAY"), "{text}");
}

fn node(host: &str, trouble: Option<&str>) -> NodeState {
    NodeState {
        host: host.to_owned(),
        trouble: trouble.map(str::to_owned),
    }
}

/// A configuration with variables that are not set and a file that is missing, as in an operator's shell.
fn unset_variables(folder: &Path) -> ConfigFile {
    let file = folder.join("switchyard.toml");
    let text = "[keys.hot]\nenv = \"SWITCHYARD_TEST_KEY_THAT_IS_NOT_SET\"\n[networks.\"eip155:1\"]\n\
                rpc = [\"https://node.example/${SWITCHYARD_TEST_VARIABLE_THAT_IS_NOT_SET}\"]\nsigners = [\"hot\"]\n\
                max_cost = \"1000000\"\n[plugin.x]\nfile = \"none.so\"\nsha256 = \"00\"\n[data]\ndirectory = \"data\"\n";
    std::fs::write(&file, text).unwrap();
    ConfigFile { config: file }
}

#[test]
fn pausing_needs_no_variables_of_nodes_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let pause = |network: &str| {
        stdout(Command::Pause(PauseCommand {
            kinds: Kinds {
                network: Some(network.to_owned()),
                scheme: None,
                signer: None,
            },
            reason: "hacked".to_owned(),
            file: unset_variables(folder.path()),
        }))
    };
    let output = pause("eip155:1").unwrap();
    assert!(output.contains("every scheme on eip155:1"), "{output}");
    let output = pause("eip155:2").unwrap_err();
    assert!(
        output.contains("write one of eip155:1"),
        "a pause of nothing: {output}"
    );
    let output = stdout(Command::Paused(unset_variables(folder.path()))).unwrap();
    assert!(output.contains("every scheme on eip155:1"), "{output}");
    let releases = Command::Releases(ReleasesCommand {
        command: None,
        file: unset_variables(folder.path()),
    });
    assert_eq!(stdout(releases).unwrap(), "no release is withheld\n");
    let output = stdout(Command::Resume(ResumeCommand {
        kinds: Kinds {
            network: None,
            scheme: None,
            signer: None,
        },
        file: unset_variables(folder.path()),
    }))
    .unwrap();
    assert_eq!(output, "nothing is paused\n");
}

#[tokio::test]
async fn t155_base58_hashes_are_compared_with_case_and_hex_hashes_without() {
    let folder = tempfile::tempdir().unwrap();
    let file = unset_variables(folder.path());
    let journal = SqliteJournal::open(&folder.path().join("data")).unwrap();
    let solana = "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW";
    for (id, claim, tx) in [(1, "a", "0xAbCd"), (3, "b", solana)] {
        let opened = opened_with(id, claim, |row, _, _| {
            row.tx_id = Some(tx.to_owned());
            row.payer = "7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV".to_owned();
        });
        journal.commit(vec![opened]).await.unwrap();
    }
    let withheld = Event::ReleasesWithheld {
        up_to_id: 3,
        why: "an old copy".into(),
        at_ms: 1_700_000_000_000,
    };
    journal.commit(vec![withheld]).await.unwrap();
    let allow = |hash: &str| {
        stdout(Command::Releases(ReleasesCommand {
            command: Some(ReleasesSubcommand::Allow(AllowCommand {
                hashes: vec![hash.to_owned()],
                all: false,
                file: ConfigFile {
                    config: file.config.clone(),
                },
            })),
            file: ConfigFile {
                config: file.config.clone(),
            },
        }))
    };
    let error = allow(&solana.to_ascii_lowercase()).unwrap_err();
    assert!(error.contains("is withheld; write hashes as"), "{error}");
    let output = allow(solana).unwrap();
    assert!(
        output.contains("payer    7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV"),
        "{output}"
    );
    assert!(output.contains(&format!("{solana}  allowed")), "{output}");
    assert!(allow("0xABCD").unwrap().contains("0xAbCd  allowed"));
}

#[tokio::test]
async fn a_journal_is_checked_counted_backed_up_while_in_use_and_restored_when_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switchyard.toml");
    std::fs::write(&file, "[data]\ndirectory = \"data\"\n").unwrap();
    let config = || ConfigFile { config: file.clone() };
    let run = |command| stdout(Command::Journal(command));
    let error = run(JournalCommand::Verify(config())).unwrap_err();
    assert!(error.contains("has no journal"), "{error}");
    let journal = SqliteJournal::open(&folder.path().join("data")).unwrap();
    journal
        .commit(vec![opened_with(1, "a", |_, _, _| {})])
        .await
        .unwrap();
    let verified = run(JournalCommand::Verify(config())).unwrap();
    assert!(verified.contains("is whole: events 1 to 1"), "{verified}");
    let stats = run(JournalCommand::Stats(config())).unwrap();
    assert!(
        stats.contains("settlements") && stats.contains("1 rows"),
        "{stats}"
    );
    let copy = folder.path().join("copy.sqlite");
    let backup = || {
        JournalCommand::Backup(BackupCommand {
            to: copy.clone(),
            file: config(),
        })
    };
    let written = run(backup()).unwrap();
    assert!(written.contains("signed payments"), "{written}");
    assert!(run(backup()).unwrap_err().contains("does not exist yet"));
    let restore = || {
        run(JournalCommand::Restore(RestoreCommand {
            from: copy.clone(),
            any_origin: false,
            file: config(),
        }))
    };
    assert!(restore().unwrap_err().contains("in use by another process"));
    drop(journal);
    let restored = restore().unwrap();
    assert!(restored.contains("1 payments are withheld"), "{restored}");
}

#[tokio::test]
async fn withheld_releases_are_listed_and_allowed_while_a_process_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switchyard.toml");
    let text = "[keys.hot]\nfile = \"none.key\"\n[networks.\"eip155:1\"]\nrpc = [\"http://127.0.0.1:1\"]\n\
                signers = [\"hot\"]\nmax_cost = \"1000000\"\n[plugins]\ndev = true\n[plugin.x]\nfile = \"x.so\"\n\
                [data]\ndirectory = \"data\"\n";
    std::fs::write(&file, text).unwrap();
    let config = || ConfigFile { config: file.clone() };
    let list = || {
        stdout(Command::Releases(ReleasesCommand {
            command: None,
            file: config(),
        }))
    };
    let allow = |hashes: &[&str], all| {
        stdout(Command::Releases(ReleasesCommand {
            command: Some(ReleasesSubcommand::Allow(AllowCommand {
                hashes: hashes.iter().map(ToString::to_string).collect(),
                all,
                file: config(),
            })),
            file: config(),
        }))
    };
    assert_eq!(list().unwrap(), "no release is withheld\n", "no journal yet");
    let data = folder.path().join("data");
    let journal = SqliteJournal::open(&data).unwrap();
    assert_eq!(allow(&[], true).unwrap(), "no release is withheld\n");
    let error = allow(&["0xab1"], false).unwrap_err();
    assert!(error.contains("no release of 0xab1 is withheld"), "{error}");
    for (id, claim) in [(1, "a"), (3, "b")] {
        let opened = opened_with(id, claim, |row, _, _| row.tx_id = Some(format!("0xAb{id}")));
        journal.commit(vec![opened]).await.unwrap();
    }
    let withheld = Event::ReleasesWithheld {
        up_to_id: 3,
        why: "an old copy".into(),
        at_ms: 1_700_000_000_000,
    };
    journal.commit(vec![withheld]).await.unwrap();
    let output = list().unwrap();
    for part in [
        "0xAb1  withheld\n  network  eip155:84532\n  payer    0xb\n  amount   not known yet",
        "0xAb3  withheld\n",
        "since    1700000000 (seconds since 1970): an old copy",
    ] {
        assert!(output.contains(part), "{part} in {output}");
    }
    let error = allow(&["0xab1", "0xcd"], false).unwrap_err();
    assert!(error.contains("no release of 0xcd is withheld"), "{error}");
    assert!(!list().unwrap().contains("allowed"), "all or none");
    let output = allow(&["0xab1"], false).unwrap();
    assert!(
        output.contains("0xAb1  allowed, within a second or at the next start")
            && output.contains("0xAb3  withheld"),
        "{output}"
    );
    let output = allow(&[], true).unwrap();
    assert!(output.contains("0xAb3  allowed"), "{output}");
    let allowed = base::allowed_releases::read(&data).unwrap();
    assert_eq!(
        allowed
            .iter()
            .map(|allowed| allowed.settlement)
            .collect::<Vec<_>>(),
        [1, 3]
    );
    // Both ways of naming what to allow, and none of them.
    for (words, good) in [
        (&["allow", "0xab"][..], true),
        (&["allow", "--all"], true),
        (&[], true),
        (&["allow"], false),
        (&["allow", "0xab", "--all"], false),
    ] {
        let parsed = Cli::try_parse_from(["switchyard", "releases"].iter().chain(words));
        assert_eq!(parsed.is_ok(), good, "{words:?}");
    }
}

#[test]
fn the_reference_is_printed() {
    assert!(
        stdout(Command::Reference(ReferenceCommand::Reference))
            .unwrap()
            .contains("| `settle_wait_seconds` |")
    );
}
