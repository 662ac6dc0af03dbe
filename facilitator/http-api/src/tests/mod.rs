//! Tests of the HTTP API with a scripted service.

mod access;
mod dispatch;
mod hostile;
mod leniency;
mod openapi;
mod replies;
mod settlements;
mod sockets;
mod tls;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use sdk_plugin::scheme::{RouteRequest, RouteResponse};
use sdk_plugin::wire::{Kind, SettleReply, SupportedReply, VerifyReply};
use sdk_plugin::{Fault, PaymentRequest, ProtocolVersion};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::app::App;
use super::router::router;
use crate::names::NetworkNames;
use crate::settings::{Origins, Rate, Scope, Server, Settings, Tenant, WaitUntil};
use base::key_digests::KeyDigests;
use base::service::{
    Delivery, JournalReadiness, Membership, NetworkReadiness, Receipt, ReservationEnd, RouteTerms, Routed,
    SchemeReadiness, SchemeRoutes, Service, SettleAnswer, SettleWait, Settled,
};
use base::settlement::{FoundSettlement, LookUpError, SettlementName, SettlementPage, SettlementQuery};
use telemetry::Metrics;

pub(super) const HASH: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// The claim that `shop` has reserved.
pub(super) const CLAIM: &str = "evm|eip155:84532|0xusdc:0xpayer/0xnonce";
pub(super) const PAYER: &str = "0x857b06519E91e3A54538791bDbb0E22373e36b66";

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type OnVerify = Box<dyn Fn(PaymentRequest) -> Boxed<VerifyReply> + Send + Sync>;
type OnFind =
    Box<dyn Fn(Option<&str>, &SettlementName) -> Result<Vec<FoundSettlement>, LookUpError> + Send + Sync>;
type OnList = Box<dyn Fn(&SettlementQuery) -> Result<SettlementPage, LookUpError> + Send + Sync>;
type OnSettle = Box<dyn Fn(PaymentRequest) -> Boxed<SettleAnswer> + Send + Sync>;

/// Serves `exact` on Base Sepolia and a test network of another family, in both versions, and `deferred` on Base Sepolia in version 2.
pub(super) struct Scripted {
    pub(super) on_verify: OnVerify,
    pub(super) on_settle: OnSettle,
    pub(super) on_find: OnFind,
    pub(super) on_list: OnList,
    pub(super) seen: Mutex<Vec<PaymentRequest>>,
    /// After which time the caller of each settle preferred the hash.
    pub(super) early: Mutex<Vec<Option<Duration>>>,
    /// Whether the caller of each settle waited for finality.
    pub(super) until_final: Mutex<Vec<bool>>,
    /// How long each verify reserves its payment.
    pub(super) reserve: Mutex<Vec<Option<Duration>>>,
    pub(super) ready: bool,
    pub(super) schemes: Vec<SchemeReadiness>,
    pub(super) journal: Mutex<JournalReadiness>,
    /// Whether each response was delivered.
    pub(super) deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Scripted {
    fn receipt(&self) -> Receipt {
        let deliveries = Arc::clone(&self.deliveries);
        Receipt::new(move |delivery| deliveries.lock().unwrap().push(delivery))
    }
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            on_verify: Box::new(|_| Box::pin(async { valid() })),
            on_settle: Box::new(|_| Box::pin(async { SettleAnswer::Reply(success()) })),
            on_find: Box::new(|_, _| Ok(Vec::new())),
            on_list: Box::new(|_| Err(LookUpError::Unavailable)),
            seen: Mutex::default(),
            early: Mutex::default(),
            until_final: Mutex::default(),
            reserve: Mutex::default(),
            ready: true,
            schemes: Vec::new(),
            journal: Mutex::default(),
            deliveries: Arc::default(),
        }
    }
}

#[async_trait]
impl Service for Scripted {
    fn membership(&self, version: ProtocolVersion, scheme: &str, network: &str) -> Membership {
        let networks: &[&str] = match (scheme, version.number()) {
            ("exact", _) => &["eip155:84532", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"],
            ("deferred", 2) => &["eip155:84532"],
            _ => return Membership::UnknownScheme,
        };
        if networks.contains(&network) {
            Membership::Served
        } else {
            Membership::OtherNetwork
        }
    }

    async fn verify(&self, request: PaymentRequest, reserve: Option<Duration>) -> VerifyReply {
        self.reserve.lock().unwrap().push(reserve);
        self.seen.lock().unwrap().push(request.clone());
        (self.on_verify)(request).await
    }

    async fn settle(&self, request: PaymentRequest, wait: SettleWait) -> Settled {
        self.early.lock().unwrap().push(wait.early);
        self.until_final.lock().unwrap().push(wait.until_final);
        self.seen.lock().unwrap().push(request.clone());
        let answer = (self.on_settle)(request).await;
        Settled {
            answer,
            receipt: self.receipt(),
        }
    }

    async fn end_reservation(&self, claim: &str, tenant: &str) -> ReservationEnd {
        match (claim, tenant) {
            (CLAIM, "shop") => ReservationEnd::Ended,
            ("unreachable", _) => ReservationEnd::Unavailable,
            _ => ReservationEnd::NotHeld,
        }
    }

    async fn supported(&self) -> SupportedReply {
        let kind = |x402_version, network: &str| Kind {
            x402_version,
            scheme: "exact".into(),
            network: network.into(),
            extra: None,
        };
        SupportedReply {
            kinds: vec![
                kind(1, "eip155:84532"),
                kind(2, "eip155:84532"),
                kind(1, "eip155:99"),
                kind(2, "eip155:*"),
            ],
            extensions: vec![],
            signers: [("eip155:*".to_owned(), vec![PAYER.to_owned()])].into(),
        }
    }

    fn readiness(&self) -> Vec<NetworkReadiness> {
        let why = "connection refused by https://rpc.example/KEY";
        vec![
            NetworkReadiness {
                network: "eip155:84532".into(),
                ready: self.ready,
                why_not: None,
                warnings: Vec::new(),
                alarms: Vec::new(),
                schemes: self.schemes.clone(),
            },
            NetworkReadiness {
                network: "eip155:1".into(),
                ready: false,
                why_not: Some(why.into()),
                warnings: Vec::new(),
                alarms: Vec::new(),
                schemes: Vec::new(),
            },
        ]
    }

    fn journal(&self) -> JournalReadiness {
        self.journal.lock().unwrap().clone()
    }

    fn routed(&self, scheme: &str) -> SchemeRoutes {
        let networks = match scheme {
            "deferred" => vec!["eip155:84532".into()],
            "escrow" => vec!["eip155:84532".into(), "eip155:8453".into()],
            _ => Vec::new(),
        };
        SchemeRoutes {
            networks,
            terms: RouteTerms {
                without_network: vec!["/accounts/*".into()],
                headers: vec!["x-shop".into()],
            },
        }
    }

    async fn route(&self, scheme: &str, network: &str, request: RouteRequest, _wait: Duration) -> Routed {
        let response = match (scheme, request.path.as_str()) {
            ("deferred", "/vouchers") => Ok(RouteResponse::Reply {
                status: 201,
                body: serde_json::to_value(request).unwrap(),
            }),
            ("escrow", _) => Ok(RouteResponse::Reply {
                status: 200,
                body: json!(network),
            }),
            ("deferred", "/trace") => Ok(RouteResponse::Reply {
                status: 200,
                body: json!(base::trace::current().map(|trace| trace.header())),
            }),
            ("deferred", "/broken") => Err(Fault::internal("secret https://rpc.example/KEY")),
            ("deferred", "/busy") => Err(Fault::unavailable("node")),
            ("deferred", "/busier") => Err(Fault {
                retry_after_ms: Some(1_001),
                ..Fault::unavailable("not ready")
            }),
            ("deferred", "/panic") => panic!("as scripted"),
            _ => Err(Fault::unsupported("no route")),
        };
        Routed {
            response,
            receipt: self.receipt(),
        }
    }

    async fn find_settlements(
        &self,
        tenant: Option<&str>,
        name: &SettlementName,
    ) -> Result<Vec<FoundSettlement>, LookUpError> {
        (self.on_find)(tenant, name)
    }

    async fn list_settlements(&self, query: &SettlementQuery) -> Result<SettlementPage, LookUpError> {
        (self.on_list)(query)
    }
}

pub(super) fn valid() -> VerifyReply {
    VerifyReply {
        is_valid: true,
        invalid_reason: None,
        invalid_message: None,
        payer: PAYER.into(),
        extra: None,
        extensions: None,
    }
}

pub(super) fn success() -> SettleReply {
    SettleReply {
        success: true,
        error_reason: None,
        error_message: None,
        payer: PAYER.into(),
        transaction: HASH.into(),
        network: "eip155:84532".into(),
        amount: None,
        extra: None,
        extensions: None,
    }
}

pub(super) fn failed(reason: &str, message: &str, transaction: &str) -> SettleReply {
    SettleReply {
        success: false,
        error_reason: Some(reason.into()),
        error_message: Some(message.into()),
        transaction: transaction.into(),
        ..success()
    }
}

/// A service that gives this answer to every settle.
pub(super) fn settling(answer: SettleAnswer) -> Scripted {
    Scripted {
        on_settle: Box::new(move |_| {
            let answer = answer.clone();
            Box::pin(async move { answer })
        }),
        ..Scripted::default()
    }
}

/// The defaults of the configuration file, for a facilitator without tenants.
pub(super) fn settings() -> Settings {
    let server = Server {
        listen: "127.0.0.1:4020".parse().unwrap(),
        base_path: String::new(),
        settle_wait: Duration::from_secs(25),
        verify_wait: Duration::from_secs(10),
        body_limit_bytes: 1 << 20,
        body_read: Duration::from_secs(10),
        max_concurrent_requests: 1_024,
        max_connections: 8_192,
        drain: Duration::from_secs(30),
        legacy0: true,
        cors_origins: Origins::Any,
        cors_payments: false,
        trusted_proxies: Vec::new(),
        tls: None,
    };
    Settings {
        server,
        tenants: Vec::new(),
        address_rate: Rate {
            per_minute: 6_000,
            burst: 1_000,
        },
        names: NetworkNames::default(),
        data_directory: PathBuf::from("no-such-directory"),
    }
}

/// Like [`settings`], with a changed `[server]` section.
pub(super) fn server(change: impl FnOnce(&mut Server)) -> Settings {
    let mut settings = settings();
    change(&mut settings.server);
    settings
}

/// A tenant with all scopes and the default rate, whose API keys have these SHA-256 digests.
pub(super) fn tenant(name: &str, keys: &[&str]) -> Tenant {
    Tenant {
        name: name.to_owned(),
        key_sha256: keys.iter().map(|key| Sha256::digest(key).into()).collect(),
        scopes: BTreeSet::from([Scope::Verify, Scope::Settle, Scope::Supported]),
        rate: Rate {
            per_minute: 60_000,
            burst: 5_000,
        },
        settle_wait: Duration::from_secs(25),
        wait_until: WaitUntil::Confirmed,
        gather: Duration::ZERO,
        reserve_at_verify: None,
    }
}

/// A response as the client receives it.
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Seen {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The reason of a verify or settle object, after a check of the whole object's form.
    pub(super) fn reason(&self) -> String {
        let body = self.json();
        check_shape(self.status, &body);
        let reason = body.get("invalidReason").or_else(|| body.get("errorReason"));
        reason.and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// T-06: the form of every verify and settle body.
pub(super) fn check_shape(status: u16, body: &Value) {
    let object = body
        .as_object()
        .unwrap_or_else(|| panic!("not an object: {body}"));
    let (decision, reason) = if object.contains_key("isValid") {
        ("isValid", "invalidReason")
    } else {
        ("success", "errorReason")
    };
    let good = object[decision]
        .as_bool()
        .unwrap_or_else(|| panic!("{decision} in {body}"));
    assert!(object["payer"].is_string(), "payer in {body}");
    if decision == "success" {
        assert!(
            object["transaction"].is_string() && object["network"].is_string(),
            "{body}"
        );
    }
    assert_eq!(
        good,
        object.get(reason).is_none_or(Value::is_null),
        "{reason} in {body}"
    );
    assert!(!good || status == 200, "{status} {body}");
    assert!(status == 200 || object["error"].is_string(), "{status} {body}");
    for (name, value) in object {
        let legacy = object.contains_key("txHash") || (decision == "isValid" && name == "invalidReason");
        assert!(!value.is_null() || legacy, "null {name} in {body}");
    }
    for name in ["invalidMessage", "errorMessage", "error"] {
        let message = object.get(name).and_then(Value::as_str).unwrap_or_default();
        assert!(
            message.chars().count() <= 500 && !message.contains("://"),
            "{name} in {body}"
        );
    }
}

/// The router and its scripted service.
pub(super) struct Front {
    pub(super) service: Arc<Scripted>,
    pub(super) app: Arc<App>,
    router: TowerToHyperService<axum::Router>,
}

pub(super) fn front(service: Scripted, settings: Settings) -> Front {
    let service = Arc::new(service);
    let app = App::new(
        &settings,
        Arc::clone(&service) as Arc<dyn Service>,
        Arc::new(Metrics::default()),
        KeyDigests::default(),
    );
    let router = TowerToHyperService::new(router(Arc::clone(&app)));
    Front { service, app, router }
}

impl Front {
    pub(super) async fn send(&self, request: Request<Body>) -> Seen {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let response = self.router.call(request).await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let seen = Seen {
            status,
            headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        };
        // API keys travel in headers that a script sets: no browser may attach its own credentials.
        assert!(!seen.headers.contains_key("access-control-allow-credentials"));
        if let Some(path) = path.strip_prefix(&self.app.server.base_path) {
            openapi::check(&method, path, &seen);
        }
        seen
    }

    pub(super) async fn get(&self, path: &str) -> Seen {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Seen {
        self.send(Request::post(path).body(body.into()).unwrap()).await
    }

    pub(super) async fn post_json(&self, path: &str, body: &Value) -> Seen {
        self.post(path, body.to_string()).await
    }

    pub(super) fn last(&self) -> PaymentRequest {
        self.service
            .seen
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_else(|| panic!("the service was not called"))
    }

    /// How many requests reached the service.
    pub(super) fn calls(&self) -> usize {
        self.service.seen.lock().unwrap().len()
    }
}

pub(super) fn v2() -> Value {
    let requirements = json!({
        "scheme": "exact",
        "network": "eip155:84532",
        "amount": "10000",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
        "maxTimeoutSeconds": 60,
        "extra": { "name": "USDC", "version": "2" },
    });
    json!({
        "x402Version": 2,
        "paymentPayload": {
            "x402Version": 2,
            "resource": { "url": "https://api.example/data", "description": "d", "mimeType": "application/json" },
            "accepted": requirements,
            "payload": { "signature": "0x00", "authorization": { "value": "10000" } },
            "extensions": null,
        },
        "paymentRequirements": requirements,
    })
}

pub(super) fn v1() -> Value {
    json!({
        "x402Version": 1,
        "paymentPayload": {
            "x402Version": 1,
            "scheme": "exact",
            "network": "base-sepolia",
            "payload": { "signature": "0x00", "authorization": { "value": "10000" } },
        },
        "paymentRequirements": {
            "scheme": "exact",
            "network": "base-sepolia",
            "maxAmountRequired": "10000",
            "resource": "https://api.example/data",
            "description": "",
            "mimeType": "",
            "outputSchema": null,
            "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
            "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
            "maxTimeoutSeconds": 60,
            "extra": { "name": "USDC", "version": "2" },
        },
    })
}

/// The body with the member at `pointer` set.
pub(super) fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .insert(name.to_owned(), value);
    body
}

pub(super) fn without(mut body: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(name)
        .unwrap();
    body
}
