//! Authenticates callers and limits their requests: rows H2 and H3 of the dispatch checklist.
//!
//! With tenants configured, every caller needs a valid API key: a missing, unknown or ambiguous key is 401. Rates are
//! limited per tenant, and per address for every caller without a valid key, which also limits guessing of keys. The tenants may
//! change while requests are served.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::RwLock;
use sdk_plugin::wire::reason;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::buckets::{AddressBuckets, BoundedBuckets, TenantBucket};
use super::concurrency::{ConcurrencyLimits, Endpoint, InFlight, LimitReached, Permit};
use crate::settings::{AddressBlock, Rate, Scope, Settings, Tenant, WaitUntil};

const API_KEY: &str = "x-api-key";
const FORWARDED_FOR: &str = "x-forwarded-for";
/// `Retry-After` of an overloaded process, in seconds.
const OVERLOAD_RETRY_S: u64 = 1;
/// `Retry-After` of a process that is shutting down, in seconds: about as long as a restart takes.
const SHUTDOWN_RETRY_S: u64 = 5;

/// How often one caller can look up one settlement.
const LOOK_UPS: Rate = Rate {
    per_minute: 60,
    burst: 60,
};

// The request's body was not read, so nothing is known about its payment: an earlier request may have started it.
const SHUTTING_DOWN: &str = "shutting down; this request was not processed. A payment that was sent before may be recorded \
                             and may still land: send the same request again, which never pays twice";
const TOO_MANY: &str = "too many requests at once; this one was not processed. A payment that was sent before may be \
                        recorded and may still land: send the same request again, which never pays twice";

/// Decides which requests are processed.
pub(super) struct Admission {
    callers: RwLock<Arc<[Caller]>>,
    trusted_proxies: Vec<AddressBlock>,
    addresses: AddressBuckets,
    /// By caller and reference, hashed.
    look_ups: BoundedBuckets<[u8; 32]>,
    limits: ConcurrencyLimits,
    draining: AtomicBool,
}

/// A request that is not processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
    /// Seconds, for `Retry-After`.
    pub(super) retry_after_s: Option<u64>,
}

const UNAUTHORIZED: Rejected = Rejected {
    status: StatusCode::UNAUTHORIZED,
    reason: reason::UNAUTHORIZED,
    message: "present a valid API key for this path as Authorization: Bearer KEY or X-API-Key: KEY",
    retry_after_s: None,
};

/// A request that is processed, until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    /// `None` where the operator runs without tenants.
    pub(super) tenant: Option<String>,
    /// The tenant's own settle wait.
    pub(super) settle_wait: Option<Duration>,
    pub(super) wait_until: WaitUntil,
    /// How long a payment of this tenant may wait for others to share its transaction.
    pub(super) gather: Duration,
    /// How long a verify of this tenant reserves a payment at most.
    pub(super) reserve: Option<Duration>,
    /// `None` for a read.
    _in_flight: Option<InFlight>,
    _permit: Permit,
}

/// A tenant with its bucket.
#[derive(Clone)]
struct Caller {
    tenant: Arc<Tenant>,
    bucket: Arc<TenantBucket>,
}

/// An authenticated caller whose rate is not checked yet.
struct Identified {
    /// `None` where the operator runs without tenants.
    tenant: Option<Arc<Tenant>>,
    within_rate: Result<(), Rejected>,
}

impl Admission {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            callers: RwLock::new(callers(&settings.tenants, &[])),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            addresses: AddressBuckets::new(settings.address_rate),
            look_ups: BoundedBuckets::new(LOOK_UPS),
            limits: ConcurrencyLimits::new(settings.server.max_concurrent_requests),
            draining: AtomicBool::new(false),
        }
    }

    /// Serves these tenants from now on. One whose rate is unchanged keeps what it has used of it.
    pub(super) fn replace_tenants(&self, tenants: &[Tenant]) {
        let before = Arc::clone(&self.callers.read());
        *self.callers.write() = callers(tenants, &before);
    }

    /// Admits a request that may change something. None is admitted while draining.
    pub(super) fn admit_payment(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<Admitted, Rejected> {
        let Identified { tenant, within_rate } = self.identify(peer, headers, scope)?;
        if self.is_draining() {
            return Err(unavailable(SHUTTING_DOWN, SHUTDOWN_RETRY_S));
        }
        within_rate?;
        let permit = self.limits.receive().map_err(overloaded)?;
        Ok(admitted(tenant.as_deref(), permit, Some(self.limits.count())))
    }

    /// Admits a read, also while draining.
    pub(super) fn admit_read(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<Admitted, Rejected> {
        let Identified { tenant, within_rate } = self.identify(peer, headers, scope)?;
        within_rate?;
        let permit = self.limits.read().map_err(overloaded)?;
        Ok(admitted(tenant.as_deref(), permit, None))
    }

    /// Counts a look-up against the rate of this caller and reference. The reference need not exist: a limit of existing
    /// settlements would show which exist.
    pub(super) fn limit_look_up(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        tenant: Option<&str>,
        reference: &str,
    ) -> Result<(), Rejected> {
        let caller = match tenant {
            Some(tenant) => format!("tenant|{tenant}"),
            None => format!("address|{}", self.caller_address(peer, headers)),
        };
        let key: [u8; 32] = Sha256::digest(format!("{}|{caller}|{reference}", caller.len())).into();
        self.look_ups.take(&key).map_err(rate_limited)
    }

    /// Exchanges the permit for receiving a body for one of the request's network.
    pub(super) fn dispatch(
        &self,
        admitted: Admitted,
        endpoint: Endpoint,
        network: &str,
    ) -> Result<Admitted, Rejected> {
        let permit = self.limits.dispatch(endpoint, network).map_err(overloaded)?;
        Ok(Admitted {
            _permit: permit,
            ..admitted
        })
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Requests in flight that may change something.
    pub(super) fn in_flight(&self) -> u32 {
        self.limits.in_flight()
    }

    /// Waits until no request that may change something is in flight.
    pub(super) async fn wait_until_idle(&self) {
        self.limits.wait_until_idle().await;
    }

    /// Finds the caller and takes a token from its bucket. `Err`: no key that opens this path.
    fn identify(&self, peer: IpAddr, headers: &HeaderMap, scope: Scope) -> Result<Identified, Rejected> {
        let caller = self.caller(headers, scope);
        let taken = match &caller {
            Ok(Some(caller)) => caller.bucket.take(),
            Ok(None) | Err(()) => self.addresses.take(self.caller_address(peer, headers)),
        };
        let within_rate = taken.map_err(rate_limited);
        match caller {
            Ok(caller) => Ok(Identified {
                tenant: caller.map(|caller| caller.tenant),
                within_rate,
            }),
            // A caller above its rate learns only that, and nothing about its key.
            Err(()) => Err(within_rate.err().unwrap_or(UNAUTHORIZED)),
        }
    }

    /// The caller. `Ok(None)`: no tenants are configured. `Err`: no key that opens this path.
    fn caller(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, ()> {
        let callers = Arc::clone(&self.callers.read());
        if callers.is_empty() {
            return Ok(None);
        }
        let key: [u8; 32] = Sha256::digest(presented_key(headers)?).into();
        let mut found = None;
        // Every key is compared, in constant time, so that the time tells nothing about the keys.
        for caller in &*callers {
            for known in &caller.tenant.key_sha256 {
                if key.ct_eq(known).into() {
                    found = Some(caller);
                }
            }
        }
        found
            .filter(|caller| caller.tenant.scopes.contains(&scope))
            .map(|caller| Some(caller.clone()))
            .ok_or(())
    }

    /// The address of the peer, or the address that trusted proxies report for the caller.
    fn caller_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| self.trusted_proxies.iter().any(|block| block.contains(address));
        if !trusted(peer) {
            return peer;
        }
        let mut caller = peer;
        let values: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        // The last entry was written by the proxy that connects to us, each earlier one by the proxy in front of it.
        for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
            let Ok(address) = entry.trim().parse::<IpAddr>() else {
                return caller;
            };
            caller = address;
            if !trusted(address) {
                return caller;
            }
        }
        caller
    }
}

/// These tenants, with the buckets that they had before where their rates are unchanged.
fn callers(tenants: &[Tenant], before: &[Caller]) -> Arc<[Caller]> {
    let caller = |tenant: &Tenant| {
        let mut known = before.iter();
        let same = known.find(|one| one.tenant.name == tenant.name && one.tenant.rate == tenant.rate);
        Caller {
            tenant: Arc::new(tenant.clone()),
            bucket: same.map_or_else(
                || Arc::new(TenantBucket::new(tenant.rate)),
                |same| Arc::clone(&same.bucket),
            ),
        }
    };
    tenants.iter().map(caller).collect()
}

/// Returns the API key of the headers. `Err`: no key, more than one, or another kind of credentials.
fn presented_key(headers: &HeaderMap) -> Result<&[u8], ()> {
    let mut keys = Vec::new();
    for value in headers.get_all(AUTHORIZATION) {
        let (kind, key) = value.as_bytes().split_at_checked(7).ok_or(())?;
        if !kind.eq_ignore_ascii_case(b"Bearer ") {
            return Err(());
        }
        keys.push(key.trim_ascii());
    }
    keys.extend(
        headers
            .get_all(API_KEY)
            .iter()
            .map(|value| value.as_bytes().trim_ascii()),
    );
    keys.dedup();
    match keys.as_slice() {
        [key] if !key.is_empty() => Ok(key),
        _ => Err(()),
    }
}

fn admitted(tenant: Option<&Tenant>, permit: Permit, in_flight: Option<InFlight>) -> Admitted {
    Admitted {
        tenant: tenant.map(|tenant| tenant.name.clone()),
        settle_wait: tenant.map(|tenant| tenant.settle_wait),
        wait_until: tenant.map_or(WaitUntil::Confirmed, |tenant| tenant.wait_until),
        gather: tenant.map_or(Duration::ZERO, |tenant| tenant.gather),
        reserve: tenant.and_then(|tenant| tenant.reserve_at_verify),
        _in_flight: in_flight,
        _permit: permit,
    }
}

fn rate_limited(retry_after_s: u64) -> Rejected {
    Rejected {
        status: StatusCode::TOO_MANY_REQUESTS,
        reason: reason::RATE_LIMITED,
        message: "too many requests; wait as long as Retry-After says",
        retry_after_s: Some(retry_after_s),
    }
}

fn overloaded(_: LimitReached) -> Rejected {
    unavailable(TOO_MANY, OVERLOAD_RETRY_S)
}

fn unavailable(message: &'static str, retry_after_s: u64) -> Rejected {
    Rejected {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: reason::SERVICE_UNAVAILABLE,
        message,
        retry_after_s: Some(retry_after_s),
    }
}
