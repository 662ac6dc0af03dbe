//! The sections `[admin]` and `[[operators]]`: the admin listener, and who may use it.

use std::net::SocketAddr;
use std::path::Path;

use admin_api::{Listen, Role, Settings, Token};
use http_api::tls::Files;
use sha2::{Digest as _, Sha256};

use super::tls;
use super::values::{digest, is_name};
use crate::config::Tenant;
use crate::config::reader::Section;

/// What a guesser tries first.
const WEAK: [&str; 24] = [
    "",
    "0",
    "1",
    "123",
    "1234",
    "12345",
    "123456",
    "12345678",
    "123456789",
    "admin",
    "administrator",
    "changeme",
    "default",
    "letmein",
    "operator",
    "pass",
    "password",
    "qwerty",
    "root",
    "secret",
    "switchyard",
    "test",
    "token",
    "x402",
];

/// The listener; `None` inside: it is off.
pub(super) fn admin(
    section: &Section<'_, '_>,
    operators: &[Section<'_, '_>],
    server: Option<SocketAddr>,
    tenants: &[Tenant],
    folder: &Path,
) -> Option<Option<Settings>> {
    let tokens: Option<Vec<Token>> = operators.iter().map(token).collect();
    let tls = tls::files(section, folder);
    let knows_clients = |tls: &Option<Files>| tls.as_ref().is_some_and(|files| files.client_ca.is_some());
    // Wrong files have an error of their own.
    let is_open = !tls.as_ref().is_none_or(knows_clients);
    let listen = section.maybe("listen", |node| {
        let listen = node.parsed(
            |text| listen(text, folder),
            "an address and port or a socket; write e.g. \"127.0.0.1:4021\" or \"unix:admin-http.sock\"",
        )?;
        match listen {
            Listen::Tcp(address) if is_open && !address.ip().is_loopback() => node.fail(
                "is reached from other machines; write \"127.0.0.1:4021\" or \"unix:…\" and reach it by SSH, for instance \
                 ssh -L 4021:127.0.0.1:4021 this-machine, or write [admin.tls] with certificate, key and client_ca",
            ),
            Listen::Tcp(address) if server.is_some_and(|server| is_one_port(address, server)) => {
                node.fail("is server.listen too; write another port")
            }
            Listen::Tcp(_) | Listen::Unix(_) => Some(listen),
        }
    });
    let hosts = section.get("hosts", |node| {
        node.list(|node| {
            node.parsed(
                host,
                "a name as browsers send it; write e.g. \"admin.example\" or \"admin.example:8443\", without https:// and path",
            )
        })
    });
    let (tokens, listen, hosts, tls) = (tokens?, listen?, hosts?, tls?);
    let Some(listen) = listen else {
        if tls.is_some() {
            section.fail(
                "tls",
                "has no effect without the admin listener; write admin.listen = \"127.0.0.1:4021\"",
            );
            return None;
        }
        if let Some(first) = operators.first() {
            first.fail_here(
                "has no effect without the admin listener; write [admin] with listen = \"127.0.0.1:4021\"",
            );
            return None;
        }
        return Some(None);
    };
    if tokens.is_empty() {
        section.fail_here("needs at least one [[operators]] with name, token_sha256 and role");
        return None;
    }
    match &listen {
        Listen::Unix(_) if tls.is_some() => {
            section.fail(
                "tls",
                "has no effect on a socket, which only this machine reaches; leave it out, or write an address in admin.listen",
            );
            return None;
        }
        Listen::Tcp(address) if address.ip().is_unspecified() && hosts.is_empty() => {
            section.fail(
                "listen",
                "has no name that browsers can send; write hosts = [\"admin.example:4021\"] with the name in the certificate",
            );
            return None;
        }
        Listen::Unix(_) | Listen::Tcp(_) => {}
    }
    require_distinct(operators, &tokens, tenants);
    Some(Some(Settings {
        listen,
        tls,
        hosts,
        tokens,
    }))
}

fn token(section: &Section<'_, '_>) -> Option<Token> {
    let name = section.get("name", |node| {
        node.parsed(
            |text| is_name(text).then(|| text.to_owned()),
            "a name; write letters, digits, - and _ only",
        )
    });
    let sha256 = section.get("token_sha256", |node| {
        let sha256 = digest(node)?;
        let is_weak = |word: &&str| <[u8; 32]>::from(Sha256::digest(word)) == sha256;
        match WEAK.iter().find(|word| is_weak(word)) {
            Some(_) => node.fail(
                "is the hash of a word that a guesser tries first; make a token with `openssl rand -hex 32` and hash it with \
                 `switchyard key hash`",
            ),
            None => Some(sha256),
        }
    });
    let role = section.get("role", |node| {
        node.parsed(
            Role::from_name,
            "a role; write \"view\" (read), \"operate\" (and pause, drain, reload) or \"money\" (and releases, tenants)",
        )
    });
    Some(Token {
        name: name?,
        sha256: sha256?,
        role: role?,
    })
}

/// Whether both can't be opened. An address of all interfaces has the port of each.
fn is_one_port(one: SocketAddr, other: SocketAddr) -> bool {
    let all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (all || one.ip() == other.ip())
}

fn listen(text: &str, folder: &Path) -> Option<Listen> {
    match text.strip_prefix("unix:") {
        Some("") => None,
        Some(path) => Some(Listen::Unix(folder.join(path))),
        None => text.parse().ok().map(Listen::Tcp),
    }
}

fn host(text: &str) -> Option<String> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (!text.is_empty() && text.len() <= 255 && text.bytes().all(is_host)).then(|| text.to_owned())
}

/// Refuses operators with equal names or tokens, and tokens that are a tenant's key.
fn require_distinct(sections: &[Section<'_, '_>], tokens: &[Token], tenants: &[Tenant]) {
    for (n, (section, token)) in sections.iter().zip(tokens).enumerate() {
        for earlier in tokens.iter().take(n) {
            if earlier.name == token.name {
                section.fail(
                    "name",
                    format!(
                        "{:?} is an operator already; give each person a name of their own",
                        token.name
                    ),
                );
            }
            if earlier.sha256 == token.sha256 {
                section.fail(
                    "token_sha256",
                    format!(
                        "is also the token of {:?}; give each operator another one",
                        earlier.name
                    ),
                );
            }
        }
        let is_key = |tenant: &&Tenant| tenant.access.key_sha256.contains(&token.sha256);
        if let Some(tenant) = tenants.iter().find(is_key) {
            section.fail(
                "token_sha256",
                format!(
                    "is also the API key of tenant {:?}, who could administrate with it; make a token for the operator alone",
                    tenant.access.name
                ),
            );
        }
    }
}
