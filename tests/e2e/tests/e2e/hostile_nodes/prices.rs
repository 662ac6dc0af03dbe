//! A price that rises with each block, above the ceiling, and falls.

use std::time::Duration;

use devnet::Mining;
use e2e::Blocks;

use super::{PRICE_FORGOTTEN, Pair, Report, is_valid, short};

const GWEI: u128 = 1_000_000_000;
const CEILING_GWEI: u128 = 100;

#[test]
fn a_gas_price_above_the_ceiling_is_503_and_payments_are_made_once_when_it_falls() {
    let network = format!(
        "finality = 3\nstuck_after_seconds = 1\nmax_cost = \"100000000000000000\"\n\
         options = {{ max_clock_skew_s = 0, max_head_age_s = 0, max_fee_per_gas_wei = \"{}\" }}",
        CEILING_GWEI * GWEI
    );
    let pair = Pair::start_with(2, &network, "settle_wait_seconds = 2");
    pair.chain.set_mining(Mining::Manual).expect("set");
    let mut report = Report::default();
    let mut valid_above = Vec::new();
    let mut bodies = Vec::new();
    for doublings in 0..12_u32 {
        let gwei = 1_u128 << doublings;
        pair.chain.set_next_block_base_fee(gwei * GWEI).expect("set");
        pair.chain.mine(1).expect("mines");
        let is_above = gwei > CEILING_GWEI;
        if is_above {
            std::thread::sleep(PRICE_FORGOTTEN);
        }
        let body = pair.payment().v2();
        let verify = pair.facilitator.verify(&body);
        let settle = pair.facilitator.settle(&body);
        let name = format!("{gwei} gwei");
        let is_started = settle.is_success() || settle.field("errorReason") == "settlement_pending";
        if is_above && settle.status != 503 {
            report.add(&name, &[format!("settle: {}", short(&settle))]);
        } else if !is_above && is_valid(&verify) && !is_started {
            report.add(&name, &[format!("valid, and settle: {}", short(&settle))]);
        }
        if is_above && is_valid(&verify) {
            valid_above.push(name);
        }
        bodies.push(body);
    }
    // The first settle that can't be priced has the network checked.
    if valid_above.len() > 1 {
        report.add("valid above the ceiling", &valid_above);
    }
    // Replacements of what is pending are due, and too expensive.
    std::thread::sleep(PRICE_FORGOTTEN);
    pair.chain.set_next_block_base_fee(GWEI).expect("set");
    let blocks = Blocks::priced(&pair.chain, Duration::from_millis(500), GWEI);
    report.add("after the fall", &pair.finish(&bodies));
    drop(blocks);
    report.add("all payments", &pair.check_sent());
    report.end();
}
