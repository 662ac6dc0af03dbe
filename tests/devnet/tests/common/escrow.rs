//! Payments through the escrow as tests make them: sensible terms, the buyer's signature, and what moved.

use devnet::{
    AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, Account, AuthCapture, Devnet, Error, FEE_TOKEN, FeeForm, LYING_TOKEN,
    PERMIT2, PaymentInfo, PaymentState, USDC, encode,
};
use serde_json::{Value, json};

use super::{PAYEE, succeeded, text};

pub(crate) const FEE_RECEIVER: &str = "0x4444444444444444444444444444444444444444";
pub(crate) const NOBODY: &str = "0x0000000000000000000000000000000000000000";
pub(crate) const DEPLOYMENTS: [&AuthCapture; 2] = [&AUTH_CAPTURE_V11, &AUTH_CAPTURE_V10];
/// What every payment is about, in token units.
pub(crate) const UNITS: u128 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Eip3009,
    Permit2,
}

#[derive(Clone)]
pub(crate) struct Payment {
    pub(crate) deployment: &'static AuthCapture,
    pub(crate) method: Method,
    pub(crate) info: PaymentInfo,
}

impl Payment {
    /// A dollar payment to [`PAYEE`] through the first facilitator, with one percent of fee: collectable for ten minutes,
    /// capturable for an hour, refundable for a day.
    pub(crate) fn new(
        chain: &Devnet,
        deployment: &'static AuthCapture,
        method: Method,
        payer: &str,
    ) -> Payment {
        let (_, now) = chain.head().expect("head");
        let now = u64::try_from(now).expect("a time");
        Payment {
            deployment,
            method,
            info: PaymentInfo {
                operator: chain.facilitators[0].address.clone(),
                payer: payer.to_owned(),
                receiver: PAYEE.to_owned(),
                token: USDC.to_owned(),
                max_amount: UNITS,
                pre_approval_expiry: now + 600,
                authorization_expiry: now + 3_600,
                refund_expiry: now + 86_400,
                min_fee_bps: 100,
                max_fee_bps: 100,
                fee_receiver: FEE_RECEIVER.to_owned(),
                salt: [7; 32],
            },
        }
    }

    pub(crate) fn collector(&self) -> &'static str {
        match self.method {
            Method::Eip3009 => self.deployment.erc3009_collector,
            Method::Permit2 => self.deployment.permit2_collector,
        }
    }

    pub(crate) fn hash(&self, chain: &Devnet) -> String {
        chain.payment_hash(self.deployment, &self.info).expect("hash")
    }

    pub(crate) fn state(&self, chain: &Devnet) -> PaymentState {
        chain
            .payment_state(self.deployment, &self.hash(chain))
            .expect("state")
    }

    /// The fee for an amount in this deployment's form, at one percent.
    pub(crate) fn fee_of(&self, amount: u128) -> u128 {
        match self.deployment.fee_form {
            FeeForm::Bps => 100,
            FeeForm::Amount => amount / 100,
        }
    }

    /// The node signs: the key has to be one of its own (any buyer but the first). For Permit2 the payer's allowance is
    /// there afterwards too.
    pub(crate) fn sign(&self, chain: &Devnet, key: &Account) -> Vec<u8> {
        let nonce = chain.signature_nonce(self.deployment, &self.info).expect("nonce");
        let typed = match self.method {
            Method::Eip3009 => self.receive_with_authorization(&nonce),
            Method::Permit2 => {
                let (token, payer) = (&self.info.token, &self.info.payer);
                chain
                    .set_allowance(token, payer, PERMIT2, u128::MAX)
                    .expect("allowance");
                self.permit_transfer_from(&nonce)
            }
        };
        let answer = chain
            .rpc()
            .call("eth_signTypedData_v4", json!([key.address, typed]));
        let signature = answer.expect("the node signs");
        hex::decode(text(&signature).trim_start_matches("0x")).expect("hex")
    }

    fn receive_with_authorization(&self, nonce: &str) -> Value {
        let (name, version) = match self.info.token.as_str() {
            USDC => ("USDC", "2"),
            FEE_TOKEN => ("Fee Dollar", "1"),
            LYING_TOKEN => ("Lying Dollar", "1"),
            other => panic!("no domain known of {other}"),
        };
        json!({
            "types": {
                "EIP712Domain": [
                    field("name", "string"), field("version", "string"),
                    field("chainId", "uint256"), field("verifyingContract", "address"),
                ],
                "ReceiveWithAuthorization": [
                    field("from", "address"), field("to", "address"), field("value", "uint256"),
                    field("validAfter", "uint256"), field("validBefore", "uint256"), field("nonce", "bytes32"),
                ],
            },
            "primaryType": "ReceiveWithAuthorization",
            "domain": {"name": name, "version": version, "chainId": 84532, "verifyingContract": self.info.token},
            "message": {
                "from": self.info.payer, "to": self.collector(), "value": self.info.max_amount.to_string(),
                "validAfter": "0", "validBefore": self.info.pre_approval_expiry.to_string(), "nonce": nonce,
            },
        })
    }

    fn permit_transfer_from(&self, nonce: &str) -> Value {
        json!({
            "types": {
                "EIP712Domain": [
                    field("name", "string"), field("chainId", "uint256"), field("verifyingContract", "address"),
                ],
                "PermitTransferFrom": [
                    field("permitted", "TokenPermissions"), field("spender", "address"),
                    field("nonce", "uint256"), field("deadline", "uint256"),
                ],
                "TokenPermissions": [field("token", "address"), field("amount", "uint256")],
            },
            "primaryType": "PermitTransferFrom",
            "domain": {"name": "Permit2", "chainId": 84532, "verifyingContract": PERMIT2},
            "message": {
                "permitted": {"token": self.info.token, "amount": self.info.max_amount.to_string()},
                "spender": self.collector(), "nonce": nonce,
                "deadline": self.info.pre_approval_expiry.to_string(),
            },
        })
    }

    pub(crate) fn authorize(&self, amount: u128, signature: &[u8]) -> String {
        let data = self
            .deployment
            .authorize(&self.info, amount, self.collector(), signature);
        data.expect("encodes")
    }

    /// For the payment's own fee receiver.
    pub(crate) fn charge(&self, amount: u128, fee: u128, signature: &[u8]) -> String {
        let (info, to) = (&self.info, &self.info.fee_receiver);
        let data = self
            .deployment
            .charge(info, amount, self.collector(), signature, fee, to);
        data.expect("encodes")
    }

    /// For the payment's own fee receiver.
    pub(crate) fn capture(&self, amount: u128, fee: u128) -> String {
        let data = self
            .deployment
            .capture(&self.info, amount, fee, &self.info.fee_receiver);
        data.expect("encodes")
    }

    /// The operator sends calldata to the escrow, and it works.
    pub(crate) fn send(&self, chain: &Devnet, data: &str) -> Value {
        let receipt = chain.send(&self.info.operator, self.deployment.escrow, data);
        let receipt = receipt.expect("the operator sends");
        assert!(succeeded(&receipt));
        receipt
    }

    /// Calls the escrow as its operator, without a transaction.
    pub(crate) fn eth_call(&self, chain: &Devnet, data: &str) -> Result<Vec<u8>, Error> {
        chain
            .rpc()
            .eth_call(Some(&self.info.operator), self.deployment.escrow, data)
    }

    /// Signed by `key` and held in full.
    pub(crate) fn hold(&self, chain: &Devnet, key: &Account) {
        let signature = self.sign(chain, key);
        self.send(chain, &self.authorize(self.info.max_amount, &signature));
    }

    /// Units of the payer, the operator's token store, the payee and the fee receiver.
    pub(crate) fn balances(&self, chain: &Devnet) -> [u128; 4] {
        let store = chain.token_store(self.deployment, &self.info.operator);
        let store = store.expect("store");
        let fee_receiver = match self.info.fee_receiver.as_str() {
            NOBODY => FEE_RECEIVER,
            other => other,
        };
        [&self.info.payer, &store, &self.info.receiver, fee_receiver]
            .map(|holder| chain.balance_of(&self.info.token, holder).expect("balance"))
    }
}

/// The signature of a wallet that a call of `target` deploys first (ERC-6492).
pub(crate) fn wrapped(target: &str, call: &str, inner: &[u8]) -> Vec<u8> {
    let call = hex::decode(call.trim_start_matches("0x")).expect("hex");
    let args = [
        devnet::Arg::address(target).expect("address"),
        devnet::Arg::Bytes(call),
        devnet::Arg::Bytes(inner.to_vec()),
    ];
    let encoded = encode("0x00000000", &args).expect("encodes");
    let mut bytes = hex::decode(&encoded[10..]).expect("hex");
    bytes.extend(hex::decode("6492".repeat(16)).expect("hex"));
    bytes
}

pub(crate) fn state(collected: bool, capturable: u128, refundable: u128) -> PaymentState {
    PaymentState {
        collected,
        capturable,
        refundable,
    }
}

fn field(name: &str, kind: &str) -> Value {
    json!({"name": name, "type": kind})
}
