//! The result of a host call, delivered exactly once to who made the call.

use sdk_plugin::abi::buf::give;
use sdk_plugin::abi::raw::{self, CompleteFn};
use sdk_plugin::ops::FaultBody;
use sdk_plugin::{Fault, FaultKind};

use super::{Bridge, Side};
use crate::calls::Bulkhead;
use crate::crumbs::{Doing, inside};
use crate::link::HostCallKey;
use crate::table::PluginPointer;

/// Who receives the result of a host call.
pub(crate) enum ReplyTo {
    Plugin {
        ctx: PluginPointer,
        complete: CompleteFn,
    },
    Runner,
}

/// Whether a host call may have an effect that can't be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostCallKind {
    Send,
    Other,
}

/// Completes a host call exactly once (R4). Dropped without a result, it reports that the service broke off.
pub(super) struct Completion {
    pub(super) bridge: &'static Bridge,
    pub(super) key: HostCallKey,
    pub(super) bulkhead: Bulkhead,
    /// Taken by the one completion.
    pub(super) reply: Option<ReplyTo>,
    pub(super) kind: HostCallKind,
}

impl Completion {
    pub(super) fn finish(mut self, result: Result<Vec<u8>, Fault>) {
        self.deliver(result);
    }

    fn deliver(&mut self, result: Result<Vec<u8>, Fault>) {
        let Some(reply) = self.reply.take() else { return };
        let (bridge, key) = (self.bridge, self.key);
        let bulkhead = self.bulkhead.clone();
        let (status, body) = match result {
            Ok(body) => (raw::OK, body),
            Err(fault) => (fault.kind.status(), FaultBody::encode(&fault)),
        };
        match (&bridge.side, reply) {
            // On the plugin's own threads, because its code may block. The pool stays open while a host call is.
            (Side::Here(pool), ReplyTo::Plugin { ctx, complete }) => {
                pool.push_completion(move || {
                    inside(bridge.instance_id, Doing::Task, || {
                        complete(ctx.get(), status, give(body))
                    });
                    bridge.completed(key, &bulkhead);
                });
            }
            (Side::Runner(link), ReplyTo::Runner) => {
                link.host_done(key, status, &body);
                bridge.completed(key, &bulkhead);
            }
            // An instance has one side for its whole life.
            (Side::Here(_), ReplyTo::Runner) | (Side::Runner(_), ReplyTo::Plugin { .. }) => {
                bridge.completed(key, &bulkhead);
            }
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let kind = match self.kind {
            HostCallKind::Send => FaultKind::Indeterminate,
            HostCallKind::Other => FaultKind::Shutdown,
        };
        self.deliver(Err(Fault::new(kind, "the host service broke off")));
    }
}
