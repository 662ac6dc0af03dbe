//! The HELP texts of the core's own metric families.

/// Name and HELP text of every family that the core writes.
#[rustfmt::skip]
const HELP: &[(&str, &str)] = &[
    ("process_cpu_seconds_total", "CPU time of the process, user and system, in seconds."),
    ("process_max_fds", "The most files and connections that the process may have open."),
    ("process_open_fds", "Open files and connections. Worth an alarm near process_max_fds."),
    ("process_resident_memory_bytes", "Memory of the process that is in RAM, in bytes."),
    ("process_start_time_seconds", "When the process started, in seconds since the epoch."),
    ("process_threads", "Threads of the operating system in the process."),
    ("process_virtual_memory_bytes", "Address space of the process, in bytes."),
    (
        "switchyard_authorization_claimed_twice_total",
        "Steps that were not sent, because another claim has used their authorization. A plugin has a defect or lies. Worth an alarm.",
    ),
    ("switchyard_batched_steps_total", "Payments that were sent in a transaction with others."),
    ("switchyard_batches_total", "Transactions that carry several payments."),
    ("switchyard_block_height", "The highest block of a network that two replies of its nodes have named."),
    ("switchyard_budget_left", "What is left of a budget of the day (UTC), in the network's smallest unit. Nodes that share a journal each subtract what they have spent. Worth an alarm near 0."),
    ("switchyard_budget_limit", "A budget of the day (UTC) as configured, in the network's smallest unit."),
    ("switchyard_budget_refusals_total", "Settlements refused because a budget of the day (UTC) is used up."),
    ("switchyard_build_info", "1. The labels have the version, the commit and the plugin ABI of this build."),
    ("switchyard_disk_free_bytes", "Bytes that can still be written to the disk of the data directory. Worth an alarm before it is full."),
    ("switchyard_disk_refuses_writes", "1 while the data directory refuses writes, for instance because its disk is full: new payments get 503. Worth an alarm at 1."),
    ("switchyard_disk_size_bytes", "Size of the disk of the data directory."),
    ("switchyard_failing_payments_total", "How often so many payments failed on chain within minutes that new payers had to wait. Worth an alarm."),
    ("switchyard_fees_spent_total", "What the final transactions of a signer have cost, in the network's smallest unit, since the start of the process."),
    ("switchyard_host_denied_total", "Host calls of plugins that were refused because the plugin has no grant for them. Worth an alarm."),
    ("switchyard_http_request_seconds", "Time from a request's head to its response."),
    ("switchyard_http_requests_inside", "Requests in flight that may change something."),
    ("switchyard_http_requests_total", "Responses by path, HTTP status and outcome (a reason, or valid, success, replay, ok)."),
    ("switchyard_journal_size_bytes", "Size of the journal's SQLite file and its write-ahead log. Absent with PostgreSQL."),
    ("switchyard_key_used_elsewhere_total", "Steps that failed because other transactions used all their slots: the signer's key is used elsewhere. Worth an alarm."),
    ("switchyard_lanes_unserved", "Lanes with open payments that no node continues, because none has their network and signer; /ready names them. Worth an alarm above 0."),
    ("switchyard_leases_lost_total", "Lanes that another node took because this one did not show in time that it lives: it ends. Worth an alarm."),
    ("switchyard_metrics_dropped_total", "Samples that were not recorded: a plugin used too many names, a name was used with two types, or the value was not a finite number."),
    ("switchyard_network_ready", "1 while the network accepts new settlements, else 0; /ready gives the reason. Worth an alarm at 0."),
    ("switchyard_oldest_pending_payment_seconds", "Age of the oldest recorded payment without an outcome; 0 without one. Worth an alarm when it is high."),
    ("switchyard_open_payments", "Recorded payments without an outcome."),
    ("switchyard_open_slots", "Slots with a recorded transaction that is not final yet, whether or not it has landed."),
    ("switchyard_otlp_dropped_total", "Spans and requests with metrics that were not sent to the collector, by signal. Payments do not depend on it."),
    ("switchyard_otlp_exports_total", "Requests to the collector of telemetry, by signal and outcome."),
    ("switchyard_overdue_settlements", "Payments that are pending although their authorizations have expired at a final block; /ready names the oldest. Worth an alarm above 0."),
    ("switchyard_panics_total", "Tasks of the core that panicked and were restarted: a defect to report. Worth an alarm."),
    ("switchyard_paused", "1 while an operator has paused the kind, else 0; 1 for every kind when the pause file can't be read."),
    ("switchyard_plugin_calls_hanging", "Calls that a plugin has not completed 20 s after their callers stopped waiting; /ready names it. Worth an alarm above 0."),
    ("switchyard_plugin_calls_refused", "1 while calls of an operation are refused because the plugin left several in a row without an answer, else 0; /ready names it. Worth an alarm at 1."),
    ("switchyard_plugin_faults_total", "Plugin calls that failed, by plugin, scheme (empty for drivers), network, operation and kind of fault."),
    ("switchyard_plugin_generation", "How often the plugin was loaded since the start: 1, and one more for each reload that replaced it."),
    ("switchyard_queued_payments", "Payments that wait for a slot, and have no recorded transaction yet."),
    ("switchyard_releases_returned_total", "Responses of success that no connection took: the next equal request gets success."),
    ("switchyard_releases_withheld", "Payments that are not released until the operator allows it, because the journal may be an old copy. Worth an alarm above 0."),
    ("switchyard_reorgs_total", "Decided steps that a reorganisation reverted."),
    ("switchyard_replacements_total", "Transactions that replaced another one in its slot: replace (a higher bid) or fill (an empty transfer)."),
    ("switchyard_rpc_round_trips_total", "Requests to nodes."),
    ("switchyard_rpc_seconds", "Time of one request to a node."),
    ("switchyard_scheme_ready", "1 while the scheme reports that it is ready on the network, else 0; /ready gives the reason. Worth an alarm at 0."),
    ("switchyard_second_source_waits_total", "Polls of payments that a second node does not confirm yet. Worth an alarm when it keeps rising."),
    ("switchyard_sends_total", "Transactions sent to nodes, by the node's reply. Worth an alarm: insufficient_funds, rejected. client_refused is about a transaction that a payer has signed."),
    ("switchyard_set_aside_total", "Payments about which the plugin is not called any more, because calls about them ended its process twice. Worth an alarm."),
    ("switchyard_settlements_total", "Settlements that ended: paid, failed (proven not to have happened), reversed (reported as success, then removed from the chain; worth an alarm)."),
    ("switchyard_signatures_total", "Signatures that were requested, by key and outcome: signed, limited (the key's or its signer's limit of signatures), failed."),
    ("switchyard_signer_balance", "Native currency of a signer in its smallest unit, as of the last check."),
    ("switchyard_signer_cannot_pay", "1 while the balance of an active signer is below max_cost, else 0. Worth an alarm at 1."),
    ("switchyard_tls_certificate_expiry_timestamp_seconds", "When the TLS certificate of a listener expires, in seconds since the epoch. Worth an alarm some days before."),
    ("switchyard_tenant_requests_total", "Payment requests by path, tenant (none: without one), network (other: not served; none: not known) and result: positive, negative or unavailable (503)."),
    ("switchyard_unavailable_total", "Payment requests that got 503, by path and cause."),
    ("switchyard_unexplained_sequence_total", "How often the chain had transactions of a signer that the journal does not know: the key is used elsewhere, or the journal is old. Worth an alarm."),
    ("switchyard_unexplained_total", "Steps whose effect is on chain although their transaction is not known; it is searched for. Worth an alarm."),
    ("switchyard_unjudged_total", "Polls of landed payments that no loaded plugin can judge. Worth an alarm."),
    ("switchyard_unproven_total", "Polls of landed payments for which the scheme could not decide yet whether they paid. Worth an alarm when it keeps rising."),
];

/// The HELP text of a family.
pub(super) fn text_of(name: &str) -> Option<&'static str> {
    HELP.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, help)| *help)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    /// What the core's names start with: `process_` as in Prometheus's own clients.
    const PREFIXES: [&str; 2] = ["switchyard_", "process_"];

    /// Metric names that are complete string literals of the text: `"switchyard_…"`.
    fn names(text: &str) -> impl Iterator<Item = &str> {
        text.split('"').filter(|part| {
            PREFIXES
                .iter()
                .any(|prefix| part.starts_with(prefix) && part.len() > prefix.len())
                && !part.contains(|c: char| !is_name_character(c))
        })
    }

    fn is_name_character(c: char) -> bool {
        c.is_ascii_lowercase() || c == '_'
    }

    /// Families with buckets.
    const HISTOGRAMS: [&str; 2] = ["switchyard_http_request_seconds", "switchyard_rpc_seconds"];

    fn kind(name: &str) -> &'static str {
        match name {
            name if HISTOGRAMS.contains(&name) => "histogram",
            name if name.ends_with("_total") => "counter",
            _ => "gauge",
        }
    }

    /// Regenerate with `UPDATE_DOCS=1 cargo test --release --locked -p telemetry --lib the_handbook`.
    #[test]
    fn the_handbook_has_every_metric() {
        let mut wanted = "# Metrics\n\nEvery family that `GET /metrics` serves and that a collector receives, with its HELP text. \
                          [Telemetry](telemetry.md) says how to\nread them, [Set alarms](running.md#set-alarms) which of them need a person. \
                          Plugins write further ones, whose names start with\n`plugin_`.\n\n| Metric | Type | Meaning |\n|---|---|---|\n"
            .to_owned();
        for (name, help) in HELP {
            writeln!(wanted, "| `{name}` | {} | {help} |", kind(name)).unwrap();
        }
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&page, &wanted).unwrap();
        }
        let written = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(
            written == wanted,
            "docs/src/metrics.md is not current: run this test with UPDATE_DOCS=1"
        );
    }

    fn read(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("help.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(names(&text).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_metric_of_the_sources_has_help_and_no_help_is_left_over() {
        let mut found = BTreeSet::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut found);
        let documented: BTreeSet<String> = HELP.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, documented);
    }
}
