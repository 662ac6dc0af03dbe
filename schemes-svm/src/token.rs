//! The two token programs: their transfer with checks, associated token accounts, and what a mint may do to a transfer.

use sdk_plugin::Fault;
use solana_address::Address;
use spl_token_2022_interface::extension::{BaseStateWithExtensions, ExtensionType, StateWithExtensions};
use spl_token_2022_interface::state::Mint;

use crate::programs::{ASSOCIATED_TOKEN, TOKEN, TOKEN_2022, is_token};
use crate::rpc::Account;

/// First byte of `TransferChecked`.
pub const TRANSFER_CHECKED: u8 = 12;
/// Only byte of `CreateIdempotent` of the Associated Token program.
pub const CREATE_IDEMPOTENT: u8 = 1;

/// An instruction whose accounts are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    pub program: Address,
    pub accounts: Vec<Address>,
    pub data: Vec<u8>,
}

impl Instruction {
    #[must_use]
    pub fn first_byte(&self) -> Option<u8> {
        self.data.first().copied()
    }

    /// Whether an account is among its accounts, or is its program.
    #[must_use]
    pub fn names(&self, account: &Address) -> bool {
        self.program == *account || self.accounts.contains(account)
    }

    #[must_use]
    pub fn is_transfer_checked(&self) -> bool {
        TransferChecked::read(self).is_some()
    }
}

/// Whose a token account is, by its data (both programs: mint, then owner, 32 bytes each).
#[must_use]
pub fn account_owner(data: &[u8]) -> Option<Address> {
    let owner = data.get(32..64)?;
    Some(Address::new_from_array(owner.try_into().ok()?))
}

/// A transfer that names its mint and decimals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferChecked {
    pub program: Address,
    pub source: Address,
    pub mint: Address,
    pub destination: Address,
    /// The owner of the source, or its delegate.
    pub authority: Address,
    /// Accounts after the authority: signers of a multisig, or what a transfer hook needs.
    pub further: Vec<Address>,
    /// Atomic units.
    pub amount: u64,
    pub decimals: u8,
}

impl TransferChecked {
    /// `None` unless it is one: a token program, byte 12, at least ten bytes of data and four accounts.
    #[must_use]
    pub fn read(instruction: &Instruction) -> Option<Self> {
        if !is_token(&instruction.program) {
            return None;
        }
        let [source, mint, destination, authority, further @ ..] = instruction.accounts.as_slice() else {
            return None;
        };
        let [TRANSFER_CHECKED, rest @ ..] = instruction.data.as_slice() else {
            return None;
        };
        let (amount, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            program: instruction.program,
            source: *source,
            mint: *mint,
            destination: *destination,
            authority: *authority,
            further: further.to_vec(),
            amount: u64::from_le_bytes(*amount),
            decimals: *rest.first()?,
        })
    }
}

/// The associated token account of an owner.
#[must_use]
pub fn associated_account(owner: &Address, mint: &Address, token_program: &Address) -> Address {
    let seeds = [owner.as_ref(), token_program.as_ref(), mint.as_ref()];
    Address::find_program_address(&seeds, &ASSOCIATED_TOKEN).0
}

/// What a mint may do to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintKind {
    /// What is sent arrives, and nothing else happens.
    Plain {
        /// Whether that can't change any more: a mint that can be closed can come back as another one.
        for_ever: bool,
    },
    /// An extension may take a part of it, stop it, run a program, or take it back.
    Extended,
}

/// What kind of mint an account is; `None` when it is no mint of a token program.
///
/// Source: Token-2022's extension types. What is not known to be harmless counts as [`MintKind::Extended`].
#[must_use]
pub fn mint_kind(account: &Account) -> Option<MintKind> {
    if account.owner == TOKEN {
        // The first program knows neither extensions nor closing of mints.
        return (account.data.len() == MINT_BYTES).then_some(MintKind::Plain { for_ever: true });
    }
    if account.owner != TOKEN_2022 {
        return None;
    }
    let mint = StateWithExtensions::<Mint>::unpack(&account.data).ok()?;
    let Ok(types) = mint.get_extension_types() else {
        return Some(MintKind::Extended);
    };
    if !types.iter().all(is_harmless) {
        return Some(MintKind::Extended);
    }
    Some(MintKind::Plain {
        for_ever: !types.contains(&ExtensionType::MintCloseAuthority),
    })
}

/// A mint without extensions.
const MINT_BYTES: usize = 82;

fn is_harmless(extension: &ExtensionType) -> bool {
    matches!(
        extension,
        ExtensionType::Uninitialized
            | ExtensionType::MintCloseAuthority
            | ExtensionType::InterestBearingConfig
            | ExtensionType::MetadataPointer
            | ExtensionType::TokenMetadata
            | ExtensionType::GroupPointer
            | ExtensionType::TokenGroup
            | ExtensionType::GroupMemberPointer
            | ExtensionType::TokenGroupMember
            | ExtensionType::ScaledUiAmount
            | ExtensionType::PermissionedBurn
    )
}

/// The instructions of a message whose accounts are resolved, in order.
pub fn instructions(message: &crate::wire::Message, accounts: &[Address]) -> Result<Vec<Instruction>, Fault> {
    let unknown = || Fault::internal("an instruction names an account that was not resolved");
    message
        .instructions
        .iter()
        .map(|compiled| {
            let named = compiled
                .accounts
                .iter()
                .map(|index| accounts.get(usize::from(*index)).copied());
            Ok(Instruction {
                program: message.program(compiled).ok_or_else(unknown)?,
                accounts: named.collect::<Option<_>>().ok_or_else(unknown)?,
                data: compiled.data.clone(),
            })
        })
        .collect()
}
