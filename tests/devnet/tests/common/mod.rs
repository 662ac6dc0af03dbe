//! What the tests of the dev chain share: the golden vectors, signatures made by the node, and reading receipts.

#![allow(dead_code, reason = "every test file uses another part")]

pub(crate) mod escrow;
pub(crate) mod refusals;

use devnet::{Account, Arg, Devnet, Error, word_of_u128};
use serde_json::{Value, json};

pub(crate) const PAYEE: &str = "0x2222222222222222222222222222222222222222";
pub(crate) const FOREVER: u128 = 4_102_444_800;

pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors.json")).expect("vectors.json parses")
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// A transfer authorization as its payer signs it.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) token: &'static str,
    pub(crate) domain: (&'static str, &'static str),
    pub(crate) from: String,
    pub(crate) value: u128,
    pub(crate) nonce: u8,
}

impl Authorization {
    pub(crate) fn of(
        token: &'static str,
        domain: (&'static str, &'static str),
        from: &str,
        nonce: u8,
    ) -> Authorization {
        Authorization {
            token,
            domain,
            from: from.to_owned(),
            value: 10_000,
            nonce,
        }
    }

    /// The node signs: the key has to be one of its own (any buyer but the first).
    pub(crate) fn sign(&self, chain: &Devnet, key: &Account) -> Vec<u8> {
        let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
        let typed = json!({
            "types": {
                "EIP712Domain": [
                    field("name", "string"), field("version", "string"),
                    field("chainId", "uint256"), field("verifyingContract", "address"),
                ],
                "TransferWithAuthorization": [
                    field("from", "address"), field("to", "address"), field("value", "uint256"),
                    field("validAfter", "uint256"), field("validBefore", "uint256"), field("nonce", "bytes32"),
                ],
            },
            "primaryType": "TransferWithAuthorization",
            "domain": {
                "name": self.domain.0, "version": self.domain.1, "chainId": 84532, "verifyingContract": self.token,
            },
            "message": {
                "from": self.from, "to": PAYEE, "value": self.value.to_string(), "validAfter": "0",
                "validBefore": FOREVER.to_string(), "nonce": self.nonce_text(),
            },
        });
        let answer = chain
            .rpc()
            .call("eth_signTypedData_v4", json!([key.address, typed]))
            .expect("the node signs");
        hex::decode(text(&answer).trim_start_matches("0x")).expect("hex")
    }

    pub(crate) fn nonce_text(&self) -> String {
        format!("0x{}", hex::encode([self.nonce; 32]))
    }

    fn args(&self) -> Vec<Arg> {
        let address = |text: &str| Arg::address(text).expect("an address");
        let mut args = vec![
            address(&self.from),
            address(PAYEE),
            Arg::uint(self.value),
            Arg::uint(0),
        ];
        args.extend([Arg::uint(FOREVER), Arg::Word([self.nonce; 32])]);
        args
    }

    /// The overload that takes v, r, s.
    pub(crate) fn calldata_vrs(&self, chain: &Devnet, signature: &[u8]) -> String {
        let word = |at: usize| Arg::Word(signature[at..at + 32].try_into().expect("32 bytes"));
        let mut args = self.args();
        args.extend([Arg::Word(word_of_u128(signature[64].into())), word(0), word(32)]);
        let name = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)";
        chain
            .artifact("DollarToken")
            .and_then(|token| token.call(name, &args))
            .expect("encodes")
    }

    /// The overload that takes bytes.
    pub(crate) fn calldata_bytes(&self, chain: &Devnet, signature: &[u8]) -> String {
        let mut args = self.args();
        args.push(Arg::Bytes(signature.to_vec()));
        let name = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)";
        chain
            .artifact("DollarToken")
            .and_then(|token| token.call(name, &args))
            .expect("encodes")
    }
}

/// (emitter in lower case, topics, data) of every log.
pub(crate) fn logs_of(receipt: &Value) -> Vec<(String, Vec<String>, String)> {
    let logs = receipt["logs"].as_array().expect("a receipt has logs");
    let topics = |log: &Value| {
        log["topics"]
            .as_array()
            .expect("topics")
            .iter()
            .map(|t| text(t).to_owned())
            .collect()
    };
    logs.iter()
        .map(|log| {
            (
                text(&log["address"]).to_lowercase(),
                topics(log),
                text(&log["data"]).to_owned(),
            )
        })
        .collect()
}

pub(crate) fn succeeded(receipt: &Value) -> bool {
    receipt["status"] == "0x1"
}

/// The text of a call that has to revert.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.expect_err("this call has to revert");
    error.rpc_message().expect("the node refused").to_owned()
}

/// The data of a call that has to revert.
pub(crate) fn revert_data<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.expect_err("this call has to revert");
    error.revert_data().unwrap_or_default().to_owned()
}
