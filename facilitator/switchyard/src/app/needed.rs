//! What open and held payments in the journal need of the configuration: their network, their plugin, its permission to
//! call the contract that holds the money, and their tenant.
//!
//! Taking one of these out while payments need it would strand them: nobody could carry them on, capture what is held, or
//! ask for them. So the process does not start, as with a signer that is still needed, and says which lines to write until
//! they have ended. A payment counts as held as long as it holds a signer.
//!
//! Not guaranteed: that a contract of a held payment is missed once the payment's plan was dropped, some days after it was
//! final. Network, plugin and tenant are missed until the hold ends.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::scheme::Plan;

use super::StartError;
use super::survey::{Survey, family};
use crate::config::{Config, ConfigError, ConfigErrors};
use engine::registry::Granted;
use journal::{Journal, JournalError, Outcome, SettlementRow, StepState, queries, sqlite};

/// Refuses a configuration that lacks what open payments need.
pub(super) async fn check(
    journal: &dyn Journal,
    config: &Config,
    survey: &Survey,
    now_s: u64,
) -> Result<(), StartError> {
    let failed = |error: JournalError| StartError::Other(format!("the journal can't be read: {error}"));
    let open = journal.unfinished().await.map_err(failed)?;
    let held = journal.held_settlements(now_s).await.map_err(failed)?;
    let errors = missing(&open, &held, config, survey);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(StartError::Config(ConfigErrors(errors)))
    }
}

/// The same from the journal on the disk, which is only read; a process may be using it.
pub fn needed(config: &Config, survey: &Survey, now_s: u64) -> Result<Vec<ConfigError>, JournalError> {
    let directory = &config.data_directory;
    let open = sqlite::read(directory, queries::unfinished)?.unwrap_or_default();
    let held = sqlite::read(directory, |rows| queries::held_settlements(rows, now_s))?.unwrap_or_default();
    Ok(missing(&open, &held, config, survey))
}

/// A payment that is not over.
#[derive(Debug, Clone, Copy)]
struct Needing<'j> {
    row: &'j SettlementRow,
    /// Dropped some days after the settlement was final.
    plan: Option<&'j str>,
    /// It holds a signer: something may be asked of its contract later.
    is_held: bool,
}

/// What is not there any more; ordered, so that equal payments are one error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    Network(String),
    /// Plugin, scheme, network.
    Plugin(String, String, String),
    /// Instance, target.
    Target(String, String),
    Tenant(String),
}

type Rows = Vec<(SettlementRow, Option<String>)>;

fn missing(open: &Rows, held: &Rows, config: &Config, survey: &Survey) -> Vec<ConfigError> {
    let held_ids: BTreeSet<u64> = held.iter().map(|(row, _)| row.id).collect();
    let needing = open
        .iter()
        .map(|(row, plan)| Needing {
            row,
            plan: plan.as_deref(),
            is_held: held_ids.contains(&row.id),
        })
        .chain(
            held.iter()
                .filter(|(row, _)| row.finished && matches!(row.outcome, Outcome::Paid(_)))
                .map(|(row, plan)| Needing {
                    row,
                    plan: plan.as_deref(),
                    is_held: true,
                }),
        );
    let mut found: BTreeMap<Missing, (usize, &SettlementRow)> = BTreeMap::new();
    for one in needing {
        for what in missing_of(one, config, survey) {
            let (count, _) = found.entry(what).or_insert((0, one.row));
            *count = count.saturating_add(1);
        }
    }
    let errors = found.iter();
    errors
        .map(|(what, (count, first))| error(config, what, *count, first))
        .collect()
}

fn missing_of(Needing { row, plan, is_held }: Needing<'_>, config: &Config, survey: &Survey) -> Vec<Missing> {
    let mut missing = Vec::new();
    if !config.networks.contains_key(&row.network) {
        // Without its network nothing can be said of its plugin.
        missing.push(Missing::Network(row.network.clone()));
    } else {
        let instance = survey.instances.iter().find(|one| {
            one.manifest.id == row.plugin
                && one.networks.contains(&row.network)
                && one
                    .schemes(family(&row.network))
                    .any(|role| role.scheme == row.scheme)
        });
        match instance {
            None => missing.push(Missing::Plugin(
                row.plugin.clone(),
                row.scheme.clone(),
                row.network.clone(),
            )),
            Some(one) => {
                let roles = one
                    .schemes(family(&row.network))
                    .filter(|role| role.scheme == row.scheme);
                let grants: Vec<Granted> = roles
                    .flat_map(|role| &role.calls)
                    .map(|grant| Granted::of(grant, &one.instance.config))
                    .collect();
                // A plan that can't be read stays pending, and the engine says so.
                let plan: Option<Plan> = plan.and_then(|text| serde_json::from_str(text).ok());
                let steps = plan.iter().flat_map(|plan| &plan.steps).zip(&row.steps);
                for (step, state) in steps {
                    let is_open = matches!(state.state, StepState::Waiting | StepState::InSlot { .. });
                    let (target, operation) = (&step.call.target, &step.call.operation);
                    // Assets may be taken off the list at any time: what is sent is carried on all the same.
                    if (is_open || is_held)
                        && !grants.iter().any(|grant| grant.allows(target, operation, None))
                    {
                        missing.push(Missing::Target(one.instance.name.clone(), target.clone()));
                    }
                }
            }
        }
    }
    let is_owed =
        row.outcome == Outcome::Open || (matches!(row.outcome, Outcome::Paid(_)) && row.release.is_none());
    if let Some(tenant) = &row.tenant
        && is_owed
        && !config.tenants.iter().any(|known| known.access.name == *tenant)
    {
        missing.push(Missing::Tenant(tenant.clone()));
    }
    missing
}

fn error(config: &Config, what: &Missing, count: usize, first: &SettlementRow) -> ConfigError {
    let payments = match count {
        1 => "1 payment that is open or held needs it".to_owned(),
        _ => format!("{count} payments that are open or held need it"),
    };
    let first = format!(
        "{payments} (the first: payer {:?}, network {}, transaction {:?})",
        first.payer,
        first.network,
        first.tx_id.as_deref().unwrap_or_default()
    );
    let (key, why) = match what {
        Missing::Network(network) => (
            format!("networks.{network:?}"),
            format!("is not there any more, and {first}: write the section again until they have ended"),
        ),
        Missing::Plugin(plugin, scheme, network) => (
            "plugin".to_owned(),
            format!(
                "no plugin {plugin} serves {scheme} on {network} any more, and {first}: write its section again until they \
                 have ended; `switchyard pause --scheme {scheme}` keeps new ones out"
            ),
        ),
        Missing::Target(instance, target) => (
            format!("plugin.{instance}.config"),
            format!(
                "does not allow calls of {target} any more, and {first}: write its entry again until they have ended"
            ),
        ),
        Missing::Tenant(tenant) => (
            "tenants".to_owned(),
            format!(
                "{tenant:?} is not there any more, and {first}: write its [[tenants]] again until they have ended; with \
                 another key_sha256 its old key is shut out"
            ),
        ),
    };
    config.source.error(&key, why)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sdk_plugin::scheme::Hold;
    use serde_json::{Value, json};

    use super::*;
    use journal::Event;
    use journal::memory::MemoryJournal;
    use journal::testkit::opened_with;
    use plugin_host::{Pin, Sha256Digest};

    const ESCROW: &str = "0x00000000000000000000000000000000000000e5";
    const NOW_S: u64 = 1_000;
    const TENANT: &str = "[[tenants]]\nname = \"shop\"\nkey_sha256 = \"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"\n";

    fn config(network: &str, plugin: &str, more: &str) -> Config {
        let text = format!(
            "[keys.hot]\nenv = \"K\"\n[networks.\"{network}\"]\nrpc = [\"http://127.0.0.1:1\"]\nsigners = [\"hot\"]\n\
             max_cost = \"1000000\"\n[plugins]\ndev = true\n[plugin.{plugin}]\nfile = \"x.so\"\n{more}"
        );
        Config::parse("c.toml", Path::new(""), &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn survey(config: &Config, id: &str, escrows: Value) -> Survey {
        let manifest = json!({
            "id": id, "version": "0.1.0", "abi": { "major": 1, "minor": 0 }, "description": "d", "licence": "MIT",
            "configSchema": {},
            "schemes": [{ "scheme": "exact", "family": "eip155", "versions": [2],
                "calls": [{ "target": "config:escrows.*", "operations": ["0x01"] }] }],
        });
        let (name, instance) = config.plugin.iter().next().unwrap();
        let mut instance = instance.clone();
        instance.name.clone_from(name);
        instance.config = json!({ "escrows": escrows });
        Survey {
            instances: vec![super::super::Surveyed {
                instance,
                manifest: serde_json::from_value(manifest).unwrap(),
                sha256: Sha256Digest::of(b""),
                pin: Pin::DevMode,
                networks: config.networks.keys().cloned().collect(),
            }],
        }
    }

    fn plan() -> Plan {
        journal::testkit::plan(ESCROW, "0x01")
    }

    /// Two open payments of a tenant, whose plan calls the escrow.
    async fn journal() -> MemoryJournal {
        let journal = MemoryJournal::default();
        for (id, claim) in [(1, "a"), (3, "b")] {
            open(&journal, id, claim, NOW_S).await;
        }
        journal
    }

    async fn open(journal: &MemoryJournal, id: u64, claim: &str, held_until_s: u64) {
        let mut opened = opened_with(id, claim, |row, _, holds| {
            holds.push(Hold {
                signer: "0xs".to_owned(),
                until_s: held_until_s,
            });
            row.tenant = Some("shop".to_owned());
            row.plugin = "p.x".to_owned();
            row.scheme = "exact".to_owned();
        });
        let Event::Opened(new) = &mut opened else {
            panic!("not opened")
        };
        new.plan = json!(plan()).to_string();
        journal.commit(vec![opened]).await.unwrap();
    }

    #[tokio::test]
    async fn a_payment_that_is_held_needs_them_too_until_its_hold_ends() {
        let journal = MemoryJournal::default();
        open(&journal, 1, "a", NOW_S + 1).await;
        let paid = journal::testkit::paid(1, "item");
        let last = Event::StepFinal {
            settlement: 1,
            step: 0,
        };
        let finished = Event::Finished {
            settlement: 1,
            at_ms: 5,
        };
        for event in [paid, last, finished] {
            journal.commit(vec![event]).await.unwrap();
        }
        let config = config("eip155:84532", "x", "");
        let survey = survey(&config, "p.x", json!([]));
        let error = check(&journal, &config, &survey, NOW_S)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("tenants: \"shop\" is not there any more, and 1 payment that is open or held"),
            "{error}"
        );
        assert!(error.contains("does not allow calls of"), "{error}");
        assert!(check(&journal, &config, &survey, NOW_S + 1).await.is_ok());
    }

    #[tokio::test]
    async fn what_open_payments_need_can_not_be_taken_out() {
        let journal = journal().await;
        let told = async |network: &str, id: &str, escrows: Value, more: &str| {
            let config = config(network, "x", more);
            let survey = survey(&config, id, escrows);
            check(&journal, &config, &survey, NOW_S)
                .await
                .map_err(|error| error.to_string())
        };
        assert_eq!(told("eip155:84532", "p.x", json!([ESCROW]), TENANT).await, Ok(()));
        for (network, id, escrows, more, want) in [
            (
                "eip155:1",
                "p.x",
                json!([ESCROW]),
                TENANT,
                "networks.\"eip155:84532\": is not there any more, and 2 payments",
            ),
            (
                "eip155:84532",
                "p.y",
                json!([ESCROW]),
                TENANT,
                "plugin: no plugin p.x serves exact on eip155:84532 any more",
            ),
            (
                "eip155:84532",
                "p.x",
                json!([]),
                TENANT,
                "plugin.x.config: does not allow calls of 0x00000000000000000000000000000000000000e5 any more, and 2 payments",
            ),
            (
                "eip155:84532",
                "p.x",
                json!([ESCROW]),
                "",
                "tenants: \"shop\" is not there any more, and 2 payments",
            ),
        ] {
            let error = told(network, id, escrows, more).await.unwrap_err();
            assert!(
                error.contains(want) && error.lines().count() == 1,
                "{want}: {error}"
            );
            assert!(error.contains("until they have ended"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_empty_journal_needs_nothing() {
        let config = config("eip155:1", "x", "");
        let survey = survey(&config, "p.x", json!([]));
        assert!(
            check(&MemoryJournal::default(), &config, &survey, NOW_S)
                .await
                .is_ok()
        );
    }
}
