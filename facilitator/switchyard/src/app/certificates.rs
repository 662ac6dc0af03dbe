//! The certificates of the listeners: loaded before anything else starts, and checked by `switchyard check`.

use std::sync::Arc;

use base::clock::{Clock, SystemClock};
use http_api::tls::{FileError, Files, Tls, Validity};

use crate::config::{Config, ConfigError, ConfigErrors};

/// Loads the certificate of `[server.tls]`, if it is configured. One that has expired is loaded: a payment that needs no
/// trust, by a client that pins it, is better served than refused.
///
/// # Errors
/// A file can't be used.
pub fn server_certificate(config: &Config) -> Result<Option<Arc<Tls>>, ConfigErrors> {
    match &config.server.tls {
        Some(files) => load(config, "server.tls", files).map(Some),
        None => Ok(None),
    }
}

/// Loads the certificate of a section of the configuration, for instance `server.tls`.
///
/// # Errors
/// A file can't be used.
pub fn load(config: &Config, section: &str, files: &Files) -> Result<Arc<Tls>, ConfigErrors> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match Tls::load(files.clone(), clock) {
        Ok(tls) => Ok(Arc::new(tls)),
        Err(FileError { key, message }) => Err(ConfigErrors(vec![
            config.source.error(&format!("{section}.{key}"), message),
        ])),
    }
}

/// Errors of a section's files, and of a certificate that clients refuse now.
pub(super) fn check(config: &Config, section: &str, files: &Files) -> Vec<ConfigError> {
    let tls = match load(config, section, files) {
        Ok(tls) => tls,
        Err(errors) => return errors.0,
    };
    let file = files.certificate.display();
    let why = match tls.validity() {
        Validity::Valid | Validity::EndsSoon => return Vec::new(),
        Validity::Expired => format!("{file}: the certificate has expired, and clients refuse it; renew it"),
        Validity::NotYet => format!(
            "{file}: the certificate is not valid yet, and clients refuse it; set this machine's clock, or write another \
             certificate"
        ),
    };
    vec![config.source.error(&format!("{section}.certificate"), why)]
}
