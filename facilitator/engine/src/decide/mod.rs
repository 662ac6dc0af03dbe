//! Pure decisions: functions of rows, plans and observations, without I/O, tasks or locks that outlive a call.

pub(crate) mod budget;
pub(crate) mod claim;
pub(crate) mod conflicts;
pub(crate) mod faults;
pub(crate) mod figure;
pub(crate) mod hashes;
pub(crate) mod head;
pub(crate) mod keys;
pub(crate) mod observation;
pub(crate) mod payers;
pub(crate) mod plan_check;
#[cfg(test)]
pub(crate) mod plan_check_tests;
pub(crate) mod record;
pub(crate) mod replies;
pub(crate) mod rows;
pub(crate) mod steps;
