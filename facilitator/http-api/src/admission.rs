//! Who is calling, and may it come in: rows H2 and H3 of the dispatch checklist.
//!
//! With tenants configured nobody is anonymous: a missing, unknown or doubtful key is 401. Limits are per tenant, and
//! per address for everybody without a valid key, so that guessing keys is limited too.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sdk_plugin::wire::reason;
use sha2::{Digest as _, Sha256};

use super::buckets::{Buckets, Who};
use super::gates::{Endpoint, Full, Gates, Inside, Place};
use crate::settings::{AddressBlock, Rate, Scope, Tenant};

const API_KEY: &str = "x-api-key";
const FORWARDED_FOR: &str = "x-forwarded-for";
/// What an overloaded process advises; its queues drain within this time or not at all.
const OVERLOAD_RETRY_S: u64 = 1;
/// What a process that is shutting down advises: about as long as a restart takes.
const SHUTDOWN_RETRY_S: u64 = 5;

/// The request's body was not read, so nothing is known of its payment: an earlier request may have begun it.
const SHUTTING_DOWN: &str = "shutting down; this request was not looked at. A payment that was sent before may be recorded \
                             and still land: send the same request again, which never pays twice";
const TOO_MANY: &str = "too many requests at once; this one was not looked at. A payment that was sent before may be recorded \
                        and still land: send the same request again, which never pays twice";

/// The door.
#[derive(Debug)]
pub(super) struct Admission {
    tenants: Vec<Tenant>,
    trusted_proxies: Vec<AddressBlock>,
    address_rate: Rate,
    buckets: Buckets,
    gates: Gates,
    draining: AtomicBool,
}

/// A request that stays outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
    /// Seconds, for `Retry-After`.
    pub(super) retry_after_s: Option<u64>,
}

const UNAUTHORIZED: Rejected = Rejected {
    status: 401,
    reason: reason::UNAUTHORIZED,
    message: "present a valid API key for this path as Authorization: Bearer KEY or X-API-Key: KEY",
    retry_after_s: None,
};

/// A request that is inside, until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    /// `None` where the operator runs without tenants.
    pub(super) tenant: Option<String>,
    /// The tenant's own settle wait.
    pub(super) settle_wait: Option<Duration>,
    /// `None` for a read.
    _inside: Option<Inside>,
    _place: Place,
}

impl Admission {
    pub(super) fn new(settings: &crate::settings::Settings) -> Self {
        Self {
            tenants: settings.tenants.clone(),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            address_rate: settings.address_rate,
            buckets: Buckets::new(),
            gates: Gates::new(settings.server.max_concurrent_requests),
            draining: AtomicBool::new(false),
        }
    }

    /// Admits or rejects. Payments are not admitted while draining; reads are.
    pub(super) fn admit(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        scope: Scope,
        pays: bool,
    ) -> Result<Admitted, Rejected> {
        let tenant = self.tenant(headers, scope);
        let (who, rate) = match tenant {
            Ok(Some((index, tenant))) => (Who::Tenant(index), tenant.rate),
            Ok(None) | Err(()) => (Who::address(self.caller(peer, headers)), self.address_rate),
        };
        let limited = self.buckets.take(who, rate);
        let Ok(tenant) = tenant else {
            // A guesser that is over its limit is told so, and nothing about its key.
            return Err(limited.map_or_else(rate_limited, |()| UNAUTHORIZED));
        };
        if pays && self.is_draining() {
            return Err(unavailable(SHUTTING_DOWN, SHUTDOWN_RETRY_S));
        }
        limited.map_err(rate_limited)?;
        let place = if pays {
            self.gates.reading()
        } else {
            self.gates.read()
        };
        Ok(Admitted {
            tenant: tenant.map(|(_, tenant)| tenant.name.clone()),
            settle_wait: tenant.map(|(_, tenant)| tenant.settle_wait),
            _inside: pays.then(|| self.gates.enter()),
            _place: place.map_err(full)?,
        })
    }

    /// Moves a request that was read to the gate of its network.
    pub(super) fn dispatch(
        &self,
        admitted: Admitted,
        endpoint: Endpoint,
        network: &str,
    ) -> Result<Admitted, Rejected> {
        let place = self.gates.network(endpoint, network).map_err(full)?;
        Ok(Admitted {
            _place: place,
            ..admitted
        })
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Payments and orders inside.
    pub(super) fn inside(&self) -> u32 {
        self.gates.inside()
    }

    /// Waits until no payment and no order is inside.
    pub(super) async fn empty(&self) {
        self.gates.empty().await;
    }

    /// `Ok(None)`: no tenants are configured. `Err`: no key that opens this path.
    fn tenant(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<(usize, &Tenant)>, ()> {
        if self.tenants.is_empty() {
            return Ok(None);
        }
        let key: [u8; 32] = Sha256::digest(presented_key(headers)?).into();
        let mut found = None;
        for (index, tenant) in self.tenants.iter().enumerate() {
            for known in &tenant.key_sha256 {
                if equal(&key, known) {
                    found = Some((index, tenant));
                }
            }
        }
        found
            .filter(|(_, tenant)| tenant.scopes.contains(&scope))
            .map(Some)
            .ok_or(())
    }

    /// The peer, or the one for whom trusted proxies speak.
    fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
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
        // The last entry was written by the proxy that we trust, the ones before it by whom that one trusts.
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

/// The key in the headers; `Err` when there is none, more than one, or another kind of credentials.
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

/// Compares in the same time wherever the first difference is.
fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    black_box(
        a.iter()
            .zip(b)
            .fold(0, |difference, (a, b)| difference | black_box(a ^ b)),
    ) == 0
}

fn rate_limited(retry_after_s: u64) -> Rejected {
    Rejected {
        status: 429,
        reason: reason::RATE_LIMITED,
        message: "too many requests; wait as long as Retry-After says",
        retry_after_s: Some(retry_after_s),
    }
}

fn full(_: Full) -> Rejected {
    unavailable(TOO_MANY, OVERLOAD_RETRY_S)
}

fn unavailable(message: &'static str, retry_after_s: u64) -> Rejected {
    Rejected {
        status: 503,
        reason: reason::SERVICE_UNAVAILABLE,
        message,
        retry_after_s: Some(retry_after_s),
    }
}
