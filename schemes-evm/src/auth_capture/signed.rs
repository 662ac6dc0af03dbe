//! Whether an account has signed a digest. The same rule for payers and for merchants' authorizers, decided by code
//! (auth-capture-evm.md sections 7 and 10).
//!
//! Its reads go into a batch with others; a second round trip is needed only for an account with code whose signature
//! is a good one of its key (EIP-7702), which can't be known in advance.

use alloy_primitives::{Address, B256};
use sdk_plugin::host::RpcCall;
use sdk_plugin::{Cx, Fault};

use crate::rpc::{self, Answers};
use crate::{recovery, signature};

/// One account, what it should have signed, and the signature without any wrapper.
#[derive(Debug, Clone)]
pub struct Signed {
    account: Address,
    digest: B256,
    signature: Vec<u8>,
    /// The account's key made it, which decides only where there is no code.
    by_key: bool,
    /// A wallet at the account is called in any case.
    calls_wallet: bool,
}

/// What the chain showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignerAnswer {
    pub has_code: bool,
    /// `None`: the account has code and was not called yet.
    agrees: Option<bool>,
}

impl Signed {
    #[must_use]
    pub fn new(account: Address, digest: B256, signature: &[u8]) -> Self {
        let by_key = recovery::signed_by(account, &digest, signature);
        Self {
            account,
            digest,
            signature: signature.to_vec(),
            by_key,
            // Only a wallet can make another signature valid: it is called in the same round trip.
            calls_wallet: !by_key,
        }
    }

    /// The same, read in one round trip whatever the account is.
    #[must_use]
    pub fn at_once(&self) -> Self {
        Self {
            calls_wallet: true,
            ..self.clone()
        }
    }

    /// The reads; [`Self::take`] takes as many answers.
    #[must_use]
    pub fn reads(&self) -> Vec<RpcCall> {
        let mut reads = vec![rpc::get_code(self.account)];
        if self.calls_wallet {
            reads.push(self.question());
        }
        reads
    }

    /// # Errors
    /// A fault of the node.
    pub fn take(&self, answers: &mut Answers) -> Result<SignerAnswer, Fault> {
        let has_code = !rpc::bytes(answers.take()?, "eth_getCode of a signer")?.is_empty();
        let wallet = if self.calls_wallet {
            Some(answers.take()?)
        } else {
            None
        };
        let agrees = match (has_code, wallet) {
            (false, _) => Some(self.by_key),
            (true, Some(answer)) => Some(signature::wallet_agrees(answer)?),
            (true, None) => None,
        };
        Ok(SignerAnswer { has_code, agrees })
    }

    /// The answer, with a round trip where the batch did not contain it.
    ///
    /// # Errors
    /// A fault of the node.
    pub async fn agrees(&self, cx: &Cx, answer: SignerAnswer) -> Result<bool, Fault> {
        match answer.agrees {
            Some(agrees) => Ok(agrees),
            None => signature::wallet_agrees(
                rpc::NODES
                    .read_well_formed(cx, vec![self.question()])
                    .await?
                    .take()?,
            ),
        }
    }

    fn question(&self) -> RpcCall {
        signature::wallet_call(self.account, self.digest, &self.signature).call()
    }
}
