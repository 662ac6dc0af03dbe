//! What a transaction can cost its fee payer: a fixed fee for every signature, and the price of the compute units that it
//! requests.

use solana_message::compiled_instruction::CompiledInstruction;

use crate::programs::{COMPUTE_BUDGET, SIGNATURE_PRECOMPILES};
use crate::wire::Message;

/// Lamports for each signature.
pub const LAMPORTS_PER_SIGNATURE: u64 = 5_000;
/// Compute units of an instruction where the message sets no limit (the runtime's default).
const DEFAULT_UNITS: u64 = 200_000;
/// Most compute units that a transaction can use.
pub const MAX_UNITS: u64 = 1_400_000;
/// Micro-lamports in a lamport.
const MICRO: u128 = 1_000_000;
/// The most that opening a token account for the payee may cost, lamports: its rent, with room for extensions.
pub const MAX_RENT_LAMPORTS: u64 = 2_500_000;

/// An instruction of the Compute Budget program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeBudget {
    /// SetComputeUnitLimit, compute units.
    Limit(u32),
    /// SetComputeUnitPrice, micro-lamports per compute unit.
    Price(u64),
    /// Byte 2 or 3 with data of another length.
    Malformed(u8),
    /// Anything else, by its first byte.
    Other(Option<u8>),
}

impl ComputeBudget {
    /// Reads the data of an instruction of the Compute Budget program.
    #[must_use]
    pub fn read(data: &[u8]) -> Self {
        match data {
            [2, limit @ ..] => limit
                .try_into()
                .map_or(Self::Malformed(2), |bytes| Self::Limit(u32::from_le_bytes(bytes))),
            [3, price @ ..] => price
                .try_into()
                .map_or(Self::Malformed(3), |bytes| Self::Price(u64::from_le_bytes(bytes))),
            _ => Self::Other(data.first().copied()),
        }
    }
}

/// The most that a message can cost its fee payer in fees, lamports. Never less than what a validator charges.
#[must_use]
pub fn bound(message: &Message) -> u64 {
    let mut signatures = u64::from(message.header.num_required_signatures);
    let (mut limit, mut price) = (None, 0u64);
    let mut others = 0u64;
    for instruction in &message.instructions {
        let program = message.program(instruction);
        if program == Some(COMPUTE_BUDGET) {
            match ComputeBudget::read(&instruction.data) {
                ComputeBudget::Limit(units) => limit = limit.max(Some(u64::from(units))),
                ComputeBudget::Price(micro) => price = price.max(micro),
                ComputeBudget::Malformed(_) | ComputeBudget::Other(_) => {}
            }
            continue;
        }
        others = others.saturating_add(1);
        if program.is_some_and(|program| SIGNATURE_PRECOMPILES.contains(&program)) {
            signatures = signatures.saturating_add(verified(instruction));
        }
    }
    // Without a limit of its own each instruction gets the default, built-in ones less.
    let units = limit
        .unwrap_or_else(|| others.saturating_mul(DEFAULT_UNITS))
        .min(MAX_UNITS);
    signatures
        .saturating_mul(LAMPORTS_PER_SIGNATURE)
        .saturating_add(priority(units, price))
}

/// Signatures that a precompile's instruction has verified.
fn verified(instruction: &CompiledInstruction) -> u64 {
    instruction.data.first().copied().map_or(0, u64::from)
}

/// The priority fee of this many compute units at this price, lamports, rounded up.
#[must_use]
pub fn priority(units: u64, micro_lamports: u64) -> u64 {
    let micro = u128::from(units).saturating_mul(u128::from(micro_lamports));
    u64::try_from(micro.div_ceil(MICRO)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_fee_is_rounded_up_and_never_overflows() {
        assert_eq!(priority(20_000, 1), 1);
        assert_eq!(priority(20_000, 5_000_000), 100_000);
        assert_eq!(priority(200_000, 0), 0);
        assert_eq!(priority(MAX_UNITS, 5_000_000), 7_000_000);
        assert_eq!(priority(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn compute_budget_instructions_have_exact_lengths() {
        assert_eq!(
            ComputeBudget::read(&[2, 0x20, 0x4e, 0, 0]),
            ComputeBudget::Limit(20_000)
        );
        assert_eq!(
            ComputeBudget::read(&[3, 1, 0, 0, 0, 0, 0, 0, 0]),
            ComputeBudget::Price(1)
        );
        assert_eq!(ComputeBudget::read(&[2, 1, 0, 0]), ComputeBudget::Malformed(2));
        assert_eq!(
            ComputeBudget::read(&[3, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            ComputeBudget::Malformed(3)
        );
        assert_eq!(
            ComputeBudget::read(&[1, 0, 0, 0, 0]),
            ComputeBudget::Other(Some(1))
        );
        assert_eq!(ComputeBudget::read(&[]), ComputeBudget::Other(None));
    }
}
