//! Collections: what is refused and why, what is planned, what counts as paid.

mod accepted;
mod custom;
mod hostile;
mod judge;
mod law4;
mod nodes;
mod offer;
mod order;
mod plan;
mod rules;
mod supported;
mod v1_0;
mod v1_1;
mod world;
