//! The Solana driver against a scripted chain.

mod building;
mod node;
mod observing;
mod reading;
mod sending;
