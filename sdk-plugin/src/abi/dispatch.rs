//! Which operation is which function of which trait, inside a plugin.

use std::sync::Arc;

use super::guest_host::AbiHost;
use super::serve::{CallState, Shared};
use crate::operation::{self as of, Operation, OperationKind};
use crate::ops;
use crate::{CallContext, CallTerms, ChainDriver, Cx, Fault, HostServices, SchemeHandler};

/// From operation and JSON to the traits' functions and back.
pub(super) struct Server {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<CallState>,
    pub(super) call_id: u64,
    pub(super) terms: CallTerms,
}

fn read<O: Operation>(request: &[u8]) -> Result<O::Request<'_>, Fault> {
    serde_json::from_slice(request)
        .map_err(|error| Fault::invalid(format!("request of {}: {error}", O::NAME)))
}

fn write<O: Operation>(answer: &O::Response) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(answer)
        .map_err(|error| Fault::internal(format!("the answer does not serialise: {error}")))
}

impl Server {
    fn cx(&self, context: CallContext) -> Cx {
        let host: Arc<dyn HostServices> = Arc::new(AbiHost::new(self.shared.clone(), self.state.clone()));
        Cx::new(host, self.call_id, context).with_terms(self.terms.clone())
    }

    fn scheme(&self, context: &CallContext) -> Result<Arc<dyn SchemeHandler>, Fault> {
        let found = self
            .shared
            .roles
            .schemes
            .iter()
            .find(|(name, _)| *name == context.scheme);
        let found = found.map(|(_, handler)| handler.clone());
        found.ok_or_else(|| Fault::unsupported(format!("this plugin has no scheme {:?}", context.scheme)))
    }

    fn driver(&self, context: &CallContext) -> Result<Arc<dyn ChainDriver>, Fault> {
        let family = context
            .network
            .id
            .split_once(':')
            .map_or("", |(family, _)| family);
        let found = self.shared.roles.drivers.iter().find(|(name, _)| name == family);
        let found = found.map(|(_, driver)| driver.clone());
        found.ok_or_else(|| {
            Fault::unsupported(format!("this plugin has no driver for {:?}", context.network.id))
        })
    }

    /// Serves one call.
    pub(super) async fn answer(&self, op: &str, request: &[u8]) -> Result<Vec<u8>, Fault> {
        match OperationKind::named(op) {
            Some(operation) => self.serve(operation, request).await,
            None => Err(Fault::unsupported(format!("unknown operation {op:?}"))),
        }
    }

    async fn serve(&self, operation: OperationKind, request: &[u8]) -> Result<Vec<u8>, Fault> {
        match operation {
            OperationKind::Supported => {
                let call = read::<of::Supported>(request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write::<of::Supported>(&handler.supported(&cx).await?)
            }
            OperationKind::SchemeCheck => {
                let call = read::<of::SchemeCheck>(request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write::<of::SchemeCheck>(&handler.check(&cx).await?)
            }
            OperationKind::Identify => {
                let call = read::<of::Identify>(request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write::<of::Identify>(&handler.identify(&cx, &call.request).await?)
            }
            OperationKind::Verify => {
                let call = read::<of::Verify>(request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write::<of::Verify>(&handler.verify(&cx, &call.request).await?)
            }
            OperationKind::Plan => {
                let call = read::<of::Plan>(request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write::<of::Plan>(&handler.plan(&cx, &call.request).await?)
            }
            OperationKind::Judge => {
                let call = read::<of::Judge>(request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write::<of::Judge>(&handler.judge(&cx, &call.plan, &call.evidence).await?)
            }
            OperationKind::Route => {
                let call = read::<of::Route>(request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write::<of::Route>(&handler.route(&cx, &call.request).await?)
            }
            OperationKind::Job => {
                let call = read::<of::Job>(request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write::<of::Job>(&ops::JobReply {
                    requests: handler.job(&cx, &call.job).await?,
                })
            }
            OperationKind::Check => {
                let call = read::<of::Check>(request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write::<of::Check>(&driver.check(&cx, &call.network).await?)
            }
            OperationKind::Lane => {
                let call = read::<of::Lane>(request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write::<of::Lane>(&driver.lane(&cx, &call.lane).await?)
            }
            OperationKind::Quote => {
                let call = read::<of::Quote>(request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write::<of::Quote>(&driver.quote(&cx, &call.lane, call.previous.as_deref()).await?)
            }
            OperationKind::Build => {
                let call = read::<of::Build>(request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write::<of::Build>(&driver.build(&cx, &call.slot, &call.bid, &call.steps).await?)
            }
            OperationKind::Fill => {
                let call = read::<of::Fill>(request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write::<of::Fill>(&driver.fill(&cx, &call.slot, &call.bid).await?)
            }
            OperationKind::Broadcast => {
                let call = read::<of::Broadcast>(request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write::<of::Broadcast>(&driver.broadcast(&cx, &call.attempt).await?)
            }
            OperationKind::Observe => {
                let call = read::<of::Observe>(request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write::<of::Observe>(&ops::ObserveReply {
                    observations: driver.observe(&cx, &call.watches).await?,
                })
            }
            OperationKind::Start => self.start(request).await,
            OperationKind::Health => self.health(request).await,
        }
    }

    async fn start(&self, request: &[u8]) -> Result<Vec<u8>, Fault> {
        let cx = self.cx(read::<of::Start>(request)?.context.into_owned());
        if let Some(lifecycle) = &self.shared.roles.lifecycle {
            lifecycle.start(&cx).await?;
        }
        write::<of::Start>(&ops::Empty {})
    }

    async fn health(&self, request: &[u8]) -> Result<Vec<u8>, Fault> {
        let cx = self.cx(read::<of::Health>(request)?.context.into_owned());
        let health = match &self.shared.roles.lifecycle {
            Some(lifecycle) => lifecycle.health(&cx).await?,
            None => ops::Health {
                healthy: true,
                message: None,
            },
        };
        write::<of::Health>(&health)
    }

    fn for_scheme(&self, context: CallContext) -> Result<(Arc<dyn SchemeHandler>, Cx), Fault> {
        Ok((self.scheme(&context)?, self.cx(context)))
    }

    fn for_driver(&self, context: CallContext) -> Result<(Arc<dyn ChainDriver>, Cx), Fault> {
        Ok((self.driver(&context)?, self.cx(context)))
    }
}
