//! Calls into plugins: each under a scope that says what it may do, within a time budget, and with panics caught.
//!
//! Assumes nothing of the callee: any of these may hang, panic or answer nonsense, and the caller gets a [`Fault`].

mod breaker;
mod driver;
mod set_aside;
mod spans;
mod troubles;

use breaker::{Admitted, Breakers, Made, Site};
pub use driver::Depth;

use crate::decide::faults::is_outage;
use crate::decide::hashes::subject_of;
use crate::registry::{Instance, Kind, Network};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sdk_plugin::chain::{Evidence, Slot};
use sdk_plugin::host::Job;
use sdk_plugin::scheme::{
    Identity, Judgement, Plan, Planned, RouteRequest, RouteResponse, SchemeCheck, Supported, Verdict,
};
use sdk_plugin::{CallContext, CallTerms, Cx, Fault, FaultKind, NetworkView, PaymentRequest};

use base::calls::aside::Subject;
use base::calls::{CallGuard, CallScope, CallTable, Operation, SigningSlot};
use base::nodes::{NodePools, NodeState};
use base::signers::SignerTroubles;
use base::span::OpenSpan;
use telemetry::metrics::Metrics;

/// How long each kind of call may take.
#[derive(Debug, Clone, Copy)]
pub struct Budgets {
    /// Pure functions: identify, judge, supported.
    pub pure: Duration,
    /// Calls that read from the chain.
    pub reads: Duration,
    /// A send or a signature.
    pub sends: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            pure: Duration::from_secs(2),
            reads: Duration::from_secs(10),
            sends: Duration::from_secs(10),
        }
    }
}

impl Budgets {
    fn of(&self, operation: Operation) -> Duration {
        match operation {
            Operation::Supported | Operation::Identify | Operation::Judge => self.pure,
            Operation::Verify
            | Operation::Plan
            | Operation::Route
            | Operation::Job
            | Operation::SchemeCheck
            | Operation::Check
            | Operation::Lane
            | Operation::Quote
            | Operation::Observe
            | Operation::Start
            | Operation::Health => self.reads,
            Operation::Build | Operation::Fill | Operation::Broadcast => self.sends,
        }
    }
}

/// Calls into plugins.
#[derive(Clone)]
pub struct Ops {
    calls: Arc<CallTable>,
    metrics: Arc<Metrics>,
    budgets: Budgets,
    nodes: Option<Arc<dyn NodePools>>,
    signers: Option<Arc<dyn SignerTroubles>>,
    breakers: Arc<Breakers>,
}

/// A call into a plugin that is in progress.
struct Open<'a> {
    instance: &'a Instance,
    network: &'a Network,
    /// Empty: an operation of the network's driver.
    scheme: &'a str,
    operation: Operation,
    guard: CallGuard,
    budget: Duration,
    /// `None`: the operation is refused by no breaker.
    admitted: Option<Admitted>,
    span: OpenSpan,
}

/// What an HTTP route of a scheme is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteAbout {
    ItsNetwork,
    /// The call sees no network, and can't read from any.
    NoNetwork,
}

#[derive(Debug, Default)]
struct Rights<'a> {
    signs: Option<&'a Slot>,
    attempt: Option<&'a str>,
    /// The only node it may read from.
    node: Option<usize>,
    /// The payment that it is about.
    subject: Option<Subject>,
}

impl Rights<'_> {
    fn through(node: usize) -> Self {
        Self {
            node: Some(node),
            ..Self::default()
        }
    }
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops")
            .field("budgets", &self.budgets)
            .finish_non_exhaustive()
    }
}

impl Ops {
    #[must_use]
    pub fn new(calls: Arc<CallTable>, metrics: Arc<Metrics>, budgets: Budgets) -> Self {
        Self {
            calls,
            metrics,
            budgets,
            nodes: None,
            signers: None,
            breakers: Arc::default(),
        }
    }

    /// Adds the nodes that the plugins' reads go to, so that operators see which of them fails, and how.
    #[must_use]
    pub fn with_nodes(mut self, nodes: Arc<dyn NodePools>) -> Self {
        self.nodes = Some(nodes);
        self
    }

    /// Adds the signers of keys, so that operators see which of them fails, and how.
    #[must_use]
    pub fn with_signers(mut self, signers: Arc<dyn SignerTroubles>) -> Self {
        self.signers = Some(signers);
        self
    }

    /// The state of the network's nodes, as configured; empty if it isn't known.
    pub(crate) fn nodes(&self, network: &Network) -> Vec<NodeState> {
        self.nodes
            .as_ref()
            .map_or_else(Vec::new, |nodes| nodes.nodes(network.id()))
    }

    pub(crate) fn pools(&self) -> Option<&dyn NodePools> {
        self.nodes.as_deref()
    }

    pub async fn supported(&self, kind: &Kind) -> Result<Supported, Fault> {
        let (open, cx) = self.about(kind, Operation::Supported, None)?;
        self.run(open, kind.handler.supported(&cx)).await
    }

    pub async fn check_scheme(&self, kind: &Kind) -> Result<SchemeCheck, Fault> {
        let (open, cx) = self.about(kind, Operation::SchemeCheck, None)?;
        self.run(open, kind.handler.check(&cx)).await
    }

    pub async fn identify(&self, kind: &Kind, request: &PaymentRequest) -> Result<Identity, Fault> {
        let subject = subject_of(kind, request);
        let (open, cx) = self.about(kind, Operation::Identify, subject)?;
        self.run(open, kind.handler.identify(&cx, request)).await
    }

    pub async fn verify(&self, kind: &Kind, request: &PaymentRequest) -> Result<Verdict, Fault> {
        let subject = subject_of(kind, request);
        let (open, cx) = self.about(kind, Operation::Verify, subject)?;
        self.run(open, kind.handler.verify(&cx, request)).await
    }

    pub async fn plan(&self, kind: &Kind, request: &PaymentRequest) -> Result<Planned, Fault> {
        let subject = subject_of(kind, request);
        let (open, cx) = self.about(kind, Operation::Plan, subject)?;
        self.run(open, kind.handler.plan(&cx, request)).await
    }

    pub async fn judge(
        &self,
        kind: &Kind,
        plan: &Plan,
        evidence: &Evidence,
        subject: Option<Subject>,
    ) -> Result<Judgement, Fault> {
        let (open, cx) = self.about(kind, Operation::Judge, subject)?;
        self.run(open, kind.handler.judge(&cx, plan, evidence)).await
    }

    pub(crate) async fn route(
        &self,
        kind: &Kind,
        about: RouteAbout,
        request: &RouteRequest,
    ) -> Result<RouteResponse, Fault> {
        let (open, cx) = match about {
            RouteAbout::ItsNetwork => self.about(kind, Operation::Route, None)?,
            RouteAbout::NoNetwork => {
                let (rights, view) = (Rights::default(), NetworkView::default());
                self.admitted(kind, Operation::Route, rights, view)?
            }
        };
        self.run(open, kind.handler.route(&cx, request)).await
    }

    pub async fn job(&self, kind: &Kind, job: &Job) -> Result<Vec<PaymentRequest>, Fault> {
        let (open, cx) = self.about(kind, Operation::Job, None)?;
        self.run(open, kind.handler.job(&cx, job)).await
    }

    /// A call of a scheme, about one payment or none.
    ///
    /// # Errors
    /// The payment is set aside, or the operation's breaker is open: the plugin is not called.
    fn about<'a>(
        &self,
        kind: &'a Kind,
        operation: Operation,
        subject: Option<Subject>,
    ) -> Result<(Open<'a>, Cx), Fault> {
        if let Some(subject) = &subject {
            self.refuse_set_aside(kind, operation, subject)?;
        }
        let rights = Rights {
            subject,
            ..Rights::default()
        };
        self.admitted(kind, operation, rights, kind.network.view())
    }

    /// `view`: what the callee sees of the network. Without an id it can't read from any.
    ///
    /// # Errors
    /// The operation's breaker is open.
    fn admitted<'a>(
        &self,
        kind: &'a Kind,
        operation: Operation,
        rights: Rights<'_>,
        view: NetworkView,
    ) -> Result<(Open<'a>, Cx), Fault> {
        let admitted = breaker::is_intake(operation).then(|| {
            self.breakers.admit(Site {
                instance: kind.instance.id,
                network: kind.network.id().to_owned(),
                operation: operation.name(),
            })
        });
        let admitted = admitted.transpose()?;
        let (instance, scheme) = (&kind.instance, kind.scheme.as_str());
        let (open, cx) = self.begin(instance, &kind.network, scheme, operation, rights, view);
        Ok((Open { admitted, ..open }, cx))
    }

    fn driver<'a>(&self, network: &'a Network, operation: Operation, rights: Rights<'_>) -> (Open<'a>, Cx) {
        self.begin(&network.instance, network, "", operation, rights, network.view())
    }

    fn begin<'a>(
        &self,
        instance: &'a Instance,
        network: &'a Network,
        scheme: &'a str,
        operation: Operation,
        rights: Rights<'_>,
        view: NetworkView,
    ) -> (Open<'a>, Cx) {
        let span = spans::of_call(operation, &instance.name, scheme, network.id());
        let guard = self.calls.begin(CallScope {
            instance: instance.id,
            operation,
            network: view.id.clone(),
            signs: rights.signs.map(|slot| SigningSlot {
                key: slot.lane.key.clone(),
                sequence: slot.sequence,
                attempt: slot.attempt,
            }),
            attempt: rights.attempt.map(str::to_owned),
            node: rights.node,
            subject: rights.subject,
        });
        let context = CallContext {
            scheme: scheme.to_owned(),
            network: view,
            authorizers: instance.authorizers_of(scheme),
        };
        let budget = self.budgets.of(operation);
        let terms = CallTerms {
            timeout: Some(budget),
            trace: spans::traceparent(&self.calls, &guard, &span),
        };
        let cx = Cx::new(Arc::clone(&instance.host), guard.id(), context).with_terms(terms);
        let open = Open {
            instance,
            network,
            scheme,
            operation,
            guard,
            budget,
            admitted: None,
            span,
        };
        (open, cx)
    }

    async fn run<T>(
        &self,
        open: Open<'_>,
        call: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let Open {
            instance,
            network,
            scheme,
            operation,
            guard,
            budget,
            admitted,
            mut span,
        } = open;
        let caught = tokio::time::timeout(budget, AssertUnwindSafe(call).catch_unwind());
        let caught = span.contain(caught).await;
        drop(guard);
        let answer = match caught {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::new(
                FaultKind::Panic,
                format!("{} panicked", operation.name()),
            )),
            Err(_) => Err(Fault::new(
                FaultKind::Deadline,
                format!("{} took longer than {} ms", operation.name(), budget.as_millis()),
            )),
        };
        if let Some(admitted) = admitted {
            let fault = answer.as_ref().err().map(|fault| fault.kind);
            let made = Made::of(fault, self.is_chain_down(network));
            self.record_change(admitted.end(made), instance, network, operation);
        }
        if let Err(fault) = &answer {
            let kind = format!("{:?}", fault.kind);
            span.fail(&kind);
            let labels = [
                ("plugin", instance.name.as_str()),
                ("scheme", scheme),
                ("network", network.id()),
                ("operation", operation.name()),
                ("fault", kind.as_str()),
            ];
            self.metrics.add("switchyard_plugin_faults_total", &labels, 1);
            let is_check = matches!(operation, Operation::Check | Operation::SchemeCheck);
            if !is_check && is_outage(fault.kind) {
                network.suspect.notify_one();
            }
            if !is_check && fault.kind == FaultKind::Shutdown {
                match scheme {
                    "" => network.suspect.notify_one(),
                    _ => network.schemes_suspect.notify_one(),
                }
            }
            match operation {
                // Called again and again while a node is down: the network's readiness reports it once.
                Operation::Observe | Operation::Check | Operation::SchemeCheck => {
                    tracing::debug!(plugin = instance.name, scheme, network = network.id(), operation = operation.name(), %fault,
                        "plugin call failed");
                }
                _ => {
                    tracing::warn!(plugin = instance.name, scheme, network = network.id(), operation = operation.name(), %fault,
                    "plugin call failed")
                }
            }
        }
        answer
    }
}
