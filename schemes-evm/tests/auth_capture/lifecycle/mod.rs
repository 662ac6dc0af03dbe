//! Captures, voids and refunds on a scripted chain.

mod checks;
mod consent;
mod folding;
mod hostile;
mod judging;
mod keeping;
mod law4;
mod moves;
mod nodes;
mod planning;
mod refunds;
mod routing;
mod vectors;
mod world;
