//! Programs that are no SBF binaries but Rust functions of this process, which litesvm runs as builtins: a wallet, and
//! stand-ins where a real program's binary can't be had offline. They are our own and far simpler than what they stand
//! for; what they share with it is what a facilitator sees: a program id, the accounts, and the inner instructions.
//!
//! # The wallet
//! At an address of its own, and at that of Squads v4. A wallet is the PDA of `["wallet", owner]`. Accounts: the owner
//! (signer), the wallet, the program to call, then the accounts of that call, in which the wallet signs.
//! Data: byte 0 and the data of the call; or byte 1, a slot (u64 LE) and the data of the call, which is then made only
//! in slots before that one: a wallet that behaves in a simulation and not afterwards.
//!
//! # The Lighthouse stand-in
//! Byte 0 is the memory write: the third account pays the rent of the fourth, as with the real one. Byte 1 does nothing.
//! Every other first byte is an assertion; it holds unless the last byte of the data is 255, when it fails with 6400.

use litesvm::LiteSVM;
use solana_address::Address;
use solana_instruction::error::InstructionError;
use solana_instruction::{AccountMeta, Instruction};
use solana_program_runtime::declare_process_instruction;
use solana_program_runtime::invoke_context::InvokeContext;
use solana_program_runtime::solana_sbpf::program::BuiltinFunctionDefinition;

use crate::ids;

/// Where our wallet program is; derived from its name, so nobody has the key.
#[must_use]
pub fn wallet_program() -> Address {
    Address::new_from_array(solana_sha256_hasher::hash(b"switchyard test wallet program").to_bytes())
}

/// The wallet of an owner, under one of the wallet programs.
#[must_use]
pub fn wallet_of(owner: &Address, program: &Address) -> Address {
    Address::find_program_address(&[WALLET_SEED, owner.as_ref()], program).0
}

/// What the memory write takes from its payer: the rent of an empty account.
pub const MEMORY_RENT_LAMPORTS: u64 = 890_880;
/// The message of a failed assertion.
pub const ASSERTION_FAILED: u32 = 6400;

const WALLET_SEED: &[u8] = b"wallet";
const WALLET_UNITS: u64 = 2_000;
const GUARD_UNITS: u64 = 1_000;

pub(crate) fn install(svm: &mut LiteSVM) {
    svm.add_builtin(wallet_program(), Wallet::register);
    svm.add_builtin(ids::SQUADS, Wallet::register);
    svm.add_builtin(ids::LIGHTHOUSE, Guard::register);
}

declare_process_instruction!(Wallet, WALLET_UNITS, |invoke_context| { wallet(invoke_context) });
declare_process_instruction!(Guard, GUARD_UNITS, |invoke_context| { guard(invoke_context) });

/// The running instruction, as a program sees it.
struct Call {
    program: Address,
    accounts: Vec<AccountMeta>,
    data: Vec<u8>,
}

fn current(context: &InvokeContext) -> Result<Call, InstructionError> {
    let instruction = context.transaction_context.get_current_instruction_context()?;
    let accounts = (0..instruction.get_number_of_instruction_accounts()).map(|index| {
        Ok(AccountMeta {
            pubkey: *instruction.get_key_of_instruction_account(index)?,
            is_signer: instruction.is_instruction_account_signer(index)?,
            is_writable: instruction.is_instruction_account_writable(index)?,
        })
    });
    Ok(Call {
        program: *instruction.get_program_key()?,
        accounts: accounts.collect::<Result<_, InstructionError>>()?,
        data: instruction.get_instruction_data().to_vec(),
    })
}

fn wallet(context: &mut InvokeContext) -> Result<(), InstructionError> {
    let call = current(context)?;
    let [owner, wallet, target, accounts @ ..] = call.accounts.as_slice() else {
        return Err(InstructionError::MissingAccount);
    };
    if !owner.is_signer {
        return Err(InstructionError::MissingRequiredSignature);
    }
    let (address, bump) = Address::find_program_address(&[WALLET_SEED, owner.pubkey.as_ref()], &call.program);
    if wallet.pubkey != address {
        return Err(InstructionError::InvalidSeeds);
    }
    let data = match call.data.split_first() {
        Some((0, data)) => data,
        Some((1, rest)) => {
            let (slot, data) = rest
                .split_first_chunk::<8>()
                .ok_or(InstructionError::InvalidInstructionData)?;
            let clock = context.environment_config.sysvar_cache().get_clock()?;
            if clock.slot >= u64::from_le_bytes(*slot) {
                return Ok(());
            }
            data
        }
        _ => return Err(InstructionError::InvalidInstructionData),
    };
    let accounts = accounts.iter().map(|meta| AccountMeta {
        is_signer: meta.is_signer || meta.pubkey == address,
        ..meta.clone()
    });
    let instruction = Instruction {
        program_id: target.pubkey,
        accounts: accounts.collect(),
        data: data.to_vec(),
    };
    context.native_invoke_signed(instruction, &[&[WALLET_SEED, owner.pubkey.as_ref(), &[bump]]])
}

fn guard(context: &mut InvokeContext) -> Result<(), InstructionError> {
    let call = current(context)?;
    match (call.data.first(), call.data.last()) {
        (Some(0), _) => {
            let (Some(payer), Some(memory)) = (call.accounts.get(2), call.accounts.get(3)) else {
                return Err(InstructionError::MissingAccount);
            };
            let transfer = solana_system_interface::instruction::transfer(
                &payer.pubkey,
                &memory.pubkey,
                MEMORY_RENT_LAMPORTS,
            );
            context.native_invoke_signed(transfer, &[])
        }
        (Some(1), _) => Ok(()),
        (Some(_), Some(0xff)) => Err(InstructionError::Custom(ASSERTION_FAILED)),
        (Some(_), _) => Ok(()),
        (None, _) => Err(InstructionError::InvalidInstructionData),
    }
}
