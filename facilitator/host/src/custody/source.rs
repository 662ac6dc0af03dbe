//! Sources of keys, and the text forms of keys.
//!
//! Buffers that a key passes through are wiped. Parsing is strict: a key that was cut or mistyped must not become another
//! key.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base::key_digests::BASE58;
use sdk_plugin::host::Suite;
use zeroize::Zeroizing;

use super::remote::{Remote, RemoteKey};
use super::{PrivateKey, keystore};

/// Longest text of a key in bytes. A JSON array of 64 bytes, one per line, is far shorter.
const MAX_BYTES: usize = 4_096;

/// The source of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Name of an environment variable.
    Env(String),
    /// A file that only its owner may read.
    File(PathBuf),
    /// An encrypted keystore, and where its password is.
    Keystore(PathBuf, Password),
    /// A remote signer, which keeps the key.
    Remote(Box<Remote>),
}

/// The source of a keystore's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// Name of an environment variable.
    Env(String),
    /// A file that only its owner may read. A line end after the password is not part of it.
    File(PathBuf),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Keystore(path, _) => write!(f, "keystore {}", path.display()),
            Self::Remote(remote) => write!(f, "remote signer {}", remote.endpoint),
        }
    }
}

/// Environment variables.
pub trait Environment {
    fn get(&self, name: &str) -> Option<OsString>;
}

/// The environment of the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

/// The key at the source, or what is wrong with it.
pub(super) fn load(
    source: &KeySource,
    suite: Suite,
    environment: &dyn Environment,
) -> Result<PrivateKey, String> {
    let text = match source {
        KeySource::Env(name) => text_of(&format!("{source}"), variable(name, "the key", environment)?)?,
        KeySource::File(path) => text_of(
            &format!("{source}"),
            private_file(&format!("{source}"), path, KEY)?,
        )?,
        KeySource::Keystore(path, password) => {
            let json = text_of(
                &format!("{source}"),
                private_file(&format!("{source}"), path, KEY)?,
            )?;
            let password = password_of(password, environment)?;
            let secret = keystore::open(&json, &password).map_err(|why| format!("{source} {why}"))?;
            return of_secret(&secret, suite, source);
        }
        KeySource::Remote(remote) => {
            return RemoteKey::new(remote).map(|key| PrivateKey::Remote(Box::new(key)));
        }
    };
    private_key(&text, suite, source)
}

fn text_of(name: &str, bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!(
            "{name} holds more than {MAX_BYTES} bytes, which is no key"
        ));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.trim().to_owned())),
        Err(_) => Err(format!(
            "{name} holds bytes that are no text; the key must be written as text"
        )),
    }
}

fn variable(name: &str, what: &str, environment: &dyn Environment) -> Result<Zeroizing<Vec<u8>>, String> {
    let value = environment.get(name).ok_or_else(|| {
        format!("environment variable {name} is not set; set it to {what}, or name another source")
    })?;
    Ok(Zeroizing::new(value.into_encoded_bytes()))
}

/// A password as it is: only a line end after it is not part of it.
pub(super) fn password_of(
    password: &Password,
    environment: &dyn Environment,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = match password {
        Password::Env(name) => variable(name, PASSWORD, environment)?,
        Password::File(path) => private_file(&format!("password file {}", path.display()), path, PASSWORD)?,
    };
    while bytes.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(bytes)
}

/// What a file holds, in messages.
const KEY: &str = "the private key";
const PASSWORD: &str = "the keystore's password";

/// The content of a file that only its owner may read. `source` and `what` it holds are for the error.
fn private_file(source: &str, path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let cannot = |error: std::io::Error| unreadable(source, what, error.kind());
    let file = File::open(path).map_err(cannot)?;
    // Of the open file, so that it can't be replaced in between.
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(format!("{source} is not a regular file"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "{source} can be read or changed by others (mode {mode:04o}); run: chmod 600 {}",
            path.display()
        ));
    }
    read_file(file).map_err(cannot)
}

fn unreadable(source: &str, what: &str, kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => {
            format!("{source} does not exist; write the path of the file that holds {what}")
        }
        ErrorKind::PermissionDenied => format!(
            "{source} can't be read by the user that runs switchyard; make that user its owner, with mode 0600"
        ),
        kind => {
            format!("{source} can't be read: {kind}; write the path of a regular file that holds {what}")
        }
    }
}

/// The key of 32 bytes: an ed25519 seed, or a number of secp256k1.
pub(super) fn of_secret(secret: &[u8; 32], suite: Suite, source: &KeySource) -> Result<PrivateKey, String> {
    match suite {
        Suite::Secp256k1 => k256::ecdsa::SigningKey::from_slice(secret)
            .map(|key| PrivateKey::Secp256k1(Box::new(key)))
            .map_err(|_| {
                format!("{source} holds a number that is no secp256k1 private key (0, or beyond the group's order)")
            }),
        Suite::Ed25519 => Ok(PrivateKey::Ed25519(Box::new(
            ed25519_dalek::SigningKey::from_bytes(secret),
        ))),
    }
}

/// Reads at most one byte more than a key may have, into a buffer that never moves and so leaves no copy.
fn read_file(mut file: File) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; MAX_BYTES + 1]);
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// The key that a text encodes, or what was expected instead.
pub(super) fn private_key(text: &str, suite: Suite, source: &KeySource) -> Result<PrivateKey, String> {
    match suite {
        Suite::Secp256k1 => {
            let bytes = hex_32(text).ok_or_else(|| {
                format!(
                    "{source} must hold a secp256k1 private key: 32 bytes as 64 hex digits, with or without 0x"
                )
            })?;
            of_secret(&bytes, suite, source)
        }
        Suite::Ed25519 => ed25519(text, source).map(|key| PrivateKey::Ed25519(Box::new(key))),
    }
}

fn ed25519(text: &str, source: &KeySource) -> Result<ed25519_dalek::SigningKey, String> {
    if text.starts_with('[') {
        let pair = json_64(text).ok_or_else(|| {
            format!("{source} must hold a JSON array of 64 numbers from 0 to 255: seed and public key")
        })?;
        return ed25519_dalek::SigningKey::from_keypair_bytes(&pair).map_err(|_| {
            format!("{source} holds an ed25519 pair whose second half is not the public key of its first")
        });
    }
    // Hex first: base58 of 64 bytes has 64 characters only when all of them are `1`.
    if let Some(seed) = hex_32(text) {
        return Ok(ed25519_dalek::SigningKey::from_bytes(&seed));
    }
    if let Some(pair) = base58_64(text) {
        return ed25519_dalek::SigningKey::from_keypair_bytes(&pair).map_err(|_| {
            format!("{source} holds an ed25519 pair in base58 whose second half is not the public key of its first")
        });
    }
    Err(format!(
        "{source} must hold an ed25519 key: a seed of 32 bytes as 64 hex digits, with or without 0x; seed and public key \
         in base58, as wallets export it (86 to 88 characters; 43 or 44 are an address); or both as a JSON array of 64 \
         numbers"
    ))
}

/// 64 hex digits, with or without `0x`.
fn hex_32(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), bytes.as_mut_slice()).ok()?;
    Some(bytes)
}

/// Characters of 64 bytes in base58; fewer than 85 only where they begin with zeros.
const BASE58_OF_64: RangeInclusive<usize> = 64..=88;

/// 64 bytes in base58. Decoded by hand: a library would leave copies of the key.
fn base58_64(text: &str) -> Option<Zeroizing<[u8; 64]>> {
    if !BASE58_OF_64.contains(&text.len()) {
        return None;
    }
    let mut bytes = Zeroizing::new([0u8; 64]);
    for c in text.bytes() {
        let digit = BASE58.iter().position(|known| *known == c)?;
        let mut carry = u32::try_from(digit).ok()?;
        for byte in bytes.iter_mut().rev() {
            // Below 256 * 58 + 256.
            carry += u32::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xff).ok()?;
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    // Each leading `1` is one zero byte; with more or fewer of them it is not 64 bytes.
    let ones = text.bytes().take_while(|c| *c == b'1').count();
    let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
    (ones == zeroes).then_some(bytes)
}

/// A JSON array of 64 bytes. Parsed by hand: a JSON parser would leave copies of the key.
fn json_64(text: &str) -> Option<Zeroizing<[u8; 64]>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut bytes = Zeroizing::new([0; 64]);
    let mut free = bytes.iter_mut();
    for number in inner.split(',') {
        let number = number.trim();
        // No sign and no leading zero, as in JSON.
        if !number.bytes().all(|b| b.is_ascii_digit()) || (number.len() > 1 && number.starts_with('0')) {
            return None;
        }
        *free.next()? = number.parse().ok()?;
    }
    if free.next().is_some() {
        return None;
    }
    Some(bytes)
}
