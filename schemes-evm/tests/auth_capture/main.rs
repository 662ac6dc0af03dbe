//! `auth-capture` against its wire facts.

mod collect;
mod golden;
mod lifecycle;
mod reasons;
#[path = "../common/two_nodes.rs"]
mod two_nodes;
