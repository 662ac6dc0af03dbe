//! The official Rust clients on Solana: as a buyer of the facilitator, as readers of the chain, and as the measure of our
//! own readers.

mod buyer;
mod tokens;
mod wire;
