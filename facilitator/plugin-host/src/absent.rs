//! The handlers of a plugin that does not run: each call is a fault that says why. Its kinds are not ready, its recorded payments
//! wait, and everything else is served.

use std::sync::Arc;

use sdk_plugin::chain::{
    Attempt, Bid, Built, Evidence, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::host::Job;
use sdk_plugin::scheme::{
    Identity, Judgement, Plan, Planned, RouteRequest, RouteResponse, SchemeCheck, Step, Supported, Verdict,
};
use sdk_plugin::{ChainDriver, Cx, Fault, Manifest, PaymentRequest, SchemeHandler, async_trait};

use super::slot::Handlers;

/// A plugin that does not run.
#[derive(Debug)]
struct Absent {
    why: String,
}

impl Absent {
    fn fault(&self) -> Fault {
        Fault::unavailable(self.why.clone())
    }
}

/// The handlers that a manifest promises, all of which answer `why`: a sentence for the operator.
#[must_use]
pub fn absent(manifest: &Manifest, why: &str) -> Handlers {
    let absent = Arc::new(Absent { why: why.to_owned() });
    let schemes = manifest.schemes.iter().map(|role| {
        let handler: Arc<dyn SchemeHandler> = Arc::clone(&absent) as _;
        (role.scheme.clone(), handler)
    });
    let drivers = manifest.drivers.iter().map(|role| {
        let driver: Arc<dyn ChainDriver> = Arc::clone(&absent) as _;
        (role.family.clone(), driver)
    });
    Handlers {
        schemes: schemes.collect(),
        drivers: drivers.collect(),
    }
}

#[async_trait]
impl SchemeHandler for Absent {
    async fn supported(&self, _: &Cx) -> Result<Supported, Fault> {
        Err(self.fault())
    }

    async fn identify(&self, _: &Cx, _: &PaymentRequest) -> Result<Identity, Fault> {
        Err(self.fault())
    }

    async fn verify(&self, _: &Cx, _: &PaymentRequest) -> Result<Verdict, Fault> {
        Err(self.fault())
    }

    async fn plan(&self, _: &Cx, _: &PaymentRequest) -> Result<Planned, Fault> {
        Err(self.fault())
    }

    async fn judge(&self, _: &Cx, _: &Plan, _: &Evidence) -> Result<Judgement, Fault> {
        Err(self.fault())
    }

    async fn route(&self, _: &Cx, _: &RouteRequest) -> Result<RouteResponse, Fault> {
        Err(self.fault())
    }

    async fn check(&self, _: &Cx) -> Result<SchemeCheck, Fault> {
        Ok(SchemeCheck::not_ready(self.why.clone()))
    }

    async fn job(&self, _: &Cx, _: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        Err(self.fault())
    }
}

#[async_trait]
impl ChainDriver for Absent {
    async fn check(&self, _: &Cx, _: &Network) -> Result<Readiness, Fault> {
        Err(self.fault())
    }

    async fn lane(&self, _: &Cx, _: &Lane) -> Result<LaneState, Fault> {
        Err(self.fault())
    }

    async fn quote(&self, _: &Cx, _: &Lane, _: Option<&Bid>) -> Result<Bid, Fault> {
        Err(self.fault())
    }

    async fn build(&self, _: &Cx, _: &Slot, _: &Bid, _: &[Step]) -> Result<Built, Fault> {
        Err(self.fault())
    }

    async fn fill(&self, _: &Cx, _: &Slot, _: &Bid) -> Result<Built, Fault> {
        Err(self.fault())
    }

    async fn broadcast(&self, _: &Cx, _: &Attempt) -> Result<Sent, Fault> {
        Err(self.fault())
    }

    async fn observe(&self, _: &Cx, _: &[Watch]) -> Result<Vec<Observation>, Fault> {
        Err(self.fault())
    }
}
