//! Whether a scheme can be served on a network that is ready, by the scheme's own self-check. It is separate from
//! the network's checks, so that a scheme that hangs or lies affects only its own kinds.
//!
//! A kind that is not ready is not advertised and starts nothing new. Open payments continue.

use crate::decide::faults::passes_by_itself;
use crate::health::Checks;
use crate::registry::Kind;
use crate::state::network::NetworkRun;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sdk_plugin::FaultKind;
use sdk_plugin::scheme::SchemeCheck;

/// Pause between two checks while all schemes of a network are ready.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Pause between two checks while one scheme is not ready.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The longest message of a scheme that is kept, in characters.
const MAX_SENTENCE_CHARS: usize = 400;
/// The most warnings of one check that are kept.
const MAX_WARNINGS: usize = 16;

impl Checks {
    /// Checks every network and its schemes once, as the start would, and waits for each until it has answered.
    pub async fn check_everything(self: &Arc<Self>) {
        join_all(self.runtime.networks.values().map(|run| async {
            self.check_network(run, false).await;
            self.check_schemes(run).await;
        }))
        .await;
    }

    /// Keeps checking a network's schemes, at once when the network becomes ready.
    pub(crate) async fn keep_checking_schemes(self: Arc<Self>, run: Arc<NetworkRun>) {
        loop {
            let all_ready = self.check_schemes(&run).await;
            let pause = if all_ready {
                CHECK_INTERVAL
            } else {
                RECHECK_INTERVAL
            };
            tokio::select! {
                biased;
                () = run.schemes_due.notified() => {}
                () = run.network.schemes_suspect.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Checks every scheme of a network once. `true`: all of them are ready, or the network itself is not.
    pub(crate) async fn check_schemes(&self, run: &NetworkRun) -> bool {
        if run.network.readiness().is_err() {
            return true;
        }
        // All versions of a scheme share one self-check.
        let mut schemes: BTreeMap<(u64, &str), Vec<&Arc<Kind>>> = BTreeMap::new();
        for kind in self
            .runtime
            .registry
            .kinds()
            .filter(|kind| kind.network.id() == run.network.id())
        {
            let scheme = (kind.instance.id, kind.scheme.as_str());
            schemes.entry(scheme).or_default().push(kind);
        }
        let checks = schemes.values().filter_map(|kinds| {
            let first = *kinds.first()?;
            Some(async move {
                let check_result = self.check_kind(first).await;
                (kinds, check_result)
            })
        });
        let mut all_ready = true;
        for (kinds, check_result) in join_all(checks).await {
            for kind in kinds {
                all_ready &= self.record_check(run, kind, &check_result);
            }
        }
        all_ready
    }

    /// The result of the scheme's self-check, or what a missing answer means.
    async fn check_kind(&self, kind: &Kind) -> SchemeCheck {
        let fault = match self.runtime.ops.check_scheme(kind).await {
            Ok(check) => return check,
            Err(fault) => fault,
        };
        let last = kind.check_result();
        match last {
            _ if fault.kind == FaultKind::Unsupported => SchemeCheck::ready(),
            // A plugin that does not run serves nothing, whatever it answered before.
            Some(_) if fault.kind == FaultKind::Shutdown => {
                SchemeCheck::not_ready("its plugin does not run now")
            }
            // Without an answer, the last result stays. If nodes are down, the network's own checks report it.
            Some(last) if passes_by_itself(fault.kind) => last,
            _ => SchemeCheck::not_ready(format!("its check failed: {fault}")),
        }
    }

    fn record_check(&self, run: &NetworkRun, kind: &Kind, check_result: &SchemeCheck) -> bool {
        let (network, scheme) = (kind.network.id(), kind.scheme.as_str());
        let about = format!("scheme {scheme}: ");
        for warning in check_result.warnings.iter().take(MAX_WARNINGS) {
            let warning = cut(warning);
            if run.health.is_news(&format!("{about}{warning}")) {
                tracing::warn!(network, scheme, "{warning}");
            }
        }
        let not_ready = format!("scheme {scheme} is not ready: ");
        if check_result.ready {
            if kind.check_result().is_some_and(|before| !before.ready) {
                run.health.forget(&not_ready);
                tracing::info!(network, scheme, "scheme is ready");
            }
        } else {
            let why = cut(check_result.why_not.as_deref().unwrap_or("it does not say why"));
            if run.health.is_news(&format!("{not_ready}{why}")) {
                tracing::error!(network, scheme, "scheme is not ready: {why}");
            }
        }
        kind.set_check_result(SchemeCheck {
            ready: check_result.ready,
            why_not: check_result.why_not.as_deref().map(cut),
            warnings: check_result
                .warnings
                .iter()
                .take(MAX_WARNINGS)
                .map(|text| cut(text))
                .collect(),
        });
        let labels = [("network", network), ("scheme", scheme)];
        let value = if check_result.ready { 1.0 } else { 0.0 };
        self.runtime
            .metrics
            .set("switchyard_scheme_ready", &labels, value);
        check_result.ready
    }
}

/// A plugin's message on one line and of bounded length.
fn cut(sentence: &str) -> String {
    let one_line = sentence.chars().map(|c| if c.is_control() { ' ' } else { c });
    one_line.take(MAX_SENTENCE_CHARS).collect()
}
