//! Captures, voids and refunds that must be refused: each changes one thing of a good order, and is signed again where the
//! authorizer's signature is not what is tried.

use devnet::{ARBITER_OPERATOR, AuthCapture, FEE_TOKEN, FeeForm};
use e2e::World;
use e2e::escrow::{AUTHORIZER_KEY, PRICE, SHOP_KEY, post};
use e2e::hold::{Hold, Method};
use e2e::order::{Bound, Order};
use e2e::sign::hex0x;
use serde_json::{Value, json};

use super::bench::{STRANGER, ZERO, set_extra, set_terms};
use super::{Case, spoil};

/// What is captured before the corpus starts.
const CAPTURED: u128 = 250_000;
const LEFT: u128 = PRICE - CAPTURED;
const NOW: (u128, u128) = (LEFT, CAPTURED);

/// A payment with something held and something captured.
pub(super) fn held(world: &World, buyer: usize, deployment: AuthCapture) -> Bound {
    let hold = Hold::v1_1(world, buyer, deployment, Method::Eip3009);
    let bound = Bound::new(world, hold, "held");
    let _ = post(world, "/settle", &bound.collect(world), SHOP_KEY).paid();
    let order = bound.order(world, &bound.capture(CAPTURED, (PRICE, 0)));
    let _ = post(world, "/settle", &order, SHOP_KEY).paid();
    assert_eq!(state(world, &bound), NOW);
    bound
}

pub(super) fn state(world: &World, bound: &Bound) -> (u128, u128) {
    let hash = bound.hold.hash(world);
    let state = world.chain.payment_state(&bound.hold.deployment, &hash);
    let state = state.expect("the node answers");
    (state.capturable, state.refundable)
}

struct Bench<'a> {
    world: &'a World,
    bound: &'a Bound,
    what: String,
    cases: Vec<Case>,
}

impl Bench<'_> {
    fn case(&mut self, name: &str, expected: &str, body: Value) {
        let name = format!("{}: {name}", self.what);
        self.cases.push(Case::new(name, expected, body));
    }

    /// A good order with something changed.
    fn changed(&mut self, name: &str, order: &Order, expected: &str, change: impl FnOnce(&mut Value)) {
        let mut body = self.bound.order(self.world, order);
        change(&mut body);
        self.case(&format!("{} with {name}", order.name()), expected, body);
    }

    /// An order that is signed as it is.
    fn signed(&mut self, name: &str, order: &Order, expected: &str) {
        let body = self.bound.order(self.world, order);
        self.case(&format!("{} {name}, signed so", order.name()), expected, body);
    }

    fn orders(&self) -> [Order; 3] {
        [
            self.bound.capture(100_000, NOW),
            Order::Void,
            Order::Refund {
                amount: 100_000,
                expected: NOW,
            },
        ]
    }
}

pub(super) fn cases(world: &World, bound: &Bound, other: &Bound) -> Vec<Case> {
    let mut bench = Bench {
        world,
        bound,
        what: format!("at {:?}", bound.hold.deployment.fee_form),
        cases: Vec::new(),
    };
    stranger_signatures(&mut bench, other);
    amounts(&mut bench);
    fees(&mut bench);
    close_outs(&mut bench);
    other_payments(&mut bench);
    other_terms(&mut bench, other);
    bench.cases
}

fn payload(body: &mut Value) -> &mut Value {
    &mut body["paymentPayload"]["payload"]
}

fn stranger_signatures(bench: &mut Bench<'_>, other: &Bound) {
    let buyer = bench.world.chain.buyers[2].key.clone();
    let operator = bench.world.chain.facilitators[0].key.clone();
    for order in bench.orders() {
        for key in [&buyer, &operator] {
            let body = bench.bound.order_signed(bench.world, &order, key);
            bench.case(
                &format!("{} signed by a stranger", order.name()),
                "authorizer_signature",
                body,
            );
        }
        let theirs = other.order(bench.world, &order);
        let theirs = theirs["paymentPayload"]["payload"]["authorizerSignature"].clone();
        bench.changed(
            "a signature for another payment",
            &order,
            "authorizer_signature",
            |body| {
                payload(body)["authorizerSignature"] = theirs;
            },
        );
        for (name, value) in [
            ("a missing signature", Value::Null),
            ("an empty signature", json!("0x")),
        ] {
            bench.changed(name, &order, "authorizer_signature", |body| {
                payload(body)["authorizerSignature"] = value;
            });
        }
        bench.changed("64 bytes of signature", &order, "authorizer_signature", |body| {
            let text = payload(body)["authorizerSignature"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            payload(body)["authorizerSignature"] = json!(text[..130]);
        });
    }
    let [capture, void, refund] = bench.orders();
    // One order's signature under another's type.
    for (order, lent) in [(&capture, &void), (&void, &refund), (&refund, &capture)] {
        let signature =
            bench.bound.order(bench.world, lent)["paymentPayload"]["payload"]["authorizerSignature"].clone();
        let name = format!("the signature of a {}", lent.name());
        bench.changed(&name, order, "authorizer_signature", |body| {
            payload(body)["authorizerSignature"] = signature;
        });
    }
}

fn amounts(bench: &mut Bench<'_>) {
    for expected in [
        (LEFT + 1, CAPTURED),
        (LEFT, CAPTURED - 1),
        (PRICE, 0),
        (0, 0),
        (0, PRICE),
    ] {
        let capture = bench.bound.capture(100, expected);
        let refund = Order::Refund {
            amount: 100,
            expected,
        };
        bench.signed(
            &format!("expecting {expected:?}"),
            &capture,
            "unexpected_payment_state",
        );
        bench.signed(
            &format!("expecting {expected:?}"),
            &refund,
            "unexpected_payment_state",
        );
    }
    for amount in [0, LEFT + 1, PRICE, u128::MAX / 20_000] {
        let capture = bench.bound.capture(amount, NOW);
        bench.signed(&format!("of {amount}"), &capture, "amount_mismatch");
    }
    for amount in [0, CAPTURED + 1, PRICE, u128::MAX] {
        let refund = Order::Refund {
            amount,
            expected: NOW,
        };
        // What the operator does not have is not refunded either, and that may be seen first.
        let body = bench.bound.order(bench.world, &refund);
        bench.case(
            &format!("refund of {amount}, signed so"),
            "refund_exceeds_capture",
            body,
        );
    }
    let [capture, _, refund] = bench.orders();
    for (member, value) in [
        ("amount", "100001"),
        ("expectedCapturableAmount", "0"),
        ("expectedRefundableAmount", "0"),
    ] {
        let reason = match (member, bench.bound.hold.deployment.fee_form) {
            // The fee is signed too, and is that of another amount only where it is an amount.
            ("amount", _) | ("expectedCapturableAmount" | "expectedRefundableAmount", _) => {
                "authorizer_signature"
            }
            _ => continue,
        };
        for order in [&capture, &refund] {
            bench.changed(&format!("{member} = {value}"), order, reason, |body| {
                payload(body)[member] = json!(value);
            });
        }
    }
}

fn fees(bench: &mut Bench<'_>) {
    let Order::Capture {
        amount,
        fee,
        fee_receiver,
        expected,
        close_out,
    } = bench.bound.capture(100_000, NOW)
    else {
        unreachable!("a capture was made")
    };
    let with = |fee: u128, fee_receiver: &str| Order::Capture {
        amount,
        fee,
        fee_receiver: fee_receiver.to_owned(),
        expected,
        close_out,
    };
    for wrong in [fee + 1, fee - 1, 0] {
        bench.signed(
            &format!("for a fee of {wrong}"),
            &with(wrong, &fee_receiver),
            "fee_bps_out_of_range",
        );
    }
    for wrong in [STRANGER, ZERO] {
        bench.signed(
            &format!("for the fee of {wrong}"),
            &with(fee, wrong),
            "fee_receiver",
        );
    }
    let good = with(fee, &fee_receiver);
    let (own, foreign, value) = match bench.bound.hold.deployment.fee_form {
        FeeForm::Bps => ("feeBps", "feeAmount", json!("1000")),
        FeeForm::Amount => ("feeAmount", "feeBps", json!(100)),
    };
    for both in [true, false] {
        let value = value.clone();
        bench.changed(
            &format!("the other form's fee, both: {both}"),
            &good,
            "payload_format",
            |body| {
                let payload = payload(body).as_object_mut().expect("an object");
                if !both {
                    payload.remove(own);
                }
                payload.insert(foreign.to_owned(), value);
            },
        );
    }
}

fn close_outs(bench: &mut Bench<'_>) {
    let closing = |order: Order| match order {
        Order::Capture {
            amount,
            fee,
            fee_receiver,
            expected,
            ..
        } => Order::Capture {
            amount,
            fee,
            fee_receiver,
            expected,
            close_out: true,
        },
        other => other,
    };
    let whole = closing(bench.bound.capture(LEFT, NOW));
    bench.signed(
        "of everything and the rest back",
        &whole,
        "void_remainder_full_capture",
    );
    let part = closing(bench.bound.capture(100_000, NOW));
    for wrong in [json!(hex0x(&[7; 65])), json!("0x01")] {
        bench.changed(
            "a forged void after it",
            &part,
            "void_authorizer_signature",
            |body| {
                payload(body)["voidAuthorizerSignature"] = wrong;
            },
        );
    }
    bench.changed(
        "its own signature for the void",
        &part,
        "void_authorizer_signature",
        |body| {
            let own = payload(body)["authorizerSignature"].clone();
            payload(body)["voidAuthorizerSignature"] = own;
        },
    );
    let [capture, void, refund] = bench.orders();
    bench.changed(
        "voidRemainder beside a signature",
        &capture,
        "void_authorizer_signature",
        |body| {
            payload(body)["voidRemainder"] = json!(true);
        },
    );
    for order in [&void, &refund] {
        bench.changed("a void after it", order, "void_authorizer_signature", |body| {
            let own = payload(body)["authorizerSignature"].clone();
            payload(body)["voidAuthorizerSignature"] = own;
        });
    }
}

/// The order names a payment that is not the one of the terms, or none.
fn other_payments(bench: &mut Bench<'_>) {
    for order in bench.orders() {
        for (member, value, expected) in [
            ("operator", json!(STRANGER), "operator_mismatch"),
            ("receiver", json!(STRANGER), "extra"),
            ("token", json!(FEE_TOKEN), "extra"),
            ("maxAmount", json!((PRICE + 1).to_string()), "extra"),
            ("authorizationExpiry", json!(1), "extra"),
            ("refundExpiry", json!(1), "extra"),
            ("minFeeBps", json!(0), "extra"),
            ("maxFeeBps", json!(10_000), "extra"),
            ("feeReceiver", json!(STRANGER), "extra"),
            ("salt", json!(hex0x(&[7; 32])), "salt_binding_mismatch"),
            ("payer", json!(STRANGER), "authorizer_signature"),
            ("preApprovalExpiry", json!(1), "authorizer_signature"),
            ("maxAmount", json!(PRICE), "payload_format"),
            ("refundExpiry", json!("1"), "payload_format"),
        ] {
            bench.changed(
                &format!("paymentInfo.{member} = {value}"),
                &order,
                expected,
                |body| {
                    payload(body)["paymentInfo"][member] = value.clone();
                },
            );
        }
        bench.changed("another saltNonce", &order, "salt_binding_mismatch", |body| {
            payload(body)["saltNonce"] = json!(hex0x(&[7; 32]));
        });
        for wrong in ["release", "", "CAPTURE"] {
            bench.changed(&format!("the type {wrong:?}"), &order, "payload_type", |body| {
                payload(body)["type"] = json!(wrong);
            });
        }
        // One that was never collected, ordered as it should be.
        let mut never = bench.bound.clone();
        never.hold.info.payer = bench.world.chain.buyers[9].address.clone();
        let mut body = never.order(bench.world, &order);
        // The buyer's half is not checked.
        payload(&mut body)["authorization"] = json!({"from": STRANGER});
        let expected = if order == Order::Void {
            "zero_authorization"
        } else {
            "unexpected_payment_state"
        };
        bench.case(&format!("{} of nothing", order.name()), expected, body);
    }
}

fn other_terms(bench: &mut Bench<'_>, other: &Bound) {
    let info = bench.bound.hold.info.clone();
    for order in bench.orders() {
        let is_refund = matches!(order, Order::Refund { .. });
        for (name, value, expected) in [
            ("captureDeadline", json!(info.authorization_expiry + 1), "extra"),
            ("refundDeadline", json!(info.refund_expiry + 1), "extra"),
            ("minFeeBps", json!(99), "extra"),
            ("maxFeeBps", json!(101), "extra"),
            ("feeRecipient", json!(STRANGER), "extra"),
            ("captureAuthorizer", json!(STRANGER), "operator_not_admitted"),
            (
                "captureAuthorizer",
                json!(ARBITER_OPERATOR),
                "operator_not_admitted",
            ),
            ("operatorType", json!("custom"), "operator_not_admitted"),
            ("operatorType", json!("policy"), "unsupported_operator_type"),
            ("policy", json!(STRANGER), "policy"),
            ("receiverAuthorizer", Value::Null, "lifecycle_not_relayed"),
            ("receiverAuthorizer", json!(ZERO), "lifecycle_not_relayed"),
            ("receiverAuthorizer", json!(STRANGER), "salt_binding_mismatch"),
            ("receiverAuthorizer", json!(info.payer), "salt_binding_mismatch"),
            ("authCaptureEscrow", json!(STRANGER), "extra"),
            ("paymentFlow", json!("subscription"), "unsupported_payment_flow"),
            ("paymentFlow", json!("authorization"), "extra"),
            ("autoCapture", json!(true), "unsupported_payment_flow"),
        ] {
            bench.changed(&format!("extra.{name} = {value}"), &order, expected, |body| {
                set_extra(body, name, &value);
            });
        }
        if !is_refund {
            bench.changed("the terms of a charge", &order, "payload_type", |body| {
                set_extra(body, "captureMode", &Value::Null);
                set_extra(body, "paymentFlow", &json!("authorization"));
            });
        }
        // A refund of another receiver's payment has no agreement, which is checked earlier.
        let elsewhere = if is_refund {
            "refund_funding_unavailable"
        } else {
            "extra"
        };
        for (name, value) in [("payTo", json!(STRANGER)), ("asset", json!(FEE_TOKEN))] {
            bench.changed(&format!("{name} = {value}"), &order, elsewhere, |body| {
                set_terms(body, name, &value);
            });
        }
        bench.changed("another price", &order, "extra", |body| {
            set_terms(body, "amount", &json!("1"));
        });
        // The other escrow's payment of the same terms, which takes fees in the other form.
        let form = if matches!(order, Order::Capture { .. }) {
            "payload_format"
        } else {
            "authorizer_signature"
        };
        bench.changed("the other escrow", &order, form, |body| {
            set_extra(body, "authCaptureEscrow", &json!(other.hold.deployment.escrow));
        });
    }
}

/// Every member of an order, replaced by everything that it can be mistaken for. What the deployments have in common is
/// spoiled at one of them.
pub(super) fn spoiled(world: &World, bound: &Bound) -> Vec<Case> {
    let capture = bound.capture(100_000, NOW);
    let refund = Order::Refund {
        amount: 100_000,
        expected: NOW,
    };
    let orders = match bound.hold.deployment.fee_form {
        FeeForm::Amount => vec![capture, Order::Void, refund],
        FeeForm::Bps => vec![capture],
    };
    let cases = orders
        .iter()
        .map(|order| spoil::every_member(order.name(), &bound.order(world, order)));
    cases.flatten().collect()
}

/// What an order repeats of the payment's terms and no check needs.
pub(super) fn may_not_matter(name: &str) -> bool {
    let (_, place) = name.split_once(": /paymentRequirements").unwrap_or(("", ""));
    let member = place.split([' ', '=']).next().unwrap_or_default();
    [
        "/maxTimeoutSeconds",
        "/extra/name",
        "/extra/version",
        "/extra/assetTransferMethod",
        "/extra/captureMode",
        "/extra/paymentFlow",
        "/extra/authCaptureEscrow",
    ]
    .contains(&member)
}

/// The orders that were spoiled are good as they are, or the corpus would prove nothing.
pub(super) fn the_unspoiled_is_good(world: &World, bound: &Bound) {
    let orders = [
        (bound.capture(100_000, NOW), (LEFT - 100_000, CAPTURED + 100_000)),
        (Order::Void, (0, CAPTURED + 100_000)),
        (
            Order::Refund {
                amount: 100_000,
                expected: (0, CAPTURED + 100_000),
            },
            (0, CAPTURED),
        ),
    ];
    for (order, after) in orders {
        let body = bound.order_signed(world, &order, AUTHORIZER_KEY);
        world.untouched(|| post(world, "/verify", &body, SHOP_KEY).valid());
        let _ = post(world, "/settle", &body, SHOP_KEY).paid();
        assert_eq!(state(world, bound), after, "{order:?}");
    }
}
