//! Custody: the private keys, by name. All other code has a name and a public key, and requests signatures.
//!
//! Keys are read once, at the start, from the environment or from files, or stay at a remote signer. No `Debug`, `Display` or error here can show a
//! key, and the memory of keys is wiped when custody is dropped.
//!
//! Not guaranteed: a key in an environment variable stays readable in the environment of the process while it runs; prefer
//! a file. Custody signs for every caller: the callers check who may have what signed.

pub mod keystore;
mod rate;
pub mod remote;
mod source;

/// For fuzz targets only.
#[cfg(feature = "testkit")]
pub(crate) mod fuzzing {
    use super::{KeySource, Suite, source};

    /// Whether a text encodes a private key.
    #[must_use]
    pub fn reads_key(text: &str, suite: Suite) -> bool {
        source::private_key(text, suite, &KeySource::Env(String::new())).is_ok()
    }
}

use std::collections::BTreeMap;
use std::fmt;

use base::calls::SigningSlot;
use base::key_digests::KeyDigests;
use base::signers::SignerTroubles;
use ed25519_dalek::Signer as _;
use sdk_plugin::chain::KeyInfo;
use sdk_plugin::host::{SignRequest, Suite, TypedData};
use sdk_plugin::{Fault, HexBytes};
use zeroize::Zeroizing;

use rate::Rate;
use remote::RemoteKey;

pub use source::{Environment, KeySource, Password, ProcessEnvironment};

/// A key to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    pub name: String,
    pub suite: Suite,
    pub source: KeySource,
    /// The most signatures in a minute; `None` for no limit.
    pub max_signatures_per_minute: Option<u32>,
}

/// Why a key can't be used. Names the key and its source, never the content of the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key}: {why}")]
pub struct CustodyError {
    /// Name of the key.
    pub key: String,
    /// What is wrong, and what to do instead.
    pub why: String,
}

/// A key at a remote signer that is not as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The signer gives no answer that can be used.
    Silent(CustodyError),
    /// It has another key, or none of this name.
    Wrong(CustodyError),
}

/// The 32 bytes of a key, for a new keystore: the number of a secp256k1 key, or the seed of an ed25519 key.
///
/// # Errors
/// What is wrong with the source.
pub fn secret(
    source: &KeySource,
    suite: Suite,
    environment: &dyn Environment,
) -> Result<Zeroizing<[u8; 32]>, String> {
    Ok(match source::load(source, suite, environment)? {
        PrivateKey::Secp256k1(key) => Zeroizing::new(key.to_bytes().into()),
        PrivateKey::Ed25519(key) => Zeroizing::new(key.to_bytes()),
        PrivateKey::Remote(_) => return Err(format!("{source} does not give its private key away")),
    })
}

/// Whether 32 bytes are a private key.
#[must_use]
pub fn is_secret(bytes: &[u8; 32], suite: Suite) -> bool {
    source::of_secret(bytes, suite, &KeySource::Env(String::new())).is_ok()
}

/// A keystore's password.
///
/// # Errors
/// What is wrong with its source.
pub fn password(password: &Password, environment: &dyn Environment) -> Result<Zeroizing<Vec<u8>>, String> {
    source::password_of(password, environment)
}

/// What is to be signed, and for what: all that a signer needs for a decision of its own.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// By the chain's driver.
    pub request: &'a SignRequest,
    /// CAIP-2.
    pub network: &'a str,
    /// By the host.
    pub of: Signed<'a>,
}

/// What a signature is for.
#[derive(Debug, Clone, Copy)]
pub enum Signed<'a> {
    /// The transaction of a slot, by the engine.
    Transaction(&'a SigningSlot),
    /// [`SignRequest::typed`]; its digest is the message.
    TypedData(&'a TypedData),
}

/// A private key. Both kinds that are here wipe themselves when dropped.
enum PrivateKey {
    Secp256k1(Box<k256::ecdsa::SigningKey>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Remote(Box<RemoteKey>),
}

struct Key {
    private: PrivateKey,
    info: KeyInfo,
    rate: Option<Rate>,
}

/// All private keys of the process.
#[derive(Default)]
pub struct Custody {
    keys: BTreeMap<String, Key>,
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.values().map(|key| &key.info))
            .finish()
    }
}

impl Custody {
    /// Reads all keys, and the public keys of those at remote signers.
    ///
    /// # Errors
    /// The first key that can't be used. One key under two names is refused: two lanes would assign the nonces of one
    /// account.
    pub async fn open(specs: &[KeySpec], environment: &dyn Environment) -> Result<Self, CustodyError> {
        let mut keys = Self::default();
        for spec in specs {
            let private = source::load(&spec.source, spec.suite, environment);
            let private = private.map_err(|why| refused(spec, why))?;
            let public_key = match &private {
                PrivateKey::Remote(remote) => remote
                    .public_key(spec.suite)
                    .await
                    .map_err(|why| refused(spec, why))?,
                PrivateKey::Secp256k1(_) | PrivateKey::Ed25519(_) => public_half(&private),
            };
            keys.add(spec, private, public_key)?;
        }
        Ok(keys)
    }

    /// Reads keys of which none is at a remote signer.
    ///
    /// # Errors
    /// As [`Custody::open`]; and a key that is at a remote signer without a pinned public key.
    pub fn load(specs: &[KeySpec], environment: &dyn Environment) -> Result<Self, CustodyError> {
        let mut keys = Self::default();
        for spec in specs {
            let private = source::load(&spec.source, spec.suite, environment);
            let private = private.map_err(|why| refused(spec, why))?;
            let public_key = public_half(&private);
            if public_key.is_empty() {
                return Err(refused(spec, format!("{} was not read", spec.source)));
            }
            keys.add(spec, private, public_key)?;
        }
        Ok(keys)
    }

    fn add(&mut self, spec: &KeySpec, private: PrivateKey, public_key: HexBytes) -> Result<(), CustodyError> {
        let twin = self
            .keys
            .values()
            .find(|known| known.info.public_key == public_key);
        if let Some(twin) = twin.filter(|twin| twin.info.name != spec.name) {
            return Err(refused(
                spec,
                format!("is the same key as {}; use one name for it", twin.info.name),
            ));
        }
        let key = Key {
            private,
            info: KeyInfo {
                name: spec.name.clone(),
                suite: spec.suite,
                public_key,
            },
            rate: spec.max_signatures_per_minute.map(Rate::new),
        };
        if self.keys.insert(spec.name.clone(), key).is_some() {
            return Err(refused(
                spec,
                "is configured twice; give each key a name of its own".into(),
            ));
        }
        Ok(())
    }

    /// Compares the keys at remote signers with what is known of them. Returns those that are not as known.
    pub async fn check_remote(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for (name, key) in &self.keys {
            let PrivateKey::Remote(remote) = &key.private else {
                continue;
            };
            let error = |why| CustodyError {
                key: name.clone(),
                why,
            };
            match remote.check(key.info.suite, &key.info.public_key).await {
                Ok(None) => {}
                Ok(Some(why)) => found.push(Found::Silent(error(why))),
                Err(why) => found.push(Found::Wrong(error(why))),
            }
        }
        found
    }

    /// Digests that recognise the keys in a text.
    #[must_use]
    pub fn digests(&self) -> KeyDigests {
        let mut digests = KeyDigests::default();
        for key in self.keys.values() {
            match &key.private {
                PrivateKey::Secp256k1(private) => digests.add_hex(&Zeroizing::new(private.to_bytes().into())),
                PrivateKey::Ed25519(private) => {
                    digests.add_hex(&Zeroizing::new(private.to_bytes()));
                    digests.add_pair(&Zeroizing::new(private.to_keypair_bytes()));
                }
                PrivateKey::Remote(_) => {}
            }
        }
        digests
    }

    /// The public half of a key.
    #[must_use]
    pub fn public_key(&self, name: &str) -> Option<&KeyInfo> {
        self.keys.get(name).map(|key| &key.info)
    }

    /// secp256k1: the message is a 32-byte digest; r, s and recovery id (0 or 1), 65 bytes, low s; keys that are here sign
    /// deterministically (RFC 6979). ed25519: 64 bytes over the message (RFC 8032).
    ///
    /// # Errors
    /// There is no such key of this suite, or the message is not what the suite signs, or not what is shown as unsigned. The
    /// key's limit of signatures is reached. A remote signer gave no signature that is proven to be the key's.
    pub async fn sign(&self, signing: &Signing<'_>) -> Result<HexBytes, Fault> {
        let Signing { request, network, of } = signing;
        let (name, message) = (&request.key, request.message.as_ref());
        let key = self
            .keys
            .get(name)
            .ok_or_else(|| Fault::denied(format!("custody has no key {name}")))?;
        // For a digest only a signer that knows the chain can compare them.
        let is_shown = request.unsigned.is_empty() || request.unsigned.as_ref() == message;
        if request.suite == Suite::Ed25519 && !is_shown {
            return Err(Fault::invalid(
                "what is to be signed is not what is shown as unsigned",
            ));
        }
        if request.suite != key.info.suite {
            return Err(Fault::invalid(format!(
                "key {name} is of another signature suite"
            )));
        }
        if request.suite == Suite::Secp256k1 && message.len() != 32 {
            return Err(Fault::invalid("secp256k1 signs a digest of exactly 32 bytes"));
        }
        if let Some(rate) = &key.rate {
            rate.admit(name)?;
        }
        match of {
            Signed::Transaction(SigningSlot {
                key: _,
                sequence,
                attempt,
            }) => {
                tracing::debug!(key = %name, network, sequence, attempt, "a transaction is signed");
            }
            Signed::TypedData(_) => tracing::debug!(key = %name, network, "typed data is signed"),
        }
        match &key.private {
            PrivateKey::Secp256k1(private) => sign_digest(private, message),
            PrivateKey::Ed25519(private) => Ok(HexBytes(private.sign(message).to_bytes().to_vec())),
            PrivateKey::Remote(remote) => remote.sign(signing, &key.info.public_key).await,
        }
    }

    /// Whether the key is at a remote signer.
    #[must_use]
    pub fn is_remote(&self, name: &str) -> bool {
        matches!(
            self.keys.get(name).map(|key| &key.private),
            Some(PrivateKey::Remote(_))
        )
    }
}

impl SignerTroubles for Custody {
    fn trouble(&self, key: &str) -> Option<String> {
        match &self.keys.get(key)?.private {
            PrivateKey::Remote(remote) => remote.trouble(),
            PrivateKey::Secp256k1(_) | PrivateKey::Ed25519(_) => None,
        }
    }
}

fn refused(spec: &KeySpec, why: String) -> CustodyError {
    CustodyError {
        key: spec.name.clone(),
        why,
    }
}

/// The public half; of a key at a remote signer what is pinned, which is empty where nothing is.
fn public_half(private: &PrivateKey) -> HexBytes {
    match private {
        PrivateKey::Secp256k1(key) => {
            HexBytes(key.verifying_key().to_encoded_point(false).as_bytes().to_vec())
        }
        PrivateKey::Ed25519(key) => HexBytes(key.verifying_key().to_bytes().to_vec()),
        PrivateKey::Remote(remote) => remote.pinned().unwrap_or_default(),
    }
}

fn sign_digest(key: &k256::ecdsa::SigningKey, message: &[u8]) -> Result<HexBytes, Fault> {
    let digest: [u8; 32] = message
        .try_into()
        .map_err(|_| Fault::invalid("secp256k1 signs a digest of exactly 32 bytes"))?;
    let (signature, recovery) = key
        .sign_prehash_recoverable(&digest)
        .map_err(|_| Fault::internal("secp256k1 could not sign"))?;
    // An x coordinate above the group's order occurs once in 2^127 signatures; chains have no encoding for it.
    if recovery.is_x_reduced() {
        return Err(Fault::internal(
            "secp256k1 returned a signature without a usable recovery id",
        ));
    }
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(recovery.to_byte());
    Ok(HexBytes(bytes))
}

#[cfg(test)]
mod tests;
