//! The Solana dev chain of Switchyard's tests: litesvm with the part of a validator's JSON-RPC that a facilitator and
//! the official clients use, with a clock that separates processed, confirmed and finalized, and levers for tests.
//!
//! Run it as a program (`solana-devnet --help`); `devnet::SolanaDevnet` starts it for tests and speaks to its levers.
//! Nothing but this crate depends on litesvm, so that its many dependencies are compiled once, and only where wanted.
//!
//! # What is modelled
//! - Slots pass by a clock; every slot has a block and a blockhash of its own, valid for 150 blocks after it. A
//!   commitment is a distance from the newest slot.
//! - A transaction runs in the slot in which it arrives. Balances, accounts, simulations and statuses are answered as of
//!   the slot of the commitment that was requested.
//! - Signatures, expired or unknown blockhashes, duplicates, preflight, and transactions that are accepted and dropped
//!   silently, with the error codes and shapes of agave 4.2.
//!
//! # What is not
//! - Skipped slots, forks by themselves (only [`Chain::forget`]), leaders, votes, rewards, epochs after the first.
//! - Durable nonces: their transactions need a recent blockhash like all others.
//! - Look-up tables, scans for token accounts, and edits by a lever are always answered as of the newest slot.
//! - Compute units are those of litesvm's token program (a validator's are up to twenty times as many), and
//!   `loadedAccountsDataSize` counts no program data.
//! - Subscriptions (WebSocket): nothing here uses them.
//! - The wallet and Lighthouse programs are stand-ins compiled into this process: see [`programs`].

mod chain;
mod clock;
mod ids;
mod keys;
mod outcome;
mod parsed;
pub mod programs;
mod rpc;
mod server;
mod shapes;
mod world;
mod zstd;

pub use chain::{Chain, Commitment, Landed, Timing};
pub use ids::DEVNET_GENESIS;
pub use keys::{Key, Keys};
pub use rpc::{CONTROL_METHODS, answer};
pub use server::{Shared, serve};
pub use world::{World, associated_account};
