//! Shared by the tests of the boundary: the hostile plugin, a host whose log can be read, and contexts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use plugin_host::{
    InstanceRequest, Isolation, Limits, LoadRequest, Loaded, Pin, PluginError, RunnerSettings, Sandbox, load,
};
use sdk_plugin::chain::{Attempt, Lane};
use sdk_plugin::host::{
    JobRequest, Level, MetricKind, RpcRequest, RpcResponse, RpcResult, SignRequest, Signature, StoreRequest,
    StoreResponse,
};
use sdk_plugin::scheme::Supported;
use sdk_plugin::testkit::ScriptHost;
use sdk_plugin::{Cx, Fault, HostServices, SchemeHandler, Value, async_trait};
use serde_json::json;
use tokio::sync::mpsc;

/// A deadline that only a call without an answer reaches.
pub(crate) const SHORT: Duration = Duration::from_millis(150);

/// The workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder for one test's files.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("make a folder");
    folder
}

/// The variable with another C compiler, and its first arguments.
const COMPILER: &str = "PLUGIN_CC";

/// Compiles C source to a file of that name. The file appears complete: other processes may run these tests too.
pub(crate) fn compile(source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let output = folder("built").join(name);
    let unfinished = folder("built").join(format!("{name}.{}", std::process::id()));
    let other = std::env::var(COMPILER).unwrap_or_else(|_| "cc".to_owned());
    let mut words = other.split_whitespace();
    let compiler = Command::new(words.next().unwrap_or("cc"))
        .args(words)
        .args([
            "-std=c11",
            "-Wall",
            "-Wno-unused-const-variable",
            "-Wno-unused-function",
            "-pthread",
            "-fPIC",
        ])
        .args(flags)
        .arg("-I")
        .arg(root().join("sdk-plugin/include"))
        .arg(source)
        .arg("-o")
        .arg(&unfinished)
        .output()
        .expect("the C compiler starts");
    assert!(
        compiler.status.success(),
        "{}",
        String::from_utf8_lossy(&compiler.stderr)
    );
    std::fs::rename(unfinished, &output).expect("name the file");
    output
}

/// The hostile plugin, with macros defined.
pub(crate) fn hostile_with(name: &str, flags: &[&str]) -> PathBuf {
    let flags: Vec<&str> = [&["-shared"], flags].concat();
    compile(
        &root().join("tests/plugins/hostile/hostile.c"),
        &format!("{name}.so"),
        &flags,
    )
}

/// The hostile plugin without macros.
pub(crate) fn hostile() -> PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| hostile_with("hostile", &[]));
    FILE.clone()
}

/// A scripted host that also passes its log lines to a channel.
#[derive(Debug)]
pub(crate) struct LoggedHost {
    pub(crate) script: Arc<ScriptHost>,
    lines: mpsc::UnboundedSender<String>,
}

#[async_trait]
impl HostServices for LoggedHost {
    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        self.script.rpc(call, request).await
    }
    async fn sign(&self, call: u64, request: SignRequest) -> Result<Signature, Fault> {
        self.script.sign(call, request).await
    }
    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        self.script.store(call, request).await
    }
    async fn job(&self, call: u64, request: JobRequest) -> Result<(), Fault> {
        self.script.job(call, request).await
    }
    async fn sleep(&self, call: u64, millis: u64) -> Result<(), Fault> {
        self.script.sleep(call, millis).await
    }
    fn now_unix_ns(&self) -> u64 {
        self.script.now_unix_ns()
    }
    fn log(&self, call: u64, level: Level, target: &str, message: &str, fields: &Value) {
        self.script.log(call, level, target, message, fields);
        // Most tests have no receiver.
        let _ = self.lines.send(message.to_owned());
    }
    fn metric(&self, kind: MetricKind, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        self.script.metric(kind, name, value, labels);
    }
}

/// A host whose nodes accept sends.
pub(crate) fn host() -> (Arc<LoggedHost>, mpsc::UnboundedReceiver<String>) {
    let (lines, listener) = mpsc::unbounded_channel();
    let script = ScriptHost::at_unix_s(1_700_000_000);
    script.answer_send(|_| {
        Ok(RpcResponse {
            results: vec![RpcResult::Ok(json!("0x01"))],
        })
    });
    (Arc::new(LoggedHost { script, lines }), listener)
}

static NEXT_INSTANCE: AtomicU64 = AtomicU64::new(1);
static NEXT_CALL: AtomicU64 = AtomicU64::new(1_000);

pub(crate) fn instance(config: Value, host: Arc<dyn HostServices>, limits: Limits) -> InstanceRequest {
    InstanceRequest {
        instance_id: NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed),
        config,
        host,
        limits,
        calls: Arc::default(),
    }
}

tokio::task_local! {
    static IS_ISOLATED: bool;
}

/// Runs a test whose plugins run in processes of their own.
pub(crate) async fn isolated(test: impl Future<Output = ()>) {
    IS_ISOLATED.scope(true, test).await;
}

/// Runs each test twice: with its plugins in this process, and in processes of their own.
macro_rules! here_and_isolated {
    ($($(#[$doc:meta])* async fn $name:ident() $body:block)*) => {$(
        $(#[$doc])*
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn here() {
                test().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn isolated() {
                crate::support::isolated(test()).await;
            }

            async fn test() $body
        }
    )*};
}
pub(crate) use here_and_isolated;

/// Where the plugins of this test run.
pub(crate) fn isolation() -> Isolation {
    if !IS_ISOLATED.try_with(|is_isolated| *is_isolated).unwrap_or(false) {
        return Isolation::None;
    }
    Isolation::Process(runner())
}

/// Also where the kernel lacks a part of the sandbox: `isolated.rs` has the tests that need all of it.
pub(crate) fn runner() -> RunnerSettings {
    RunnerSettings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_plugin-runner")),
        sandbox: Sandbox::Partial,
        memory_bytes: 256 << 20,
    }
}

/// A file in development mode.
pub(crate) fn request(
    path: PathBuf,
    config: Value,
    host: Arc<dyn HostServices>,
    limits: Limits,
) -> LoadRequest {
    LoadRequest {
        path,
        pin: Pin::DevMode,
        libraries: Vec::new(),
        copies: folder("copies"),
        isolation: isolation(),
        instance: instance(config, host, limits),
    }
}

pub(crate) async fn try_load_hostile(
    config: Value,
    limits: Limits,
) -> Result<(Loaded, Arc<LoggedHost>), PluginError> {
    let (host, _) = host();
    Ok((
        load(request(hostile(), config, host.clone(), limits)).await?,
        host,
    ))
}

/// The hostile plugin with one fault.
pub(crate) async fn load_hostile(fault: &str, limits: Limits) -> (Loaded, Arc<LoggedHost>) {
    try_load_hostile(json!({ "fault": fault }), limits)
        .await
        .expect("it loads")
}

/// With a longer deadline where two processes take turns on a busy machine.
pub(crate) fn short() -> Limits {
    let call_timeout = match isolation() {
        Isolation::None => SHORT,
        Isolation::Process(_) => 4 * SHORT,
    };
    Limits {
        call_timeout,
        ..Limits::default()
    }
}

/// A call of its own on `test:1`.
pub(crate) fn cx(host: &Arc<LoggedHost>) -> Cx {
    let call = NEXT_CALL.fetch_add(1, Ordering::Relaxed);
    Cx::new(host.clone(), call, host.script.context("test:1"))
}

/// An attempt on `test:1`.
pub(crate) fn attempt() -> Attempt {
    let lane = Lane {
        network: "test:1".into(),
        signer: "s".into(),
        key: "k".into(),
        ordered: true,
    };
    Attempt {
        id: "a".into(),
        tx_id: "t".into(),
        lane,
        sequence: 0,
    }
}

pub(crate) fn scheme(loaded: &Loaded) -> Arc<dyn SchemeHandler> {
    loaded.schemes.get("hostile").expect("its scheme").clone()
}

/// Calls `x402.supported` of the hostile scheme.
pub(crate) async fn call_supported(loaded: &Loaded, host: &Arc<LoggedHost>) -> Result<Supported, Fault> {
    scheme(loaded).supported(&cx(host)).await
}

/// Another instance of the same file, which must not be affected.
pub(crate) struct Neighbour(Loaded, Arc<LoggedHost>);

impl Neighbour {
    pub(crate) async fn new() -> Self {
        let (loaded, host) = load_hostile("none", Limits::default()).await;
        Self(loaded, host)
    }

    pub(crate) async fn is_well(&self) {
        assert_eq!(call_supported(&self.0, &self.1).await, Ok(Supported::default()));
    }
}
