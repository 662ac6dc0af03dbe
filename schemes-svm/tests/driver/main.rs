//! The Solana driver against a scripted chain.

mod building;
mod expiring;
mod hiding;
mod node;
mod nodes;
mod observing;
mod reading;
mod sending;
