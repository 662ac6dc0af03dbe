//! What needs a person, in sentences, the worst first.

use admin_api::view::{Network, Overview, Plugin, Problem, Severity, Signer};
use base::pause::Paused;
use base::service::NetworkReadiness;
use http_api::redaction::redact;

use crate::known::in_units;

/// A balance that lasts for fewer days is worth a warning.
const FEW_DAYS: u64 = 3;
/// A disk with less than a tenth free is worth a warning.
const DISK_PART: u64 = 10;

// Headings of the handbook's runbook.
const DISK: &str = "The disk is full";
const NETWORK: &str = "SwitchyardNetworkNotReady";
const NODE: &str = "SwitchyardNodeFails";
const PAUSED: &str = "SwitchyardPausedForLong";
const QUARANTINE: &str = "A plugin is in quarantine";
const SCHEME: &str = "SwitchyardSchemeNotReady";
const SIGNER: &str = "SwitchyardSignerCannotPay";
const WITHHELD: &str = "SwitchyardReleasesWithheld";

pub(super) fn of(overview: &Overview, readiness: &[NetworkReadiness], paused: &Paused) -> Vec<Problem> {
    let mut problems = Vec::new();
    journal(overview, &mut problems);
    if let Paused::Unreadable(why) = paused {
        problems.push(Problem {
            severity: Severity::Critical,
            network: None,
            about: "pauses".to_owned(),
            what: format!(
                "everything is paused, because the list of pauses can't be trusted: {}",
                redact(why)
            ),
            runbook: Some(PAUSED),
        });
    }
    for network in &overview.networks {
        let ready = readiness.iter().find(|ready| ready.network == network.id);
        of_network(network, ready, &mut problems);
    }
    for plugin in &overview.plugins {
        of_plugin(plugin, &mut problems);
    }
    for pause in &overview.pauses {
        let scheme = pause.scheme.as_deref().unwrap_or("every scheme");
        let (about, what) = match &pause.signer {
            Some(signer) => (format!("signer {signer}"), "drained by an operator".to_owned()),
            None => (scheme.to_owned(), "paused by an operator".to_owned()),
        };
        problems.push(Problem {
            severity: Severity::Notice,
            network: pause.network.clone(),
            about,
            what: format!("{what}: {}", redact(&pause.reason)),
            runbook: pause.signer.is_none().then_some(PAUSED),
        });
    }
    problems.sort_by_key(|problem| problem.severity);
    problems
}

fn journal(overview: &Overview, problems: &mut Vec<Problem>) {
    let journal = &overview.journal;
    let mut add = |severity, about: &str, what: String, runbook| {
        problems.push(Problem {
            severity,
            network: None,
            about: about.to_owned(),
            what,
            runbook: Some(runbook),
        });
    };
    if let Some(why) = &journal.why_not {
        add(
            Severity::Critical,
            "journal",
            format!("nothing can be recorded, so new payments get 503: {why}"),
            DISK,
        );
    }
    if journal.withheld > 0 {
        add(
            Severity::Warning,
            "journal",
            format!(
                "{} releases are withheld, because the journal may be an old copy",
                journal.withheld
            ),
            WITHHELD,
        );
    }
    if let (Some(free), Some(total)) = (journal.disk_free, journal.disk_total)
        && free < total / DISK_PART
    {
        add(
            Severity::Warning,
            "disk",
            format!(
                "{} MiB of {} MiB are free for the data directory",
                free >> 20,
                total >> 20
            ),
            DISK,
        );
    }
}

fn of_network(network: &Network, ready: Option<&NetworkReadiness>, problems: &mut Vec<Problem>) {
    let mut add = |severity, about: String, what: String, runbook| {
        problems.push(Problem {
            severity,
            network: Some(network.id.clone()),
            about,
            what,
            runbook,
        });
    };
    if !network.ready {
        let why = network.why_not.clone();
        add(
            Severity::Critical,
            "network".to_owned(),
            format!(
                "takes no payments: {}",
                why.unwrap_or_else(|| "not checked yet".to_owned())
            ),
            Some(NETWORK),
        );
    } else {
        for scheme in network.schemes.iter().filter(|scheme| !scheme.ready) {
            let why = scheme.why_not.as_deref().unwrap_or("it gives no reason");
            add(
                Severity::Critical,
                format!("scheme {}", scheme.scheme),
                format!("takes no payments: {why}"),
                Some(SCHEME),
            );
        }
    }
    let are_dead = !network.nodes.is_empty() && network.nodes.iter().all(|node| node.trouble.is_some());
    for node in &network.nodes {
        if let Some(trouble) = &node.trouble {
            let severity = if are_dead {
                Severity::Critical
            } else {
                Severity::Warning
            };
            add(
                severity,
                format!("node {}", node.name),
                trouble.clone(),
                Some(NODE),
            );
        }
    }
    let mut short = Vec::new();
    for signer in &network.signers {
        if let Some((severity, what)) = of_signer(network, signer) {
            add(severity, format!("signer {}", signer.address), what, Some(SIGNER));
            short.push(signer.address.as_str());
        }
    }
    let Some(ready) = ready else { return };
    for alarm in &ready.alarms {
        add(Severity::Warning, "network".to_owned(), redact(alarm), None);
    }
    // A driver warns of a low balance too: of a signer that is a problem already, once is enough.
    let is_said = |warning: &str| short.iter().any(|address| warning.contains(address));
    for warning in ready.warnings.iter().filter(|warning| !is_said(warning)) {
        add(Severity::Warning, "network".to_owned(), redact(warning), None);
    }
    for scheme in &ready.schemes {
        for warning in &scheme.warnings {
            add(
                Severity::Warning,
                format!("scheme {}", scheme.scheme),
                redact(warning),
                None,
            );
        }
    }
}

fn of_signer(network: &Network, signer: &Signer) -> Option<(Severity, String)> {
    if signer.state == "retained" {
        return None;
    }
    let balance = match (&signer.balance, &network.currency) {
        (Some(balance), Some(currency)) => {
            format!("{} {}", in_units(balance, currency.decimals), currency.symbol)
        }
        (Some(balance), None) => format!("{balance} native atomic units"),
        (None, _) => "unknown".to_owned(),
    };
    if !signer.can_pay {
        let others = network
            .signers
            .iter()
            .any(|other| other.can_pay && other.state == "active");
        let severity = if others {
            Severity::Warning
        } else {
            Severity::Critical
        };
        return Some((
            severity,
            format!(
                "can't pay for a transaction: its balance is {balance}, below max_cost; send it native currency"
            ),
        ));
    }
    let days = signer.days_left.filter(|days| *days < FEW_DAYS)?;
    Some((
        Severity::Warning,
        format!(
            "its balance lasts for {days} days at the rate of the last 24 hours; send it native currency"
        ),
    ))
}

fn of_plugin(plugin: &Plugin, problems: &mut Vec<Problem>) {
    // What a plugin does concerns each of its networks, and is shown at each.
    let mut add = |severity, what: String, runbook| {
        let all: Vec<Option<String>> = if plugin.networks.is_empty() {
            vec![None]
        } else {
            plugin.networks.iter().cloned().map(Some).collect()
        };
        problems.extend(all.into_iter().map(|network| Problem {
            severity,
            network,
            about: format!("plugin {}", plugin.name),
            what: what.clone(),
            runbook: Some(runbook),
        }));
    };
    if !plugin.running {
        let why = plugin
            .trouble
            .as_deref()
            .unwrap_or("the log says why at plugin_not_loaded");
        add(Severity::Critical, format!("does not run: {why}"), SCHEME);
    }
    if let Some(why) = &plugin.quarantine {
        add(Severity::Warning, redact(why), QUARANTINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_heading_is_in_the_runbook() {
        let page = include_str!("../../../../../docs/src/runbook.md");
        for heading in [DISK, NETWORK, NODE, PAUSED, QUARANTINE, SCHEME, SIGNER, WITHHELD] {
            assert!(page.contains(&format!("\n### {heading}\n")), "{heading}");
        }
    }
}
