//! Rust on both sides: panics, cancellation and null pointers stop at the boundary (R5).
//!
//! A function that unwound into the other side would abort this process, so a passing test is the proof.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::future::pending;
use std::ptr;
use std::sync::Arc;

use parking_lot::Mutex;
use plugin_host::{ErrorKind, InstanceRequest, Limits, Loaded, PluginError, attach};
use sdk_plugin::abi::guest::{entry, table};
use sdk_plugin::abi::raw::{self, Buf, Bytes, Call, Plugin};
use sdk_plugin::abi::{Guest, PluginRoles};
use sdk_plugin::chain::{
    Attempt, Bid, Built, Evidence, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::host::{
    JobRequest, Level, MetricKind, RpcRequest, RpcResponse, SendEncoding, SignRequest, Signature,
    StoreRequest, StoreResponse,
};
use sdk_plugin::scheme::{Identity, Judgement, Plan, Planned, Step, Supported, Verdict};
use sdk_plugin::{
    ChainDriver, Cx, Fault, FaultKind, HostServices, PaymentRequest, SchemeHandler, Value, async_trait,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{attempt, cx, host, instance};

const MANIFEST: &str = r#"{
    "id": "shaky", "version": "1.0.0", "abi": {"major": 1, "minor": 0}, "description": "Panics", "licence": "MIT",
    "services": ["rpc.v1", "sleep.v1", "store.v1"],
    "drivers": [{"family": "test", "suite": "secp256k1", "rpcReads": [], "rpcSends": ["send"]}],
    "schemes": [{"scheme": "hostile", "family": "test", "versions": [2], "calls": []}],
    "configSchema": {"type": "object"}
}"#;

struct Shaky;

impl Guest for Shaky {
    const MANIFEST: &'static str = MANIFEST;

    fn create(config: Value) -> Result<PluginRoles, Fault> {
        let act = config
            .get("act")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        assert!(act != "create", "not today");
        if act == "role" {
            return Ok(PluginRoles::default().scheme("another", Acting(act)));
        }
        Ok(PluginRoles::default()
            .scheme("hostile", Acting(act.clone()))
            .driver("test", Acting(act)))
    }
}

extern "C" fn shaky(major: u16, _minor: u16) -> *const Plugin {
    static TABLE: Plugin = table::<Shaky>(MANIFEST.as_bytes());
    entry(&TABLE, major)
}

/// Reports its drop to the host, which shows that the future of a cancelled call is dropped.
struct DropReporter<'a>(&'a Cx);

impl Drop for DropReporter<'_> {
    fn drop(&mut self) {
        self.0.log(Level::Info, "shaky", "dropped", &Value::Null);
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped badly");
    }
}

struct Acting(String);

#[async_trait]
impl SchemeHandler for Acting {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        match self.0.as_str() {
            "panic" => panic!("on purpose"),
            "payload" => std::panic::panic_any(PanicsWhenDropped),
            "wait" => {
                let _reporter = DropReporter(cx);
                cx.log(Level::Info, "shaky", "waiting", &Value::Null);
                pending::<()>().await;
            }
            "late" => {
                cx.sleep_ms(1).await?;
                panic!("after an await");
            }
            "services" => {
                cx.log(Level::Warn, "shaky", "a line", &json!({"a": 1}));
                cx.metric(MetricKind::Counter, "things_total", 1.0, &BTreeMap::new());
                let reads = cx.read(vec![]).await.expect_err("the host panics");
                let now = cx.now_s();
                let sleep = cx.sleep_ms(1).await.expect_err("the host panics");
                return Err(Fault::unavailable(format!(
                    "{:?} {:?} {now}",
                    reads.kind, sleep.kind
                )));
            }
            "job" => cx.job(JobRequest::Cancel { id: "a".into() }).await?,
            _ => {}
        }
        Ok(Supported::default())
    }

    async fn identify(&self, _: &Cx, _: &PaymentRequest) -> Result<Identity, Fault> {
        Err(Fault::unsupported("not used"))
    }
    async fn verify(&self, _: &Cx, _: &PaymentRequest) -> Result<Verdict, Fault> {
        Err(Fault::unsupported("not used"))
    }
    async fn plan(&self, _: &Cx, _: &PaymentRequest) -> Result<Planned, Fault> {
        Err(Fault::unsupported("not used"))
    }
    async fn judge(&self, _: &Cx, _: &Plan, _: &Evidence) -> Result<Judgement, Fault> {
        Err(Fault::unsupported("not used"))
    }
}

#[async_trait]
impl ChainDriver for Acting {
    async fn check(&self, _: &Cx, _: &Network) -> Result<Readiness, Fault> {
        Err(Fault::unsupported("not used"))
    }
    async fn lane(&self, _: &Cx, _: &Lane) -> Result<LaneState, Fault> {
        Err(Fault::unsupported("not used"))
    }
    async fn quote(&self, _: &Cx, _: &Lane, _: Option<&Bid>) -> Result<Bid, Fault> {
        Err(Fault::unsupported("not used"))
    }
    async fn build(&self, _: &Cx, _: &Slot, _: &Bid, _: &[Step]) -> Result<Built, Fault> {
        Err(Fault::unsupported("not used"))
    }
    async fn fill(&self, _: &Cx, _: &Slot, _: &Bid) -> Result<Built, Fault> {
        Err(Fault::unsupported("not used"))
    }
    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        let send = RpcRequest::Send {
            network: "test:1".into(),
            attempt_id: attempt.id.clone(),
            method: "send".into(),
            params: json!(["$bytes"]),
            encoding: SendEncoding::Hex,
        };
        match self.0.as_str() {
            "before" => panic!("before the send"),
            "denied" => cx.rpc(send).await.map(|_| Sent::Accepted),
            _ => {
                cx.rpc(send).await?;
                panic!("after the send")
            }
        }
    }
    async fn observe(&self, _: &Cx, _: &[Watch]) -> Result<Vec<Observation>, Fault> {
        // The answer to no call.
        Ok(vec![])
    }
}

async fn attach_shaky(act: &str, host: Arc<dyn HostServices>) -> Result<Loaded, PluginError> {
    let request: InstanceRequest = instance(json!({ "act": act }), host, Limits::default());
    // SAFETY: the table is made by the SDK.
    unsafe { attach(shaky, request) }.await
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_a_panic_is_a_fault_and_the_instance_continues() {
    for (act, message) in [
        ("panic", "on purpose"),
        ("late", "after an await"),
        ("payload", "a panic without a message"),
    ] {
        let (host, _) = host();
        let loaded = attach_shaky(act, host.clone()).await.expect("attached");
        let scheme = loaded.schemes.get("hostile").expect("its scheme");
        for _ in 0..3 {
            let fault = scheme.supported(&cx(&host)).await.expect_err(act);
            assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Panic, message));
        }
        assert!(loaded.health.check().await.expect("health").healthy);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_a_panic_is_indeterminate_only_after_a_send() {
    for (act, kind) in [("before", FaultKind::Panic), ("after", FaultKind::Indeterminate)] {
        let (host, _) = host();
        let loaded = attach_shaky(act, host.clone()).await.expect("attached");
        let driver = loaded.drivers.get("test").expect("its driver");
        let fault = driver.broadcast(&cx(&host), &attempt()).await.expect_err(act);
        assert_eq!(fault.kind, kind, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_the_host_denies_had_no_effect() {
    let (host, _) = host();
    host.script.answer_send(|_| Err(Fault::denied("not journaled")));
    let loaded = attach_shaky("denied", host.clone()).await.expect("attached");
    let driver = loaded.drivers.get("test").expect("its driver");
    let fault = driver
        .broadcast(&cx(&host), &attempt())
        .await
        .expect_err("denied");
    assert_eq!(fault, Fault::denied("not journaled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_a_panic_in_create_refuses_the_plugin() {
    let (host, _) = host();
    let error = attach_shaky("create", host.clone()).await.expect_err("it panics");
    assert_eq!(error.kind, ErrorKind::Start);
    assert!(error.message.ends_with("not today"), "{error}");
    let error = attach_shaky("role", host).await.expect_err("another role");
    assert!(error.message.contains("differ in the role"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_stops_waiting_cancels_the_plugins_work() {
    let (host, mut lines) = host();
    let loaded = attach_shaky("wait", host.clone()).await.expect("attached");
    let scheme = loaded.schemes.get("hostile").expect("its scheme").clone();
    let cx = cx(&host);
    let waiting = tokio::spawn(async move { scheme.supported(&cx).await });
    assert_eq!(lines.recv().await.as_deref(), Some("waiting"));
    waiting.abort();
    assert_eq!(lines.recv().await.as_deref(), Some("dropped"));
    assert!(loaded.health.check().await.expect("health").healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_the_manifest_does_not_list_is_denied() {
    let (host, _) = host();
    let loaded = attach_shaky("job", host.clone()).await.expect("attached");
    let scheme = loaded.schemes.get("hostile").expect("its scheme");
    let fault = scheme.supported(&cx(&host)).await.expect_err("no job.v1");
    assert_eq!(fault.kind, FaultKind::Denied);
    assert_eq!(
        fault.message,
        "job.v1 is not in the manifest's services: add it there"
    );
    assert_eq!(host.script.recorded(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn observations_must_be_those_of_the_watches() {
    let (host, _) = host();
    let loaded = attach_shaky("", host.clone()).await.expect("attached");
    let driver = loaded.drivers.get("test").expect("its driver");
    assert_eq!(driver.observe(&cx(&host), &[]).await, Ok(vec![]));
    let Attempt {
        id,
        tx_id,
        lane,
        sequence,
    } = attempt();
    let evidence = Default::default();
    let watch = Watch {
        attempt_id: id,
        tx_id,
        lane,
        sequence,
        terms: Value::Null,
        since_height: 0,
        evidence,
        search_foreign: false,
        pool: false,
        block: None,
        by_block: false,
        final_at: None,
        read_guards: false,
        whole_block: false,
        brief: false,
    };
    let fault = driver
        .observe(&cx(&host), &[watch])
        .await
        .expect_err("one is missing");
    assert_eq!(fault.kind, FaultKind::Internal);
}

/// A host that panics in every function.
struct Panics(mpsc::UnboundedSender<&'static str>);

impl Panics {
    fn at(&self, function: &'static str) -> ! {
        // The test waits for the last of them only.
        let _ = self.0.send(function);
        panic!("{function} on purpose")
    }
}

#[async_trait]
impl HostServices for Panics {
    async fn rpc(&self, _: u64, _: RpcRequest) -> Result<RpcResponse, Fault> {
        self.at("rpc")
    }
    async fn sign(&self, _: u64, _: SignRequest) -> Result<Signature, Fault> {
        self.at("sign")
    }
    async fn store(&self, _: u64, _: StoreRequest) -> Result<StoreResponse, Fault> {
        self.at("store")
    }
    async fn job(&self, _: u64, _: JobRequest) -> Result<(), Fault> {
        self.at("job")
    }
    async fn sleep(&self, _: u64, _: u64) -> Result<(), Fault> {
        self.at("sleep")
    }
    fn now_unix_ns(&self) -> u64 {
        self.at("now")
    }
    fn log(&self, _: u64, _: Level, _: &str, _: &str, _: &Value) {
        self.at("log")
    }
    fn metric(&self, _: MetricKind, _: &str, _: f64, _: &BTreeMap<String, String>) {
        self.at("metric")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_function_of_the_host_unwinds_into_a_plugin() {
    let (functions, mut reached) = mpsc::unbounded_channel();
    let loaded = attach_shaky("services", Arc::new(Panics(functions)))
        .await
        .expect("attached");
    let (context, _) = host();
    let scheme = loaded.schemes.get("hostile").expect("its scheme");
    let fault = scheme
        .supported(&cx(&context))
        .await
        .expect_err("the host panics");
    assert_eq!(fault, Fault::unavailable("Shutdown Shutdown 0"));
    drop(loaded);
    let mut seen = Vec::new();
    while let Some(function) = reached.recv().await {
        seen.push(function);
        if function == "sleep" {
            break;
        }
    }
    assert_eq!(seen, ["log", "metric", "rpc", "now", "sleep"]);
}

extern "C" fn note(ctx: *mut c_void, status: i32, response: Buf) {
    // SAFETY: `ctx` is the list of the test below, which outlives its calls.
    let statuses = unsafe { &*ctx.cast::<Mutex<Vec<i32>>>() };
    if let Some(release) = response.release {
        release(response.owner, response.ptr, response.len);
    }
    statuses.lock().push(status);
}

#[test]
fn no_function_of_a_plugin_unwinds_into_the_host() {
    assert!(shaky(2, 0).is_null(), "another major version is refused");
    // SAFETY: the SDK's static table.
    let table = unsafe { raw::read_sized(shaky(1, 0)) }.expect("a table");
    let (create, submit) = (table.create.expect("create"), table.submit.expect("submit"));
    let (cancel, destroy) = (table.cancel.expect("cancel"), table.destroy.expect("destroy"));

    let mut error = Buf::EMPTY;
    let nothing = create(ptr::null(), 1, Bytes::lend(b"{}"), &raw mut error);
    assert!(
        nothing.is_null() && error.release.is_some(),
        "no host, no instance, but a reason"
    );
    error.release.expect("a buffer")(error.owner, error.ptr, error.len);
    assert!(create(ptr::null(), 1, Bytes::lend(b"{"), ptr::null_mut()).is_null());
    assert_eq!(submit(ptr::null_mut(), ptr::null()), raw::E_INVALID);
    cancel(ptr::null_mut(), 1);
    destroy(ptr::null_mut());

    let host = harmless_host();
    let live = create(&raw const host, 1, Bytes::lend(b"{}"), ptr::null_mut());
    assert!(!live.is_null());
    let statuses = Mutex::new(Vec::<i32>::new());
    let call = |op: &'static [u8], request: &'static [u8]| Call {
        struct_size: raw::struct_size::<Call>(),
        reserved: 0,
        call_id: 1,
        parent_id: 0,
        timeout_ns: 0,
        op: Bytes::lend(op),
        request: Bytes::lend(request),
        trace: Bytes::EMPTY,
        ctx: ptr::from_ref(&statuses).cast_mut().cast(),
        complete: Some(note),
    };
    let submit = |call: Call| submit(live, &raw const call);
    assert_eq!(
        submit(Call {
            struct_size: 8,
            ..call(b"plugin.health", b"{}")
        }),
        raw::E_INVALID
    );
    assert_eq!(
        submit(Call {
            complete: None,
            ..call(b"plugin.health", b"{}")
        }),
        raw::E_INVALID
    );
    assert_eq!(submit(call(b"\xff", b"{}")), raw::E_INVALID);
    let nowhere = Bytes {
        ptr: ptr::null(),
        len: 9,
    };
    assert_eq!(
        submit(Call {
            request: nowhere,
            ..call(b"plugin.health", b"{}")
        }),
        raw::E_INVALID
    );
    assert_eq!(*statuses.lock(), [0; 0], "refused calls are never completed");
    for (op, request) in [
        (
            &b"plugin.health"[..],
            &br#"{"context": {"network": {"id": "", "confirmations": 1, "finality": 1, "lanes": []}}}"#[..],
        ),
        (b"plugin.health", b"not json \xff"),
        (b"x402.unheard-of", b"{}"),
        (b"x402.verify", b"{}"),
    ] {
        assert_eq!(submit(call(op, request)), raw::OK);
    }
    let expected = [raw::OK, raw::E_INVALID, raw::E_UNSUPPORTED, raw::E_INVALID];
    assert_eq!(*statuses.lock(), expected, "accepted calls are completed once");
    cancel(live, 1);
    destroy(live);
}

/// A table whose functions do nothing.
fn harmless_host() -> raw::Host {
    extern "C" fn log(_: *mut c_void, _: u64, _: u64, _: i32, _: Bytes, _: Bytes, _: Bytes) {}
    extern "C" fn log_level(_: *mut c_void) -> i32 {
        1
    }
    extern "C" fn now(_: *mut c_void) -> u64 {
        0
    }
    extern "C" fn metric(_: *mut c_void, _: u64, _: i32, _: Bytes, _: f64, _: Bytes) {}
    extern "C" fn call(_: *mut c_void, _: u64, _: *const Call) -> i32 {
        raw::E_UNSUPPORTED
    }
    extern "C" fn cancel(_: *mut c_void, _: u64, _: u64) {}
    extern "C" fn spawn(_: *mut c_void, _: u64, _: Option<raw::RunFn>, _: *mut c_void) {}
    raw::Host {
        struct_size: raw::struct_size::<raw::Host>(),
        abi_major: raw::ABI_MAJOR,
        abi_minor: raw::ABI_MINOR,
        ctx: ptr::null_mut(),
        log: Some(log),
        log_level: Some(log_level),
        now_unix_ns: Some(now),
        metric: Some(metric),
        call: Some(call),
        cancel: Some(cancel),
        spawn: Some(spawn),
    }
}
