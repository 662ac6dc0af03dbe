//! A generated corpus of hostile requests, to `/verify` and `/settle`, on the real chain: none of them costs anything, and
//! each is refused with a reason of the specification; contracts that lie are judged by where the money is.

mod bench;
mod collect;
mod contracts;
mod orders;
mod seed;
mod spoil;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use devnet::{AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, FEE_TOKEN, LYING_TOKEN, MERCHANT, USDC};
use e2e::escrow::{self, NETWORK_LINES, SHOP_KEY, fund, post, refunds};
use e2e::hold::Method;
use e2e::{Reply, World};
use serde_json::Value;

const LEAST_CASES: usize = 300;
const WORKERS: usize = 4;

/// One request that must be refused.
#[derive(Debug)]
struct Case {
    name: String,
    body: Value,
    /// The reason as it is written in replies; `None` where several checks may be the first to see it.
    expected: Option<String>,
}

impl Case {
    /// In the wire form of v1.1.
    fn new(name: impl Into<String>, expected: &str, body: Value) -> Case {
        Case {
            name: name.into(),
            body,
            expected: Some(format!("{PREFIX}{expected}")),
        }
    }

    fn some(name: impl Into<String>, body: Value) -> Case {
        Case {
            name: name.into(),
            body,
            expected: None,
        }
    }
}

const PREFIX: &str = "invalid_auth_capture_evm_";

/// All codes of auth-capture-evm.md section 14, without their prefix.
const OF_THE_NOTE: [&str; 51] = [
    "payload_format",
    "payload_type",
    "void_authorizer_signature",
    "void_remainder_full_capture",
    "unsupported_payment_flow",
    "scheme",
    "network_mismatch",
    "extra",
    "missing_receiver_authorizer",
    "unsupported_operator_type",
    "policy",
    "policy_denied",
    "lifecycle_not_relayed",
    "operator_type_mismatch",
    "operator_not_admitted",
    "operator_mismatch",
    "salt_binding_mismatch",
    "authorizer_signature",
    "unauthenticated_authorizer_request",
    "unauthenticated_lifecycle_request",
    "delegated_auth_unavailable",
    "unexpected_payment_state",
    "refund_funding_unavailable",
    "unsupported_asset_transfer_method",
    "payload_method_mismatch",
    "capture_deadline_expired",
    "refund_deadline_expired",
    "deadline_ordering",
    "authorization_expired",
    "authorization_not_yet_valid",
    "token_collector_mismatch",
    "token_mismatch",
    "signature",
    "erc6492_factory_not_allowed",
    "amount_mismatch",
    "nonce_mismatch",
    "insufficient_balance",
    "simulation_failed",
    "payment_already_collected",
    "token_collection_failed",
    "collector",
    "amount_overflow",
    "fee_bps",
    "fee_bps_range",
    "fee_bps_out_of_range",
    "zero_fee_receiver",
    "fee_receiver",
    "insufficient_authorization",
    "zero_authorization",
    "refund_exceeds_capture",
    "transaction_reverted",
];

/// Reasons for requests that never reach a scheme, or about the network.
const OF_THE_CORE: [&str; 8] = [
    // Of a payer whose payments failed on the chain several times.
    "invalid_transaction_state",
    "invalid_network",
    "invalid_payload",
    "invalid_payment_requirements",
    "invalid_scheme",
    "unsupported_scheme",
    "network_mismatch",
    "duplicate_settlement",
];

/// Names of v1.0 that are not those of v1.1 without the prefix.
const OF_V1_0: [&str; 11] = [
    "invalid_payload_format",
    "invalid_auth_capture_extra",
    "invalid_auth_capture_signature",
    "invalid_capture_authorizer",
    "invalid_deadline_ordering",
    "invalid_collector",
    "invalid_fee_bps",
    "invalid_fee_bps_range",
    "invalid_fee_receiver",
    "verification_failed",
    "settlement_pending",
];

fn is_known(reason: &str) -> bool {
    match reason.strip_prefix(PREFIX) {
        Some(bare) => OF_THE_NOTE.contains(&bare),
        None => [&OF_THE_NOTE[..], &OF_THE_CORE, &OF_V1_0]
            .iter()
            .any(|names| names.contains(&reason)),
    }
}

/// Where any of the dev chain's tokens may be paid in.
fn all_assets() -> String {
    format!("{NETWORK_LINES}\nassets = [{USDC:?}, {FEE_TOKEN:?}, {LYING_TOKEN:?}]")
}

/// Why this is not the refusal that it should be.
fn wrong(reply: &Reply, expected: Option<&str>) -> Option<String> {
    let reason = match reply.json.get("isValid") {
        Some(_) => reply.field("invalidReason"),
        None => reply.field("errorReason"),
    };
    let decided = reply.json["isValid"] == false || reply.json["success"] == false;
    let as_expected = expected.is_none_or(|expected| expected == reason);
    let fine = [200, 400].contains(&reply.status)
        && decided
        && is_known(reason)
        && as_expected
        && reply.field("transaction").is_empty();
    (!fine).then(|| format!("expected {expected:?}, got {} {}", reply.status, reply.text))
}

/// What came of a corpus.
#[derive(Debug, Default)]
struct Outcome {
    refused: usize,
    /// Names of those that verify calls valid: what was spoiled matters to nobody.
    harmless: Vec<String>,
    wrong: Vec<String>,
}

/// Calls verify and settle with each, several at a time. What verify takes is not settled.
fn run(world: &World, cases: &[Case]) -> Outcome {
    let next = AtomicUsize::new(0);
    // Settles of one payment at once get one answer, and most of these are about one payment.
    let settling = Mutex::new(());
    let outcome = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let expected = case.expected.as_deref();
                    let verify = post(world, "/verify", &case.body, SHOP_KEY);
                    let harmless = expected.is_none() && verify.json["isValid"] == true;
                    let mut wrongs = Vec::new();
                    if !harmless {
                        let settle = {
                            let _alone = settling.lock().expect("no panic");
                            post(world, "/settle", &case.body, SHOP_KEY)
                        };
                        for (what, reply) in [("verify", &verify), ("settle", &settle)] {
                            let found = wrong(reply, expected);
                            wrongs.extend(found.map(|found| format!("{what} of {}: {found}", case.name)));
                        }
                    }
                    let mut outcome = outcome.lock().expect("no panic");
                    if harmless {
                        outcome.harmless.push(case.name.clone());
                    } else {
                        outcome.refused += 1;
                    }
                    outcome.wrong.extend(wrongs);
                }
            });
        }
    });
    outcome.into_inner().expect("no panic")
}

/// All of them are refused, and nothing moves.
fn refused(world: &World, what: &str, cases: &[Case]) -> Outcome {
    let outcome = world.untouched(|| {
        let outcome = run(world, cases);
        outcome.wrong.iter().for_each(|wrong| println!("{wrong}"));
        outcome
    });
    println!(
        "{what}: {} refused, {} harmless",
        outcome.refused,
        outcome.harmless.len()
    );
    assert!(
        outcome.wrong.is_empty(),
        "{what}: {} of {} are wrong, see above",
        outcome.wrong.len(),
        cases.len()
    );
    outcome
}

#[test]
fn hostile_collections_are_refused_with_their_reason_and_cost_nothing() {
    let world = escrow::world("").network(&all_assets()).start();
    fund(&world);
    let mut cases = Vec::new();
    for deployment in [AUTH_CAPTURE_V11, AUTH_CAPTURE_V10] {
        for method in [Method::Eip3009, Method::Permit2] {
            for charged in [false, true] {
                cases.extend(collect::cases(&world, deployment, method, charged));
            }
        }
    }
    for method in [Method::Eip3009, Method::Permit2] {
        cases.extend(seed::cases(&world, method));
    }
    let outcome = refused(&world, "collections", &cases);
    assert!(outcome.refused >= LEAST_CASES, "{}", outcome.refused);
    assert_eq!(outcome.harmless, Vec::<String>::new());

    let spoiled = collect::spoiled(&world);
    let outcome = refused(&world, "collections with a spoiled member", &spoiled);
    assert!(outcome.refused >= LEAST_CASES, "{}", outcome.refused);
    for name in &outcome.harmless {
        assert!(collect::may_not_matter(name), "{name}");
    }
    collect::the_unspoiled_are_good(&world);
}

#[test]
fn hostile_orders_are_refused_with_their_reason_and_cost_nothing() {
    let world = escrow::world(&refunds(MERCHANT.0)).network(&all_assets()).start();
    fund(&world);
    let payments: Vec<_> = [AUTH_CAPTURE_V11, AUTH_CAPTURE_V10]
        .into_iter()
        .enumerate()
        .map(|(turn, deployment)| orders::held(&world, 2 + turn, deployment))
        .collect();
    let states = || {
        payments
            .iter()
            .map(|bound| orders::state(&world, bound))
            .collect::<Vec<_>>()
    };
    let before = states();
    let mut cases = Vec::new();
    let mut spoiled = Vec::new();
    for (turn, bound) in payments.iter().enumerate() {
        let other = &payments[(turn + 1) % payments.len()];
        cases.extend(orders::cases(&world, bound, other));
        spoiled.extend(orders::spoiled(&world, bound));
    }
    let outcome = refused(&world, "orders", &cases);
    assert_eq!(outcome.harmless, Vec::<String>::new());
    let of_members = refused(&world, "orders with a spoiled member", &spoiled);
    for name in &of_members.harmless {
        assert!(orders::may_not_matter(name), "{name}");
    }
    let all = outcome.refused + of_members.refused;
    assert!(all >= LEAST_CASES, "{all}");
    assert_eq!(states(), before, "no escrow moved");
    for bound in &payments {
        orders::the_unspoiled_is_good(&world, bound);
    }
}
