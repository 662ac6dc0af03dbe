//! The scheme `auth-capture`: a payment that is held in an escrow contract and captured, voided or refunded later
//! (auth-capture-evm.md).
//!
//! | part | module |
//! |---|---|
//! | wire and chain facts | [`abi`], [`payment_info`], [`authorizer`], [`deployment`], [`fees`], [`reason`], [`revert`] |
//! | what an operator decides | [`config`] |
//! | the seller's terms | [`terms`] |
//! | what the chain shows of a payment, and who signed | [`state`], [`fold`], [`guard`], [`signed`] |
//! | what is served where | `supported` |
//! | hold and charge | `collect` |
//! | capture, void, refund | `lifecycle` |
//! | what is kept, what tenants see of it, what is done on time | [`records`], `routes`, [`keeper`] |
//!
//! A payload with a member `type` is a lifecycle call, even if the collection's members are present too (T-75);
//! everything else collects.

pub mod abi;
pub mod authorizer;
mod collect;
pub mod config;
pub mod deployment;
pub mod fees;
pub mod fold;
pub mod guard;
pub mod keeper;
mod lifecycle;
mod order;
pub mod payment_info;
pub mod reason;
pub mod records;
pub mod revert;
mod routes;
pub mod signed;
pub mod state;
mod supported;
pub mod terms;

use sdk_plugin::chain::Evidence;
use sdk_plugin::host::Job;
use sdk_plugin::scheme::{
    Identity, Judgement, Plan, Planned, RouteRequest, RouteResponse, SchemeCheck, Supported, Verdict,
};
use sdk_plugin::{Cx, Fault, PaymentRequest, SchemeHandler, async_trait};

use crate::members;
use collect::TokenStores;
use config::Config;
use supported::Probes;

/// The scheme's name on the wire.
pub const SCHEME: &str = "auth-capture";
/// Protocol versions served.
pub const VERSIONS: [u8; 1] = [2];

/// `auth-capture` on every EVM network.
#[derive(Debug, Default)]
pub struct AuthCaptureEvm {
    config: Config,
    probes: Probes,
    stores: TokenStores,
}

impl AuthCaptureEvm {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

/// Whether a payload is a lifecycle call.
fn is_lifecycle(request: &PaymentRequest) -> bool {
    members::present(&request.payload, "type").is_some()
}

/// Whether the step of this evidence belongs to a lifecycle call, by the memo's member `kind`.
fn is_lifecycle_step(plan: &Plan, evidence: &Evidence) -> Result<bool, Fault> {
    let memo = &state::step_of(plan, evidence)?.memo;
    match memo.get("kind").and_then(sdk_plugin::Value::as_str) {
        Some("collect") => Ok(false),
        Some("lifecycle") => Ok(true),
        _ => Err(Fault::invalid("the step's memo is not one of `auth-capture`")),
    }
}

#[async_trait]
impl SchemeHandler for AuthCaptureEvm {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        supported::supported(cx, &self.config, &self.probes).await
    }

    async fn check(&self, cx: &Cx) -> Result<SchemeCheck, Fault> {
        supported::check(cx, &self.config, &self.probes).await
    }

    async fn identify(&self, _cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        if is_lifecycle(request) {
            return Ok(self.lifecycle_identify(request));
        }
        Ok(self.collect_identify(request))
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        if is_lifecycle(request) {
            return self.lifecycle_verify(cx, request).await;
        }
        self.collect_verify(cx, request).await
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        if is_lifecycle(request) {
            return self.lifecycle_plan(cx, request).await;
        }
        self.collect_plan(cx, request).await
    }

    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        if is_lifecycle_step(plan, evidence)? {
            return self.lifecycle_judge(plan, evidence, cx.now_s());
        }
        self.collect_judge(plan, state::step_of(plan, evidence)?, evidence, cx.now_s())
    }

    async fn route(&self, cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        self.routed(cx, request).await
    }

    async fn job(&self, cx: &Cx, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        match job.kind.as_str() {
            keeper::KIND => self.keep(cx, job).await,
            other => Err(Fault::unsupported(format!("no job {other:?}"))),
        }
    }
}
