//! Who serves what: from (version, scheme, network) to a handler, and from network to its driver.
//!
//! Membership is exact: no wildcard, no guess from a namespace. A kind or a network claimed twice is refused when the
//! registry is built.

use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use sdk_plugin::chain::{KeyInfo, Lane, Readiness};
use sdk_plugin::{ChainDriver, NetworkView};
use tokio::sync::Notify;

use base::service::Membership;
use no_chain::NoChain;

mod grants;
mod instance;
mod kind;
mod no_chain;
mod settings;

pub use grants::Granted;
pub use instance::Instance;
pub use kind::{Checked, Kind};
pub use settings::{NetworkSettings, spelled};

/// A network with its driver.
pub struct Network {
    pub settings: NetworkSettings,
    pub driver: Arc<dyn ChainDriver>,
    pub instance: Arc<Instance>,
    /// Notified when its nodes seem not to answer: the network is then checked at once.
    pub suspect: Notify,
    /// Notified when a plugin of its schemes seems not to run: the schemes are then checked at once.
    pub schemes_suspect: Notify,
    has_chain: bool,
    state: RwLock<NetworkState>,
}

#[derive(Debug, Clone, Default)]
struct NetworkState {
    ready: bool,
    why_not: Option<String>,
    lanes: Vec<Lane>,
    retained: Vec<Lane>,
    /// Active signers that can't pay for a transaction now. Never all of them.
    unfunded: BTreeSet<String>,
    /// Active signers that an operator has drained, perhaps all of them.
    drained: BTreeSet<String>,
    /// What the operator has written, as [`spelled`]: signers that are not known yet are among them.
    to_drain: BTreeSet<String>,
    warnings: Vec<String>,
}

impl NetworkState {
    /// Active lanes that take new payments, and those that do not: their signers can't pay, or are drained.
    fn by_use(&self) -> (Vec<Lane>, Vec<Lane>) {
        let lanes = self.lanes.iter().cloned();
        lanes.partition(|lane| self.takes_new(lane))
    }

    fn drain(&mut self) {
        let lanes = self.lanes.iter();
        let drained = lanes.filter(|lane| self.to_drain.contains(&spelled(&lane.signer)));
        self.drained = drained.map(|lane| lane.signer.clone()).collect();
    }

    fn takes_new(&self, lane: &Lane) -> bool {
        !self.unfunded.contains(&lane.signer) && !self.drained.contains(&lane.signer)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("id", &self.settings.id)
            .finish_non_exhaustive()
    }
}

impl Network {
    pub fn new(settings: NetworkSettings, driver: Arc<dyn ChainDriver>, instance: Arc<Instance>) -> Self {
        let state = NetworkState {
            why_not: Some("not checked yet".into()),
            ..NetworkState::default()
        };
        Self {
            settings,
            driver,
            instance,
            suspect: Notify::new(),
            schemes_suspect: Notify::new(),
            has_chain: true,
            state: RwLock::new(state),
        }
    }

    /// A network whose schemes keep the accounts themselves. `instance`: of one of its schemes.
    #[must_use]
    pub fn without_chain(settings: NetworkSettings, instance: Arc<Instance>) -> Self {
        Self {
            has_chain: false,
            ..Self::new(settings, Arc::new(NoChain), instance)
        }
    }

    /// Whether there is a chain to send to.
    #[must_use]
    pub fn has_chain(&self) -> bool {
        self.has_chain
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.settings.id
    }

    /// The network as plugins see it now. A signer that can't pay or is drained is shown as retained: it gets nothing new and
    /// serves what is bound to it. It is not among the retired signers: payments that name it already stay valid.
    #[must_use]
    pub fn view(&self) -> NetworkView {
        let state = self.state.read();
        let (lanes, unused) = state.by_use();
        NetworkView {
            id: self.settings.id.clone(),
            confirmations: self.settings.confirmations,
            finality: self.settings.finality,
            lanes,
            retained: unused.into_iter().chain(state.retained.iter().cloned()).collect(),
            retired: state.retained.iter().map(|lane| lane.signer.clone()).collect(),
            assets: self
                .settings
                .assets
                .as_ref()
                .map(|assets| assets.iter().cloned().collect()),
            options: self.settings.options.clone(),
        }
    }

    /// Lanes for new work.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        let state = self.state.read();
        state.by_use().0
    }

    /// Runs `with` on the lanes for new work, without a copy of them. It must not use the network.
    pub(crate) fn with_lanes<T>(&self, with: impl FnOnce(&mut dyn Iterator<Item = &Lane>) -> T) -> T {
        let state = self.state.read();
        with(&mut state.lanes.iter().filter(|lane| state.takes_new(lane)))
    }

    /// Whether there are lanes, and the chain numbers the transactions of each.
    pub(crate) fn is_ordered(&self) -> bool {
        let state = self.state.read();
        let mut lanes = state.lanes.iter().chain(&state.retained).peekable();
        lanes.peek().is_some() && lanes.all(|lane| lane.ordered)
    }

    /// Lanes of all configured signers, whether or not they can pay.
    #[must_use]
    pub fn active_lanes(&self) -> Vec<Lane> {
        let state = self.state.read();
        state.lanes.clone()
    }

    /// Addresses of all configured signers, whether or not they can pay.
    #[must_use]
    pub fn active_signers(&self) -> Vec<String> {
        let lanes = self.active_lanes().into_iter();
        lanes.map(|lane| lane.signer).collect()
    }

    /// Records which active signers can't pay for a transaction. Must not be called with all of them: then the network
    /// is not ready.
    pub fn set_unfunded(&self, unfunded: BTreeSet<String>) {
        self.state.write().unfunded = unfunded;
    }

    /// Records which signers an operator has drained: exactly these get nothing new. Addresses are compared as [`spelled`].
    pub fn set_drained<'s>(&self, signers: impl Iterator<Item = &'s str>) {
        let to_drain = signers.map(spelled).collect();
        let mut state = self.state.write();
        state.to_drain = to_drain;
        state.drain();
    }

    /// Signers that an operator has drained.
    #[must_use]
    pub fn drained(&self) -> BTreeSet<String> {
        self.state.read().drained.clone()
    }

    /// Every lane that may still sign, active ones first.
    #[must_use]
    pub fn all_lanes(&self) -> Vec<Lane> {
        let state = self.state.read();
        state.lanes.iter().chain(&state.retained).cloned().collect()
    }

    /// `Ok` when the network can settle now, else the reason why it can't.
    pub fn readiness(&self) -> Result<(), String> {
        let state = self.state.read();
        if state.ready {
            let takes_new = state.lanes.iter().any(|lane| state.takes_new(lane));
            if takes_new || !self.has_chain || state.drained.is_empty() {
                return Ok(());
            }
            Err(
                "an operator has drained every signer that can pay; `switchyard resume --network … --signer …` lets one take \
                 payments again"
                    .to_owned(),
            )
        } else {
            Err(state.why_not.clone().unwrap_or_else(|| "not ready".into()))
        }
    }

    /// Records the signers that the driver's check names. Known lanes stay.
    pub fn set_lanes(&self, readiness: &Readiness) {
        let lanes_of = |keys: &[KeyInfo]| -> Vec<Lane> {
            keys.iter()
                .filter_map(|key| {
                    readiness.addresses.get(&key.name).map(|signer| Lane {
                        network: self.settings.id.clone(),
                        signer: signer.clone(),
                        key: key.name.clone(),
                        ordered: readiness.ordered,
                    })
                })
                .collect()
        };
        let mut state = self.state.write();
        state.lanes = lanes_of(&self.settings.keys);
        state.retained = lanes_of(&self.settings.retained_keys);
        state.drain();
    }

    /// Records the result of the driver's check, or another reason why the network can't be used.
    pub fn set_readiness(&self, checked: Result<&Readiness, String>) {
        if let Ok(readiness) = &checked {
            self.set_lanes(readiness);
        }
        let mut state = self.state.write();
        if let Ok(readiness) = &checked {
            state.warnings.clone_from(&readiness.warnings);
        }
        state.why_not = match checked {
            Ok(readiness) if readiness.ready && (!state.lanes.is_empty() || !self.has_chain) => None,
            Ok(readiness) => Some(
                readiness
                    .why_not
                    .clone()
                    .unwrap_or_else(|| "the driver names no signer".into()),
            ),
            Err(why_not) => Some(why_not),
        };
        state.ready = state.why_not.is_none();
    }

    /// Warnings of the driver's last successful check.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let state = self.state.read();
        state.warnings.clone()
    }
}

/// All kinds and networks.
#[derive(Debug, Default)]
pub struct Registry {
    kinds: BTreeMap<(u8, String, String), Arc<Kind>>,
    order: Vec<(u8, String, String)>,
    networks: BTreeMap<String, Arc<Network>>,
}

/// Two plugins claim the same kind or network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RegistryError(pub String);

impl Registry {
    pub fn add_network(&mut self, network: Arc<Network>) -> Result<(), RegistryError> {
        let id = network.id().to_owned();
        if let Some(first) = self.networks.get(&id) {
            return Err(RegistryError(format!(
                "network {id} has two drivers, from plugin.{} and plugin.{}; list it under `networks` of one of them",
                first.instance.name, network.instance.name
            )));
        }
        self.networks.insert(id, network);
        Ok(())
    }

    pub fn add_kind(&mut self, kind: Arc<Kind>) -> Result<(), RegistryError> {
        let key = (kind.version, kind.scheme.clone(), kind.network.id().to_owned());
        if let Some(first) = self.kinds.get(&key) {
            return Err(RegistryError(format!(
                "{} v{} on {} is claimed by plugin.{} and plugin.{}; remove one, or take the network out of the \
                 `networks` of one of them",
                key.1, key.0, key.2, first.instance.name, kind.instance.name
            )));
        }
        self.order.push(key.clone());
        self.kinds.insert(key, kind);
        Ok(())
    }

    #[must_use]
    pub fn kind(&self, version: u8, scheme: &str, network: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(&(version, scheme.to_owned(), network.to_owned()))
    }

    /// The kind that judges an earlier settlement: one of the same plugin, in any version.
    #[must_use]
    pub fn kind_of(&self, plugin: &str, scheme: &str, network: &str) -> Option<&Arc<Kind>> {
        [2, 1]
            .iter()
            .filter_map(|v| self.kind(*v, scheme, network))
            .find(|kind| kind.instance.plugin == plugin)
    }

    #[must_use]
    pub fn network(&self, id: &str) -> Option<&Arc<Network>> {
        self.networks.get(id)
    }

    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.networks.values()
    }

    /// Version 2 before 1, then in the order of registration.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        let of = |version: u8| {
            self.order
                .iter()
                .filter(move |key| key.0 == version)
                .filter_map(|key| self.kinds.get(key))
        };
        of(2).chain(of(1))
    }

    #[must_use]
    pub fn membership(&self, version: u8, scheme: &str, network: &str) -> Membership {
        if self.kind(version, scheme, network).is_some() {
            Membership::Served
        } else if self.kinds.keys().any(|(_, s, _)| s == scheme) {
            Membership::OtherNetwork
        } else {
            Membership::UnknownScheme
        }
    }
}
