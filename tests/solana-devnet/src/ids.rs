//! Well-known addresses.

use solana_address::Address;

pub(crate) const SYSTEM: Address = Address::from_str_const("11111111111111111111111111111111");
pub(crate) const TOKEN: Address = Address::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
pub(crate) const TOKEN_2022: Address = Address::from_str_const("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb");
pub(crate) const ASSOCIATED_TOKEN: Address =
    Address::from_str_const("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL");
pub(crate) const MEMO_V1: Address = Address::from_str_const("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo");
pub(crate) const MEMO: Address = Address::from_str_const("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr");
pub(crate) const COMPUTE_BUDGET: Address =
    Address::from_str_const("ComputeBudget111111111111111111111111111111");
pub(crate) const LOOKUP_TABLE: Address =
    Address::from_str_const("AddressLookupTab1e1111111111111111111111111");
/// The clock that programs and clients read.
pub(crate) const CLOCK: Address = Address::from_str_const("SysvarC1ock11111111111111111111111111111111");
/// USDC on Solana's devnet, where the dollar of this chain is planted too.
pub(crate) const USDC: Address = Address::from_str_const("4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU");
pub(crate) const LIGHTHOUSE: Address = Address::from_str_const("L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95");
pub(crate) const SQUADS: Address = Address::from_str_const("SQDS4ep65T869zMMBKyuUq6aD6EgTu8psMjkvj52pCf");

/// Genesis of Solana's devnet: network ids begin with its first 32 characters, and clients check it.
pub const DEVNET_GENESIS: &str = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG";
pub(crate) const RECENT_BLOCKHASHES: Address =
    Address::from_str_const("SysvarRecentB1ockHashes11111111111111111111");
/// Owner of the sysvars.
pub(crate) const SYSVAR: Address = Address::from_str_const("Sysvar1111111111111111111111111111111111111");
