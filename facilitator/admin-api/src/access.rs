//! Who may do what: tokens, and which pages and names a request may come from.
//!
//! A browser adds cookies and addresses of pages to requests by itself, and never the header `Authorization` of another page's
//! user: so only that header opens anything. `Host` is checked because a name that resolves to this machine makes a foreign page
//! one of the same origin (DNS rebinding); `Origin` and `Sec-Fetch-Site` because they say which page sends a request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

/// What a token may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    View,
    /// And pause, drain, reload, sync and annotate.
    Operate,
    /// And what decides about money: releases and tenants.
    Money,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::View, Self::Operate, Self::Money];

    /// As it is written in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Money => "money",
        }
    }

    /// The role with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// An operator's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// In the record of what operators do.
    pub name: String,
    pub sha256: [u8; 32],
    pub role: Role,
}

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Of the token.
    pub name: String,
    pub role: Role,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The name in `Host` is not one of this listener.
    Host,
    /// Another page sends it.
    Origin,
    /// No token, or not one of the configured ones.
    Token,
    /// Too many wrong tokens: wait this long, in seconds.
    TooMany(u64),
}

/// Wrong tokens that one address may send within [`WINDOW`].
const MOST_WRONG: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; more share one count.
const MOST_ADDRESSES: usize = 1_024;
/// Longest token, in bytes.
const MAX_TOKEN: usize = 1_024;

/// Checks requests.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Vec<Token>,
    /// In lower case.
    hosts: Vec<String>,
    wrong: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Access {
    pub(crate) fn new(tokens: Vec<Token>, hosts: &[String]) -> Self {
        Self {
            tokens,
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            wrong: Mutex::default(),
        }
    }

    /// Whether a request is for this listener, and not sent by a foreign page.
    pub(crate) fn is_ours(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let host = only(headers, HOST.as_str()).ok_or(Refused::Host)?;
        if !self.knows(host) {
            return Err(Refused::Host);
        }
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, ORIGIN.as_str()).ok_or(Refused::Origin)?;
            let name = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            // A page of another port of this machine is a foreign one.
            if name.is_none_or(|name| !name.eq_ignore_ascii_case(host)) {
                return Err(Refused::Origin);
            }
        }
        match only(headers, "sec-fetch-site") {
            Some("same-origin" | "none") => Ok(()),
            None if !headers.contains_key("sec-fetch-site") => Ok(()),
            Some(_) | None => Err(Refused::Origin),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.hosts.contains(&host)
    }

    /// The actor of a request.
    pub(crate) fn actor(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Actor, Refused> {
        // A request without a token guesses none.
        let token = presented(headers).ok_or(Refused::Token)?;
        if let Some(actor) = self.of_token(token) {
            return Ok(actor);
        }
        // A right token opens all the same: counting is against guessing, and guesses are wrong.
        match self.count_wrong(peer) {
            Some(wait_s) => Err(Refused::TooMany(wait_s)),
            None => Err(Refused::Token),
        }
    }

    fn of_token(&self, token: &[u8]) -> Option<Actor> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        // Every token is compared, in constant time, so that the time says nothing about them.
        for known in &self.tokens {
            if digest.ct_eq(&known.sha256).into() {
                found = Some(Actor {
                    name: known.name.clone(),
                    role: known.role,
                });
            }
        }
        found
    }

    /// Seconds to wait; `None`: the address may try again at once.
    fn count_wrong(&self, peer: IpAddr) -> Option<u64> {
        let now = Instant::now();
        let mut wrong = self.wrong.lock();
        wrong.retain(|_, (began, _)| now.duration_since(*began) < WINDOW);
        let mut key = block(peer);
        if wrong.len() >= MOST_ADDRESSES && !wrong.contains_key(&key) {
            key = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        }
        let (began, count) = wrong.entry(key).or_insert((now, 0));
        *count = count.saturating_add(1);
        (*count > MOST_WRONG).then(|| {
            let left = WINDOW.saturating_sub(now.duration_since(*began));
            left.as_secs().saturating_add(1)
        })
    }
}

/// An IPv4 address, or the /64 of an IPv6 one, which one caller usually has as a whole.
fn block(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The value of a header that is sent once.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let value = only(headers, AUTHORIZATION.as_str())?;
    let (kind, token) = value.split_once(' ')?;
    let token = token.trim();
    let is_token = kind.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN;
    is_token.then_some(token.as_bytes())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn access() -> Access {
        let token = |name: &str, text: &str, role| Token {
            name: name.to_owned(),
            sha256: Sha256::digest(text).into(),
            role,
        };
        Access::new(
            vec![
                token("a", "right-a", Role::View),
                token("b", "right-b", Role::Money),
            ],
            &["127.0.0.1:4021".to_owned(), "Admin.Example".to_owned()],
        )
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::try_from(*name).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused() {
        let access = access();
        for good in ["127.0.0.1:4021", "admin.example", "ADMIN.example"] {
            assert_eq!(access.is_ours(&headers(&[("host", good)])), Ok(()), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1:4022",
            "evil.example:4021",
            "admin.example.evil.example",
            "admin.example:80@evil.example",
            "",
        ] {
            assert_eq!(
                access.is_ours(&headers(&[("host", bad)])),
                Err(Refused::Host),
                "{bad}"
            );
        }
        assert_eq!(access.is_ours(&headers(&[])), Err(Refused::Host));
        let twice = headers(&[("host", "admin.example"), ("host", "admin.example")]);
        assert_eq!(access.is_ours(&twice), Err(Refused::Host));
    }

    #[test]
    fn another_page_is_refused() {
        let access = access();
        let with =
            |name: &str, value: &str| access.is_ours(&headers(&[("host", "admin.example"), (name, value)]));
        for good in ["https://admin.example", "http://ADMIN.example"] {
            assert_eq!(with("origin", good), Ok(()), "{good}");
        }
        for bad in [
            "null",
            "https://evil.example",
            "https://admin.example:8443",
            "https://127.0.0.1:4021",
            "https://admin.example.evil.example",
            "file://admin.example",
            "admin.example",
        ] {
            assert_eq!(with("origin", bad), Err(Refused::Origin), "{bad}");
        }
        assert_eq!(with("sec-fetch-site", "same-origin"), Ok(()));
        assert_eq!(with("sec-fetch-site", "none"), Ok(()));
        for bad in ["cross-site", "same-site", ""] {
            assert_eq!(with("sec-fetch-site", bad), Err(Refused::Origin), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_counted_and_the_right_one_opens() {
        let access = access();
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let with = |value: &str| access.actor(peer, &headers(&[("authorization", value)]));
        let a = Actor {
            name: "a".to_owned(),
            role: Role::View,
        };
        assert_eq!(with("Bearer right-a"), Ok(a.clone()));
        assert_eq!(with("bearer  right-a "), Ok(a.clone()));
        for wrong in [
            "right-a",
            "Basic right-a",
            "Bearer",
            "Bearer ",
            "Bearer right-a right-a",
        ] {
            assert_eq!(with(wrong), Err(Refused::Token), "{wrong}");
        }
        let twice = headers(&[("authorization", "Bearer right-a"), ("authorization", "Bearer x")]);
        assert_eq!(access.actor(peer, &twice), Err(Refused::Token));
        assert_eq!(
            access.actor(peer, &headers(&[("cookie", "right-a")])),
            Err(Refused::Token)
        );
        for _ in 0..MOST_WRONG - 1 {
            assert_eq!(with("Bearer x"), Err(Refused::Token));
        }
        assert!(matches!(with("Bearer x"), Err(Refused::TooMany(1..=61))));
        assert_eq!(
            with("Bearer right-a"),
            Ok(a),
            "counting does not lock the operator out"
        );
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        let sent = headers(&[("authorization", "Bearer x")]);
        assert_eq!(access.actor(other, &sent), Err(Refused::Token));
        tokio::time::advance(WINDOW).await;
        assert_eq!(with("Bearer x"), Err(Refused::Token));
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_cost_little_memory_and_are_counted_together() {
        let access = access();
        let sent = headers(&[("authorization", "Bearer x")]);
        for n in 0..u32::try_from(MOST_ADDRESSES).unwrap() + 50 {
            let _ = access.actor(IpAddr::V4(std::net::Ipv4Addr::from(n)), &sent);
        }
        assert!(access.wrong.lock().len() <= MOST_ADDRESSES + 1);
        let peer: IpAddr = "198.51.100.1".parse().unwrap();
        assert!(matches!(access.actor(peer, &sent), Err(Refused::TooMany(_))));
        // One /64 is one address.
        assert_eq!(
            block("2001:db8::1".parse().unwrap()),
            block("2001:db8::2".parse().unwrap())
        );
    }
}
