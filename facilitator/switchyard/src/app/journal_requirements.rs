//! Checks that the configuration still has what open and held payments in the journal need: their network, their plugin, its
//! permission to call the contract that holds the money, and their tenant.
//!
//! A payment without one of these would be stranded: it could not be settled, captured or queried any more. So the process
//! does not start, as with a signer that is still needed, and names the lines to write until the payments have ended. A
//! payment counts as held as long as it holds a signer.
//!
//! Not guaranteed: a missing contract of a held payment is not detected once the payment's plan was dropped, some days after
//! it was final. A missing network, plugin or tenant is detected until the hold ends.

use std::collections::{BTreeMap, BTreeSet};

use sdk_plugin::scheme::Plan;

use super::survey::{Survey, family};
use super::{JournalReader, StartError};
use crate::config::{Config, ConfigError, ConfigErrors};
use engine::registry::Granted;
use journal::{Journal, JournalError, Outcome, SettlementRow, StepState, queries};

/// Refuses a configuration that lacks what open and held payments need.
pub(super) async fn check(
    journal: &dyn Journal,
    config: &Config,
    survey: &Survey,
    now_s: u64,
) -> Result<(), StartError> {
    let failed = |error: JournalError| StartError::Other(format!("the journal can't be read: {error}"));
    let held = journal.held_settlements(now_s).await.map_err(failed)?;
    let mut found = Found::new(config, survey, &held);
    let mut after = 0;
    loop {
        let page = journal.unfinished_after(after, PAGE).await.map_err(failed)?;
        found.add_open(&page);
        match page.last() {
            Some((row, _)) if page.len() == PAGE => after = row.id,
            Some(_) | None => break,
        }
    }
    let errors = found.errors();
    if !errors.is_empty() {
        return Err(StartError::Config(ConfigErrors(errors)));
    }
    for id in without_section(&journal.plugin_ids().await.map_err(failed)?, survey) {
        tracing::warn!(plugin = id, "plugin_not_configured: {}", not_configured(id));
    }
    Ok(())
}

/// Of these plugins, those that no section has.
fn without_section<'i>(ids: &'i [String], survey: &Survey) -> Vec<&'i str> {
    let is_configured = |id: &&String| survey.instances.iter().any(|one| one.manifest.id == **id);
    let gone = ids.iter().filter(|id| !is_configured(id));
    gone.map(String::as_str).collect()
}

fn not_configured(id: &str) -> String {
    format!(
        "the journal keeps payments of the plugin {id}, none of them open, and no configured file has this id. If a file got \
         another id, stop, and run `switchyard plugin adopt {id} NEW`: otherwise every authorization that it has settled is new to it"
    )
}

/// Sentences about plugins that the journal knows and that no section has.
///
/// # Errors
/// When the journal can't be read.
pub fn plugins_not_configured(journal: &JournalReader, survey: &Survey) -> Result<Vec<String>, JournalError> {
    let ids = journal.read(journal::adopt::known_ids)?.unwrap_or_default();
    let gone = without_section(&ids, survey);
    Ok(gone.into_iter().map(not_configured).collect())
}

/// Returns the same errors, from a journal that other processes may use. It is only read.
///
/// # Errors
/// When the journal can't be read.
pub fn missing_from_config(
    journal: &JournalReader,
    config: &Config,
    survey: &Survey,
    now_s: u64,
) -> Result<Vec<ConfigError>, JournalError> {
    let errors = journal.read(|rows| {
        let held = queries::held_settlements(rows, now_s)?;
        let mut found = Found::new(config, survey, &held);
        let mut after = 0;
        loop {
            let page = queries::unfinished(rows, after, PAGE)?;
            found.add_open(&page);
            match page.last() {
                Some((row, _)) if page.len() == PAGE => after = row.id,
                Some(_) | None => return Ok(found.errors()),
            }
        }
    });
    Ok(errors?.unwrap_or_default())
}

/// Settlements that are read at once.
const PAGE: usize = 256;

/// A payment that has not ended.
#[derive(Debug, Clone, Copy)]
struct ActivePayment<'j> {
    row: &'j SettlementRow,
    /// Dropped some days after the settlement was final.
    plan: Option<&'j str>,
    /// It holds a signer: later operations may call its contract.
    is_held: bool,
}

/// What the configuration lacks. Ordered, so that one error covers all payments that need it.
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

/// What is missing so far: how many payments need it, and the first of them.
struct Found<'c> {
    config: &'c Config,
    survey: &'c Survey,
    held_ids: BTreeSet<u64>,
    missing: BTreeMap<Missing, (usize, SettlementRow)>,
}

impl<'c> Found<'c> {
    /// With the payments that hold signers.
    fn new(config: &'c Config, survey: &'c Survey, held: &Rows) -> Self {
        let mut found = Self {
            config,
            survey,
            held_ids: held.iter().map(|(row, _)| row.id).collect(),
            missing: BTreeMap::new(),
        };
        for (row, plan) in held {
            if row.finished && matches!(row.outcome, Outcome::Paid(_)) {
                found.add(row, plan.as_deref(), true);
            }
        }
        found
    }

    /// Payments that have not ended.
    fn add_open(&mut self, open: &Rows) {
        for (row, plan) in open {
            let is_held = self.held_ids.contains(&row.id);
            self.add(row, plan.as_deref(), is_held);
        }
    }

    fn add(&mut self, row: &SettlementRow, plan: Option<&str>, is_held: bool) {
        let payment = ActivePayment { row, plan, is_held };
        for what in missing_for(payment, self.config, self.survey) {
            let (count, _) = self.missing.entry(what).or_insert_with(|| (0, row.clone()));
            *count = count.saturating_add(1);
        }
    }

    fn errors(&self) -> Vec<ConfigError> {
        let errors = self.missing.iter();
        errors
            .map(|(what, (count, first))| error(self.config, what, *count, first))
            .collect()
    }
}

fn missing_for(payment: ActivePayment<'_>, config: &Config, survey: &Survey) -> Vec<Missing> {
    let row = payment.row;
    let mut missing = Vec::new();
    if !config.networks.contains_key(&row.network) {
        // Without its network, its plugin can't be checked.
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
                    .map(|grant| Granted::of(grant, &one.instance.config, &row.network))
                    .collect();
                // A payment with an unreadable plan stays pending, and the engine reports it.
                let plan: Option<Plan> = payment.plan.and_then(|text| serde_json::from_str(text).ok());
                let steps = plan.iter().flat_map(|plan| &plan.steps).zip(&row.steps);
                for (step, state) in steps {
                    let is_open = matches!(state.state, StepState::Waiting | StepState::InSlot { .. });
                    // Assets may be removed at any time: a sent transaction is still observed to its end.
                    if (is_open || payment.is_held)
                        && !grants.iter().any(|grant| grant.allows(step, &row.payer, None))
                    {
                        let target = step.call.target.clone();
                        missing.push(Missing::Target(one.instance.name.clone(), target));
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
            format!("is no longer configured, and {first}: write the section again until they have ended"),
        ),
        Missing::Plugin(plugin, scheme, network) => (
            "plugin".to_owned(),
            format!(
                "no plugin {plugin} serves {scheme} on {network}, and {first}: write its section again until they \
                 have ended; `switchyard pause --scheme {scheme}` refuses new ones. If the plugin has another id now, run \
                 `switchyard plugin adopt {plugin} NEW`"
            ),
        ),
        Missing::Target(instance, target) => (
            format!("plugin.{instance}.config"),
            format!(
                "no longer allows calls of {target}, and {first}: write its entry again until they have ended"
            ),
        ),
        Missing::Tenant(tenant) => (
            "tenants".to_owned(),
            format!(
                "{tenant:?} is no longer configured, and {first}: write its [[tenants]] again until they have ended; with \
                 another key_sha256 its old key stops working"
            ),
        ),
    };
    config.source.error(&key, why)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sdk_plugin::StepIndex;
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
            instances: vec![super::super::SurveyedPlugin {
                instance,
                manifest: serde_json::from_value(manifest).unwrap(),
                sha256: Sha256Digest::of(b""),
                pin: Pin::DevMode,
                signed_by: None,
                networks: config.networks.keys().cloned().collect(),
            }],
        }
    }

    fn plan() -> Plan {
        journal::testkit::plan(ESCROW, "0x01")
    }

    #[tokio::test]
    async fn a_plugin_of_ended_payments_that_no_section_has_is_named_with_the_command_that_keeps_them() {
        let journal = MemoryJournal::default();
        let opened = opened_with(1, "evm|eip155:1|one", |_, _, _| {});
        journal.commit(vec![opened]).await.unwrap();
        let config = config("eip155:1", "evm", TENANT);
        let ids = journal.plugin_ids().await.unwrap();
        assert_eq!(ids, ["evm"]);
        assert_eq!(
            without_section(&ids, &survey(&config, "evm", json!({}))),
            [] as [&str; 0]
        );
        let renamed = survey(&config, "evm2", json!({}));
        assert_eq!(without_section(&ids, &renamed), ["evm"]);
        assert!(not_configured("evm").contains("`switchyard plugin adopt evm NEW`"));
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
    async fn a_held_payment_needs_them_too_until_its_hold_ends() {
        let journal = MemoryJournal::default();
        open(&journal, 1, "a", NOW_S + 1).await;
        let paid = journal::testkit::paid(1, "item");
        let last = Event::StepFinal {
            settlement: 1,
            step: StepIndex::FIRST,
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
            error.contains("tenants: \"shop\" is no longer configured, and 1 payment that is open or held"),
            "{error}"
        );
        assert!(error.contains("no longer allows calls of"), "{error}");
        assert!(check(&journal, &config, &survey, NOW_S + 1).await.is_ok());
    }

    #[tokio::test]
    async fn what_open_payments_need_must_stay_in_the_configuration() {
        let journal = journal().await;
        let check_with = async |network: &str, id: &str, escrows: Value, more: &str| {
            let config = config(network, "x", more);
            let survey = survey(&config, id, escrows);
            check(&journal, &config, &survey, NOW_S)
                .await
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            check_with("eip155:84532", "p.x", json!([ESCROW]), TENANT).await,
            Ok(())
        );
        for (network, id, escrows, more, want) in [
            (
                "eip155:1",
                "p.x",
                json!([ESCROW]),
                TENANT,
                "networks.\"eip155:84532\": is no longer configured, and 2 payments",
            ),
            (
                "eip155:84532",
                "p.y",
                json!([ESCROW]),
                TENANT,
                "plugin: no plugin p.x serves exact on eip155:84532, and 2 payments",
            ),
            (
                "eip155:84532",
                "p.x",
                json!([]),
                TENANT,
                "plugin.x.config: no longer allows calls of 0x00000000000000000000000000000000000000e5, and 2 payments",
            ),
            (
                "eip155:84532",
                "p.x",
                json!([ESCROW]),
                "",
                "tenants: \"shop\" is no longer configured, and 2 payments",
            ),
        ] {
            let error = check_with(network, id, escrows, more).await.unwrap_err();
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
