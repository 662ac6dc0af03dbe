//! What an operator can set for the scheme, valid on every network.

use serde::{Deserialize, Deserializer, de};
use solana_address::Address;

use crate::text;

/// Which order of instructions is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Each instruction is known by what it is: wallets may put guards anywhere.
    #[default]
    Identity,
    /// Each instruction is recognised by its position (the form of older implementations).
    Positional,
}

/// Whether a payment may create the payee's token account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CreateAtaMode {
    #[default]
    Off,
    /// At the fee payer's cost.
    Sponsor,
    /// At the buyer's cost.
    Client,
}

/// Creation of the payee's token account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreateAta {
    pub mode: CreateAtaMode,
    /// Accounts paid for one payee, in all time: it can close one, keep its rent, and request the next.
    pub max_per_pay_to: u64,
    /// Accounts paid for one tenant, in all time; callers without a tenant count as one.
    pub max_per_tenant: u64,
}

impl Default for CreateAta {
    fn default() -> Self {
        Self {
            mode: CreateAtaMode::Off,
            max_per_pay_to: 2,
            max_per_tenant: 100,
        }
    }
}

/// Payments by smart wallets, which move the token in an inner instruction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmartWallets {
    pub enabled: bool,
    /// Programs that may be called at the top level, beside Compute Budget and Memo.
    #[serde(deserialize_with = "addresses")]
    pub programs: Vec<Address>,
    pub max_compute_units: u32,
    /// Micro-lamports per compute unit.
    pub max_price_micro_lamports: u64,
}

impl Default for SmartWallets {
    fn default() -> Self {
        Self {
            enabled: false,
            programs: WALLET_PROGRAMS.to_vec(),
            max_compute_units: 400_000,
            max_price_micro_lamports: 50_000,
        }
    }
}

/// Squads (v4, smart account), Swig (two programs), SPL Governance, Metaplex Core, and the guards of wallets.
const WALLET_PROGRAMS: [Address; 7] = [
    Address::from_str_const("SQDS4ep65T869zMMBKyuUq6aD6EgTu8psMjkvj52pCf"),
    Address::from_str_const("SMRTzfY6DfH5ik3TKiyLFfXexV8uSG3d2UksSCYdunG"),
    Address::from_str_const("SWiGmQedKzMz1tiTqoJCWeGDnGXfNBp2PkXLkpCAtQo"),
    Address::from_str_const("swigypWHEksbC64pWKwah1WTeh9JXwx8H1rJHLdbQMB"),
    Address::from_str_const("GovER5Lthms3bLBqWub97yVrMmEogzX7xNjdXpPPCVZw"),
    Address::from_str_const("CoREENxT6tW1HoK8ypY1SxRMZTcVPm7R94rH4PZNhX7d"),
    crate::programs::LIGHTHOUSE,
];

/// An instruction that wallets are known to put before or after a payment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    #[serde(deserialize_with = "address")]
    pub program: Address,
    /// How its data begins, `0x` hex; at least one byte.
    #[serde(deserialize_with = "prefix")]
    pub data_prefix: Vec<u8>,
}

/// Settings of the scheme, valid on every network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub layout: Layout,
    /// Most micro-lamports that a compute unit may cost.
    pub max_price_micro_lamports: u64,
    /// Most compute units that a payment may request.
    pub max_compute_units: u32,
    /// Most lamports of fees that one payment may cost, rent of a created account aside.
    pub max_lamports_per_payment: u64,
    /// Most signatures of a payment, the fee payer's included; smart wallets may have one more.
    pub max_signatures: u8,
    /// Fewest blocks that a payment's blockhash must still be good for; 0: any.
    pub min_blocks_left: u64,
    /// Whether messages with address lookup tables are accepted.
    pub lookup_tables: bool,
    /// Owners whose token accounts are read at the start: without one, payments to them fail.
    #[serde(deserialize_with = "addresses")]
    pub payees: Vec<Address>,
    pub create_ata: CreateAta,
    pub smart_wallets: SmartWallets,
    /// Token-2022 mints with extensions that are accepted where a node does not show what a transfer did.
    #[serde(deserialize_with = "addresses")]
    pub extension_mints: Vec<Address>,
    /// Blocks of instructions that may come before a payment, each in its order.
    pub preflight: Vec<Vec<Known>>,
    /// The same after it.
    pub postflight: Vec<Vec<Known>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            layout: Layout::Identity,
            max_price_micro_lamports: V1_MAX_PRICE_MICRO_LAMPORTS,
            max_compute_units: 200_000,
            // Two signatures, and the official client's 20,000 units at the highest price that others accept.
            max_lamports_per_payment: 120_000,
            max_signatures: 2,
            // Some eight seconds: most transactions land in two.
            min_blocks_left: 20,
            lookup_tables: true,
            payees: Vec::new(),
            create_ata: CreateAta::default(),
            smart_wallets: SmartWallets::default(),
            extension_mints: Vec::new(),
            preflight: Vec::new(),
            postflight: Vec::new(),
        }
    }
}

/// The price cap of protocol v1, micro-lamports.
pub(super) const V1_MAX_PRICE_MICRO_LAMPORTS: u64 = 5_000_000;

impl Config {
    /// Whether the numbers and blocks are valid; the error names the one that is not.
    pub fn check(&self) -> Result<(), String> {
        if !(2..=8).contains(&self.max_signatures) {
            return Err("max_signatures must be 2 to 8: the fee payer's and the buyer's at least".into());
        }
        if self.max_lamports_per_payment < 10_000 {
            return Err(
                "max_lamports_per_payment must be at least 10000, the price of two signatures".into(),
            );
        }
        if self.max_compute_units == 0 || self.max_compute_units > 1_400_000 {
            return Err("max_compute_units must be 1 to 1400000".into());
        }
        if self.min_blocks_left > 100 {
            return Err("min_blocks_left must be 0 to 100: a blockhash is good for 150 blocks".into());
        }
        if self.preflight.iter().chain(&self.postflight).any(Vec::is_empty) {
            return Err("a block of preflight or postflight must hold at least one instruction".into());
        }
        Ok(())
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    let read = String::deserialize(deserializer)?;
    text::address(&read)
        .ok_or_else(|| de::Error::custom(format!("{read:?} is not a base58 address of 32 bytes")))
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    let read: Vec<String> = Vec::deserialize(deserializer)?;
    read.iter()
        .map(|one| {
            text::address(one)
                .ok_or_else(|| de::Error::custom(format!("{one:?} is not a base58 address of 32 bytes")))
        })
        .collect()
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let read = String::deserialize(deserializer)?;
    read.strip_prefix("0x")
        .and_then(|digits| hex::decode(digits).ok())
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| de::Error::custom(format!("{read:?} is not 0x and at least one byte of hex")))
}
