//! Handlers that can be replaced while they are used: a reload puts those of a new instance into the slot. A call in flight
//! ends in the instance that it began in, which ends with its last call.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use sdk_plugin::chain::{
    Attempt, Bid, Built, Evidence, Lane, LaneState, Network, Observation, Readiness, Sent, Slot as LaneSlot,
    Watch,
};
use sdk_plugin::host::Job;
use sdk_plugin::scheme::{
    Identity, Judgement, Plan, Planned, RouteRequest, RouteResponse, SchemeCheck, Step, Supported, Verdict,
};
use sdk_plugin::{ChainDriver, Cx, Fault, PaymentRequest, SchemeHandler, async_trait};

/// The handlers of one instance.
#[derive(Clone, Default)]
pub struct Handlers {
    /// By scheme name.
    pub schemes: BTreeMap<String, Arc<dyn SchemeHandler>>,
    /// By CAIP-2 namespace.
    pub drivers: BTreeMap<String, Arc<dyn ChainDriver>>,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers")
            .field("schemes", &self.schemes.keys())
            .field("drivers", &self.drivers.keys())
            .finish()
    }
}

/// Holds the handlers of the instance that serves now.
#[derive(Debug)]
pub struct Slot {
    current: RwLock<Arc<Handlers>>,
}

impl Slot {
    #[must_use]
    pub fn new(handlers: Handlers) -> Arc<Self> {
        Arc::new(Self {
            current: RwLock::new(Arc::new(handlers)),
        })
    }

    /// Puts other handlers in, and returns those that were there. The new ones must have every role of the old ones: calls for a
    /// role that is missing are faults.
    pub fn replace(&self, handlers: Handlers) -> Arc<Handlers> {
        std::mem::replace(&mut *self.current.write(), Arc::new(handlers))
    }

    /// Handlers that pass each call to those in the slot.
    #[must_use]
    pub fn handlers(self: &Arc<Self>) -> Handlers {
        let current = Arc::clone(&self.current.read());
        let scheme = |name: &String| {
            let forward: Arc<dyn SchemeHandler> = Arc::new(Forward {
                slot: Arc::clone(self),
                role: name.clone(),
            });
            (name.clone(), forward)
        };
        let driver = |family: &String| {
            let forward: Arc<dyn ChainDriver> = Arc::new(Forward {
                slot: Arc::clone(self),
                role: family.clone(),
            });
            (family.clone(), forward)
        };
        Handlers {
            schemes: current.schemes.keys().map(scheme).collect(),
            drivers: current.drivers.keys().map(driver).collect(),
        }
    }
}

/// A role of whatever is in a slot.
#[derive(Debug)]
struct Forward {
    slot: Arc<Slot>,
    role: String,
}

impl Forward {
    fn missing(&self) -> Fault {
        Fault::unavailable(format!(
            "the plugin that was reloaded no longer serves {}",
            self.role
        ))
    }

    fn scheme(&self) -> Result<Arc<dyn SchemeHandler>, Fault> {
        let handlers = self.slot.current.read();
        handlers
            .schemes
            .get(&self.role)
            .cloned()
            .ok_or_else(|| self.missing())
    }

    fn driver(&self) -> Result<Arc<dyn ChainDriver>, Fault> {
        let handlers = self.slot.current.read();
        handlers
            .drivers
            .get(&self.role)
            .cloned()
            .ok_or_else(|| self.missing())
    }
}

#[async_trait]
impl SchemeHandler for Forward {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        self.scheme()?.supported(cx).await
    }

    async fn identify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        self.scheme()?.identify(cx, request).await
    }

    async fn verify(&self, cx: &Cx, request: &PaymentRequest) -> Result<Verdict, Fault> {
        self.scheme()?.verify(cx, request).await
    }

    async fn plan(&self, cx: &Cx, request: &PaymentRequest) -> Result<Planned, Fault> {
        self.scheme()?.plan(cx, request).await
    }

    async fn judge(&self, cx: &Cx, plan: &Plan, evidence: &Evidence) -> Result<Judgement, Fault> {
        self.scheme()?.judge(cx, plan, evidence).await
    }

    async fn route(&self, cx: &Cx, request: &RouteRequest) -> Result<RouteResponse, Fault> {
        self.scheme()?.route(cx, request).await
    }

    async fn check(&self, cx: &Cx) -> Result<SchemeCheck, Fault> {
        self.scheme()?.check(cx).await
    }

    async fn job(&self, cx: &Cx, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        self.scheme()?.job(cx, job).await
    }
}

#[async_trait]
impl ChainDriver for Forward {
    async fn check(&self, cx: &Cx, network: &Network) -> Result<Readiness, Fault> {
        self.driver()?.check(cx, network).await
    }

    async fn lane(&self, cx: &Cx, lane: &Lane) -> Result<LaneState, Fault> {
        self.driver()?.lane(cx, lane).await
    }

    async fn quote(&self, cx: &Cx, lane: &Lane, previous: Option<&Bid>) -> Result<Bid, Fault> {
        self.driver()?.quote(cx, lane, previous).await
    }

    async fn build(&self, cx: &Cx, slot: &LaneSlot, bid: &Bid, steps: &[Step]) -> Result<Built, Fault> {
        self.driver()?.build(cx, slot, bid, steps).await
    }

    async fn fill(&self, cx: &Cx, slot: &LaneSlot, bid: &Bid) -> Result<Built, Fault> {
        self.driver()?.fill(cx, slot, bid).await
    }

    async fn broadcast(&self, cx: &Cx, attempt: &Attempt) -> Result<Sent, Fault> {
        self.driver()?.broadcast(cx, attempt).await
    }

    async fn observe(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        self.driver()?.observe(cx, watches).await
    }
}
