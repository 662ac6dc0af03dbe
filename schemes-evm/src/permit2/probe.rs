//! On which networks the proxies are deployed. Their addresses are the same on every chain, and they are not deployed on
//! every chain.
//!
//! One node that does not show a proxy does not make it absent: two are read where there are two, and one that shows it
//! is enough (T-130). Each payment's own checks read it again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_sol_types::SolCall;
use sdk_plugin::{Cx, Fault};

use super::Proxy;
use super::abi::AnyProxy;
use super::transfer::is_permit2;
use crate::abi::PERMIT2;
use crate::rpc::{self, Answers, EthCall, Executed, Opinions};

/// Gas that the read may use.
const READ_GAS: u64 = 100_000;
/// How long a proxy that was seen counts as deployed without another read, in milliseconds.
const SEEN_FOR_MS: u64 = 60 * 60 * 1_000;
/// How long one that was not seen counts as absent, in milliseconds: it may be deployed at any moment.
const ABSENT_FOR_MS: u64 = 10 * 60 * 1_000;

/// What the last probe of each network has shown.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// By CAIP-2 id.
    seen: Mutex<HashMap<String, Probe>>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    is_deployed: bool,
    /// The host's time in milliseconds.
    at_ms: u64,
}

impl Probe {
    fn is_fresh(self, now_ms: u64) -> bool {
        let lasts_ms = if self.is_deployed {
            SEEN_FOR_MS
        } else {
            ABSENT_FOR_MS
        };
        now_ms
            .checked_sub(self.at_ms)
            .is_some_and(|age_ms| age_ms < lasts_ms)
    }
}

impl Probes {
    /// Whether the proxy is deployed on the call's network, by the last probe; `None`: there was none.
    pub(crate) fn known(&self, cx: &Cx) -> Option<bool> {
        let probe = self.lock().get(&cx.network().id).copied();
        probe.map(|probe| probe.is_deployed)
    }

    /// Whether the proxy is deployed on the call's network, read anew when the last probe is old.
    ///
    /// # Errors
    /// No node answers.
    pub(crate) async fn refresh(&self, cx: &Cx, proxy: Proxy) -> Result<bool, Fault> {
        let last = self.lock().get(&cx.network().id).copied();
        if let Some(last) = last.filter(|last| last.is_fresh(cx.now_ms())) {
            return Ok(last.is_deployed);
        }
        let names_permit2 = EthCall {
            from: None,
            to: proxy.address(),
            data: AnyProxy::PERMIT2Call {}.abi_encode(),
            gas: Some(READ_GAS),
        };
        let calls = vec![names_permit2.call(), rpc::get_code(PERMIT2)];
        let mut opinions = Opinions::default();
        for answers in rpc::compare_or_read(cx, calls).await?.sets {
            opinions.record(is_shown(answers));
        }
        let is_deployed = opinions.into_result()?.contains(&true);
        let probe = Probe {
            is_deployed,
            at_ms: cx.now_ms(),
        };
        self.lock().insert(cx.network().id.clone(), probe);
        Ok(is_deployed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Probe>> {
        // Each entry is written at once.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_shown(mut answers: Answers) -> Result<bool, Fault> {
    let proxy = match rpc::executed(answers.take()?, "PERMIT2 of a proxy")? {
        Executed::Returned(data) => is_permit2(&data),
        Executed::Failed(_) => false,
    };
    let permit2 = !rpc::bytes(answers.take()?, "eth_getCode of Permit2")?.is_empty();
    Ok(proxy && permit2)
}
