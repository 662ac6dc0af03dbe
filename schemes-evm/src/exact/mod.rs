//! The scheme `exact`: one fixed transfer from payer to payee, by EIP-3009 (exact-evm.md).
//!
//! | step | module | chain reads |
//! |---|---|---|
//! | identify | `identify` | none |
//! | decode, and the checks that need no chain | `payment` | none |
//! | code, signature, simulation | `check`, `question`, `trial` | one batch; a second one for a payer with code and an ECDSA signature, where nodes can't estimate, and every five minutes at the price of gas (`prices`) |
//! | whether a refusal is confirmed, and why a simulation failed | `diagnose` | one batch, of two nodes where there are two |
//! | what must be sent, and what proves it | `plan` | in the batch of `check` |
//! | what the chain showed | `judge`, with `trace` | none |
//!
//! So a refusal costs few round trips, and a good payment by an ordinary account costs one.
//!
//! A wallet that does not exist yet is deployed in the transaction of its transfer (ERC-6492), where the operator allows its
//! factory; one more round trip reads first whether it exists.
//!
//! Not served: Permit2, ERC-7710.

mod check;
mod code_cache;
mod described;
mod diagnose;
mod gas_shortages;
mod identify;
mod judge;
mod payment;
mod plan;
mod prices;
mod question;
pub mod reason;
mod revert;
mod trace;
mod trial;

use sdk_plugin::chain::Evidence;
use sdk_plugin::scheme::{Identity, Judgement, Plan, Planned, Supported, Valid, Verdict};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Cx, Fault, PaymentRequest, SchemeHandler, async_trait};

use crate::builder_code::{self, OwnCodes};
use crate::recovery::KnownSigners;
use crate::step::{Checked, Wanted};
use code_cache::CodeCache;
use gas_shortages::GasShortages;
use prices::Prices;

/// The scheme's name on the wire.
pub const SCHEME: &str = "exact";
/// Protocol versions served, in the order in which they are advertised.
pub const VERSIONS: [u8; 2] = [2, 1];
pub use crate::step::DEFAULT_MAX_GAS;

/// Settings of the scheme, valid on every network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Most gas that one transfer may use, in simulation and in the transaction, unless the network's options set another
    /// limit.
    pub max_gas: u64,
    /// The operator's own codes for the extension `builder-code`.
    pub builder_code: OwnCodes,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_gas: DEFAULT_MAX_GAS,
            builder_code: OwnCodes::default(),
        }
    }
}

/// `exact` on every EVM network.
#[derive(Debug, Default)]
pub struct ExactEvm {
    config: Config,
    assets_with_code: CodeCache,
    prices: Prices,
    gas_shortages: GasShortages,
    signers: KnownSigners,
}

impl ExactEvm {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            assets_with_code: CodeCache::default(),
            prices: Prices::default(),
            gas_shortages: GasShortages::default(),
            signers: KnownSigners::default(),
        }
    }
}

#[async_trait]
impl SchemeHandler for ExactEvm {
    /// No kinds while no signer is granted: nothing could be settled.
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let network = cx.network();
        if network.lanes.is_empty() {
            return Ok(Supported::default());
        }
        let extra = described::extra(network)?;
        let kind = |x402_version| Kind {
            x402_version,
            scheme: SCHEME.into(),
            network: network.id.clone(),
            extra: extra.clone(),
        };
        let extensions = if self.config.builder_code.is_empty() {
            Vec::new()
        } else {
            vec![builder_code::KEY.to_owned()]
        };
        // Retained signers serve what is bound to them: nothing new shall name them.
        let signers = network.lanes.iter().map(|lane| lane.signer.clone()).collect();
        Ok(Supported {
            kinds: VERSIONS.map(kind).into(),
            extensions,
            signers,
        })
    }

    async fn identify(&self, _cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        Ok(identify::identify(request))
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        // A verdict needs no balance: the simulation decides. A promise needs one.
        let wanted = if request.wants_reserves {
            Wanted::Plan
        } else {
            Wanted::Verdict
        };
        Ok(match self.check(cx, request, wanted).await? {
            Checked::Good(good) => Verdict::Valid(Valid {
                reserves: good.funds.map(|funds| vec![plan::reserve(&good.payment, funds)]),
                payer: good.payment.payer,
                extra: None,
            }),
            Checked::Refused(refusal) => Verdict::Invalid(refusal),
        })
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        Ok(match self.check(cx, request, Wanted::Plan).await? {
            Checked::Good(good) => plan::plan(&good, cx.network())?,
            Checked::Refused(refusal) => Planned::Refused(refusal),
        })
    }

    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        let judgement = judge::judge(plan, evidence, cx.now_s())?;
        if let Some(asset) = judge::ran_out_of_gas(plan, evidence)? {
            self.gas_shortages.learn(cx, asset);
        }
        Ok(judgement)
    }
}
