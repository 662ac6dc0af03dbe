//! The keys of this chain: three from the golden vectors, the rest derived from fixed words, so that every start has the
//! same. They are public test keys: never fund them on a live network.

use solana_address::Address;
use solana_keypair::Keypair;
use solana_sha256_hasher::hashv;
use solana_signer::Signer;

/// A key and what it is for.
#[derive(Debug)]
pub struct Key {
    pub pair: Keypair,
}

impl Key {
    /// From a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Key {
        Key {
            pair: Keypair::new_from_array(seed),
        }
    }

    fn derived(role: &str, index: u16) -> Key {
        let index = index.to_le_bytes();
        Key::from_seed(hashv(&[b"switchyard solana devnet ", role.as_bytes(), &index]).to_bytes())
    }

    #[must_use]
    pub fn address(&self) -> Address {
        self.pair.pubkey()
    }

    /// The 64 bytes of seed and public key in base58, as wallets export keys.
    #[must_use]
    pub fn base58(&self) -> String {
        self.pair.to_base58_string()
    }

    /// The seed as 64 hex digits.
    #[must_use]
    pub fn seed_hex(&self) -> String {
        self.pair
            .secret_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Every account that has a key here.
#[derive(Debug)]
pub struct Keys {
    /// Own SOL; the first is the fee payer of the golden vectors.
    pub fee_payers: Vec<Key>,
    /// Own tokens and no SOL; the first is the payer of the golden vectors.
    pub buyers: Vec<Key>,
    /// Owns empty token accounts; `payTo` of the golden vectors.
    pub merchant: Key,
    /// Owns nothing, not even a token account.
    pub newcomer: Key,
    /// May mint every token; owns the faucet's SOL.
    pub admin: Key,
}

impl Keys {
    /// At least one fee payer and two buyers: the second owns the smart wallets.
    #[must_use]
    pub fn new(fee_payers: u16, buyers: u16) -> Keys {
        let many = |role: &str, first: u8, count: u16| {
            std::iter::once(Key::from_seed([first; 32]))
                .chain((1..count).map(|index| Key::derived(role, index)))
                .collect()
        };
        Keys {
            fee_payers: many("fee payer", 1, fee_payers.max(1)),
            buyers: many("buyer", 2, buyers.max(2)),
            merchant: Key::from_seed([3; 32]),
            newcomer: Key::derived("newcomer", 0),
            admin: Key::derived("admin", 0),
        }
    }
}
