//! What must not start, and says why: plugin files that are damaged, foreign or doubled, and bad configuration.

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
    let (status, said) = Facilitator::run_to_end(settings).expect("it ends");
    assert!(!status.success(), "{said}");
    assert_eq!(
        status.code().map(|code| code > 0 && code < 100),
        Some(true),
        "an exit, not a crash: {status} {said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    said
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
    let said = refused(&Settings {
        plugin: pin.to_owned(),
        ..settings()
    });
    let real = binaries::sha256(&binaries::evm_plugin().expect("built")).expect("readable");
    assert!(
        said.contains("plugin.evm.sha256") && said.contains(&real),
        "{said}"
    );
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
    let said = refused(&Settings {
        plugin: pin,
        ..with_file(folder.path(), "changed.so", &bytes)
    });
    assert!(said.contains("plugin.evm.sha256"), "{said}");
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
        let said = refused(&with_file(folder.path(), name, bytes));
        assert!(
            said.contains("plugin.evm") && said.contains(name),
            "{name}: {said}"
        );
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
    let said = refused(&with_file(folder.path(), "newer.so", &plugin));
    assert!(
        said.contains("plugin.evm") && said.contains("9.0") && said.contains("ABI"),
        "{said}"
    );
}

#[test]
fn t104_a_kind_claimed_twice_is_refused() {
    let plugin = binaries::evm_plugin().expect("built");
    let second = format!(
        "[plugin.second]\nfile = {:?}\nsha256 = {:?}\n",
        plugin.file_name().expect("a name").to_string_lossy(),
        binaries::sha256(&plugin).expect("readable")
    );
    let said = refused(&Settings {
        more: second,
        ..settings()
    });
    assert!(
        said.contains("plugin.second") && said.contains("plugin.evm"),
        "{said}"
    );
}

#[test]
fn a_bad_configuration_names_file_line_key_and_what_to_write() {
    let bad = Settings {
        server: "lisen = 1".to_owned(),
        network: "confirmations = 0".to_owned(),
        ..settings()
    };
    let said = refused(&bad);
    assert!(said.contains("switchyard.toml:3: server.lisen"), "{said}");
    assert!(said.contains("confirmations"), "every error at once: {said}");
    assert!(said.contains("did you mean \"listen\""), "{said}");
}

#[test]
fn what_the_driver_would_refuse_is_refused_before_the_port_opens() {
    let bad = Settings {
        network: "assets = [\"USDC\", \"0X036CBD53842C5426634E7929541EC2318F3DCF7E\"]\n\
                  options = { max_head_age = 0, legacy = \"yes\", fill_gas = 20999, max_fee_per_gas_wei = \"1e9\" }"
            .to_owned(),
        more: "[networks.\"eip155:abc\"]\nrpc = [\"http://127.0.0.1:9\"]\nsigners = [\"signer0\"]\nmax_cost = \"1000000\"\n"
            .to_owned(),
        ..settings()
    };
    let said = refused(&bad);
    let at = "networks.\"eip155:84532\"";
    for told in [
        format!("{at}.assets[0]: \"USDC\" is not an asset of eip155:84532: write a token contract's address"),
        format!("{at}.options.max_head_age: unknown key; did you mean \"max_head_age_s\"?"),
        format!("{at}.options.legacy: must be true or false (Price with eth_gasPrice"),
        format!("{at}.options.fill_gas: must be a whole number from 21000 to "),
        format!("{at}.options.max_fee_per_gas_wei: must be a string in quotes, e.g. \"500000000000\""),
        "networks.\"eip155:abc\": \"eip155:abc\" is not a network of the family eip155: write the chain id in decimal \
         digits"
            .to_owned(),
    ] {
        let line = said.lines().find(|line| line.contains(&told));
        assert!(
            line.is_some_and(|line| line.contains("switchyard.toml:")),
            "{told}\nin\n{said}"
        );
    }
    assert!(!said.contains("assets[1]"), "upper case is fine: {said}");
}

#[test]
fn a_journal_that_can_not_be_opened_names_its_key_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("data"), "").expect("written");
    let said = refused(&Settings {
        folder: Some(folder.path().to_owned()),
        ..settings()
    });
    assert!(
        said.contains("data.directory: the journal can't be opened") && said.contains("write another folder"),
        "{said}"
    );
}

#[test]
fn a_key_that_is_missing_or_no_key_is_named_and_not_shown() {
    let shown = "1234nothex5678";
    let mut bad = settings();
    bad.signers[0].key = shown.to_owned();
    let said = refused(&bad);
    assert!(said.contains("keys.signer0") && !said.contains(shown), "{said}");
}

#[test]
fn a_finality_of_one_block_is_refused_unless_it_is_requested() {
    let said = refused(&Settings {
        network: "finality = 1".to_owned(),
        ..settings()
    });
    assert!(
        said.contains("switchyard.toml:") && said.contains(".finality: "),
        "{said}"
    );
}

#[test]
fn a_terminal_that_is_closed_drains_and_does_not_break_off() {
    let mut world = World::builder().mining(Mining::Manual).start();
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
    let said = refused(&settings);
    assert!(said.contains("export SWITCHYARD_E2E_UNSET=…"), "{said}");
    for (words, told) in [
        (
            &["pause", "--network", "eip155:84532", "--reason", "night"][..],
            "every scheme on eip155:84532",
        ),
        (&["paused"], "every scheme on eip155:84532"),
        (&["resume"], "nothing is paused"),
    ] {
        let output = std::process::Command::new(binaries::switchyard().expect("built"))
            .args(words)
            .arg("--config")
            .arg(folder.path().join("switchyard.toml"))
            .env_clear()
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains(told),
            "{words:?}: {output:?}"
        );
    }
}
