//! `GET /settlements/{reference}` and `GET /settlements`: what became of a payment.
//!
//! An unknown settlement and one of another tenant get the same reply after the same time (T-167). What a status means is
//! decided by the engine (T-168).

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Query, Request};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use base::settlement::{LookUpError, SettlementName, SettlementQuery, SettlementStatus};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::admission::{Admitted, Rejected};
use super::app::App;
use super::names::is_caip2;
use super::panics::catch_panic;
use super::reply::{peer, retry_after};
use super::{envelope, settlement_json, times};
use crate::settings::Scope;

const PATH: &str = "/settlements";
/// A 404 leaves this long after its request arrived: longer than the journal takes to read and discard a settlement of
/// another tenant, so that the time does not show that there is one.
const NOT_FOUND_AFTER: Duration = Duration::from_millis(25);
/// The journal answers in milliseconds. After this time it is stuck.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// `Retry-After` of a journal that can't be read, in seconds.
const JOURNAL_RETRY_S: u64 = 1;
/// Longest reference, in bytes: longer than any claim key.
const MAX_REFERENCE: usize = 1_024;
/// Longest `Idempotency-Key`, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 255;
/// Longest value of a filter, in bytes.
const MAX_VALUE: usize = 256;
/// Settlements on a page, unless the caller wants fewer or more.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// A request without its body, which look-ups don't have.
struct Call {
    peer: IpAddr,
    headers: HeaderMap,
    uri: Uri,
}

impl From<Request> for Call {
    fn from(request: Request) -> Self {
        let peer = peer(&request);
        let (parts, _) = request.into_parts();
        Self {
            peer,
            headers: parts.headers,
            uri: parts.uri,
        }
    }
}

/// A reply and its outcome for metrics.
struct Reply {
    status: StatusCode,
    outcome: &'static str,
    body: String,
    retry_after_s: Option<u64>,
}

impl Reply {
    fn new(status: StatusCode, outcome: &'static str, body: String) -> Self {
        Self {
            status,
            outcome,
            body,
            retry_after_s: None,
        }
    }

    fn found(body: &Value) -> Self {
        Self::new(StatusCode::OK, "ok", body.to_string())
    }

    /// `{"error":"not_found"}`: an unknown settlement, one of another tenant, and a list without tenants.
    fn not_found() -> Self {
        let reason = "not_found";
        Self::new(StatusCode::NOT_FOUND, reason, envelope::error(reason))
    }

    fn invalid_reference() -> Self {
        let reason = "invalid_reference";
        Self::new(StatusCode::BAD_REQUEST, reason, envelope::error(reason))
    }

    fn invalid_query(message: &str) -> Self {
        let reason = "invalid_query";
        let body = json!({ "error": reason, "errorMessage": message });
        Self::new(StatusCode::BAD_REQUEST, reason, body.to_string())
    }

    fn rejected(rejected: &Rejected) -> Self {
        Self {
            retry_after_s: rejected.retry_after_s,
            ..Self::new(rejected.status, rejected.reason, envelope::error(rejected.reason))
        }
    }

    fn unavailable() -> Self {
        let reason = "service_unavailable";
        Self {
            retry_after_s: Some(JOURNAL_RETRY_S),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, envelope::error(reason))
        }
    }
}

impl App {
    /// `GET /settlements/{reference}`. `None`: the reference is not UTF-8.
    pub(super) async fn settlement(&self, reference: Option<String>, request: Request) -> Response {
        let started = Instant::now();
        let reply = match self.find(reference, &request.into()).await {
            Ok(reply) | Err(reply) => reply,
        };
        self.send(reply, started).await
    }

    /// `GET /settlements`.
    pub(super) async fn settlements(&self, request: Request) -> Response {
        let started = Instant::now();
        let reply = match self.list(&request.into()).await {
            Ok(reply) | Err(reply) => reply,
        };
        self.send(reply, started).await
    }

    async fn send(&self, reply: Reply, started: Instant) -> Response {
        if reply.status == StatusCode::NOT_FOUND {
            sleep_until(started + NOT_FOUND_AFTER).await;
        }
        self.measure(PATH, reply.status, reply.outcome, started);
        let mut response = self.json(reply.status, reply.body);
        retry_after(&mut response, reply.retry_after_s);
        response
    }

    fn admit_look_up(&self, call: &Call) -> Result<Admitted, Reply> {
        self.admission
            .admit_read(call.peer, &call.headers, Scope::Settle)
            .map_err(|rejected| Reply::rejected(&rejected))
    }

    async fn find(&self, reference: Option<String>, call: &Call) -> Result<Reply, Reply> {
        let admitted = self.admit_look_up(call)?;
        let tenant = admitted.tenant.as_deref();
        let reference = reference.ok_or_else(Reply::invalid_reference)?;
        let name = name_of(&reference).ok_or_else(Reply::invalid_reference)?;
        let network = self.network_of(&call.uri)?;
        self.admission
            .limit_look_up(call.peer, &call.headers, tenant, &reference)
            .map_err(|rejected| Reply::rejected(&rejected))?;
        let read = catch_panic(self.service.find_settlements(tenant, &name));
        let Ok(Ok(Ok(mut found))) = timeout(LOOK_UP_TIMEOUT, read).await else {
            return Err(Reply::unavailable());
        };
        if let Some(network) = &network {
            found.retain(|found| found.record.network == *network);
        }
        let body = settlement_json::reply(&found, tenant.is_some());
        Ok(body.map_or_else(Reply::not_found, |body| Reply::found(&body)))
    }

    /// The `network` of the query, as a CAIP-2 id.
    fn network_of(&self, uri: &Uri) -> Result<Option<String>, Reply> {
        let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(Reply::invalid_query("the query can't be parsed"));
        };
        let mut named = query.iter().filter(|(name, _)| name == "network");
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some((_, network)), None) => {
                let id = self.names.caip2(network).unwrap_or(network);
                let known = is_caip2(id).then(|| Some(id.to_owned()));
                known.ok_or_else(|| Reply::invalid_query("network: write a CAIP-2 id such as eip155:8453"))
            }
            (Some(_), Some(_)) => Err(Reply::invalid_query("the query names more than one network")),
        }
    }

    async fn list(&self, call: &Call) -> Result<Reply, Reply> {
        let admitted = self.admit_look_up(call)?;
        let Some(tenant) = admitted.tenant.clone() else {
            return Err(Reply::not_found());
        };
        let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(&call.uri) else {
            return Err(Reply::invalid_query("the query can't be parsed"));
        };
        let query = list_query(tenant, &query).map_err(|message| Reply::invalid_query(&message))?;
        let read = catch_panic(self.service.list_settlements(&query));
        match timeout(LOOK_UP_TIMEOUT, read).await {
            Ok(Ok(Ok(page))) => {
                let items: Vec<Value> = page
                    .records
                    .iter()
                    .map(|record| settlement_json::full(record).into())
                    .collect();
                let mut body = json!({ "items": items });
                if let (Some(cursor), Some(body)) = (page.cursor, body.as_object_mut()) {
                    body.insert("cursor".to_owned(), cursor.into());
                }
                Ok(Reply::found(&body))
            }
            Ok(Ok(Err(LookUpError::UnknownCursor))) => {
                Err(Reply::invalid_query("cursor: write that of an earlier page"))
            }
            Ok(Ok(Err(LookUpError::Unavailable)) | Err(_)) | Err(_) => Err(Reply::unavailable()),
        }
    }
}

/// What a reference names. `None`: it is malformed.
fn name_of(reference: &str) -> Option<SettlementName> {
    if let Some(key) = reference.strip_prefix("key:") {
        let is_header = key
            .bytes()
            .all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        return ((1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) && is_header)
            .then(|| SettlementName::IdempotencyKey(key.to_owned()));
    }
    let is_name = (1..=MAX_REFERENCE).contains(&reference.len()) && !reference.contains(char::is_control);
    is_name.then(|| SettlementName::Any(reference.to_owned()))
}

/// The query of a list. `Err`: what is wrong with it.
fn list_query(tenant: String, query: &[(String, String)]) -> Result<SettlementQuery, String> {
    let mut list = SettlementQuery {
        tenant,
        status: None,
        payer: None,
        pay_to: None,
        from_ms: None,
        to_ms: None,
        limit: DEFAULT_LIMIT,
        cursor: None,
    };
    for (index, (name, value)) in query.iter().enumerate() {
        if query.iter().take(index).any(|(earlier, _)| earlier == name) {
            return Err("a parameter is there twice".to_owned());
        }
        if value.len() > MAX_VALUE || value.contains(char::is_control) {
            return Err(format!("{}: the value is not valid", known(name)?));
        }
        match known(name)? {
            "status" => {
                let status = SettlementStatus::from_name(value);
                list.status = Some(status.ok_or_else(|| {
                    let names = SettlementStatus::ALL.map(SettlementStatus::name);
                    format!("status: write one of {}", names.join(", "))
                })?);
            }
            "payer" => list.payer = Some(value.clone()),
            "payTo" => list.pay_to = Some(value.clone()),
            "from" => list.from_ms = Some(time("from", value)?),
            "to" => list.to_ms = Some(time("to", value)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                list.limit = limit.ok_or_else(|| format!("limit: write a number from 1 to {MAX_LIMIT}"))?;
            }
            _ => list.cursor = Some(value.clone()),
        }
    }
    Ok(list)
}

/// The parameter of this name. `Err`: the list has none.
fn known(name: &str) -> Result<&'static str, String> {
    const PARAMETERS: [&str; 7] = ["status", "payer", "payTo", "from", "to", "limit", "cursor"];
    PARAMETERS
        .into_iter()
        .find(|parameter| *parameter == name)
        .ok_or_else(|| format!("unknown parameter; write any of {}", PARAMETERS.join(", ")))
}

fn time(name: &str, value: &str) -> Result<u64, String> {
    times::parse(value)
        .ok_or_else(|| format!("{name}: write an ISO 8601 time such as 2026-01-31T12:00:00Z, or a date"))
}
