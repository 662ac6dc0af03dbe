//! Keys that come and go, and what they may have given away.

use std::time::Duration;

use devnet::{Arg, Mining, USDC};
use e2e::payment::PRICE;
use e2e::{Blocks, Facilitator, Fault, Payment, Settings, World, wait};
use serde_json::json;

const PERMIT2: &str = "0x000000000022d473030f116ddee9f6b43ac78ba3";

#[test]
fn t23_a_retired_key_finishes_what_is_bound_to_it_and_takes_nothing_new() {
    let mut world = World::builder()
        .mining(Mining::Manual)
        .signers(2)
        .server("settle_wait_seconds = 1")
        .network("signers = [\"signer0\"]\nfinality = 4")
        .start();
    let [retired, active] = [0, 1].map(|n: usize| world.chain.facilitators[n].address.clone());
    let count = |world: &World, signer: &str| world.chain.pending_count(signer).expect("the node answers");
    let bound = world.payment(2).v2();
    let hash = world.settle(&bound).pending();
    world.facilitator.kill();

    // Without the key, the payment that it has started would be stranded: with a node that answers, and without.
    world
        .facilitator
        .reconfigure("signers = [\"signer0\"]", "signers = [\"signer1\"]");
    for down in [false, true] {
        if down {
            world.proxy.on("*", Fault::Refuse);
        }
        let (status, log) = world.facilitator.restart_refused();
        assert!(!status.success(), "{log}");
        for part in [
            retired.to_lowercase().as_str(),
            "eip155:84532",
            "retained_signers",
            "\"signer0\"",
        ] {
            assert!(log.contains(part), "{part:?} in {log}");
        }
    }
    world.proxy.heal();
    assert_eq!((world.sent(), world.mined()), (1, 0));

    world.facilitator.reconfigure(
        "signers = [\"signer1\"]",
        "signers = [\"signer1\"]\nretained_signers = [\"signer0\"]",
    );
    world.facilitator.restart();
    assert_eq!(
        world.facilitator.get("/supported").json["signers"],
        json!({"eip155:*": [active.to_lowercase()]}),
        "the retired key is not advertised"
    );
    world.verify(&bound).valid();
    assert_eq!(world.settle(&bound).pending(), hash);
    let fresh = world.payment(3).v2();
    let other = world.settle(&fresh).pending();
    assert_eq!(
        (count(&world, &retired), count(&world, &active)),
        (1, 1),
        "new payments are the active key's"
    );
    world.chain.mine(1).expect("mines");
    assert_eq!(world.settle(&bound).paid(), hash);
    assert_eq!(world.settle(&fresh).paid(), other);
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (2, 2, 2 * PRICE)
    );

    // Once what it did is final, it may go.
    world.chain.mine(4).expect("mines");
    wait::until("nothing is open", wait::LONG, || {
        let metrics = world.facilitator.get("/metrics").text;
        metrics
            .lines()
            .any(|line| line.starts_with("switchyard_open_slots") && line.ends_with(" 0"))
            .then_some(())
    });
    world.facilitator.kill();
    world
        .facilitator
        .reconfigure("\nretained_signers = [\"signer0\"]", "");
    world.facilitator.restart();
    let last = world.payment(4).v2();
    let _ = world.settle(&last).pending();
    assert_eq!((count(&world, &retired), count(&world, &active)), (1, 2));
}

#[test]
fn t42_a_signer_that_has_given_an_allowance_is_not_used_until_it_is_revoked() {
    let world = World::start();
    let signer = &world.chain.facilitators[1];
    let approve = |units: u128| {
        let args = [Arg::address(PERMIT2).expect("an address"), Arg::uint(units)];
        let token = world.chain.artifact("DollarToken").expect("the artefact");
        let data = token.call("approve(address,uint256)", &args).expect("encodes");
        world.chain.send(&signer.address, USDC, &data).expect("approved");
    };
    approve(1);
    let settings = Settings {
        network: "finality = 2".to_owned(),
        ..Settings::new(&world.proxy.url(), std::slice::from_ref(signer))
    };
    let facilitator = Facilitator::start_unready(&settings).expect("it starts all the same");
    let why = wait::until("the audit's verdict", wait::LONG, || {
        let ready = facilitator.get("/ready");
        assert_eq!(ready.status, 503, "{ready:?}");
        let why = ready.json["networks"][0]["why"].as_str()?.to_owned();
        why.contains("allowance").then_some(why)
    });
    for part in [
        PERMIT2,
        &signer.address.to_lowercase(),
        &USDC.to_lowercase(),
        "revoke",
    ] {
        assert!(why.contains(part), "{part} in {why}");
    }
    let body = Payment::new(&world.chain.buyers[2], &world.chain.merchant.address).v2();
    let before = world.transfers();
    assert_eq!(facilitator.settle(&body).status, 503);
    assert_eq!(facilitator.get("/supported").json["kinds"], json!([]));
    assert_eq!(world.transfers(), before);

    approve(0);
    // The lane continues after a transaction that the journal does not know once that is final.
    let _blocks = Blocks::every(&world.chain, Duration::from_millis(250));
    facilitator.wait_ready().expect("it recovers");
    let _ = facilitator.settle(&body).paid();
}
