//! Nodes that lag, and nodes that can't estimate: their answers never decide about a payer.

use sdk_plugin::host::{RpcError, RpcResult};
use sdk_plugin::scheme::{Planned, Verdict};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{FaultKind, SchemeHandler, Value};
use serde_json::json;

use crate::world::{
    ASSET, Chain, NOW_S, Offer, Token, World, good, hex_result, internal_error, magic, revert, word_result,
};

const USED: &str = "invalid_exact_evm_nonce_already_used";
const BALANCE: &str = "invalid_exact_evm_insufficient_balance";
const SIMULATION: &str = "invalid_exact_evm_transaction_simulation_failed";

fn error(code: i64, message: &str) -> RpcResult {
    RpcResult::Error(RpcError {
        code,
        message: message.into(),
        data: Value::Null,
    })
}

#[test]
fn t111_a_used_authorization_is_refused_though_the_token_does_not_revert() {
    for state in [1, 2] {
        let world = World::with(|chain| chain.state = word_result(state));
        assert_eq!(world.refused(&good()), USED);
        assert_eq!(
            world.batches().len(),
            2,
            "in the simulation's round trip, and by two nodes"
        );
    }
    for state in [revert("no"), RpcResult::Ok(json!("0x"))] {
        let world = World::with(|chain| chain.state = state);
        assert_eq!(world.refused(&good()), "invalid_exact_evm_eip3009_not_supported");
    }
    let world = World::with(|chain| chain.state = internal_error());
    assert_eq!(
        world.try_verify(&good()).expect_err("a fault").kind,
        FaultKind::Unavailable
    );
    assert_eq!(
        world.try_plan(&good()).expect_err("a fault").kind,
        FaultKind::Unavailable
    );
}

/// A payer without funds, as a node shows it that has not seen the deposit.
fn unfund(chain: &mut Chain) {
    chain.simulation = revert("ERC20: transfer amount exceeds balance");
    chain.estimate = revert("ERC20: transfer amount exceeds balance");
    chain.balance = word_result(0);
    let token = Token {
        balance: Some(0),
        ..Token::default()
    };
    chain.diagnosis = token.answer();
}

/// The verdict of verify and plan on a payment whose first answer comes from `one`.
fn both(one: &World, other: &World) -> [Result<(), String>; 2] {
    let cx = || one.cx_beside(other);
    let verified = match block_on(one.exact.verify(&cx(), &good())) {
        Ok(Verdict::Valid(_)) => Ok(()),
        Ok(Verdict::Invalid(refusal)) => Err(refusal.reason),
        Err(fault) => Err(format!("{:?}", fault.kind)),
    };
    let planned = match block_on(one.exact.plan(&cx(), &good())) {
        Ok(Planned::Plan(plan)) => {
            assert_eq!(plan.reserves[0].available, 50_000u64.into());
            Ok(())
        }
        Ok(Planned::Refused(refusal)) => Err(refusal.reason),
        Ok(Planned::Done(done)) => panic!("{done:?}"),
        Err(fault) => Err(format!("{:?}", fault.kind)),
    };
    [verified, planned]
}

#[test]
fn t164_a_balance_that_a_lagging_node_misses_is_requested_elsewhere() {
    // The first node names the newest head, and runs its calls three blocks below.
    let lagging = || {
        World::with(|chain| {
            unfund(chain);
            chain.head_s = NOW_S + 6;
        })
    };
    let fresh = || World::with(|chain| chain.head_s = NOW_S);
    assert_eq!(both(&lagging(), &fresh()), [Ok(()), Ok(())]);
    // No node is fresh: the payer is not judged.
    let fault = || Err("Unavailable".to_owned());
    assert_eq!(both(&lagging(), &lagging()), [fault(), fault()]);
    // Two nodes agree: the payer has too little.
    let unfunded_payer = || World::with(unfund);
    let refused = || Err(BALANCE.to_owned());
    assert_eq!(both(&unfunded_payer(), &unfunded_payer()), [refused(), refused()]);
    // Equally new, and they differ: a false yes costs gas, a false refusal the payment.
    assert_eq!(both(&unfunded_payer(), &fresh()), [Ok(()), Ok(())]);
    // One head, and calls on older blocks that differ in nothing but their number: blocks of less than a second.
    let within_the_second = World::with(|chain| {
        unfund(chain);
        chain.diagnosis = Token {
            balance: Some(0),
            number: 97,
            ..Token::default()
        }
        .answer();
    });
    assert_eq!(both(&within_the_second, &fresh()), [Ok(()), Ok(())]);
    // What never changes back needs no new block.
    let used = World::with(|chain| {
        unfund(chain);
        chain.head_s = NOW_S + 6;
        chain.diagnosis = Token {
            used: Some(true),
            ..Token::default()
        }
        .answer();
    });
    assert_eq!(both(&used, &lagging()), [Err(USED.into()), Err(USED.into())]);
}

#[test]
fn t113_where_nodes_cannot_estimate_the_call_itself_decides() {
    for broken in [
        error(-32000, "Exec Failed"),
        error(
            -32601,
            "the method eth_estimateGas does not exist/is not available",
        ),
        error(-32000, "something"),
    ] {
        let mut world = World::with(|chain| chain.estimate = broken.clone());
        assert!(world.verify(&good()).is_ok());
        let limit = |world: &World| world.plan(&good()).expect("a plan").steps[0].call.compute_limit;
        assert_eq!(limit(&world), Some(400_000), "the ceiling");
        world.options = json!({ "fixed_gas": 200_000 });
        assert_eq!(limit(&world), Some(250_000));
        world.options = json!({ "fixed_gas": 200_000, "asset_gas": { ASSET: { "fixed_gas": 100_000 } } });
        assert_eq!(limit(&world), Some(125_000));
        // The call's own refusal is the payment's.
        world.chain().simulation = revert("no");
        assert_eq!(world.plan(&good()).expect_err("refused").reason, SIMULATION);
        // Nothing works: no word about the payment, and both methods are named.
        world.chain().simulation = internal_error();
        let fault = world.try_plan(&good()).expect_err("a fault");
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert!(fault.message.contains("eth_estimateGas") && fault.message.contains("eth_call"));
    }
}

#[test]
fn t114_the_ceiling_is_the_networks_and_the_refusal_names_the_option() {
    let mut world = World::with(|chain| chain.estimate = RpcResult::Ok(json!("0xaae60")));
    let refusal = world.plan(&good()).expect_err("700,000 gas");
    assert_eq!(refusal.reason, SIMULATION);
    let message = refusal.message.expect("a sentence");
    assert!(
        message.contains("needs 700000 gas")
            && message.contains("max_gas is 400000")
            && message.contains("\"eip155:84532\""),
        "{message}"
    );
    world.options = json!({ "max_gas": 1_000_000 });
    let plan = world.plan(&good()).expect("a plan");
    assert_eq!(plan.steps[0].call.compute_limit, Some(875_000));
    // The simulation gets as much, and so does each asset its own.
    world.options = json!({ "max_gas": 1_000_000, "asset_gas": { ASSET.to_uppercase().replace('X', "x"): { "max_gas": 800_000 } } });
    assert_eq!(
        world.plan(&good()).expect("a plan").steps[0].call.compute_limit,
        Some(800_000)
    );
    assert!(world.verify(&good()).is_ok());
    let batches = world.batches();
    let simulation = batches
        .concat()
        .into_iter()
        .rfind(|call| call.method == "eth_call");
    assert_eq!(simulation.expect("a call").params[0]["gas"], json!("0xc3500"));
    // Gas that runs out in the simulation is the operator's ceiling too.
    world.chain().simulation = error(-32000, "out of gas");
    let refusal = world.verify(&good()).expect_err("refused");
    assert_eq!(refusal.reason, SIMULATION);
    assert!(
        refusal
            .message
            .is_some_and(|message| message.contains("out of gas") && message.contains("max_gas is 800000"))
    );
}

/// One well-formed result of 32 bytes for every call.
fn says_only(word: RpcResult) -> impl FnOnce(&mut Chain) {
    move |chain| {
        chain.simulation = word.clone();
        chain.wallet = word.clone();
        chain.balance = word.clone();
        chain.state = word.clone();
        chain.diagnosis = word;
    }
}

#[test]
fn one_nodes_refusal_refuses_no_payer() {
    type Lie = (&'static str, Box<dyn Fn(&mut Chain)>);
    let lies: Vec<Lie> = vec![
        (
            "eth_call 0x",
            Box::new(|chain| says_only(RpcResult::Ok(json!("0x")))(chain)),
        ),
        ("all words 1", Box::new(|chain| says_only(word_result(1))(chain))),
        ("all words 0", Box::new(|chain| says_only(word_result(0))(chain))),
        ("used", Box::new(|chain| chain.state = word_result(1))),
        (
            "no state",
            Box::new(|chain| chain.state = RpcResult::Ok(json!("0x"))),
        ),
        ("balance 0", Box::new(|chain| chain.balance = word_result(0))),
        (
            "no balance",
            Box::new(|chain| chain.balance = RpcResult::Ok(json!("0x"))),
        ),
        (
            "every account has code",
            Box::new(|chain| chain.payer_code = hex_result(&[0x60, 0x01])),
        ),
        ("no asset", Box::new(|chain| chain.asset_code = hex_result(&[]))),
        (
            "gas",
            Box::new(|chain| chain.estimate = RpcResult::Ok(json!("0x6b6c0"))),
        ),
        (
            "reverts",
            Box::new(|chain| says_only(revert("ERC20: transfer amount exceeds balance"))(chain)),
        ),
        (
            "estimate reverts",
            Box::new(|chain| chain.estimate = revert("no")),
        ),
        (
            "estimate out of gas",
            Box::new(|chain| chain.estimate = error(-32000, "out of gas")),
        ),
    ];
    for (name, lie) in &lies {
        let lying = || World::with(|chain| lie(chain));
        assert_eq!(both(&lying(), &World::new()), [Ok(()), Ok(())], "{name}");
        // As the second node it is not even read.
        assert_eq!(both(&World::new(), &lying()), [Ok(()), Ok(())], "{name}");
        // One block less is as new; many blocks less is another state.
        for (lag, is_good) in [(1, true), (9, false)] {
            let older = World::with(|chain| {
                chain.head -= lag;
                chain.height = RpcResult::Ok(json!("0x64"));
                chain.diagnosis = Token {
                    number: 100 - lag,
                    ..Token::default()
                }
                .answer();
            });
            let words = both(&lying(), &older);
            assert!(
                words[1].is_ok() == is_good,
                "{name}, lag of {lag} blocks: {words:?}"
            );
        }
    }
    // A wallet that a node does not know yet, by a signature of its own kind and by one as accounts make it.
    for signature in [vec![7; 130], vec![7; 65]] {
        let wallet = World::with(|chain| {
            chain.payer_code = hex_result(&[0x60]);
            chain.wallet = magic();
        });
        let request = Offer::default().with_signature(&signature);
        for (first, second) in [(World::new(), &wallet), (World::with(is_behind), &wallet)] {
            let verdict = block_on(first.exact.verify(&first.cx_beside(second), &request)).expect("no fault");
            assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
        }
    }
}

/// A node whose calls run on an older block than the head that it names.
fn is_behind(chain: &mut Chain) {
    chain.head_s = NOW_S + 6;
}

#[test]
fn a_node_that_is_behind_its_own_head_refuses_no_signature() {
    let request = Offer::default().with_signature(&[7; 65]);
    let verdict = |one: &World, other: &World| {
        block_on(one.exact.verify(&one.cx_beside(other), &request)).map_err(|fault| fault.kind)
    };
    let behind = || World::with(is_behind);
    assert_eq!(verdict(&behind(), &behind()), Err(FaultKind::Unavailable));
    for (one, other) in [(behind(), World::new()), (World::new(), behind())] {
        let verdict = verdict(&one, &other).expect("no fault");
        let Verdict::Invalid(refusal) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(refusal.reason, "invalid_exact_evm_signature");
    }
}

#[test]
fn what_two_nodes_refuse_is_refused_with_its_own_reason() {
    let two = |change: fn(&mut Chain)| both(&World::with(change), &World::with(change));
    let no = |reason: &str| Err(reason.to_owned());
    let only_plan = |reason: &str| [Ok(()), no(reason)];
    assert_eq!(two(|chain| chain.state = word_result(1)), [no(USED), no(USED)]);
    assert_eq!(
        two(|chain| chain.balance = word_result(9_999)),
        only_plan(BALANCE)
    );
    let much = |chain: &mut Chain| chain.estimate = RpcResult::Ok(json!("0x6b6c0"));
    assert_eq!(two(much), only_plan(SIMULATION));
    let code = |chain: &mut Chain| chain.payer_code = hex_result(&[1]);
    let signature = "invalid_exact_evm_signature";
    assert_eq!(two(code), [no(signature), no(signature)]);
    let asset = "asset_not_deployed_contract";
    assert_eq!(
        two(|chain| chain.asset_code = hex_result(&[])),
        [no(asset), no(asset)]
    );
}
