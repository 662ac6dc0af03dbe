//! Releases: exactly one caller gets the success of a payment, whichever callers hang up and whatever the disk does.

use crate::decide::keys::fingerprint_of;
use crate::decide::plan_check_tests::{Silent, instance, settings};
use crate::registry::{Checked, Kind, Network, Registry};
use crate::{Budgets, Engine, Ops, Parts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sdk_plugin::chain::{Evidence, KeyInfo, Readiness};
use sdk_plugin::host::Suite;
use sdk_plugin::request::{Accepted, Requirements};
use sdk_plugin::scheme::{
    Done, Identified, Identity, Judgement, PaidReply, Plan, Planned, Reserve, RouteRequest, RouteResponse,
    SchemeCheck, Supported, Valid, Verdict,
};
use sdk_plugin::wire::reason;
use sdk_plugin::{
    Amount, Cx, Fault, HexBytes, PaymentRequest, ProtocolVersion, Purpose, SchemeHandler, StepIndex,
    async_trait,
};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use base::allowed_releases::{self as allowed, AllowedRelease};
use base::calls::CallTable;
use base::clock::TokioClock;
use base::service::{RouteTerms, SettleAnswer, Settled};
use journal::memory::MemoryJournal;
use journal::{CommitError, Event, Journal, JournalError, NewSettlement, Outcome, SettlementRow};
use telemetry::metrics::Metrics;

pub(crate) const NETWORK: &str = "eip155:1";
pub(crate) const HASH: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Payments that need no transaction, and a route that settles one and may fail to reply.
struct Free;

#[async_trait]
impl SchemeHandler for Free {
    async fn supported(&self, _: &Cx) -> Result<Supported, Fault> {
        Ok(Supported::default())
    }
    async fn identify(&self, _: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        if request.payload.contains_key("broken") {
            return Err(Fault::internal("as scripted"));
        }
        Ok(Identity::Identified(Identified {
            payer: "p".into(),
            claim_key: request
                .payload
                .get("k")
                .and_then(Value::as_str)
                .unwrap_or("k")
                .into(),
            conflict_keys: Vec::new(),
            fingerprint: "f".into(),
            payload_digest: request
                .payload
                .get("d")
                .and_then(Value::as_str)
                .unwrap_or("d")
                .into(),
            replay_reason: "r".into(),
            replayable_until_s: request.payload.get("until_s").and_then(Value::as_u64),
        }))
    }
    async fn verify(&self, _: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        // The chain shows nothing of a settlement without a transaction.
        Ok(Verdict::Valid(Valid {
            payer: "p".into(),
            reserves: request.wants_reserves.then(|| vec![reserve_of(request)]),
            ..Valid::default()
        }))
    }
    async fn plan(&self, cx: &Cx, _: &PaymentRequest) -> Result<Planned, Fault> {
        let trace = cx.terms().trace.as_deref();
        let reply = PaidReply {
            extra: trace.map(|trace| Map::from_iter([("trace".to_owned(), json!(trace))])),
            ..PaidReply::default()
        };
        Ok(Planned::Done(Done {
            reply,
            ..Done::default()
        }))
    }
    async fn judge(&self, _: &Cx, _: &Plan, _: &Evidence) -> Result<Judgement, Fault> {
        Err(Fault::internal("nothing is judged here"))
    }
    async fn check(&self, _: &Cx) -> Result<SchemeCheck, Fault> {
        Ok(SchemeCheck::ready())
    }
    async fn route(&self, cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        match &request.outcome {
            None if request.path == "/everywhere" && request.method == "GET" => Ok(RouteResponse::Reply {
                status: 200,
                body: json!({ "network": cx.network().id, "headers": request.headers }),
            }),
            None if request.method == "PUT" => Ok(RouteResponse::Settle {
                request: Box::new(PaymentRequest {
                    network: "test:9".into(),
                    ..self::request(25_000)
                }),
            }),
            None => Ok(RouteResponse::Settle {
                request: Box::new(self::request(25_000)),
            }),
            Some(_) if request.path == "/mute" => Err(Fault::internal("as scripted")),
            Some(outcome) => Ok(RouteResponse::Reply {
                status: 200,
                body: json!({ "success": outcome.success, "reason": outcome.error_reason }),
            }),
        }
    }
}

/// The amount of the requirements, of the payer's 100.
fn reserve_of(request: &PaymentRequest) -> Reserve {
    Reserve {
        asset: "a".into(),
        payer: "p".into(),
        amount: request.requirements.amount,
        available: Amount::from(100u64),
        as_of_height: 1,
        refusal_reason: "short".into(),
    }
}

/// Where a commit hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hang {
    Nowhere,
    BeforeTheWrite,
    AfterTheWrite,
}

/// A journal whose disk can hang.
pub(crate) struct Disk {
    inner: MemoryJournal,
    hangs: watch::Sender<bool>,
    /// Where commits of releases hang.
    release_hangs: watch::Sender<Hang>,
    /// How many commits that give a release back fail before one succeeds.
    refusals: AtomicU8,
    /// How many events each removal of old ones removes, the last one first; then none.
    pub(crate) removals: Mutex<Vec<u32>>,
}

impl Disk {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryJournal::default(),
            hangs: watch::Sender::new(false),
            release_hangs: watch::Sender::new(Hang::Nowhere),
            refusals: AtomicU8::new(0),
            removals: Mutex::default(),
        })
    }

    fn hang(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    /// Hangs while commits of releases hang at this point.
    async fn release_turn(&self, events: &[Event], at: Hang) {
        if events.iter().any(|event| matches!(event, Event::Released { .. })) {
            let mut hangs = self.release_hangs.subscribe();
            drop(hangs.wait_for(|hangs| *hangs != at).await);
        }
    }

    async fn turn(&self) {
        let mut hangs = self.hangs.subscribe();
        drop(hangs.wait_for(|hangs| !hangs).await);
    }

    fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.inner.log().iter().filter(|event| is(event)).count()
    }

    fn released(&self) -> usize {
        self.count(|event| matches!(event, Event::Released { .. }))
    }

    fn returned(&self) -> usize {
        self.count(|event| matches!(event, Event::ReleaseReturned { .. }))
    }
}

#[async_trait]
impl Journal for Disk {
    fn secret(&self) -> [u8; 32] {
        self.inner.secret()
    }

    fn new_id(&self) -> u64 {
        self.inner.new_id()
    }

    async fn drop_events(&self, _: u64, _: u32) -> Result<u32, CommitError> {
        Ok(self.removals.lock().pop().unwrap_or(0))
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError> {
        self.turn().await;
        let refused = |left: u8| left.checked_sub(1);
        if matches!(events.as_slice(), [Event::ReleaseReturned { .. }])
            && self
                .refusals
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, refused)
                .is_ok()
        {
            return Err(CommitError::Full);
        }
        self.release_turn(&events, Hang::BeforeTheWrite).await;
        let committed = self.inner.commit(events.clone()).await;
        self.release_turn(&events, Hang::AfterTheWrite).await;
        // The acknowledgement hangs, too.
        self.turn().await;
        committed
    }
    fn note(&self, event: Event) {
        self.inner.note(event);
    }
    async fn view(&self, task: journal::ReadTask) -> Result<(), JournalError> {
        self.turn().await;
        self.inner.view(task).await
    }
}

pub(crate) fn engine(journal: Arc<dyn Journal>) -> Arc<Engine> {
    let instance = instance();
    let mut settings = settings();
    settings.keys = vec![KeyInfo {
        name: "hot".into(),
        suite: Suite::Secp256k1,
        public_key: HexBytes::default(),
    }];
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
    let kind = Kind {
        version: 2,
        scheme: "free".into(),
        network: Arc::clone(&network),
        handler: Arc::new(Free),
        instance,
        grants: Vec::new(),
        routes: Some(RouteTerms {
            without_network: vec!["/everywhere".into()],
            headers: vec!["x-shop".into()],
        }),
        payload_authorizes: true,
        checked: Checked::default(),
    };
    registry.add_network(network).unwrap();
    registry.add_kind(Arc::new(kind)).unwrap();
    let metrics = Arc::new(Metrics::default());
    Engine::new(Parts {
        registry,
        journal,
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

/// An engine whose scheme has passed its self-check.
pub(crate) async fn ready(journal: &Arc<Disk>) -> Arc<Engine> {
    let engine = engine(Arc::clone(journal) as _);
    engine
        .checks
        .check_schemes(&engine.runtime.networks[NETWORK])
        .await;
    engine
}

pub(crate) fn request(remaining_ms: u64) -> PaymentRequest {
    PaymentRequest {
        version: ProtocolVersion::V2,
        scheme: "free".into(),
        network: NETWORK.into(),
        network_as_sent: NETWORK.into(),
        payload: Map::new(),
        accepted: Accepted {
            scheme: "free".into(),
            network: NETWORK.into(),
            raw: Map::new(),
        },
        requirements: Requirements {
            scheme: "free".into(),
            network: NETWORK.into(),
            amount: Amount::from(1u64),
            asset: "a".into(),
            pay_to: "b".into(),
            max_timeout_seconds: 60,
            extra: Map::new(),
        },
        resource: None,
        extensions: Map::new(),
        purpose: Purpose::Settle,
        tenant: None,
        idempotency_key: None,
        remaining_ms,
        wants_reserves: false,
    }
}

/// A settlement of the claim of [`request`], with one step, as a lane would have recorded it.
pub(crate) fn row_of(engine: &Engine, id: u64) -> SettlementRow {
    let kind = engine.runtime.registry.kinds().next().unwrap();
    SettlementRow {
        id,
        claim: crate::decide::keys::own_key(kind, "k"),
        generation: 0,
        plugin: kind.instance.plugin.clone(),
        scheme: kind.scheme.clone(),
        version: ProtocolVersion::V2,
        network: NETWORK.into(),
        tenant: None,
        fingerprint: fingerprint_of("f", None),
        digest: "d".into(),
        request: String::new(),
        payload: String::new(),
        replay_reason: "r".into(),
        replayable_until_s: None,
        payer: "p".into(),
        conflict_keys: Vec::new(),
        reference: String::new(),
        pay_to: String::new(),
        asset: String::new(),
        amount: None,
        idempotency_key: None,
        expires_at_s: None,
        home: None,
        handed_over: false,
        opened_at_ms: 0,
        updated_at_ms: 0,
        second_source: false,
        steps: Vec::new(),
        outcome: Outcome::Open,
        release: None,
        tx_id: Some(HASH.into()),
        finished: false,
        withheld: false,
        costs: Vec::new(),
    }
}

/// Records a payment that landed, is final, and was reported to no caller.
pub(crate) async fn paid_and_unreleased(engine: &Engine, journal: &dyn Journal) -> u64 {
    let row = row_of(engine, journal.new_id());
    let id = row.id;
    let events = vec![
        Event::Opened(Box::new(NewSettlement::new(
            row,
            String::new(),
            Vec::new(),
            Vec::new(),
        ))),
        Event::Paid {
            settlement: id,
            step: StepIndex::FIRST,
            tx_id: HASH.into(),
            height: 1,
            items: Vec::new(),
            reply: PaidReply::default(),
            repeatable: false,
        },
        Event::Finished {
            settlement: id,
            at_ms: 0,
        },
    ];
    journal.commit(events).await.unwrap();
    id
}

/// `success`, a reason with the hash, or the status of a settlement that was not started.
pub(crate) fn summary(answer: &SettleAnswer) -> String {
    match answer {
        SettleAnswer::Reply(reply) if reply.success => "success".into(),
        SettleAnswer::Reply(reply) => {
            let hash = if reply.transaction == HASH {
                " with the hash"
            } else {
                ""
            };
            format!("{}{hash}", reply.error_reason.clone().unwrap_or_default())
        }
        SettleAnswer::Replay(_) => "replay".into(),
        SettleAnswer::Unavailable { .. } => "503".into(),
    }
}

/// Lets the engine's tasks run until nothing is left to deliver.
async fn delivered(engine: &Engine) {
    while engine.in_delivery() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_caller_hangs_up_during_the_commit_is_returned() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    paid_and_unreleased(&engine, &*journal).await;
    for round in 1..=20 {
        let hang = if round % 2 == 0 {
            Hang::BeforeTheWrite
        } else {
            Hang::AfterTheWrite
        };
        journal.release_hangs.send_replace(hang);
        let caller = tokio::time::timeout(Duration::from_secs(1), engine.settle(request(25_000))).await;
        assert!(caller.is_err(), "round {round}: hung up");
        assert_eq!(engine.in_delivery(), 1, "round {round}: the commit is running");
        journal.release_hangs.send_replace(Hang::Nowhere);
        delivered(&engine).await;
        assert_eq!((journal.released(), journal.returned()), (round, round));
    }
    assert_eq!(summary(&engine.settle(request(25_000)).await), "success");
    assert_eq!(
        summary(&engine.settle(request(25_000)).await),
        "duplicate_settlement with the hash"
    );
    assert_eq!(journal.returned(), 20, "a delivered release stays taken");
}

#[tokio::test(start_paused = true)]
async fn verify_refuses_what_settle_would_refuse_for_a_recorded_payment() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    let other_terms = || {
        let mut request = request(25_000);
        request.payload.insert("d".into(), "other".into());
        request
    };
    assert!(engine.verify(request(10_000)).await.is_valid);
    assert_eq!(summary(&engine.settle(request(25_000)).await), "success");
    assert_eq!(
        summary(&engine.settle(request(25_000)).await),
        "duplicate_settlement"
    );
    for again in [request(10_000), other_terms()] {
        let reply = engine.verify(again).await;
        assert_eq!(
            (
                reply.is_valid,
                reply.invalid_reason.as_deref(),
                reply.payer.as_str()
            ),
            (false, Some("r"), "p")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_release_of_an_undelivered_answer_is_returned() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    // A new release, one that was stored, and one whose return fails four times.
    for refusals in [0, 0, 4] {
        let settled = engine.settle_with_receipt(request(25_000)).await;
        assert_eq!(summary(&settled.answer), "success");
        journal.refusals.store(refusals, Ordering::Relaxed);
        drop(settled);
        delivered(&engine).await;
    }
    assert_eq!(journal.returned(), 3);
    let settled = engine.settle_with_receipt(request(25_000)).await;
    assert_eq!(summary(&settled.answer), "success");
    settled.receipt.delivered();
    delivered(&engine).await;
    assert_eq!(
        summary(&engine.settle(request(25_000)).await),
        "duplicate_settlement"
    );
    assert_eq!(journal.returned(), 3, "a delivered release stays taken");
}

#[tokio::test(start_paused = true)]
async fn other_callers_get_pending_while_a_release_is_being_delivered() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    paid_and_unreleased(&engine, &*journal).await;
    let keyed = || PaymentRequest {
        idempotency_key: Some("order 7".into()),
        ..request(25_000)
    };
    let first: Settled = engine.settle_with_receipt(keyed()).await;
    assert_eq!(summary(&first.answer), "success");
    // A replay sent now would be a second success if the first answer were lost and its release given back.
    assert_eq!(
        summary(&engine.settle(keyed()).await),
        "settlement_pending with the hash"
    );
    let other = PaymentRequest {
        payload: Map::from_iter([("d".to_owned(), json!("another"))]),
        ..request(25_000)
    };
    assert_eq!(summary(&engine.settle(other).await), "r");
    let waiting = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.settle(keyed()).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(first);
    assert_eq!(
        summary(&waiting.await.unwrap()),
        "success",
        "it gets what was given back"
    );
    assert_eq!(summary(&engine.settle(keyed()).await), "replay");
    assert_eq!(
        summary(&engine.settle(request(25_000)).await),
        "duplicate_settlement with the hash"
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_commit_and_delivery_leaves_the_release_taken() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    paid_and_unreleased(&engine, &*journal).await;
    let settled = engine.settle_with_receipt(request(25_000)).await;
    assert_eq!(summary(&settled.answer), "success");
    engine.stop();
    drop(settled);
    let engine = ready(&journal).await;
    assert_eq!(
        summary(&engine.settle(request(25_000)).await),
        "duplicate_settlement with the hash"
    );
    assert_eq!(journal.returned(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_never_turns_a_recorded_payment_into_a_failure() {
    for hangs_after in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(1)] {
        let journal = Disk::new();
        let engine = ready(&journal).await;
        paid_and_unreleased(&engine, &*journal).await;
        let receipt = if hangs_after > Duration::from_millis(1) {
            // The release is being delivered to another caller, and is read again and again.
            Some(engine.settle_with_receipt(request(25_000)).await)
        } else {
            None
        };
        if hangs_after.is_zero() {
            journal.hang(true);
        }
        let started = Instant::now();
        let hang = async {
            tokio::time::sleep(hangs_after).await;
            journal.hang(true);
        };
        let (answer, ()) = tokio::join!(engine.settle(request(2_000)), hang);
        let answer = summary(&answer);
        let expected: &[&str] = match hangs_after.as_millis() {
            // Nothing can be read: nothing is known.
            0 => &["503"],
            1 => &["success", "settlement_pending with the hash"],
            _ => &["settlement_pending with the hash"],
        };
        assert!(expected.contains(&answer.as_str()), "{hangs_after:?}: {answer}");
        assert!(
            started.elapsed() <= Duration::from_secs(9),
            "{:?}",
            started.elapsed()
        );
        drop(receipt);
        journal.hang(false);
        delivered(&engine).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_commit_hangs_is_pending_with_the_hash_and_not_lost() {
    for hang in [Hang::BeforeTheWrite, Hang::AfterTheWrite] {
        let journal = Disk::new();
        let engine = ready(&journal).await;
        paid_and_unreleased(&engine, &*journal).await;
        journal.release_hangs.send_replace(hang);
        let started = Instant::now();
        assert_eq!(
            summary(&engine.settle(request(2_000)).await),
            "settlement_pending with the hash",
            "{hang:?}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(12),
            "{:?}",
            started.elapsed()
        );
        // Another equal caller waits for the outcome, also in vain.
        assert_eq!(
            summary(&engine.settle(request(2_000)).await),
            "settlement_pending with the hash",
            "{hang:?}"
        );
        journal.release_hangs.send_replace(Hang::Nowhere);
        delivered(&engine).await;
        assert_eq!(
            summary(&engine.settle(request(2_000)).await),
            "success",
            "{hang:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_looked_up_is_not_reported_as_failed() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    journal.hang(true);
    let broken = PaymentRequest {
        payload: Map::from_iter([("broken".to_owned(), json!(1))]),
        ..request(2_000)
    };
    assert_eq!(summary(&engine.settle(broken).await), "503");
}

#[tokio::test(start_paused = true)]
async fn the_release_of_a_route_that_does_not_report_its_outcome_is_returned() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    let route = |path: &str| RouteRequest {
        method: "POST".into(),
        path: path.into(),
        query: Vec::new(),
        body: Value::Null,
        headers: Vec::new(),
        tenant: None,
        idempotency_key: None,
        outcome: None,
    };
    let wait = Duration::from_secs(25);
    let routed = engine.route("free", NETWORK, route("/mute"), wait).await;
    assert!(routed.response.is_err());
    drop(routed);
    delivered(&engine).await;
    assert_eq!((journal.released(), journal.returned()), (1, 1));
    let routed = engine.route("free", NETWORK, route("/tell"), wait).await;
    match routed.response {
        Ok(RouteResponse::Reply { body, .. }) => assert_eq!(body["success"], true),
        other => panic!("{other:?}"),
    }
    routed.receipt.delivered();
    let routed = engine.route("free", NETWORK, route("/tell"), wait).await;
    match routed.response {
        Ok(RouteResponse::Reply { body, .. }) => assert_eq!(body["reason"], reason::DUPLICATE_SETTLEMENT),
        other => panic!("{other:?}"),
    }
}

/// What is done for a payment belongs to the trace of the request that opened it, also in the engine's own tasks.
#[tokio::test(start_paused = true)]
async fn a_payment_is_planned_in_the_trace_of_its_request() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = base::trace::Trace::parse(header);
    let answer = base::trace::within(trace, engine.settle(request(25_000))).await;
    let SettleAnswer::Reply(reply) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(reply.extra.unwrap()["trace"], header);
}

/// A route without a network sees none, and may have a payment settled on each network that its instance serves.
#[tokio::test(start_paused = true)]
async fn a_route_without_a_network_settles_where_its_instance_serves_the_scheme() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    let wait = Duration::from_secs(25);
    let route = |method: &str, path: &str| RouteRequest {
        method: method.into(),
        path: path.into(),
        query: Vec::new(),
        body: Value::Null,
        headers: vec![("x-shop".into(), "north".into()), ("x-other".into(), "1".into())],
        tenant: None,
        idempotency_key: None,
        outcome: None,
    };
    let body_of = |routed: base::service::Routed| match routed.response {
        Ok(RouteResponse::Reply { body, .. }) => body,
        other => panic!("{other:?}"),
    };
    let seen = body_of(engine.route("free", "", route("GET", "/everywhere"), wait).await);
    assert_eq!(seen, json!({ "network": "", "headers": [["x-shop", "north"]] }));
    let fault = engine
        .route("free", "", route("GET", "/tell"), wait)
        .await
        .response;
    assert!(
        matches!(fault, Err(fault) if fault.kind == sdk_plugin::FaultKind::Unsupported),
        "not listed"
    );
    let fault = engine
        .route("free", "", route("PUT", "/everywhere"), wait)
        .await
        .response;
    assert!(
        matches!(fault, Err(fault) if fault.kind == sdk_plugin::FaultKind::Denied),
        "not served there"
    );
    let settled = engine.route("free", "", route("POST", "/everywhere"), wait).await;
    assert_eq!(body_of(settled)["success"], true);
}

#[tokio::test(start_paused = true)]
async fn a_withheld_release_is_a_duplicate_until_the_operator_allows_it_and_then_a_success_once() {
    let journal = Disk::new();
    let before = ready(&journal).await;
    let id = paid_and_unreleased(&before, &*journal).await;
    before.stop();
    let engine = ready(&journal).await;
    assert_eq!(engine.withhold_releases("the chain is further").await, Ok(1));
    for _ in 0..3 {
        assert_eq!(
            summary(&engine.settle(request(25_000)).await),
            "duplicate_settlement with the hash"
        );
    }
    assert_eq!(journal.released(), 0);

    let folder = tempfile::tempdir().unwrap();
    let allowed = |claim: &str| AllowedRelease {
        settlement: id,
        claim: claim.into(),
    };
    // A number alone is not enough: another journal may have used it for another payment.
    allowed::write(folder.path(), &[allowed("p|n|other")]).unwrap();
    engine.take_allowed(folder.path()).await.unwrap();
    assert_eq!(
        summary(&engine.settle(request(25_000)).await),
        "duplicate_settlement with the hash"
    );
    let claim = row_of(&engine, 0).claim;
    allowed::write(folder.path(), &[allowed(&claim)]).unwrap();
    engine.take_allowed(folder.path()).await.unwrap();
    assert_eq!(allowed::read(folder.path()).unwrap(), [], "carried out");
    assert_eq!(summary(&engine.settle(request(25_000)).await), "success");
    assert_eq!(
        summary(&engine.settle(request(25_000)).await),
        "duplicate_settlement with the hash"
    );
}

#[tokio::test(start_paused = true)]
async fn payments_that_this_process_opened_are_never_withheld() {
    let journal = Disk::new();
    let engine = ready(&journal).await;
    let settled = engine.settle_with_receipt(request(25_000)).await;
    assert_eq!(summary(&settled.answer), "success");
    drop(settled);
    delivered(&engine).await;
    assert_eq!(engine.withhold_releases("the chain is further").await, Ok(0));
    assert_eq!(summary(&engine.settle(request(25_000)).await), "success");
}
