//! Counters that somebody watches are there from the start: a rate over a series that appears with its first event
//! misses that event.

use crate::registry::Registry;
use crate::telemetry::metrics::Metrics;

/// Writes a zero for every series that an alarm may be put on.
pub(super) fn begin_at_zero(metrics: &Metrics, registry: &Registry) {
    metrics.add("switchyard_metrics_dropped_total", &[], 0);
    for network in registry.networks() {
        let id = network.id();
        for name in [
            "switchyard_key_used_elsewhere_total",
            "switchyard_unexplained_sequence_total",
            "switchyard_unexplained_total",
            "switchyard_unjudged_total",
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
    for kind in registry.kinds() {
        let labels = [("network", kind.network.id()), ("scheme", kind.scheme.as_str())];
        metrics.set("switchyard_scheme_ready", &labels, 0.0);
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
    use super::*;

    #[test]
    fn an_empty_registry_has_the_process_own_alarm() {
        let metrics = Metrics::default();
        begin_at_zero(&metrics, &Registry::default());
        assert!(
            metrics
                .render()
                .contains("\nswitchyard_metrics_dropped_total 0\n")
        );
    }
}
