//! Older copies of the journal that are put back: they lack the answers that callers got since.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use devnet::{Devnet, Mining, Options, SolanaDevnet, SolanaOptions};
use e2e::facilitator::SolanaNetwork;
use e2e::payment::PRICE;
use e2e::{Blocks, Facilitator, Fault, Payment, Proxy, Reply, Settings, World, wait};
use schemes_svm::testkit::Deal;
use serde_json::{Value, json};

use super::slots::{NONCE, higher};
use super::{BLOCK, DECIDED, escrow_world, held, is_on_chain, order, settle_down, state, until_paid, world};
use crate::reason;

/// As backups do: without the socket for commands.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().is_file() {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Puts a copy over the files as `cp` does it: each file keeps its inode, and what the copy lacks is removed.
fn put_over(facilitator: &Facilitator, copied: &Path) {
    let data = facilitator.data_folder();
    for entry in fs::read_dir(&data).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() && !copied.join(path.file_name().expect("a name")).exists() {
            fs::remove_file(path).expect("removed");
        }
    }
    copy(copied, &data);
}

/// A payment that is recorded as paid, final, and reported to no caller.
fn paid_and_not_answered(world: &World, body: &Value) -> String {
    let hash = world.settle(body).pending();
    world.chain.mine(4).expect("mines");
    wait::until("it is recorded as paid", wait::LONG, || {
        (world.metric("switchyard_settlements_total", "outcome=\"paid\"") >= 1).then_some(())
    });
    world.wait_slots_closed();
    hash
}

/// The decision, which is never `success`.
#[track_caller]
fn never_answered(settle: impl Fn() -> Reply) -> Reply {
    wait::until("a decision", DECIDED, || {
        let reply = settle();
        assert!(!reply.is_success(), "answered a second time: {reply:?}");
        std::thread::sleep(Duration::from_millis(50));
        (reply.status == 200 && reply.field("errorReason") != "settlement_pending").then_some(reply)
    })
}

#[test]
fn a_restored_journal_answers_no_payment_as_success_twice() {
    let mut world = world(2).mining(Mining::Manual).start();
    let open = world.payment(2).v2();
    let hash = world.settle(&open).pending();
    world.facilitator.kill();
    let data = world.facilitator.data_folder();
    let yesterday = data.with_file_name("yesterday");
    copy(&data, &yesterday);

    world.facilitator.restart();
    world.chain.mine(1).expect("mines");
    assert_eq!(until_paid(|| world.settle(&open)), hash);
    world.chain.set_mining(Mining::Auto).expect("set");
    let later = world.payment(3).v2();
    let later_hash = until_paid(|| world.settle(&later));
    world.chain.mine(4).expect("mines");
    world.facilitator.kill();

    fs::rename(&data, data.with_file_name("today")).expect("moved");
    copy(&yesterday, &data);
    world.facilitator.restart_unready();
    let answers = [(&open, &hash), (&later, &later_hash)].map(|(body, hash)| {
        wait::until("a decision, or the end of the wait", DECIDED, || {
            let reply = world.settle(body);
            assert!(!reply.is_success(), "answered a second time: {reply:?}");
            (reply.status == 200 && reply.field("errorReason") != "settlement_pending").then(|| {
                (
                    reply.field("errorReason").to_owned(),
                    reply.field("transaction") == hash,
                )
            })
        })
    });
    assert_eq!(answers[0], (reason::DUPLICATE.to_owned(), true));
    assert_eq!(answers[1].0, reason::NONCE_USED, "it is not in the copy");
    assert!(is_on_chain(&world, &hash) && is_on_chain(&world, &later_hash));
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (2, 2, 2 * PRICE)
    );
    let log = world.facilitator.log();
    assert!(log.contains("journal"), "the operator sees it: {log}");
}

/// An older journal comes back while a payment that it lacks waits in the pool; both are requested.
#[test]
fn a12_an_older_journal_does_not_double_a_payment_that_is_in_flight() {
    let mut world = world(3).mining(Mining::Manual).start();
    let data = world.facilitator.data_folder();
    world.facilitator.kill();
    let yesterday = data.with_file_name("yesterday");
    copy(&data, &yesterday);
    world.facilitator.restart();
    let flying = world.payment(2).v2();
    let _ = world.settle(&flying).pending();
    world.facilitator.kill();
    fs::rename(&data, data.with_file_name("today")).expect("moved");
    copy(&yesterday, &data);
    world.facilitator.restart_unready();
    let other = world.payment(3).v2();
    let bodies = [other.clone(), flying.clone()];
    let first = world.settle_all(&bodies);
    let blocks = Blocks::every(&world.chain, BLOCK);
    let mut answers = Vec::new();
    for body in &bodies {
        answers.push(wait::until("a decision", DECIDED, || {
            let reply = world.settle(body);
            if reply.status == 200 && reply.field("errorReason") == "settlement_pending" {
                return None;
            }
            (reply.status == 200).then_some(reply)
        }));
    }
    drop(blocks);
    settle_down(&world, 5);
    for (reply, early) in answers.iter().zip(&first) {
        let final_reply = if early.is_success() { early } else { reply };
        let hash = final_reply.field("transaction");
        assert!(final_reply.is_success(), "{final_reply:?}");
        assert!(is_on_chain(&world, hash), "{hash}");
    }
    assert_eq!((world.transfers(), world.earned()), (2, 2 * PRICE));
    world.wait_slots_closed();
}

/// The copy was made while the process ran, and is put over the files after a crash, with its mark.
#[test]
fn a_copy_of_a_running_journal_restored_over_the_files_answers_nothing_twice() {
    let mut world = world(2).mining(Mining::Manual).start();
    let body = world.payment(2).v2();
    let hash = paid_and_not_answered(&world, &body);
    let data = world.facilitator.data_folder();
    let yesterday = data.with_file_name("yesterday");
    // Nothing is written meanwhile: the copy is whole.
    copy(&data, &yesterday);
    let copied_at = Instant::now();
    assert_eq!(until_paid(|| world.settle(&body)), hash);
    world.facilitator.kill();
    // A copy of this very second can't be distinguished from what the process wrote.
    wait::until("the mark is older than a second", wait::LONG, || {
        (copied_at.elapsed() > Duration::from_secs(2)).then_some(())
    });
    put_over(&world.facilitator, &yesterday);
    world.facilitator.restart_unready();
    let last = never_answered(|| world.settle(&body));
    assert_eq!(last.failed(reason::DUPLICATE), hash);
}

/// Only an EVM network has numbers that show that the journal is old; the payment is on Solana.
fn on_two_networks(trouble: Option<Fault>) {
    let chain = Devnet::start(Options::default()).expect("starts");
    let solana = SolanaDevnet::start(&SolanaOptions::default()).expect("starts");
    let evm_node = Proxy::start(chain.url()).expect("starts");
    let solana_node = Proxy::start(solana.url()).expect("starts");
    let settings = Settings {
        server: "settle_wait_seconds = 1".to_owned(),
        network: "finality = 2\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }".to_owned(),
        solana: Some(SolanaNetwork {
            id: solana.network.clone(),
            rpc: vec![solana_node.url()],
            fee_payers: solana.fee_payers[..1].to_vec(),
            ..SolanaNetwork::default()
        }),
        ..Settings::new(&evm_node.url(), &chain.facilitators[..1])
    };
    let mut facilitator = Facilitator::start(&settings).expect("starts");
    let pay_on_evm = |facilitator: &Facilitator, buyer: usize| {
        let body = Payment::new(&chain.buyers[buyer], &chain.merchant.address).v2();
        let _ = until_paid(|| facilitator.settle(&body));
    };
    pay_on_evm(&facilitator, 2);
    let address = |text: &str| schemes_svm::text::address(text).expect("an address");
    let deal = Deal {
        fee_payer: address(&solana.fee_payers[0].address),
        buyer: e2e::solana::key(&solana.buyers[0]),
        pay_to: address(&solana.merchant.address),
        mint: address(&solana.tokens[0].mint),
        token_program: address(&solana.tokens[0].program),
        amount: e2e::solana::PRICE,
        decimals: solana.tokens[0].decimals,
        blockhash: address(&solana.blockhash().expect("answers")).to_bytes().into(),
    };
    let transaction = e2e::solana::with_memo(&deal, "two networks").sign(&deal.buyer);
    let body = e2e::solana::body(&solana.network, &deal, &transaction, json!({}));
    // No caller gets its answer before the copy is made.
    let no_status = Fault::edit(|_, result| {
        for status in result["value"].as_array_mut().into_iter().flatten() {
            *status = Value::Null;
        }
    });
    solana_node.on("getSignatureStatuses", no_status);
    let signature = facilitator.settle(&body).pending();
    let yesterday = facilitator.data_folder().with_file_name("yesterday");
    facilitator.kill();
    copy(&facilitator.data_folder(), &yesterday);
    solana_node.heal();
    facilitator.restart();
    assert_eq!(until_paid(|| facilitator.settle(&body)), signature);
    pay_on_evm(&facilitator, 3);
    chain.mine(4).expect("mines");
    facilitator.kill();
    put_over(&facilitator, &yesterday);
    // Only the chain can show it.
    fs::remove_file(facilitator.data_folder().join("journal.mark")).expect("there");
    if let Some(trouble) = trouble {
        evm_node.on("*", trouble);
    }
    facilitator.restart_unready();
    let last = never_answered(|| facilitator.settle(&body));
    assert_eq!(last.failed("duplicate_settlement"), signature);
}

#[test]
fn a_copy_that_one_network_proves_old_answers_nothing_twice_on_another() {
    on_two_networks(None);
}

#[test]
fn a_copy_that_a_slow_network_proves_old_answers_nothing_twice_on_another() {
    on_two_networks(Some(Fault::Delay(Duration::from_millis(1_500))));
}

/// A node that calls the signer's nonce higher for a while makes no copy of the journal.
fn answered_in_spite_of_a_nonce(mut world: World) {
    let body = world.payment(2).v2();
    let hash = paid_and_not_answered(&world, &body);
    world.facilitator.kill();
    world.proxy.on_for(NONCE, higher(1), Duration::from_secs(6));
    world.facilitator.restart_unready();
    let blocks = Blocks::every(&world.chain, BLOCK);
    let answered = until_paid(|| world.settle(&body));
    drop(blocks);
    assert_eq!(answered, hash);
    assert_eq!((world.transfers(), world.earned()), (1, PRICE));
}

#[test]
fn one_of_two_nodes_with_a_higher_nonce_at_a_restart_withholds_no_answer_for_ever() {
    answered_in_spite_of_a_nonce(world(3).two_nodes().mining(Mining::Manual).start());
}

#[test]
fn an_only_node_with_a_higher_nonce_for_seconds_at_a_restart_withholds_no_answer() {
    answered_in_spite_of_a_nonce(world(3).mining(Mining::Manual).start());
}

/// The copy lacks a capture that waits for a block. Ordered again at another price, it has other bytes; the first ones land.
#[test]
fn a25_a_capture_that_an_older_journal_orders_again_is_answered_by_the_transaction_that_landed() {
    let mut world = escrow_world(3).start();
    let bound = held(&world, 2, 10_000, "older journal");
    world.chain.mine(5).expect("mines");
    world.wait_slots_closed();
    world.facilitator.kill();
    let data = world.facilitator.data_folder();
    let yesterday = data.with_file_name("yesterday");
    copy(&data, &yesterday);
    world.facilitator.restart();
    world.chain.set_mining(Mining::Manual).expect("set");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    let first = order(&world, &body).pending();
    let bytes = world.proxy.transactions().pop().expect("sent");
    world.facilitator.kill();
    fs::rename(&data, data.with_file_name("today")).expect("moved");
    copy(&yesterday, &data);
    world.chain.drop_all_transactions().expect("dropped");
    world.chain.set_next_block_base_fee(3_000_000_000).expect("set");
    world.chain.mine(1).expect("mines");
    world.facilitator.restart();
    assert_ne!(order(&world, &body).pending(), first, "other bytes");
    world.chain.drop_all_transactions().expect("dropped");
    world.chain.set_next_block_base_fee(1_000_000).expect("set");
    let taken = world.chain.rpc().call("eth_sendRawTransaction", json!([bytes]));
    let _ = taken.expect("the first bytes are taken");
    world.chain.mine(1).expect("mines");
    let blocks = Blocks::every(&world.chain, BLOCK);
    assert_eq!(until_paid(|| order(&world, &body)), first);
    drop(blocks);
    settle_down(&world, 6);
    assert_eq!(order(&world, &body).failed(reason::DUPLICATE), first);
    assert_eq!(state(&world, &bound), (8_000, 2_000));
}
