//! Which calls an instance is serving, on whose behalf, and whether one of them has sent something.
//!
//! A call is *open* until its caller has an answer or stops waiting, and *known* until the plugin completes it. Only an open
//! call lends its rights to host services; a known one keeps its place under the cap, so that calls that never come
//! back fill an instance's own bulkhead.

use std::collections::HashMap;

use base::calls::Operation;
use parking_lot::Mutex;
use sdk_plugin::{Fault, FaultKind};

/// Which calls share places: those of one network and one kind. A silent node, or a flood of verifies, fills its own places
/// and no others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Bulkhead {
    network: String,
    class: Class,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    /// Reads for callers: nothing is recorded.
    Verify,
    /// The beginning of a settlement.
    Settle,
    /// What the engine asks for by itself: it never waits behind callers.
    Engine,
    /// On behalf of no call.
    Own,
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

    /// Of host calls that name no open call.
    fn own() -> Self {
        Self {
            network: String::new(),
            class: Class::Own,
        }
    }
}

/// How many places of each bulkhead are taken.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Bulkhead, usize>);

impl Places {
    /// `false`: `cap` are taken.
    pub(super) fn take(&mut self, bulkhead: &Bulkhead, cap: usize) -> bool {
        let taken = self.0.entry(bulkhead.clone()).or_default();
        if *taken >= cap {
            return false;
        }
        *taken = taken.saturating_add(1);
        true
    }

    pub(super) fn give_back(&mut self, bulkhead: &Bulkhead) {
        if let Some(taken) = self.0.get_mut(bulkhead) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                self.0.remove(bulkhead);
            }
        }
    }
}

/// The calls of one instance.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    known: HashMap<u64, Known>,
    places: Places,
}

#[derive(Debug)]
struct Known {
    bulkhead: Bulkhead,
    /// What host services are told.
    on_behalf_of: u64,
    open: bool,
    sends: u32,
}

impl OpenCalls {
    /// Enters a call; `on_behalf_of` is what host services are told for it, `cap` how many of its bulkhead there may be.
    pub(super) fn begin(
        &self,
        call_id: u64,
        on_behalf_of: u64,
        bulkhead: Bulkhead,
        cap: usize,
    ) -> Result<(), Fault> {
        let mut calls = self.calls.lock();
        if call_id == 0 || calls.known.contains_key(&call_id) {
            return Err(Fault::internal(format!("call id {call_id} is not a fresh one")));
        }
        if !calls.places.take(&bulkhead, cap) {
            return Err(Fault::new(
                FaultKind::Overloaded,
                format!("the plugin is serving {cap} such calls of this network already"),
            ));
        }
        calls.known.insert(
            call_id,
            Known {
                bulkhead,
                on_behalf_of,
                open: true,
                sends: 0,
            },
        );
        Ok(())
    }

    /// The call id host services are told for a claimed parent; 0 where that is no open call of this instance.
    pub(super) fn parent(&self, claimed: u64) -> u64 {
        self.calls
            .lock()
            .known
            .get(&claimed)
            .filter(|known| known.open)
            .map_or(0, |known| known.on_behalf_of)
    }

    /// Whose places a host call takes that claims this parent.
    pub(super) fn bulkhead(&self, claimed: u64) -> Bulkhead {
        let calls = self.calls.lock();
        let parent = calls.known.get(&claimed).filter(|known| known.open);
        parent.map_or_else(Bulkhead::own, |known| known.bulkhead.clone())
    }

    /// Notes a send within an open call; `false` when there is no such call.
    pub(super) fn begin_send(&self, claimed: u64) -> bool {
        match self.calls.lock().known.get_mut(&claimed) {
            Some(known) if known.open => {
                known.sends = known.sends.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Takes a send back that the host refused before it did anything.
    pub(super) fn take_send_back(&self, claimed: u64) {
        if let Some(known) = self.calls.lock().known.get_mut(&claimed) {
            known.sends = known.sends.saturating_sub(1);
        }
    }

    /// Whether the call may still be handed to the plugin.
    pub(super) fn is_open(&self, call_id: u64) -> bool {
        let calls = self.calls.lock();
        calls.known.get(&call_id).is_some_and(|known| known.open)
    }

    /// Nobody waits any more: from here on the call lends no rights. Whether it has sent something.
    pub(super) fn close(&self, call_id: u64) -> bool {
        self.calls.lock().known.get_mut(&call_id).is_some_and(|known| {
            known.open = false;
            known.sends > 0
        })
    }

    /// The plugin is done with it. Whether it has sent something.
    pub(super) fn end(&self, call_id: u64) -> bool {
        let mut calls = self.calls.lock();
        let Some(known) = calls.known.remove(&call_id) else {
            return false;
        };
        calls.places.give_back(&known.bulkhead);
        known.sends > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Bulkhead {
        Bulkhead::of("eip155:1", Operation::Verify)
    }

    #[test]
    fn calls_of_another_network_or_kind_have_places_of_their_own() {
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
        assert_eq!(calls.bulkhead(1), Bulkhead::own(), "it lends nothing any more");
        calls.end(1);
        assert_eq!(calls.begin(2, 2, Bulkhead::of(here, Operation::Route), 1), Ok(()));
    }

    #[test]
    fn a_closed_call_lends_no_rights_and_keeps_its_place() {
        let calls = OpenCalls::default();
        assert_eq!(calls.begin(7, 70, some(), 1), Ok(()));
        assert_eq!((calls.parent(7), calls.parent(8)), (70, 0));
        assert!(calls.begin_send(7) && !calls.begin_send(8));
        assert!(calls.close(7), "it has sent");
        assert_eq!(
            (calls.parent(7), calls.begin_send(7), calls.is_open(7)),
            (0, false, false)
        );
        let full = calls.begin(8, 80, some(), 1).expect_err("full");
        assert_eq!(full.kind, FaultKind::Overloaded);
        assert!(calls.end(7));
        assert_eq!(calls.begin(8, 80, some(), 1), Ok(()));
        calls.begin_send(8);
        calls.take_send_back(8);
        assert!(!calls.end(8), "the send was refused");
    }

    #[test]
    fn ids_are_fresh() {
        let calls = OpenCalls::default();
        assert_eq!(calls.begin(7, 7, some(), 9), Ok(()));
        assert_eq!(
            calls.begin(7, 7, some(), 9).expect_err("twice").kind,
            FaultKind::Internal
        );
        assert_eq!(
            calls.begin(0, 0, some(), 9).expect_err("zero").kind,
            FaultKind::Internal
        );
    }
}
