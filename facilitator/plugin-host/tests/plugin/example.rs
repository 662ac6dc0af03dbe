//! The examples for plugin authors, built with the documented commands and loaded from their files.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use plugin_host::{Limits, Sha256Digest, inspect, load};
use sdk_plugin::host::{StoreRequest, StoreResponse};
use sdk_plugin::scheme::{Done, Planned, SchemeCheck, Verdict};
use sdk_plugin::testkit::ScriptHost;
use sdk_plugin::{Cx, PaymentRequest, SchemeHandler};
use serde_json::{Value, json};

use crate::support::{compile, host, request, root};

const NETWORK: &str = "eip155:8453";

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

/// The example in C, compiled as its README says.
fn compiled() -> PathBuf {
    let folder = root().join("plugins/example-c");
    let sources = ["voucher.c", "json.c", "sha256.c"].map(|name| folder.join(name));
    let [voucher, others @ ..] = &sources;
    let mut flags = vec!["-Wextra", "-Werror", "-O2", "-fvisibility=hidden", "-shared"];
    flags.extend(
        others
            .iter()
            .map(|source| source.to_str().expect("a path in UTF-8")),
    );
    compile(voucher, "libvoucher_c.so", &flags)
}

fn payment(payload: Value, amount: &str, pay_to: &str) -> PaymentRequest {
    let terms = json!({
        "scheme": "voucher", "network": NETWORK, "amount": amount, "asset": "0xAB", "payTo": pay_to,
        "maxTimeoutSeconds": 60
    });
    let request = json!({
        "version": "2", "scheme": "voucher", "network": NETWORK, "networkAsSent": NETWORK,
        "payload": payload, "accepted": { "scheme": "voucher", "network": NETWORK },
        "requirements": terms, "purpose": "verify", "remainingMs": 25_000
    });
    serde_json::from_value(request).expect("a payment")
}

fn good(code: &str) -> PaymentRequest {
    payment(json!({ "code": code }), "10000", "0xCd")
}

/// Vouchers for these codes; the last one has expired.
fn config(codes: &[&str]) -> Value {
    let vouchers = codes.iter().enumerate().map(|(place, code)| {
        let expires_at_s = if place + 1 == codes.len() {
            1_600_000_000_u64
        } else {
            1_800_000_000
        };
        json!({ "sha256": Sha256Digest::of(code.as_bytes()).to_string(), "network": NETWORK, "asset": "0xab",
                "amount": "10000", "payTo": "0xcd", "expiresAtS": expires_at_s })
    });
    json!({ "vouchers": vouchers.collect::<Vec<_>>() })
}

/// A loaded example with a host of its own.
struct Example {
    scheme: Arc<dyn SchemeHandler>,
    script: Arc<ScriptHost>,
}

impl Example {
    async fn load(file: PathBuf, id: &str, config: Value) -> Self {
        assert_eq!(inspect(&file).expect("a plugin").manifest.id, id);
        let (host, _) = host();
        let loaded = load(request(file, config, host.clone(), Limits::default()))
            .await
            .expect("it loads");
        Self {
            scheme: loaded.schemes.get("voucher").expect("its scheme").clone(),
            script: Arc::clone(&host.script),
        }
    }

    fn cx(&self) -> Cx {
        self.script.cx(self.script.context(NETWORK))
    }

    /// Its identity, verdict and plan of a payment, as text.
    async fn answers(&self, payment: &PaymentRequest) -> [String; 3] {
        [
            format!("{:?}", self.scheme.identify(&self.cx(), payment).await),
            format!("{:?}", self.scheme.verify(&self.cx(), payment).await),
            format!("{:?}", self.scheme.plan(&self.cx(), payment).await),
        ]
    }

    /// Applies the writes of a plan that is done at once, as the host does.
    async fn redeem(&self, payment: &PaymentRequest) -> StoreResponse {
        let planned = self.scheme.plan(&self.cx(), payment).await;
        let Ok(Planned::Done(Done { writes, .. })) = planned else {
            panic!("{planned:?}")
        };
        let write = StoreRequest::Write { writes };
        self.cx().store(write).await.expect("the store answers")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_in_rust_and_in_c_load_from_their_files_and_answer_alike() {
    // Longer than a block of the digest, with escapes, and beyond ASCII.
    let long = "7Q2M-".repeat(25);
    let odd = "\"\\\t\u{1}é😀/";
    let issued = config(&["abc", long.as_str(), odd, "late"]);
    let rust = Example::load(
        built("plugin-example-rust", "voucher"),
        "example-voucher",
        issued.clone(),
    )
    .await;
    let c = Example::load(compiled(), "example-voucher-c", issued).await;
    for example in [&rust, &c] {
        let supported = example.scheme.supported(&example.cx()).await.expect("kinds");
        assert_eq!(supported.kinds.len(), 1);
        // The example in C does not know the operation, like a plugin that is older than it.
        let checked = example.scheme.check(&example.cx()).await;
        assert_eq!(checked, Ok(SchemeCheck::ready()));
        for code in ["abc", long.as_str(), odd] {
            let verdict = example.scheme.verify(&example.cx(), &good(code)).await;
            assert!(matches!(verdict, Ok(Verdict::Valid(_))), "{verdict:?}");
        }
    }
    let code = |code: Value| payment(json!({ "code": code }), "10000", "0xcd");
    let payments = [
        good("abc"),
        good(&long),
        good(odd),
        good("late"),
        good("abd"),
        code(json!("")),
        code(json!("x".repeat(129))),
        code(json!(7)),
        code(json!({ "code": ["abc"] })),
        code(Value::Null),
        payment(json!({}), "10000", "0xcd"),
        payment(json!({ "cod": "abc", "code2": "abc" }), "10000", "0xcd"),
        payment(json!({ "code": "abc" }), "10001", "0xcd"),
        payment(json!({ "code": "abc" }), "10000", "0xce"),
    ];
    for payment in &payments {
        assert_eq!(
            rust.answers(payment).await,
            c.answers(payment).await,
            "{payment:?}"
        );
    }
    for example in [&rust, &c] {
        assert_eq!(example.redeem(&good("abc")).await, StoreResponse::Written);
        let [_, verdict, planned] = example.answers(&good("abc")).await;
        for answer in [verdict, planned] {
            assert!(answer.contains("invalid_voucher_already_redeemed"), "{answer}");
        }
    }
}

/// `cargo xtask full` runs this under Valgrind, too, and with another compiler.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_c_answers_a_thousand_calls_alike() {
    let c = Example::load(compiled(), "example-voucher-c", config(&["abc", "late"])).await;
    let payments = [
        good("abc"),
        good("abd"),
        payment(json!({ "code": ["abc"] }), "10000", "0xcd"),
    ];
    let first = [
        c.answers(&payments[0]).await,
        c.answers(&payments[1]).await,
        c.answers(&payments[2]).await,
    ];
    for _ in 0..112 {
        for (payment, first) in payments.iter().zip(&first) {
            assert_eq!(c.answers(payment).await, *first);
        }
    }
}
