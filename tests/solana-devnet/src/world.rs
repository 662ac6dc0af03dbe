//! What the chain starts with, planted by running the real token programs without signatures.

use serde_json::{Value, json};
use solana_account::Account;
use solana_address::Address;
use solana_address_lookup_table_interface::state::{AddressLookupTable, LookupTableMeta};
use solana_instruction::{AccountMeta, Instruction};
use solana_message::{Message, VersionedMessage};
use solana_sha256_hasher::hash;
use solana_signature::Signature;
use solana_system_interface::instruction as system;
use solana_transaction::versioned::VersionedTransaction;
use spl_token_2022_interface::extension::ExtensionType;
use spl_token_2022_interface::extension::transfer_fee::instruction::initialize_transfer_fee_config;
use spl_token_2022_interface::instruction as token;
use spl_token_2022_interface::state::Mint;

use crate::chain::Chain;
use crate::keys::{Key, Keys};
use crate::programs::{wallet_of, wallet_program};
use crate::{Commitment, ids};

/// What each fee payer starts with: 100 SOL.
pub const FEE_PAYER_LAMPORTS: u64 = 100_000_000_000;
/// What each buyer and wallet starts with, per token: 1,000 dollars.
pub const BUYER_UNITS: u64 = 1_000_000_000;
const FAUCET_LAMPORTS: u64 = 500_000_000_000_000;
const DECIMALS: u8 = 6;
/// One percent, without a limit worth mentioning.
const FEE_BASIS_POINTS: u16 = 100;
const FEE_LIMIT_UNITS: u64 = 1_000_000_000_000;

/// A kind of money on this chain.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub name: &'static str,
    pub mint: Address,
    pub program: Address,
    fee: bool,
}

/// Where everything is.
#[derive(Debug)]
pub struct World {
    pub keys: Keys,
    pub tokens: [Token; 3],
    pub lookup_table: Address,
    pub table_addresses: Vec<Address>,
}

/// The associated token account of an owner.
#[must_use]
pub fn associated_account(owner: &Address, mint: &Address, token_program: &Address) -> Address {
    let seeds = [owner.as_ref(), token_program.as_ref(), mint.as_ref()];
    Address::find_program_address(&seeds, &ids::ASSOCIATED_TOKEN).0
}

fn named(name: &str) -> Address {
    Address::new_from_array(hash(format!("switchyard solana devnet {name}").as_bytes()).to_bytes())
}

impl World {
    /// Plants everything into a new chain.
    ///
    /// # Errors
    /// With the logs of the program that refused; that would be a mistake in this file.
    pub fn plant(chain: &mut Chain, keys: Keys) -> Result<World, String> {
        let token = |name, mint, program, fee| Token {
            name,
            mint,
            program,
            fee,
        };
        let tokens = [
            token("USDC", ids::USDC, ids::TOKEN, false),
            token(
                "Dollar of Token-2022",
                named("mint of token-2022"),
                ids::TOKEN_2022,
                false,
            ),
            token(
                "Dollar of Token-2022 with a transfer fee of 1 %",
                named("mint with a fee"),
                ids::TOKEN_2022,
                true,
            ),
        ];
        let world = World {
            table_addresses: table_addresses(&keys, &tokens),
            keys,
            tokens,
            lookup_table: named("look-up table"),
        };
        let admin = world.keys.admin.address();
        let purse = |lamports| Account {
            lamports,
            owner: ids::SYSTEM,
            ..Account::default()
        };
        chain.set_account(admin, purse(FAUCET_LAMPORTS))?;
        for payer in &world.keys.fee_payers {
            chain.set_account(payer.address(), purse(FEE_PAYER_LAMPORTS))?;
        }
        for token in &world.tokens {
            run(chain, &admin, &mint(chain, token, &admin)?)?;
            let buyers = world.keys.buyers.iter().map(Key::address);
            let wallets = world.wallets().map(|(_, wallet)| wallet);
            for owner in buyers.chain(wallets) {
                run(
                    chain,
                    &admin,
                    &[
                        create_account(&admin, &owner, token),
                        mint_to(token, &owner, &admin)?,
                    ],
                )?;
            }
            run(
                chain,
                &admin,
                &[create_account(&admin, &world.keys.merchant.address(), token)],
            )?;
        }
        chain.set_account(world.lookup_table, table(chain, &world.table_addresses)?)?;
        Ok(world)
    }

    /// The wallets of the second buyer: their program, and where they are.
    pub fn wallets(&self) -> impl Iterator<Item = (Address, Address)> + '_ {
        let owner = self.keys.buyers.get(1).map(Key::address);
        [wallet_program(), ids::SQUADS]
            .into_iter()
            .filter_map(move |program| owner.map(|owner| (program, wallet_of(&owner, &program))))
    }

    /// Everything a client needs to know, as the command prints it with `--json`.
    #[must_use]
    pub fn describe(&self, chain: &Chain) -> Value {
        let accounts = |owner: &Address| -> Value {
            let of = |token: &Token| associated_account(owner, &token.mint, &token.program).to_string();
            self.tokens
                .iter()
                .map(|token| (token.mint.to_string(), json!(of(token))))
                .collect()
        };
        let key = |key: &Key| {
            json!({
                "address": key.address().to_string(),
                "secret": key.base58(),
                "seed": key.seed_hex(),
                "tokenAccounts": accounts(&key.address()),
            })
        };
        let genesis = chain.genesis().to_string();
        let network: String = genesis.chars().take(32).collect();
        json!({
            "network": format!("solana:{network}"),
            "genesisHash": genesis,
            "tokens": self.tokens.iter().map(|token| json!({
                "name": token.name,
                "mint": token.mint.to_string(),
                "program": token.program.to_string(),
                "decimals": DECIMALS,
                "feeBasisPoints": if token.fee { FEE_BASIS_POINTS } else { 0 },
            })).collect::<Vec<_>>(),
            "feePayers": self.keys.fee_payers.iter().map(key).collect::<Vec<_>>(),
            "buyers": self.keys.buyers.iter().map(key).collect::<Vec<_>>(),
            "merchant": key(&self.keys.merchant),
            "newcomer": key(&self.keys.newcomer),
            "admin": key(&self.keys.admin),
            "wallets": self.wallets().map(|(program, wallet)| json!({
                "program": program.to_string(),
                "owner": self.keys.buyers.get(1).map(|key| key.address().to_string()),
                "address": wallet.to_string(),
                "tokenAccounts": accounts(&wallet),
            })).collect::<Vec<_>>(),
            "lighthouseStandIn": ids::LIGHTHOUSE.to_string(),
            "lookupTable": {
                "address": self.lookup_table.to_string(),
                "addresses": self.table_addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            },
        })
    }
}

fn table_addresses(keys: &Keys, tokens: &[Token]) -> Vec<Address> {
    let merchant = keys.merchant.address();
    let programs = [
        ids::TOKEN,
        ids::TOKEN_2022,
        ids::MEMO,
        ids::SYSTEM,
        ids::ASSOCIATED_TOKEN,
        ids::COMPUTE_BUDGET,
    ];
    let of_tokens = tokens.iter().flat_map(|token| {
        let buyers = keys
            .buyers
            .iter()
            .take(2)
            .map(|buyer| associated_account(&buyer.address(), &token.mint, &token.program));
        [
            token.mint,
            associated_account(&merchant, &token.mint, &token.program),
        ]
        .into_iter()
        .chain(buyers)
    });
    of_tokens.chain(programs).collect()
}

/// The account of a token's mint, ready to mint.
fn mint(chain: &Chain, mint: &Token, admin: &Address) -> Result<Vec<Instruction>, String> {
    let extensions = if mint.fee {
        vec![ExtensionType::TransferFeeConfig]
    } else {
        Vec::new()
    };
    let bytes = ExtensionType::try_calculate_account_len::<Mint>(&extensions).map_err(|e| e.to_string())?;
    let space = u64::try_from(bytes).map_err(|e| e.to_string())?;
    let mut instructions = vec![system::create_account(
        admin,
        &mint.mint,
        chain.rent(bytes),
        space,
        &mint.program,
    )];
    if mint.fee {
        let fee = initialize_transfer_fee_config(
            &mint.program,
            &mint.mint,
            Some(admin),
            Some(admin),
            FEE_BASIS_POINTS,
            FEE_LIMIT_UNITS,
        );
        instructions.push(fee.map_err(|e| e.to_string())?);
    }
    let initialize = token::initialize_mint2(&mint.program, &mint.mint, admin, Some(admin), DECIMALS);
    instructions.push(initialize.map_err(|e| e.to_string())?);
    Ok(instructions)
}

fn mint_to(to: &Token, owner: &Address, admin: &Address) -> Result<Instruction, String> {
    let account = associated_account(owner, &to.mint, &to.program);
    token::mint_to(&to.program, &to.mint, &account, admin, &[], BUYER_UNITS).map_err(|e| e.to_string())
}

/// Creates the owner's associated account, unless it is there.
fn create_account(payer: &Address, owner: &Address, token: &Token) -> Instruction {
    create_account_for(payer, owner, &token.mint, &token.program)
}

fn create_account_for(payer: &Address, owner: &Address, mint: &Address, program: &Address) -> Instruction {
    const CREATE_IDEMPOTENT: u8 = 1;
    Instruction {
        program_id: ids::ASSOCIATED_TOKEN,
        accounts: vec![
            AccountMeta::new(*payer, true),
            AccountMeta::new(associated_account(owner, mint, program), false),
            AccountMeta::new_readonly(*owner, false),
            AccountMeta::new_readonly(*mint, false),
            AccountMeta::new_readonly(ids::SYSTEM, false),
            AccountMeta::new_readonly(*program, false),
        ],
        data: vec![CREATE_IDEMPOTENT],
    }
}

fn table(chain: &Chain, addresses: &[Address]) -> Result<Account, String> {
    let table = AddressLookupTable {
        meta: LookupTableMeta::default(),
        addresses: addresses.into(),
    };
    let data = table.serialize_for_tests().map_err(|e| e.to_string())?;
    Ok(Account {
        lamports: chain.rent(data.len()),
        data,
        owner: ids::LOOKUP_TABLE,
        ..Account::default()
    })
}

fn run(chain: &mut Chain, payer: &Address, instructions: &[Instruction]) -> Result<(), String> {
    let message = Message::new(instructions, Some(payer));
    let signatures = vec![Signature::default(); usize::from(message.header.num_required_signatures)];
    chain.plant(VersionedTransaction {
        signatures,
        message: VersionedMessage::Legacy(message),
    })
}

/// Sets how many units an owner holds of a mint, creating the associated account where there is none. The supply is
/// left as it is.
pub(crate) fn set_token_balance(
    chain: &mut Chain,
    admin: &Address,
    owner: &Address,
    mint: &Address,
    units: u64,
) -> Result<Address, String> {
    let program = chain
        .account(mint, Commitment::Processed)
        .filter(|account| crate::outcome::mint_decimals(account).is_some())
        .ok_or_else(|| format!("{mint} is no mint on this chain"))?
        .owner;
    let address = associated_account(owner, mint, &program);
    run(chain, admin, &[create_account_for(admin, owner, mint, &program)])?;
    let mut account = chain
        .account(&address, Commitment::Processed)
        .ok_or_else(|| format!("no token account came to be at {address}"))?;
    if let Some(amount) = account.data.get_mut(64..72) {
        amount.copy_from_slice(&units.to_le_bytes());
    }
    chain.set_account(address, account)?;
    Ok(address)
}
