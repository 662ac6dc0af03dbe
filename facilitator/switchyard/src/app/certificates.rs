//! The certificates of the listeners: loaded before anything else starts, and checked by `switchyard check`.

use std::sync::Arc;

use base::clock::{Clock, SystemClock};
use http_api::tls::{FileError, Files, Tls, Validity};

use super::reload::Report;
use crate::config::{Config, ConfigError, ConfigErrors};

const SERVER: &str = "server.tls";
const ADMIN: &str = "admin.tls";

/// The certificates of the listeners that have one.
#[derive(Debug, Default)]
pub struct Certificates {
    pub server: Option<Arc<Tls>>,
    pub admin: Option<Arc<Tls>>,
}

impl Certificates {
    /// Loads them. One that has expired is loaded: a payment that needs no trust, by a client that pins it, is better served
    /// than refused.
    ///
    /// # Errors
    /// A file can't be used.
    pub fn load(config: &Config) -> Result<Self, ConfigErrors> {
        let [server, admin] = sections(config)
            .map(|(section, files)| files.map(|files| load(config, section, files)).transpose());
        Ok(Self {
            server: server?,
            admin: admin?,
        })
    }

    /// Reads their files again. One that can't be used leaves the certificate before it.
    pub(super) fn reload(&self, report: &mut Report) {
        let both = [(SERVER, "public", &self.server), (ADMIN, "admin", &self.admin)];
        for (section, listener, tls) in both {
            let Some(tls) = tls else { continue };
            match tls.reload() {
                Ok(true) => {
                    tls.log_reloaded(listener);
                    report
                        .done
                        .push(format!("{section} has a new certificate, for new connections"));
                }
                Ok(false) => {}
                Err(why) => {
                    tracing::error!(
                        listener,
                        "tls_certificate_not_reloaded: the one before serves: {why}"
                    );
                    report
                        .failed
                        .push(format!("the certificate of {section} was not replaced: {why}"));
                }
            }
        }
    }
}

/// The files of each listener.
fn sections(config: &Config) -> [(&'static str, Option<&Files>); 2] {
    let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    [(SERVER, config.server.tls.as_ref()), (ADMIN, admin)]
}

fn load(config: &Config, section: &str, files: &Files) -> Result<Arc<Tls>, ConfigErrors> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match Tls::load(files.clone(), clock) {
        Ok(tls) => Ok(Arc::new(tls)),
        Err(FileError { key, message }) => Err(ConfigErrors(vec![
            config.source.error(&format!("{section}.{key}"), message),
        ])),
    }
}

/// Errors of the files, and of certificates that clients refuse now.
pub(super) fn check(config: &Config) -> Vec<ConfigError> {
    let both = sections(config).into_iter();
    both.filter_map(|(section, files)| Some(check_one(config, section, files?)))
        .flatten()
        .collect()
}

fn check_one(config: &Config, section: &str, files: &Files) -> Vec<ConfigError> {
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
