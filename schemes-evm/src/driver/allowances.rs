//! Our signers must not have approved these contracts for any token: Multicall3 and Permit2 act for any caller, and
//! with an allowance another account could empty the signer through them.
//!
//! Checked after the start and after each failure of a check, and at every check while something is wrong. An
//! allowance that a signer has given stops the network: only the key's holder can have done it. One that Multicall3 has
//! given to a signer only causes a warning: any account can make Multicall3 approve any address, so stopping for it would let
//! any outsider stop the network, and it does not endanger our funds.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use sdk_plugin::{Amount, Cx, Fault, FaultKind};

use crate::abi::{AuthorizedToken, MULTICALL3, Multicall, PERMIT2};
use crate::rpc::{self, Answers, EthCall, Executed};
use crate::text;

/// Allowances read by one call of Multicall3: far below any node's gas limit for calls.
const CHUNK: usize = 300;

/// What was audited without a finding, so that it need not be audited again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub signers: Vec<Address>,
    pub assets: Vec<Address>,
}

/// What is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audit {
    pub why_not: Option<String>,
    /// The nodes answer, but do not run calls: with their error.
    pub broken: Option<String>,
    pub warnings: Vec<String>,
}

struct Question {
    asset: Address,
    owner: Address,
    spender: Address,
}

impl Subject {
    fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for asset in &self.assets {
            for signer in &self.signers {
                for (owner, spender) in [(*signer, MULTICALL3), (*signer, PERMIT2), (MULTICALL3, *signer)] {
                    questions.push(Question {
                        asset: *asset,
                        owner,
                        spender,
                    });
                }
            }
        }
        questions
    }
}

/// Reads all allowances: through Multicall3 where it is deployed, else each by itself, in one round trip for some
/// hundreds of them.
///
/// # Errors
/// No node answers.
pub(super) async fn audit(cx: &Cx, subject: &Subject, has_multicall: bool) -> Result<Audit, Fault> {
    let questions = subject.questions();
    let calls = if has_multicall {
        questions.chunks(CHUNK).map(together).collect()
    } else {
        questions.iter().map(alone).collect()
    };
    let answers = rpc::NODES.read_all(cx, calls).await?;
    match taken(&questions, answers, has_multicall) {
        Err(fault) if fault.kind == FaultKind::Unavailable => Ok(Audit {
            broken: Some(fault.message),
            ..Audit::default()
        }),
        taken => taken,
    }
}

fn taken(questions: &[Question], mut answers: Answers, has_multicall: bool) -> Result<Audit, Fault> {
    let mut audit = Audit::default();
    if has_multicall {
        for chunk in questions.chunks(CHUNK) {
            let Executed::Returned(data) = rpc::executed(answers.take()?, "eth_call of allowances")? else {
                return Err(Fault::unavailable("the node would not run the allowances' calls"));
            };
            let outcomes = Multicall::tryAggregateCall::abi_decode_returns(&data)
                .map_err(|_| Fault::unavailable("the node answered no list of allowances"))?;
            if outcomes.len() != chunk.len() {
                return Err(Fault::unavailable(
                    "the node answered another number of allowances",
                ));
            }
            for (question, outcome) in chunk.iter().zip(outcomes) {
                let allowance = outcome.success.then(|| word(&outcome.returnData)).flatten();
                audit.take(question, allowance);
            }
        }
    } else {
        for question in questions {
            let allowance = match rpc::executed(answers.take()?, "eth_call of an allowance")? {
                Executed::Returned(data) => word(&data),
                Executed::Failed(_) => None,
            };
            audit.take(question, allowance);
        }
    }
    Ok(audit)
}

fn data(question: &Question) -> Vec<u8> {
    AuthorizedToken::allowanceCall {
        owner: question.owner,
        spender: question.spender,
    }
    .abi_encode()
}

fn alone(question: &Question) -> sdk_plugin::host::RpcCall {
    EthCall {
        from: None,
        to: question.asset,
        data: data(question),
        gas: None,
    }
    .call()
}

fn together(questions: &[Question]) -> sdk_plugin::host::RpcCall {
    let calls = questions
        .iter()
        .map(|question| Multicall::Call {
            target: question.asset,
            callData: data(question).into(),
        })
        .collect();
    let call = Multicall::tryAggregateCall {
        requireSuccess: false,
        calls,
    };
    EthCall {
        from: None,
        to: MULTICALL3,
        data: call.abi_encode(),
        gas: None,
    }
    .call()
}

fn word(data: &[u8]) -> Option<U256> {
    data.first_chunk::<32>().map(|word| U256::from_be_bytes(*word))
}

fn known(address: Address) -> &'static str {
    if address == MULTICALL3 {
        " (Multicall3)"
    } else if address == PERMIT2 {
        " (Permit2)"
    } else {
        ""
    }
}

impl Audit {
    /// `None`: the asset has no allowances that can be read; then it has none that could be used.
    fn take(&mut self, question: &Question, allowance: Option<U256>) {
        let Some(allowance) = allowance.filter(|allowance| !allowance.is_zero()) else {
            return;
        };
        let (asset, owner, spender) = (
            text::lower(question.asset),
            text::lower(question.owner),
            text::lower(question.spender),
        );
        if question.owner == MULTICALL3 {
            self.warnings.push(format!(
                "Multicall3 has given signer {spender} an allowance of {} of {asset}: it gains its sender nothing, and \
                 the signer never uses it; approve({spender}, 0) through Multicall3 takes it back",
                Amount(allowance)
            ));
            return;
        }
        let known = known(question.spender);
        self.why_not.get_or_insert(format!(
            "signer {owner} has given {spender}{known} an allowance of {} of {asset}, by which strangers can spend its \
             tokens: revoke it with approve({spender}, 0) on {asset} from {owner}",
            Amount(allowance)
        ));
    }
}
