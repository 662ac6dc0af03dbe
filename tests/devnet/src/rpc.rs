//! A blocking JSON-RPC client, as small as tests need it: one call, a batch, and a few typed answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;

/// The node is on this machine: whatever takes longer is broken.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How often a call is repeated while the node replaces its newest blocks.
const REPLACED_TRIES: u32 = 40;
const REPLACED_PAUSE: Duration = Duration::from_millis(25);

/// A node's HTTP endpoint. Cloning is cheap and shares the connections.
#[derive(Debug, Clone)]
pub struct Rpc {
    url: String,
    agent: ureq::Agent,
}

impl Rpc {
    #[must_use]
    pub fn new(url: &str) -> Rpc {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .build();
        Rpc {
            url: url.to_owned(),
            agent: config.into(),
        }
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls one method; `params` is a JSON array.
    ///
    /// # Errors
    /// [`Error::Transport`] without an answer, [`Error::Rpc`] when the node refuses.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, Error> {
        let request = request(method, params);
        let mut left = REPLACED_TRIES;
        loop {
            let answer = self.post(method, &request)?;
            match result(method, &answer) {
                // anvil names a block that it is replacing at this moment.
                Err(Error::Rpc { message, .. })
                    if left > 0 && message.starts_with("BlockOutOfRangeError") =>
                {
                    left -= 1;
                    std::thread::sleep(REPLACED_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Calls many methods in one request; answers come in the order of the calls.
    ///
    /// # Errors
    /// As [`Rpc::call`]; the first refusal is the error.
    pub fn batch(&self, calls: Vec<(&str, Value)>) -> Result<Vec<Value>, Error> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let methods: Vec<&str> = calls.iter().map(|(method, _)| *method).collect();
        let requests: Vec<Value> = calls
            .into_iter()
            .map(|(method, params)| request(method, params))
            .collect();
        let answers = self.post("batch", &Value::Array(requests.clone()))?;
        let answers = answers.as_array().cloned().unwrap_or_default();
        let find = |id: &Value| answers.iter().find(|answer| answer["id"] == *id);
        let wanted = requests.iter().zip(methods);
        wanted
            .map(|(request, method)| result(method, find(&request["id"]).unwrap_or(&Value::Null)))
            .collect()
    }

    /// Calls a method whose answer is a `0x` quantity.
    ///
    /// # Errors
    /// As [`Rpc::call`], and [`Error::Malformed`] when the answer is no quantity below 2^128.
    pub fn quantity(&self, method: &str, params: Value) -> Result<u128, Error> {
        quantity(method, &self.call(method, params)?)
    }

    /// Runs `eth_call` against the newest block and returns the answer's bytes.
    ///
    /// # Errors
    /// As [`Rpc::call`]; a revert is [`Error::Rpc`] with its text and data.
    pub fn eth_call(&self, from: Option<&str>, to: &str, data: &str) -> Result<Vec<u8>, Error> {
        let mut transaction = json!({"to": to, "data": data});
        if let Some(from) = from {
            transaction["from"] = json!(from);
        }
        let answer = self.call("eth_call", json!([transaction, "latest"]))?;
        let text = answer.as_str().unwrap_or_default().trim_start_matches("0x");
        hex::decode(text).map_err(|e| Error::Malformed(format!("eth_call answered no hex: {e}")))
    }

    fn post(&self, method: &str, body: &Value) -> Result<Value, Error> {
        let lost = |detail: String| Error::Transport {
            method: method.to_owned(),
            detail,
        };
        let mut response = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .send(body.to_string())
            .map_err(|e| lost(e.to_string()))?;
        let text = response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_vec()
            .map_err(|e| lost(e.to_string()))?;
        serde_json::from_slice(&text).map_err(|e| lost(e.to_string()))
    }
}

pub(crate) fn quantity(what: &str, value: &Value) -> Result<u128, Error> {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
    text.and_then(|digits| u128::from_str_radix(digits, 16).ok())
        .ok_or_else(|| Error::Malformed(format!("{what} answered {value}, not a quantity")))
}

fn request(method: &str, params: Value) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    json!({"jsonrpc": "2.0", "id": NEXT.fetch_add(1, Ordering::Relaxed), "method": method, "params": params})
}

fn result(method: &str, answer: &Value) -> Result<Value, Error> {
    if let Some(error) = answer.get("error") {
        return Err(Error::Rpc {
            method: method.to_owned(),
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            data: error["data"].as_str().map(str::to_owned),
        });
    }
    answer.get("result").cloned().ok_or_else(|| Error::Transport {
        method: method.to_owned(),
        detail: "no result".to_owned(),
    })
}
