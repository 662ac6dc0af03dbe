//! Counters that an alarm may watch exist from the start: a rate over a series that appears with its first event
//! misses that event.

use crate::registry::Registry;
use sdk_plugin::ops::service;

use telemetry::metrics::Metrics;

/// Writes a zero for every series that an alarm may watch.
pub(crate) fn begin_at_zero(metrics: &Metrics, registry: &Registry) {
    metrics.add("switchyard_metrics_dropped_total", &[], 0);
    metrics.add("switchyard_leases_lost_total", &[], 0);
    metrics.set("switchyard_lanes_unserved", &[], 0.0);
    for network in registry.networks() {
        let id = network.id();
        for name in [
            "switchyard_key_used_elsewhere_total",
            "switchyard_unexplained_sequence_total",
            "switchyard_unexplained_total",
            "switchyard_unjudged_total",
            "switchyard_failing_payments_total",
            "switchyard_panics_total",
            "switchyard_unproven_total",
            "switchyard_reorgs_total",
            "switchyard_second_source_waits_total",
        ] {
            metrics.add(name, &[("network", id)], 0);
        }
        for answer in ["insufficient_funds", "rejected", "sequence_used", "unknown"] {
            metrics.add(
                "switchyard_sends_total",
                &[("network", id), ("answer", answer)],
                0,
            );
        }
        for budget in ["network", "signer", "tenant"] {
            let labels = [("network", id), ("budget", budget)];
            metrics.add("switchyard_budget_refusals_total", &labels, 0);
        }
        for what in ["replace", "fill"] {
            metrics.add(
                "switchyard_replacements_total",
                &[("network", id), ("what", what)],
                0,
            );
        }
        metrics.set("switchyard_network_ready", &[("network", id)], 0.0);
        metrics.set("switchyard_open_slots", &[("network", id)], 0.0);
        metrics.set("switchyard_overdue_settlements", &[("network", id)], 0.0);
    }
    let drivers = registry.networks().map(|network| &network.instance);
    for instance in drivers.chain(registry.kinds().map(|kind| &kind.instance)) {
        for service in service::ALL {
            let labels = [("plugin", instance.plugin.as_str()), ("service", service)];
            metrics.add("switchyard_host_denied_total", &labels, 0);
        }
    }
    for kind in registry.kinds() {
        let labels = [("network", kind.network.id()), ("scheme", kind.scheme.as_str())];
        metrics.set("switchyard_scheme_ready", &labels, 0.0);
        metrics.set("switchyard_paused", &labels, 0.0);
        let [network, scheme] = labels;
        let plugin = ("plugin", kind.instance.name.as_str());
        metrics.add("switchyard_set_aside_total", &[plugin, network, scheme], 0);
        for outcome in ["paid", "failed", "reversed"] {
            let labels = [
                ("network", kind.network.id()),
                ("scheme", kind.scheme.as_str()),
                ("outcome", outcome),
            ];
            metrics.add("switchyard_settlements_total", &labels, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decide::plan_check_tests;

    #[test]
    fn host_denials_and_pauses_have_samples_from_the_start() {
        let kind = Arc::new(plan_check_tests::kind());
        let mut registry = Registry::default();
        registry.add_network(Arc::clone(&kind.network)).unwrap();
        registry.add_kind(kind).unwrap();
        let metrics = Metrics::default();
        begin_at_zero(&metrics, &registry);
        let shown = metrics.render();
        for line in [
            "switchyard_host_denied_total{plugin=\"test\",service=\"sign.v1\"} 0",
            "switchyard_host_denied_total{plugin=\"test\",service=\"rpc.v1\"} 0",
            "switchyard_paused{network=\"eip155:1\",scheme=\"test\"} 0",
        ] {
            assert!(shown.contains(line), "{line} in {shown}");
        }
    }

    #[test]
    fn an_empty_registry_has_the_alarm_of_the_process() {
        let metrics = Metrics::default();
        begin_at_zero(&metrics, &Registry::default());
        assert!(
            metrics
                .render()
                .contains("\nswitchyard_metrics_dropped_total 0\n")
        );
    }
}
