//! A payment as a buyer signs it and a seller sends it on, in each of the protocol's three shapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use devnet::{Account, Arg, Devnet, PERMIT2_PROXY};
use serde_json::{Value, json};

use crate::sign::{self, Domain, Transfer, hex0x};

pub const NETWORK: &str = "eip155:84532";
pub const NETWORK_V1: &str = "base-sepolia";
/// One cent.
pub const PRICE: u128 = 10_000;
/// `transferWithAuthorization` with the signature as bytes.
const TRANSFER_SELECTOR: &str = "0xcf092995";
/// How long a fresh authorization is good for.
const GOOD_FOR_S: u64 = 600;

/// An EIP-3009 payment: change what the test is about, then take [`Payment::v2`] or another shape. Each has a nonce of
/// its own.
#[derive(Debug, Clone)]
pub struct Payment {
    pub domain: Domain,
    pub transfer: Transfer,
    /// The key that signs.
    pub key: String,
    /// What the seller demands.
    pub pay_to: String,
    pub amount: u128,
}

/// The body of a v2 verify or settle, with this payload for these requirements.
#[must_use]
pub fn body_v2(requirements: &Value, payload: &Value) -> Value {
    json!({
        "x402Version": 2,
        "paymentPayload": {
            "x402Version": 2,
            "resource": {"url": "https://api.example.com/weather"},
            "accepted": requirements,
            "payload": payload,
        },
        "paymentRequirements": requirements,
    })
}

/// A word in decimal digits, as official buyers write the nonces of Permit2.
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
    digits
        .iter()
        .rev()
        .filter_map(|digit| char::from_digit(*digit, 10))
        .collect()
}

impl Payment {
    /// The buyer pays [`PRICE`] in the honest dollar.
    #[must_use]
    pub fn new(buyer: &Account, pay_to: &str) -> Payment {
        Payment {
            domain: Domain {
                name: "USDC".to_owned(),
                version: "2".to_owned(),
                chain_id: 84532,
                token: devnet::USDC.to_owned(),
            },
            transfer: Transfer {
                from: buyer.address.clone(),
                to: pay_to.to_owned(),
                value: PRICE,
                valid_after: 0,
                valid_before: now_s() + GOOD_FOR_S,
                nonce: fresh_nonce(),
            },
            key: buyer.key.clone(),
            pay_to: pay_to.to_owned(),
            amount: PRICE,
        }
    }

    /// Signed and demanded: this many atomic units.
    #[must_use]
    pub fn of(mut self, units: u128) -> Payment {
        (self.transfer.value, self.amount) = (units, units);
        self
    }

    /// In another token, with that token's signing domain.
    #[must_use]
    pub fn in_token(mut self, token: &str, name: &str, version: &str) -> Payment {
        self.domain = Domain {
            name: name.to_owned(),
            version: version.to_owned(),
            token: token.to_owned(),
            ..self.domain
        };
        self
    }

    /// From a contract wallet, for which the buyer's key signs.
    #[must_use]
    pub fn from_wallet(mut self, wallet: &str) -> Payment {
        self.transfer.from = wallet.to_owned();
        self
    }

    /// The body of protocol v2 of the same payment by Permit2, through the proxy of `exact`: the permit is for what was signed, and
    /// the seller demands [`PRICE`].
    #[must_use]
    pub fn by_permit2(&self) -> Value {
        let signed = &self.transfer;
        let digest = signed.exact_permit_digest(&self.domain);
        let payload = json!({
            "signature": hex0x(&sign::sign(&self.key, &digest)),
            "permit2Authorization": {
                "from": signed.from,
                "permitted": { "token": self.domain.token, "amount": signed.value.to_string() },
                "spender": PERMIT2_PROXY,
                "nonce": decimal(&signed.nonce),
                "deadline": signed.valid_before.to_string(),
                "witness": { "to": signed.to, "validAfter": "0" },
            },
        });
        let requirements = json!({
            "scheme": "exact",
            "network": NETWORK,
            "amount": PRICE.to_string(),
            "asset": self.domain.token,
            "payTo": self.pay_to,
            "maxTimeoutSeconds": 60,
            "extra": { "name": "USDC", "version": "2", "assetTransferMethod": "permit2" },
        });
        body_v2(&requirements, &payload)
    }

    /// The nonce as `0x` hex.
    #[must_use]
    pub fn nonce(&self) -> String {
        hex0x(&self.transfer.nonce)
    }

    /// The payer's signature.
    #[must_use]
    pub fn signature(&self) -> [u8; 65] {
        sign::sign(&self.key, &self.transfer.digest(&self.domain))
    }

    /// Calldata of the transfer, as any account could send it.
    ///
    /// # Panics
    /// When a member is malformed.
    #[must_use]
    pub fn calldata(&self) -> String {
        let address = |text: &str| Arg::address(text).expect("an address");
        let signed = &self.transfer;
        let args = [
            address(&signed.from),
            address(&signed.to),
            Arg::uint(signed.value),
            Arg::uint(signed.valid_after.into()),
            Arg::uint(signed.valid_before.into()),
            Arg::Word(signed.nonce),
            Arg::Bytes(self.signature().to_vec()),
        ];
        devnet::encode(TRANSFER_SELECTOR, &args).expect("a selector")
    }

    /// Calldata with which the payer takes the authorization back.
    ///
    /// # Panics
    /// When a member is malformed.
    #[must_use]
    pub fn cancellation(&self, chain: &Devnet) -> String {
        let digest = sign::cancellation(&self.domain, &self.transfer.from, self.transfer.nonce);
        let args = [
            Arg::address(&self.transfer.from).expect("an address"),
            Arg::Word(self.transfer.nonce),
            Arg::Bytes(sign::sign(&self.key, &digest).to_vec()),
        ];
        let token = chain.artifact("DollarToken").expect("the artefact");
        token
            .call("cancelAuthorization(address,bytes32,bytes)", &args)
            .expect("encodes")
    }

    /// The body of a v2 verify or settle.
    #[must_use]
    pub fn v2(&self) -> Value {
        let requirements = json!({
            "scheme": "exact",
            "network": NETWORK,
            "amount": self.amount.to_string(),
            "asset": self.domain.token,
            "payTo": self.pay_to,
            "maxTimeoutSeconds": 60,
            "extra": {"name": self.domain.name, "version": self.domain.version},
        });
        body_v2(&requirements, &self.payload())
    }

    /// The body of a v1 verify or settle.
    #[must_use]
    pub fn v1(&self) -> Value {
        json!({
            "x402Version": 1,
            "paymentPayload": self.payload_v1(),
            "paymentRequirements": self.requirements_v1(),
        })
    }

    /// The body of the oldest README's form.
    #[must_use]
    pub fn legacy0(&self) -> Value {
        json!({
            "x402Version": 1,
            "paymentHeader": STANDARD.encode(self.payload_v1().to_string()),
            "paymentRequirements": self.requirements_v1(),
        })
    }

    fn payload_v1(&self) -> Value {
        json!({"x402Version": 1, "scheme": "exact", "network": NETWORK_V1, "payload": self.payload()})
    }

    fn requirements_v1(&self) -> Value {
        json!({
            "scheme": "exact",
            "network": NETWORK_V1,
            "maxAmountRequired": self.amount.to_string(),
            "resource": "https://api.example.com/weather",
            "description": "",
            "mimeType": "application/json",
            "payTo": self.pay_to,
            "maxTimeoutSeconds": 60,
            "asset": self.domain.token,
            "outputSchema": null,
            "extra": {"name": self.domain.name, "version": self.domain.version},
        })
    }

    fn payload(&self) -> Value {
        json!({
            "signature": hex0x(&self.signature()),
            "authorization": {
                "from": self.transfer.from,
                "to": self.transfer.to,
                "value": self.transfer.value.to_string(),
                "validAfter": self.transfer.valid_after.to_string(),
                "validBefore": self.transfer.valid_before.to_string(),
                "nonce": self.nonce(),
            },
        })
    }
}

/// Unix seconds.
///
/// # Panics
/// When the machine's clock is before 1970.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs()
}

// Every chain of every test is new: counting is enough for a nonce to be fresh.
fn fresh_nonce() -> [u8; 32] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    sign::keccak(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes())
}
