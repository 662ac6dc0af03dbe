//! `exact` against a scripted chain: golden vectors, every check with its reason, the order of checks, faults of nodes
//! at every call, and what evidence proves.

mod checks;
mod deployments;
mod golden;
mod hostile;
mod judge;
mod law4;
mod nodes;
mod pairing;
mod plan;
mod sellers;
mod supported;
mod trouble;
#[path = "../common/two_nodes.rs"]
mod two_nodes;
mod wallets;
mod world;
