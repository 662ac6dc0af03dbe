//! Every message of the boundary in every shape: it arrives as it was sent, and matches its checked-in schema.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use plugin_host::{Limits, attach};
use sdk_plugin::abi::guest::{entry, table};
use sdk_plugin::abi::raw::Plugin;
use sdk_plugin::abi::{Guest, Lifecycle, PluginRoles};
use sdk_plugin::chain::{
    Attempt, Bid, Built, Evidence, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::host::{Authorizer, Job, RpcError, RpcResponse, RpcResult};
use sdk_plugin::ops::{JobReply, ObserveReply};
use sdk_plugin::scheme::{
    Identity, Judgement, Plan, Planned, RouteRequest, RouteResponse, SchemeCheck, Step, Supported, Verdict,
};
use sdk_plugin::{
    CallContext, CallTerms, ChainDriver, Cx, Fault, HexBytes, NetworkView, PaymentRequest, SchemeHandler,
    Value, async_trait,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::sample;
use crate::support::{LoggedHost, host, instance};
use crate::tap::{SCHEMAS, crossed, tap};

const MANIFEST: &str = r#"{
    "id": "full", "version": "1.0.0", "abi": {"major": 1, "minor": 0}, "description": "Returns every answer",
    "licence": "MIT", "services": ["rpc.v1", "sign.v1", "store.v1", "job.v1", "sleep.v1"], "maxMessageBytes": 2097152,
    "drivers": [{"family": "test", "suite": "ed25519", "rpcReads": ["good"], "rpcSends": ["send"],
                 "knownAssets": [{"network": "test:1", "asset": "0xtoken", "symbol": "USDC"}]}],
    "schemes": [{"scheme": "full", "family": "test", "versions": [1, 2], "routes": true,
                 "calls": [{"target": "asset", "operations": ["0xe3ee160e"]}]}],
    "configSchema": {"type": "object"}
}"#;

fn of<T: DeserializeOwned>(sample: &Value) -> T {
    serde_json::from_value(sample.clone()).unwrap_or_else(|error| panic!("{error} in {sample}"))
}

/// Returns the next sample answer of an operation.
struct SampleAnswers(Mutex<HashMap<&'static str, usize>>);

impl SampleAnswers {
    fn next_answer<T: DeserializeOwned>(&self, op: &'static str) -> Result<T, Fault> {
        let answers = sample::answers(op);
        let mut turns = self.0.lock();
        let turn = turns.entry(op).or_default();
        let answer = answers
            .get(*turn)
            .ok_or_else(|| Fault::internal(format!("{op} has no further answer")))?;
        *turn += 1;
        Ok(of(answer))
    }
}

fn arrived<T: Serialize>(value: &T, samples: &[Value]) -> Result<(), Fault> {
    let value = serde_json::to_value(value).map_err(|error| Fault::internal(error.to_string()))?;
    if samples.contains(&value) {
        Ok(())
    } else {
        Err(Fault::internal(format!("arrived changed: {value}")))
    }
}

async fn use_every_service(cx: &Cx) -> Result<(), Fault> {
    for request in sample::host_requests("store.v1") {
        cx.store(of(&request)).await?;
    }
    for request in sample::host_requests("job.v1") {
        cx.job(of(&request)).await?;
    }
    for request in sample::host_requests("rpc.v1").iter().take(1) {
        cx.rpc(of(request)).await?;
    }
    cx.sleep_ms(1).await
}

#[async_trait]
impl SchemeHandler for SampleAnswers {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        if *cx.context() != context("full") || *cx.terms() != terms() {
            return Err(Fault::internal(format!("arrived changed: {cx:?}")));
        }
        use_every_service(cx).await?;
        self.next_answer("x402.supported")
    }
    async fn identify(&self, _: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        arrived(request, &sample::payments())?;
        self.next_answer("x402.identify")
    }
    async fn verify(&self, _: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        arrived(request, &sample::payments())?;
        self.next_answer("x402.verify")
    }
    async fn plan(&self, _: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        arrived(request, &sample::payments())?;
        self.next_answer("x402.plan")
    }
    async fn judge(&self, _: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        arrived(plan, &[sample::plan()])?;
        arrived(evidence, &sample::evidences())?;
        self.next_answer("x402.judge")
    }
    async fn route(&self, _: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        arrived(request, &sample::routes())?;
        self.next_answer("x402.route")
    }
    async fn check(&self, cx: &Cx) -> Result<SchemeCheck, Fault> {
        if *cx.context() != context("full") {
            return Err(Fault::internal(format!("arrived changed: {:?}", cx.context())));
        }
        self.next_answer("x402.check")
    }
    async fn job(&self, _: &Cx, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        arrived(job, &[sample::job()])?;
        self.next_answer::<JobReply>("x402.job")
            .map(|reply| reply.requests)
    }
}

#[async_trait]
impl ChainDriver for SampleAnswers {
    async fn check(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault> {
        if *cx.context() != context("") {
            return Err(Fault::internal(format!("arrived changed: {:?}", cx.context())));
        }
        arrived(network, &[sample::network()])?;
        self.next_answer("chain.check")
    }
    async fn lane(&self, _: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        arrived(lane, &[sample::slot()["lane"].clone()])?;
        self.next_answer("chain.lane")
    }
    async fn quote(&self, _: &Cx, _: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault> {
        arrived(&previous, &[Value::Null, sample::bid()])?;
        self.next_answer("chain.quote")
    }
    async fn build(&self, cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        arrived(slot, &[sample::slot()])?;
        arrived(bid, &[sample::bid()])?;
        arrived(&steps, &[sample::plan()["steps"].clone()])?;
        for request in sample::host_requests("sign.v1") {
            cx.sign(of(&request)).await?;
        }
        self.next_answer("chain.build")
    }
    async fn fill(&self, _: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault> {
        arrived(slot, &[sample::slot()])?;
        arrived(bid, &[sample::bid()])?;
        self.next_answer("chain.fill")
    }
    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        arrived(attempt, &[sample::attempt()])?;
        for request in sample::host_requests("rpc.v1").iter().skip(1) {
            cx.rpc(of(request)).await?;
        }
        self.next_answer("chain.broadcast")
    }
    async fn observe(&self, _: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        arrived(&watches, &[json!([sample::watch()])])?;
        self.next_answer::<ObserveReply>("chain.observe")
            .map(|reply| reply.observations)
    }
}

struct Calm;

#[async_trait]
impl Lifecycle for Calm {}

struct Full;

impl Guest for Full {
    const MANIFEST: &'static str = MANIFEST;

    fn create(_: Value) -> Result<PluginRoles, Fault> {
        let sayer = || SampleAnswers(Mutex::default());
        Ok(PluginRoles::default()
            .scheme("full", sayer())
            .driver("test", sayer())
            .lifecycle(Calm))
    }
}

extern "C" fn full(major: u16, _minor: u16) -> *const Plugin {
    static FULL: Plugin = table::<Full>(MANIFEST.as_bytes());
    let tapped: &'static Plugin = Box::leak(Box::new(tap(&FULL)));
    entry(tapped, major)
}

fn context(scheme: &str) -> CallContext {
    let lane: Lane = of(&sample::slot()["lane"]);
    let network = NetworkView {
        id: "test:1".into(),
        confirmations: 1,
        finality: 12,
        lanes: vec![lane.clone()],
        retained: vec![lane.clone()],
        retired: vec![lane.signer],
        assets: Some(vec!["0xtoken".into()]),
        options: json!({ "a": 1 }),
    };
    CallContext {
        scheme: scheme.into(),
        network,
        authorizers: vec![Authorizer {
            key: "auth".into(),
            public_key: HexBytes(vec![4; 65]),
            domains: vec![HexBytes(vec![1; 32])],
        }],
    }
}

fn terms() -> CallTerms {
    CallTerms {
        timeout: Some(Duration::from_millis(1_500)),
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    }
}

fn cx(host: &std::sync::Arc<LoggedHost>) -> Cx {
    host.script.cx(context("full")).with_terms(terms())
}

/// The answer is the sample, byte for byte in meaning.
fn is<T: Serialize>(answer: Result<T, Fault>, sample: &Value) {
    assert_eq!(
        serde_json::to_value(answer.expect("an answer")).expect("JSON"),
        *sample
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_as_sent_and_matches_its_schema() {
    let (host, _) = host();
    host.script
        .answer_rpc("good", |_| RpcResult::Ok(json!({ "a": null })));
    let refused = RpcError {
        code: -32_000,
        message: "no".into(),
        data: json!("0x08c379a0"),
    };
    host.script
        .answer_rpc("bad", move |_| RpcResult::Error(refused.clone()));
    host.script.answer_send(|_| {
        Ok(RpcResponse {
            results: vec![RpcResult::Ok(json!("0xt"))],
        })
    });
    host.script.answer_sign(|_| Ok(HexBytes(vec![1; 65])));
    // SAFETY: the tap and the SDK keep the ABI's rules.
    let loaded = unsafe { attach(full, instance(json!({}), host.clone(), Limits::default())) }
        .await
        .expect("attached");
    let scheme = loaded.schemes.get("full").expect("its scheme");
    let driver = loaded.drivers.get("test").expect("its driver");

    for answer in sample::answers("x402.supported") {
        is(scheme.supported(&cx(&host)).await, &answer);
    }
    let payments: Vec<PaymentRequest> = sample::payments().iter().map(of).collect();
    for (answer, payment) in sample::answers("x402.identify")
        .iter()
        .zip(payments.iter().cycle())
    {
        is(scheme.identify(&cx(&host), payment).await, answer);
    }
    for (answer, payment) in sample::answers("x402.verify").iter().zip(payments.iter().cycle()) {
        is(scheme.verify(&cx(&host), payment).await, answer);
    }
    for (answer, payment) in sample::answers("x402.plan").iter().zip(payments.iter().cycle()) {
        is(scheme.plan(&cx(&host), payment).await, answer);
    }
    for (answer, evidence) in sample::answers("x402.judge").iter().zip(sample::evidences()) {
        is(
            scheme
                .judge(&cx(&host), &of(&sample::plan()), &of(&evidence))
                .await,
            answer,
        );
    }
    for (answer, request) in sample::answers("x402.route").iter().zip(sample::routes()) {
        is(scheme.route(&cx(&host), &of(&request)).await, answer);
    }
    for answer in sample::answers("x402.check") {
        is(scheme.check(&cx(&host)).await, &answer);
    }
    for answer in sample::answers("x402.job") {
        is(
            scheme
                .job(&cx(&host), &of(&sample::job()))
                .await
                .map(|requests| JobReply { requests }),
            &answer,
        );
    }
    for answer in sample::answers("chain.check") {
        is(driver.check(&cx(&host), &of(&sample::network())).await, &answer);
    }
    let (slot, bid): (Slot, Bid) = (of(&sample::slot()), of(&sample::bid()));
    for answer in sample::answers("chain.lane") {
        is(driver.lane(&cx(&host), &slot.lane).await, &answer);
    }
    for (answer, previous) in sample::answers("chain.quote").iter().zip([None, Some(&bid)]) {
        is(driver.quote(&cx(&host), &slot.lane, previous).await, answer);
    }
    let Plan { steps, .. } = of(&sample::plan());
    for answer in sample::answers("chain.build") {
        is(driver.build(&cx(&host), &slot, &bid, &steps).await, &answer);
    }
    for answer in sample::answers("chain.fill") {
        is(driver.fill(&cx(&host), &slot, &bid).await, &answer);
    }
    for answer in sample::answers("chain.broadcast") {
        is(
            driver.broadcast(&cx(&host), &of(&sample::attempt())).await,
            &answer,
        );
    }
    for answer in sample::answers("chain.observe") {
        let observations = driver.observe(&cx(&host), &[of(&sample::watch())]).await;
        is(
            observations.map(|observations| ObserveReply { observations }),
            &answer,
        );
    }
    assert!(loaded.health.check().await.expect("health").healthy);
    // One call more than there are answers, so that a fault crosses too.
    scheme
        .verify(&cx(&host), payments.first().expect("one"))
        .await
        .expect_err("no further answer");

    let crossed = crossed();
    assert_eq!(crossed.faults, [""; 0]);
    let unseen: Vec<&String> = SCHEMAS
        .keys()
        .filter(|name| !crossed.names.contains(*name))
        .collect();
    assert_eq!(unseen, ["manifest"], "every other schema was used by a message");
    let manifest = serde_json::to_value(&loaded.manifest).expect("JSON");
    let fits = SCHEMAS.get("manifest").expect("its schema").validate(&manifest);
    assert!(fits.is_ok(), "{fits:?}");
}

#[test]
fn schemas_refuse_what_the_types_refuse() {
    for (name, bad) in [
        ("x402.verify.response", json!({ "type": "maybe", "payer": "" })),
        ("x402.verify.response", json!({ "type": "invalid", "payer": "" })),
        (
            "chain.lane.response",
            json!({ "nextSequence": -1, "balance": "1", "headHeight": 0 }),
        ),
        (
            "chain.lane.response",
            json!({ "nextSequence": 9_007_199_254_740_992_u64, "balance": "1", "headHeight": 0 }),
        ),
        (
            "chain.lane.response",
            json!({ "nextSequence": 1, "balance": 1, "headHeight": 0 }),
        ),
        (
            "chain.lane.response",
            json!({ "nextSequence": 1, "balance": "01", "headHeight": 0 }),
        ),
        (
            "sign.v1.request",
            json!({ "key": "k", "suite": "rsa", "message": "0x" }),
        ),
        (
            "sign.v1.request",
            json!({ "key": "k", "suite": "ed25519", "message": "00" }),
        ),
        ("rpc.v1.request", json!({ "type": "read", "network": "test:1" })),
    ] {
        let schema = SCHEMAS.get(name).expect("a schema");
        assert!(!schema.is_valid(&bad), "{name} accepts {bad}");
    }
}
