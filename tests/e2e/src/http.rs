//! The facilitator's callers: plain HTTP, every status an answer, no redirect followed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;

/// Longer than the longest settle.
const TIMEOUT: Duration = Duration::from_secs(100);

/// Names a file to which every reply of `/verify`, `/settle` and `/supported` is appended, for `cargo xtask full --only openapi`.
pub const RECORD: &str = "SWITCHYARD_RECORD";

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
    /// `Null` when the body is no JSON.
    pub json: Value,
}

/// An EVM transaction's hash, or a Solana transaction's first signature in base58.
fn is_transaction_id(text: &str) -> bool {
    match text.strip_prefix("0x") {
        Some(digits) => digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => (86..=88).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
    }
}

impl Reply {
    /// A header's value; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The member `name` as text, or nothing.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or_default()
    }

    /// The transaction of a settle that was answered `success`.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    #[must_use]
    pub fn paid(&self) -> String {
        assert_eq!(
            (self.status, &self.json["success"]),
            (200, &Value::Bool(true)),
            "not a success: {self:?}"
        );
        let hash = self.field("transaction").to_owned();
        assert!(is_transaction_id(&hash), "no hash in {self:?}");
        assert!(
            self.json.get("errorReason").is_none(),
            "a success with a reason: {self:?}"
        );
        hash
    }

    /// Whether a settle was answered `success`.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.json["success"] == true
    }

    /// Asserts that verify answered valid.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn valid(&self) {
        assert_eq!(
            (self.status, &self.json["isValid"]),
            (200, &Value::Bool(true)),
            "not valid: {self:?}"
        );
        assert!(self.json["payer"].is_string(), "no payer in {self:?}");
    }

    /// Asserts a decided refusal, of a verify or a settle, with exactly this reason and no transaction.
    ///
    /// # Panics
    /// When it is anything else.
    #[track_caller]
    pub fn refused(&self, reason: &str) {
        let hash = self.failed(reason);
        assert_eq!(
            hash, "",
            "a refusal before any broadcast names no transaction: {self:?}"
        );
    }

    /// Asserts a decided failure with exactly this reason, and gives the transaction that it names.
    ///
    /// # Panics
    /// When it is anything else.
    #[track_caller]
    pub fn failed(&self, reason: &str) -> String {
        self.is_object_of_the_protocol();
        let (decision, key) = match self.json.get("isValid") {
            Some(decision) => (decision, "invalidReason"),
            None => (&self.json["success"], "errorReason"),
        };
        assert_eq!(
            (self.status, decision, self.field(key)),
            (200, &Value::Bool(false), reason),
            "in {self:?}"
        );
        self.field("transaction").to_owned()
    }

    /// Asserts `settlement_pending` and gives its hash.
    ///
    /// # Panics
    /// When it is anything else, or names no transaction.
    #[track_caller]
    #[must_use]
    pub fn pending(&self) -> String {
        let hash = self.failed("settlement_pending");
        assert!(is_transaction_id(&hash), "pending without a hash: {self:?}");
        hash
    }

    /// As [`Reply::is_object_of_the_protocol`], where the oldest form may also have `null`.
    ///
    /// # Panics
    /// When a member is missing or of another type.
    #[track_caller]
    pub fn is_object_of_the_protocol_in_any_shape(&self) {
        let object = self
            .json
            .as_object()
            .unwrap_or_else(|| panic!("no JSON object: {self:?}"));
        assert!(
            object
                .get("isValid")
                .or(object.get("success"))
                .is_some_and(Value::is_boolean),
            "{self:?}"
        );
        assert!(
            object.get("payer").is_some_and(Value::is_string),
            "no payer: {self:?}"
        );
    }

    /// Asserts the members that every verify or settle reply has, and their types.
    ///
    /// # Panics
    /// When one is missing or of another type.
    #[track_caller]
    pub fn is_object_of_the_protocol(&self) {
        let object = self
            .json
            .as_object()
            .unwrap_or_else(|| panic!("no JSON object: {self:?}"));
        let strings: &[&str] = match object.get("isValid") {
            Some(decision) => {
                assert!(decision.is_boolean(), "isValid: {self:?}");
                &["payer"]
            }
            None => {
                assert!(
                    object.get("success").is_some_and(Value::is_boolean),
                    "success: {self:?}"
                );
                &["payer", "transaction", "network"]
            }
        };
        for name in strings {
            assert!(
                object.get(*name).is_some_and(Value::is_string),
                "{name} is no string: {self:?}"
            );
        }
        for name in ["invalidReason", "invalidMessage", "errorReason", "errorMessage"] {
            assert!(
                object.get(name).is_none_or(Value::is_string),
                "{name} is there and no string: {self:?}"
            );
        }
        for name in ["extra", "extensions"] {
            assert!(
                object.get(name).is_none_or(Value::is_object),
                "{name} is there and no object: {self:?}"
            );
        }
    }
}

/// A client of one facilitator. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    agent: ureq::Agent,
}

impl Client {
    #[must_use]
    pub fn new(base: &str) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .build();
        Client {
            base: base.to_owned(),
            agent: config.into(),
        }
    }

    /// # Errors
    /// When no answer came.
    pub fn get(&self, path: &str) -> Result<Reply, Error> {
        let response = self.agent.get(format!("{}{path}", self.base)).call();
        let reply = reply(response.map_err(|e| Error(format!("GET {path}: {e}")))?)?;
        record("GET", path, &reply)?;
        Ok(reply)
    }

    /// Sends bytes as JSON with any method.
    ///
    /// # Errors
    /// When no answer came.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Reply, Error> {
        let lost = |e: &dyn std::fmt::Display| Error(format!("{method} {path}: {e}"));
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|e| lost(&e))?;
        let agent = &self.agent;
        let request = agent
            .configure_request(request)
            .allow_non_standard_methods(true)
            .build();
        let reply = reply(agent.run(request).map_err(|e| lost(&e))?)?;
        record(method, path, &reply)?;
        Ok(reply)
    }

    /// Posts bytes as JSON, with further headers.
    ///
    /// # Errors
    /// When no answer came.
    pub fn post(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Result<Reply, Error> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = reply(
            request
                .send(body)
                .map_err(|e| Error(format!("POST {path}: {e}")))?,
        )?;
        record("POST", path, &reply)?;
        Ok(reply)
    }
}

/// Appends a reply to the file that [`RECORD`] names: one JSON object a line.
fn record(method: &str, path: &str, reply: &Reply) -> Result<(), Error> {
    let Some(file) = std::env::var_os(RECORD) else {
        return Ok(());
    };
    let path = path.trim_end_matches('/');
    if ![("POST", "/verify"), ("POST", "/settle"), ("GET", "/supported")].contains(&(method, path)) {
        return Ok(());
    }
    let mut line = json!({ "path": path, "status": reply.status, "body": reply.text }).to_string();
    line.push('\n');
    let failed = |e: std::io::Error| Error(format!("{}: {e}", file.display()));
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&file)
        .map_err(failed)?;
    // One write: the lines of processes that run at the same time do not mix.
    file.write_all(line.as_bytes())
        .map_err(|e| Error(format!("{RECORD}: {e}")))
}

fn reply(mut response: ureq::http::Response<ureq::Body>) -> Result<Reply, Error> {
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let bytes = response.body_mut().with_config().limit(u64::MAX).read_to_vec();
    let bytes = bytes.map_err(|e| Error(format!("an answer broke off: {e}")))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Reply {
        status: response.status().as_u16(),
        headers,
        text,
        json,
    })
}
