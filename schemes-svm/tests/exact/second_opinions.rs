//! Threats T-119, T-123 and T-164: what one node's view of the chain shows of a payer, and whether the payer is refused for it.

use schemes_svm::exact::config::CreateAtaMode;
use schemes_svm::exact::reason;
use schemes_svm::testkit::{Deal, Key};
use schemes_svm::token::associated_account;
use sdk_plugin::host::{RpcError, RpcResult};
use sdk_plugin::scheme::Refusal;
use sdk_plugin::testkit::{Recorded, block_on};
use sdk_plugin::{FaultKind, PaymentRequest, SchemeHandler, Value};
use serde_json::json;
use solana_address::Address;

use crate::checks::{inner, inner_transfer, wallet};
use crate::world::{Chain, NOW_S, SLOT, World, changed, fee_payer, good, mint_2022};

const NO_ACCOUNT: &str = "payTo has no token account for this asset; open it once or enable create_ata";

fn message(refusal: &Refusal) -> &str {
    refusal.message.as_deref().unwrap_or_default()
}

fn too_little() -> Value {
    json!({"InstructionError": [2, {"Custom": 1}]})
}

fn failing(error: Value, slot: u64) -> impl FnOnce(&mut Chain) {
    move |chain| {
        chain.error = error;
        chain.slot = slot;
    }
}

/// The payment is neither valid nor refused: the nodes are at fault.
fn is_node_trouble(world: &World, request: &PaymentRequest) {
    let fault = world.try_verify(request).expect_err("nobody is blamed");
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
    let planned = block_on(world.exact.plan(&world.cx(), request));
    assert_eq!(
        planned.expect_err("nobody is blamed").kind,
        FaultKind::Unavailable
    );
}

fn pauses_ms(world: &World) -> u64 {
    let recorded = world.host.recorded().into_iter();
    recorded
        .map(|recorded| match recorded {
            Recorded::Sleep { millis, .. } => millis,
            _ => 0,
        })
        .sum()
}

/// The first `times` simulations fail with this error.
fn fails_first(world: &World, times: usize, error: &Value) {
    for number in 0..times {
        let slot = SLOT + number as u64;
        let answer = json!({"context": {"slot": slot}, "value": {"err": error, "logs": []}});
        world.host.queue_rpc("simulateTransaction", RpcResult::Ok(answer));
    }
}

#[test]
fn t119_a_blockhash_that_our_node_learns_within_a_second_is_good() {
    for times in [1, 2] {
        let world = World::new();
        fails_first(&world, times, &json!("BlockhashNotFound"));
        assert!(world.verify(&good()).is_ok(), "{times}");
        assert!(pauses_ms(&world) <= 1_000);
        fails_first(&world, times, &json!("BlockhashNotFound"));
        let plan = world.plan(&good()).expect("settle has the same patience");
        assert_eq!(plan.steps.len(), 1);
    }
}

#[test]
fn t119_a_blockhash_that_a_second_node_knows_is_good_at_once() {
    let world = World::new()
        .with(failing(json!("BlockhashNotFound"), SLOT))
        .with_second(|chain| chain.slot = SLOT + 3);
    assert!(world.verify(&good()).is_ok());
    assert_eq!((world.second_opinions(), pauses_ms(&world)), (1, 0));
}

#[test]
fn t119_nodes_that_lag_or_stand_still_blame_nobody() {
    // Both know only an old block, make no progress, or contradict themselves.
    for change in [
        (|chain: &mut Chain| chain.time_s = Some(NOW_S - 60)) as fn(&mut Chain),
        |chain| chain.stands = true,
        |chain| chain.blockhash_is_valid = true,
    ] {
        let behind = || {
            World::new()
                .with(failing(json!("BlockhashNotFound"), SLOT))
                .with(change)
        };
        is_node_trouble(&behind(), &good());
        let two = behind().with_second(|chain| {
            chain.error = json!("BlockhashNotFound");
            change(chain);
        });
        is_node_trouble(&two, &good());
    }
}

#[test]
fn t119_a_blockhash_that_is_really_expired_is_refused_with_its_sentence() {
    let expired = || World::new().with(failing(json!("BlockhashNotFound"), SLOT));
    let two = || {
        expired().with_second(|chain| {
            chain.error = json!("BlockhashNotFound");
            chain.slot = SLOT + 10;
        })
    };
    for world in [expired(), two()] {
        let refusal = world.verify(&good()).expect_err("expired");
        assert_eq!(refusal.reason, reason::SIMULATION_FAILED);
        assert_eq!(message(&refusal), "blockhash unknown or expired");
        assert_eq!(world.plan(&good()).expect_err("expired"), refusal);
        assert!(pauses_ms(&world) <= 2_000, "a second for each");
    }
    let wallets = World::configured(|config| config.smart_wallets.enabled = true)
        .with(failing(json!("BlockhashNotFound"), SLOT));
    assert_eq!(
        wallets.refused(&wallet(|_| {})),
        format!("{}: blockhash unknown or expired", reason::WALLET_SIMULATION)
    );
}

#[test]
fn t164_a_payer_just_funded_is_judged_by_the_newer_of_two_nodes() {
    let world = World::new()
        .with(failing(too_little(), SLOT - 3))
        .with_second(|chain| chain.slot = SLOT);
    assert!(world.verify(&good()).is_ok());
    assert_eq!((world.second_opinions(), pauses_ms(&world)), (1, 0));

    // The other way round: what the payer has spent since is spent.
    let spent = World::new()
        .with(failing(too_little(), SLOT))
        .with(|chain| {
            let deal = Deal::example();
            let account = (deal.token_program, vec![0; 165]);
            chain.accounts.insert(deal.destination(), account);
        })
        .with_second(|chain| chain.slot = SLOT - 3);
    let refusal = spent.refusal(&good());
    assert_eq!(refusal.reason, reason::SIMULATION_FAILED);
    assert_eq!(
        message(&refusal),
        "the payer's token account holds less than the amount"
    );
    assert_eq!(refusal.payer, Deal::example().buyer.address().to_string());
}

#[test]
fn t164_state_that_is_older_than_what_was_seen_before_blames_nobody() {
    let fresh = World::new().with(failing(too_little(), SLOT));
    assert_eq!(fresh.refusal(&good()).reason, reason::SIMULATION_FAILED);
    assert_eq!(pauses_ms(&fresh), 0, "no pause where the state is fresh");
    fresh.chain().slot = SLOT - 3;
    fresh.chain().stands = true;
    is_node_trouble(&fresh, &good());
    // It catches up; and a head that nothing confirms is forgotten.
    fresh.chain().slot = SLOT + 100;
    assert_eq!(fresh.refusal(&good()).reason, reason::SIMULATION_FAILED);
    fresh.chain().slot = SLOT;
    fresh.host.advance_ms(61_000);
    fresh.chain().time_s = Some(NOW_S + 61);
    assert_eq!(fresh.refusal(&good()).reason, reason::SIMULATION_FAILED);
}

#[test]
fn t164_a_second_node_that_is_away_or_answers_nonsense_leaves_the_decision_to_the_first() {
    let nonsense = || RpcResult::Ok(json!({"context": {}}));
    for (first, second) in [(None, Some(nonsense())), (Some(nonsense()), None)] {
        let world = World::new().with_second(|chain| {
            chain.error = too_little();
            chain.slot = SLOT + 1;
            chain.simulation = second.clone();
        });
        fails_first(&world, 1, &too_little());
        world.chain().error = too_little();
        world.chain().slot = SLOT + 1;
        if let Some(first) = first {
            world.host.queue_rpc("simulateTransaction", first);
        }
        let refusal = world.verify(&good()).expect_err("only one node agrees");
        assert_eq!(refusal.reason, reason::SIMULATION_FAILED);
    }
    let world = World::new().with(|chain| {
        chain.simulation = Some(RpcResult::Error(RpcError {
            code: -32602,
            message: "invalid transaction: sanitize".into(),
            data: Value::Null,
        }));
    });
    assert_eq!(
        world.refused(&good()),
        reason::SIMULATION_FAILED,
        "without a slot"
    );
}

#[test]
fn a_good_payment_needs_no_second_opinion() {
    let world = World::new().with_second(|_| {});
    assert!(world.verify(&good()).is_ok());
    assert!(world.plan(&good()).is_ok());
    assert_eq!(world.second_opinions(), 0);
}

#[test]
fn t123_the_refusal_of_a_payee_without_token_account_says_what_to_do() {
    let missing = World::new().with(failing(
        json!({"InstructionError": [2, "InvalidAccountData"]}),
        SLOT,
    ));
    let refusal = missing.refusal(&good());
    assert_eq!(refusal.reason, reason::SIMULATION_FAILED);
    assert_eq!(message(&refusal), NO_ACCOUNT);

    // It exists, or the transaction creates it: something else is wrong.
    let deal = Deal::example();
    let exists = World::new()
        .with(failing(
            json!({"InstructionError": [2, "InvalidAccountData"]}),
            SLOT,
        ))
        .with(|chain| {
            let account = (deal.token_program, vec![0; 165]);
            chain.accounts.insert(deal.destination(), account);
        });
    let other = exists.refusal(&good());
    assert_eq!(
        message(&other),
        r#"the transaction fails with {"InstructionError":[2,"InvalidAccountData"]}"#,
        "one sentence, without the programs' log"
    );
    let creates = changed(|draft| draft.parts.insert(2, deal.create(deal.buyer.address())));
    let client = World::configured(|config| config.create_ata.mode = CreateAtaMode::Client)
        .with(failing(too_little(), SLOT));
    assert_ne!(message(&client.refusal(&creates)), NO_ACCOUNT);
    let logs = missing.host.logs();
    assert!(logs.iter().any(|line| line.message == "simulation_failed"));
}

#[test]
fn t123_the_start_names_configured_payees_without_token_account() {
    let deal = Deal::example();
    let (ready, not_ready) = (deal.pay_to, Key::of_seed(63).address());
    let world = World::configured(|config| config.payees = vec![ready, not_ready]).with(|chain| {
        let account = (deal.token_program, vec![0; 165]);
        chain.accounts.insert(deal.destination(), account);
        chain.lamports.insert(fee_payer(), 1_000_000_000);
    });
    let check = block_on(world.exact.check(&world.cx())).expect("no fault");
    assert!(check.ready, "payments to others work");
    assert_eq!(
        check.warnings,
        [format!("payee {not_ready}, asset {}: {NO_ACCOUNT}", deal.mint)]
    );
    let none = World::new().with(|chain| {
        chain.lamports.insert(fee_payer(), 1_000_000_000);
    });
    let check = block_on(none.exact.check(&none.cx())).expect("no fault");
    assert_eq!(
        (check.warnings.len(), none.host.round_trips()),
        (0, 1),
        "the balances"
    );
}

/// A token account's data.
fn token_account(mint: Address, owner: Address) -> (Address, Vec<u8>) {
    let mut data = mint.to_bytes().to_vec();
    data.extend(owner.to_bytes());
    data.resize(165, 0);
    (Deal::example().token_program, data)
}

#[test]
fn a_delegate_of_our_own_tokens_is_refused_on_every_kind_of_node() {
    let deal = Deal::example();
    let own = associated_account(&fee_payer(), &deal.mint, &deal.token_program);
    let elsewhere = Key::of_seed(64).address();
    for source in [own, elsewhere] {
        let request = changed(|draft| draft.parts[2].accounts[0].0 = source);
        for shows_balances in [true, false] {
            let world = World::new().with(|chain| {
                chain.shows_balances = shows_balances;
                chain.source_owner = Some(fee_payer());
                chain
                    .accounts
                    .insert(source, token_account(deal.mint, fee_payer()));
            });
            let refusal = world.refusal(&request);
            assert_eq!(refusal.reason, reason::SIMULATION_FAILED, "{shows_balances}");
            assert_eq!(message(&refusal), "it moves the facilitator's own funds");
        }
        // A delegate of another owner may pay.
        if source == elsewhere {
            let world = World::new().with(|chain| {
                chain.shows_balances = false;
                let other = Key::of_seed(65).address();
                chain.accounts.insert(source, token_account(deal.mint, other));
            });
            assert!(world.verify(&request).is_ok());
        }
    }
    let silent = World::new().with(|chain| chain.shows_balances = false);
    assert!(silent.verify(&good()).is_ok());
    assert_eq!(
        silent.host.round_trips(),
        1,
        "the usual payment costs no more calls"
    );
}

#[test]
fn a_smart_wallet_moves_none_of_our_tokens_either() {
    let deal = Deal::example();
    let vault = Key::of_seed(50).address();
    let own = associated_account(&fee_payer(), &deal.mint, &deal.token_program);
    let mut takes = inner_transfer(deal.mint, Key::of_seed(66).address(), vault, 1);
    takes["parsed"]["info"]["source"] = json!(own.to_string());
    let world = World::configured(|config| config.smart_wallets.enabled = true).with(|chain| {
        chain.inner = inner(&[
            takes,
            inner_transfer(deal.mint, deal.destination(), vault, 10_000),
        ]);
        chain.shows_balances = false;
        chain.accounts.insert(deal.mint, mint_2022(None));
    });
    assert_eq!(world.refused(&wallet(|_| {})), reason::FEE_PAYER_TRANSFERRING);
}

#[test]
fn a_source_account_that_is_too_short_for_an_owner_is_nobodys() {
    let source = Key::of_seed(67).address();
    let request = changed(|draft| draft.parts[2].accounts[0].0 = source);
    for length in [0, 31, 63] {
        let world = World::new().with(|chain| {
            chain.shows_balances = false;
            let short = (Deal::example().token_program, vec![0; length]);
            chain.accounts.insert(source, short);
        });
        assert!(world.verify(&request).is_ok(), "{length}");
    }
}
