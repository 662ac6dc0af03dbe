//! Whole lives of payments with the official buyer, on both deployments and by both ways of paying: who has the money
//! after every step, and what the escrow shows.

use devnet::{AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, AuthCapture, MERCHANT};
use e2e::World;
use e2e::escrow::{
    self, AUTHORIZER_KEY, FEE_BPS, Held, Money, PRICE, SHOP_KEY, Shop, fund, post, reclaims, refunds,
    wait_state,
};
use e2e::sign::hex0x;
use serde_json::{Value, json};

use super::reason;

const ORDERS: (&str, &str) = ("AUTHORIZER_KEY", AUTHORIZER_KEY);

/// Money before a step, to compute what the step moved.
struct Books<'a> {
    world: &'a World,
    shop: &'a Shop,
    buyer: usize,
    before: Money,
}

impl Books<'_> {
    fn open<'a>(world: &'a World, shop: &'a Shop, buyer: usize) -> Books<'a> {
        let payer = &world.chain.buyers[buyer].address;
        Books {
            world,
            shop,
            buyer,
            before: Money::of(world, &shop.deployment, payer),
        }
    }

    /// Since the last comparison: what the payer, the merchant's side (its fee included), the escrow and the operator got.
    #[track_caller]
    fn moved(&mut self, payer: i128, merchant: i128, held: i128, operator: i128) {
        let now = Money::of(
            self.world,
            &self.shop.deployment,
            &self.world.chain.buyers[self.buyer].address,
        );
        let fees = merchant * i128::try_from(FEE_BPS).expect("small") / 10_000;
        let expected = Money {
            payer,
            merchant: merchant - fees,
            fees,
            held,
            operator,
        };
        assert_eq!(now.since(self.before), expected);
        self.before = now;
    }

    #[track_caller]
    fn state(&self, held: &Held, capturable: u128, refundable: u128) {
        let chain = &self.world.chain;
        let own = chain
            .payment_hash(&self.shop.deployment, &held.info)
            .expect("the node answers");
        assert_eq!(own, held.hash, "the shop and the escrow name the payment alike");
        let state = chain
            .payment_state(&self.shop.deployment, &held.hash)
            .expect("the node answers");
        assert_eq!(
            (state.collected, state.capturable, state.refundable),
            (true, capturable, refundable)
        );
    }

    /// An order that is carried out.
    #[track_caller]
    fn ordered(&self, held: &Held, what: &str, body: &Value) {
        let reply = self.shop.order(held, what, body);
        assert_eq!(reply["success"], true, "{reply}");
        let amount = body.get("amount").cloned().unwrap_or_else(|| json!("0"));
        assert_eq!(reply["amount"], amount, "{reply}");
        let hash = reply["transaction"].as_str().expect("a transaction");
        let receipt = self.world.chain.receipt(hash).expect("the node answers");
        assert_eq!(receipt.expect("a receipt")["status"], "0x1");
    }

    /// An order that moves nothing.
    #[track_caller]
    fn denied(&self, held: &Held, what: &str, body: &Value, expected: &str) {
        let reply = self.world.untouched(|| self.shop.order(held, what, body));
        assert_eq!(
            (&reply["success"], &reply["errorReason"]),
            (&json!(false), &json!(expected)),
            "{reply}"
        );
    }
}

fn held_then_captured_in_parts(world: &World, deployment: AuthCapture, method: &str) {
    let deferred = ("CAPTURE_MODE", "deferred");
    let shop = Shop::open(
        world,
        deployment,
        &[ORDERS, deferred, ("TRANSFER_METHOD", method)],
    );
    let mut books = Books::open(world, &shop, 2);
    let payment = shop.sell(&world.chain.buyers[2], "");
    books.moved(-1_000_000, 0, 1_000_000, 0);
    books.state(&payment, PRICE, 0);

    books.ordered(&payment, "capture", &json!({"amount": "300000"}));
    books.moved(0, 300_000, -300_000, 0);
    books.state(&payment, 700_000, 300_000);

    books.ordered(&payment, "capture", &json!({"amount": "200000"}));
    books.moved(0, 200_000, -200_000, 0);
    books.denied(&payment, "capture", &json!({"amount": "500001"}), reason::AMOUNT);

    books.ordered(
        &payment,
        "capture",
        &json!({"amount": "100000", "closeOut": true}),
    );
    wait_state(world, &deployment, &payment.hash, 0, 600_000);
    books.moved(400_000, 100_000, -500_000, 0);

    books.ordered(&payment, "refund", &json!({"amount": "50000"}));
    books.moved(50_000, 0, 0, -50_000);
    books.state(&payment, 0, 550_000);
    books.denied(&payment, "capture", &json!({"amount": "1"}), reason::AMOUNT);

    // Another one goes back whole.
    let payment = shop.sell(&world.chain.buyers[2], "");
    books.moved(-1_000_000, 0, 1_000_000, 0);
    books.ordered(&payment, "void", &json!({}));
    books.moved(1_000_000, 0, -1_000_000, 0);
    books.state(&payment, 0, 0);
}

fn captured_by_the_request_that_holds(world: &World, deployment: AuthCapture, method: &str) {
    let shop = Shop::open(world, deployment, &[ORDERS, ("TRANSFER_METHOD", method)]);
    let mut books = Books::open(world, &shop, 3);
    let payment = shop.sell(&world.chain.buyers[3], "?used=400000");
    wait_state(world, &deployment, &payment.hash, 0, 400_000);
    books.moved(-400_000, 400_000, 0, 0);

    let payment = shop.sell(&world.chain.buyers[3], "");
    books.moved(-1_000_000, 1_000_000, 0, 0);
    books.state(&payment, 0, PRICE);

    // The handler fails: nothing is kept.
    let report = shop.buy(&world.chain.buyers[3], "?fail=1").expect("an answer");
    assert_eq!(report["status"], 500, "{report}");
    books.moved(0, 0, 0, 0);
    books.state(&shop.newest(), 0, 0);
}

fn charged_at_once(world: &World, deployment: AuthCapture, method: &str) {
    let flow = ("FLOW", "authorization");
    let shop = Shop::open(world, deployment, &[ORDERS, flow, ("TRANSFER_METHOD", method)]);
    let mut books = Books::open(world, &shop, 4);
    let payment = shop.sell(&world.chain.buyers[4], "?used=600000");
    books.moved(-600_000, 600_000, 0, 0);
    books.state(&payment, 0, 600_000);
    books.ordered(&payment, "refund", &json!({"amount": "100000"}));
    books.moved(100_000, 0, 0, -100_000);
    books.state(&payment, 0, 500_000);
}

/// Last, because it moves the chain's clock past the deadlines of all the others.
fn held_uncaptured_and_reclaimed(world: &World, deployment: AuthCapture, method: &str) {
    let bound = Shop::open(
        world,
        deployment,
        &[ORDERS, ("TRANSFER_METHOD", method), ("CAPTURE_MODE", "deferred")],
    );
    let late = bound.sell(&world.chain.buyers[5], "");
    let shop = Shop::open(world, deployment, &[("TRANSFER_METHOD", method)]);
    let mut books = Books::open(world, &shop, 6);
    let payment = shop.sell(&world.chain.buyers[6], "");
    books.moved(-1_000_000, 0, 1_000_000, 0);
    let mut draft = shop.draft(&payment, "capture", json!({"amount": "1"}));
    draft["paymentPayload"]["payload"]["saltNonce"] = json!(hex0x(&payment.info.salt));
    world.untouched(|| post(world, "/settle", &draft, SHOP_KEY).refused(reason::NOT_RELAYED));
    assert!(
        !reclaims(world, &deployment, &payment.info),
        "the deadline is not over"
    );

    world.chain.increase_time(3_600).expect("time passes");
    world.chain.mine(1).expect("mines");
    let of_the_bound = Books::open(world, &bound, 5);
    of_the_bound.denied(&late, "capture", &json!({"amount": "1"}), reason::CAPTURE_OVER);
    assert!(reclaims(world, &deployment, &payment.info));
    books.moved(1_000_000, 0, -1_000_000, 0);
    books.state(&payment, 0, 0);
    // Until the payer does so, what nobody captured can still be given back.
    of_the_bound.ordered(&late, "void", &json!({}));
    books.moved(0, 0, -1_000_000, 0);
}

fn lives(deployment: AuthCapture, method: &str) {
    let world = escrow::world(&refunds(MERCHANT.0)).start();
    fund(&world);
    held_then_captured_in_parts(&world, deployment, method);
    captured_by_the_request_that_holds(&world, deployment, method);
    charged_at_once(&world, deployment, method);
    held_uncaptured_and_reclaimed(&world, deployment, method);
}

#[test]
fn a_payment_by_eip3009_passes_every_operation_of_the_v1_1_escrow() {
    lives(AUTH_CAPTURE_V11, "eip3009");
}

#[test]
fn a_payment_by_permit2_passes_every_operation_of_the_v1_1_escrow() {
    lives(AUTH_CAPTURE_V11, "permit2");
}

#[test]
fn a_payment_by_eip3009_passes_every_operation_of_the_v1_0_escrow() {
    lives(AUTH_CAPTURE_V10, "eip3009");
}

#[test]
fn a_payment_by_permit2_passes_every_operation_of_the_v1_0_escrow() {
    lives(AUTH_CAPTURE_V10, "permit2");
}
