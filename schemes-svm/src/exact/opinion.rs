//! What one node's state shows of a payment: the reads, and the verdict by their results.

use sdk_plugin::host::{Level, RpcCall};
use sdk_plugin::{Cx, Fault};
use serde_json::json;
use solana_address::Address;

use super::check::{Paid, Shape, Way, failure_reason};
use super::payment::Payment;
use super::simulate::{self, Failed, InnerInstructions, Outcome};
use super::terms::Rejection;
use super::{ExactSvm, reason, wallet};
use crate::programs::TOKEN;
use crate::rpc::{Account, Answers};
use crate::token::{self, Instruction, MintKind};
use crate::wire::Message;
use crate::{lookup, rpc};

/// What is read for a payment, from whichever node.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) calls: Vec<RpcCall>,
    has_tables: bool,
    mint: Option<Address>,
}

/// What one node's state shows of a payment.
#[derive(Debug)]
pub(super) struct Opinion {
    /// The slot of that state; 0 where it is not known.
    pub(super) slot: u64,
    pub(super) verdict: Result<Paid, Rejection>,
    pub(super) cause: Cause,
    /// Where it is refused by a failed simulation: the payee's token account, which may be missing.
    pub(super) destination: Option<Address>,
    /// Answers to further calls.
    pub(super) rest: Answers,
}

/// Against whom a refusal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The payment or its payer.
    Payment,
    /// The node does not know the blockhash: one of the two is too old.
    UnknownBlockhash,
    /// Our fee payer has too little.
    FeePayerUnfunded,
}

impl Opinion {
    fn refused(slot: u64, rejection: Rejection, rest: Answers) -> Self {
        Self {
            slot,
            verdict: Err(rejection),
            cause: Cause::Payment,
            destination: None,
            rest,
        }
    }
}

/// A refusal by the chain's state; the members are those of [`Opinion`].
struct Refused {
    rejection: Rejection,
    cause: Cause,
    destination: Option<Address>,
}

impl From<Rejection> for Box<Refused> {
    fn from(rejection: Rejection) -> Self {
        Self::new(Refused {
            rejection,
            cause: Cause::Payment,
            destination: None,
        })
    }
}

impl ExactSvm {
    /// What must be known of the chain.
    pub(super) fn question(&self, cx: &Cx, payment: &Payment) -> Question {
        let (terms, message) = (&payment.terms, payment.transaction.message());
        let tables = lookup::call(message);
        let mint = terms.asset.filter(|mint| self.needs_mint(cx, message, mint));
        let inner = if self.config.smart_wallets.enabled && !terms.is_v1() {
            InnerInstructions::Included
        } else {
            InnerInstructions::Omitted
        };
        let has_tables = tables.is_some();
        let mut calls: Vec<RpcCall> = tables.into_iter().collect();
        calls.extend(mint.map(|mint| rpc::accounts(&[mint])));
        calls.push(simulate::call(&payment.transaction, inner));
        Question {
            calls,
            has_tables,
            mint,
        }
    }

    /// The opinion by one node's answers; further answers are left.
    pub(super) fn opinion(
        &self,
        cx: &Cx,
        payment: &Payment,
        question: &Question,
        mut answers: Answers,
    ) -> Result<Opinion, Fault> {
        let (terms, message) = (&payment.terms, payment.transaction.message());
        let tables = question.has_tables.then(|| answers.take()).transpose()?;
        let resolved = lookup::resolve(message, tables)?;
        let mint = question
            .mint
            .map(|mint| Ok::<_, Fault>((mint, rpc::account_list(answers.take()?, 1)?.1)));
        let mint = mint.transpose()?;
        let accounts = match &resolved {
            Ok(accounts) => accounts,
            Err(_) => &message.keys,
        };
        let simulation = answers.take()?;
        if let Err(unresolved) = resolved {
            let rejection = Rejection::new(reason::LOOKUP_FAILED, unresolved.0);
            let slot = rpc::at_slot(simulation, "simulateTransaction").map_or(0, |(slot, _)| slot);
            return Ok(Opinion::refused(slot, rejection, answers));
        }
        let outcome = simulate::read(simulation, accounts)?;
        let slot = match &outcome {
            Outcome::Works(simulated) => simulated.slot,
            Outcome::Fails(failed) => failed.slot,
        };
        let (shape, instructions) = match self.shape(message, accounts, terms)? {
            Ok(found) => found,
            Err(rejection) => return Ok(Opinion::refused(slot, rejection, answers)),
        };
        let verdict = self.judge_outcome(cx, payment, shape, &instructions, outcome, mint.as_ref());
        let mut opinion = match verdict {
            Ok(paid) => Opinion {
                verdict: Ok(paid),
                ..Opinion::refused(slot, Rejection::default(), answers)
            },
            Err(refused) => Opinion {
                cause: refused.cause,
                destination: refused.destination,
                ..Opinion::refused(slot, refused.rejection, answers)
            },
        };
        opinion.slot = slot;
        Ok(opinion)
    }

    fn judge_outcome(
        &self,
        cx: &Cx,
        payment: &Payment,
        shape: Shape,
        instructions: &[Instruction],
        outcome: Outcome,
        mint: Option<&(Address, Vec<Option<Account>>)>,
    ) -> Result<Paid, Box<Refused>> {
        let (terms, message) = (&payment.terms, payment.transaction.message());
        let (way, transfer, simulated) = match (shape, outcome) {
            (Shape::Plain(plain), Outcome::Works(simulated)) => {
                let sponsored = plain.create == Some(terms.fee_payer);
                let way = if sponsored { Way::Sponsored } else { Way::Plain };
                (way, plain.transfer, simulated)
            }
            (Shape::Plain(plain), Outcome::Fails(failed)) => {
                log_failure(cx, &failed);
                let rejection = Rejection::new(reason::SIMULATION_FAILED, failed.sentence(instructions));
                return Err(Box::new(Refused {
                    rejection: rejection.by(plain.transfer.authority),
                    cause: cause(&failed),
                    // With a creation in it, the account need not exist.
                    destination: plain.create.is_none().then_some(plain.transfer.destination),
                }));
            }
            (Shape::Wallet, Outcome::Works(simulated)) => {
                let transfer = wallet::find_transfer(instructions, &simulated, terms)?;
                (Way::Wallet, transfer, simulated)
            }
            (Shape::Wallet, Outcome::Fails(failed)) => {
                log_failure(cx, &failed);
                let why = failed.sentence(instructions);
                return Err(Box::new(Refused {
                    rejection: Rejection::new(&format!("{}: {why}", reason::WALLET_SIMULATION), why),
                    cause: cause(&failed),
                    destination: None,
                }));
            }
        };
        let kind = match mint {
            Some((mint, accounts)) => {
                let kind = accounts
                    .first()
                    .and_then(Option::as_ref)
                    .and_then(token::mint_kind);
                if kind == Some(MintKind::Plain { for_ever: true }) {
                    self.plain_mints.add(&cx.network().id, *mint);
                }
                kind
            }
            None => Some(MintKind::Plain { for_ever: true }),
        };
        let failed = |why: String| Rejection::new(failure_reason(way), why).by(transfer.authority);
        let kind = kind.ok_or_else(|| failed("the asset is not a mint".into()))?;
        self.check_effects(message, terms, way, &transfer, &simulated, kind)
            .map_err(failed)?;
        Ok(Paid {
            way,
            transfer,
            simulated,
        })
    }

    /// The first token program knows no extensions; a mint of the second one is read until it is known to be plain.
    fn needs_mint(&self, cx: &Cx, message: &Message, mint: &Address) -> bool {
        let plain_program = message.instructions.iter().any(|instruction| {
            message.program(instruction) == Some(TOKEN)
                && instruction.data.first() == Some(&token::TRANSFER_CHECKED)
        });
        !plain_program && !self.plain_mints.has(&cx.network().id, mint)
    }
}

fn cause(failed: &Failed) -> Cause {
    match (failed.unknown_blockhash, failed.is_fee_payer_unfunded) {
        (true, _) => Cause::UnknownBlockhash,
        (false, true) => Cause::FeePayerUnfunded,
        (false, false) => Cause::Payment,
    }
}

/// What programs write goes to the log only: buyers choose it.
fn log_failure(cx: &Cx, failed: &Failed) {
    let fields = json!({ "error": failed.error, "slot": failed.slot, "log": failed.log });
    cx.log(Level::Debug, "svm::exact", "simulation_failed", &fields);
}
