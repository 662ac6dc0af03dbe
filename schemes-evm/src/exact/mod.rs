//! The scheme `exact`: one fixed transfer from payer to payee, by EIP-3009 or by Permit2 (exact-evm.md).
//!
//! The payload's shape decides on the method. EIP-3009:
//!
//! | step | module | chain reads |
//! |---|---|---|
//! | identify | `identify` | none |
//! | decode, and the checks that need no chain | `payment` | none |
//! | the others | `check` and [`crate::transfer`], with the reads of `transfer` | one batch |
//! | what must be sent, and what proves it | `plan` | in the batch of the checks |
//! | what the chain showed | `judge`, with `trace` | none |
//!
//! A wallet that does not exist yet is deployed in the transaction of its transfer (ERC-6492), where the operator allows its
//! factory.
//!
//! Permit2: [`crate::permit2`], with protocol v2 and where its proxy is deployed.
//!
//! Not served: ERC-7710.

mod check;
mod described;
mod identify;
mod judge;
mod payment;
mod plan;
pub mod reason;
mod revert;
mod trace;
mod transfer;

use sdk_plugin::chain::Evidence;
use sdk_plugin::host::Level;
use sdk_plugin::scheme::{
    Identity, Judgement, LaneChoice, Plan, Planned, SchemeCheck, Supported, Valid, Verdict, extensions_used,
};
use sdk_plugin::wire::Kind;
use sdk_plugin::{Cx, Fault, PaymentRequest, SchemeHandler, async_trait};
use serde_json::json;

use crate::builder_code::OwnCodes;
use crate::permit2::approval::LimitsByNetwork;
use crate::permit2::payment::authorization;
use crate::permit2::plan::Sending;
use crate::permit2::probe::Probes;
use crate::permit2::{self, Proxy};
use crate::step::{self, Checked, Wanted};
use crate::transfer::{Attempt, Checks, out_of_gas};

/// The scheme's name on the wire.
pub const SCHEME: &str = Proxy::Exact.scheme();
/// Protocol versions served, in the order in which they are advertised.
pub const VERSIONS: [u8; 2] = [2, 1];
pub use crate::step::DEFAULT_MAX_GAS;

/// Settings of the schemes of this plugin file, valid on every network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Most gas that one transfer may use, in simulation and in the transaction, unless the network's options set another
    /// limit.
    pub max_gas: u64,
    /// The operator's own codes for the extension `builder-code`.
    pub builder_code: OwnCodes,
    /// What may be spent on approvals of payers, by network. Without an entry they are not sent.
    pub approvals: LimitsByNetwork,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_gas: DEFAULT_MAX_GAS,
            builder_code: OwnCodes::default(),
            approvals: LimitsByNetwork::new(),
        }
    }
}

impl Config {
    /// The extension's key where approvals are sent.
    pub(crate) fn approval_key(&self, network: &str) -> Option<&'static str> {
        self.approvals
            .contains_key(network)
            .then_some(permit2::approval::EXTENSION)
    }

    pub(crate) fn attempt(&self, request: &PaymentRequest, wanted: Wanted) -> Attempt {
        Attempt::new(request, wanted, self.max_gas, &self.builder_code)
    }
}

/// `exact` on every EVM network.
#[derive(Debug, Default)]
pub struct ExactEvm {
    config: Config,
    checks: Checks,
    probes: Probes,
}

impl ExactEvm {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            checks: Checks::default(),
            probes: Probes::default(),
        }
    }
}

/// Whether the payload is one of Permit2, which protocol v1 does not know.
fn is_permit2(request: &PaymentRequest) -> bool {
    !request.version.is_v1() && authorization(&request.payload).is_some()
}

impl ExactEvm {
    async fn check_permit2(
        &self,
        cx: &Cx,
        request: &PaymentRequest,
        wanted: Wanted,
    ) -> Result<Checked<permit2::Good>, Fault> {
        let payment = match permit2::Payment::decode(request, Proxy::Exact) {
            Ok(payment) => payment,
            Err(refusal) => return Ok(Checked::Refused(refusal)),
        };
        step::same_network(cx, request)?;
        let attempt = self.config.attempt(request, wanted);
        permit2::check(cx, &self.checks, payment, attempt, &self.config.approvals).await
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
        // Retained signers serve what is bound to them: nothing new shall name them.
        let signers = network.lanes.iter().map(|lane| lane.signer.clone()).collect();
        let has_permit2 = self.probes.known(cx).unwrap_or(false);
        Ok(Supported {
            kinds: VERSIONS.map(kind).into(),
            extensions: [
                has_permit2.then_some(permit2::EXTENSION),
                self.config.approval_key(&network.id).filter(|_| has_permit2),
                self.config.builder_code.key(),
            ]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect(),
            signers,
        })
    }

    /// Ready in any case: EIP-3009 needs no proxy. Records whether Permit2 is advertised.
    async fn check(&self, cx: &Cx) -> Result<SchemeCheck, Fault> {
        if let Err(fault) = self.probes.refresh(cx, Proxy::Exact).await {
            let fields = json!({ "network": cx.network().id, "why": fault.message });
            cx.log(
                Level::Debug,
                "evm::permit2",
                "whether the proxy of exact is deployed was not shown",
                &fields,
            );
        }
        Ok(SchemeCheck::ready())
    }

    async fn identify(&self, _cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        if is_permit2(request) {
            return Ok(permit2::identify(request, Proxy::Exact));
        }
        Ok(identify::identify(request))
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        let wanted = Wanted::of_verify(request);
        if is_permit2(request) {
            return Ok(permit2::verdict(self.check_permit2(cx, request, wanted).await?));
        }
        Ok(match self.check_eip3009(cx, request, wanted).await? {
            Checked::Good(good) => Verdict::Valid(Valid {
                parties: plan::parties(&good.payment),
                extensions: extensions_used(&good.used),
                reserves: good
                    .passed
                    .funds
                    .map(|funds| vec![plan::reserve(&good.payment, funds)]),
                payer: good.payment.payer,
                extra: None,
            }),
            Checked::Refused(refusal) => Verdict::Invalid(refusal),
        })
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        if is_permit2(request) {
            return Ok(match self.check_permit2(cx, request, Wanted::Plan).await? {
                Checked::Good(good) => {
                    let sending = Sending {
                        lane: LaneChoice::Any,
                        holds: Vec::new(),
                    };
                    permit2::plan(&good, good.payment.permit.amount, sending, cx)?
                }
                Checked::Refused(refusal) => Planned::Refused(refusal),
            });
        }
        Ok(match self.check_eip3009(cx, request, Wanted::Plan).await? {
            Checked::Good(good) => plan::plan(&good, cx.network())?,
            Checked::Refused(refusal) => Planned::Refused(refusal),
        })
    }

    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        let step = step::of_evidence(plan, evidence)?;
        if permit2::is_step(&step.memo) {
            return permit2::judge(cx, &self.checks, plan, step, evidence);
        }
        let judgement = judge::judge(plan, step, evidence, cx.now_s())?;
        if out_of_gas::is_possible_in(evidence) {
            self.checks
                .ran_out_of_gas(cx, plan::Memo::read(&step.memo)?.asset);
        }
        Ok(judgement)
    }
}
