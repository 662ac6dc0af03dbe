//! `[keys.NAME]`: where a private key is, and what it may do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::custody::remote::{Endpoint, Remote, TlsFiles, is_public_key};
use host::custody::{KeySource, Password};
use sdk_plugin::HexBytes;
use sdk_plugin::host::Suite;

use super::values::{count, is_like_a_key, is_variable, millis, path};
use crate::config::Key;
use crate::config::node::Node;
use crate::config::reader::Section;

/// Without `timeout_ms`.
const SIGNER_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn key(name: &str, section: &Section<'_, '_>, folder: &Path) -> Option<Key> {
    let max_signatures = section.maybe("max_signatures_per_minute", |node| count(node, 1, 1_000_000));
    let suite = section.get("suite", suite);
    let (source, suite) = (source(name, section, folder), suite?);
    let source = source?;
    if let KeySource::Remote(remote) = &source
        && let Some(key) = &remote.public_key
        && !is_public_key(suite, key.as_ref())
    {
        let wanted = match suite {
            Suite::Secp256k1 => "is no secp256k1 public key; write 0x04 and its 128 hex digits",
            Suite::Ed25519 => "is no ed25519 public key; write 0x and its 64 hex digits",
        };
        section.fail("public_key", wanted);
        return None;
    }
    Some(Key {
        source,
        suite,
        max_signatures_per_minute: max_signatures?,
    })
}

fn suite(node: &Node<'_, '_>) -> Option<Suite> {
    let suite = |text: &str| match text {
        "secp256k1" => Some(Suite::Secp256k1),
        "ed25519" => Some(Suite::Ed25519),
        _ => None,
    };
    node.parsed(suite, "a suite; write \"secp256k1\" or \"ed25519\"")
}

/// Members that are for a remote signer only.
const OF_REMOTE: [&str; 6] = [
    "signer_key",
    "public_key",
    "timeout_ms",
    "client_certificate",
    "client_key",
    "ca",
];

fn source(name: &str, section: &Section<'_, '_>, folder: &Path) -> Option<KeySource> {
    let remote = section.maybe("remote", |node| node.text());
    let is_remote = match &remote {
        Some(remote) => remote.is_some(),
        None => true,
    };
    let others: Vec<&str> = ["env", "file", "keystore"]
        .into_iter()
        .filter(|other| section.is_written(other))
        .collect();
    if is_remote && let [other, ..] = others.as_slice() {
        section.fail(
            "remote",
            format!("stands beside {other}; write only one of env, file, keystore and remote"),
        );
        return None;
    }
    if !is_remote && let Some(only) = OF_REMOTE.into_iter().find(|name| section.is_written(name)) {
        section.fail(only, "is for a remote signer; write remote = \"unix:/PATH\" or \"https://HOST:PORT\" beside it, or take it out");
        return None;
    }
    if is_remote
        && let Some(only) = ["password_env", "password_file"]
            .into_iter()
            .find(|name| section.is_written(name))
    {
        section.fail(
            only,
            "is for a keystore, and the key is at a remote signer; take it out",
        );
        return None;
    }
    match remote? {
        Some(text) => remote_source(name, &text, section, folder),
        None => local_source(section, folder),
    }
}

fn remote_source(name: &str, text: &str, section: &Section<'_, '_>, folder: &Path) -> Option<KeySource> {
    let file = |member| section.maybe(member, |node| path(node, folder));
    let (certificate, key, ca) = (file("client_certificate"), file("client_key"), file("ca"));
    let signer_key = section.maybe("signer_key", |node| {
        node.parsed_unseen(
            |text| ((1..=128).contains(&text.len()) && !is_like_a_key(text)).then(|| text.to_owned()),
            "a name; write the key's name at the signer, never the key itself",
        )
    });
    let timeout = section.maybe("timeout_ms", |node| millis(node, 50, 9_000));
    let public_key = section.maybe("public_key", |node| {
        // 32 bytes are also what a private key has: it is never shown.
        node.parsed_unseen(
            |text| text.parse::<HexBytes>().ok(),
            "a public key; write 0x and its hex digits",
        )
    });
    let (certificate, key, ca) = (certificate?, key?, ca?);
    let (signer_key, timeout, public_key) = (signer_key?, timeout?, public_key?);
    let tls = [
        ("client_certificate", &certificate),
        ("client_key", &key),
        ("ca", &ca),
    ];
    let endpoint = if let Some(socket) = text.strip_prefix("unix:") {
        if !socket.starts_with('/') {
            section.fail(
                "remote",
                "has no absolute path; write e.g. \"unix:/run/signer/signer.sock\"",
            );
            return None;
        }
        if let Some((member, _)) = tls.into_iter().find(|(_, file)| file.is_some()) {
            section.fail(
                member,
                "has no effect with a Unix socket, which has no TLS; take it out",
            );
            return None;
        }
        Endpoint::Unix(PathBuf::from(socket))
    } else if is_https_origin(text) {
        if let Some((member, _)) = tls.into_iter().find(|(_, file)| file.is_none()) {
            section.fail(
                "remote",
                format!("needs {member}: with https each side shows a certificate; write client_certificate, client_key and ca beside it"),
            );
            return None;
        }
        Endpoint::Https {
            origin: text.trim_end_matches('/').to_owned(),
            files: TlsFiles {
                client_certificate: certificate?,
                client_key: key?,
                ca: ca?,
            },
        }
    } else {
        section.fail(
            "remote",
            "is no address of a signer; write e.g. \"unix:/run/signer/signer.sock\", or \"https://signer.example:8443\" without a path (there is no http)",
        );
        return None;
    };
    Some(KeySource::Remote(Box::new(Remote {
        endpoint,
        signer_key: signer_key.unwrap_or_else(|| name.to_owned()),
        timeout: timeout.unwrap_or(SIGNER_TIMEOUT),
        public_key,
    })))
}

/// `https://HOST` with an optional port, and nothing else.
fn is_https_origin(text: &str) -> bool {
    let Some(host) = text.strip_prefix("https://") else {
        return false;
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    let is_valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    !host.is_empty() && host.bytes().all(is_valid)
}

fn local_source(section: &Section<'_, '_>, folder: &Path) -> Option<KeySource> {
    let env = section.maybe("env", |node| {
        node.parsed_unseen(
            |text| (is_variable(text) && !is_like_a_key(text)).then(|| text.to_owned()),
            "the name of a variable; write e.g. \"SWITCHYARD_KEY\" and put the key into that variable, never here",
        )
    });
    let file = section.maybe("file", |node| {
        node.parsed_unseen(
            |text| (!text.is_empty() && !is_like_a_key(text)).then(|| folder.join(text)),
            "a path; write where the key's file is, never the key itself",
        )
    });
    let keystore = section.maybe("keystore", |node| {
        node.parsed_unseen(
            |text| (!text.is_empty() && !is_like_a_key(text)).then(|| folder.join(text)),
            "a path; write where the encrypted keystore is",
        )
    });
    let password = password(section, folder);
    let (env, file, keystore, password) = (env?, file?, keystore?, password?);
    if keystore.is_none() && password.is_some() {
        section.fail_here("has a password and no keystore; write keystore = \"PATH\" beside it");
        return None;
    }
    match (env, file, keystore, password) {
        (Some(env), None, None, _) => Some(KeySource::Env(env)),
        (None, Some(file), None, _) => Some(KeySource::File(file)),
        (None, None, Some(keystore), Some(password)) => Some(KeySource::Keystore(keystore, password)),
        (None, None, Some(_), None) => {
            section.fail(
                "keystore",
                "has no password; write password_file = \"PATH\" or password_env = \"NAME_OF_A_VARIABLE\" beside it",
            );
            None
        }
        (Some(_), Some(_), _, _) => {
            section.fail("file", "stands beside env; write only one of them");
            None
        }
        (Some(_), None, Some(_), _) | (None, Some(_), Some(_), _) => {
            section.fail(
                "keystore",
                "stands beside another source; write only one of env, file and keystore",
            );
            None
        }
        (None, None, None, _) => {
            section.fail(
                "env",
                "is missing; write env = \"NAME_OF_A_VARIABLE\", file = \"PATH\", keystore = \"PATH\" or remote = \"unix:/PATH\"",
            );
            None
        }
    }
}

/// Where a keystore's password is.
fn password(section: &Section<'_, '_>, folder: &Path) -> Option<Option<Password>> {
    let env = section.maybe("password_env", |node| {
        node.parsed_unseen(
            |text| is_variable(text).then(|| text.to_owned()),
            "the name of a variable; write e.g. \"SWITCHYARD_KEY_PASSWORD\" and put the password into that variable, never here",
        )
    });
    let file = section.maybe("password_file", |node| {
        node.parsed_unseen(
            |text| (!text.is_empty()).then(|| folder.join(text)),
            "a path; write where the password's file is, never the password itself",
        )
    });
    match (env?, file?) {
        (Some(_), Some(_)) => {
            section.fail(
                "password_file",
                "stands beside password_env; write only one of them",
            );
            None
        }
        (Some(env), None) => Some(Some(Password::Env(env))),
        (None, Some(file)) => Some(Some(Password::File(file))),
        (None, None) => Some(None),
    }
}
