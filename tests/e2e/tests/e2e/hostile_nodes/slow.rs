//! Nodes that hang, or whose answers come byte by byte.

use std::time::Duration;

use devnet::{Devnet, Options, SolanaDevnet, SolanaOptions};
use e2e::solana::{body, deal, with_memo};
use e2e::{Facilitator, Payment, Settings, SolanaNetwork, wait};
use serde_json::{Value, json};

use super::node::{Answer, AnyNode, Raw};
use super::{ANY_CLOCK, HEALED, Report, is_valid, serve_each};

fn dripping(pause: Duration) -> Answer {
    Box::new(move |request, node| Raw::json(&node(request))?.dripping(pause))
}

#[test]
fn a_first_node_that_is_slow_stops_no_payment() {
    let variants: Vec<(&str, Answer)> = vec![
        (
            "20 MiB",
            Box::new(|request, node| {
                let spaces = " ".repeat(20 << 20);
                Raw::of(200, format!("{}{spaces}", node(request)))
            }),
        ),
        ("byte by byte", dripping(Duration::from_millis(50))),
        (
            "no answer",
            Box::new(|_, _| {
                std::thread::sleep(Duration::from_secs(30));
                None
            }),
        ),
    ];
    let mut report = Report::default();
    // Each on a new facilitator: one that has learned it reads from the other node first.
    for variant in variants {
        serve_each(&mut report, vec![variant]);
    }
    report.end();
}

#[test]
fn a_network_all_of_whose_nodes_are_slow_leaves_another_network_alone() {
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let slow = [AnyNode::start(chain.url()), AnyNode::start(chain.url())];
    let solana = SolanaDevnet::start(&SolanaOptions::default()).expect("the chain starts");
    let fee_payers = &solana.fee_payers[..1];
    let facilitator = Facilitator::start(&Settings {
        rpc: slow.iter().map(AnyNode::url).collect(),
        network: ANY_CLOCK.to_owned(),
        solana: Some(SolanaNetwork {
            id: solana.network.clone(),
            rpc: vec![solana.url().to_owned()],
            fee_payers: fee_payers.to_vec(),
            ..SolanaNetwork::default()
        }),
        ..Settings::new("", &chain.facilitators[..1])
    });
    let facilitator = facilitator.expect("it starts");
    for node in &slow {
        node.answer(dripping(Duration::from_millis(100)));
    }
    let payment = |at: usize| Payment::new(&chain.buyers[2 + at % 8], &chain.merchant.address).v2();
    let mut report = Report::default();
    std::thread::scope(|scope| {
        for at in 0..40 {
            let (body, facilitator) = (payment(at), &facilitator);
            scope.spawn(move || {
                // They may end in any way: the network is as good as gone.
                let _ = facilitator.verify(&body);
                let _ = facilitator.settle(&body);
            });
        }
        for at in 0..15 {
            let deal = deal(&solana, &fee_payers[0], at % 4, &solana.tokens[0]);
            let bytes = with_memo(&deal, &format!("payment {at}")).sign(&deal.buyer);
            let body: Value = body(&solana.network, &deal, &bytes, json!({}));
            let verify = facilitator.verify(&body);
            let settle = facilitator.settle(&body);
            if !is_valid(&verify) || !settle.is_success() {
                report.add(&format!("payment {at}"), &[format!("{verify:?} {settle:?}")]);
            }
            let supported = facilitator.get("/supported");
            assert!(supported.text.contains(&solana.network), "{supported:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    report.end();
    slow.iter().for_each(AnyNode::heal);
    let body = payment(1);
    wait::until("a valid payment on healed nodes", HEALED, || {
        is_valid(&facilitator.verify(&body)).then_some(())
    });
    wait::until("a payment on healed nodes", HEALED, || {
        facilitator.settle(&body).is_success().then_some(())
    });
}
