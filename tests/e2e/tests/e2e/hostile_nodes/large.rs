//! Payments that make large questions to the nodes.

use std::time::Duration;

use devnet::{MOCK_WALLET, Mining, USDC};
use e2e::Blocks;
use e2e::payment::PRICE;
use e2e::sign::hex0x;
use serde_json::Value;

use super::{ANY_CLOCK, HEALED, Pair, Report};

const PAYMENTS: u8 = 60;
const SIGNATURE_BYTES: usize = 8 << 10;

#[test]
fn sixty_pending_payments_with_signatures_of_eight_kib_are_all_made() {
    let network = format!("finality = 3\nmax_in_flight = 64\nlane_queue = 200\n{ANY_CLOCK}");
    let pair = Pair::start_with(2, &network, "settle_wait_seconds = 2");
    let needed = PRICE * u128::from(PAYMENTS);
    pair.chain.mint(USDC, MOCK_WALLET, needed).expect("minted");
    pair.chain.set_wallet_mood(0).expect("set");
    pair.chain.set_mining(Mining::Manual).expect("set");
    let bodies: Vec<Value> = (1..=PAYMENTS)
        .map(|byte| {
            let mut body = pair.payment().from_wallet(MOCK_WALLET).v2();
            body["paymentPayload"]["payload"]["signature"] = hex0x(&[byte; SIGNATURE_BYTES]).into();
            body
        })
        .collect();
    let earned = pair.earned();
    let _ = pair.facilitator.settle_all(&bodies);
    let blocks = Blocks::every(&pair.chain, Duration::from_millis(300));
    let mut report = Report::default();
    for (at, body) in bodies.iter().enumerate() {
        let settled = pair.settle_until(body, HEALED);
        if !settled.is_made() {
            report.add(&format!("payment {at}"), &[format!("{:?}", settled.seen)]);
        }
    }
    drop(blocks);
    report.end();
    assert_eq!(pair.earned() - earned, needed);
}
