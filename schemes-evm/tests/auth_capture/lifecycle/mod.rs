//! Captures, voids and refunds on a chain that answers as told.

mod checks;
mod consent;
mod hostile;
mod judging;
mod keeping;
mod planning;
mod refunds;
mod routing;
mod vectors;
mod world;
