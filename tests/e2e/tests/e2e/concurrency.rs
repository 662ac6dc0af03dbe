//! Many callers at once: one payment is one transaction, and many payments are all served.

use std::collections::BTreeSet;

use devnet::{BUYER_TOKENS, Mining};
use e2e::payment::PRICE;
use e2e::{Fault, Reply, World, wait};

use crate::reason;

#[test]
fn t01_of_64_identical_settles_one_succeeds_and_the_others_are_duplicates_with_its_hash() {
    let world = World::start();
    let body = world.payment(2).v2();
    let replies = world.settle_all(&vec![body; 64]);
    let (paid, others): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.is_success());
    assert_eq!(paid.len(), 1);
    let hash = paid[0].paid();
    for other in others {
        assert_eq!(other.failed(reason::DUPLICATE), hash);
    }
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}

#[test]
fn of_fifty_simultaneous_payments_of_a_whole_balance_one_is_sent() {
    let world = World::start();
    let bodies: Vec<_> = (0..50).map(|_| world.payment(2).of(BUYER_TOKENS).v2()).collect();
    let replies = world.settle_all(&bodies);
    let (paid, others): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.is_success());
    assert_eq!(paid.len(), 1);
    let _ = paid[0].paid();
    for other in others {
        other.refused(reason::BALANCE);
    }
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (1, 1, BUYER_TOKENS)
    );
}

#[test]
fn twelve_distinct_payments_at_once_all_land_through_one_signer() {
    let world = World::start();
    let bodies: Vec<_> = (2..14).map(|buyer| world.payment(buyer).v2()).collect();
    let hashes: BTreeSet<String> = world.settle_all(&bodies).iter().map(Reply::paid).collect();
    assert_eq!(hashes.len(), 12);
    assert_eq!(
        (world.sent(), world.mined(), world.transfers(), world.earned()),
        (12, 12, 12, 12 * PRICE)
    );
}

#[test]
fn t32_transactions_that_the_pool_drops_are_sent_again_without_a_gap() {
    let world = World::builder().mining(Mining::Manual).start();
    let bodies: Vec<_> = (2..14).map(|buyer| world.payment(buyer).v2()).collect();
    let replies = std::thread::scope(|scope| {
        let settles = scope.spawn(|| world.settle_all(&bodies));
        world.wait_sent(12);
        world.chain.drop_all_transactions().expect("the pool is emptied");
        wait::until("all of them are back", wait::LONG, || {
            (world.sent() == 12).then_some(())
        });
        world.chain.mine(1).expect("mines");
        settles.join().expect("joins")
    });
    let hashes: BTreeSet<String> = replies.iter().map(Reply::paid).collect();
    assert_eq!(hashes.len(), 12);
    assert_eq!((world.sent(), world.mined(), world.transfers()), (12, 12, 12));
}

#[test]
fn t32_a_hundred_settles_with_sends_whose_answers_get_lost_all_land() {
    let world = World::builder().buyers(102).start();
    world.proxy.on("eth_sendRawTransaction", Fault::LoseAnswer);
    let bodies: Vec<_> = (2..102).map(|buyer| world.payment(buyer).v2()).collect();
    let hashes: BTreeSet<String> = world.settle_all(&bodies).iter().map(Reply::paid).collect();
    assert_eq!(hashes.len(), 100);
    assert_eq!(
        (world.sent(), world.mined(), world.transfers(), world.earned()),
        (100, 100, 100, 100 * PRICE)
    );
}
