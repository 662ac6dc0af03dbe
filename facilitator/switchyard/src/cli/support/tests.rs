use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use clap::Parser as _;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use toml::de::DeTable;

use super::scrub::{REMOVED, Scrubber};
use super::*;
use crate::cli::Cli;

const HASH: &str = "0x88df016429689c079f3b2f6ad39fa052532c56795b733da78a91ebe6a713944b";
const KEY: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const TOKEN: &str = "operator-token-of-thirty-two-characters";

/// The usual spellings of a secret.
fn spellings(secret: &[u8]) -> Vec<String> {
    let standard = base64::engine::general_purpose::STANDARD;
    let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut all = vec![
        hex::encode(secret),
        hex::encode_upper(secret),
        format!("0x{}", hex::encode(secret)),
        standard.encode(secret),
        url_safe.encode(secret),
        bs58::encode(secret).into_string(),
    ];
    all.extend(std::str::from_utf8(secret).map(str::to_owned));
    all
}

#[test]
fn known_secrets_are_removed_in_every_spelling() {
    let mut scrubber = Scrubber::default();
    scrubber.hide(KEY.as_bytes());
    scrubber.hide(b"hunter2\n");
    scrubber.hide_digest(Sha256::digest(TOKEN).into());
    let mut secrets = spellings(&hex::decode(KEY).unwrap());
    secrets.extend(spellings(KEY.as_bytes()));
    secrets.extend(spellings(b"hunter2"));
    secrets.extend(spellings(TOKEN.as_bytes()));
    for secret in secrets {
        for line in [
            format!("at {secret}, then"),
            format!("key={secret};"),
            format!("{{\"a\":\"{secret}\"}}"),
            format!("a/{secret}/b"),
        ] {
            let text = scrubber.text(&line);
            assert!(
                !text.contains(&secret) && text.contains(REMOVED),
                "{line}: {text}"
            );
        }
    }
    // In base58 a key resembles an address, so that none stays where a keystore was not opened.
    let (mut unopened, address) = (Scrubber::default(), "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v");
    unopened.miss_keys();
    assert_eq!(
        unopened.text(&format!("{address} {HASH}")),
        "[removed] [removed]\n"
    );
    let payer = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
    assert_eq!(unopened.text(payer), format!("{payer}\n"));
    // As user name and password of HTTP.
    let basic = base64::engine::general_purpose::STANDARD.encode("user:hunter2");
    assert_eq!(scrubber.text(&format!("got {basic} !")), "got [removed] !\n");
}

#[test]
fn unknown_secrets_are_removed_and_what_helps_stays() {
    let scrubber = Scrubber::default();
    let payment = format!("0x{}", "ab12".repeat(33));
    for (text, expected) in [
        (format!("signature {payment} of it"), "signature [removed] of it"),
        (format!("x {KEY} y"), "x [removed] y"),
        (
            "POST https://u:p@rpc.example:8443/v2/KEY?x=1, failed".to_owned(),
            "POST https://rpc.example:8443/[removed], failed",
        ),
        ("<wss://a>".to_owned(), "<wss://a>"),
        (
            "Authorization: Bearer abc".to_owned(),
            "Authorization: [removed] [removed]",
        ),
        (
            "password = \"abc\", n=1".to_owned(),
            "password = \"[removed]\", n=1",
        ),
        (
            "{\"api_key\":\"abc\",\"n\":1}".to_owned(),
            "{\"api_key\":\"[removed]\",\"n\":1}",
        ),
        ("mzxw6ytboi4gk5dfon2gs3th".to_owned(), "[removed]"),
        ("0b9c2d44-aaaa-bbbb-cccc-0123456789ab".to_owned(), "[removed]"),
        (
            "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW"
                .to_owned(),
            "5VERv8NMvzbJ…",
        ),
        ("a\u{1b}[2Jb".to_owned(), "a\\u{1b}[2Jb"),
    ] {
        assert_eq!(scrubber.text(&text), format!("{expected}\n"), "{text}");
    }
    for text in [
        HASH,
        "payer 0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "mint EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v paid",
        "/var/lib/switchyard/switchyard-data/journal.sqlite-wal",
        "switchyard_http_request_duration_seconds_bucket{le=\"0.25\"} 17",
        "InvalidExactEip3009PayloadAuthorizationValidBefore",
        "claim evm|eip155:1|0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "2026-12-01T15:00:00.000Z INFO engine::lane: lane_taken",
    ] {
        assert_eq!(scrubber.text(text), format!("{text}\n"));
    }
}

proptest! {
    #[test]
    fn random_keys_do_not_get_through(
        key in prop_oneof!["[0-9a-f]{64}", "[0-9A-F]{64}", "[0-9a-f]{128}", "[A-Za-z0-9+/]{90,400}", "[a-z2-7]{64}", "0x[0-9a-f]{130}"],
        before in "([ ,:\"(=]|\\[)?",
    ) {
        let text = Scrubber::default().text(&format!("{before}{key}"));
        prop_assert!(!text.contains(key.get(..20).unwrap()), "{text}");
    }

    #[test]
    fn no_text_panics_or_acts_on_a_terminal(text in "(\\PC|\u{1b}|://|bearer |password|[=:\"é]){0,60}") {
        let shown = Scrubber::default().text(&text);
        let acts = shown.contains('\u{1b}');
        prop_assert!(!acts);
    }
}

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:4020"
surprise = "odd-one"
[journal]
postgres = "postgres://user:${DB_PASSWORD}@db.example/switchyard?sslmode=verify-full"
[keys.hot]
env = "HOT_KEY"
[keys.cold]
keystore = "cold.json"
password_file = "cold.password"
[networks."eip155:8453"]
rpc = ["https://rpc.example/v2/path-secret?apikey=query-secret", { url = "${RPC_URL:-http://x/default-secret}", name = "own" }]
max_cost = "1000000"
options = { relay = "option-secret", depth = 3, proxy = "0x036CbD53842c5426634e7929541eC2318f3dCF7e" }
[plugin.evm]
file = "evm.so"
sha256 = "88df016429689c079f3b2f6ad39fa052532c56795b733da78a91ebe6a713944b"
config = { key = "plugin-secret" }
[[tenants]]
name = "shop"
key_sha256 = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
[telemetry]
otlp_endpoint = "https://collector.example:4318"
otlp_headers = "api-key=${OTLP_KEY}"
"#;

fn shown(text: &str, folder: &Path) -> (String, Scrubber) {
    let variables = BTreeMap::from([
        ("DB_PASSWORD", "db-secret"),
        ("HOT_KEY", KEY),
        ("RPC_URL", "https://node.example/variable-secret"),
        ("OTLP_KEY", "otlp-secret"),
    ]);
    let environment = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let (root, _) = DeTable::parse_recoverable(text);
    let mut scrubber = Scrubber::default();
    shown::hide_secrets(&mut scrubber, text, root.get_ref(), folder, &environment);
    (shown::config(root.get_ref(), &scrubber), scrubber)
}

#[test]
fn the_configuration_is_shown_without_its_secrets_and_they_are_known_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cold.password"), "file-secret\n").unwrap();
    let (text, scrubber) = shown(CONFIG, folder.path());
    for kept in [
        "listen = \"127.0.0.1:4020\"",
        "surprise = \"[removed]\" # not a key",
        "postgres = \"postgres://db.example/[removed]\"",
        "env = \"HOT_KEY\"",
        "password_file = \"cold.password\"",
        "[networks.\"eip155:8453\"]",
        "\"https://rpc.example/[removed]\", { ",
        "url = \"${RPC_URL:-[removed]}\"",
        "name = \"own\"",
        "relay = \"[removed]\"",
        "depth = 3",
        "proxy = \"0x036CbD53842c5426634e7929541eC2318f3dCF7e\"",
        "sha256 = \"88df016429689c079f3b2f6ad39fa052532c56795b733da78a91ebe6a713944b\"",
        "config = { key = \"[removed]\" }",
        "[[tenants]]",
        "key_sha256 = \"[removed]\"",
        "otlp_headers = \"[removed]\"",
    ] {
        assert!(text.contains(kept), "{kept} in\n{text}");
    }
    for secret in [
        "path-secret",
        "query-secret",
        "default-secret",
        "variable-secret",
        "db-secret",
        "otlp-secret",
        "file-secret",
        KEY,
    ] {
        assert!(!text.contains(secret), "{secret} in\n{text}");
        let line = scrubber.text(&format!("a line with {secret}."));
        assert!(!line.contains(secret), "{line}");
    }
    for secret in ["user:", "odd-one", "option-secret", "plugin-secret"] {
        assert!(!text.contains(secret), "{secret} in\n{text}");
    }
}

#[test]
fn a_key_that_was_pasted_into_a_name_or_a_variable_is_not_shown() {
    let text = format!("[keys.hot]\nenv = \"abcdef{KEY}\"\n[keys.{KEY}]\nfile = \"0x{KEY}\"\n{KEY} = 1\n");
    let (text, _) = shown(&text, Path::new(""));
    assert!(!text.contains(KEY), "{text}");
}

fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let tar = std::process::Command::new("tar")
        .arg("-xzf")
        .arg(path)
        .arg("--strip-components=1")
        .current_dir(folder.path())
        .status();
    assert!(tar.unwrap().success());
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    });
    files.collect()
}

fn run(folder: &Path, words: &[&str]) -> Result<(String, BTreeMap<String, String>), String> {
    let (archive, config) = (folder.join("s.tar.gz"), folder.join("switchyard.toml"));
    let paths = [
        "--output",
        archive.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ];
    let words = ["switchyard", "support"].iter().chain(words).chain(&paths);
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    crate::cli::execute(cli.command, &mut out).map_err(|error| error.to_string())?;
    Ok((String::from_utf8(out).unwrap(), unpacked(&archive)))
}

#[test]
fn a_bundle_is_written_without_a_configuration_and_never_over_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (out, files) = run(folder.path(), &["--log", "/nonexistent/log", "--payment", "0xab"]).unwrap();
    assert!(
        out.contains("before you send it") && out.contains("system.txt"),
        "{out}"
    );
    assert!(files["version.txt"].contains("plugin ABI"));
    assert!(files["check.txt"].contains("can't be read"), "{files:?}");
    assert!(files["config.toml"].contains("not read"), "{files:?}");
    assert!(
        files["log.txt"].contains("not read") && files["log.txt"].contains("--log"),
        "{files:?}"
    );
    assert!(files["payment.txt"].contains("not read"), "{files:?}");
    assert!(files["system.txt"].contains("Max open files"), "{files:?}");
    assert!(files["contents.txt"].contains("pauses.txt"));
    let error = run(folder.path(), &[]).unwrap_err();
    assert!(
        error.contains("exists; name another file with --output"),
        "{error}"
    );
}

#[test]
fn a_broken_configuration_and_a_broken_journal_are_reported_in_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join(journal::sqlite::FILE), "no database").unwrap();
    let log = folder.path().join("log");
    std::fs::write(&log, format!("first\nsecond of {KEY}\nthird\n")).unwrap();
    let text = "[data]\ndirectory = \"data\"\n[server]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = info\n";
    std::fs::write(folder.path().join("switchyard.toml"), text).unwrap();
    let (_, files) = run(folder.path(), &["--lines", "2", "--log", log.to_str().unwrap()]).unwrap();
    assert!(files["check.txt"].contains("this is not TOML"), "{files:?}");
    assert!(files["config.toml"].contains("directory = \"data\""), "{files:?}");
    assert!(files["journal.txt"].contains("not read"), "{files:?}");
    assert!(files["pauses.txt"].contains("nothing is paused"), "{files:?}");
    assert!(
        files["ready.txt"].contains("perhaps no process runs"),
        "{files:?}"
    );
    assert_eq!(files["log.txt"], "second of [removed]\nthird\n");
}

#[test]
fn work_that_fails_or_never_ends_leaves_a_sentence() {
    let limit = Duration::from_millis(50);
    let (sender, receiver) = channel::<()>();
    let late = within(Duration::from_millis(1), move || Ok(receiver.recv().is_ok()));
    assert!(late.unwrap_err().contains("did not answer"));
    drop(sender);
    let refused = within::<()>(limit.saturating_mul(100), || Err(CliError("why".to_owned())));
    assert_eq!(refused.unwrap_err(), "why");
    let panicked = within::<()>(limit.saturating_mul(100), || panic!("planted"));
    assert!(panicked.unwrap_err().contains("a bug"));
}
