//! Payments whose salt commits to an authorizer, and what that authorizer signs: charges, captures, voids and refunds, as
//! a seller sends them. Written out by hand, so that the tests share no code with what they test.

use devnet::{AuthCapture, FeeForm, word_of_address, word_of_u128};
use serde_json::{Value, json};

use crate::World;
use crate::escrow::AUTHORIZER_KEY;
use crate::hold::Hold;
use crate::sign::{self, Domain, hex0x, keccak};

const SALT: &str = "x402AuthCaptureSaltBinding(address receiverAuthorizer,address policy,uint256 saltNonce)";

/// A payment that takes orders of [`AUTHORIZER_KEY`], which is the dev chain's merchant.
#[derive(Debug, Clone)]
pub struct Bound {
    pub hold: Hold,
    pub salt_nonce: [u8; 32],
}

/// What an authorizer can order. Amounts in atomic units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Capture {
        amount: u128,
        /// Basis points or units, as the deployment takes it.
        fee: u128,
        fee_receiver: String,
        /// Capturable and refundable.
        expected: (u128, u128),
        /// The rest goes back to the payer.
        close_out: bool,
    },
    Void,
    Refund {
        amount: u128,
        expected: (u128, u128),
    },
}

impl Order {
    /// As `type` spells it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Order::Capture { .. } => "capture",
            Order::Void => "void",
            Order::Refund { .. } => "refund",
        }
    }
}

/// The fee of a deployment's form that is this share of an amount, rounded down as the escrow does.
#[must_use]
pub fn fee_of(deployment: &AuthCapture, amount: u128, bps: u16) -> u128 {
    match deployment.fee_form {
        FeeForm::Bps => bps.into(),
        FeeForm::Amount => amount * u128::from(bps) / 10_000,
    }
}

/// What the fee's receiver gets of it, in units.
#[must_use]
pub fn fee_units(deployment: &AuthCapture, amount: u128, fee: u128) -> u128 {
    match deployment.fee_form {
        FeeForm::Bps => amount * fee / 10_000,
        FeeForm::Amount => fee,
    }
}

/// The salt that commits to an authorizer, without a policy.
///
/// # Panics
/// When the authorizer is no address.
#[must_use]
pub fn bound_salt(authorizer: &str, salt_nonce: [u8; 32]) -> [u8; 32] {
    let words = [keccak(SALT.as_bytes()), address(authorizer), [0; 32], salt_nonce];
    keccak(&words.concat())
}

impl Bound {
    /// Binds a payment; `name` makes its salt.
    #[must_use]
    pub fn new(world: &World, mut hold: Hold, name: &str) -> Bound {
        let authorizer = &world.chain.merchant.address;
        let salt_nonce = keccak(name.as_bytes());
        hold.info.salt = bound_salt(authorizer, salt_nonce);
        hold.extra["receiverAuthorizer"] = json!(authorizer);
        Bound { hold, salt_nonce }
    }

    /// The same as something to be charged at once.
    #[must_use]
    pub fn charged(mut self) -> Bound {
        self.hold.extra["paymentFlow"] = json!("authorization");
        if let Some(extra) = self.hold.extra.as_object_mut() {
            extra.remove("captureMode");
        }
        self
    }

    /// The body that collects, without the seller's completion.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn collect(&self, world: &World) -> Value {
        let mut body = self.hold.body(world);
        body["paymentPayload"]["payload"]["saltNonce"] = json!(hex0x(&self.salt_nonce));
        body
    }

    /// The body that charges.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn charge(&self, world: &World, amount: u128, fee: u128) -> Value {
        let mut body = self.collect(world);
        self.complete(world, &mut body, amount, fee, AUTHORIZER_KEY);
        body
    }

    /// Writes the seller's completion into a body, signed by that key over the buyer's signature as it is there.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn complete(&self, world: &World, body: &mut Value, amount: u128, fee: u128, key: &str) {
        let info = &self.hold.info;
        let payload = &mut body["paymentPayload"]["payload"];
        let signature = payload["signature"].as_str().unwrap_or_default();
        let data = hex::decode(signature.trim_start_matches("0x")).expect("hex");
        let collector = match payload.get("authorization") {
            Some(signed) => &signed["to"],
            None => &payload["permit2Authorization"]["spender"],
        };
        let member = match self.hold.deployment.fee_form {
            FeeForm::Bps => "uint16 feeBps",
            FeeForm::Amount => "uint256 feeAmount",
        };
        let kind = format!(
            "Charge(bytes32 paymentInfoHash,uint256 amount,address tokenCollector,bytes32 collectorDataHash,{member},address feeReceiver)"
        );
        let words = [
            word(&self.hold.hash(world)),
            word_of_u128(amount),
            address(collector.as_str().unwrap_or_default()),
            keccak(&data),
            word_of_u128(fee),
            address(&info.fee_receiver),
        ];
        let signature = self.signed(key, &kind, &words);
        payload["amount"] = json!(amount.to_string());
        payload["feeReceiver"] = json!(info.fee_receiver);
        payload["authorizerSignature"] = json!(signature);
        self.write_fee(payload, fee);
    }

    /// The body that gives an order.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn order(&self, world: &World, order: &Order) -> Value {
        self.order_signed(world, order, AUTHORIZER_KEY)
    }

    /// The same, signed by another key.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn order_signed(&self, world: &World, order: &Order, key: &str) -> Value {
        let hash = word(&self.hold.hash(world));
        let mut payload = json!({
            "type": order.name(),
            "paymentInfo": self.info_json(),
            "saltNonce": hex0x(&self.salt_nonce),
        });
        match order {
            Order::Capture {
                amount,
                fee,
                fee_receiver,
                expected,
                close_out,
            } => {
                payload["amount"] = json!(amount.to_string());
                payload["feeReceiver"] = json!(fee_receiver);
                expect(&mut payload, *expected);
                self.write_fee(&mut payload, *fee);
                let member = match self.hold.deployment.fee_form {
                    FeeForm::Bps => "uint16 feeBps",
                    FeeForm::Amount => "uint256 feeAmount",
                };
                let kind = format!(
                    "Capture(bytes32 paymentInfoHash,uint256 amount,{member},address feeReceiver,uint256 expectedCapturableAmount,uint256 expectedRefundableAmount)"
                );
                let words = [
                    hash,
                    word_of_u128(*amount),
                    word_of_u128(*fee),
                    address(fee_receiver),
                    word_of_u128(expected.0),
                    word_of_u128(expected.1),
                ];
                payload["authorizerSignature"] = json!(self.signed(key, &kind, &words));
                if *close_out {
                    payload["voidAuthorizerSignature"] = json!(self.void_signature(key, hash));
                }
            }
            Order::Void => payload["authorizerSignature"] = json!(self.void_signature(key, hash)),
            Order::Refund { amount, expected } => {
                payload["amount"] = json!(amount.to_string());
                expect(&mut payload, *expected);
                let kind = "Refund(bytes32 paymentInfoHash,uint256 amount,address tokenCollector,uint256 expectedCapturableAmount,uint256 expectedRefundableAmount)";
                let words = [
                    hash,
                    word_of_u128(*amount),
                    address(self.hold.deployment.operator_refund_collector),
                    word_of_u128(expected.0),
                    word_of_u128(expected.1),
                ];
                payload["authorizerSignature"] = json!(self.signed(key, kind, &words));
            }
        }
        let mut body = self.hold.body(world);
        body["paymentPayload"]["payload"] = payload;
        body
    }

    fn void_signature(&self, key: &str, hash: [u8; 32]) -> String {
        self.signed(key, "Void(bytes32 paymentInfoHash)", &[hash])
    }

    fn signed(&self, key: &str, kind: &str, words: &[[u8; 32]]) -> String {
        let domain = Domain {
            name: "x402 Auth Capture Operator".to_owned(),
            version: "1".to_owned(),
            chain_id: 84532,
            token: self.hold.info.operator.clone(),
        };
        let members = [&[keccak(kind.as_bytes())], words].concat();
        hex0x(&sign::sign(key, &domain.digest(&members)))
    }

    fn write_fee(&self, payload: &mut Value, fee: u128) {
        match self.hold.deployment.fee_form {
            FeeForm::Bps => payload["feeBps"] = json!(u16::try_from(fee).expect("basis points")),
            FeeForm::Amount => payload["feeAmount"] = json!(fee.to_string()),
        }
    }

    fn info_json(&self) -> Value {
        let info = &self.hold.info;
        json!({
            "operator": info.operator,
            "payer": info.payer,
            "receiver": info.receiver,
            "token": info.token,
            "maxAmount": info.max_amount.to_string(),
            "preApprovalExpiry": info.pre_approval_expiry,
            "authorizationExpiry": info.authorization_expiry,
            "refundExpiry": info.refund_expiry,
            "minFeeBps": info.min_fee_bps,
            "maxFeeBps": info.max_fee_bps,
            "feeReceiver": info.fee_receiver,
            "salt": hex0x(&info.salt),
        })
    }

    /// A capture with the least fee that the terms allow.
    #[must_use]
    pub fn capture(&self, amount: u128, expected: (u128, u128)) -> Order {
        Order::Capture {
            amount,
            fee: fee_of(&self.hold.deployment, amount, self.hold.info.min_fee_bps),
            fee_receiver: self.hold.info.fee_receiver.clone(),
            expected,
            close_out: false,
        }
    }
}

fn expect(payload: &mut Value, (capturable, refundable): (u128, u128)) {
    payload["expectedCapturableAmount"] = json!(capturable.to_string());
    payload["expectedRefundableAmount"] = json!(refundable.to_string());
}

fn word(text: &str) -> [u8; 32] {
    let bytes = hex::decode(text.trim_start_matches("0x")).expect("hex");
    bytes.try_into().expect("32 bytes")
}

fn address(text: &str) -> [u8; 32] {
    word_of_address(text).expect("an address")
}
