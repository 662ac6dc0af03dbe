//! `exact` against a scripted chain: golden vectors, every reason, the order of checks, trouble of nodes, what evidence
//! proves, and hostile transactions.

mod answers;
mod checks;
mod effects;
mod golden;
mod hostile;
mod judge;
mod offer;
mod plain_answers;
mod plan;
mod threats;
mod world;
