//! TLS of a listener: TLS 1.2 and 1.3 by rustls, with the certificate of files that may be renewed while it serves.
//!
//! Connections that are open keep the certificate with which they began. New files that can't be used change nothing: the
//! certificate before them serves on, and the log says why.
//!
//! Assumption: a renewal writes several files one after the other, so files that do not fit each other are an error only
//! when they are the same at the next poll.

mod certificate;
mod files;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use parking_lot::Mutex;
use rustls::ServerConfig;
use telemetry::Metrics;
use tokio_rustls::TlsAcceptor;

pub use certificate::{ClientCertificate, Leaf};
use files::Contents;
pub use files::{FileError, Files};

/// Pause between two readings of the files.
const POLL: Duration = Duration::from_secs(30);
/// A warning is written when less is left, or less than a quarter of the certificate's time. Renewal is usually tried
/// from 30 days on.
const SOON_S: u64 = 14 * DAY_S;
const DAY_S: u64 = 24 * 60 * 60;

/// The certificate and key of a listener.
pub struct Tls {
    files: Files,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    leaf: Leaf,
    digest: [u8; 32],
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// How long a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Valid,
    /// It ends within days.
    EndsSoon,
    Expired,
    /// Its time has not come yet: usually the clock is wrong.
    NotYet,
}

impl Tls {
    /// Reads the files. A certificate that has expired is no error here: see [`Tls::validity`].
    ///
    /// # Errors
    /// A file is missing or wrong, or the key is another certificate's.
    pub fn load(files: Files, clock: Arc<dyn Clock>) -> Result<Self, FileError> {
        let contents = Contents::read(&files)?;
        let state = State::new(&contents, &files)?;
        Ok(Self {
            files,
            clock,
            state: Mutex::new(state),
        })
    }

    /// The certificate that serves.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        self.state.lock().leaf.clone()
    }

    /// Whether clients need a certificate.
    #[must_use]
    pub fn verifies_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Whether the certificate that serves is valid now.
    #[must_use]
    pub fn validity(&self) -> Validity {
        let now = self.clock.now_s();
        let Leaf {
            not_before_s,
            not_after_s,
            ..
        } = self.state.lock().leaf;
        let left = not_after_s.saturating_sub(now);
        let soon = SOON_S.min(not_after_s.saturating_sub(not_before_s) / 4);
        if now > not_after_s {
            Validity::Expired
        } else if now < not_before_s {
            Validity::NotYet
        } else if left < soon {
            Validity::EndsSoon
        } else {
            Validity::Valid
        }
    }

    /// Reads the files again. Returns whether new ones serve from now on.
    ///
    /// # Errors
    /// They can't be used: those before serve.
    pub fn reload(&self) -> Result<bool, FileError> {
        let contents = Contents::read(&self.files)?;
        if contents.digest() == self.state.lock().digest {
            return Ok(false);
        }
        let new = State::new(&contents, &self.files)?;
        let now = self.clock.now_s();
        let mut state = self.state.lock();
        if now > new.leaf.not_after_s && now <= state.leaf.not_after_s {
            return Err(FileError {
                key: "certificate",
                message: format!(
                    "{}: it has expired, and the one that serves has not; write the path of the renewed one",
                    self.files.certificate.display()
                ),
            });
        }
        *state = new;
        Ok(true)
    }

    /// Makes the next connection's handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.state.lock().config))
    }

    /// Reads the files from time to time, and reports when the certificate ends. `listener` names it in metrics and in the
    /// log. Never returns.
    pub async fn follow(self: &Arc<Self>, metrics: &Metrics, listener: &'static str) {
        let mut failed: Option<Failure> = None;
        let mut warned: Option<u64> = None;
        loop {
            self.report(metrics, listener, &mut warned);
            tokio::time::sleep(POLL).await;
            let this = Arc::clone(self);
            // Files may be on a disk that does not answer.
            let Ok(result) = tokio::task::spawn_blocking(move || this.reload()).await else {
                continue;
            };
            match result {
                Ok(changed) => {
                    failed = None;
                    if changed {
                        self.log_reloaded(listener);
                        warned = None;
                    }
                }
                Err(error) => failed = Some(Failure::after(failed, error, listener)),
            }
        }
    }

    /// Writes the line about a new certificate.
    pub fn log_reloaded(&self, listener: &'static str) {
        let until = until(&self.leaf());
        tracing::info!(
            listener,
            until,
            "tls_certificate_reloaded: new connections get it"
        );
    }

    fn report(&self, metrics: &Metrics, listener: &'static str, warned: &mut Option<u64>) {
        let leaf = self.leaf();
        #[expect(clippy::cast_precision_loss, reason = "seconds, exact up to 2^53")]
        let expiry = leaf.not_after_s as f64;
        metrics.set(
            "switchyard_tls_certificate_expiry_timestamp_seconds",
            &[("listener", listener)],
            expiry,
        );
        // Once a day is enough to be found, and does not fill the log.
        let day = self.clock.now_s() / DAY_S;
        let validity = self.validity();
        if validity == Validity::Valid || *warned == Some(day) {
            return;
        }
        *warned = Some(day);
        let (file, until) = (self.files.certificate.display(), until(&leaf));
        match validity {
            Validity::Valid => {}
            Validity::EndsSoon => tracing::warn!(
                listener, %file, until,
                "tls_certificate_expires_soon: renew it; the new file is read without a restart"
            ),
            Validity::Expired => tracing::error!(
                listener, %file, until,
                "tls_certificate_expired: clients refuse it; renew it: the new file is read without a restart"
            ),
            Validity::NotYet => tracing::error!(
                listener, %file,
                "tls_certificate_not_valid_yet: clients refuse it; set this machine's clock, or write another certificate"
            ),
        }
    }
}

impl State {
    fn new(contents: &Contents, files: &Files) -> Result<Self, FileError> {
        let parsed = contents.parse(files)?;
        Ok(Self {
            config: Arc::new(parsed.config),
            leaf: parsed.leaf,
            digest: contents.digest(),
        })
    }
}

/// A failure to read the files, and whether the log has it.
struct Failure {
    error: FileError,
    is_logged: bool,
}

impl Failure {
    /// The failure that follows another one. It is logged once, at its second time in a row.
    fn after(before: Option<Self>, error: FileError, listener: &'static str) -> Self {
        let Some(before) = before.filter(|before| before.error == error) else {
            return Self {
                error,
                is_logged: false,
            };
        };
        if !before.is_logged {
            tracing::error!(
                listener,
                "tls_certificate_not_reloaded: the one before serves: {error}"
            );
        }
        Self {
            error,
            is_logged: true,
        }
    }
}

/// The end of a certificate, in ISO 8601.
fn until(leaf: &Leaf) -> String {
    crate::times::iso(leaf.not_after_s.saturating_mul(1_000))
}
