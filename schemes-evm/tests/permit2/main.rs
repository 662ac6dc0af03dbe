//! Payments by Permit2, in `exact` and in `upto`, against a scripted chain: golden vectors, every check with its reason, the
//! order of checks, hostile payloads, and what evidence proves.

mod approval;
mod checks;
mod golden;
mod hostile;
mod judge;
mod law4;
mod nodes;
mod plan;
mod sponsoring;
#[path = "../common/two_nodes.rs"]
mod two_nodes;
mod upto;
mod world;
