//! What operators learn about plugins that fail their calls, or never complete them: names of instances and sentences of the core,
//! never a text of a plugin. And about signers of keys that fail.

use super::Ops;
use super::breaker::Change;
use crate::registry::{Instance, Network, Registry};
use base::calls::Operation;
use std::collections::BTreeMap;
use std::time::Duration;

/// A call that is not completed after this time hangs. As long as the plugin may take at most.
const HANGS_AFTER: Duration = Duration::from_secs(20);

impl Ops {
    /// Whether a call to the network's nodes may be what a late call waited for.
    pub(super) fn is_chain_down(&self, network: &Network) -> bool {
        self.nodes(network).iter().any(|node| node.trouble.is_some())
    }

    /// Reports that a breaker opened or closed.
    pub(super) fn record_change(
        &self,
        change: Change,
        instance: &Instance,
        network: &Network,
        operation: Operation,
    ) {
        let (plugin, network, operation) = (instance.name.as_str(), network.id(), operation.name());
        let is_open = match change {
            Change::None => return,
            Change::Opened => {
                tracing::error!(
                    plugin,
                    network,
                    operation,
                    "plugin_calls_refused: it left several such calls in a row without an answer, so callers are refused until one succeeds; \
                     install a corrected file, and see its faults above"
                );
                1.0
            }
            Change::Closed => {
                tracing::info!(plugin, network, operation, "plugin_calls_resumed");
                0.0
            }
        };
        let labels = [("plugin", plugin), ("network", network), ("operation", operation)];
        self.metrics
            .set("switchyard_plugin_calls_refused", &labels, is_open);
    }

    /// A sentence for each key of the network whose signer fails.
    pub(crate) fn signer_troubles(&self, network: &Network) -> Vec<String> {
        let Some(signers) = &self.signers else {
            return Vec::new();
        };
        let keys = network.settings.keys.iter();
        let troubles = keys.filter_map(|key| {
            let trouble = signers.trouble(&key.name)?;
            Some(format!("key {}: {trouble}", key.name))
        });
        troubles.collect()
    }

    /// A sentence for each breaker of the network that is open, and for calls that hang.
    pub(crate) fn plugin_troubles(&self, registry: &Registry, network: &str) -> Vec<String> {
        let mut sentences = Vec::new();
        for open in self.breakers.open() {
            if open.site.network == network {
                sentences.push(format!(
                    "plugin.{} left {} calls of {} in a row without an answer: such calls are refused, and one is tried at least every 30 s",
                    name_of(registry, open.site.instance),
                    open.failures,
                    open.site.operation
                ));
            }
        }
        for ((instance, on), calls) in self.hanging() {
            if on == network {
                let operations: Vec<String> = calls
                    .into_iter()
                    .map(|(operation, count)| format!("{count} of {operation}"))
                    .collect();
                sentences.push(format!(
                    "plugin.{} has not completed calls for more than {} s ({}): reload or replace it",
                    name_of(registry, instance),
                    HANGS_AFTER.as_secs(),
                    operations.join(", ")
                ));
            }
        }
        sentences
    }

    /// By instance and network: how many calls of each operation hang.
    fn hanging(&self) -> BTreeMap<(u64, String), BTreeMap<&'static str, u32>> {
        let mut found: BTreeMap<(u64, String), BTreeMap<&'static str, u32>> = BTreeMap::new();
        for scope in self.calls.hanging(HANGS_AFTER) {
            let calls = found.entry((scope.instance, scope.network.clone())).or_default();
            let count = calls.entry(scope.operation.name()).or_default();
            *count = count.saturating_add(1);
        }
        found
    }

    /// How many calls of each instance hang on each network, for metrics.
    pub(crate) fn measure_hanging(&self, registry: &Registry) {
        let hanging = self.hanging();
        for (instance, network) in served(registry) {
            let calls = hanging.get(&(instance.id, network.to_owned()));
            let count: u32 = calls.map_or(0, |calls| calls.values().sum());
            let labels = [("plugin", instance.name.as_str()), ("network", network)];
            self.metrics
                .set("switchyard_plugin_calls_hanging", &labels, f64::from(count));
        }
    }
}

/// Each instance with a network that it serves, with a driver or a scheme; some of them more than once.
fn served(registry: &Registry) -> impl Iterator<Item = (&Instance, &str)> {
    let drivers = registry.networks();
    let drivers = drivers.map(|network| (&*network.instance, network.id()));
    let schemes = registry.kinds();
    drivers.chain(schemes.map(|kind| (&*kind.instance, kind.network.id())))
}

fn name_of(registry: &Registry, instance: u64) -> &str {
    let mut served = served(registry);
    let found = served.find(|(known, _)| known.id == instance);
    found.map_or("?", |(known, _)| known.name.as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::calls::{CallScope, CallTable};
    use sdk_plugin::{Fault, FaultKind};
    use telemetry::metrics::Metrics;

    use super::*;
    use crate::decide::plan_check_tests;
    use crate::runtime::calls::Budgets;
    use crate::runtime::calls::breaker::{Made, Site};

    fn registry() -> Registry {
        let kind = Arc::new(plan_check_tests::kind());
        let mut registry = Registry::default();
        registry.add_network(Arc::clone(&kind.network)).expect("new");
        registry.add_kind(kind).expect("new");
        registry
    }

    fn ops() -> (Ops, Arc<CallTable>, Arc<Metrics>) {
        let (calls, metrics) = (Arc::new(CallTable::default()), Arc::new(Metrics::default()));
        let ops = Ops::new(Arc::clone(&calls), Arc::clone(&metrics), Budgets::default());
        (ops, calls, metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_hang_are_named_and_counted_until_they_complete() {
        let (ops, calls, metrics) = ops();
        let registry = registry();
        let (instance, network) = served(&registry).next().expect("one");
        let scope = CallScope {
            instance: instance.id,
            operation: Operation::Verify,
            network: network.to_owned(),
            signs: None,
            attempt: None,
            node: None,
            subject: None,
        };
        calls.left_open(5, Arc::new(scope));
        assert_eq!(ops.plugin_troubles(&registry, network), Vec::<String>::new());
        tokio::time::advance(HANGS_AFTER + Duration::from_secs(1)).await;
        let sentences = ops.plugin_troubles(&registry, network);
        assert_eq!(
            sentences,
            [format!(
                "plugin.{} has not completed calls for more than 20 s (1 of x402.verify): reload or replace it",
                instance.name
            )]
        );
        assert_eq!(ops.plugin_troubles(&registry, "eip155:999"), Vec::<String>::new());
        let shown = |count: u32| {
            ops.measure_hanging(&registry);
            let line = format!(
                "switchyard_plugin_calls_hanging{{network=\"{network}\",plugin=\"{}\"}} {count}",
                instance.name
            );
            let text = metrics.render();
            assert!(text.contains(&line), "{line} in {text}");
        };
        shown(1);
        calls.completed(5);
        shown(0);
        assert_eq!(ops.plugin_troubles(&registry, network), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_is_named_and_intake_alone_is_refused() {
        let (ops, _, _) = ops();
        let registry = registry();
        let kind = registry.kinds().next().expect("one");
        let network = kind.network.id();
        for _ in 0..5 {
            let site = Site {
                instance: kind.instance.id,
                network: network.to_owned(),
                operation: Operation::Supported.name(),
            };
            let change = ops.breakers.admit(site).expect("closed").end(Made::Bad);
            ops.record_change(change, &kind.instance, &kind.network, Operation::Supported);
        }
        let sentences = ops.plugin_troubles(&registry, network);
        assert_eq!(sentences.len(), 1);
        assert!(
            sentences[0].starts_with(&format!(
                "plugin.{} left 5 calls of x402.supported",
                kind.instance.name
            )),
            "{sentences:?}"
        );
        let fault = ops.supported(kind).await.expect_err("refused");
        assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
        assert_eq!(fault.retry_after_ms, Some(1_000));
        // The self-check of the scheme is a call of the engine.
        let check = ops.check_scheme(kind).await;
        assert!(
            !matches!(
                check,
                Err(Fault {
                    retry_after_ms: Some(1_000),
                    ..
                })
            ),
            "{check:?}"
        );
    }
}
