//! Handlers that live behind the boundary, looking like any other to the core.

use std::borrow::Cow;
use std::sync::Arc;

use sdk_plugin::chain::{
    Attempt, Bid, Built, Evidence, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::host::Job;
use sdk_plugin::ops::{self, op};
use sdk_plugin::scheme::{
    Identity, Judgement, Plan, Planned, RouteRequest, RouteResponse, SchemeCheck, Step, Supported, Verdict,
};
use sdk_plugin::{
    CallContext, ChainDriver, Cx, Fault, FaultKind, PaymentRequest, SchemeHandler, async_trait,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::instance::Instance;

/// A scheme of a loaded plugin. Each call needs a `Cx` with a call id of its own.
#[derive(Debug)]
pub struct RemoteScheme {
    instance: Arc<Instance>,
    scheme: String,
}

impl RemoteScheme {
    pub(super) fn new(instance: Arc<Instance>, scheme: String) -> Self {
        Self { instance, scheme }
    }

    fn context<'a>(&self, cx: &'a Cx) -> Cow<'a, CallContext> {
        with_scheme(cx.context(), &self.scheme)
    }

    async fn payment<A: DeserializeOwned>(
        &self,
        cx: &Cx,
        op: &'static str,
        request: &PaymentRequest,
    ) -> Result<A, Fault> {
        let call = ops::PaymentCall {
            context: self.context(cx),
            request: Cow::Borrowed(request),
        };
        ask(&self.instance, cx, op, &call).await
    }
}

/// The context, with the scheme that is asked in it.
fn with_scheme<'a>(context: &'a CallContext, scheme: &str) -> Cow<'a, CallContext> {
    if context.scheme == scheme {
        return Cow::Borrowed(context);
    }
    Cow::Owned(CallContext {
        scheme: scheme.to_owned(),
        ..context.clone()
    })
}

async fn ask<Q, A>(instance: &Arc<Instance>, cx: &Cx, op: &'static str, request: &Q) -> Result<A, Fault>
where
    Q: Serialize + Sync,
    A: DeserializeOwned,
{
    let network = &cx.context().network.id;
    instance
        .call(cx.call_id(), cx.call_id(), network, op, request)
        .await
}

#[async_trait]
impl SchemeHandler for RemoteScheme {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        ask(
            &self.instance,
            cx,
            op::SUPPORTED,
            &ops::ContextCall {
                context: self.context(cx),
            },
        )
        .await
    }

    async fn identify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        self.payment(cx, op::IDENTIFY, request).await
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        self.payment(cx, op::VERIFY, request).await
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        self.payment(cx, op::PLAN, request).await
    }

    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        let (plan, evidence) = (Cow::Borrowed(plan), Cow::Borrowed(evidence));
        ask(
            &self.instance,
            cx,
            op::JUDGE,
            &ops::JudgeCall {
                context: self.context(cx),
                plan,
                evidence,
            },
        )
        .await
    }

    async fn route(&self, cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        let call = ops::RouteCall {
            context: self.context(cx),
            request: Cow::Borrowed(request),
        };
        ask(&self.instance, cx, op::ROUTE, &call).await
    }

    /// A plugin that does not know the operation was built before it, and is ready.
    async fn check(&self, cx: &Cx) -> Result<SchemeCheck, Fault> {
        let call = ops::ContextCall {
            context: self.context(cx),
        };
        match ask(&self.instance, cx, op::SCHEME_CHECK, &call).await {
            Err(fault) if fault.kind == FaultKind::Unsupported => Ok(SchemeCheck::ready()),
            answer => answer,
        }
    }

    async fn job(&self, cx: &Cx, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        let call = ops::JobCall {
            context: self.context(cx),
            job: Cow::Borrowed(job),
        };
        ask(&self.instance, cx, op::JOB, &call)
            .await
            .map(|ops::JobReply { requests }| requests)
    }
}

/// A driver of a loaded plugin. Each call needs a `Cx` with a call id of its own.
#[derive(Debug)]
pub struct RemoteDriver {
    instance: Arc<Instance>,
}

impl RemoteDriver {
    pub(super) fn new(instance: Arc<Instance>) -> Self {
        Self { instance }
    }
}

/// Operations of drivers are asked of no scheme.
fn plain(cx: &Cx) -> Cow<'_, CallContext> {
    with_scheme(cx.context(), "")
}

#[async_trait]
impl ChainDriver for RemoteDriver {
    async fn check(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let call = ops::CheckCall {
            context: plain(cx),
            network: Cow::Borrowed(network),
        };
        ask(&self.instance, cx, op::CHECK, &call).await
    }

    async fn lane(&self, cx: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        let call = ops::LaneCall {
            context: plain(cx),
            lane: Cow::Borrowed(lane),
        };
        ask(&self.instance, cx, op::LANE, &call).await
    }

    async fn quote(&self, cx: &Cx, lane: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault> {
        let (lane, previous) = (Cow::Borrowed(lane), previous.map(Cow::Borrowed));
        ask(
            &self.instance,
            cx,
            op::QUOTE,
            &ops::QuoteCall {
                context: plain(cx),
                lane,
                previous,
            },
        )
        .await
    }

    async fn build(&self, cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        let (slot, bid, steps) = (Cow::Borrowed(slot), Cow::Borrowed(bid), Cow::Borrowed(steps));
        ask(
            &self.instance,
            cx,
            op::BUILD,
            &ops::BuildCall {
                context: plain(cx),
                slot,
                bid,
                steps,
            },
        )
        .await
    }

    async fn fill(&self, cx: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault> {
        let (slot, bid) = (Cow::Borrowed(slot), Cow::Borrowed(bid));
        ask(
            &self.instance,
            cx,
            op::FILL,
            &ops::FillCall {
                context: plain(cx),
                slot,
                bid,
            },
        )
        .await
    }

    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        let call = ops::BroadcastCall {
            context: plain(cx),
            attempt: Cow::Borrowed(attempt),
        };
        ask(&self.instance, cx, op::BROADCAST, &call).await
    }

    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        let call = ops::ObserveCall {
            context: plain(cx),
            watches: Cow::Borrowed(watches),
        };
        let reply: ops::ObserveReply = ask(&self.instance, cx, op::OBSERVE, &call).await?;
        let observations = reply.observations;
        let asked = watches.iter().map(|watch| &watch.attempt_id);
        if !observations
            .iter()
            .map(|observation| &observation.attempt_id)
            .eq(asked)
        {
            return Err(Fault::internal(
                "the plugin's observations are not those of the watches, in their order",
            ));
        }
        Ok(observations)
    }
}
