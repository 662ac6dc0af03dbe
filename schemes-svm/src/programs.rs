//! Addresses of the programs and sysvars that this crate knows.

use solana_address::Address;

/// SPL Token.
pub const TOKEN: Address = Address::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
/// Token-2022.
pub const TOKEN_2022: Address = Address::from_str_const("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb");
pub const ASSOCIATED_TOKEN: Address = Address::from_str_const("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL");
pub const SYSTEM: Address = Address::from_str_const("11111111111111111111111111111111");
pub const COMPUTE_BUDGET: Address = Address::from_str_const("ComputeBudget111111111111111111111111111111");
pub const MEMO: Address = Address::from_str_const("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr");
/// Assertions about accounts that wallets add; its first two operations write, all others only assert.
pub const LIGHTHOUSE: Address = Address::from_str_const("L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95");
pub const ADDRESS_LOOKUP_TABLE: Address =
    Address::from_str_const("AddressLookupTab1e1111111111111111111111111");
/// The sysvar account that holds the chain's clock.
pub const CLOCK: Address = Address::from_str_const("SysvarC1ock11111111111111111111111111111111");
/// The sysvar account that lists the newest 150 blockhashes, the newest first; durable nonces keep it alive.
pub const RECENT_BLOCKHASHES: Address =
    Address::from_str_const("SysvarRecentB1ockHashes11111111111111111111");

/// Programs whose instructions carry signatures that the fee counts: the first byte of data is their number.
pub const SIGNATURE_PRECOMPILES: [Address; 3] = [
    Address::from_str_const("Ed25519SigVerify111111111111111111111111111"),
    Address::from_str_const("KeccakSecp256k11111111111111111111111111111"),
    Address::from_str_const("Secp256r1SigVerify1111111111111111111111111"),
];

/// Whether this is one of the two token programs.
#[must_use]
pub fn is_token(program: &Address) -> bool {
    *program == TOKEN || *program == TOKEN_2022
}
