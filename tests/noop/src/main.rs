//! Servers to compare the core with a no-op plugin with, for `cargo xtask bench`: axum alone, and the core with the same handlers
//! linked into the program. Both use every core, as the release binary does.
//!
//! `noop-server axum PORT`
//! `noop-server linked PORT CONFIG DATA`: the HTTP settings of a configuration file, and an empty folder for the journal

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{get, post};
use base::calls::CallTable;
use base::clock::{Clock, SystemClock};
use base::key_digests::KeyDigests;
use engine::registry::{Checked, Instance, Kind, Network, NetworkSettings, Registry};
use engine::{Budgets, Engine, EngineService, Ops, Parts};
use journal::sqlite::SqliteJournal;
use noop::{NoDriver, Noop, SCHEME};
use sdk_plugin::chain::KeyInfo;
use sdk_plugin::host::{
    HostServices, JobRequest, Level, MetricKind, RpcRequest, RpcResponse, SignRequest, Signature,
    StoreRequest, StoreResponse, Suite,
};
use sdk_plugin::{Amount, Fault, Value, async_trait};
use switchyard::config::Config;
use telemetry::metrics::Metrics;
use tokio::net::TcpListener;

const USAGE: &str = "write `axum PORT` or `linked PORT CONFIG DATA`";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.as_slice() {
        ["axum", port] => runtime.block_on(axum_alone(port.parse()?)),
        ["linked", port, config, data] => {
            runtime.block_on(linked(port.parse()?, Path::new(config), Path::new(data)))
        }
        _ => Err(USAGE.into()),
    }
}

/// Reads a body as JSON and answers as verify does.
async fn axum_alone(port: u16) -> Result<(), Box<dyn Error>> {
    async fn verify(body: Bytes) -> (StatusCode, String) {
        match serde_json::from_slice::<Value>(&body) {
            Ok(request) if request["paymentPayload"]["payload"]["nonce"].is_string() => {
                (StatusCode::OK, r#"{"isValid":true,"payer":"nobody"}"#.to_owned())
            }
            _ => (StatusCode::BAD_REQUEST, String::new()),
        }
    }
    let router = Router::new()
        .route("/verify", post(verify))
        .route("/ready", get(|| async { "ready" }));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, router).await?)
}

/// The core as the binary builds it, with its SQLite journal, and without plugin files.
async fn linked(port: u16, config: &Path, data: &Path) -> Result<(), Box<dyn Error>> {
    let config = Config::load(config)?;
    let metrics = Arc::new(Metrics::default());
    let parts = Parts {
        registry: registry(&config)?,
        journal: Arc::new(SqliteJournal::open(data)?),
        ops: Ops::new(
            Arc::new(CallTable::default()),
            Arc::clone(&metrics),
            Budgets::default(),
        ),
        clock: Arc::new(SystemClock),
        metrics: Arc::clone(&metrics),
        retention: config.retention,
    };
    let engine = Engine::new(parts);
    engine.resume().await?;
    let mut settings = config.http();
    settings.server.listen = SocketAddr::from(([127, 0, 0, 1], port));
    let service = Arc::new(EngineService::new(Arc::clone(&engine)));
    let end = http_api::shutdown_signal(true);
    // They never change.
    let (_unchanged, tenants) = tokio::sync::watch::channel(settings.tenants.clone());
    http_api::serve(
        &settings,
        service,
        metrics,
        KeyDigests::default(),
        tenants,
        None,
        end,
    )
    .await?;
    engine.stop();
    Ok(())
}

fn registry(config: &Config) -> Result<Registry, Box<dyn Error>> {
    let (id, network) = config.networks.first_key_value().ok_or("no network")?;
    let instance = Arc::new(Instance {
        id: 1,
        name: SCHEME.into(),
        plugin: "switchyard.noop".into(),
        services: BTreeSet::new(),
        host: Arc::new(NoHost),
        authorizers: Vec::new(),
    });
    let settings = NetworkSettings {
        id: id.clone(),
        confirmations: network.confirmations,
        finality: network.finality,
        poll_interval_ms: 1_000,
        follow_blocks: true,
        stuck_after_ms: 30_000,
        max_in_flight: None,
        lane_queue: 64,
        max_batch: 1,
        replay_keys: false,
        max_cost: Amount::from(1_u64),
        max_cost_per_day: None,
        max_cost_per_day_per_signer: None,
        tenant_max_cost_per_day: BTreeMap::new(),
        nodes: 1,
        second_source_above: BTreeMap::new(),
        assets: None,
        // The driver names a signer for each key.
        keys: vec![KeyInfo {
            name: "signer".to_owned(),
            suite: Suite::Secp256k1,
            public_key: Vec::new().into(),
        }],
        retained_keys: Vec::<KeyInfo>::new(),
        options: Value::Null,
    };
    let network = Arc::new(Network::new(settings, Arc::new(NoDriver), Arc::clone(&instance)));
    let mut registry = Registry::default();
    registry.add_network(Arc::clone(&network))?;
    registry.add_kind(Arc::new(Kind {
        version: 2,
        scheme: SCHEME.into(),
        network,
        handler: Arc::new(Noop),
        instance,
        grants: Vec::new(),
        routes: None,
        payload_authorizes: true,
        checked: Checked::default(),
    }))?;
    Ok(registry)
}

/// The handlers use no service of the host.
struct NoHost;

fn no_service() -> Fault {
    Fault::unsupported("a no-op handler needs no service")
}

#[async_trait]
impl HostServices for NoHost {
    async fn rpc(&self, _: u64, _: RpcRequest) -> Result<RpcResponse, Fault> {
        Err(no_service())
    }

    async fn sign(&self, _: u64, _: SignRequest) -> Result<Signature, Fault> {
        Err(no_service())
    }

    async fn store(&self, _: u64, _: StoreRequest) -> Result<StoreResponse, Fault> {
        Err(no_service())
    }

    async fn job(&self, _: u64, _: JobRequest) -> Result<(), Fault> {
        Err(no_service())
    }

    async fn sleep(&self, _: u64, _: u64) -> Result<(), Fault> {
        Err(no_service())
    }

    fn now_unix_ns(&self) -> u64 {
        SystemClock.now_unix_ns()
    }

    fn log(&self, _: u64, _: Level, _: &str, _: &str, _: &Value) {}

    fn metric(&self, _: MetricKind, _: &str, _: f64, _: &BTreeMap<String, String>) {}
}
