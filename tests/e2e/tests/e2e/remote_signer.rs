//! Keys at a remote signer: the reference signer of `tests/signer`, over a Unix socket.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use devnet::{Devnet, Options, SolanaDevnet, SolanaOptions};
use e2e::{Facilitator, Payment, Settings, SolanaNetwork, binaries, wait};
use serde_json::{Value, json};
use signer::policy::Policy;
use signer::serve;
use signer::signer::Signer;

/// `transferWithAuthorization` in both forms.
const TRANSFERS: &str = "[\"0xe3ee160e\", \"0xcf092995\"]";

/// A signer that runs until it is dropped.
struct Running {
    _runtime: tokio::runtime::Runtime,
}

impl Running {
    fn start(folder: &Path, policy: &str) -> Running {
        let file = folder.join("policy.toml");
        fs::write(
            &file,
            format!("listen = {{ socket = \"signer.sock\" }}\n{policy}"),
        )
        .expect("written");
        let policy = Policy::read(&file).expect("a policy");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads");
        let (ready, is_ready) = mpsc::channel();
        let listen = policy.listen.clone();
        let signer = runtime.block_on(Signer::open(policy)).expect("keys");
        runtime.spawn(async move {
            let _ = serve::serve(&listen, signer, |_| ready.send(()).expect("waits")).await;
        });
        is_ready.recv().expect("listens");
        Running { _runtime: runtime }
    }
}

fn private(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
    file
}

fn evm_policy(contract: &str) -> String {
    format!(
        "[keys.far]\nfile = \"far.key\"\nnetworks = [\"eip155:84532\"]\nmax_fee = \"10000000000000000\"\nmax_signatures_per_hour = 50\n\
         contracts = [{{ address = \"{contract}\", selectors = {TRANSFERS} }}]\n"
    )
}

fn remote(socket: &Path, name: &str) -> String {
    format!("[keys.{name}]\nremote = \"unix:{}\"\n", socket.display())
}

fn alarms(facilitator: &Facilitator) -> String {
    let ready: Value = serde_json::from_str(&facilitator.get("/ready").text).expect("JSON");
    ready.to_string()
}

#[test]
fn payments_on_two_networks_are_signed_by_a_remote_signer() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = Devnet::start(Options::default()).expect("starts");
    let solana = SolanaDevnet::start(&SolanaOptions::default()).expect("starts");
    let (far, far_sol) = (&chain.facilitators[1], &solana.fee_payers[0]);
    private(folder.path(), "far.key", &far.key);
    private(folder.path(), "sol.key", &far_sol.secret);
    let programs = [
        "ComputeBudget111111111111111111111111111111",
        "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
        "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
    ];
    let policy = evm_policy(devnet::USDC)
        + &format!(
            "[keys.payments]\nsuite = \"ed25519\"\nfile = \"sol.key\"\nnetworks = [{:?}]\nprograms = {programs:?}\n\
             max_fee = \"100000\"\nmax_signatures_per_hour = 50\n",
            solana.network
        );
    let _signer = Running::start(folder.path(), &policy);
    let socket = folder.path().join("signer.sock");
    let settings = Settings {
        network: "signers = [\"far\"]".to_owned(),
        solana: Some(SolanaNetwork {
            id: solana.network.clone(),
            rpc: vec![solana.url().to_owned()],
            network: "signers = [\"sol\"]".to_owned(),
            ..SolanaNetwork::default()
        }),
        more: remote(&socket, "far")
            + &remote(&socket, "sol")
            + "suite = \"ed25519\"\nsigner_key = \"payments\"\n[log]\nlevel = \"trace\"\n",
        ..Settings::new(chain.url(), &[])
    };
    let facilitator = Facilitator::start(&settings).expect("starts");
    for buyer in [2, 3] {
        let body = Payment::new(&chain.buyers[buyer], &chain.merchant.address).v2();
        let _ = facilitator.settle(&body).paid();
    }
    assert_eq!(chain.transaction_count(&far.address).expect("answers"), 2);
    let deal = e2e::solana::deal(&solana, far_sol, 0, &solana.tokens[0]);
    let transaction = e2e::solana::with_memo(&deal, "a remote signer").sign(&deal.buyer);
    let body = e2e::solana::body(&solana.network, &deal, &transaction, json!({}));
    let _ = facilitator.settle(&body).paid();
    let metrics = facilitator.get("/metrics").text;
    for line in [
        "switchyard_signatures_total{key=\"far\",outcome=\"signed\"} 2",
        "switchyard_signatures_total{key=\"sol\",outcome=\"signed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let seen = [facilitator.log(), metrics, alarms(&facilitator)];
    assert_unseen(&seen, &[&far.key, &far_sol.seed], &[&far_sol.secret]);
}

/// No text has one of the private keys (in hex) in any usual form, nor one of the words.
#[track_caller]
fn assert_unseen(seen: &[String], keys: &[&str], words: &[&str]) {
    let mut needles: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    for key in keys {
        let hex = key.trim_start_matches("0x").to_lowercase();
        let numbers: Vec<String> = hex::decode(&hex)
            .expect("hex")
            .iter()
            .map(u8::to_string)
            .collect();
        needles.extend([hex.to_uppercase(), numbers.join(", "), numbers.join(","), hex]);
    }
    for (index, needle) in needles.iter().enumerate() {
        assert!(
            seen.iter().all(|text| !text.contains(needle)),
            "secret {index} is shown"
        );
    }
}

/// A key in a keystore beside one at a signer, with everything logged.
#[test]
fn t105_no_key_and_no_password_is_written_anywhere() {
    const PASSWORD: &str = "correct-horse-battery";
    let folder = tempfile::tempdir().expect("a folder");
    let chain = Devnet::start(Options::default()).expect("starts");
    let (far, near) = (&chain.facilitators[1], &chain.facilitators[2]);
    private(folder.path(), "far.key", &far.key);
    let plain = private(folder.path(), "near.key", &near.key);
    let password = private(folder.path(), "password", PASSWORD);
    let keystore = folder.path().join("near.json");
    let output = std::process::Command::new(binaries::switchyard().expect("built"))
        .args(["key", "import"])
        .arg(&keystore)
        .arg("--from")
        .arg(&plain)
        .arg("--password-file")
        .arg(&password)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let _signer = Running::start(folder.path(), &evm_policy(devnet::USDC));
    let settings = Settings {
        network: "signers = [\"far\", \"near\"]".to_owned(),
        more: remote(&folder.path().join("signer.sock"), "far")
            + &format!(
                "[keys.near]\nkeystore = {keystore:?}\npassword_file = {password:?}\n[log]\nlevel = \"trace\"\n"
            ),
        ..Settings::new(chain.url(), &[])
    };
    let facilitator = Facilitator::start(&settings).expect("starts");
    // At once, so that both keys sign.
    let bodies = [2, 3, 4, 5].map(|buyer| Payment::new(&chain.buyers[buyer], &chain.merchant.address).v2());
    for reply in facilitator.settle_all(&bodies) {
        let _ = reply.paid();
    }
    let metrics = facilitator.get("/metrics").text;
    for key in ["far", "near"] {
        assert!(
            metrics.contains(&format!("switchyard_signatures_total{{key=\"{key}\"")),
            "{metrics}"
        );
    }
    let mut seen = vec![
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
        facilitator.log(),
        metrics,
        alarms(&facilitator),
    ];
    // The error of a wrong password names files, not what is in them.
    private(folder.path(), "password", "another-password");
    let (status, log) = Facilitator::run_to_end(&settings).expect("ends");
    assert!(
        !status.success() && log.contains("can't be opened with this password"),
        "{log}"
    );
    seen.push(log);
    assert_unseen(&seen, &[&far.key, &near.key], &[PASSWORD, "another-password"]);
}

#[test]
fn a_signer_that_refuses_or_is_away_loses_no_payment() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = Devnet::start(Options::default()).expect("starts");
    let far = &chain.facilitators[1];
    private(folder.path(), "far.key", &far.key);
    let other = "0x00000000000000000000000000000000000000aa";
    let signer = Running::start(folder.path(), &evm_policy(other));
    let settings = Settings {
        network: "signers = [\"far\"]".to_owned(),
        more: remote(&folder.path().join("signer.sock"), "far"),
        ..Settings::new(chain.url(), &[])
    };
    let facilitator = Facilitator::start(&settings).expect("starts");
    let body = Payment::new(&chain.buyers[2], &chain.merchant.address).v2();
    let unsent = |event: &str, cause: &str| {
        let reply = facilitator.settle(&body);
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(facilitator.log().contains(event), "{}", facilitator.log());
        let ready = alarms(&facilitator);
        assert!(
            ready.contains("key far: remote signer unix:") && ready.contains(cause),
            "{ready}"
        );
        assert_eq!(chain.pending_count(&far.address).expect("answers"), 0);
    };
    unsent(
        "remote_signer_refused",
        "refused (policy): key far may not call 0x",
    );
    drop(signer);
    unsent("remote_signer_failed", "can't be reached");
    let _signer = Running::start(folder.path(), &evm_policy(devnet::USDC));
    // The same request, as its seller repeats it.
    wait::until("the payment to be paid", wait::LONG, || {
        facilitator.settle(&body).is_success().then_some(())
    });
    assert_eq!(chain.transaction_count(&far.address).expect("answers"), 1);
    assert!(facilitator.log().contains("remote_signer_recovered"));
    assert!(
        !alarms(&facilitator).contains("remote signer"),
        "{}",
        alarms(&facilitator)
    );
}

#[test]
fn a_start_without_the_signer_needs_the_public_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = Devnet::start(Options::default()).expect("starts");
    let away = folder.path().join("signer.sock");
    let settings = Settings {
        network: "signers = [\"far\"]".to_owned(),
        more: remote(&away, "far"),
        ..Settings::new(chain.url(), &[])
    };
    let (status, log) = Facilitator::run_to_end(&settings).expect("ends");
    assert!(!status.success());
    assert!(
        log.contains("can't be reached") && log.contains("keys.far.remote"),
        "{log}"
    );
    assert!(log.contains("public_key = "), "{log}");
}
