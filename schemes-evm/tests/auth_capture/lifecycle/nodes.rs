//! One node's answers alone refuse no operation.

use schemes_evm::auth_capture::deployment::V1_1;
use sdk_plugin::SchemeHandler;
use sdk_plugin::scheme::{Planned, Verdict};
use sdk_plugin::testkit::block_on;

use super::world::*;

#[test]
fn one_nodes_refusal_refuses_no_capture() {
    type Lie = (&'static str, fn(&mut Chain));
    let lies: [Lie; 6] = [
        ("nothing held", |chain| chain.state = state_result(true, 0, HELD)),
        ("never collected", |chain| chain.state = state_result(false, 0, 0)),
        ("no escrow", |chain| chain.state = hex_result(&[])),
        ("reverts", |chain| chain.capture = revert(0x604b_0947)),
        ("the authorizer has code", |chain| {
            chain.authorizer_code = hex_result(&[1])
        }),
        ("a clock of tomorrow", |chain| chain.block_s += 86_400),
    ];
    let request = Payment::on(V1_1).capture(750_000, balances(HELD, 0));
    for (name, lie) in lies {
        let cx = |lying: &World, other: &World| lying.cx_beside(other);
        let (lying, honest) = (World::on(lie), World::new());
        let verdict = block_on(lying.scheme.verify(&cx(&lying, &honest), &request)).expect("no fault");
        assert!(matches!(verdict, Verdict::Valid(_)), "{name}: {verdict:?}");
        let planned = block_on(lying.scheme.plan(&cx(&lying, &honest), &request)).expect("no fault");
        let Planned::Plan(plan) = planned else {
            panic!("{name}: {planned:?}")
        };
        assert_eq!(plan.steps.len(), 1, "{name}");
        // Two nodes report it, or one of them is newer.
        for other in [World::on(lie), World::on(|chain| chain.height -= 9)] {
            let verdict = block_on(lying.scheme.verify(&cx(&lying, &other), &request)).expect("no fault");
            assert!(matches!(verdict, Verdict::Invalid(_)), "{name}: {verdict:?}");
        }
    }
}
