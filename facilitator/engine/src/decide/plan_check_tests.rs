//! Law 6: a plan may use only what was granted.

use super::plan_check::check;
use crate::registry::{Checked, Granted, Instance, Kind, Network, NetworkSettings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sdk_plugin::chain::{
    Attempt, Bid, Built, Lane, LaneState, Network as ChainNetwork, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::host::{Job, StoreCondition, StoreWrite};
use sdk_plugin::manifest::Grant;
use sdk_plugin::ops::service;
use sdk_plugin::scheme::{Hold, Identity, Judgement, LaneChoice, Plan, Planned, Step, Supported, Verdict};
use sdk_plugin::testkit::ScriptHost;
use sdk_plugin::{Amount, ChainDriver, Cx, Fault, PaymentRequest, SchemeHandler, Value, async_trait};

use serde_json::json;

const TOKEN: &str = "0x00000000000000000000000000000000000000aa";
const OTHER: &str = "0x00000000000000000000000000000000000000bb";
const PAY: &str = "0x11111111";
/// An address from the instance's configuration, in upper case.
const ESCROW: &str = "0x00000000000000000000000000000000000000ee";
const HOLD: &str = "0x33333333";
const DRAIN: &str = "0x22222222";
const APPROVE: &str = "0x44444444";
const FUND: &str = "transfer";

/// Serves nothing: only its grants matter here.
pub(crate) struct Silent;

fn silence<T>() -> Result<T, Fault> {
    Err(Fault::unsupported("serves nothing"))
}

#[async_trait]
impl SchemeHandler for Silent {
    async fn supported(&self, _: &Cx) -> Result<Supported, Fault> {
        silence()
    }
    async fn identify(&self, _: &Cx, _: &PaymentRequest) -> Result<Identity, Fault> {
        silence()
    }
    async fn verify(&self, _: &Cx, _: &PaymentRequest) -> Result<Verdict, Fault> {
        silence()
    }
    async fn plan(&self, _: &Cx, _: &PaymentRequest) -> Result<Planned, Fault> {
        silence()
    }
    async fn judge(&self, _: &Cx, _: &Plan, _: &sdk_plugin::chain::Evidence) -> Result<Judgement, Fault> {
        silence()
    }
}

#[async_trait]
impl ChainDriver for Silent {
    async fn check(&self, _: &Cx, _: &ChainNetwork) -> Result<Readiness, Fault> {
        silence()
    }
    async fn lane(&self, _: &Cx, _: &Lane) -> Result<LaneState, Fault> {
        silence()
    }
    async fn quote(&self, _: &Cx, _: &Lane, _: Option<&Bid>) -> Result<Bid, Fault> {
        silence()
    }
    async fn build(&self, _: &Cx, _: &Slot, _: &Bid, _: &[Step]) -> Result<Built, Fault> {
        silence()
    }
    async fn fill(&self, _: &Cx, _: &Slot, _: &Bid) -> Result<Built, Fault> {
        silence()
    }
    async fn broadcast(&self, _: &Cx, _: &Attempt) -> Result<Sent, Fault> {
        silence()
    }
    async fn observe(&self, _: &Cx, _: &[Watch]) -> Result<Vec<Observation>, Fault> {
        silence()
    }
}

pub(crate) fn settings() -> NetworkSettings {
    NetworkSettings {
        id: "eip155:1".into(),
        confirmations: 1,
        finality: 2,
        poll_interval_ms: 1_000,
        follow_blocks: false,
        stuck_after_ms: 1_000,
        max_in_flight: Some(1),
        max_batch: 1,
        replay_keys: false,
        lane_queue: 1,
        max_cost: Amount::MAX,
        max_cost_per_day: None,
        max_cost_per_day_per_signer: None,
        tenant_max_cost_per_day: BTreeMap::new(),
        nodes: 1,
        second_source_above: BTreeMap::new(),
        assets: Some(BTreeSet::from([TOKEN.to_owned()])),
        keys: Vec::new(),
        retained_keys: Vec::new(),
        options: Value::Null,
    }
}

pub(crate) fn instance() -> Arc<Instance> {
    Arc::new(Instance {
        id: 1,
        name: "test".into(),
        plugin: "test".into(),
        services: [service::STORE, service::JOB].map(str::to_owned).into(),
        host: ScriptHost::at_unix_s(0),
        authorizers: Vec::new(),
    })
}

pub(crate) fn kind() -> Kind {
    let instance = instance();
    let network = Arc::new(Network::new(settings(), Arc::new(Silent), Arc::clone(&instance)));
    let grant = |target: &str, operation: &str| Grant {
        target: target.into(),
        operations: vec![operation.into()],
        ..Grant::default()
    };
    let config = json!({ "funds": { "eip155:1": "70" }, "deployments": [{ "escrow": ESCROW.to_ascii_uppercase().replace("0X", "0x") }] });
    let grants = [
        grant("asset", PAY),
        grant("config:deployments.*.escrow", HOLD),
        Grant {
            client_signed: true,
            ..grant("asset", APPROVE)
        },
        Grant {
            max_native_value: Some("config:funds.{network}".into()),
            ..grant("payer", FUND)
        },
    ];
    let grants = grants
        .iter()
        .map(|grant| Granted::of(grant, &config, "eip155:1"))
        .collect();
    Kind {
        version: 2,
        scheme: "test".into(),
        network,
        handler: Arc::new(Silent),
        instance,
        grants,
        routes: None,
        payload_authorizes: true,
        checked: Checked::default(),
    }
}

pub(crate) fn plan() -> Plan {
    journal::testkit::plan(TOKEN, PAY)
}

pub(crate) fn job() -> Job {
    Job {
        id: "keep".into(),
        scheme: "test".into(),
        network: "eip155:1".into(),
        kind: "keep".into(),
        payload: Value::Null,
        run_at_ms: 1,
    }
}

pub(crate) fn write() -> StoreWrite {
    StoreWrite {
        key: "k".into(),
        value: json!(1),
        condition: StoreCondition::Absent,
        expires_at_ms: None,
    }
}

#[test]
fn law6_what_is_granted_passes() {
    assert_eq!(check(&plan(), &kind()), Ok(()));
}

#[test]
fn law6_rows_and_jobs_pass_within_the_bounds_of_the_services_and_for_the_plan_s_own_kind() {
    let mut kept = plan();
    kept.jobs = vec![job(); 64];
    kept.writes = vec![write(); 64];
    assert_eq!(check(&kept, &kind()), Ok(()));

    let cases: [(&str, Edit); 8] = [
        ("65 for store.v1", |plan| plan.writes = vec![write(); 65]),
        ("65 for job.v1", |plan| plan.jobs = vec![job(); 65]),
        ("a store key", |plan| plan.writes[0].key = "k".repeat(513)),
        ("a store value", |plan| {
            plan.writes[0].value = json!("v".repeat(1 << 16))
        }),
        ("a job's id", |plan| plan.jobs[0].id = "i".repeat(513)),
        ("a job's payload", |plan| {
            plan.jobs[0].payload = json!("v".repeat(1 << 16))
        }),
        ("it is test on eip155:1", |plan| {
            plan.jobs[0].scheme = "exact".into()
        }),
        ("it is test on eip155:1", |plan| {
            plan.jobs[0].network = "eip155:2".into()
        }),
    ];
    for (named, change) in cases {
        let mut plan = kept.clone();
        change(&mut plan);
        let refused = check(&plan, &kind()).expect_err(named);
        assert!(refused.contains(named), "{named}: {refused}");
    }
    let mut without = kind();
    let instance = Instance {
        id: 1,
        name: "test".into(),
        plugin: "test".into(),
        services: BTreeSet::from([service::STORE.to_owned()]),
        host: ScriptHost::at_unix_s(0),
        authorizers: Vec::new(),
    };
    without.instance = Arc::new(instance);
    let refused = check(&kept, &without).expect_err("jobs without job.v1");
    assert!(refused.contains("does not list"), "{refused}");
}

#[test]
fn law6_an_address_of_the_instance_s_configuration_is_granted_for_its_operations_alone() {
    let mut held = plan();
    held.steps[0].call.target = ESCROW.into();
    held.steps[0].call.operation = HOLD.into();
    assert_eq!(check(&held, &kind()), Ok(()));
    held.steps[0].call.operation = PAY.into();
    assert!(check(&held, &kind()).is_err(), "what is granted on assets");
    held.steps[0].call = plan().steps[0].call.clone();
    held.steps[0].call.operation = HOLD.into();
    assert!(check(&held, &kind()).is_err(), "what is granted on escrows");
}

type Edit = fn(&mut Plan);

#[test]
fn law6_each_thing_that_is_not_granted_is_refused_and_named() {
    let cases: [(&str, Edit); 9] = [
        (OTHER, |plan| plan.steps[0].call.target = OTHER.into()),
        (DRAIN, |plan| plan.steps[0].call.operation = DRAIN.into()),
        ("native", |plan| {
            plan.steps[0].call.native_value = Amount::from(1u64)
        }),
        ("0xdead", |plan| {
            plan.steps[0].lane = LaneChoice::Signer {
                address: "0xdead".into(),
            }
        }),
        ("holds signer 0xdead", |plan| {
            plan.holds = vec![Hold {
                signer: "0xdead".into(),
                until_s: 1,
            }]
        }),
        ("exactly one", |plan| plan.steps[0].pays = false),
        ("exactly one", |plan| plan.steps.push(plan.steps[0].clone())),
        ("1 to", |plan| plan.steps.clear()),
        ("1 to", |plan| plan.steps = vec![plan.steps[0].clone(); 9]),
    ];
    for (named, change) in cases {
        let mut plan = plan();
        change(&mut plan);
        let refused = check(&plan, &kind()).expect_err(named);
        assert!(refused.contains(named), "{named}: {refused}");
    }
}

/// T-42: what a client signs is granted to the client's own transaction, and no signer of ours makes such a call.
#[test]
fn law6_t42_a_call_that_is_granted_to_clients_is_made_by_no_signer_of_ours() {
    let mut approving = plan();
    let mut approval = approving.steps[0].clone();
    approval.call.operation = APPROVE.into();
    approval.lane = LaneChoice::Foreign;
    approval.pays = false;
    approval.expires_at_s = Some(1);
    approving.steps.insert(0, approval);
    assert_eq!(check(&approving, &kind()), Ok(()));

    let cases: [(&str, Edit); 5] = [
        (APPROVE, |plan| plan.steps[0].lane = LaneChoice::Any),
        (PAY, |plan| plan.steps[0].call.operation = PAY.into()),
        (OTHER, |plan| plan.steps[0].call.target = OTHER.into()),
        ("has no end", |plan| plan.steps[0].expires_at_s = None),
        ("pays by a transaction that the client has signed", |plan| {
            plan.steps[0].pays = true;
            plan.steps[1].pays = false;
        }),
    ];
    for (named, change) in cases {
        let mut plan = approving.clone();
        change(&mut plan);
        let refused = check(&plan, &kind()).expect_err(named);
        assert!(refused.contains(named), "{named}: {refused}");
    }
}

#[test]
fn law6_native_currency_goes_to_the_payer_alone_and_no_more_than_the_operator_wrote() {
    let mut funding = plan();
    let mut fund = funding.steps[0].clone();
    funding.payer = "0xAB".into();
    fund.call.target = "0xab".into();
    fund.call.operation = FUND.into();
    fund.call.native_value = Amount::from(70u64);
    fund.pays = false;
    funding.steps.insert(0, fund);
    assert_eq!(check(&funding, &kind()), Ok(()));

    let cases: [(&str, Edit); 4] = [
        ("at most one step", |plan| {
            plan.steps.insert(0, plan.steps[0].clone());
        }),
        ("moves 71 of native currency, and 70 is granted", |plan| {
            plan.steps[0].call.native_value = Amount::from(71u64);
        }),
        ("which is not granted", |plan| plan.payer = "0xac".into()),
        ("moves 1 of native currency, and 0 is granted", |plan| {
            plan.steps[0].call.native_value = Amount::ZERO;
            plan.steps[1].call.native_value = Amount::from(1u64);
        }),
    ];
    for (named, change) in cases {
        let mut plan = funding.clone();
        change(&mut plan);
        let refused = check(&plan, &kind()).expect_err(named);
        assert!(refused.contains(named), "{named}: {refused}");
    }
}
