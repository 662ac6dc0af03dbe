//! What a transaction did or would do: its accounts, its effect on balances, and litesvm's report of the run.

use std::collections::HashMap;

use litesvm::types::TransactionMetadata;
use solana_account::{Account, ReadableAccount};
use solana_address::Address;
use solana_message::v0::LoadedAddresses;
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

use crate::ids;

/// A transaction's accounts in the order of their indices: static, then writable, then read-only ones from lookup tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    pub(crate) keys: Vec<Address>,
    pub(crate) statics: usize,
    pub(crate) loaded: LoadedAddresses,
}

impl Accounts {
    pub(crate) fn new(transaction: &VersionedTransaction, loaded: LoadedAddresses) -> Accounts {
        let statics = transaction.message.static_account_keys();
        let loaded_addresses = loaded.writable.iter().chain(&loaded.readonly);
        Accounts {
            keys: statics.iter().chain(loaded_addresses).copied().collect(),
            statics: statics.len(),
            loaded,
        }
    }

    /// Whether the message requests write access (the runtime may still demote a reserved address).
    pub(crate) fn is_writable(&self, transaction: &VersionedTransaction, index: usize) -> bool {
        let header = transaction.message.header();
        let signers = usize::from(header.num_required_signatures);
        if index >= self.statics {
            return index < self.statics + self.loaded.writable.len();
        }
        if index < signers {
            return index < signers.saturating_sub(usize::from(header.num_readonly_signed_accounts));
        }
        index
            < self
                .statics
                .saturating_sub(usize::from(header.num_readonly_unsigned_accounts))
    }
}

/// One token account's balance, as `preTokenBalances` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenBalance {
    pub(crate) index: usize,
    pub(crate) program: Address,
    pub(crate) mint: Address,
    pub(crate) owner: Address,
    pub(crate) amount: u64,
    pub(crate) decimals: u8,
}

/// Lamports and tokens of a transaction's accounts at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Balances {
    pub(crate) lamports: Vec<u64>,
    pub(crate) tokens: Vec<TokenBalance>,
}

impl Balances {
    /// `read` gives an account, or nothing where there is none.
    pub(crate) fn of(keys: &[Address], read: impl Fn(&Address) -> Option<Account>) -> Balances {
        let mut balances = Balances::default();
        for (index, key) in keys.iter().enumerate() {
            let account = read(key);
            balances
                .lamports
                .push(account.as_ref().map_or(0, |account| account.lamports));
            let Some(token) = account.as_ref().and_then(TokenAccount::parse) else {
                continue;
            };
            let Some(decimals) = read(&token.mint).as_ref().and_then(mint_decimals) else {
                continue;
            };
            balances.tokens.push(TokenBalance {
                index,
                program: token.program,
                mint: token.mint,
                owner: token.owner,
                amount: token.amount,
                decimals,
            });
        }
        balances
    }
}

/// The content of a token account, of either token program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenAccount {
    pub(crate) program: Address,
    pub(crate) mint: Address,
    pub(crate) owner: Address,
    pub(crate) amount: u64,
}

const TOKEN_ACCOUNT_BYTES: usize = 165;
const MINT_BYTES: usize = 82;
/// After an account or mint with extensions; the byte after it says which of the two it is.
const KIND_OFFSET: usize = 165;

impl TokenAccount {
    pub(crate) fn parse(account: &Account) -> Option<TokenAccount> {
        let data = account.data();
        let right_size = data.len() == TOKEN_ACCOUNT_BYTES
            || (account.owner == ids::TOKEN_2022 && data.get(KIND_OFFSET) == Some(&2));
        let ours = account.owner == ids::TOKEN || account.owner == ids::TOKEN_2022;
        let initialized = data.get(108).is_some_and(|state| *state != 0);
        if !(right_size && ours && initialized) {
            return None;
        }
        Some(TokenAccount {
            program: account.owner,
            mint: address_at(data, 0)?,
            owner: address_at(data, 32)?,
            amount: u64::from_le_bytes(*data.get(64..)?.first_chunk()?),
        })
    }
}

/// A mint's decimals, if the account is an initialized mint.
pub(crate) fn mint_decimals(account: &Account) -> Option<u8> {
    let data = account.data();
    let right_size =
        data.len() == MINT_BYTES || (account.owner == ids::TOKEN_2022 && data.get(KIND_OFFSET) == Some(&1));
    let ours = account.owner == ids::TOKEN || account.owner == ids::TOKEN_2022;
    if !(right_size && ours && data.get(45) == Some(&1)) {
        return None;
    }
    data.get(44).copied()
}

fn address_at(data: &[u8], offset: usize) -> Option<Address> {
    data.get(offset..)?
        .first_chunk::<32>()
        .map(|bytes| Address::new_from_array(*bytes))
}

/// The result of a run, real or simulated.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) error: Option<TransactionError>,
    /// Whether it ran at all: what was refused before has no fee, no logs and no balances.
    pub(crate) ran: bool,
    pub(crate) report: TransactionMetadata,
    pub(crate) before: Balances,
    pub(crate) after: Balances,
    /// Bytes of the accounts it loads, as far as they are counted here.
    pub(crate) loaded_bytes: u32,
    /// Only of a simulation that succeeded: the accounts it would write.
    pub(crate) written: HashMap<Address, Account>,
}

impl Outcome {
    /// Refused before it ran.
    pub(crate) fn refused(error: TransactionError) -> Outcome {
        Outcome {
            error: Some(error),
            ran: false,
            report: TransactionMetadata::default(),
            before: Balances::default(),
            after: Balances::default(),
            loaded_bytes: 0,
            written: HashMap::new(),
        }
    }
}
