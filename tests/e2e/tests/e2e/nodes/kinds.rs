//! Each kind of read lags by itself, at one node and at one of a pool.

use e2e::payment::PRICE;
use e2e::{Blocks, Kind, Lags, Proxy, View, World};

use super::{BLOCK, escrow_world, held, order, settle_down, state, until_paid, world};

const KINDS: usize = Kind::ALL.len();

fn pays_each_once(world: &World, late: &Proxy) {
    let _blocks = Blocks::every(&world.chain, BLOCK);
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        late.set_view(View::lagging(Lags::only(kind, 3)));
        let body = world.payment(2 + at).v2();
        let _ = until_paid(|| world.settle(&body));
    }
    settle_down(world, 4);
    let count = u128::try_from(KINDS).expect("few");
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (count, KINDS, count * PRICE)
    );
}

#[test]
fn t14_whatever_kind_of_read_is_three_blocks_late_at_finality_2_payments_are_made_once() {
    let world = world(2).start();
    pays_each_once(&world, &world.proxy);
}

#[test]
fn t14_whatever_the_first_node_of_a_pool_is_late_with_payments_are_made_once() {
    let world = world(2).two_nodes().start();
    pays_each_once(&world, &world.proxy);
}

#[test]
fn t14_whatever_kind_of_read_is_late_captures_move_their_amounts_once() {
    let world = escrow_world(2).start();
    let blocks = Blocks::every(&world.chain, BLOCK);
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let bound = held(&world, 2 + at, 10_000, "late kinds");
        // What a plan reads is as it was before the order, whichever node shows it.
        settle_down(&world, 4);
        let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
        world.proxy.set_view(View::lagging(Lags::only(kind, 3)));
        let _ = until_paid(|| order(&world, &body));
        world.proxy.heal();
        settle_down(&world, 4);
        assert_eq!(state(&world, &bound), (8_000, 2_000), "{kind:?}");
    }
    drop(blocks);
    assert_eq!(world.mined(), 2 * u128::try_from(KINDS).expect("few"));
}
