//! Every check of verify, in the specified order, in one round trip.
//!
//! What the bytes alone decide is decided first. Look-up tables, a mint that is not known yet and the simulation are read
//! in one batch; with look-up tables the checks on the bytes have to wait for it.

use sdk_plugin::scheme::Refusal;
use sdk_plugin::{Cx, Fault, PaymentRequest};
use solana_address::Address;

use super::config::{CreateAtaMode, Layout};
use super::payment::Payment;
use super::simulate::{self, Outcome, Simulated};
use super::sponsor::{self, Counters};
use super::terms::{No, Terms};
use super::transfer::Plain;
use super::{ExactSvm, identity, positional, reason, wallet};
use crate::programs::{ASSOCIATED_TOKEN, COMPUTE_BUDGET, LIGHTHOUSE, MEMO, TOKEN, is_token};
use crate::token::{self, Instruction, MintKind, TransferChecked};
use crate::wire::Message;
use crate::{fees, lookup, rpc};

/// A payment that passed every check.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) payment: Payment,
    pub(super) way: Way,
    pub(super) transfer: TransferChecked,
    pub(super) simulated: Simulated,
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

/// What the bytes show.
enum Shape {
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
            Err(no) => Err(no),
        };
        Ok(checked.map_err(|no| no.refusal(request.version)))
    }

    async fn check_payment(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        payment: Payment,
    ) -> Result<Result<Good, No>, Fault> {
        let (terms, message) = (&payment.terms, payment.transaction.message());
        let tables = lookup::call(message);
        if tables.is_some() && !self.config.lookup_tables {
            return Ok(Err(No::new(
                reason::LOOKUP_NOT_AVAILABLE,
                "address look-up tables are not accepted here",
            )));
        }
        let mut shape = None;
        if tables.is_none() {
            match self.shape(message, &message.keys, terms)? {
                Ok((found, _)) => shape = Some(found),
                Err(no) => return Ok(Err(no)),
            }
        }
        if let Some(no) = asset_not_listed(cx, terms) {
            return Ok(Err(no));
        }

        let mint = terms.asset.filter(|mint| self.needs_mint(cx, message, mint));
        let has_tables = tables.is_some();
        let mut calls: Vec<_> = tables.into_iter().collect();
        calls.extend(mint.map(|mint| rpc::accounts(&[mint])));
        let inner = self.config.smart_wallets.enabled && !terms.is_v1();
        calls.push(simulate::call(&payment.transaction, inner));
        let mut answers = rpc::read_all(cx, calls).await?;

        let resolved = lookup::resolve(message, has_tables.then(|| answers.take()).transpose()?)?;
        let accounts = match resolved {
            Ok(accounts) => accounts,
            Err(unresolved) => return Ok(Err(No::new(reason::LOOKUP_FAILED, unresolved.0))),
        };
        let (found, instructions) = match self.shape(message, &accounts, terms)? {
            Ok(found) => found,
            Err(no) => return Ok(Err(no)),
        };
        let shape = shape.unwrap_or(found);
        let mint = mint.map(|mint| Ok::<_, Fault>((mint, rpc::account_list(answers.take()?, 1)?.1)));
        let mint = mint.transpose()?;
        let outcome = simulate::read(answers.take()?, &accounts)?;

        let (way, transfer, simulated) = match (shape, outcome) {
            (Shape::Plain(plain), Outcome::Works(simulated)) => {
                let sponsored = plain.create == Some(terms.fee_payer);
                let way = if sponsored { Way::Sponsored } else { Way::Plain };
                (way, plain.transfer, simulated)
            }
            (Shape::Plain(plain), Outcome::Fails(why)) => {
                let no = No::new(reason::SIMULATION_FAILED, why);
                return Ok(Err(no.by(plain.transfer.authority)));
            }
            (Shape::Wallet, Outcome::Works(simulated)) => {
                match wallet::find_transfer(&instructions, &simulated, terms) {
                    Ok(transfer) => (Way::Wallet, transfer, simulated),
                    Err(no) => return Ok(Err(no)),
                }
            }
            (Shape::Wallet, Outcome::Fails(why)) => {
                return Ok(Err(No::new(
                    &format!("{}: {why}", reason::WALLET_SIMULATION),
                    why,
                )));
            }
        };
        let failed = match way {
            Way::Plain | Way::Sponsored => reason::SIMULATION_FAILED,
            Way::Wallet => reason::WALLET_SIMULATION,
        };
        let payer = transfer.authority;
        let kind = match &mint {
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
        let Some(kind) = kind else {
            return Ok(Err(No::new(failed, "the asset is not a mint").by(payer)));
        };
        if let Err(why) = self.check_effects(message, terms, way, &transfer, &simulated, kind) {
            return Ok(Err(No::new(failed, why).by(payer)));
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
        Ok(Ok(Good {
            payment,
            way,
            transfer,
            simulated,
            counters,
        }))
    }

    /// Path 1, or path 2 where it is on and path 1 fails by its layout.
    fn shape(
        &self,
        message: &Message,
        accounts: &[Address],
        terms: &Terms,
    ) -> Result<Result<(Shape, Vec<Instruction>), No>, Fault> {
        let instructions = token::instructions(message, accounts)?;
        let plain = match self.config.layout {
            Layout::Identity => identity::check(&instructions, message, terms, &self.config),
            Layout::Positional => positional::check(&instructions, message, terms, &self.config),
        };
        let wallets = self.config.smart_wallets.enabled && !terms.is_v1();
        let required = message.header.num_required_signatures;
        let shape = match plain {
            // One more is for wallets alone, whose authority may be another than who signs.
            Ok(_) if required > self.config.max_signatures => {
                Err(No::too_many_signatures(required, self.config.max_signatures))
            }
            Ok(plain) => Ok(Shape::Plain(Box::new(plain))),
            Err(no) if no.is_layout && wallets && !lacks_budget(&no, &instructions) => {
                wallet::check(&instructions, message, terms, &self.config).map(|()| Shape::Wallet)
            }
            Err(no) => Err(no),
        };
        Ok(shape.map(|shape| (shape, instructions)))
    }

    /// The first token program knows no extensions; a mint of the second one is read until it is known to be plain.
    fn needs_mint(&self, cx: &Cx, message: &Message, mint: &Address) -> bool {
        let plain_program = message.instructions.iter().any(|instruction| {
            message.program(instruction) == Some(TOKEN)
                && instruction.data.first() == Some(&token::TRANSFER_CHECKED)
        });
        !plain_program && !self.plain_mints.has(&cx.network().id, mint)
    }

    /// What the simulation says that accounts gain and lose; static rules where the node does not tell.
    fn check_effects(
        &self,
        message: &Message,
        terms: &Terms,
        way: Way,
        transfer: &TransferChecked,
        simulated: &Simulated,
        mint: MintKind,
    ) -> Result<(), String> {
        if let Some((pre, post)) = simulated.fee_payer {
            let rent = match way {
                Way::Sponsored => fees::MAX_RENT_LAMPORTS,
                Way::Plain | Way::Wallet => 0,
            };
            let (cost, most) = (
                pre.saturating_sub(post),
                fees::bound(message).saturating_add(rent),
            );
            if cost > most {
                return Err(format!(
                    "it costs the fee payer {cost} lamports, {most} are its fee"
                ));
            }
        }
        let Some(balances) = &simulated.balances else {
            let listed = self.config.extension_mints.contains(&transfer.mint);
            return match mint {
                MintKind::Extended if !listed => {
                    Err("the node does not show what arrives, and the asset may keep a part of it".into())
                }
                MintKind::Plain { .. } | MintKind::Extended => Ok(()),
            };
        };
        let source = balances.get(&transfer.source);
        if source
            .and_then(|source| source.owner)
            .is_some_and(|owner| terms.ours.contains(&owner))
        {
            return Err("it moves the facilitator's own funds".into());
        }
        let amount = terms.amount.unwrap_or(u64::MAX);
        let destination = balances.get(&transfer.destination);
        let arrived = destination
            .filter(|balance| balance.mint == Some(transfer.mint))
            .and_then(|balance| balance.post?.checked_sub(balance.pre.unwrap_or(0)))
            .unwrap_or(0);
        let right = match way {
            Way::Plain | Way::Sponsored => arrived == amount,
            Way::Wallet => arrived >= amount,
        };
        if right {
            Ok(())
        } else {
            Err(format!("{arrived} would arrive at payTo, not {amount}"))
        }
    }

    /// As when accounts are not paid for at all.
    fn too_many_accounts(&self) -> No {
        let reason = match self.config.layout {
            Layout::Identity => reason::UNKNOWN_INSTRUCTION,
            Layout::Positional => reason::NO_TRANSFER,
        };
        debug_assert_eq!(self.config.create_ata.mode, CreateAtaMode::Sponsor);
        No::new(
            reason,
            "no more token accounts are paid for here: let the payee open its own first",
        )
    }
}

/// Whether a plain payment fails only for its missing limit or price. Path 2 would blame its token program, which hides the
/// cause (exact-svm.md section 6).
fn lacks_budget(no: &No, instructions: &[Instruction]) -> bool {
    let is_plain = |instruction: &Instruction| {
        [COMPUTE_BUDGET, MEMO, LIGHTHOUSE, ASSOCIATED_TOKEN].contains(&instruction.program)
            || is_token(&instruction.program)
    };
    [reason::COMPUTE_LIMIT, reason::COMPUTE_PRICE].contains(&no.reason.as_str())
        && instructions.iter().all(is_plain)
}

/// Whether the destination does not exist yet, as far as is known.
fn may_open_account(simulated: &Simulated, transfer: &TransferChecked) -> bool {
    let Some(balances) = &simulated.balances else {
        return true;
    };
    balances
        .get(&transfer.destination)
        .is_none_or(|balance| balance.pre.is_none())
}

/// The operator's allow-list.
fn asset_not_listed(cx: &Cx, terms: &Terms) -> Option<No> {
    let network = cx.network();
    let asset = terms.asset.map(|asset| asset.to_string()).unwrap_or_default();
    let listed = network
        .assets
        .as_ref()
        .is_none_or(|assets| assets.contains(&asset));
    (!listed).then(|| {
        let id = &network.id;
        No::new(
            reason::INVALID_PAYMENT_REQUIREMENTS,
            format!(
                "asset {asset} is not allowed on {id}; the operator can add it to `assets` of network {id}"
            ),
        )
    })
}
