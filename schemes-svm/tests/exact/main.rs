//! `exact` against a scripted chain: golden vectors, every reason, the order of checks, faults of nodes, what evidence
//! proves, and hostile transactions.

mod absurd_nodes;
mod answers;
mod checks;
mod effects;
mod golden;
mod hostile;
mod judge;
mod lifetime;
mod offer;
mod plain_answers;
mod plan;
mod second_opinions;
mod threats;
mod world;
