use std::collections::HashMap;
use std::ffi::OsString;

use parking_lot::Mutex;
use sdk_plugin::FaultKind;
use sdk_plugin::host::{Job, RpcCall, RpcResult, SendEncoding, StoreCondition, StoreWrite, Suite};
use serde_json::json;

use super::super::custody::{Environment, KeySource, KeySpec};
use super::super::rpc::fake_node::FakeNode;
use super::super::rpc::{RpcNetwork, RpcPools};
use super::*;
use base::calls::{CallGuard, Operation, SigningSlot};
use base::clock::TokioClock;
use base::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

const NETWORK: &str = "eip155:84532";
const INSTANCE: u64 = 7;
/// Operations that may use no service.
const PURE: [Operation; 4] = [
    Operation::Identify,
    Operation::Judge,
    Operation::Start,
    Operation::Health,
];

/// The part of a journal that services need.
#[derive(Default)]
struct FakeJournal {
    requests: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl AttemptBytes for FakeJournal {
    async fn bytes(&self, attempt_id: &str) -> Result<Option<HexBytes>, Fault> {
        Ok(["1", "3"]
            .contains(&attempt_id)
            .then(|| HexBytes(vec![0xab, 0xcd])))
    }
}

#[async_trait]
impl PluginStore for FakeJournal {
    async fn store(&self, plugin: &str, request: StoreRequest) -> Result<StoreResponse, Fault> {
        self.requests.lock().push((plugin.into(), format!("{request:?}")));
        Ok(StoreResponse::Written)
    }
}

#[async_trait]
impl Jobs for FakeJournal {
    async fn job(&self, plugin: &str, request: JobRequest) -> Result<(), Fault> {
        self.requests.lock().push((plugin.into(), format!("{request:?}")));
        Ok(())
    }
}

struct Keys;

impl Environment for Keys {
    fn get(&self, name: &str) -> Option<OsString> {
        let digit = HashMap::from([("HOT", "1"), ("TREASURY", "2")])
            .get(name)
            .copied()?;
        Some(digit.repeat(64).into())
    }
}

struct World {
    node: FakeNode,
    journal: Arc<FakeJournal>,
    resources: HostResources,
    host: InstanceHost,
}

impl World {
    async fn new() -> Self {
        let node = FakeNode::echo().await;
        let journal = Arc::new(FakeJournal::default());
        let networks = [NETWORK, "eip155:1"].map(|id| RpcNetwork::new(id, vec![node.url.clone()]));
        let specs = ["hot", "treasury"].map(|name| KeySpec {
            name: name.into(),
            suite: Suite::Secp256k1,
            source: KeySource::Env(name.to_uppercase()),
            max_signatures_per_minute: None,
        });
        let metrics = Arc::new(Metrics::default());
        let resources = HostResources {
            rpc: Arc::new(RpcPools::new(networks.into(), Arc::clone(&metrics) as _).unwrap()),
            custody: Arc::new(Custody::load(&specs, &Keys).unwrap()),
            calls: Arc::default(),
            attempts: Arc::clone(&journal) as _,
            store: Arc::clone(&journal) as _,
            jobs: Arc::clone(&journal) as _,
            clock: Arc::new(TokioClock::starting_at(1_000)),
            metrics,
        };
        let host = InstanceHost::new(grants(), resources.clone());
        Self {
            node,
            journal,
            resources,
            host,
        }
    }

    fn begin(&self, operation: Operation) -> CallGuard {
        let building = matches!(operation, Operation::Build | Operation::Fill);
        self.resources.calls.begin(CallScope {
            instance: INSTANCE,
            operation,
            network: NETWORK.into(),
            signs: building.then(|| SigningSlot {
                key: "hot".into(),
                sequence: 7,
                attempt: 1,
            }),
            attempt: (operation == Operation::Broadcast).then(|| "1".into()),
            node: None,
            subject: None,
        })
    }

    /// The operations inside which `request` was not denied.
    async fn allowed<T: fmt::Debug>(&self, request: impl AsyncFn(u64) -> Result<T, Fault>) -> Vec<Operation> {
        let mut allowed = Vec::new();
        for &operation in Operation::ALL {
            let guard = self.begin(operation);
            match request(guard.id()).await {
                Ok(_) => allowed.push(operation),
                Err(fault) => assert_eq!(fault.kind, FaultKind::Denied, "{operation:?}: {fault}"),
            }
        }
        for unknown in [0, u64::MAX] {
            assert_eq!(request(unknown).await.unwrap_err().kind, FaultKind::Denied);
        }
        allowed
    }
}

fn grants() -> InstanceGrants {
    InstanceGrants {
        instance: INSTANCE,
        plugin: "evm".into(),
        services: ["rpc.v1", "sign.v1", "store.v1", "job.v1", "sleep.v1"]
            .map(String::from)
            .into(),
        methods: BTreeMap::from([(
            "eip155".into(),
            FamilyMethods {
                reads: ["eth_call"].into_iter().collect(),
                sends: ["eth_sendRawTransaction"].into_iter().collect(),
            },
        )]),
        authorizers: BTreeMap::from([("treasury".into(), vec![HexBytes(DOMAIN.to_vec())])]),
    }
}

fn read(network: &str, method: &str) -> RpcRequest {
    RpcRequest::Read {
        network: network.into(),
        calls: vec![RpcCall {
            method: method.into(),
            params: json!([]),
        }],
    }
}

fn send(network: &str, attempt_id: &str, method: &str) -> RpcRequest {
    RpcRequest::Send {
        network: network.into(),
        attempt_id: attempt_id.into(),
        method: method.into(),
        params: json!(["$bytes"]),
        encoding: SendEncoding::Hex,
    }
}

fn sign(key: &str) -> SignRequest {
    SignRequest {
        key: key.into(),
        suite: Suite::Secp256k1,
        message: HexBytes(vec![9; 32]),
        unsigned: HexBytes(vec![1]),
        typed: None,
    }
}

fn write(key: &str, value: Value) -> StoreRequest {
    StoreRequest::Write {
        writes: vec![StoreWrite {
            key: key.into(),
            value,
            condition: StoreCondition::Always,
            expires_at_ms: None,
        }],
    }
}

fn schedule(id: &str, payload: Value) -> JobRequest {
    JobRequest::Schedule {
        job: Job {
            id: id.into(),
            scheme: "exact".into(),
            network: NETWORK.into(),
            kind: "collect".into(),
            payload,
            run_at_ms: 1,
        },
    }
}

fn not_pure() -> Vec<Operation> {
    let all = Operation::ALL.iter().copied();
    all.filter(|operation| !PURE.contains(operation)).collect()
}

async fn denied<T: fmt::Debug>(answer: impl Future<Output = Result<T, Fault>>) {
    assert_eq!(answer.await.unwrap_err().kind, FaultKind::Denied);
}

#[tokio::test]
async fn law7_reads_need_a_call_with_that_right_and_use_its_network_only() {
    let world = World::new().await;
    let allowed = world
        .allowed(async |call| world.host.rpc(call, read(NETWORK, "eth_call")).await)
        .await;
    assert_eq!(allowed, not_pure());
    let requests = world.node.request_count();

    let verify = world.begin(Operation::Verify);
    denied(world.host.rpc(verify.id(), read("eip155:1", "eth_call"))).await;
    denied(world.host.rpc(verify.id(), read(NETWORK, "eth_accounts"))).await;
    denied(
        world
            .host
            .rpc(verify.id(), read(NETWORK, "eth_sendRawTransaction")),
    )
    .await;
    assert_eq!(world.node.request_count(), requests);
}

#[tokio::test]
async fn law3_law7_only_the_attempt_of_the_call_is_sent_with_the_journals_bytes() {
    let world = World::new().await;
    let allowed = world
        .allowed(async |call| {
            world
                .host
                .rpc(call, send(NETWORK, "1", "eth_sendRawTransaction"))
                .await
        })
        .await;
    assert_eq!(allowed, [Operation::Broadcast]);
    assert_eq!(world.node.request_count(), 1);
    assert_eq!(world.node.requests.lock()[0]["params"], json!(["0xabcd"]));

    let broadcast = world.begin(Operation::Broadcast);
    for request in [
        send(NETWORK, "2", "eth_sendRawTransaction"),
        send(NETWORK, "3", "eth_sendRawTransaction"),
        send(NETWORK, "", "eth_sendRawTransaction"),
        send("eip155:1", "1", "eth_sendRawTransaction"),
        send(NETWORK, "1", "eth_call"),
    ] {
        denied(world.host.rpc(broadcast.id(), request)).await;
    }
    assert_eq!(world.node.request_count(), 1);
}

#[tokio::test]
async fn law3_an_attempt_that_the_journal_does_not_hold_is_not_sent() {
    let world = World::new().await;
    let guard = world.resources.calls.begin(CallScope {
        instance: INSTANCE,
        operation: Operation::Broadcast,
        network: NETWORK.into(),
        signs: None,
        attempt: Some("2".into()),
        node: None,
        subject: None,
    });
    denied(
        world
            .host
            .rpc(guard.id(), send(NETWORK, "2", "eth_sendRawTransaction")),
    )
    .await;
    assert_eq!(world.node.request_count(), 0);
}

/// The domain for which `grants` lets plans sign with the key "treasury".
const DOMAIN: [u8; 32] = [0xd0; 32];

fn typed(key: &str, domain: &[u8], struct_hash: &[u8]) -> SignRequest {
    let bytes = [&[0x19, 0x01], domain, struct_hash].concat();
    SignRequest {
        key: key.into(),
        suite: Suite::Secp256k1,
        message: HexBytes(sha3::Keccak256::digest(bytes).to_vec()),
        unsigned: HexBytes::default(),
        typed: Some(TypedData {
            domain: HexBytes(domain.to_vec()),
            struct_hash: HexBytes(struct_hash.to_vec()),
        }),
    }
}

#[tokio::test]
async fn law6_typed_data_is_signed_in_plans_with_a_granted_key_for_a_granted_domain_only() {
    let world = World::new().await;
    let good = typed("treasury", &DOMAIN, &[7; 32]);
    let allowed = world
        .allowed(async |call| world.host.sign(call, good.clone()).await)
        .await;
    assert_eq!(allowed, [Operation::Plan]);
    let plan = world.begin(Operation::Plan);
    for refused in [
        typed("hot", &DOMAIN, &[7; 32]),
        typed("treasury", &[0xd1; 32], &[7; 32]),
        sign("treasury"),
    ] {
        denied(world.host.sign(plan.id(), refused)).await;
    }
    // The digest of something else, such as a transaction.
    let other = SignRequest {
        message: HexBytes(vec![9; 32]),
        ..good.clone()
    };
    let short = typed("treasury", &DOMAIN, &[7; 31]);
    let suite = SignRequest {
        suite: Suite::Ed25519,
        ..good
    };
    for invalid in [other, short, suite] {
        let fault = world.host.sign(plan.id(), invalid).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    }
}

#[tokio::test]
async fn t62_law6_a_signature_is_given_for_the_slots_key_only() {
    let world = World::new().await;
    let allowed = world
        .allowed(async |call| world.host.sign(call, sign("hot")).await)
        .await;
    assert_eq!(allowed, [Operation::Build, Operation::Fill]);
    let other = world
        .allowed(async |call| world.host.sign(call, sign("treasury")).await)
        .await;
    assert_eq!(other, [], "a key of custody that is not the slot's");
    let none = world
        .allowed(async |call| world.host.sign(call, sign("")).await)
        .await;
    assert_eq!(none, []);
}

#[tokio::test]
async fn law6_a_call_of_another_instance_gives_no_rights() {
    let world = World::new().await;
    let other_instance = InstanceHost::new(
        InstanceGrants {
            instance: INSTANCE + 1,
            plugin: "other".into(),
            ..grants()
        },
        world.resources.clone(),
    );
    for &operation in Operation::ALL {
        let guard = world.begin(operation);
        denied(other_instance.rpc(guard.id(), read(NETWORK, "eth_call"))).await;
        denied(other_instance.rpc(guard.id(), send(NETWORK, "1", "eth_sendRawTransaction"))).await;
        denied(other_instance.sign(guard.id(), sign("hot"))).await;
        denied(other_instance.store(guard.id(), write("k", json!(1)))).await;
        denied(other_instance.job(guard.id(), schedule("j", Value::Null))).await;
    }
    assert_eq!(world.node.request_count(), 0);
    assert!(world.journal.requests.lock().is_empty());
}

#[tokio::test]
async fn law7_rights_end_with_the_call() {
    let world = World::new().await;
    let guard = world.begin(Operation::Build);
    let call = guard.id();
    assert!(world.host.sign(call, sign("hot")).await.is_ok());
    drop(guard);
    denied(world.host.sign(call, sign("hot"))).await;
}

#[tokio::test]
async fn rows_are_the_plugins_own_and_written_by_routes_and_jobs_only() {
    let world = World::new().await;
    let allowed = world
        .allowed(async |call| world.host.store(call, write("k", json!(1))).await)
        .await;
    assert_eq!(allowed, [Operation::Route, Operation::Job]);
    let allowed = world
        .allowed(async |call| world.host.job(call, schedule("j", Value::Null)).await)
        .await;
    assert_eq!(allowed, [Operation::Plan, Operation::Route, Operation::Job]);
    let get = StoreRequest::Get { key: "k".into() };
    let allowed = world
        .allowed(async |call| world.host.store(call, get.clone()).await)
        .await;
    let readers = not_pure();
    assert_eq!(allowed, readers);
    let scan = StoreRequest::Scan {
        prefix: "k".into(),
        after: None,
        limit: 9,
    };
    let allowed = world
        .allowed(async |call| world.host.store(call, scan.clone()).await)
        .await;
    assert_eq!(allowed, readers);
    assert!(
        world
            .journal
            .requests
            .lock()
            .iter()
            .all(|(plugin, _)| plugin == "evm")
    );
}

#[tokio::test]
async fn oversized_rows_and_jobs_never_reach_the_journal() {
    let world = World::new().await;
    let route = world.begin(Operation::Route);
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let big = json!("v".repeat(MAX_VALUE_BYTES));
    let one = StoreWrite {
        key: "k".into(),
        value: json!(1),
        condition: StoreCondition::Always,
        expires_at_ms: None,
    };
    let scan = |prefix: &str, after: &str, limit| StoreRequest::Scan {
        prefix: prefix.into(),
        after: Some(after.into()),
        limit,
    };
    for request in [
        write(&long, json!(1)),
        write("k", big.clone()),
        StoreRequest::Write {
            writes: vec![one; MAX_WRITES + 1],
        },
        StoreRequest::Get { key: long.clone() },
        scan(&long, "", 1),
        scan("", &long, 1),
        scan("", "", 0),
        scan("", "", 1_001),
    ] {
        let fault = world.host.store(route.id(), request).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    }
    for request in [
        schedule(&long, Value::Null),
        schedule("j", big),
        JobRequest::Cancel { id: long.clone() },
    ] {
        let fault = world.host.job(route.id(), request).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    }
    assert!(world.journal.requests.lock().is_empty());
}

#[tokio::test]
async fn a_service_that_the_manifest_does_not_list_is_denied() {
    let world = World::new().await;
    let bare = InstanceHost::new(
        InstanceGrants {
            services: BTreeSet::new(),
            ..grants()
        },
        world.resources.clone(),
    );
    let verify = world.begin(Operation::Verify);
    let build = world.begin(Operation::Build);
    let route = world.begin(Operation::Route);
    denied(bare.rpc(verify.id(), read(NETWORK, "eth_call"))).await;
    denied(bare.sign(build.id(), sign("hot"))).await;
    denied(bare.store(route.id(), write("k", json!(1)))).await;
    denied(bare.job(route.id(), schedule("j", Value::Null))).await;
    denied(bare.sleep(route.id(), 0)).await;
    let shown = world.resources.metrics.render();
    for service in ["rpc.v1", "sign.v1", "store.v1", "job.v1", "sleep.v1"] {
        let line = format!("switchyard_host_denied_total{{plugin=\"evm\",service=\"{service}\"}} 1");
        assert!(shown.contains(&line), "{line}\n{shown}");
    }
}

#[tokio::test]
async fn a_network_whose_driver_is_not_loaded_cannot_be_read() {
    let world = World::new().await;
    let guard = world.resources.calls.begin(CallScope {
        instance: INSTANCE,
        operation: Operation::Verify,
        network: "solana:x".into(),
        signs: None,
        attempt: None,
        node: None,
        subject: None,
    });
    denied(world.host.rpc(guard.id(), read("solana:x", "eth_call"))).await;
}

#[tokio::test]
async fn answers_are_returned_and_round_trips_are_counted() {
    let world = World::new().await;
    let verify = world.begin(Operation::Verify);
    let answer = world
        .host
        .rpc(verify.id(), read(NETWORK, "eth_call"))
        .await
        .unwrap();
    assert_eq!(answer.results, [RpcResult::Ok(json!("eth_call"))]);
    assert_eq!(world.resources.rpc.round_trips(NETWORK), 1);
    let shown = world.resources.metrics.render();
    let line =
        "switchyard_rpc_round_trips_total{host=\"127.0.0.1\",network=\"eip155:84532\",outcome=\"ok\"} 1";
    assert!(shown.contains(line), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn sleep_and_clock_run_on_host_time() {
    let resources = World::new().await;
    let before = resources.host.now_unix_ns();
    resources.host.sleep(0, 90_000).await.unwrap();
    assert_eq!((resources.host.now_unix_ns() - before) / 1_000_000_000, 90);
}
