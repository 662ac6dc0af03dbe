//! Which operation is which function of which trait, inside a plugin.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::guest_host::AbiHost;
use super::serve::{CallState, Shared};
use crate::ops::{self, op};
use crate::{CallContext, ChainDriver, Cx, Fault, HostServices, SchemeHandler};

/// From operation and JSON to the traits' functions and back.
pub(super) struct Server {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<CallState>,
    pub(super) call_id: u64,
}

fn read<'a, T: Deserialize<'a>>(op: &str, request: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(request).map_err(|error| Fault::invalid(format!("request of {op}: {error}")))
}

fn write<T: Serialize>(answer: &T) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(answer)
        .map_err(|error| Fault::internal(format!("the answer does not serialise: {error}")))
}

impl Server {
    fn cx(&self, context: CallContext) -> Cx {
        let host: Arc<dyn HostServices> = Arc::new(AbiHost::new(self.shared.clone(), self.state.clone()));
        Cx::new(host, self.call_id, context)
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
        match op {
            op::SUPPORTED => {
                let (handler, cx) =
                    self.for_scheme(read::<ops::ContextCall<'_>>(op, request)?.context.into_owned())?;
                write(&handler.supported(&cx).await?)
            }
            op::SCHEME_CHECK => {
                let (handler, cx) =
                    self.for_scheme(read::<ops::ContextCall<'_>>(op, request)?.context.into_owned())?;
                write(&handler.check(&cx).await?)
            }
            op::IDENTIFY | op::VERIFY | op::PLAN => {
                let call: ops::PaymentCall<'_> = read(op, request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                match op {
                    op::IDENTIFY => write(&handler.identify(&cx, &call.request).await?),
                    op::VERIFY => write(&handler.verify(&cx, &call.request).await?),
                    _ => write(&handler.plan(&cx, &call.request).await?),
                }
            }
            op::JUDGE => {
                let call: ops::JudgeCall<'_> = read(op, request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write(&handler.judge(&cx, &call.plan, &call.evidence).await?)
            }
            op::ROUTE => {
                let call: ops::RouteCall<'_> = read(op, request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write(&handler.route(&cx, &call.request).await?)
            }
            op::JOB => {
                let call: ops::JobCall<'_> = read(op, request)?;
                let (handler, cx) = self.for_scheme(call.context.into_owned())?;
                write(&ops::JobReply {
                    requests: handler.job(&cx, &call.job).await?,
                })
            }
            op::START => {
                let cx = self.cx(read::<ops::ContextCall<'_>>(op, request)?.context.into_owned());
                if let Some(lifecycle) = &self.shared.roles.lifecycle {
                    lifecycle.start(&cx).await?;
                }
                write(&ops::Empty {})
            }
            op::HEALTH => {
                let cx = self.cx(read::<ops::ContextCall<'_>>(op, request)?.context.into_owned());
                match &self.shared.roles.lifecycle {
                    Some(lifecycle) => write(&lifecycle.health(&cx).await?),
                    None => write(&ops::Health {
                        healthy: true,
                        message: None,
                    }),
                }
            }
            _ => self.answer_driver(op, request).await,
        }
    }

    async fn answer_driver(&self, op: &str, request: &[u8]) -> Result<Vec<u8>, Fault> {
        match op {
            op::CHECK => {
                let call: ops::CheckCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.check(&cx, &call.network).await?)
            }
            op::LANE => {
                let call: ops::LaneCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.lane(&cx, &call.lane).await?)
            }
            op::QUOTE => {
                let call: ops::QuoteCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.quote(&cx, &call.lane, call.previous.as_deref()).await?)
            }
            op::BUILD => {
                let call: ops::BuildCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.build(&cx, &call.slot, &call.bid, &call.steps).await?)
            }
            op::FILL => {
                let call: ops::FillCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.fill(&cx, &call.slot, &call.bid).await?)
            }
            op::BROADCAST => {
                let call: ops::BroadcastCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&driver.broadcast(&cx, &call.attempt).await?)
            }
            op::OBSERVE => {
                let call: ops::ObserveCall<'_> = read(op, request)?;
                let (driver, cx) = self.for_driver(call.context.into_owned())?;
                write(&ops::ObserveReply {
                    observations: driver.observe(&cx, &call.watches).await?,
                })
            }
            _ => Err(Fault::unsupported(format!("unknown operation {op:?}"))),
        }
    }

    fn for_scheme(&self, context: CallContext) -> Result<(Arc<dyn SchemeHandler>, Cx), Fault> {
        Ok((self.scheme(&context)?, self.cx(context)))
    }

    fn for_driver(&self, context: CallContext) -> Result<(Arc<dyn ChainDriver>, Cx), Fault> {
        Ok((self.driver(&context)?, self.cx(context)))
    }
}
