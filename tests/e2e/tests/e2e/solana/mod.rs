//! `exact` on Solana: the release binary with its plugin file, on the Solana dev chain.

mod answers;
mod clients;
mod concurrency;
mod crash;
mod expiry;
mod funds;
mod hostile;
mod wallets;

const DUPLICATE: &str = "duplicate_settlement";
