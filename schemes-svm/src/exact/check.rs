//! Every check of verify, in the specified order, in one round trip.
//!
//! What the bytes alone decide is decided first. Address lookup tables, a mint that is not known yet and the simulation are
//! read in one batch; with lookup tables the checks on the bytes have to wait for it. A refusal that rests on the chain's
//! state is one node's opinion: [`super::second`] reads again before the payer is refused.

use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault, PaymentRequest};
use solana_address::Address;

use super::config::{CreateAtaMode, Layout};
use super::effects::{MOVES_OURS, may_open_account, moves_ours};
use super::opinion::Opinion;
use super::payment::Payment;
use super::simulate::Simulated;
use super::sponsor::{self, Counters};
use super::terms::{Rejection, Terms};
use super::transfer::Plain;
use super::{ExactSvm, identity, positional, reason, wallet};
use crate::programs::{ASSOCIATED_TOKEN, COMPUTE_BUDGET, LIGHTHOUSE, MEMO, is_token};
use crate::token::{self, Instruction, TransferChecked};
use crate::wire::Message;
use crate::{lookup, rpc};

/// A payment that passed every check.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) payment: Payment,
    pub(super) way: Way,
    pub(super) transfer: TransferChecked,
    pub(super) simulated: Simulated,
    /// Blocks in which it can land at most, from the simulation's slot on.
    pub(super) blocks_left: u64,
    /// What to count when the fee payer pays for the payee's token account.
    pub(super) counters: Option<Counters>,
}

/// How it pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    /// With the payee's token account at the fee payer's cost.
    Sponsored,
    Wallet,
}

/// A payment that the chain's state allows.
#[derive(Debug)]
pub(super) struct Paid {
    pub(super) way: Way,
    pub(super) transfer: TransferChecked,
    pub(super) simulated: Simulated,
}

/// What the bytes show.
pub(super) enum Shape {
    Plain(Box<Plain>),
    Wallet,
}

impl ExactSvm {
    pub(super) async fn check(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
    ) -> Result<Result<Good, Refusal>, Fault> {
        // The claim is one on the call's network, the reads go there.
        if request.requirements.network != cx.network().id {
            return Err(Fault::internal(
                "the requirements name another network than the call's",
            ));
        }
        let checked = match Payment::decode(cx, request, &self.config) {
            Ok(payment) => self.check_payment(cx, request, payment).await?,
            Err(rejection) => Err(rejection),
        };
        Ok(checked.map_err(|rejection| rejection.refusal(request.version)))
    }

    async fn check_payment(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        payment: Payment,
    ) -> Result<Result<Good, Rejection>, Fault> {
        let (terms, message) = (&payment.terms, payment.transaction.message());
        let tables = lookup::call(message);
        if tables.is_some() && !self.config.lookup_tables {
            return Ok(Err(Rejection::new(
                reason::LOOKUP_NOT_AVAILABLE,
                "address look-up tables are not accepted here",
            )));
        }
        if tables.is_none()
            && let Err(rejection) = self.shape(message, &message.keys, terms)?
        {
            return Ok(Err(rejection));
        }
        if let Some(rejection) = asset_not_listed(cx, terms) {
            return Ok(Err(rejection));
        }

        let question = self.question(cx, &payment);
        let answers = rpc::NODES.read_all(cx, question.calls.clone()).await?;
        let paid = match self.opinion(cx, &payment, &question, answers) {
            Ok(Opinion {
                verdict: Ok(paid),
                slot,
                ..
            }) if self.is_plausible(cx, slot) => Ok(paid),
            // The chain's state, or one node's view of it, is against the payer or against us; or the node names a slot
            // that is far from every other one.
            Ok(first) => self.second_opinion(cx, &payment, &question, first.slot).await?,
            // Its answers are not those of a node that works.
            Err(_) => self.second_opinion(cx, &payment, &question, 0).await?,
        };
        let Paid {
            way,
            transfer,
            simulated,
        } = match paid {
            Ok(paid) => paid,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let payer = transfer.authority;
        let failed = |why: String| Ok(Err(Rejection::new(failure_reason(way), why).by(payer)));
        if let Some(why) = self.too_old(cx, message, simulated.slot).await? {
            return failed(why);
        }
        if moves_ours(cx, terms, &transfer, &simulated).await? {
            return failed(MOVES_OURS.into());
        }
        let mut counters = None;
        if way == Way::Sponsored && may_open_account(&simulated, &transfer) {
            let pay_to = terms.pay_to.unwrap_or_default();
            let limits = &self.config.create_ata;
            counters = sponsor::counters(cx, limits, &pay_to, request.tenant.as_deref()).await?;
            if counters.is_none() {
                return Ok(Err(self.too_many_accounts().by(payer)));
            }
        }
        let blockhash = &message.recent_blockhash;
        let blocks_left = self
            .blockhashes
            .at_most(&cx.network().id, blockhash, simulated.slot);
        Ok(Ok(Good {
            blocks_left,
            payment,
            way,
            transfer,
            simulated,
            counters,
        }))
    }

    /// Path 1, or path 2 where it is on and path 1 fails by its layout.
    pub(super) fn shape(
        &self,
        message: &Message,
        accounts: &[Address],
        terms: &Terms,
    ) -> Result<Result<(Shape, Vec<Instruction>), Rejection>, Fault> {
        let instructions = token::instructions(message, accounts)?;
        let plain = match self.config.layout {
            Layout::Identity => identity::check(&instructions, message, terms, &self.config),
            Layout::Positional => positional::check(&instructions, message, terms, &self.config),
        };
        let wallets = self.config.smart_wallets.enabled && !terms.is_v1();
        let required = message.header.num_required_signatures;
        let shape = match plain {
            // One more is for wallets alone, whose authority may be another than who signs.
            Ok(_) if required > self.config.max_signatures => Err(Rejection::too_many_signatures(
                required,
                self.config.max_signatures,
            )),
            Ok(plain) => Ok(Shape::Plain(Box::new(plain))),
            Err(rejection) if rejection.is_layout && wallets && !lacks_budget(&rejection, &instructions) => {
                wallet::check(&instructions, message, terms, &self.config).map(|()| Shape::Wallet)
            }
            Err(rejection) => Err(rejection),
        };
        Ok(shape.map(|shape| (shape, instructions)))
    }

    /// The reason that applies where accounts are not paid for.
    fn too_many_accounts(&self) -> Rejection {
        let reason = match self.config.layout {
            Layout::Identity => reason::UNKNOWN_INSTRUCTION,
            Layout::Positional => reason::NO_TRANSFER,
        };
        debug_assert_eq!(self.config.create_ata.mode, CreateAtaMode::Sponsor);
        Rejection::new(
            reason,
            "no more token accounts are paid for here: let the payee open its own first",
        )
    }
}

pub(super) fn failure_reason(way: Way) -> &'static str {
    match way {
        Way::Plain | Way::Sponsored => reason::SIMULATION_FAILED,
        Way::Wallet => reason::WALLET_SIMULATION,
    }
}

/// Whether a plain payment fails only for its missing limit or price. Path 2 would refuse its token program, which hides the
/// cause (exact-svm.md section 6).
fn lacks_budget(rejection: &Rejection, instructions: &[Instruction]) -> bool {
    let is_plain = |instruction: &Instruction| {
        [COMPUTE_BUDGET, MEMO, LIGHTHOUSE, ASSOCIATED_TOKEN].contains(&instruction.program)
            || is_token(&instruction.program)
    };
    [reason::COMPUTE_LIMIT, reason::COMPUTE_PRICE].contains(&rejection.reason.as_str())
        && instructions.iter().all(is_plain)
}

/// The operator's allow-list.
fn asset_not_listed(cx: &Cx, terms: &Terms) -> Option<Rejection> {
    let network = cx.network();
    let asset = terms.asset.map(|asset| asset.to_string()).unwrap_or_default();
    let listed = network
        .assets
        .as_ref()
        .is_none_or(|assets| assets.contains(&asset));
    (!listed).then(|| {
        let id = &network.id;
        Rejection::new(
            reason::INVALID_PAYMENT_REQUIREMENTS,
            format!(
                "asset {asset} is not allowed on {id}; the operator can add it to `assets` of network {id}"
            ),
        )
    })
}
