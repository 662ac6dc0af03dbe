//! What may be spent in a day: by a network's keys, by one of them, and for a tenant.

use devnet::Mining;
use e2e::{Reply, World};
use sha2::{Digest, Sha256};

use crate::reason;

/// A tip beside which the base fee, which falls with each block, matters little; a transaction costs 0.001 ETH or somewhat more.
const PRICED: &str = "max_cost = \"2000000000000000\"\n\
                      options = { max_clock_skew_s = 0, min_priority_fee_per_gas_wei = 10000000000 }";
/// Three of them, and not four.
const FEW: &str = "4200000000000000";

fn refused(reply: &Reply, message: &str) {
    assert_eq!(reply.failed(reason::UNEXPECTED_SETTLE), "", "nothing was sent");
    assert!(reply.field("errorMessage").contains(message), "{reply:?}");
}

/// Lets buyers pay until one is refused; how many could.
fn spend(world: &World, message: &str) -> usize {
    for buyer in 2..20 {
        let body = world.payment(buyer).v2();
        let reply = world.settle(&body);
        if !reply.is_success() {
            refused(&reply, message);
            return buyer - 2;
        }
    }
    panic!("the budget never ends");
}

fn refusals(world: &World, budget: &str) -> bool {
    let metrics = world.facilitator.get("/metrics").text;
    let label = format!("budget=\"{budget}\"");
    metrics
        .lines()
        .any(|line| line.starts_with("switchyard_budget_refusals_total{") && line.contains(&label))
}

fn alarms(world: &World) -> usize {
    world
        .facilitator
        .log()
        .matches("a budget for today (UTC)")
        .count()
}

fn t107(line: &str, budget: &str, message: &str) {
    let mut world = World::builder()
        .mining(Mining::Auto)
        .buyers(24)
        .network(&format!("{line} = \"{FEW}\"\n{PRICED}"))
        .start();
    let paid = spend(&world, message);
    assert!(paid >= 1, "some fit into the budget");
    world.untouched(|| {
        for _ in 0..3 {
            refused(&world.settle(&world.payment(20).v2()), message);
        }
        // Verify never accepts a payment that settle would refuse.
        let reply = world.verify(&world.payment(20).v2());
        assert_eq!(reply.failed(reason::UNEXPECTED_VERIFY), "");
        assert!(reply.field("invalidMessage").contains(message), "{reply:?}");
    });
    assert!(refusals(&world, budget));
    assert_eq!(alarms(&world), 1, "an alarm, not a flood");
    // The day's costs are in the journal.
    world.facilitator.kill();
    world.facilitator.restart();
    world.untouched(|| refused(&world.settle(&world.payment(21).v2()), message));
    assert_eq!((world.transfers(), alarms(&world)), (paid, 2));
}

#[test]
fn t107_a_network_spends_its_budget_and_no_more_also_over_a_restart() {
    t107(
        "max_cost_per_day",
        "network",
        "this network's budget for today is used up",
    );
}

#[test]
fn t107_a_key_spends_its_budget_and_no_more_also_over_a_restart() {
    t107(
        "max_cost_per_day_per_signer",
        "signer",
        "the budget of this network's signer for today is used up",
    );
}

#[test]
fn t107_when_one_key_has_spent_its_budget_the_other_continues() {
    let world = World::builder()
        .buyers(24)
        .signers(2)
        // So that a key whose budget may not last is known before it is chosen.
        .network(&format!("max_cost_per_day_per_signer = \"{FEW}\"\n{PRICED}"))
        .start();
    let paid = spend(&world, "the budget of this network's signer");
    assert!(paid >= 2);
    for signer in 0..2usize {
        let signer = &world.chain.facilitators[signer].address;
        assert!(world.chain.transaction_count(signer).expect("the node answers") >= 1);
    }
}

#[test]
fn t107_a_tenant_spends_its_budget_and_no_more_and_others_continue() {
    let tenant = |name: &str, more: &str| {
        let hash = hex::encode(Sha256::digest(format!("key-{name}")));
        format!("[[tenants]]\nname = {name:?}\nkey_sha256 = {hash:?}\n{more}\n")
    };
    let limited = format!("max_cost_per_day = {{ \"eip155:84532\" = \"{FEW}\" }}");
    let mut world = World::builder()
        .buyers(24)
        .network(PRICED)
        .more(&(tenant("shop", &limited) + &tenant("cafe", "")))
        .start();
    let settle = |world: &World, buyer: usize, tenant: &str| {
        let key = format!("Bearer key-{tenant}");
        let body = world.payment(buyer).v2().to_string();
        let headers = [("authorization", key.as_str())];
        let client = world.facilitator.client();
        client
            .post("/settle", body.as_bytes(), &headers)
            .expect("an answer")
    };
    let message = "your budget on this network for today is used up";
    let mut paid = 0;
    for buyer in 2..18 {
        let reply = settle(&world, buyer, "shop");
        if !reply.is_success() {
            refused(&reply, message);
            break;
        }
        paid += 1;
    }
    assert!((1..16).contains(&paid), "{paid}");
    for _ in 0..2 {
        world.untouched(|| refused(&settle(&world, 18, "shop"), message));
        let _ = settle(
            &world,
            19 + usize::from(world.facilitator.log().contains("resumed")),
            "cafe",
        );
        assert!(refusals(&world, "tenant"));
        world.facilitator.kill();
        world.facilitator.restart();
        world.untouched(|| refused(&settle(&world, 18, "shop"), message));
    }
    let _ = settle(&world, 22, "cafe").paid();
}
