//! One scheme on one network, with the result of its last self-check.

use std::fmt;
use std::sync::Arc;

use base::service::RouteTerms;
use parking_lot::RwLock;
use sdk_plugin::SchemeHandler;
use sdk_plugin::scheme::SchemeCheck;

use super::{Granted, Instance, Network};

/// One scheme on one network.
pub struct Kind {
    pub version: u8,
    pub scheme: String,
    pub network: Arc<Network>,
    pub handler: Arc<dyn SchemeHandler>,
    pub instance: Arc<Instance>,
    /// What plans may call.
    pub grants: Vec<Granted>,
    /// The scheme's HTTP routes, where it has any.
    pub routes: Option<RouteTerms>,
    /// Whether a payload authorizes one payment, whatever the requirements are.
    pub payload_authorizes: bool,
    /// The result of its last self-check.
    pub checked: Checked,
}

/// A scheme's self-check result on a network; `None` inside: not checked yet.
#[derive(Debug, Default)]
pub struct Checked(RwLock<Option<SchemeCheck>>);

impl Kind {
    /// The result of the scheme's last self-check.
    #[must_use]
    pub fn check_result(&self) -> Option<SchemeCheck> {
        self.checked.0.read().clone()
    }

    pub fn set_check_result(&self, check_result: SchemeCheck) {
        *self.checked.0.write() = Some(check_result);
    }

    /// `Ok` when new payments of this kind can start now: its network is ready and its self-check says that it is
    /// ready.
    pub fn readiness(&self) -> Result<(), String> {
        self.network.readiness()?;
        match self.check_result() {
            Some(check_result) if check_result.ready => Ok(()),
            Some(check_result) => Err(check_result
                .why_not
                .unwrap_or_else(|| "it does not say why".into())),
            None => Err("not checked yet".into()),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{} on {}", self.scheme, self.version, self.network.id())
    }
}
