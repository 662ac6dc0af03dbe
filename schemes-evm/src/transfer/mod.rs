//! A transfer that its payer has signed and that one of our signers sends: whether it would pay now. Shared by every method
//! of moving an asset by signature.
//!
//! | step | module | chain reads |
//! |---|---|---|
//! | code, signature, simulation | `check`, `question`, `trial` | one batch; a second one for a payer with code and an ECDSA signature, where nodes can't estimate, and every five minutes at the price of gas (`prices`) |
//! | the signature of another key than the payer's | `check` | nothing is tried in the first batch, unless the payer is known as a wallet |
//! | the deployment of a wallet that does not exist yet | `wrapper` | one more batch before the others, for whether it exists |
//! | whether a refusal is confirmed, and why a simulation failed | `diagnose` | one batch, of two nodes where there are two; three reads where a payer without code has not signed |
//!
//! So a refusal costs few round trips, and a good payment by an ordinary account costs one.
//!
//! The order of checks is that of exact-evm.md sections 3 and 7: [`Order`] has the one difference between them.

mod check;
mod code_cache;
mod diagnose;
mod gas_shortages;
pub(crate) mod out_of_gas;
mod prices;
mod question;
mod trial;
mod wrapper;

use std::fmt::Debug;

use alloy_primitives::{Address, B256, U256};
use sdk_plugin::host::RpcResult;
use sdk_plugin::request::Purpose;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Fault, PaymentRequest};

use crate::abi::Multicall;
use crate::builder_code::OwnCodes;
use crate::rpc::EthCall;
use crate::step::Wanted;

pub(crate) use self::check::{Checks, Passed};
pub(crate) use self::trial::Funds;
pub(crate) use self::wrapper::Wrapper;

/// What a method of moving an asset says about one payment.
pub(crate) trait SignedTransfer: Debug + Sync {
    fn chain_id(&self) -> u64;
    fn asset(&self) -> Address;
    /// Who signed and pays.
    fn from(&self) -> Address;
    /// The balance that the payer needs, in atomic units.
    fn amount(&self) -> U256;
    /// A refusal in this payer's name.
    fn refuse(&self, reason: &str, message: &str) -> Refusal;
    fn reasons(&self) -> &'static Reasons;
    /// The call of the contract that moves the asset, as `sender` would send it.
    fn call(&self, sender: Address, signature: &[u8], gas: u64) -> EthCall;
    /// A read beside the simulation: what the simulation alone does not show.
    fn state(&self) -> EthCall;
    /// The refusal that follows from the answer to [`Self::state`].
    ///
    /// # Errors
    /// A fault of the node.
    fn state_refused(&self, answer: RpcResult) -> Result<Option<Refusal>, Fault>;
    /// What the diagnosis of a failed simulation reads, in one multicall.
    fn questions(&self) -> Vec<Multicall::Call>;
    /// Why the simulation failed. `outcomes`: the answers to [`Self::questions`], `None` without an answer; `text`: the
    /// contract's message.
    fn explain(&self, outcomes: Option<&[Multicall::Outcome]>, text: &str) -> &'static str;
}

/// Reason strings of a method.
#[derive(Debug)]
pub(crate) struct Reasons {
    pub(crate) order: Order,
    pub(crate) signature: &'static str,
    /// The wallet of the signature's wrapper does not exist yet, and its deployment is not allowed.
    pub(crate) undeployed_wallet: &'static str,
    /// Its deployment fails.
    pub(crate) deployment_failed: &'static str,
    pub(crate) asset_not_deployed: &'static str,
    pub(crate) insufficient_balance: &'static str,
    pub(crate) simulation_failed: &'static str,
    /// Reasons that no later block takes back.
    pub(crate) permanent: &'static [&'static str],
}

/// Which check comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    SignatureThenAsset,
    AssetThenSignature,
}

/// A payment to be checked.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) transfer: &'a dyn SignedTransfer,
    /// What the payer signed.
    pub(crate) digest: B256,
    /// Without an ERC-6492 wrapper.
    pub(crate) signature: &'a [u8],
    /// The payer's key made the signature, which decides only where the payer has no code.
    pub(crate) account_signed: bool,
    pub(crate) wrapper: Wrapper,
    /// Our signer that sends the transfer, or would.
    pub(crate) sender: Address,
    /// A refusal that needs no chain and comes after the signature in the order of checks: nothing is simulated.
    pub(crate) refused_later: Option<Refusal>,
}

/// What a payment is checked for.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) wanted: Wanted,
    /// A settle, not a verify.
    pub(crate) settles: bool,
    /// The configured ceiling of one transfer.
    pub(crate) max_gas: u64,
    /// Builder codes, at the end of the calldata. What is sent is simulated with them.
    pub(crate) suffix: Vec<u8>,
    /// Extensions of the request that are used so far.
    pub(crate) used: Vec<String>,
}

impl Attempt {
    pub(crate) fn new(request: &PaymentRequest, wanted: Wanted, max_gas: u64, codes: &OwnCodes) -> Self {
        Self {
            wanted,
            settles: request.purpose != Purpose::Verify,
            max_gas,
            suffix: codes.suffix(request.version, &request.extensions),
            used: codes
                .key()
                .filter(|key| request.extensions.contains_key(*key))
                .map(str::to_owned)
                .into_iter()
                .collect(),
        }
    }
}

/// A word that a diagnosis read.
pub(crate) fn word(outcome: &Multicall::Outcome) -> Option<U256> {
    returned(outcome)
        .and_then(|data| data.first_chunk::<32>())
        .map(|word| U256::from_be_bytes(*word))
}

/// What a call of a diagnosis returned; `None`: it failed.
pub(crate) fn returned(outcome: &Multicall::Outcome) -> Option<&[u8]> {
    outcome.success.then_some(outcome.returnData.as_ref())
}
