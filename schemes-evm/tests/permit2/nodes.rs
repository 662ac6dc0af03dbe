//! Nodes that fail, lag or differ.

use schemes_evm::permit2::Proxy;
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::Verdict;
use sdk_plugin::testkit::block_on;

use crate::world::{BOTH, Chain, Findings, World, good, internal};

/// A node in trouble is never the payer's fault.
#[test]
fn a_fault_of_the_node_refuses_nothing() {
    let faults: [fn(&mut Chain) -> &mut RpcResult; 5] = [
        |chain| &mut chain.payer_code,
        |chain| &mut chain.asset_code,
        |chain| &mut chain.proxy,
        |chain| &mut chain.simulation,
        |chain| &mut chain.wallet,
    ];
    for proxy in BOTH {
        for (index, fault) in faults.iter().enumerate() {
            let mut chain = Chain::default();
            if index == 4 {
                chain = Chain::of_wallet();
            }
            *fault(&mut chain) = internal();
            let world = World::on(proxy, chain);
            assert!(world.try_verify(&good(proxy)).is_err(), "{proxy:?} {index}");
        }
        let chain = Chain {
            balance: internal(),
            ..Chain::default()
        };
        assert!(World::on(proxy, chain).try_plan(&good(proxy)).is_err());
        let chain = Chain {
            diagnosis: internal(),
            ..Chain::failing(&Findings::default())
        };
        assert!(World::on(proxy, chain).try_verify(&good(proxy)).is_err());
    }
}

/// A payer who was funded a moment ago is not refused because one node lags.
#[test]
fn of_two_nodes_the_newer_one_decides() {
    let poor = || {
        Chain::failing(&Findings {
            allowance: Some(0),
            ..Findings::default()
        })
    };
    for proxy in BOTH {
        let verdict = |first: Chain, second: Chain| {
            let (one, other) = (World::on(proxy, first), World::on(proxy, second));
            block_on(one.scheme.verify(&one.cx_beside(&other), &good(proxy))).expect("no fault")
        };
        let newer = Chain {
            head: 105,
            ..Chain::default()
        };
        assert!(matches!(verdict(poor(), newer), Verdict::Valid(_)));
        let Verdict::Invalid(refusal) = verdict(poor(), poor()) else {
            panic!("both refuse")
        };
        assert_eq!(refusal.reason, "permit2_allowance_required");
    }
    assert_eq!(
        World::on(Proxy::Exact, poor()).refused(&good(Proxy::Exact)),
        "permit2_allowance_required"
    );
}
