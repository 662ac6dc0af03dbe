//! What the keeper does on time.

use schemes_evm::auth_capture::config::{Config, KeeperRule};
use schemes_evm::auth_capture::deployment::V1_1;
use schemes_evm::auth_capture::keeper::{UNUSED_METRIC, next_job};
use schemes_evm::auth_capture::records::{self, Usage};
use sdk_plugin::host::{Job, JobRequest, Level};
use sdk_plugin::testkit::{Recorded, block_on};
use sdk_plugin::{PaymentRequest, SchemeHandler};
use serde_json::json;

use super::world::*;

const DEADLINE_S: u64 = NOW_S + 86_400;
const LAST_CALL_S: u64 = DEADLINE_S - 3_600;

fn kept(capture_every_s: Option<u64>, void_unused: bool) -> Config {
    Config {
        keepers: vec![KeeperRule {
            receiver: RECEIVER,
            capture_every_s,
            margin_s: 3_600,
            void_unused,
        }],
        ..config()
    }
}

/// A world with a payment of which `used` was reported, at `now_s`.
fn at(now_s: u64, config: Config, payment: &Payment, used: u64) -> World {
    let world = World::with(config, |chain| chain.block_s = now_s);
    world.knows(payment, TENANT);
    world.host.advance_ms((now_s - NOW_S) * 1_000);
    if used > 0 {
        let usage = Usage {
            total: units(used),
            reports: 1,
        };
        let key = records::usage_key(NETWORK, payment.hash());
        let row = records::replacing(key, None, &usage, (DEADLINE_S + 1) * 1_000).unwrap();
        world.store(vec![row]);
    }
    world
}

fn job(payment: &Payment, at_s: u64) -> Job {
    Job {
        id: format!("keep/{NETWORK}/{}/{at_s}", payment.hash()),
        scheme: "auth-capture".into(),
        network: NETWORK.into(),
        kind: "keep".into(),
        payload: json!({ "hash": payment.hash(), "warned": false }),
        run_at_ms: at_s * 1_000,
    }
}

fn run_job(world: &World, job: &Job) -> Vec<PaymentRequest> {
    block_on(world.scheme.job(&world.cx(), job)).expect("no fault")
}

fn scheduled(world: &World) -> Vec<Job> {
    world
        .host
        .recorded()
        .into_iter()
        .filter_map(|recorded| match recorded {
            Recorded::Job {
                request: JobRequest::Schedule { job },
                ..
            } => Some(job),
            _ => None,
        })
        .collect()
}

#[test]
fn polls_lie_on_a_grid_that_ends_with_the_deadline() {
    let record = Payment::delegated().record(Some(TENANT));
    let next =
        |config: &Config, now_s: u64| next_job(config, &record, now_s).map(|job| job.run_at_ms / 1_000);
    let often = kept(Some(600), false);
    assert_eq!(next(&often, NOW_S), Some(NOW_S + 600));
    assert_eq!(next(&often, NOW_S + 1), Some(NOW_S + 600));
    assert_eq!(next(&often, NOW_S + 600), Some(NOW_S + 1_200));
    assert_eq!(next(&often, LAST_CALL_S - 1), Some(LAST_CALL_S));
    let once = kept(None, false);
    assert_eq!(next(&once, NOW_S), Some(LAST_CALL_S));
    let after = next(&once, LAST_CALL_S).expect("one that failed is tried again");
    assert!(after > LAST_CALL_S && after < DEADLINE_S - 30);
    assert_eq!(next(&once, DEADLINE_S - 31), Some(DEADLINE_S - 30));
    assert_eq!(next(&once, DEADLINE_S - 30), None);
    assert_eq!(next(&config(), NOW_S), None, "no rule for this receiver");
    let charged = Payment::delegated().charged().record(Some(TENANT));
    assert_eq!(next_job(&often, &charged, NOW_S), None, "nothing is held");
}

#[test]
fn reported_usage_is_captured_on_schedule_and_once() {
    let payment = Payment::delegated();
    let world = at(NOW_S + 600, kept(Some(600), true), &payment, 300_000);
    let due = job(&payment, NOW_S + 600);
    let orders = run_job(&world, &due);
    let [order] = orders.as_slice() else {
        panic!("{orders:?}");
    };
    assert_eq!(order.payload["type"], "capture");
    assert_eq!(order.payload["amount"], "300000");
    assert_eq!(order.payload["feeAmount"], "3000");
    assert_eq!(order.payload.get("voidRemainder"), None);
    assert_eq!(order.tenant.as_deref(), Some(TENANT));
    assert!(world.plan(order).is_ok());
    // It runs again before the capture landed: the same order, which is the same claim.
    assert_eq!(run_job(&world, &due), orders);
    // And when it has landed: nothing.
    world.chain().state = state_result(true, 700_000, 300_000);
    assert_eq!(run_job(&world, &due), []);
    let ids: Vec<String> = scheduled(&world).into_iter().map(|job| job.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0] && *id != due.id));
}

#[test]
fn without_a_schedule_usage_waits_for_the_last_call() {
    let payment = Payment::delegated();
    let early = at(NOW_S + 600, kept(None, true), &payment, 300_000);
    assert_eq!(run_job(&early, &job(&payment, NOW_S + 600)), []);
    let last = at(LAST_CALL_S, kept(None, true), &payment, 300_000);
    let orders = run_job(&last, &job(&payment, LAST_CALL_S));
    assert_eq!(orders[0].payload["amount"], "300000");
    assert_eq!(orders[0].payload["voidRemainder"], true);
    assert_eq!(last.plan(&orders[0]).expect("a plan").steps.len(), 2);
}

#[test]
fn all_that_is_held_and_used_is_captured_without_a_void() {
    let payment = Payment::delegated();
    let world = at(LAST_CALL_S, kept(None, true), &payment, HELD);
    let orders = run_job(&world, &job(&payment, LAST_CALL_S));
    assert_eq!(orders[0].payload["amount"], HELD.to_string());
    assert_eq!(orders[0].payload.get("voidRemainder"), None);
    assert!(world.plan(&orders[0]).is_ok());
    assert_eq!(warnings(&world), 0, "nothing is unused");
}

fn warnings(world: &World) -> usize {
    let lines = world
        .host
        .logs()
        .iter()
        .filter(|line| line.level == Level::Warn)
        .count();
    let counted = world
        .host
        .metrics()
        .iter()
        .filter(|(_, name, ..)| name == UNUSED_METRIC)
        .count();
    assert_eq!(lines, counted);
    lines
}

#[test]
fn unused_money_is_warned_of_once_and_given_back_where_the_rule_says_so() {
    let payment = Payment::delegated();
    let warns = at(LAST_CALL_S, kept(None, false), &payment, 0);
    assert_eq!(run_job(&warns, &job(&payment, LAST_CALL_S)), []);
    assert_eq!(warnings(&warns), 1);
    let next = scheduled(&warns).pop().expect("a next poll");
    warns.host.advance_ms(next.run_at_ms - LAST_CALL_S * 1_000);
    assert_eq!(run_job(&warns, &next), []);
    assert_eq!(warnings(&warns), 1, "once");

    let voids = at(LAST_CALL_S, kept(None, true), &payment, 0);
    let orders = run_job(&voids, &job(&payment, LAST_CALL_S));
    assert_eq!(orders[0].payload["type"], "void");
    assert!(voids.plan(&orders[0]).is_ok());
    // After the deadline its payer can take it back, and it is still given back.
    let late = at(DEADLINE_S, kept(None, true), &payment, 500);
    let orders = run_job(&late, &job(&payment, DEADLINE_S - 30));
    assert_eq!(orders[0].payload["type"], "void");
}

#[test]
fn payments_of_other_authorizers_get_the_warning_only() {
    let payment = Payment::on(V1_1);
    let world = at(LAST_CALL_S, kept(Some(600), true), &payment, 300_000);
    assert_eq!(run_job(&world, &job(&payment, LAST_CALL_S)), []);
    assert_eq!(warnings(&world), 1);
}

#[test]
fn small_usage_waits_until_it_is_worth_a_capture() {
    let payment = Payment::delegated();
    let picky = || Config {
        min_capture_amount: 1_000u64.into(),
        ..kept(Some(600), true)
    };
    let due = job(&payment, NOW_S + 600);
    assert_eq!(run_job(&at(NOW_S + 600, picky(), &payment, 999), &due), []);
    assert_eq!(run_job(&at(NOW_S + 600, picky(), &payment, 1_000), &due).len(), 1);
}

#[test]
fn a_payment_with_nothing_left_is_checked_no_more() {
    let payment = Payment::delegated();
    let world = at(NOW_S + 600, kept(Some(600), true), &payment, 300_000);
    world.chain().state = state_result(true, 0, HELD);
    assert_eq!(run_job(&world, &job(&payment, NOW_S + 600)), []);
    assert_eq!(scheduled(&world), []);
    // One that a node does not show yet is checked again, until it can't be collected any more.
    world.chain().state = state_result(false, 0, 0);
    assert_eq!(run_job(&world, &job(&payment, NOW_S + 600)), []);
    assert_eq!(scheduled(&world).len(), 1);
    world.host.advance_ms(7_200_000);
    assert_eq!(run_job(&world, &job(&payment, NOW_S + 600)), []);
    assert_eq!(scheduled(&world).len(), 1);
}

#[test]
fn one_node_that_shows_nothing_held_ends_no_polls() {
    let payment = Payment::delegated();
    let world = || at(NOW_S + 600, kept(Some(600), true), &payment, 300_000);
    let due = job(&payment, NOW_S + 600);
    for lie in [state_result(true, 0, HELD), state_result(false, 0, 0)] {
        let (lying, honest) = (world(), world());
        lying.chain().state = lie.clone();
        let orders = block_on(lying.scheme.job(&lying.cx_beside(&honest), &due)).expect("no fault");
        assert_eq!(orders[0].payload["type"], "capture");
        assert_eq!(scheduled(&lying).len(), 1);
        // Two nodes report it.
        honest.chain().state = lie;
        let orders = block_on(lying.scheme.job(&lying.cx_beside(&honest), &due)).expect("no fault");
        assert_eq!(orders, []);
    }
}

#[test]
fn jobs_of_nobodys_are_faults_and_of_unknown_payments_nothing() {
    let world = at(NOW_S, kept(None, true), &Payment::delegated(), 0);
    let other = Job {
        kind: "other".into(),
        ..job(&Payment::delegated(), NOW_S)
    };
    assert!(block_on(world.scheme.job(&world.cx(), &other)).is_err());
    let malformed = Job {
        payload: json!({ "hash": "0x12" }),
        ..job(&Payment::delegated(), NOW_S)
    };
    assert!(block_on(world.scheme.job(&world.cx(), &malformed)).is_err());
    assert_eq!(run_job(&world, &job(&Payment::on(V1_1), NOW_S)), []);
}
