//! What must not start, and reports why: plugin files that are damaged, foreign or doubled, and bad configuration.

use std::fs;
use std::path::{Path, PathBuf};

use devnet::{Account, FACILITATOR, Mining};
use e2e::{Facilitator, Settings, World, binaries};

/// Nothing listens there; none of these gets so far.
const NOWHERE: &str = "http://127.0.0.1:9";

fn settings() -> Settings {
    Settings::new(NOWHERE, &[Account::from(FACILITATOR)])
}

/// Runs into the refusal and gives what was written.
#[track_caller]
fn refused(settings: &Settings) -> String {
    let (status, log) = Facilitator::run_to_end(settings).expect("it ends");
    assert!(!status.success(), "{log}");
    assert_eq!(
        status.code().map(|code| code > 0 && code < 100),
        Some(true),
        "an exit, not a crash: {status} {log}"
    );
    assert!(!log.contains("panicked"), "{log}");
    log
}

fn with_file(folder: &Path, name: &str, bytes: &[u8]) -> Settings {
    let file: PathBuf = folder.join(name);
    fs::write(&file, bytes).expect("written");
    Settings {
        plugin_file: Some(file),
        ..settings()
    }
}

#[test]
fn t103_a_file_with_another_digest_is_not_loaded() {
    let pin = "sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"";
    let log = refused(&Settings {
        plugin: pin.to_owned(),
        ..settings()
    });
    let real = binaries::sha256(&binaries::evm_plugin().expect("built")).expect("readable");
    assert!(log.contains("plugin.evm.sha256") && log.contains(&real), "{log}");
}

#[test]
fn t103_a_file_changed_by_one_byte_is_not_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = fs::read(binaries::evm_plugin().expect("built")).expect("readable");
    let pin = format!(
        "sha256 = {:?}",
        binaries::sha256(&binaries::evm_plugin().expect("built")).expect("readable")
    );
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let log = refused(&Settings {
        plugin: pin,
        ..with_file(folder.path(), "changed.so", &bytes)
    });
    assert!(log.contains("plugin.evm.sha256"), "{log}");
}

#[test]
fn files_that_are_no_plugins_are_refused_with_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = fs::read(binaries::evm_plugin().expect("built")).expect("readable");
    let program = fs::read(binaries::switchyard().expect("built")).expect("readable");
    let cases: [(&str, &[u8]); 7] = [
        ("empty.so", b""),
        ("text.so", b"this is not a shared library"),
        ("program.so", &program),
        ("header-only.so", &plugin[..64]),
        ("truncated.so", &plugin[..plugin.len() / 2]),
        ("almost.so", &plugin[..plugin.len() - 100]),
        ("elf-and-zeroes.so", &[&plugin[..64], &vec![0; 4_096]].concat()),
    ];
    for (name, bytes) in cases {
        let log = refused(&with_file(folder.path(), name, bytes));
        assert!(log.contains("plugin.evm") && log.contains(name), "{name}: {log}");
    }
}

#[test]
fn a_plugin_of_another_abi_is_refused_by_its_manifest() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plugin = fs::read(binaries::evm_plugin().expect("built")).expect("readable");
    let needle = br#""major": 1, "minor""#;
    let at: Vec<usize> = plugin
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| window == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!at.is_empty(), "the manifest names its ABI");
    for at in at {
        plugin[at + needle.len() - 10] = b'9';
    }
    let log = refused(&with_file(folder.path(), "newer.so", &plugin));
    assert!(
        log.contains("plugin.evm") && log.contains("9.0") && log.contains("ABI"),
        "{log}"
    );
}

#[test]
fn t104_a_kind_or_an_id_claimed_twice_is_refused() {
    let plugin = binaries::evm_plugin().expect("built");
    let second = format!(
        "[plugin.second]\nfile = {:?}\nsha256 = {:?}\n",
        plugin.file_name().expect("a name").to_string_lossy(),
        binaries::sha256(&plugin).expect("readable")
    );
    let log = refused(&Settings {
        more: second,
        ..settings()
    });
    assert!(
        log.contains("plugin.second") && log.contains("plugin.evm"),
        "{log}"
    );
    // One that serves other kinds under the same id would use the same rows.
    assert!(log.contains("both would use the same recorded rows"), "{log}");
}

#[test]
fn a_bad_configuration_names_file_line_key_and_what_to_write() {
    let bad = Settings {
        server: "lisen = 1".to_owned(),
        network: "confirmations = 0".to_owned(),
        ..settings()
    };
    let log = refused(&bad);
    assert!(log.contains("switchyard.toml:3: server.lisen"), "{log}");
    assert!(log.contains("confirmations"), "every error at once: {log}");
    assert!(log.contains("did you mean \"listen\""), "{log}");
}

#[test]
fn settings_that_the_driver_refuses_are_refused_before_the_port_opens() {
    let bad = Settings {
        network: "assets = [\"USDC\", \"0X036CBD53842C5426634E7929541EC2318F3DCF7E\"]\n\
                  options = { max_head_age = 0, legacy = \"yes\", fill_gas = 20999, max_fee_per_gas_wei = \"1e9\" }"
            .to_owned(),
        more: "[networks.\"eip155:abc\"]\nrpc = [\"http://127.0.0.1:9\"]\nsigners = [\"signer0\"]\nmax_cost = \"1000000\"\n"
            .to_owned(),
        ..settings()
    };
    let log = refused(&bad);
    let at = "networks.\"eip155:84532\"";
    for expected in [
        format!("{at}.assets[0]: \"USDC\" is not an asset of eip155:84532: write a token contract's address"),
        format!("{at}.options.max_head_age: unknown key; did you mean \"max_head_age_s\"?"),
        format!("{at}.options.legacy: must be true or false (Price with eth_gasPrice"),
        format!("{at}.options.fill_gas: must be a whole number from 21000 to "),
        format!("{at}.options.max_fee_per_gas_wei: must be a string in quotes, e.g. \"500000000000\""),
        "networks.\"eip155:abc\": \"eip155:abc\" is not a network of the family eip155: write the chain id in decimal \
         digits"
            .to_owned(),
    ] {
        let line = log.lines().find(|line| line.contains(&expected));
        assert!(
            line.is_some_and(|line| line.contains("switchyard.toml:")),
            "{expected}\nin\n{log}"
        );
    }
    assert!(!log.contains("assets[1]"), "upper case is fine: {log}");
}

#[test]
fn a_journal_that_can_not_be_opened_names_its_key_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("data"), "").expect("written");
    let log = refused(&Settings {
        folder: Some(folder.path().to_owned()),
        ..settings()
    });
    assert!(
        log.contains("data.directory: the journal can't be opened") && log.contains("write another folder"),
        "{log}"
    );
}

#[test]
fn a_malformed_key_is_named_and_not_shown() {
    let shown = "1234nothex5678";
    let mut bad = settings();
    bad.signers[0].key = shown.to_owned();
    let log = refused(&bad);
    assert!(log.contains("keys.signer0") && !log.contains(shown), "{log}");
}

#[test]
fn a_finality_of_one_block_is_refused_unless_it_is_requested() {
    let log = refused(&Settings {
        network: "finality = 1".to_owned(),
        ..settings()
    });
    assert!(
        log.contains("switchyard.toml:") && log.contains(".finality: "),
        "{log}"
    );
}

#[test]
fn a_closed_terminal_drains_the_process_instead_of_killing_it() {
    let mut world = World::builder().mining(Mining::Manual).terminal().start();
    let body = world.payment(2).v2();
    let reply = std::thread::scope(|scope| {
        let settle = scope.spawn(|| world.settle(&body));
        world.wait_sent(1);
        world.facilitator.hang_up();
        world.chain.mine(1).expect("mines");
        settle.join().expect("joins")
    });
    let _ = reply.paid();
    assert!(world.facilitator.wait_exit().success(), "a clean exit");
}

#[test]
fn a_pause_works_in_a_shell_without_the_variables_of_keys_and_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings {
        folder: Some(folder.path().to_owned()),
        network: "rpc_timeout_ms = \"${SWITCHYARD_E2E_UNSET}\"".to_owned(),
        ..settings()
    };
    let log = refused(&settings);
    assert!(log.contains("export SWITCHYARD_E2E_UNSET=…"), "{log}");
    for (arguments, expected) in [
        (
            &["pause", "--network", "eip155:84532", "--reason", "night"][..],
            "every scheme on eip155:84532",
        ),
        (&["paused"], "every scheme on eip155:84532"),
        (&["resume"], "nothing is paused"),
    ] {
        let output = std::process::Command::new(binaries::switchyard().expect("built"))
            .args(arguments)
            .arg("--config")
            .arg(folder.path().join("switchyard.toml"))
            .env_clear()
            .output()
            .expect("it runs");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && stdout.contains(expected),
            "{arguments:?}: {output:?}"
        );
    }
}
