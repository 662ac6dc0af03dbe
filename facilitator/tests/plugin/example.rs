//! The examples a plugin author starts from, built as he would build them and loaded from their files.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use facilitator::plugin::{Limits, inspect, load};
use sdk_plugin::scheme::{Identity, Planned, Verdict};
use sdk_plugin::testkit::ScriptHost;
use sdk_plugin::{Cx, PaymentRequest, SchemeHandler};
use serde_json::{Value, json};

use crate::support::{host, request};

/// Builds a plugin crate of this workspace, beside this test and in its profile, and finds its file.
fn built(package: &str, library: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test's file");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("target/profile/deps/test")
        .to_owned();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => panic!("no profile in {}", folder.display()),
    };
    let cargo = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            package,
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(folder.parent().expect("target"))
        .output()
        .expect("cargo starts");
    assert!(
        cargo.status.success(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );
    folder.join(format!("lib{library}.so"))
}

fn payment(code: &str) -> PaymentRequest {
    let terms = json!({
        "scheme": "voucher", "network": "eip155:8453", "amount": "10000", "asset": "0xab", "payTo": "0xcd",
        "maxTimeoutSeconds": 60
    });
    let request = json!({
        "version": "2", "scheme": "voucher", "network": "eip155:8453", "networkAsSent": "eip155:8453",
        "payload": { "code": code }, "accepted": { "scheme": "voucher", "network": "eip155:8453" },
        "requirements": terms, "purpose": "verify", "remainingMs": 25_000
    });
    serde_json::from_value(request).expect("a payment")
}

fn config() -> Value {
    // SHA-256 of "abc", from FIPS 180-2's own example.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    json!({ "vouchers": [{
        "sha256": digest, "network": "eip155:8453", "asset": "0xab", "amount": "10000", "payTo": "0xcd",
        "expiresAtS": 1_800_000_000_u64
    }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_example_loads_from_its_file_and_takes_a_voucher() {
    let file = built("plugin-example-rust", "voucher");
    assert_eq!(inspect(&file).expect("a plugin").manifest.id, "example-voucher");
    let (host, _) = host();
    let loaded = load(request(file, config(), host.clone(), Limits::default()))
        .await
        .expect("it loads");
    let scheme: &Arc<dyn SchemeHandler> = loaded.schemes.get("voucher").expect("its scheme");
    let script: &Arc<ScriptHost> = &host.script;
    let cx = || -> Cx { script.cx(script.context("eip155:8453")) };
    assert_eq!(scheme.supported(&cx()).await.expect("kinds").kinds.len(), 1);
    let identity = scheme.identify(&cx(), &payment("abc")).await;
    assert!(matches!(identity, Ok(Identity::Identified(_))), "{identity:?}");
    let verdict = scheme.verify(&cx(), &payment("abc")).await;
    assert!(matches!(verdict, Ok(Verdict::Valid(_))), "{verdict:?}");
    let verdict = scheme.verify(&cx(), &payment("abd")).await;
    assert!(matches!(verdict, Ok(Verdict::Invalid(_))), "{verdict:?}");
    let planned = scheme.plan(&cx(), &payment("abc")).await;
    assert!(matches!(planned, Ok(Planned::Done(_))), "{planned:?}");
}
