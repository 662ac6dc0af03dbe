//! What a driver's self-check of a network finds: the first reason to stop it, a fault of the node, and warnings.

use std::collections::BTreeMap;

use crate::Fault;
use crate::chain::{KeyInfo, NodeFault, Readiness};

/// Findings of one [`ChainDriver::check`](crate::ChainDriver::check), from which [`Findings::into_readiness`] makes its result.
#[derive(Debug, Default)]
pub struct Findings {
    /// The first finding that stops the network.
    pub why_not: Option<String>,
    /// What is wrong with the node, if that is why the network is stopped.
    pub node_fault: Option<NodeFault>,
    /// What an operator should read although the network is not stopped.
    pub warnings: Vec<String>,
}

/// Limits for the age of the chain's head, all in seconds. Of each pair, the operator's limit applies; where it is 0, a head
/// beyond the second limit only causes a warning.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// The network option `max_head_age_s`.
    pub max_age_s: u64,
    /// Age that causes a warning where `max_age_s` is 0.
    pub warn_age_s: u64,
    /// The network option `max_clock_skew_s`.
    pub max_ahead_s: u64,
    /// How far ahead of the host's clock a head causes a warning where `max_ahead_s` is 0.
    pub warn_ahead_s: u64,
}

impl Findings {
    /// Stops the network. Only the first reason is kept.
    pub fn stop(&mut self, why: String) {
        self.why_not.get_or_insert(why);
    }

    /// Stops the network because of the node: another node may be better, unless something else stops the network already.
    pub fn stop_for_node(&mut self, fault: NodeFault, why: String) {
        if self.why_not.is_none() {
            self.node_fault = Some(fault);
        }
        self.stop(why);
    }

    /// The network's options. Malformed ones stop the network, and the defaults are used for the rest of the check.
    pub fn options<O: Default>(&mut self, options: Result<O, Fault>) -> O {
        options.unwrap_or_else(|fault| {
            self.stop(fault.message);
            O::default()
        })
    }

    /// The address of each key, by key name. A key that has none stops the network.
    pub fn signers<A>(
        &mut self,
        keys: &[KeyInfo],
        address: impl Fn(&KeyInfo) -> Result<A, String>,
    ) -> BTreeMap<String, A> {
        let mut addresses = BTreeMap::new();
        for key in keys {
            match address(key) {
                Ok(address) => {
                    addresses.insert(key.name.clone(), address);
                }
                Err(why) => self.stop(why),
            }
        }
        addresses
    }

    /// Compares the time of the chain's head with the host's clock, both in seconds since the epoch. `head` names the head in
    /// messages: `the head block 17`. `age_advice` is what an operator can do about a head that is too old.
    pub fn check_head_time(
        &mut self,
        head: &str,
        head_s: u64,
        now_s: u64,
        limits: HeadLimits,
        age_advice: &str,
    ) {
        let limit = |configured: u64, default: u64| if configured == 0 { default } else { configured };
        let age_s = now_s.saturating_sub(head_s);
        let ahead_s = head_s.saturating_sub(now_s);
        if age_s > limit(limits.max_age_s, limits.warn_age_s) {
            let what = format!("{head} is {age_s} s old: the nodes lag or the chain stands still");
            self.stop_or_warn("max_head_age_s", limits.max_age_s, &what, age_advice);
        }
        if ahead_s > limit(limits.max_ahead_s, limits.warn_ahead_s) {
            let what = format!("{head} is {ahead_s} s ahead of this host's clock: set the clock");
            let advice = "or raise max_clock_skew_s; 0 only warns";
            self.stop_or_warn("max_clock_skew_s", limits.max_ahead_s, &what, advice);
        }
    }

    /// The result of the check. `addresses`: of each signer, by key name; `ordered` and `head_height` as in [`Readiness`].
    #[must_use]
    pub fn into_readiness(
        self,
        addresses: BTreeMap<String, String>,
        ordered: bool,
        head_height: u64,
    ) -> Readiness {
        Readiness {
            ready: self.why_not.is_none(),
            why_not: self.why_not,
            addresses,
            ordered,
            head_height,
            warnings: self.warnings,
            node_fault: self.node_fault,
        }
    }

    /// Stops the network and adds the advice; only warns where the operator's limit is 0.
    fn stop_or_warn(&mut self, option: &str, limit_s: u64, what: &str, advice: &str) {
        if limit_s == 0 {
            self.warnings.push(format!("{what}; {option} = 0 lets it pass"));
        } else {
            self.stop_for_node(NodeFault::Behind, format!("{what} ({advice})"));
        }
    }
}
