//! `switchyard support`: what an operator sends to others has no secret in it, whatever the log and the configuration have.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use e2e::{Facilitator, Payment, Proxy, Settings, binaries};
use sha2::{Digest as _, Sha256};

use crate::secrets::{contains, spellings};

const RPC_TOKEN: &str = "rpc-path-canary-7f3a";
const OPERATOR: &str = "operator-canary-0123456789abcdef-xyz";
const TENANT: &str = "tenant-canary-0123456789abcdef-shop1";
const PASSWORD: &str = "keystore-canary-horse";

fn unpacked(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("--strip-components=1")
        .current_dir(folder.path())
        .status();
    assert!(status.expect("tar runs").success());
    let entries = fs::read_dir(folder.path()).expect("a folder");
    let files = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (name, fs::read(path).expect("a file"))
    });
    files.collect()
}

fn text(files: &[(String, Vec<u8>)], name: &str) -> String {
    let file = files.iter().find(|(file, _)| file == name);
    let (_, bytes) = file.unwrap_or_else(|| panic!("{name} is missing"));
    String::from_utf8_lossy(bytes).into_owned()
}

/// An encrypted keystore of a key.
fn keystore(folder: &Path, key: &str) -> (String, String) {
    let file = |name: &str| folder.join(name).display().to_string();
    for (name, text) in [("near.key", key), ("password", PASSWORD)] {
        fs::write(file(name), text).expect("written");
        fs::set_permissions(file(name), fs::Permissions::from_mode(0o600)).expect("changed");
    }
    let output = Command::new(binaries::switchyard().expect("built"))
        .args(["key", "import", &file("near.json"), "--from", &file("near.key")])
        .args(["--password-file", &file("password")])
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    (file("near.json"), file("password"))
}

fn assert_hidden(files: &[(String, Vec<u8>)], secrets: &[Vec<u8>]) {
    for (name, content) in files {
        for spelled in secrets.iter().flat_map(|secret| spellings(secret)) {
            assert!(
                !contains(content, &spelled),
                "{name} has {:?}:\n{}",
                String::from_utf8_lossy(&spelled),
                String::from_utf8_lossy(content)
            );
        }
    }
}

#[test]
fn t105_a_support_bundle_has_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = devnet::Devnet::start(devnet::Options::default()).expect("the chain starts");
    let proxy = Proxy::start(chain.url()).expect("starts");
    let near = &chain.facilitators[2];
    let (keystore, password) = keystore(folder.path(), &near.key);
    let hash = |token: &str| hex::encode(Sha256::digest(token));
    let admin = folder.path().join("admin.sock");
    let settings = Settings {
        network: "signers = [\"signer0\", \"near\"]".to_owned(),
        more: format!(
            "[keys.near]\nkeystore = {keystore:?}\npassword_file = {password:?}\n\
             [[tenants]]\nname = \"shop\"\nkey_sha256 = {:?}\n\
             [admin]\nlisten = \"unix:{}\"\n[[operators]]\nname = \"vera\"\ntoken_sha256 = {:?}\nrole = \"view\"\n",
            hash(TENANT),
            admin.display(),
            hash(OPERATOR)
        ),
        ..Settings::new(
            &format!("{}/v2/{RPC_TOKEN}", proxy.url()),
            &chain.facilitators[1..2],
        )
    };
    let mut facilitator = Facilitator::start(&settings).expect("starts");
    let payment = Payment::new(&chain.buyers[2], &chain.merchant.address);
    let body = payment.v2();
    let bearer = format!("Bearer {TENANT}");
    let reply = facilitator
        .client()
        .post(
            "/settle",
            body.to_string().as_bytes(),
            &[("authorization", bearer.as_str())],
        )
        .expect("an answer");
    let transaction = reply.paid();

    let key = |text: &str| hex::decode(text.trim_start_matches("0x")).expect("hex");
    let mut secrets = vec![key(&chain.facilitators[1].key), key(&near.key)];
    secrets.extend([RPC_TOKEN, OPERATOR, TENANT, PASSWORD].map(|secret| secret.as_bytes().to_vec()));
    let signature = payment.signature().to_vec();
    // A log in which everything is that must never be in one.
    let mut log = facilitator.log();
    for secret in secrets.iter().chain([&signature]) {
        for spelled in spellings(secret) {
            let spelled = String::from_utf8_lossy(&spelled);
            log += &format!(
                "WARN engine: planted {spelled}, key={spelled} \u{1b}[2J\n{{\"message\":\"{spelled}\"}}\n"
            );
        }
    }
    log += &format!("node http://user:{PASSWORD}@127.0.0.1/v2/{RPC_TOKEN}?x=1 failed\nthe last line\n");
    let log_file = folder.path().join("planted.log");
    fs::write(&log_file, log).expect("written");

    let mut number = 0;
    let mut bundle = |facilitator: &Facilitator| {
        number += 1;
        let archive = folder.path().join(format!("{number}.tar.gz"));
        let shown = archive.display().to_string();
        let log_file = log_file.display().to_string();
        let arguments = [
            "support",
            "--output",
            &shown,
            "--log",
            &log_file,
            "--payment",
            &transaction,
        ];
        let (good, output) = facilitator.command(&arguments);
        assert!(good && output.contains("before you send it"), "{output}");
        let mode = fs::metadata(&archive).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (good, again) = facilitator.command(&arguments);
        assert!(!good && again.contains("exists"), "{again}");
        let mut files = unpacked(&archive);
        files.push(("the output".to_owned(), output.into_bytes()));
        files
    };
    secrets.push(signature);

    // Of a process that runs.
    let files = bundle(&facilitator);
    assert_hidden(&files, &secrets);
    assert!(text(&files, "ready.txt").contains("200 OK"));
    assert!(text(&files, "metrics.txt").contains("switchyard_build_info"));
    assert!(text(&files, "check.txt").contains("is valid"));
    assert!(text(&files, "plugins.txt").contains("sha256    "));
    assert!(text(&files, "journal.txt").contains("unfinished"));
    assert!(text(&files, "payment.txt").contains(&transaction));
    let log = text(&files, "log.txt");
    assert!(
        log.ends_with("the last line\n") && !log.contains('\u{1b}'),
        "{log}"
    );

    // Of one that does not, whose journal is damaged.
    facilitator.kill();
    let database = facilitator.data_folder().join("journal.sqlite");
    for file in ["journal.sqlite-wal", "journal.sqlite-shm"] {
        // What is in the log of the database would repair it.
        let _ = fs::remove_file(facilitator.data_folder().join(file));
    }
    assert!(database.exists());
    fs::write(&database, "no database").expect("written");
    let files = bundle(&facilitator);
    assert_hidden(&files, &secrets);
    assert!(text(&files, "journal.txt").contains("not read"));
    assert!(text(&files, "ready.txt").contains("perhaps no process runs"));
    assert!(text(&files, "plugins.txt").contains("sha256    "));

    // And whose configuration is broken.
    facilitator.reconfigure("[data]", "[data]\nlevel = info");
    let files = bundle(&facilitator);
    assert_hidden(&files, &secrets);
    assert!(text(&files, "check.txt").contains("this is not TOML"));
    assert!(text(&files, "version.txt").contains("plugin ABI"));
}
