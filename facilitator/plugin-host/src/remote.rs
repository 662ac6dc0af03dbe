//! Handlers on the other side of the boundary: the two traits, as calls across the C ABI.
//!
//! Assumes that each call has a `Cx` with a call id of its own.

use std::borrow::Cow;
use std::sync::Arc;

use sdk_plugin::chain::{
    Attempt, Bid, Built, Evidence, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::host::Job;
use sdk_plugin::operation::{self, PluginOperation};
use sdk_plugin::ops;
use sdk_plugin::scheme::{
    Identity, Judgement, Plan, Planned, RouteRequest, RouteResponse, SchemeCheck, Step, Supported, Verdict,
};
use sdk_plugin::{
    CallContext, ChainDriver, Cx, Fault, FaultKind, PaymentRequest, SchemeHandler, async_trait,
};

use super::instance::Instance;

/// A scheme of a loaded plugin.
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

    fn payment<'a>(&self, cx: &'a Cx, request: &'a PaymentRequest) -> ops::PaymentCall<'a> {
        ops::PaymentCall {
            context: self.context(cx),
            request: Cow::Borrowed(request),
        }
    }

    async fn call<O: PluginOperation>(&self, cx: &Cx, request: O::Request<'_>) -> Result<O::Response, Fault> {
        call::<O>(&self.instance, cx, request).await
    }
}

/// The context with the scheme that is called.
fn with_scheme<'a>(context: &'a CallContext, scheme: &str) -> Cow<'a, CallContext> {
    if context.scheme == scheme {
        return Cow::Borrowed(context);
    }
    Cow::Owned(CallContext {
        scheme: scheme.to_owned(),
        ..context.clone()
    })
}

async fn call<O: PluginOperation>(
    instance: &Arc<Instance>,
    cx: &Cx,
    request: O::Request<'_>,
) -> Result<O::Response, Fault> {
    let network = &cx.context().network.id;
    instance
        .call::<O>(cx.call_id(), cx.call_id(), network, cx.terms(), request)
        .await
}

#[async_trait]
impl SchemeHandler for RemoteScheme {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let context = self.context(cx);
        self.call::<operation::Supported>(cx, ops::ContextCall { context })
            .await
    }

    async fn identify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        self.call::<operation::Identify>(cx, self.payment(cx, request))
            .await
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        self.call::<operation::Verify>(cx, self.payment(cx, request))
            .await
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        self.call::<operation::Plan>(cx, self.payment(cx, request)).await
    }

    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        let request = ops::JudgeCall {
            context: self.context(cx),
            plan: Cow::Borrowed(plan),
            evidence: Cow::Borrowed(evidence),
        };
        self.call::<operation::Judge>(cx, request).await
    }

    async fn route(&self, cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        let request = ops::RouteCall {
            context: self.context(cx),
            request: Cow::Borrowed(request),
        };
        self.call::<operation::Route>(cx, request).await
    }

    /// A plugin that does not know the operation is older than it, and counts as ready.
    async fn check(&self, cx: &Cx) -> Result<SchemeCheck, Fault> {
        let context = self.context(cx);
        let answer = self.call::<operation::SchemeCheck>(cx, ops::ContextCall { context });
        match answer.await {
            Err(fault) if fault.kind == FaultKind::Unsupported => Ok(SchemeCheck::ready()),
            answer => answer,
        }
    }

    async fn job(&self, cx: &Cx, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        let request = ops::JobCall {
            context: self.context(cx),
            job: Cow::Borrowed(job),
        };
        let reply = self.call::<operation::Job>(cx, request).await?;
        Ok(reply.requests)
    }
}

/// A driver of a loaded plugin.
#[derive(Debug)]
pub struct RemoteDriver {
    instance: Arc<Instance>,
}

impl RemoteDriver {
    pub(super) fn new(instance: Arc<Instance>) -> Self {
        Self { instance }
    }
}

/// The context of a driver's operation, which belongs to no scheme.
fn without_scheme(cx: &Cx) -> Cow<'_, CallContext> {
    with_scheme(cx.context(), "")
}

#[async_trait]
impl ChainDriver for RemoteDriver {
    async fn check(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let request = ops::CheckCall {
            context: without_scheme(cx),
            network: Cow::Borrowed(network),
        };
        call::<operation::Check>(&self.instance, cx, request).await
    }

    async fn lane(&self, cx: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        let request = ops::LaneCall {
            context: without_scheme(cx),
            lane: Cow::Borrowed(lane),
        };
        call::<operation::Lane>(&self.instance, cx, request).await
    }

    async fn quote(&self, cx: &Cx, lane: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault> {
        let request = ops::QuoteCall {
            context: without_scheme(cx),
            lane: Cow::Borrowed(lane),
            previous: previous.map(Cow::Borrowed),
        };
        call::<operation::Quote>(&self.instance, cx, request).await
    }

    async fn build(&self, cx: &Cx, slot: &Slot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        let request = ops::BuildCall {
            context: without_scheme(cx),
            slot: Cow::Borrowed(slot),
            bid: Cow::Borrowed(bid),
            steps: Cow::Borrowed(steps),
        };
        call::<operation::Build>(&self.instance, cx, request).await
    }

    async fn fill(&self, cx: &Cx, slot: &Slot, bid: &Bid) -> Result<Built, Fault> {
        let request = ops::FillCall {
            context: without_scheme(cx),
            slot: Cow::Borrowed(slot),
            bid: Cow::Borrowed(bid),
        };
        call::<operation::Fill>(&self.instance, cx, request).await
    }

    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        let request = ops::BroadcastCall {
            context: without_scheme(cx),
            attempt: Cow::Borrowed(attempt),
        };
        call::<operation::Broadcast>(&self.instance, cx, request).await
    }

    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        let request = ops::ObserveCall {
            context: without_scheme(cx),
            watches: Cow::Borrowed(watches),
        };
        let reply = call::<operation::Observe>(&self.instance, cx, request).await?;
        let observed = reply
            .observations
            .iter()
            .map(|observation| &observation.attempt_id);
        if !observed.eq(watches.iter().map(|watch| &watch.attempt_id)) {
            return Err(Fault::internal(
                "the plugin's observations are not those of the watches, in their order",
            ));
        }
        Ok(reply.observations)
    }
}
