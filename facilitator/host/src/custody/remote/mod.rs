//! Keys at a remote signer: a process of its own that holds the private keys, decodes what it signs, and applies its own policy.
//!
//! A signer is not trusted. Its public key is known from the start, and a signature is used only if it is that key's over the
//! message. A signer that is slow, absent, wrong or refuses makes a fault before anything is recorded, so no slot is used.
//!
//! Not guaranteed: that a signer signs for this process only, or that it forgets what it has signed.

mod check;
mod connect;
pub mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use sdk_plugin::host::Suite;
use sdk_plugin::{Fault, FaultKind, HexBytes};
use tokio::time::timeout;

use super::Signing;
use connect::{Connection, shown};
use wire::{KEYS_PATH, Keys, Refusal, SIGN_PATH, SignAnswer, SignBody};

pub use check::is_public_key;
pub use connect::{Endpoint, TlsFiles};

/// Longest sentence of a signer that is shown, in characters.
const MAX_SENTENCE_CHARS: usize = 300;
const MAX_CODE_CHARS: usize = 32;

/// A key at a remote signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub endpoint: Endpoint,
    /// The key's name at the signer.
    pub signer_key: String,
    /// How long one exchange may take.
    pub timeout: Duration,
    /// The key that it must be. `None`: the signer's answer at the start decides.
    pub public_key: Option<HexBytes>,
}

/// Why a remote signer gave no signature.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failed {
    /// It refused: the code and its sentence.
    Refused { code: String, sentence: String },
    /// It has too much to do, or limits its rate.
    Busy(String),
    /// It did not answer, or not as the protocol wants.
    Trouble(String),
}

/// Why a signer's public key can't be used.
#[derive(Debug)]
enum Unusable {
    /// There is no answer that can be used.
    Silent(String),
    /// The answer has another key, or none.
    Wrong(String),
}

/// A key at a remote signer, with its connections.
pub(super) struct RemoteKey {
    remote: Remote,
    connection: Connection,
    /// Of the last exchange, for operators.
    trouble: Mutex<Option<String>>,
}

impl fmt::Debug for RemoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKey")
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

impl RemoteKey {
    pub(super) fn new(remote: &Remote) -> Result<Self, String> {
        Ok(Self {
            connection: Connection::new(&remote.endpoint)?,
            remote: remote.clone(),
            trouble: Mutex::default(),
        })
    }

    /// The public key of the configuration.
    pub(super) fn pinned(&self) -> Option<HexBytes> {
        self.remote.public_key.clone()
    }

    /// The public key: the pinned one, or what the signer shows.
    pub(super) async fn public_key(&self, suite: Suite) -> Result<HexBytes, String> {
        match &self.remote.public_key {
            Some(pinned) => Ok(pinned.clone()),
            None => self.shown_key(suite).await.map_err(|unusable| {
                let (Unusable::Silent(why) | Unusable::Wrong(why)) = unusable;
                format!(
                    "{why}; start the signer, correct this entry, or write public_key = \"0x…\" to start without the signer"
                )
            }),
        }
    }

    /// Whether the signer has the known key now; a sentence where it does not answer.
    ///
    /// # Errors
    /// It has another one, or none.
    pub(super) async fn check(&self, suite: Suite, known: &HexBytes) -> Result<Option<String>, String> {
        match self.shown_key(suite).await {
            Ok(shown) if shown == *known => Ok(None),
            Ok(shown) => Err(format!(
                "{} shows the public key {shown}, and {known} is the known one, so its signatures are refused; correct \
                 public_key or signer_key, or give the signer the right key",
                self.name()
            )),
            Err(Unusable::Silent(why)) => Ok(Some(why)),
            Err(Unusable::Wrong(why)) => Err(why),
        }
    }

    /// The public key that the signer shows.
    async fn shown_key(&self, suite: Suite) -> Result<HexBytes, Unusable> {
        let (name, signer_key) = (self.name(), &self.remote.signer_key);
        let answer = self.exchange(Method::GET, KEYS_PATH, Vec::new()).await;
        let body = answer.map_err(|failed| Unusable::Silent(format!("{name} {}", failed.sentence())))?;
        let keys: Keys = serde_json::from_slice(&body).map_err(|_| {
            Unusable::Silent(format!(
                "{name} gave an answer to GET {KEYS_PATH} that is not the protocol's"
            ))
        })?;
        let mine = keys.keys.into_iter().find(|key| key.name == *signer_key);
        let wrong = |what: String| Unusable::Wrong(format!("{name} {what}"));
        let mine = mine.ok_or_else(|| {
            wrong(format!(
                "has no key {signer_key:?}; write its name there as signer_key"
            ))
        })?;
        if mine.suite != suite {
            return Err(wrong(format!(
                "has {signer_key:?} as a key of another suite; correct suite or signer_key"
            )));
        }
        if !is_public_key(suite, mine.public_key.as_ref()) {
            return Err(wrong(format!(
                "shows a public key of {signer_key:?} that is none of its suite"
            )));
        }
        Ok(mine.public_key)
    }

    /// A signature, proven with the known public key.
    pub(super) async fn sign(&self, signing: &Signing<'_>, public_key: &HexBytes) -> Result<HexBytes, Fault> {
        let answer = self.try_sign(signing, public_key).await;
        self.record(&signing.request.key, answer.as_ref().err());
        answer.map_err(|failed| {
            let message = format!(
                "key {}: {} {}",
                signing.request.key,
                self.name(),
                failed.sentence()
            );
            let kind = match failed {
                Failed::Busy(_) => FaultKind::Overloaded,
                // A refusal too says nothing about the payment: the operator changes the policy, or the signer's state passes.
                Failed::Refused { .. } | Failed::Trouble(_) => FaultKind::Unavailable,
            };
            Fault::new(kind, message)
        })
    }

    async fn try_sign(&self, signing: &Signing<'_>, public_key: &HexBytes) -> Result<HexBytes, Failed> {
        let body = SignBody::new(signing, &self.remote.signer_key);
        let body = serde_json::to_vec(&body)
            .map_err(|error| Failed::Trouble(format!("can't be sent the request: {error}")))?;
        let answer = self.exchange(Method::POST, SIGN_PATH, body).await?;
        let answer: SignAnswer = serde_json::from_slice(&answer)
            .map_err(|_| Failed::Trouble("gave an answer that has no signature in hex".to_owned()))?;
        let message = signing.request.message.as_ref();
        check::signature(
            signing.request.suite,
            public_key.as_ref(),
            message,
            &answer.signature,
        )
        .map_err(|why| Failed::Trouble(format!("{why}; it was not used")))?;
        Ok(answer.signature)
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Failed> {
        let limit = self.remote.timeout;
        let answered = timeout(limit, self.connection.exchange(method, path, body)).await;
        let (status, body) = match answered {
            Ok(answer) => answer.map_err(Failed::Trouble)?,
            Err(_) => {
                let millis = limit.as_millis();
                return Err(Failed::Trouble(format!(
                    "did not answer within {millis} ms (timeout_ms)"
                )));
            }
        };
        if status == StatusCode::OK {
            return Ok(body.to_vec());
        }
        let Ok(Refusal { error }) = serde_json::from_slice(&body) else {
            return Err(Failed::Trouble(format!(
                "answered HTTP {} without a reason",
                status.as_u16()
            )));
        };
        let code = shown(&error.code, MAX_CODE_CHARS);
        let sentence = shown(&error.message, MAX_SENTENCE_CHARS);
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => Failed::Busy(sentence),
            _ if status.is_client_error() => Failed::Refused { code, sentence },
            _ => Failed::Trouble(format!("can't sign now ({code}): {sentence}")),
        })
    }

    /// Keeps the state for operators. The log has changes, and every refusal.
    fn record(&self, key: &str, failed: Option<&Failed>) {
        let trouble = failed.map(Failed::sentence);
        let before = std::mem::replace(&mut *self.trouble.lock(), trouble.clone());
        let signer = self.name();
        match (failed, trouble) {
            (Some(Failed::Refused { code, sentence }), _) => {
                tracing::warn!(
                    key,
                    signer,
                    code,
                    sentence,
                    "remote_signer_refused: the payment was not started; change the signer's policy if it is wrong"
                );
            }
            (_, Some(why)) if before.as_ref() != Some(&why) => {
                tracing::error!(
                    key,
                    signer,
                    why,
                    "remote_signer_failed: nothing is sent with this key meanwhile"
                );
            }
            (_, Some(_)) => {}
            (_, None) if before.is_some() => tracing::info!(key, signer, "remote_signer_recovered"),
            (_, None) => {}
        }
    }

    /// A sentence while the last exchange failed.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().clone()?;
        Some(format!("{} {trouble}", self.name()))
    }

    fn name(&self) -> String {
        format!("remote signer {}", self.remote.endpoint)
    }
}

impl Failed {
    fn sentence(&self) -> String {
        match self {
            Self::Refused { code, sentence } => format!("refused ({code}): {sentence}"),
            Self::Busy(sentence) => format!("has too much to do: {sentence}"),
            Self::Trouble(why) => why.clone(),
        }
    }
}
