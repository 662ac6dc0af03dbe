//! The creation of the payee's token account before the transfer (exact-svm.md section 5).

use solana_address::Address;

use super::config::CreateAtaMode;
use super::reason;
use super::terms::{Rejection, Terms};
use crate::programs::{ASSOCIATED_TOKEN, SYSTEM, is_token};
use crate::token::{CREATE_IDEMPOTENT, Instruction, TransferChecked};

/// Whether an instruction counts as a creation in this mode.
pub(super) fn is_creation(instruction: &Instruction, mode: CreateAtaMode) -> bool {
    mode != CreateAtaMode::Off && instruction.program == ASSOCIATED_TOKEN
}

/// All checks of section 5, in order; who pays for the account.
pub(super) fn check(
    instruction: &Instruction,
    mode: CreateAtaMode,
    terms: &Terms,
    transfer: &TransferChecked,
) -> Result<Address, Rejection> {
    let rejection = |reason: &str, message: &str| Err(Rejection::new(reason, message).by(transfer.authority));
    if instruction.data != [CREATE_IDEMPOTENT] {
        return rejection(reason::CREATE_NOT_IDEMPOTENT, "only CreateIdempotent is accepted");
    }
    let [funder, account, owner, mint, system, program] = instruction.accounts.as_slice() else {
        return rejection(
            reason::CREATE_ACCOUNT_COUNT,
            "CreateIdempotent has exactly six accounts",
        );
    };
    let wanted = match mode {
        CreateAtaMode::Sponsor => terms.fee_payer,
        CreateAtaMode::Client | CreateAtaMode::Off => transfer.authority,
    };
    if *funder != wanted || (mode != CreateAtaMode::Sponsor && terms.ours.contains(funder)) {
        return rejection(
            reason::CREATE_FUNDER,
            &format!("the account must be paid for by {wanted}"),
        );
    }
    if terms.pay_to != Some(*owner) {
        return rejection(reason::CREATE_OWNER, "the account's owner is not payTo");
    }
    if terms.asset != Some(*mint) {
        return rejection(reason::CREATE_MINT, "the account's mint is not the asset");
    }
    if *system != SYSTEM {
        return rejection(
            reason::CREATE_SYSTEM,
            "the fifth account is not the system program",
        );
    }
    if !is_token(program) || *program != transfer.program {
        return rejection(
            reason::CREATE_TOKEN_PROGRAM,
            "the sixth account is not the transfer's token program",
        );
    }
    if *account != transfer.destination {
        return rejection(
            reason::CREATE_DESTINATION,
            "the account is not the transfer's destination",
        );
    }
    Ok(*funder)
}
