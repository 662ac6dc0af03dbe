//! Contracts as operators: whom the facilitator calls. What they do then is judged in `hostile::contracts`.

use devnet::{ARBITER_OPERATOR, AUTH_CAPTURE_V11};
use e2e::escrow::{self, SHOP_KEY, post};
use e2e::hold::{Hold, Method};
use serde_json::json;

use super::reason;

#[test]
fn t67_a_contract_that_no_operator_admitted_is_not_called() {
    let world = escrow::world("").start();
    let mut hold = Hold::v1_1(&world, 2, AUTH_CAPTURE_V11, Method::Eip3009);
    ARBITER_OPERATOR.clone_into(&mut hold.info.operator);
    hold.extra["operatorType"] = json!("custom");
    let body = hold.body(&world);
    world.untouched(|| {
        post(&world, "/verify", &body, SHOP_KEY).refused(reason::NOT_ADMITTED);
        post(&world, "/settle", &body, SHOP_KEY).refused(reason::NOT_ADMITTED);
    });
}
