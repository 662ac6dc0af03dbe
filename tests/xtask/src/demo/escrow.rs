//! The demo's last part: a dollar is held in escrow, thirty cents of it are taken, and the rest goes back.

use devnet::{AUTH_CAPTURE_V11, USDC};
use e2e::escrow::{AUTHORIZER_KEY, Held, Shop};
use serde_json::{Value, json};

use super::{Running, dollars, failed, step};
use crate::Failure;
use crate::paint::{bold, dim};

const CAPTURED: u128 = 300_000;

pub(super) fn show(running: &Running) -> Result<(), Failure> {
    println!();
    let merchant = &running.evm.merchant.address;
    let settings = [
        ("AUTHORIZER_KEY", AUTHORIZER_KEY),
        ("CAPTURE_MODE", "deferred"),
        ("PRICE", "1000000"),
    ];
    let shop = Shop::start(
        &running.npm,
        &running.facilitator.url(),
        merchant,
        AUTH_CAPTURE_V11,
        &settings,
    )?;
    step("paid API", &format!("{} holds 1 USDC", shop.resource()));
    let buyer = &running.evm.buyers[1];
    step(
        "buyer",
        &format!("{} calls it, by scheme auth-capture", buyer.address),
    );
    let report = shop.buy(buyer, "").map_err(|error| failed(running, &error.0))?;
    let held = (report["status"] == 200)
        .then(|| shop.newest())
        .ok_or_else(|| failed(running, &format!("nothing was held: {report}")))?;
    step(
        "transaction",
        report["payment"]["transaction"].as_str().unwrap_or_default(),
    );
    step("payment", &held.hash);
    println!(
        "{}",
        bold(&format!(
            "{:<12} {:>14} {:>14} {:>14}  USDC",
            "", "buyer", "held", "seller"
        ))
    );
    let before = running.evm.balance_of(USDC, merchant)?;
    line(running, &shop, &held, "hold")?;
    order(
        running,
        &shop,
        &held,
        "capture",
        &json!({"amount": CAPTURED.to_string()}),
    )?;
    order(running, &shop, &held, "void", &json!({}))?;
    let earned = running.evm.balance_of(USDC, merchant)?.checked_sub(before);
    let state = running.evm.payment_state(&shop.deployment, &held.hash)?;
    if (state.capturable, earned) == (0, Some(CAPTURED)) {
        Ok(())
    } else {
        Err(failed(
            running,
            "the escrow does not show the capture and the void",
        ))
    }
}

fn order(running: &Running, shop: &Shop, held: &Held, what: &str, body: &Value) -> Result<(), Failure> {
    let reply = shop.order(held, what, body);
    if reply["success"] != true {
        return Err(failed(running, &format!("the {what} was refused: {reply}")));
    }
    line(running, shop, held, what)?;
    step("", &dim(reply["transaction"].as_str().unwrap_or_default()));
    Ok(())
}

fn line(running: &Running, shop: &Shop, held: &Held, what: &str) -> Result<(), Failure> {
    let chain = &running.evm;
    let state = chain.payment_state(&shop.deployment, &held.hash)?;
    println!(
        "{} {:>14} {:>14} {:>14}",
        bold(&format!("{what:<12}")),
        dollars(chain.balance_of(USDC, &held.info.payer)?),
        dollars(state.capturable),
        dollars(chain.balance_of(USDC, &held.info.receiver)?)
    );
    Ok(())
}
