//! The assembled dev chain: where everything is, who owns what, and how it is planted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::abi::{bytes_of, word_of_address, word_of_u128};
use crate::plant::PLANTED;
use crate::{Account, Anvil, AnvilOptions, Artifact, Error, FACILITATOR, MERCHANT, Npm, PAYER, Rpc};

/// The honest dollar, where Base Sepolia's USDC is; signing domain `USDC` / `2`.
pub const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
pub const PERMIT2: &str = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
pub const PERMIT2_PROXY: &str = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001";
pub const UPTO_PROXY: &str = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002";
pub const MULTICALL3: &str = "0xcA11bde05977b3631167028862bE2a173976CA11";
/// Keeps one percent of every transfer; signing domain `Fee Dollar` / `1`.
pub const FEE_TOKEN: &str = "0xfee0000000000000000000000000000000000001";
/// Lies as set by [`Devnet::set_token_mood`]; signing domain `Lying Dollar` / `1`.
pub const LYING_TOKEN: &str = "0x11e0000000000000000000000000000000000002";
/// An ERC-1271 wallet whose owner is `buyers[1]`; it holds tokens.
pub const WALLET: &str = "0x1271000000000000000000000000000000000003";
/// Answers ERC-1271 badly, as set by [`Devnet::set_wallet_mood`]; it holds tokens.
pub const MOCK_WALLET: &str = "0x1271000000000000000000000000000000000004";
/// Deploys ERC-1271 wallets at predictable addresses, for ERC-6492.
pub const WALLET_FACTORY: &str = "0x6492000000000000000000000000000000000005";
/// Deploys wallets that wrap their owners' signatures, at predictable addresses.
pub const WRAPPING_FACTORY: &str = "0x6492000000000000000000000000000000000007";
/// No token: every call of it succeeds.
pub const ACCEPTS_ANYTHING: &str = "0xacc0000000000000000000000000000000000008";
/// An EIP-7702 delegate that refuses every signature; see [`Devnet::delegate`].
pub const REFUSING_DELEGATE: &str = "0x7702000000000000000000000000000000000006";

/// What each facilitator key starts with: 100 ETH.
pub const FACILITATOR_WEI: u128 = 100_000_000_000_000_000_000;
/// What each buyer and wallet starts with, per token: 1,000 dollars. Buyers own no ETH: paying costs them no gas.
pub const BUYER_TOKENS: u128 = 1_000_000_000;

/// When blocks come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// One for every transaction, at once.
    Auto,
    /// One every so many seconds.
    Every(u64),
    /// Only when [`Devnet::mine`] is called.
    Manual,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    pub mining: Mining,
    /// Keys with ETH that may send; the first is the facilitator of the golden vectors.
    pub facilitators: u16,
    /// Keys with tokens; the first is the payer of the golden vectors.
    pub buyers: u16,
    pub anvil: AnvilOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            mining: Mining::Auto,
            facilitators: 4,
            buyers: 16,
            anvil: AnvilOptions::default(),
        }
    }
}

/// A dev chain in its starting state. Dropping it stops the node.
#[derive(Debug)]
pub struct Devnet {
    pub(crate) anvil: Anvil,
    pub(crate) artifacts: BTreeMap<&'static str, Artifact>,
    /// Owner of the tokens, with ETH; pauses and mints by transaction where a test wants that.
    pub admin: Account,
    pub facilitators: Vec<Account>,
    pub buyers: Vec<Account>,
    /// Owns nothing at first.
    pub merchant: Account,
}

const TOKENS: [&str; 3] = [USDC, FEE_TOKEN, LYING_TOKEN];

impl Devnet {
    /// Starts a chain like the usual one, with another chain id.
    ///
    /// # Errors
    /// As [`Devnet::start`].
    pub fn of_chain(chain_id: u64) -> Result<Devnet, Error> {
        let anvil = AnvilOptions {
            chain_id,
            ..AnvilOptions::default()
        };
        Devnet::start(Options {
            anvil,
            ..Options::default()
        })
    }

    /// Installs what is missing, starts the node, plants the contracts, funds the keys, and mines one block.
    ///
    /// # Errors
    /// [`Error::Setup`] when Node.js or anvil is missing; otherwise the node's output.
    pub fn start(options: Options) -> Result<Devnet, Error> {
        let npm = Npm::ensure()?;
        let facilitators = usize::from(options.facilitators.max(1));
        // The wallet's owner is buyers[1].
        let buyers = usize::from(options.buyers.max(2));
        // From the mnemonic: the admin, and all but the first facilitator and buyer, who come from the vectors.
        let derived = u16::try_from(facilitators + buyers - 1).map_err(|e| Error::Setup(e.to_string()))?;
        let anvil = Anvil::start(
            &npm,
            &AnvilOptions {
                accounts: derived,
                ..options.anvil
            },
        )?;

        let mut keys = anvil.accounts().iter().cloned();
        let admin = keys
            .next()
            .ok_or_else(|| Error::Malformed("anvil made no accounts".to_owned()))?;
        let facilitators: Vec<Account> = std::iter::once(FACILITATOR.into())
            .chain(keys.by_ref().take(facilitators - 1))
            .collect();
        let buyers = std::iter::once(PAYER.into()).chain(keys).collect();
        let artifacts = PLANTED
            .iter()
            .map(|planting| Ok((planting.contract, Artifact::load(planting.contract)?)))
            .collect::<Result<_, Error>>()?;

        let chain = Devnet {
            anvil,
            artifacts,
            admin,
            facilitators,
            buyers,
            merchant: MERCHANT.into(),
        };
        chain.deploy()?;
        chain.mine(1)?;
        chain.set_mining(options.mining)?;
        Ok(chain)
    }

    /// Plants every contract and sets every starting balance, by writing state.
    fn deploy(&self) -> Result<(), Error> {
        let mut writes = self.plantings()?;
        let owner = word_of_address(&self.admin.address)?;
        for token in TOKENS {
            writes.push(self.write_slot(token, self.artifact("DollarToken")?.slot("owner")?.slot, owner));
        }
        let wallet_owner = word_of_address(&self.buyers[1].address)?;
        let wallet_slot = self.artifact("Wallet1271")?.slot("storedOwner")?.slot;
        writes.push(self.write_slot(WALLET, wallet_slot, wallet_owner));
        for account in &self.facilitators {
            writes.push((
                "anvil_setBalance",
                json!([account.address, format!("{FACILITATOR_WEI:#x}")]),
            ));
        }
        for account in self.buyers.iter().chain([&self.merchant]) {
            writes.push(("anvil_setBalance", json!([account.address, "0x0"])));
        }
        self.rpc().batch(writes)?;

        let buyers = self.buyers.iter().map(|buyer| buyer.address.as_str());
        let holders: Vec<&str> = buyers.chain([WALLET, MOCK_WALLET]).collect();
        TOKENS
            .iter()
            .try_for_each(|token| self.mint_all(token, &holders, BUYER_TOKENS))
    }

    #[must_use]
    pub fn rpc(&self) -> &Rpc {
        self.anvil.rpc()
    }

    /// Where the node listens, for HTTP.
    #[must_use]
    pub fn url(&self) -> &str {
        self.anvil.url()
    }

    /// Where the node listens, for WebSocket subscriptions.
    #[must_use]
    pub fn ws_url(&self) -> String {
        self.anvil.ws_url()
    }

    /// The node's process, to check whether it runs.
    pub fn anvil(&mut self) -> &mut Anvil {
        &mut self.anvil
    }

    /// Name and address of everything that was planted; a name can occur at several addresses.
    pub fn contracts(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        PLANTED
            .iter()
            .map(|planting| (planting.contract, planting.address))
    }

    /// A planted contract's artefact, by the contract's name.
    ///
    /// # Errors
    /// [`Error::Malformed`] when nothing of that name was planted.
    pub fn artifact(&self, contract: &str) -> Result<&Artifact, Error> {
        self.artifacts
            .get(contract)
            .ok_or_else(|| Error::Malformed(format!("no contract {contract} on this chain")))
    }

    pub(crate) fn write_slot(&self, at: &str, slot: u64, word: [u8; 32]) -> (&'static str, Value) {
        let slot = format!("0x{}", hex::encode(word_of_u128(slot.into())));
        (
            "anvil_setStorageAt",
            json!([at, slot, format!("0x{}", hex::encode(word))]),
        )
    }

    /// keccak256, which the node computes.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn keccak(&self, bytes: &[u8]) -> Result<[u8; 32], Error> {
        let answer = self
            .rpc()
            .call("web3_sha3", json!([format!("0x{}", hex::encode(bytes))]))?;
        let hash = bytes_of(answer.as_str().unwrap_or_default(), Some(32))?;
        <[u8; 32]>::try_from(hash).map_err(|_| Error::Malformed("web3_sha3 answered no hash".to_owned()))
    }
}
