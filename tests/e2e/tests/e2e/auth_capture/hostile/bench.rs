//! What the corpora of requests are made with: a good body, and ways to change one thing of it.

use devnet::AuthCapture;
use e2e::World;
use e2e::escrow::PRICE;
use e2e::hold::{Hold, Method};
use e2e::order::{Bound, fee_of};
use e2e::payment::now_s;
use serde_json::Value;

use super::Case;

pub(super) const BUYER: usize = 2;
pub(super) const STRANGER: &str = "0x00000000000000000000000000000000000057a9";
pub(super) const ZERO: &str = "0x0000000000000000000000000000000000000000";
pub(super) const FEE_BPS: u16 = 100;

/// A good body, and everything to spoil it with.
pub(super) struct Bench<'a> {
    pub(super) world: &'a World,
    pub(super) bound: Bound,
    pub(super) charged: bool,
    pub(super) good: Value,
    pub(super) what: String,
    pub(super) cases: Vec<Case>,
}

pub(super) fn payment(world: &World, deployment: AuthCapture, method: Method, charged: bool) -> Bound {
    let mut hold = Hold::v1_1(world, BUYER, deployment, method);
    // For as long as the corpus takes.
    hold.info.pre_approval_expiry = now_s() + 1_800;
    let bound = Bound::new(world, hold, &format!("hostile {method:?} {charged}"));
    if charged { bound.charged() } else { bound }
}

pub(super) fn body(world: &World, bound: &Bound, charged: bool) -> Value {
    if charged {
        bound.charge(world, PRICE, fee_of(&bound.hold.deployment, PRICE, FEE_BPS))
    } else {
        bound.collect(world)
    }
}

pub(super) fn set_extra(body: &mut Value, name: &str, value: &Value) {
    for copy in ["/paymentPayload/accepted/extra", "/paymentRequirements/extra"] {
        let extra = body.pointer_mut(copy).and_then(Value::as_object_mut);
        let extra = extra.expect("an object");
        match value {
            Value::Null => drop(extra.remove(name)),
            _ => drop(extra.insert(name.to_owned(), value.clone())),
        }
    }
}

pub(super) fn set_terms(body: &mut Value, name: &str, value: &Value) {
    body["paymentPayload"]["accepted"][name] = value.clone();
    body["paymentRequirements"][name] = value.clone();
}

impl Bench<'_> {
    pub(super) fn add(&mut self, name: &str, expected: &str, change: impl FnOnce(&mut Value)) {
        let mut body = self.good.clone();
        change(&mut body);
        let name = format!("{}: {name}", self.what);
        self.cases.push(Case::new(name, expected, body));
    }

    pub(super) fn extra(&mut self, name: &str, value: Value, expected: &str) {
        self.add(&format!("extra.{name} = {value}"), expected, |body| {
            set_extra(body, name, &value);
        });
    }

    pub(super) fn payload(&mut self, name: &str, value: Value, expected: &str) {
        self.add(&format!("payload.{name} = {value}"), expected, |body| {
            let payload = body["paymentPayload"]["payload"]
                .as_object_mut()
                .expect("an object");
            match &value {
                Value::Null => drop(payload.remove(name)),
                _ => drop(payload.insert(name.to_owned(), value.clone())),
            }
        });
    }

    pub(super) fn is_eip3009(&self) -> bool {
        self.bound.hold.method == Method::Eip3009
    }

    /// The member of the payload that the buyer signs.
    pub(super) fn signed_member(&self) -> &'static str {
        if self.is_eip3009() {
            "authorization"
        } else {
            "permit2Authorization"
        }
    }

    pub(super) fn signed(&mut self, name: &str, value: Value, expected: &str) {
        let member = self.signed_member();
        self.add(&format!("{member}.{name} = {value}"), expected, |body| {
            let pointer = format!("/paymentPayload/payload/{member}/{name}");
            *body.pointer_mut(&pointer).expect("there") = value.clone();
        });
    }

    /// What a buyer signed for other terms, under these.
    pub(super) fn of_other_terms(&mut self, name: &str, expected: &str, change: impl FnOnce(&mut Bound)) {
        let mut other = self.bound.clone();
        change(&mut other);
        let signed = body(self.world, &other, self.charged);
        self.add(&format!("signed for another {name}"), expected, |body| {
            body["paymentPayload"]["payload"] = signed["paymentPayload"]["payload"].clone();
        });
    }

    /// Other terms that were signed as they are, and can't be served.
    pub(super) fn consistent(&mut self, name: &str, expected: &str, change: impl FnOnce(&mut Bound)) {
        let mut other = self.bound.clone();
        change(&mut other);
        let body = body(self.world, &other, self.charged);
        let name = format!("{}: {name}, signed so", self.what);
        self.cases.push(Case::new(name, expected, body));
    }
}

/// An ERC-6492 wrapper: a target, no calldata, and the signature inside.
pub(super) fn wrapper(target: &str, inner: &[u8]) -> Vec<u8> {
    let word = |number: usize| devnet::word_of_u128(u128::try_from(number).expect("small"));
    let mut wrapped = devnet::word_of_address(target).expect("an address").to_vec();
    let padding = vec![0; inner.len().next_multiple_of(32) - inner.len()];
    for part in [
        &word(96)[..],
        &word(128),
        &word(0),
        &word(inner.len()),
        inner,
        &padding,
    ] {
        wrapped.extend(part);
    }
    wrapped.extend([0x64, 0x92].repeat(16));
    wrapped
}
