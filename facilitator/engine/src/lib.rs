//! The settlement engine: when things happen, the record of it, and which caller gets which answer.
//!
//! # Terms
//!
//! | term | meaning |
//! |---|---|
//! | claim | what makes one authorization unique: its key. At most one settlement of a claim is open |
//! | settlement | one attempt to settle a claim, from the plan to the last step; a claim that failed can open another one, the next *generation* |
//! | conflict key | what several claims share, for example one escrowed payment: at most one open settlement holds it |
//! | step | one call of a settlement's plan. One step *pays*: outcome and release follow it |
//! | lane | one signer on one network, and the order of its transactions |
//! | slot | one sequence number (nonce) of a lane. It carries the steps of one or more settlements |
//! | attempt | one signed transaction for a slot; a replacement is another attempt for the same slot |
//! | guard | chain state that a step's call changes for good, for example a used authorization nonce |
//! | release | the one `success` of a settlement, given to one caller |
//!
//! # Where a payment is
//!
//! ```text
//! request ── settle: identify ── claims: join or open ── settle: plan ── lane: queue
//!                                                                         │
//!            lane: quote, build, sign ── journal (first commit) ── lane: send
//!                                                                         │
//!            observer: poll ── verdict ── outcomes: judge ── journal (outcome, release) ── reply
//!                                │
//!                                └── endings: close the slot when its transaction is final
//! ```
//!
//! | what | states | moved by |
//! |---|---|---|
//! | settlement in memory ([`state::settlement::Phase`]) | `Opening` → `Committing` → `Committed`, or `Gone` | settle, until the first commit; the lane that commits |
//! | settlement in the journal (`journal::Outcome`) | `Open` → `Paid` or `Failed`; back to `Open` when its block is reorganised; `Reversed` after a release | outcomes |
//! | step (`journal::StepState`) | `Waiting` → `InSlot` → `Done` or `Failed`; `Skipped`; `Unexplained` | the lane (`InSlot`), outcomes (`Done`, `Failed`, `Skipped`), endings (freed, `Unexplained`) |
//! | slot ([`state::slot::OpenSlot`]) | open → decided → closed | the observer polls, outcomes decide, endings close |
//! | attempt | journaled → sent → in a block → final | the lane sends, the observer polls |
//!
//! # Layers
//!
//! A module uses those above it in this list, and nothing below: [`registry`], [`decide`] (pure), [`state`],
//! [`verdict`] (pure, over state), [`runtime`], [`outcome`], [`endings`], [`lane`], [`observer`] and [`health`], [`settle`], then `alarms`, `housekeeping`, `jobs` and [`owner`],
//! `engine`, `boot`, [`measure`], `service` and `desk`. Each has one owner: [`outcome::Outcomes`], [`endings::Endings`], [`lane::Lanes`],
//! [`observer::Observer`], [`health::Checks`], [`settle::Settling`].
//!
//! Assumed: one process owns the journal and its lanes, or each lane is owned by one of the nodes that share the journal
//! ([`owner`]). Plugins may fail at every call. Time is `tokio`'s.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of the crate is for those who work on it"
)]

mod alarms;
mod boot;
mod decide;
mod desk;
mod endings;
mod engine;
mod health;
mod housekeeping;
mod jobs;
mod lane;
pub mod measure;
mod observer;
mod outcome;
mod owner;
pub mod registry;
mod runtime;
mod service;
mod settle;
mod state;
#[cfg(test)]
mod tests;
mod verdict;

pub use boot::ResumeError;
pub use decide::record::record;
pub use engine::{Engine, Parts};
pub use housekeeping::Retention;
pub use runtime::calls::{Budgets, Ops};
pub use service::EngineService;
