//! The calls that an instance serves, their scopes at the host, and whether one of them has sent something.
//!
//! A call is *open* until its caller has an answer or stops waiting, and *known* until the plugin completes it. Only an
//! open call gives its rights to host services. A known call keeps its permit, so that calls that never complete fill only
//! their own bulkhead.

use std::collections::HashMap;

use base::calls::Operation;
use parking_lot::Mutex;
use sdk_plugin::{Fault, FaultKind};

/// The calls that share permits: those of one network and one kind. A silent node, or a flood of verifications, uses up its
/// own permits and no others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Bulkhead {
    network: String,
    class: Class,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    /// Reads for HTTP callers; nothing is recorded.
    Verify,
    /// The start of a settlement.
    Settle,
    /// Calls of the engine itself, which never wait for HTTP callers.
    Engine,
    /// Host calls that belong to no open call.
    Unattributed,
}

impl Bulkhead {
    pub(super) fn of(network: &str, operation: Operation) -> Self {
        use Operation as O;
        Self {
            network: network.to_owned(),
            class: match operation {
                O::Verify | O::Route => Class::Verify,
                O::Identify | O::Plan => Class::Settle,
                O::Supported
                | O::Judge
                | O::Job
                | O::SchemeCheck
                | O::Check
                | O::Lane
                | O::Quote
                | O::Build
                | O::Fill
                | O::Broadcast
                | O::Observe
                | O::Start
                | O::Health => Class::Engine,
            },
        }
    }

    /// For host calls that name no open call.
    fn unattributed() -> Self {
        Self {
            network: String::new(),
            class: Class::Unattributed,
        }
    }
}

/// How many permits of each bulkhead are in use.
#[derive(Debug, Default)]
pub(super) struct Permits(HashMap<Bulkhead, usize>);

impl Permits {
    /// Returns `false` when `cap` permits are in use.
    pub(super) fn try_acquire(&mut self, bulkhead: &Bulkhead, cap: usize) -> bool {
        let used = self.0.entry(bulkhead.clone()).or_default();
        if *used >= cap {
            return false;
        }
        *used = used.saturating_add(1);
        true
    }

    pub(super) fn release(&mut self, bulkhead: &Bulkhead) {
        if let Some(used) = self.0.get_mut(bulkhead) {
            *used = used.saturating_sub(1);
            if *used == 0 {
                self.0.remove(bulkhead);
            }
        }
    }
}

/// Whether a call has handed a send to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Sent,
}

/// The calls of one instance.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    known: HashMap<u64, Known>,
    permits: Permits,
}

#[derive(Debug)]
struct Known {
    bulkhead: Bulkhead,
    /// The call id that host services receive.
    scope_id: u64,
    open: bool,
    sends: u32,
}

impl Known {
    fn effect(&self) -> Effect {
        if self.sends > 0 {
            Effect::Sent
        } else {
            Effect::None
        }
    }
}

impl OpenCalls {
    /// Registers a call. Host services receive `scope_id` for it; its bulkhead has `cap` permits.
    pub(super) fn begin(
        &self,
        call_id: u64,
        scope_id: u64,
        bulkhead: Bulkhead,
        cap: usize,
    ) -> Result<(), Fault> {
        let mut calls = self.calls.lock();
        if call_id == 0 || calls.known.contains_key(&call_id) {
            return Err(Fault::internal(format!("call id {call_id} is in use already")));
        }
        if !calls.permits.try_acquire(&bulkhead, cap) {
            return Err(Fault::new(
                FaultKind::Overloaded,
                format!("the plugin is serving {cap} such calls of this network already"),
            ));
        }
        calls.known.insert(
            call_id,
            Known {
                bulkhead,
                scope_id,
                open: true,
                sends: 0,
            },
        );
        Ok(())
    }

    /// The call id that host services receive for a claimed parent; 0 where that is no open call of this instance.
    pub(super) fn scope_of(&self, claimed: u64) -> u64 {
        self.calls
            .lock()
            .known
            .get(&claimed)
            .filter(|known| known.open)
            .map_or(0, |known| known.scope_id)
    }

    /// The bulkhead of a host call that claims this parent.
    pub(super) fn bulkhead(&self, claimed: u64) -> Bulkhead {
        let calls = self.calls.lock();
        let parent = calls.known.get(&claimed).filter(|known| known.open);
        parent.map_or_else(Bulkhead::unattributed, |known| known.bulkhead.clone())
    }

    /// Records a send inside an open call; `false` when there is no such call.
    pub(super) fn begin_send(&self, claimed: u64) -> bool {
        match self.calls.lock().known.get_mut(&claimed) {
            Some(known) if known.open => {
                known.sends = known.sends.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Undoes [`Self::begin_send`] for a send that the host refused untouched.
    pub(super) fn undo_send(&self, claimed: u64) {
        if let Some(known) = self.calls.lock().known.get_mut(&claimed) {
            known.sends = known.sends.saturating_sub(1);
        }
    }

    /// Whether the call may still be handed to the plugin.
    pub(super) fn is_open(&self, call_id: u64) -> bool {
        let calls = self.calls.lock();
        calls.known.get(&call_id).is_some_and(|known| known.open)
    }

    /// The caller no longer waits: from here on the call gives no rights.
    pub(super) fn close(&self, call_id: u64) -> Effect {
        self.calls
            .lock()
            .known
            .get_mut(&call_id)
            .map_or(Effect::None, |known| {
                known.open = false;
                known.effect()
            })
    }

    /// The plugin has completed the call.
    pub(super) fn end(&self, call_id: u64) -> Effect {
        let mut calls = self.calls.lock();
        let Some(known) = calls.known.remove(&call_id) else {
            return Effect::None;
        };
        calls.permits.release(&known.bulkhead);
        known.effect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify() -> Bulkhead {
        Bulkhead::of("eip155:1", Operation::Verify)
    }

    #[test]
    fn calls_of_another_network_or_kind_have_permits_of_their_own() {
        let calls = OpenCalls::default();
        let (here, there) = ("eip155:1", "eip155:2");
        assert_eq!(
            calls.begin(1, 1, Bulkhead::of(here, Operation::Verify), 1),
            Ok(())
        );
        let full = calls.begin(2, 2, Bulkhead::of(here, Operation::Route), 1);
        assert_eq!(full.expect_err("full").kind, FaultKind::Overloaded);
        let others = [
            (there, Operation::Verify),
            (here, Operation::Plan),
            (here, Operation::Observe),
            (there, Operation::Supported),
        ];
        for (id, (network, operation)) in (3..).zip(others) {
            assert_eq!(calls.begin(id, id, Bulkhead::of(network, operation), 1), Ok(()));
        }
        assert_eq!(calls.bulkhead(1), Bulkhead::of(here, Operation::Verify));
        calls.close(1);
        assert_eq!(
            calls.bulkhead(1),
            Bulkhead::unattributed(),
            "it gives no rights any more"
        );
        calls.end(1);
        assert_eq!(calls.begin(2, 2, Bulkhead::of(here, Operation::Route), 1), Ok(()));
    }

    #[test]
    fn a_closed_call_gives_no_rights_and_keeps_its_permit() {
        let calls = OpenCalls::default();
        assert_eq!(calls.begin(7, 70, verify(), 1), Ok(()));
        assert_eq!((calls.scope_of(7), calls.scope_of(8)), (70, 0));
        assert!(calls.begin_send(7) && !calls.begin_send(8));
        assert_eq!(calls.close(7), Effect::Sent);
        assert_eq!(
            (calls.scope_of(7), calls.begin_send(7), calls.is_open(7)),
            (0, false, false)
        );
        let full = calls.begin(8, 80, verify(), 1).expect_err("full");
        assert_eq!(full.kind, FaultKind::Overloaded);
        assert_eq!(calls.end(7), Effect::Sent);
        assert_eq!(calls.begin(8, 80, verify(), 1), Ok(()));
        calls.begin_send(8);
        calls.undo_send(8);
        assert_eq!(calls.end(8), Effect::None, "the send was refused");
    }

    #[test]
    fn an_id_is_used_once() {
        let calls = OpenCalls::default();
        assert_eq!(calls.begin(7, 7, verify(), 9), Ok(()));
        assert_eq!(
            calls.begin(7, 7, verify(), 9).expect_err("twice").kind,
            FaultKind::Internal
        );
        assert_eq!(
            calls.begin(0, 0, verify(), 9).expect_err("zero").kind,
            FaultKind::Internal
        );
    }
}
