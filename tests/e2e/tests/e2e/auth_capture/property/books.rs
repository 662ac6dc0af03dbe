//! What must be true of a payment: a model of the escrow in a few lines, and what the chain itself shows to compare it
//! with.

use devnet::{AuthCapture, FeeForm, PaymentInfo};
use e2e::World;
use e2e::escrow::SHOP_KEY;
use e2e::order::fee_units;
use serde_json::{Value, json};

/// A payment as it should be. Amounts in atomic units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) collected: bool,
    pub(super) capturable: u128,
    pub(super) refundable: u128,
}

/// What a step does to a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Hold(u128),
    /// Amount and what of it is a fee.
    Charge(u128, u128),
    Capture {
        amount: u128,
        fee: u128,
        rest_goes_back: bool,
    },
    /// By operator or payer.
    Return,
    Refund(u128),
}

/// Who has gained or lost what by it, in atomic units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gains {
    pub(super) payer: i128,
    pub(super) receiver: i128,
    pub(super) fees: i128,
    pub(super) operator: i128,
}

fn signed(units: u128) -> i128 {
    i128::try_from(units).expect("a test's amounts are small")
}

impl Model {
    /// Carries a move out, and returns who gained by it.
    pub(super) fn carry_out(&mut self, done: Move) -> Gains {
        let mut gains = Gains::default();
        match done {
            Move::Hold(amount) => {
                (self.collected, self.capturable) = (true, amount);
                gains.payer = -signed(amount);
            }
            Move::Charge(amount, fee) => {
                (self.collected, self.refundable) = (true, amount);
                (gains.payer, gains.fees) = (-signed(amount), signed(fee));
                gains.receiver = signed(amount - fee);
            }
            Move::Capture {
                amount,
                fee,
                rest_goes_back,
            } => {
                self.capturable -= amount;
                self.refundable += amount;
                (gains.receiver, gains.fees) = (signed(amount - fee), signed(fee));
                if rest_goes_back {
                    gains.payer = signed(self.capturable);
                    self.capturable = 0;
                }
            }
            Move::Return => {
                gains.payer = signed(self.capturable);
                self.capturable = 0;
            }
            Move::Refund(amount) => {
                self.refundable -= amount;
                (gains.payer, gains.operator) = (signed(amount), -signed(amount));
            }
        }
        gains
    }
}

/// Something that the escrow reported of a payment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reported {
    pub(crate) kind: &'static str,
    pub(crate) transaction: String,
    pub(crate) amount: u128,
    /// Of captures and charges, in the deployment's form.
    pub(crate) fee: Option<u128>,
}

const EVENTS: [(&str, &str); 8] = [
    (
        "0x1c81fb2e3bab27f6bb09bee9a0dddf61600b7cbaf2c12683e4864e0cbdb9d284",
        "authorize",
    ),
    (
        "0x943ae4341dd799d7aeedc501f616cd26b134639e0bc2ec059581ba3ebbf1e7d0",
        "charge",
    ),
    (
        "0x137b0e73e4453f43c2e1ad2552980a0e0c7e988764619974ca26d37a7159940c",
        "charge",
    ),
    (
        "0xe749f7bbd01b49bb05abf26ca492cb4dfdea6bedeada8a40fdccd478c73a74e2",
        "capture",
    ),
    (
        "0xac1e0db1957daedbc6944bcb4c8dc947ff8101d710671ac2ec26309f7f38d58e",
        "capture",
    ),
    (
        "0xcadce8c3acb008e3e1c64ca7f60d22a3c87069183182b7dbb9e4d8cfb3a15842",
        "void",
    ),
    (
        "0x78e1d723d17e13b7f40eeab9bf6dd9148a630bafde4203ab7bb5fca983516d17",
        "reclaim",
    ),
    (
        "0x1bf415371b303ca6b8bbb4ce479b177cba5ad15dbe0c9a7750a588aa6bcd25b2",
        "refund",
    ),
];

/// All that the escrow reported of a payment, in order.
pub(crate) fn reported(world: &World, deployment: &AuthCapture, hash: &str) -> Vec<Reported> {
    let filter = json!({
        "fromBlock": "0x0", "toBlock": "latest", "address": deployment.escrow, "topics": [null, hash]
    });
    let logs = world
        .chain
        .rpc()
        .call("eth_getLogs", json!([filter]))
        .expect("the node answers");
    logs.as_array().expect("logs").iter().map(read).collect()
}

fn read(log: &Value) -> Reported {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let topic = text(&log["topics"][0]);
    let (_, kind) = EVENTS
        .iter()
        .find(|(known, _)| *known == topic)
        .expect("an event of the escrow");
    let data = text(&log["data"]);
    let word = |at: usize| {
        let digits = &data[2 + 64 * at + 32..2 + 64 * at + 64];
        u128::from_str_radix(digits, 16).expect("hex")
    };
    // The terms of the payment, twelve words, come first where money comes in.
    let (amount, fee) = match *kind {
        "authorize" => (word(12), None),
        "charge" => (word(12), Some(word(14))),
        "capture" => (word(0), Some(word(1))),
        _ => (word(0), None),
    };
    Reported {
        kind,
        transaction: text(&log["transactionHash"]),
        amount,
        fee,
    }
}

/// Nobody got more than the terms allow, as far as the escrow's own reports go.
#[track_caller]
pub(super) fn within_terms(deployment: &AuthCapture, info: &PaymentInfo, reports: &[Reported]) {
    let total = |kinds: &[&str]| -> u128 {
        let of_kind = reports.iter().filter(|report| kinds.contains(&report.kind));
        of_kind.map(|report| report.amount).sum()
    };
    let taken = total(&["authorize", "charge"]);
    assert!(taken <= info.max_amount, "{reports:?}");
    assert!(
        reports
            .iter()
            .filter(|report| ["authorize", "charge"].contains(&report.kind))
            .count()
            <= 1
    );
    assert!(
        total(&["capture", "void", "reclaim"]) <= total(&["authorize"]),
        "{reports:?}"
    );
    assert!(total(&["refund"]) <= total(&["capture", "charge"]), "{reports:?}");
    for report in reports {
        let Some(fee) = report.fee else { continue };
        let share = |bps: u16| report.amount * u128::from(bps) / 10_000;
        let (least, most) = match deployment.fee_form {
            FeeForm::Bps => (info.min_fee_bps.into(), info.max_fee_bps.into()),
            FeeForm::Amount => (share(info.min_fee_bps), share(info.max_fee_bps)),
        };
        assert!((least..=most).contains(&fee), "{report:?} of {info:?}");
        assert!(fee_units(deployment, report.amount, fee) <= share(info.max_fee_bps));
    }
}

/// What the facilitator reports to the tenant about a payment is what the chain shows.
#[track_caller]
pub(super) fn reported_as_it_is(world: &World, deployment: &AuthCapture, hash: &str, model: &Model) {
    let path = format!("/auth-capture/payments/{hash}?network=eip155:84532");
    let bearer = format!("Bearer {SHOP_KEY}");
    let headers = [("authorization", bearer.as_str())];
    // It may be crashing; then the next comparison checks.
    let Ok(reply) = world.facilitator.client().send("GET", &path, b"", &headers) else {
        return;
    };
    let reports = reported(world, deployment, hash);
    if reply.status == 404 {
        // Nothing was ever planned for it.
        assert_eq!(reports, Vec::new(), "{reply:?}");
        return;
    }
    assert_eq!(reply.status, 200, "{reply:?}");
    let shown = (reply.field("capturableAmount"), reply.field("refundableAmount"));
    let (capturable, refundable) = (model.capturable.to_string(), model.refundable.to_string());
    assert_eq!(shown, (capturable.as_str(), refundable.as_str()), "{reply:?}");
    assert_eq!(
        reply.field("state") == "uncollected",
        !model.collected,
        "{reply:?}"
    );
    let operations = reply.json["operations"].as_array().expect("a list");
    let listed: Vec<(&str, String, &str)> = operations
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap_or_default();
            (text("type"), text("transaction").to_lowercase(), text("amount"))
        })
        .collect();
    let amounts: Vec<String> = reports.iter().map(|report| report.amount.to_string()).collect();
    let happened: Vec<(&str, String, &str)> = reports
        .iter()
        .zip(&amounts)
        .map(|(report, amount)| (report.kind, report.transaction.clone(), amount.as_str()))
        .collect();
    assert_eq!(listed, happened, "{reply:?}");
    for (one, report) in operations.iter().zip(&reports) {
        let fee = match deployment.fee_form {
            FeeForm::Bps => one["feeBps"].as_u64().map(u128::from),
            FeeForm::Amount => one["feeAmount"].as_str().and_then(|fee| fee.parse().ok()),
        };
        assert_eq!(fee, report.fee, "{one}");
    }
    assert_eq!(reply.json["operationsComplete"], true, "{reply:?}");
}
