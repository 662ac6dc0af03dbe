//! Which calls an instance is serving, on whose behalf, and whether one of them has sent something.
//!
//! A call is *open* until its caller has an answer or stops waiting, and *known* until the plugin completes it. Only an open
//! call lends its rights to host services; a known one keeps its place under the cap, so that calls that never come
//! back fill an instance's own bulkhead.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sdk_plugin::{Fault, FaultKind};

/// The calls of one instance.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    known: Mutex<HashMap<u64, Known>>,
}

#[derive(Debug)]
struct Known {
    /// What host services are told.
    on_behalf_of: u64,
    open: bool,
    sends: u32,
}

impl OpenCalls {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        // Nothing panics while holding the lock, and the map is valid at every point.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call; `on_behalf_of` is what host services are told for it.
    pub(super) fn begin(&self, call_id: u64, on_behalf_of: u64, cap: usize) -> Result<(), Fault> {
        let mut known = self.lock();
        if known.len() >= cap {
            return Err(Fault::new(
                FaultKind::Overloaded,
                format!("the plugin is serving {cap} calls already"),
            ));
        }
        if call_id == 0 || known.contains_key(&call_id) {
            return Err(Fault::internal(format!("call id {call_id} is not a fresh one")));
        }
        known.insert(
            call_id,
            Known {
                on_behalf_of,
                open: true,
                sends: 0,
            },
        );
        Ok(())
    }

    /// The call id host services are told for a claimed parent; 0 where that is no open call of this instance.
    pub(super) fn parent(&self, claimed: u64) -> u64 {
        self.lock()
            .get(&claimed)
            .filter(|known| known.open)
            .map_or(0, |known| known.on_behalf_of)
    }

    /// Notes a send within an open call; `false` when there is no such call.
    pub(super) fn begin_send(&self, claimed: u64) -> bool {
        match self.lock().get_mut(&claimed) {
            Some(known) if known.open => {
                known.sends = known.sends.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Takes a send back that the host refused before it did anything.
    pub(super) fn take_send_back(&self, claimed: u64) {
        if let Some(known) = self.lock().get_mut(&claimed) {
            known.sends = known.sends.saturating_sub(1);
        }
    }

    /// Whether the call may still be handed to the plugin.
    pub(super) fn is_open(&self, call_id: u64) -> bool {
        self.lock().get(&call_id).is_some_and(|known| known.open)
    }

    /// Nobody waits any more: from here on the call lends no rights. Whether it has sent something.
    pub(super) fn close(&self, call_id: u64) -> bool {
        self.lock().get_mut(&call_id).is_some_and(|known| {
            known.open = false;
            known.sends > 0
        })
    }

    /// The plugin is done with it. Whether it has sent something.
    pub(super) fn end(&self, call_id: u64) -> bool {
        self.lock().remove(&call_id).is_some_and(|known| known.sends > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_call_lends_no_rights_and_keeps_its_place() {
        let calls = OpenCalls::default();
        assert_eq!(calls.begin(7, 70, 1), Ok(()));
        assert_eq!((calls.parent(7), calls.parent(8)), (70, 0));
        assert!(calls.begin_send(7) && !calls.begin_send(8));
        assert!(calls.close(7), "it has sent");
        assert_eq!(
            (calls.parent(7), calls.begin_send(7), calls.is_open(7)),
            (0, false, false)
        );
        let full = calls.begin(8, 80, 1).expect_err("full");
        assert_eq!(full.kind, FaultKind::Overloaded);
        assert!(calls.end(7));
        assert_eq!(calls.begin(8, 80, 1), Ok(()));
        calls.begin_send(8);
        calls.take_send_back(8);
        assert!(!calls.end(8), "the send was refused");
    }

    #[test]
    fn ids_are_fresh() {
        let calls = OpenCalls::default();
        assert_eq!(calls.begin(7, 7, 9), Ok(()));
        assert_eq!(calls.begin(7, 7, 9).expect_err("twice").kind, FaultKind::Internal);
        assert_eq!(calls.begin(0, 0, 9).expect_err("zero").kind, FaultKind::Internal);
    }
}
