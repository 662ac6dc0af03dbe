//! The scheme `exact`: one fixed transfer from payer to payee, in a transaction that the payer has signed and whose fee
//! the facilitator pays (exact-svm.md).
//!
//! | step | module | chain reads |
//! |---|---|---|
//! | identify | `identify` | none |
//! | decode, signatures | `payment` | none |
//! | what the transaction is | `identity`, `positional`, `create_ata`, `wallet` | none |
//! | address lookup tables, mint, simulation | `check`, `opinion`, `simulate`, `effects` | one batch |
//! | a second node before a payer is refused | `second` | only for refusals |
//! | can it still land? | `lifetime` | one now and then |
//! | what must be sent, and what proves it | `plan` | in the batch of `check` |
//! | what the chain showed | `judge` | none |
//!
//! The fee payer signs the whole message, so its signature counts in every instruction that names it. Therefore no
//! instruction may name it, except wallets' guard instructions that only read.

mod check;
pub mod config;
mod create_ata;
mod effects;
mod identify;
mod identity;
mod judge;
mod lifetime;
mod mints;
mod offer;
mod opinion;
mod payees;
mod payment;
mod plan;
mod positional;
pub mod reason;
mod second;
mod simulate;
mod sponsor;
mod terms;
mod transfer;
mod wallet;

use std::sync::Arc;

use sdk_plugin::chain::Evidence;
use sdk_plugin::scheme::{Identity, Judgement, Plan, Planned, SchemeCheck, Supported, Valid, Verdict};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Cx, Fault, PaymentRequest, SchemeHandler, async_trait};
use serde_json::{Map, json};

use crate::blockhashes::Blockhashes;
pub use config::Config;
use mints::PlainMints;
use offer::Offers;
use second::Heads;

/// The scheme's name on the wire.
pub const SCHEME: &str = "exact";
/// Protocol versions served, in the order in which they are advertised.
pub const VERSIONS: [u8; 2] = [2, 1];
/// Message versions that buyers may use. Legacy messages are accepted too and not listed: clients never build them
/// (exact-svm.md section 11).
pub const TRANSACTION_VERSIONS: [u8; 1] = [0];

/// `exact` on every Solana network.
#[derive(Debug, Default)]
pub struct ExactSvm {
    config: Config,
    plain_mints: PlainMints,
    offers: Offers,
    blockhashes: Arc<Blockhashes>,
    heads: Heads,
}

impl ExactSvm {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Uses the recent blockhashes that the driver's checks read.
    #[must_use]
    pub fn sharing(self, blockhashes: Arc<Blockhashes>) -> Self {
        Self { blockhashes, ..self }
    }
}

#[async_trait]
impl SchemeHandler for ExactSvm {
    /// No kinds while no fee payer has enough money: nothing could be settled.
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let network = cx.network();
        let mut signers: Vec<String> = Vec::new();
        // Retained keys are accepted and not advertised any more.
        for lane in &network.lanes {
            if !signers.contains(&lane.signer) {
                signers.push(lane.signer.clone());
            }
        }
        let Some(lane) = self.offers.choose(cx, &self.blockhashes).await? else {
            return Ok(Supported {
                signers,
                ..Supported::default()
            });
        };
        let kind = |x402_version| {
            let mut extra = Map::new();
            extra.insert("feePayer".into(), lane.signer.clone().into());
            extra.insert("transactionVersions".into(), json!(TRANSACTION_VERSIONS));
            if x402_version == 2 && self.config.smart_wallets.enabled {
                extra.insert("features".into(), json!({ "smartWalletSupported": true }));
            }
            Kind {
                x402_version,
                scheme: SCHEME.into(),
                network: network.id.clone(),
                extra: Some(extra),
            }
        };
        Ok(Supported {
            kinds: VERSIONS.map(kind).into(),
            extensions: Vec::new(),
            signers,
        })
    }

    async fn check(&self, cx: &Cx) -> Result<SchemeCheck, Fault> {
        let mut check = payees::check(cx, &self.config.payees).await?;
        check
            .warnings
            .extend(self.offers.warning(cx, &self.blockhashes).await?);
        Ok(check)
    }

    async fn identify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        Ok(identify::identify(cx, request))
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        Ok(match self.check(cx, request).await? {
            Ok(good) => Verdict::Valid(Valid {
                parties: plan::parties(&good),
                extensions: None,
                payer: good.transfer.authority.to_string(),
                extra: None,
                reserves: Some(plan::reserve(&good).into_iter().collect()),
            }),
            Err(refusal) => Verdict::Invalid(refusal),
        })
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        match self.check(cx, request).await? {
            Ok(good) => {
                self.offers.planned(cx, &good.payment.terms.fee_payer);
                plan::plan(good)
            }
            Err(refusal) => Ok(Planned::Refused(refusal)),
        }
    }

    async fn judge(&self, _cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        judge::judge(plan, evidence)
    }
}
