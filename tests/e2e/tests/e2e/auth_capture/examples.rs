//! The merchant's guide as it is written: the programs that `docs/src/auth-capture.md` shows.

use std::process::{Command, Stdio};

use devnet::{ARBITER_OPERATOR, AUTH_CAPTURE_V11, Npm};
use e2e::World;
use e2e::escrow::{self, AUTHORIZER_KEY, SHOP_KEY, wait_state};
use serde_json::Value;

fn run(world: &World, script: &str) -> Value {
    let npm = Npm::ensure().expect("the packages are installed");
    let mut command: Command = npm.script(script);
    let output = command
        .env("FACILITATOR_URL", world.facilitator.url())
        .env("FACILITATOR_TOKEN", SHOP_KEY)
        .env("RPC_URL", world.chain.url())
        .env("PAY_TO", &world.chain.merchant.address)
        .env("AUTHORIZER_KEY", AUTHORIZER_KEY)
        .env("BUYER_KEY", &world.chain.buyers[2].key)
        .env("OPERATOR", ARBITER_OPERATOR)
        .stdin(Stdio::null())
        .output()
        .expect("node starts");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{script} failed:\n{stdout}\n{stderr}");
    let last = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| panic!("the last line of {script} is no JSON:\n{stdout}"))
}

/// Runs the example: in the end so many atomic units were captured of what was held, and the rest went back.
fn ends(script: &str, captured: u128) {
    let admitted = format!("custom_operators = [{{ address = {ARBITER_OPERATOR:?} }}]");
    let world = escrow::world(&admitted).start();
    let report = run(&world, script);
    let hash = report["hash"].as_str().expect("a hash");
    wait_state(&world, &AUTH_CAPTURE_V11, hash, 0, captured);
    let buyer = &world.chain.buyers[2].address;
    assert_eq!(
        (world.earned(), world.balance(buyer)),
        (captured, devnet::BUYER_TOKENS - captured)
    );
}

#[test]
fn a_metered_session_of_20_dollars_captures_12_50_in_batches_and_returns_7_50() {
    ends("examples/metered-session.mjs", 12_500_000);
}

#[test]
fn a_compute_job_of_500_dollars_ends_early_captures_375_and_returns_125() {
    ends("examples/compute-job.mjs", 375_000_000);
}

#[test]
fn a_subscription_is_captured_day_by_day_and_cancelled_after_21_days() {
    ends("examples/daily-captures.mjs", 210_000_000);
}

#[test]
fn milestones_of_900_dollars_are_released_by_the_arbiters_contract_and_disputed() {
    ends("examples/milestones.mjs", 450_000_000);
}

/// Without a chain: against the golden vectors, and with a facilitator that believes everything.
#[test]
fn the_sellers_library_signs_and_sends_the_vectors_of_the_scheme() {
    let npm = Npm::ensure().expect("the packages are installed");
    let output = npm
        .script("auth-capture/check.mjs")
        .output()
        .expect("node starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
