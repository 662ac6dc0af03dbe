//! What every back end of the journal must do, as cases that a back end's own tests run: [`conformance_tests!`].
//! Random histories compare the back ends of this crate.
//!
//! [`conformance_tests!`]: crate::conformance_tests

#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod adoption;
#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod commits;
#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod costs;
#[cfg(test)]
mod history;
#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod lifecycle;
#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod lookups;
#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod promises;
#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod retention;
#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod shared;
pub mod spending;
#[allow(missing_docs, reason = "the names of the cases state what they check")]
pub mod store;

use std::sync::Arc;

use std::collections::BTreeMap;

use sdk_plugin::Amount;
use sdk_plugin::host::{StoreCondition, StoreRow, StoreWrite};
use serde_json::Value;

pub(crate) use super::testkit::*;
use super::*;

/// The number of every release here.
const RELEASE: u64 = 77;

pub(crate) fn returned(settlement: u64) -> Event {
    Event::ReleaseReturned {
        settlement,
        number: RELEASE,
    }
}

pub(crate) fn released(settlement: u64) -> Event {
    Event::Released {
        settlement,
        release: Release {
            number: RELEASE,
            tenant: None,
            idempotency_key: None,
            body: "{}".into(),
            at_ms: 4,
        },
    }
}

pub(crate) fn stored(key: &str, value: Value) -> Event {
    stored_if(key, value, StoreCondition::Always)
}

pub(super) fn stored_if(key: &str, value: Value, condition: StoreCondition) -> Event {
    Event::Stored {
        plugin: "evm".into(),
        write: StoreWrite {
            key: key.into(),
            value,
            condition,
            expires_at_ms: None,
        },
        now_ms: 10,
    }
}

pub(super) fn closed(sequence: u64, by: &str) -> Event {
    Event::SlotClosed {
        network: NETWORK.into(),
        signer: "0xa".into(),
        sequence,
        by: by.into(),
    }
}

pub(crate) async fn rows(journal: &dyn Journal, prefix: &str) -> Vec<StoreRow> {
    scan(journal, prefix, None, 1_000).await
}

pub(super) async fn scan(
    journal: &dyn Journal,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Vec<StoreRow> {
    journal
        .store_scan("evm", prefix, after, limit, 100)
        .await
        .unwrap()
}

pub(crate) async fn settlement(journal: &dyn Journal, id: u64) -> Option<SettlementRow> {
    journal.settlement(id).await.unwrap()
}

/// Makes one test of each case, under a module of the given name. `open` makes a new, empty journal of the back end; what
/// else it returns is kept until the case ends, for example a temporary folder. The crate that uses it needs tokio's
/// `macros`.
///
/// ```ignore
/// fn open() -> (Arc<dyn Journal>, tempfile::TempDir) { … }
/// journal::conformance_tests!(my_back_end, super::open);
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($name:ident, $open:path) => {
        $crate::conformance_tests! { @cases $name, $open;
            adoption::an_adopted_plugin_finds_everything_under_its_new_id,
            adoption::law5_an_adopted_authorization_is_taken_and_an_open_payment_goes_its_way,
            adoption::an_adoption_that_can_t_be_made_changes_nothing,
            adoption::what_both_ids_have_alike_is_kept_once,
            commits::a_commit_is_all_or_nothing,
            commits::t01_one_of_fifty_simultaneous_settlements_opens_a_claim,
            commits::a_refused_commit_leaves_the_other_commits_of_its_group,
            commits::law5_a_refusal_says_what_is_taken,
            costs::a_fee_counts_once_for_each_slot_and_in_parts_for_several_settlements,
            costs::what_a_reorganised_transaction_cost_no_longer_counts,
            lifecycle::a_payment_goes_its_way,
            lifecycle::a_claim_that_failed_for_good_opens_again,
            lifecycle::law5_a_payload_has_one_claim_until_that_has_failed_for_good,
            lifecycle::law5_only_a_release_that_was_taken_can_be_given_back,
            lifecycle::law5_a_withheld_release_can_not_be_taken_before_it_is_allowed,
            lifecycle::the_nonce_after_the_highest_closed_slot_is_known_for_each_lane,
            lifecycle::a_client_s_transaction_has_a_slot_beside_the_sequences_of_its_lane,
            lifecycle::the_highest_final_block_is_known_for_each_network,
            lookups::a_settlement_is_found_by_everything_that_names_it,
            lookups::a_list_has_the_newest_first_and_continues_after_its_cursor,
            lookups::the_history_of_a_payment_has_every_event_in_order,
            retention::what_is_old_is_removed_and_a_replay_is_refused_to_the_end,
            retention::nothing_is_removed_of_a_settlement_that_is_not_due,
            retention::bytes_that_another_settlement_needs_stay,
            store::rows_are_found_by_prefix_in_the_order_of_their_bytes,
            store::due_jobs_of_one_network_come_in_the_order_of_their_times_page_by_page,
            store::a_job_that_has_run_goes_unless_it_was_scheduled_anew_meanwhile,
            store::a_job_that_could_not_be_run_is_due_later_and_keeps_its_request,
            store::jobs_come_due_and_rows_expire,
            store::expired_rows_do_not_use_up_the_limit_of_a_scan,
            spending::t107_what_was_spent_is_counted_by_signer_and_tenants_each_place_once,
        }
    };
    (@cases $name:ident, $open:path; $($module:ident::$case:ident,)*) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $case() {
                    let (journal, _kept) = $open();
                    $crate::conformance::$module::$case(stringify!($name), journal).await;
                }
            )*
        }
    };
}

/// The same for what several nodes share. `open` makes two handles on a new, empty journal, each of another node.
#[macro_export]
macro_rules! shared_conformance_tests {
    ($name:ident, $open:path) => {
        $crate::conformance_tests! { @cases $name, $open;
            adoption::nodes_that_live_are_not_adopted_under,
            shared::one_node_gets_a_unit,
            shared::law5_a_node_that_lost_its_unit_records_nothing,
            shared::law5_a_release_that_was_answered_again_is_not_given_back,
            shared::what_is_handed_over_is_found_by_the_owner,
            shared::what_is_open_in_a_unit_is_read_by_its_next_owner,
            shared::a_node_that_is_gone_leaves_no_lease,
            shared::t01_two_nodes_open_a_claim_once,
            shared::a_node_learns_that_another_one_plans_the_same_claim,
            shared::t107_nodes_together_keep_a_limit,
            shared::t107_what_an_operator_sets_reaches_every_node,
            shared::a_plan_from_before_a_conflict_key_was_used_is_refused,
            promises::t171_one_tenant_gets_the_promise_of_all_nodes,
            promises::t171_a_balance_is_promised_once_by_all_nodes,
            promises::a_tenant_holds_a_bounded_number_of_promises,
        }
    };
}

#[cfg(test)]
mod back_ends {
    use super::super::memory::{MemoryJournal, NoFaults};
    use super::super::sqlite::SqliteJournal;
    use super::*;

    fn memory() -> (Arc<dyn Journal>, ()) {
        (Arc::new(MemoryJournal::default()), ())
    }

    fn sqlite() -> (Arc<dyn Journal>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Arc::new(SqliteJournal::open(folder.path()).unwrap()), folder)
    }

    fn memory_of_two() -> ([Arc<dyn Journal>; 2], ()) {
        let journal = MemoryJournal::default();
        let node = |name| -> Arc<dyn Journal> { Arc::new(journal.node(name, Box::new(NoFaults))) };
        ([node("a"), node("b")], ())
    }

    conformance_tests!(in_memory, super::memory);
    shared_conformance_tests!(in_memory_of_two_nodes, super::memory_of_two);
    conformance_tests!(in_sqlite, super::sqlite);
}
