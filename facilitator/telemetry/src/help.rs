//! What is said at `/metrics` about the core's own families.

/// Name and meaning of every family that the core writes.
#[rustfmt::skip]
const HELP: &[(&str, &str)] = &[
    ("switchyard_budget_refusals_total", "Settlements refused because a budget of the day (UTC) is used up."),
    ("switchyard_disk_refuses_writes", "1 while the data directory takes no writes, for instance because its disk is full: new payments get 503. Worth an alarm at 1."),
    ("switchyard_failing_payments_total", "How often so many payments failed on chain within minutes that payers who are not known had to wait. Worth an alarm."),
    ("switchyard_host_denied_total", "Host calls of plugins that were refused because they are not granted. Worth an alarm."),
    ("switchyard_http_request_seconds", "Time from a request's head to its answer."),
    ("switchyard_http_requests_inside", "Payments and orders being served now."),
    ("switchyard_http_requests_total", "Answers by path, HTTP status and outcome (a reason, or valid, success, replay, ok)."),
    ("switchyard_key_used_elsewhere_total", "Steps that failed because other transactions used all their slots: the signer's key is used elsewhere. Worth an alarm."),
    ("switchyard_metrics_dropped_total", "Samples not recorded: too many names of a plugin, a name used with two kinds, or not a finite number."),
    ("switchyard_network_ready", "1 while the network can begin new settlements, else 0; /ready says why. Worth an alarm at 0."),
    ("switchyard_open_slots", "Places in lanes with a journaled transaction that is not at finality yet, whether or not it has landed."),
    ("switchyard_overdue_settlements", "Payments pending although their authorizations have ended and that is final; /ready names the oldest. Worth an alarm above 0."),
    ("switchyard_panics_total", "Pieces of the core's own work that panicked and were begun again: a defect to report. Worth an alarm."),
    ("switchyard_paused", "1 while an operator has paused the kind, else 0; 1 for every kind when the switch can't be read."),
    ("switchyard_plugin_faults_total", "Plugin calls that gave no answer, by operation and kind of fault."),
    ("switchyard_releases_returned_total", "Answers of success that reached no connection: the next equal request gets them."),
    ("switchyard_releases_withheld", "Payments that are not released until the operator allows it, because the journal may be an old copy. Worth an alarm above 0."),
    ("switchyard_reorgs_total", "Decided steps that a reorganisation took away again."),
    ("switchyard_replacements_total", "Transactions put into a slot that had one: replace (a higher bid) or fill (a transfer of nothing)."),
    ("switchyard_rpc_round_trips_total", "Requests to nodes."),
    ("switchyard_rpc_seconds", "Time of one request to a node."),
    ("switchyard_scheme_ready", "1 while the scheme says of itself that it can be served on the network, else 0; /ready says why. Worth an alarm at 0."),
    ("switchyard_second_source_waits_total", "Looks at payments that one node shows and a second one does not show alike yet. Worth an alarm when it keeps rising."),
    ("switchyard_sends_total", "Transactions handed to nodes, by the node's answer. Worth an alarm: insufficient_funds, rejected."),
    ("switchyard_settlements_total", "Settlements that ended: paid, failed (proven not to have happened), reversed (told as success and gone from the chain; worth an alarm)."),
    ("switchyard_signer_balance", "Native currency of a signer in its smallest unit, as of the last check."),
    ("switchyard_signer_cannot_pay", "1 while an active signer has less than one transaction of max_cost, else 0. Worth an alarm at 1."),
    ("switchyard_unexplained_sequence_total", "Times the chain had transactions of a signer that the journal does not know: a key used elsewhere, or an old journal. Worth an alarm."),
    ("switchyard_unexplained_total", "Steps whose effect the chain shows without the transaction that had it; they are searched for. Worth an alarm."),
    ("switchyard_unjudged_total", "Looks at payments that landed and that no loaded plugin can judge. Worth an alarm."),
    ("switchyard_unproven_total", "Looks at payments that landed and whose scheme could not tell yet whether they paid. Worth an alarm when it keeps rising."),
];

/// What a family means.
pub(super) fn of(name: &str) -> Option<&'static str> {
    HELP.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, help)| *help)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Names in the text that are written as a whole string: `"switchyard_…"`.
    fn names(text: &str) -> impl Iterator<Item = &str> {
        text.split('"')
            .filter(|part| part.starts_with("switchyard_") && !part.contains(|c: char| !is_of_name(c)))
    }

    fn is_of_name(c: char) -> bool {
        c.is_ascii_lowercase() || c == '_'
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
        let told: BTreeSet<String> = HELP.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, told);
    }
}
