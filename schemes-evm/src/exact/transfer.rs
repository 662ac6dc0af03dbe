//! EIP-3009 as a method of moving an asset: its call, its state, and the diagnosis D1 to D6 of exact-evm.md section 4. The
//! chain's own check of the time comes before D6.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolValue};
use sdk_plugin::Fault;
use sdk_plugin::host::RpcResult;
use sdk_plugin::scheme::Refusal;

use super::payment::Payment;
use super::{reason, revert};
use crate::abi::AuthorizedToken::{authorizationStateCall, balanceOfCall, nameCall, versionCall};
use crate::abi::Multicall;
use crate::rpc::{self, EthCall, Executed};
use crate::transfer::{self, Order, Reasons, SignedTransfer};

const REASONS: Reasons = Reasons {
    order: Order::SignatureThenAsset,
    signature: reason::SIGNATURE,
    undeployed_wallet: reason::FACTORY_NOT_ALLOWED,
    deployment_failed: reason::DEPLOYMENT_FAILED,
    asset_not_deployed: reason::ASSET_NOT_DEPLOYED,
    insufficient_balance: reason::INSUFFICIENT_BALANCE,
    simulation_failed: reason::SIMULATION_FAILED,
    permanent: &[reason::NONCE_USED, reason::TOKEN_NAME, reason::TOKEN_VERSION],
};

impl SignedTransfer for Payment {
    fn chain_id(&self) -> u64 {
        self.chain_id
    }

    fn asset(&self) -> Address {
        self.asset
    }

    fn from(&self) -> Address {
        self.authorization.from
    }

    fn amount(&self) -> U256 {
        self.amount
    }

    fn refuse(&self, reason: &str, message: &str) -> Refusal {
        Payment::refuse(self, reason, message)
    }

    fn reasons(&self) -> &'static Reasons {
        &REASONS
    }

    fn call(&self, sender: Address, signature: &[u8], gas: u64) -> EthCall {
        EthCall {
            from: Some(sender),
            to: self.asset,
            data: self.calldata(signature),
            gas: Some(gas),
        }
    }

    /// Whether the authorization is used.
    fn state(&self) -> EthCall {
        EthCall {
            from: None,
            to: self.asset,
            data: self.state_call(),
            gas: None,
        }
    }

    fn state_refused(&self, answer: RpcResult) -> Result<Option<Refusal>, Fault> {
        let word = match rpc::executed(answer, "authorizationState of the asset")? {
            Executed::Returned(data) => data.first_chunk::<32>().copied(),
            Executed::Failed(_) => None,
        };
        let refuse = |reason, why| Some(self.refuse(reason, why));
        Ok(match word {
            None => refuse(
                reason::EIP3009_NOT_SUPPORTED,
                "the asset does not tell whether an authorization is used",
            ),
            Some(word) if word != [0; 32] => refuse(
                reason::NONCE_USED,
                "the authorization is used or cancelled, though the asset does not revert for it",
            ),
            Some(_) => None,
        })
    }

    fn questions(&self) -> Vec<Multicall::Call> {
        let account = self.authorization.from;
        [
            balanceOfCall { account }.abi_encode(),
            nameCall {}.abi_encode(),
            versionCall {}.abi_encode(),
            self.state_call(),
        ]
        .map(|call| Multicall::Call {
            target: self.asset,
            callData: call.into(),
        })
        .into()
    }

    fn explain(&self, outcomes: Option<&[Multicall::Outcome]>, text: &str) -> &'static str {
        let findings = outcomes.and_then(Findings::read);
        let reason = findings.map_or(reason::SIMULATION_FAILED, |findings| findings.reason(self));
        // The chain's clock may be ahead of this host's: its statement about the time is as good as our own check (T-20).
        match (reason, revert::reason_for(text)) {
            (reason::SIMULATION_FAILED, stated @ (reason::VALID_BEFORE | reason::VALID_AFTER)) => stated,
            (reason, _) => reason,
        }
    }
}

impl Payment {
    fn state_call(&self) -> Vec<u8> {
        authorizationStateCall {
            authorizer: self.authorization.from,
            nonce: self.authorization.nonce,
        }
        .abi_encode()
    }
}

/// The token's own answers; `None` where it gave none that can be read.
#[derive(Debug)]
struct Findings {
    balance: Option<U256>,
    name: Option<String>,
    version: Option<String>,
    used: Option<bool>,
}

impl Findings {
    fn read(outcomes: &[Multicall::Outcome]) -> Option<Self> {
        let [balance, name, version, used] = outcomes else {
            return None;
        };
        let text = |outcome| transfer::returned(outcome).and_then(|data| String::abi_decode(data).ok());
        Some(Self {
            balance: transfer::word(balance),
            name: text(name),
            version: text(version),
            used: transfer::word(used).map(|word| !word.is_zero()),
        })
    }

    fn reason(&self, payment: &Payment) -> &'static str {
        let differs = |stated: &Option<String>, expected: &str| {
            stated.as_ref().is_some_and(|stated| stated != expected)
        };
        match self.used {
            None => reason::EIP3009_NOT_SUPPORTED,
            Some(true) => reason::NONCE_USED,
            Some(false) if differs(&self.name, &payment.token_name) => reason::TOKEN_NAME,
            Some(false) if differs(&self.version, &payment.token_version) => reason::TOKEN_VERSION,
            Some(false) if self.balance.is_some_and(|balance| balance < payment.amount) => {
                reason::INSUFFICIENT_BALANCE
            }
            Some(false) => reason::SIMULATION_FAILED,
        }
    }
}
