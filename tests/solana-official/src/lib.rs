//! A buyer in Rust, as a third party would write one: with solana-sdk, solana-client and spl-token, and
//! without a line of ours. The tests of this crate pay the facilitator with it, read the chain with it, and compare our
//! readers of wire bytes with the official types.

use solana_client::client_error::ClientError;
use solana_client::rpc_client::RpcClient;
use solana_compute_budget_interface::ComputeBudgetInstruction;
use solana_sdk::hash::Hash;
use solana_sdk::instruction::Instruction;
use solana_sdk::message::{VersionedMessage, v0};
use solana_sdk::pubkey::Pubkey;
use solana_sdk::signature::Signature;
use solana_sdk::signer::Signer;
use solana_sdk::signer::keypair::Keypair;
use solana_sdk::transaction::VersionedTransaction;
use spl_associated_token_account_interface::address::get_associated_token_address;
use spl_token::solana_program::program_pack::Pack;
use spl_token::state::{Account, Mint};

/// Compute units that the payment may use.
const UNITS: u32 = 20_000;
/// Micro-lamports per compute unit.
const UNIT_PRICE: u64 = 1;

/// What a seller requests.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// A mint of the first token program.
    pub mint: Pubkey,
    pub pay_to: Pubkey,
    /// Atomic units.
    pub amount: u64,
    /// The facilitator's key, which signs first and pays the fee.
    pub fee_payer: Pubkey,
}

impl Offer {
    /// Where the money goes.
    #[must_use]
    pub fn destination(&self) -> Pubkey {
        get_associated_token_address(&self.pay_to, &self.mint)
    }
}

/// Why there is no payment.
#[derive(Debug)]
pub enum Error {
    /// The node does not answer, or has no such account.
    Node(Box<ClientError>),
    /// What the offer names is not what it must be.
    Offer(&'static str),
    /// The buyer has less than the amount.
    Funds { has: u64 },
    /// The official types do not put this together.
    Build(String),
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Error::Node(Box::new(error))
    }
}

/// A payer.
pub struct Buyer {
    rpc: RpcClient,
    key: Keypair,
}

impl std::fmt::Debug for Buyer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Buyer").field(&self.key.pubkey()).finish()
    }
}

impl Buyer {
    #[must_use]
    pub fn new(rpc: RpcClient, key: Keypair) -> Buyer {
        Buyer { rpc, key }
    }

    #[must_use]
    pub fn address(&self) -> Pubkey {
        self.key.pubkey()
    }

    /// The buyer's token account.
    #[must_use]
    pub fn source(&self, mint: &Pubkey) -> Pubkey {
        get_associated_token_address(&self.address(), mint)
    }

    /// Reads the mint, the buyer's account and a blockhash from the chain, builds the payment and signs it. The fee
    /// payer's signature stays empty: the facilitator adds it.
    ///
    /// # Errors
    /// The node does not answer, the mint is none, or the buyer has too little.
    pub fn pay(&self, offer: &Offer, memo: &str) -> Result<VersionedTransaction, Error> {
        let mint = self.rpc.get_account(&offer.mint)?;
        if mint.owner != spl_token::id() {
            return Err(Error::Offer("the mint is not of the token program"));
        }
        let decimals = Mint::unpack(&mint.data)
            .map_err(|_| Error::Offer("the asset is no mint"))?
            .decimals;
        let source = self.rpc.get_account_data(&self.source(&offer.mint))?;
        let has = Account::unpack(&source)
            .map_err(|_| Error::Offer("the buyer's account is no token account"))?
            .amount;
        if has < offer.amount {
            return Err(Error::Funds { has });
        }
        let instructions = self.instructions(offer, decimals, memo)?;
        self.sign(offer, &instructions, self.rpc.get_latest_blockhash()?)
    }

    /// In the order of the scheme: limit, price, transfer, memo.
    fn instructions(&self, offer: &Offer, decimals: u8, memo: &str) -> Result<Vec<Instruction>, Error> {
        let transfer = spl_token::instruction::transfer_checked(
            &spl_token::id(),
            &self.source(&offer.mint),
            &offer.mint,
            &offer.destination(),
            &self.address(),
            &[],
            offer.amount,
            decimals,
        )
        .map_err(|error| Error::Build(error.to_string()))?;
        Ok(vec![
            ComputeBudgetInstruction::set_compute_unit_limit(UNITS),
            ComputeBudgetInstruction::set_compute_unit_price(UNIT_PRICE),
            transfer,
            spl_memo_interface::instruction::build_memo(&spl_memo_interface::v3::id(), memo.as_bytes(), &[]),
        ])
    }

    fn sign(
        &self,
        offer: &Offer,
        instructions: &[Instruction],
        blockhash: Hash,
    ) -> Result<VersionedTransaction, Error> {
        let message = v0::Message::try_compile(&offer.fee_payer, instructions, &[], blockhash)
            .map_err(|error| Error::Build(error.to_string()))?;
        let message = VersionedMessage::V0(message);
        let signed = self
            .key
            .try_sign_message(&message.serialize())
            .map_err(|error| Error::Build(error.to_string()))?;
        let signers = usize::from(message.header().num_required_signatures);
        let signature = |key: &Pubkey| {
            if *key == self.address() {
                signed
            } else {
                Signature::default()
            }
        };
        let signatures = message
            .static_account_keys()
            .iter()
            .take(signers)
            .map(signature)
            .collect();
        Ok(VersionedTransaction { signatures, message })
    }
}

/// The wire bytes of a transaction.
///
/// # Errors
/// The transaction holds more than the format has room for.
pub fn wire(transaction: &VersionedTransaction) -> Result<Vec<u8>, Error> {
    wincode::serialize(transaction).map_err(|error| Error::Build(error.to_string()))
}
