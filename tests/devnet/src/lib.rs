//! The dev chains of Switchyard's tests. The EVM one: one anvil process with the dollar token, Permit2 with both x402 proxies,
//! Multicall3, the escrows of auth-capture and contract operators for them, wallets and hostile tokens planted at fixed addresses, and keys that own gas or tokens.
//!
//! ```no_run
//! # fn main() -> Result<(), devnet::Error> {
//! let chain = devnet::Devnet::start(devnet::Options::default())?;
//! let buyer = &chain.buyers[0].address;
//! assert_eq!(chain.balance_of(devnet::USDC, buyer)?, devnet::BUYER_TOKENS);
//! # Ok(()) }
//! ```
//!
//! The node comes from npm, pinned in `tests/js`, and is installed on first use ([`Npm::ensure`]). Everything the chain
//! starts with, and every later edit of the world (mint, pause, blacklist, code), is written into the state directly:
//! no transaction, no block, so it works the same whether blocks are mined at once, on a timer, or not at all.
//!
//! [`SolanaDevnet`] is the Solana dev chain beside it: the program of `tests/solana-devnet`, started as a process.
//!
//! The keys are public test keys. Never fund them on a live network.

mod abi;
mod accounts;
mod anvil;
mod auth_capture;
mod chain;
mod error;
mod levers;
mod npm;
mod operators;
mod plant;
mod rpc;
mod solana;
mod world;

pub use abi::{Arg, Artifact, encode, word_of_address, word_of_u128};
pub use accounts::{Account, FACILITATOR, MERCHANT, PAYER};
pub use anvil::{Anvil, AnvilOptions};
pub use auth_capture::{AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, AuthCapture, FeeForm, PaymentInfo, PaymentState};
pub use chain::{
    ACCEPTS_ANYTHING, BUYER_TOKENS, Devnet, FACILITATOR_WEI, FEE_TOKEN, LYING_TOKEN, MOCK_WALLET, MULTICALL3,
    Mining, Options, PERMIT2, PERMIT2_PROXY, REFUSING_DELEGATE, UPTO_PROXY, USDC, WALLET, WALLET_FACTORY,
    WRAPPING_FACTORY,
};
pub use error::Error;
pub use npm::Npm;
pub use operators::{
    ARBITER, ARBITER_OPERATOR, HOSTILE_OPERATOR, OperatorMood, TIME_LOCK_OPERATOR, TIME_LOCK_OPERATOR_V10,
};
pub use rpc::Rpc;
pub use solana::{
    LookupTable, SOLANA_BUYER_UNITS, SOLANA_FEE_PAYER_LAMPORTS, SOLANA_NETWORK, SOLANA_USDC, SolanaDevnet,
    SolanaKey, SolanaOptions, SolanaSlots, SolanaToken, SolanaTransaction, SolanaWallet,
};
