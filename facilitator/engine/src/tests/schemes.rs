//! The self-check of a scheme: what follows from its result, for the scheme's own kinds and for others.

use crate::decide::plan_check_tests::{Silent, instance, settings};
use crate::registry::{Checked, Kind, Network, Registry};
use crate::settle::NOT_READY;
use crate::{Budgets, Engine, Ops, Parts};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::chain::{Evidence, KeyInfo, Readiness};
use sdk_plugin::host::Suite;
use sdk_plugin::scheme::{
    Identified, Identity, Judgement, Plan, Planned, SchemeCheck, Supported, Valid, Verdict,
};
use sdk_plugin::wire::{Kind as WireKind, reason};
use sdk_plugin::{Cx, Fault, FaultKind, HexBytes, PaymentRequest, SchemeHandler, async_trait};
use serde_json::json;

use base::calls::CallTable;
use base::clock::TokioClock;
use base::service::SettleAnswer;
use journal::memory::MemoryJournal;
use telemetry::metrics::Metrics;

const NETWORK: &str = "eip155:1";

/// Its self-checks return these results in turn, and the last one for ever.
struct Saying(Mutex<Vec<Result<SchemeCheck, Fault>>>);

#[async_trait]
impl SchemeHandler for Saying {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let kind = |x402_version| WireKind {
            x402_version,
            scheme: cx.context().scheme.clone(),
            network: NETWORK.into(),
            extra: None,
        };
        Ok(Supported {
            kinds: vec![kind(1), kind(2)],
            extensions: ["payment-identifier", "a\nforged line", ""]
                .map(String::from)
                .to_vec(),
            signers: ["0xa", "0xb"].map(String::from).to_vec(),
        })
    }
    async fn identify(&self, _: &Cx, _: &PaymentRequest) -> Result<Identity, Fault> {
        Ok(Identity::Identified(Identified {
            payer: "p".into(),
            claim_key: "k".into(),
            conflict_keys: Vec::new(),
            fingerprint: "f".into(),
            payload_digest: "d".into(),
            replay_reason: "r".into(),
            replayable_until_s: None,
        }))
    }
    async fn verify(&self, _: &Cx, _: &PaymentRequest) -> Result<Verdict, Fault> {
        Ok(Verdict::Valid(Valid {
            payer: "p".into(),
            ..Valid::default()
        }))
    }
    async fn plan(&self, _: &Cx, _: &PaymentRequest) -> Result<Planned, Fault> {
        Err(Fault::internal("nothing is planned here"))
    }
    async fn judge(&self, _: &Cx, _: &Plan, _: &Evidence) -> Result<Judgement, Fault> {
        Err(Fault::internal("nothing is judged here"))
    }
    async fn check(&self, _: &Cx) -> Result<SchemeCheck, Fault> {
        let result = {
            let mut scripted = self.0.lock();
            if scripted.len() > 1 {
                scripted.remove(0)
            } else {
                scripted[0].clone()
            }
        };
        match result {
            Err(fault) if fault.kind == FaultKind::Deadline => std::future::pending().await,
            Err(fault) if fault.kind == FaultKind::Panic => panic!("as scripted"),
            result => result,
        }
    }
}

/// An engine with the scheme `moody`, whose self-checks return this, and `exact`, which is always ready; in both
/// versions.
fn engine(words: Vec<Result<SchemeCheck, Fault>>) -> Arc<Engine> {
    let instance = instance();
    let key = KeyInfo {
        name: "hot".into(),
        suite: Suite::Secp256k1,
        public_key: HexBytes::default(),
    };
    let mut settings = settings();
    settings.keys = vec![key];
    let network = Arc::new(Network::new(settings, Arc::new(Silent), Arc::clone(&instance)));
    network.set_readiness(Ok(&Readiness {
        ready: true,
        why_not: None,
        addresses: BTreeMap::from([("hot".to_owned(), "0xa".to_owned())]),
        ordered: true,
        head_height: 1,
        warnings: Vec::new(),
        node_fault: None,
    }));
    let mut registry = Registry::default();
    let mut add = |scheme: &str, words: Vec<Result<SchemeCheck, Fault>>| {
        let handler = Arc::new(Saying(Mutex::new(words)));
        for version in [1, 2] {
            let kind = Kind {
                version,
                scheme: scheme.into(),
                network: Arc::clone(&network),
                handler: Arc::clone(&handler) as _,
                instance: Arc::clone(&instance),
                grants: Vec::new(),
                routes: None,
                payload_authorizes: true,
                checked: Checked::default(),
            };
            registry.add_kind(Arc::new(kind)).unwrap();
        }
    };
    add("moody", words);
    add("exact", vec![Ok(SchemeCheck::ready())]);
    registry.add_network(network).unwrap();
    let metrics = Arc::new(Metrics::default());
    Engine::new(Parts {
        registry,
        journal: Arc::new(MemoryJournal::default()),
        ops: Ops::new(
            Arc::new(CallTable::default()),
            Arc::clone(&metrics),
            Budgets::default(),
        ),
        clock: Arc::new(TokioClock::starting_at(1_800_000_000)),
        metrics,
        retention: crate::Retention::default(),
    })
}

async fn check(engine: &Arc<Engine>) -> bool {
    engine
        .checks
        .check_schemes(&engine.runtime.networks[NETWORK])
        .await
}

/// Version and scheme of every kind that is advertised.
async fn advertised(engine: &Arc<Engine>) -> Vec<(u8, String)> {
    let kinds = engine.supported().await.kinds;
    kinds
        .into_iter()
        .map(|kind| (kind.x402_version, kind.scheme))
        .collect()
}

fn request(scheme: &str) -> PaymentRequest {
    serde_json::from_value(json!({
        "version": "2", "scheme": scheme, "network": NETWORK, "networkAsSent": NETWORK, "payload": {},
        "accepted": { "scheme": scheme, "network": NETWORK },
        "requirements": { "scheme": scheme, "network": NETWORK, "amount": "1", "asset": "a", "payTo": "s",
                          "maxTimeoutSeconds": 60 },
        "purpose": "settle", "remainingMs": 1_000
    }))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_scheme_that_is_not_ready_is_not_advertised_takes_nothing_and_stops_no_other() {
    let why = "no code at 0xaa: write another escrow";
    let warned = SchemeCheck {
        warnings: vec!["the node keeps no old state".into()],
        ..SchemeCheck::ready()
    };
    let engine = engine(vec![Ok(SchemeCheck::not_ready(why)), Ok(warned)]);
    assert!(advertised(&engine).await.is_empty(), "not checked yet");
    assert!(!check(&engine).await);
    let exact = [(2, "exact".to_owned()), (1, "exact".to_owned())];
    assert_eq!(advertised(&engine).await, exact);
    let [network] = &engine.readiness()[..] else {
        panic!("one network")
    };
    assert!(network.ready && network.serves());
    let told = |at: usize| (network.schemes[at].ready, network.schemes[at].why_not.as_deref());
    assert_eq!((told(0), told(1)), ((false, Some(why)), (true, None)));

    let answer = engine.settle(request("moody")).await;
    assert!(
        matches!(&answer, SettleAnswer::Unavailable { message, .. } if message == NOT_READY),
        "{answer:?}"
    );
    let verified = engine.verify(request("moody")).await;
    assert_eq!(
        verified.invalid_reason.as_deref(),
        Some(reason::UNEXPECTED_VERIFY_ERROR)
    );
    assert_eq!(verified.invalid_message.as_deref(), Some(NOT_READY));
    assert!(engine.verify(request("exact")).await.is_valid);

    assert!(check(&engine).await);
    assert_eq!(advertised(&engine).await.len(), 4);
    assert_eq!(
        engine.readiness()[0].schemes[0].warnings,
        ["the node keeps no old state"]
    );
    assert!(engine.verify(request("moody")).await.is_valid);
    engine.stop();
}

#[tokio::test(start_paused = true)]
async fn a_check_without_an_answer_changes_nothing_and_one_that_breaks_stops_the_scheme() {
    let deadline = || Err(Fault::new(FaultKind::Deadline, "hangs"));
    let engine = engine(vec![
        deadline(),
        Ok(SchemeCheck::ready()),
        Err(Fault::unavailable("no node")),
        deadline(),
        Err(Fault::internal("a defect")),
        Err(Fault::unavailable("no node")),
        Err(Fault::unsupported("an older plugin")),
        Err(Fault::new(FaultKind::Panic, "")),
        Ok(SchemeCheck {
            ready: false,
            why_not: Some("x\n".repeat(10_000)),
            warnings: vec!["y".repeat(10_000); 1_000],
        }),
    ]);
    let moody = |engine: &Arc<Engine>| engine.readiness()[0].schemes[0].clone();
    for (ready, why) in [
        (false, "Deadline"),
        (true, ""),
        (true, ""),
        (true, ""),
        (false, "a defect"),
        (false, "a defect"),
        (true, ""),
        (false, "panicked"),
        (false, "x x x"),
    ] {
        assert_eq!(check(&engine).await, ready, "{why}");
        let moody = moody(&engine);
        assert_eq!(moody.ready, ready, "{why}");
        assert!(moody.why_not.unwrap_or_default().contains(why), "{why}");
        assert_eq!(
            advertised(&engine).await.len(),
            if ready { 4 } else { 2 },
            "{why}"
        );
    }
    let moody = moody(&engine);
    assert_eq!(moody.why_not.map(|why| why.chars().count()), Some(400));
    assert!(moody.warnings.len() == 16 && moody.warnings.iter().all(|text| text.len() == 400));
    engine.stop();
}

#[tokio::test(start_paused = true)]
async fn schemes_are_checked_sooner_while_one_is_not_ready_and_when_their_network_is_back() {
    let words = vec![
        Ok(SchemeCheck::not_ready("later")),
        Ok(SchemeCheck::ready()),
        Ok(SchemeCheck::not_ready("another node")),
    ];
    let engine = engine(words);
    let run = Arc::clone(&engine.runtime.networks[NETWORK]);
    engine
        .runtime
        .spawn(Arc::clone(&engine.checks).keep_checking_schemes(Arc::clone(&run)));
    let is_ready = || engine.readiness()[0].schemes[0].ready;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!is_ready());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_ready());
    run.schemes_due.notify_one();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!is_ready());
    engine.stop();
}

#[tokio::test(start_paused = true)]
async fn t07_what_a_plugin_says_of_foreign_keys_is_not_published() {
    let engine = engine(vec![Ok(SchemeCheck::ready())]);
    assert!(check(&engine).await);
    let supported = engine.supported().await;
    assert!(!supported.kinds.is_empty());
    let signers: Vec<&String> = supported.signers.values().flatten().collect();
    assert_eq!(signers, ["0xa"], "the host has its key");
    assert_eq!(supported.extensions, ["payment-identifier"]);
}
