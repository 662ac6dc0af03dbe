//! From a step to signed bytes: the client's transaction with the fee payer's signature added.
//!
//! What is granted to a plan is a mint and an operation; that the transaction is no more than that is checked here, on
//! the bytes themselves. The fee payer has signed the whole message, so it must not be named where anything could be
//! taken from it.

use sdk_plugin::chain::{Built, Slot};
use sdk_plugin::host::{SignRequest, Suite};
use sdk_plugin::scheme::{Call, LaneChoice, Step};
use sdk_plugin::{Amount, Cx, Fault, HexBytes, Value};
use solana_address::Address;
use solana_signature::Signature;

use crate::programs::{ASSOCIATED_TOKEN, LIGHTHOUSE, SYSTEM};
use crate::token::{self, CREATE_IDEMPOTENT, Instruction, TransferChecked};
use crate::wire::{Message, Transaction};
use crate::{fees, lookup, rpc, text};

/// One transfer of the target mint by a token program; the fee payer only pays the fee.
pub const TRANSFER: &str = "transferChecked";
/// The same after the creation of the payee's token account, whose rent the fee payer pays.
pub const CREATE_AND_TRANSFER: &str = "createAndTransferChecked";
/// A smart wallet's transaction, which moves the target mint in some inner instruction; the fee payer is in none of them.
pub const WALLET_TRANSFER: &str = "walletTransfer";
/// All operations.
pub const OPERATIONS: [&str; 3] = [TRANSFER, CREATE_AND_TRANSFER, WALLET_TRANSFER];

/// First byte of an instruction by which a wallet's guard only asserts; below it, it writes.
pub(crate) const FIRST_ASSERTION: u8 = 2;
/// First bytes of the system program's AdvanceNonceAccount.
const ADVANCE_NONCE: [u8; 4] = 4u32.to_le_bytes();

/// Co-signs the first step's transaction; the others are left out.
pub(super) async fn steps(cx: &Cx, slot: &Slot, steps: &[Step]) -> Result<Built, Fault> {
    let Some((step, others)) = steps.split_first() else {
        return Err(Fault::invalid("nothing to build: no steps"));
    };
    let address = match &step.lane {
        LaneChoice::Signer { address } => address,
        LaneChoice::Any | LaneChoice::Foreign => {
            return Err(Fault::denied(
                "the step must name the fee payer that the client has signed for",
            ));
        }
    };
    let payer = text::address(&slot.lane.signer).ok_or_else(|| {
        Fault::invalid(format!(
            "the lane's signer {:?} is not an address",
            slot.lane.signer
        ))
    })?;
    if text::address(address) != Some(payer) {
        return Err(Fault::denied(format!(
            "the step wants fee payer {address}, the slot is one of {payer}"
        )));
    }
    let transaction = Transaction::decode(step.call.data.as_ref())
        .map_err(|error| denied(&format!("the data is no transaction: {error}")))?;
    let accounts = accounts(cx, &transaction).await?;
    let max_cost = declared(&step.call, &transaction, &accounts, &payer)?;

    let request = SignRequest {
        key: slot.lane.key.clone(),
        suite: Suite::Ed25519,
        message: HexBytes(transaction.message_bytes().to_vec()),
        unsigned: HexBytes(transaction.message_bytes().to_vec()),
        typed: None,
    };
    let signed = cx.sign(request).await?;
    let signature = <[u8; 64]>::try_from(signed.as_ref())
        .map(Signature::from)
        .map_err(|_| Fault::internal("the signer gave no 64-byte signature"))?;
    if !signature.verify(payer.as_ref(), transaction.message_bytes()) {
        return Err(Fault::denied("the signer's signature is not the fee payer's"));
    }
    let built = transaction.with_fee_payer_signature(signature);
    Ok(Built {
        tx_id: signature.to_string(),
        bytes: HexBytes(built.to_bytes()),
        max_cost: Amount::from(max_cost),
        terms: Value::Null,
        replay_keys: Vec::new(),
        left_out: (1u32..).zip(others).map(|(index, _)| index).collect(),
        would_fail: None,
    })
}

/// The transaction's accounts; one read if some come from address lookup tables.
async fn accounts(cx: &Cx, transaction: &Transaction) -> Result<Vec<Address>, Fault> {
    let message = transaction.message();
    let answer = match lookup::call(message) {
        Some(call) => Some(rpc::NODES.read_all(cx, vec![call]).await?.take()?),
        None => None,
    };
    lookup::resolve(message, answer)?.map_err(|unresolved| denied(&unresolved.0))
}

/// Whether the transaction is what the call declares; the most that it can cost the fee payer, lamports.
fn declared(
    call: &Call,
    transaction: &Transaction,
    accounts: &[Address],
    payer: &Address,
) -> Result<u64, Fault> {
    let message = transaction.message();
    let mint = text::address(&call.target)
        .filter(|mint| mint.to_string() == call.target)
        .ok_or_else(|| denied("the target is not the address of a mint"))?;
    if message.fee_payer() != *payer {
        return Err(denied("its fee payer is another one than the lane's signer"));
    }
    if !call.native_value.is_zero() {
        return Err(denied("it moves no native currency"));
    }
    if !transaction.others_signed() {
        return Err(denied(
            "a signature other than the fee payer's is missing or wrong",
        ));
    }
    let instructions = token::instructions(message, accounts)?;
    if instructions.first().is_some_and(advances_nonce) {
        return Err(denied("it has a durable nonce and could land at any time"));
    }
    let fee = fees::bound(message);
    let rent = match call.operation.as_str() {
        TRANSFER => {
            one_transfer(&instructions, &mint)?;
            isolated(message, &instructions, payer, |_| false)?;
            0
        }
        CREATE_AND_TRANSFER => {
            let transfer = one_transfer(&instructions, &mint)?;
            let creates = |instruction: &Instruction| creates(instruction, payer, &transfer);
            if instructions
                .iter()
                .filter(|instruction| creates(instruction))
                .count()
                != 1
            {
                return Err(denied(
                    "it does not create the token account that it pays to, or more than once",
                ));
            }
            isolated(message, &instructions, payer, creates)?;
            fees::MAX_RENT_LAMPORTS
        }
        WALLET_TRANSFER => {
            if instructions.iter().any(|instruction| instruction.names(payer)) {
                return Err(denied("the fee payer is named in an instruction"));
            }
            0
        }
        other => return Err(denied(&format!("there is no operation {other:?}"))),
    };
    Ok(fee.saturating_add(rent))
}

fn one_transfer(instructions: &[Instruction], mint: &Address) -> Result<TransferChecked, Fault> {
    let mut transfers = instructions.iter().filter_map(TransferChecked::read);
    match (transfers.next(), transfers.next()) {
        (Some(transfer), None) if transfer.mint == *mint => Ok(transfer),
        _ => Err(denied("it is not exactly one transfer of the target mint")),
    }
}

/// The fee payer may be named only where a guard reads it, and in what `allowed` permits.
fn isolated(
    message: &Message,
    instructions: &[Instruction],
    payer: &Address,
    allowed: impl Fn(&Instruction) -> bool,
) -> Result<(), Fault> {
    debug_assert_eq!(message.fee_payer(), *payer);
    let harmless = |instruction: &Instruction| {
        !instruction.names(payer) || is_assertion(instruction) || allowed(instruction)
    };
    if instructions.iter().all(harmless) {
        Ok(())
    } else {
        Err(denied(
            "the fee payer is named where something could be taken from it",
        ))
    }
}

/// A guard that only reads.
pub(crate) fn is_assertion(instruction: &Instruction) -> bool {
    instruction.program == LIGHTHOUSE
        && instruction
            .first_byte()
            .is_some_and(|byte| byte >= FIRST_ASSERTION)
}

fn creates(instruction: &Instruction, funder: &Address, transfer: &TransferChecked) -> bool {
    instruction.program == ASSOCIATED_TOKEN
        && instruction.data == [CREATE_IDEMPOTENT]
        && matches!(
            instruction.accounts.as_slice(),
            [from, account, _, mint, system, program]
                if from == funder
                    && *account == transfer.destination
                    && *mint == transfer.mint
                    && *system == SYSTEM
                    && *program == transfer.program
        )
}

fn advances_nonce(instruction: &Instruction) -> bool {
    instruction.program == SYSTEM && instruction.data.get(..4) == Some(&ADVANCE_NONCE)
}

fn denied(why: &str) -> Fault {
    Fault::denied(format!(
        "the step's transaction is not what its call declares: {why}"
    ))
}
