//! Requests of a plugin to its host: which service each is for, and how it is served.
//!
//! Assumes nothing about the bytes: a request that does not parse, or names an unknown service, is refused here.

use sdk_plugin::host::RpcRequest;
use sdk_plugin::operation::{JobService, Operation, RpcService, SignService, SleepService, StoreService};
use sdk_plugin::ops::Empty;
use sdk_plugin::{Fault, FaultKind, HostServices};
use serde::de::DeserializeOwned;

type Request<O> = <O as Operation>::Request<'static>;

/// A parsed request for a host service.
pub(super) enum HostRequest {
    Rpc(Request<RpcService>),
    Sign(Request<SignService>),
    Store(Request<StoreService>),
    Job(Request<JobService>),
    Sleep(Request<SleepService>),
}

impl HostRequest {
    /// The request of this service.
    ///
    /// # Errors
    /// `Unsupported` for an unknown service, `Invalid` for a request that does not parse.
    pub(super) fn parse(service: &str, request: &[u8]) -> Result<Self, Fault> {
        match service {
            RpcService::NAME => parse::<RpcService>(request).map(Self::Rpc),
            SignService::NAME => parse::<SignService>(request).map(Self::Sign),
            StoreService::NAME => parse::<StoreService>(request).map(Self::Store),
            JobService::NAME => parse::<JobService>(request).map(Self::Job),
            SleepService::NAME => parse::<SleepService>(request).map(Self::Sleep),
            _ => Err(unknown_service(service)),
        }
    }

    /// Whether it sends an attempt.
    pub(super) fn is_send(&self) -> bool {
        matches!(self, Self::Rpc(RpcRequest::Send { .. }))
    }

    /// Serves the request on behalf of the call `scope`, and returns the response as JSON.
    pub(super) async fn serve(self, host: &dyn HostServices, scope: u64) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Rpc(request) => encode::<RpcService>(&host.rpc(scope, request).await?),
            Self::Sign(request) => encode::<SignService>(&host.sign(scope, request).await?),
            Self::Store(request) => encode::<StoreService>(&host.store(scope, request).await?),
            Self::Job(request) => {
                host.job(scope, request).await?;
                encode::<JobService>(&Empty {})
            }
            Self::Sleep(request) => {
                host.sleep(scope, request.millis).await?;
                encode::<SleepService>(&Empty {})
            }
        }
    }
}

pub(super) fn unknown_service(service: &str) -> Fault {
    Fault::unsupported(format!("unknown host service {service:?}"))
}

/// Whether a host service that fails like this certainly did nothing.
pub(super) fn is_refused_untouched(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Denied
        | FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Overloaded
        | FaultKind::Shutdown => true,
        FaultKind::Cancelled
        | FaultKind::Deadline
        | FaultKind::Panic
        | FaultKind::Internal
        | FaultKind::Indeterminate
        | FaultKind::Unavailable => false,
    }
}

fn parse<O: Operation>(request: &[u8]) -> Result<Request<O>, Fault>
where
    Request<O>: DeserializeOwned,
{
    serde_json::from_slice(request)
        .map_err(|error| Fault::invalid(format!("request of {}: {error}", O::NAME)))
}

fn encode<O: Operation>(response: &O::Response) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(response)
        .map_err(|error| Fault::internal(format!("the answer does not serialise: {error}")))
}
