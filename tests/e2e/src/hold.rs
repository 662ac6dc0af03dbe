//! A payment by `auth-capture` as a buyer signs it, in the wire of either version of the scheme: change what the test is
//! about, then take [`Hold::body`].

use devnet::{AuthCapture, PERMIT2, PaymentInfo, USDC};
use serde_json::{Value, json};

use crate::World;
use crate::escrow::{FEE_BPS, FEE_RECEIVER, PRICE};
use crate::payment::{NETWORK, now_s};
use crate::sign::{self, Domain, Transfer, hex0x};

/// How the money leaves the payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Eip3009,
    Permit2,
}

/// An unbound payment of [`PRICE`] to the merchant, under the facilitator's first signer.
#[derive(Debug, Clone)]
pub struct Hold {
    pub deployment: AuthCapture,
    pub info: PaymentInfo,
    pub method: Method,
    /// Further members of the requirements' `extra`: they decide which version of the scheme it is.
    pub extra: Value,
    key: String,
}

impl Hold {
    /// In the wire of version 1.0, whose `autoCapture` decides between hold and charge.
    #[must_use]
    pub fn v1_0(world: &World, buyer: usize, method: Method, auto_capture: bool) -> Hold {
        let extra = json!({ "autoCapture": auto_capture });
        Hold::new(world, buyer, devnet::AUTH_CAPTURE_V10, method, extra)
    }

    /// In the wire of version 1.1.
    #[must_use]
    pub fn v1_1(world: &World, buyer: usize, deployment: AuthCapture, method: Method) -> Hold {
        let extra = json!({
            "authCaptureEscrow": deployment.escrow,
            "paymentFlow": "escrow",
            "captureMode": "deferred",
        });
        Hold::new(world, buyer, deployment, method, extra)
    }

    fn new(world: &World, buyer: usize, deployment: AuthCapture, method: Method, extra: Value) -> Hold {
        let (payer, now) = (&world.chain.buyers[buyer], now_s());
        let bps = u16::try_from(FEE_BPS).expect("at most 10000");
        let info = PaymentInfo {
            operator: world.chain.facilitators[0].address.clone(),
            payer: payer.address.clone(),
            receiver: world.chain.merchant.address.clone(),
            token: USDC.to_owned(),
            max_amount: PRICE,
            pre_approval_expiry: now + 60,
            authorization_expiry: now + 3_600,
            refund_expiry: now + 7_200,
            min_fee_bps: bps,
            max_fee_bps: bps,
            fee_receiver: FEE_RECEIVER.to_owned(),
            salt: sign::keccak(payer.address.as_bytes()),
        };
        Hold {
            deployment,
            info,
            method,
            extra,
            key: payer.key.clone(),
        }
    }

    /// Signed by another key than the payer's.
    #[must_use]
    pub fn signed_by(mut self, key: &str) -> Hold {
        key.clone_into(&mut self.key);
        self
    }

    /// The payment's name in the escrow.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn hash(&self, world: &World) -> String {
        let hash = world.chain.payment_hash(&self.deployment, &self.info);
        hash.expect("the node answers")
    }

    /// The body of a verify or settle, signed by the payer.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn body(&self, world: &World) -> Value {
        let requirements = self.requirements();
        let payload = self.payload(&self.signed(world));
        json!({
            "x402Version": 2,
            "paymentPayload": {"x402Version": 2, "accepted": requirements, "payload": payload},
            "paymentRequirements": requirements,
        })
    }

    fn signed(&self, world: &World) -> Transfer {
        let nonce = world.chain.signature_nonce(&self.deployment, &self.info);
        let nonce = hex::decode(nonce.expect("the node answers").trim_start_matches("0x"));
        let collector = match self.method {
            Method::Eip3009 => self.deployment.erc3009_collector,
            Method::Permit2 => self.deployment.permit2_collector,
        };
        Transfer {
            from: self.info.payer.clone(),
            to: collector.to_owned(),
            value: self.info.max_amount,
            valid_after: 0,
            valid_before: self.info.pre_approval_expiry,
            nonce: nonce.expect("hex").try_into().expect("32 bytes"),
        }
    }

    fn payload(&self, signed: &Transfer) -> Value {
        let named = |member: &str, usual: &str| self.extra[member].as_str().unwrap_or(usual).to_owned();
        let domain = Domain {
            name: named("name", "USDC"),
            version: named("version", "2"),
            chain_id: 84532,
            token: self.info.token.clone(),
        };
        let (value, expiry) = (signed.value.to_string(), signed.valid_before.to_string());
        let (name, authorization, digest) = match self.method {
            Method::Eip3009 => (
                "authorization",
                json!({
                    "from": signed.from,
                    "to": signed.to,
                    "value": value,
                    "validAfter": "0",
                    "validBefore": expiry,
                    "nonce": hex0x(&signed.nonce),
                }),
                signed.receive_digest(&domain),
            ),
            Method::Permit2 => (
                "permit2Authorization",
                json!({
                    "from": signed.from,
                    "permitted": {"token": self.info.token, "amount": value},
                    "spender": signed.to,
                    "nonce": decimal(&signed.nonce),
                    "deadline": expiry,
                }),
                signed.permit2_digest(&domain),
            ),
        };
        let signature = hex0x(&sign::sign(&self.key, &digest));
        json!({ name: authorization, "signature": signature, "salt": hex0x(&self.info.salt) })
    }

    fn requirements(&self) -> Value {
        let info = &self.info;
        let mut extra = json!({
            "name": "USDC",
            "version": "2",
            "captureAuthorizer": info.operator,
            "captureDeadline": info.authorization_expiry,
            "refundDeadline": info.refund_expiry,
            "feeRecipient": info.fee_receiver,
            "minFeeBps": info.min_fee_bps,
            "maxFeeBps": info.max_fee_bps,
            "assetTransferMethod": match self.method {
                Method::Eip3009 => "eip3009",
                Method::Permit2 => "permit2",
            },
        });
        for (name, value) in self.extra.as_object().into_iter().flatten() {
            extra[name] = value.clone();
        }
        json!({
            "scheme": "auth-capture",
            "network": NETWORK,
            "amount": info.max_amount.to_string(),
            "asset": info.token,
            "payTo": info.receiver,
            "maxTimeoutSeconds": 60,
            "extra": extra,
        })
    }
}

/// Permit2 takes from the payer what the payer has allowed it.
///
/// # Panics
/// When the node does not answer.
pub fn allow_permit2(world: &World, buyer: usize) {
    let payer = &world.chain.buyers[buyer].address;
    world
        .chain
        .set_allowance(USDC, payer, PERMIT2, u128::MAX)
        .expect("allowed");
}

/// A big-endian number in decimal digits, as Permit2's nonces are written.
fn decimal(word: &[u8; 32]) -> String {
    let mut digits = vec![0_u32];
    for byte in word {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit * 256;
            *digit = carry % 10;
            carry /= 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().map(u32::to_string).collect()
}
