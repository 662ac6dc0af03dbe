//! Who waits for a lane. No payer takes more than its share of the queue: a payer that signs more than a network can
//! carry does not keep the others out.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;

/// One payer may use one of this many positions in the queue.
const SHARE: usize = 4;
/// A payer may use at least this many positions, whatever the queue's length.
const AT_LEAST: usize = 8;

/// Counts the settlements in a lane's queue.
#[derive(Debug)]
pub(crate) struct Waiting {
    most_of_a_payer: usize,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    all: usize,
    of_payers: BTreeMap<String, usize>,
}

impl Waiting {
    /// A counter for a queue of this length.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            most_of_a_payer: (places / SHARE).max(AT_LEAST),
            counted: Mutex::default(),
        }
    }

    /// Counts one more; `false` when its payer has used up its share. `None`: no payer decides how many there are.
    pub(crate) fn enter(&self, payer: Option<&str>) -> bool {
        let mut counted = self.lock();
        if let Some(payer) = payer {
            let of_payer = counted.of_payers.get(payer).copied().unwrap_or_default();
            if of_payer >= self.most_of_a_payer {
                return false;
            }
            counted
                .of_payers
                .insert(payer.to_owned(), of_payer.saturating_add(1));
        }
        counted.all = counted.all.saturating_add(1);
        true
    }

    /// Frees one position of the same payer.
    pub(crate) fn leave(&self, payer: Option<&str>) {
        let mut counted = self.lock();
        counted.all = counted.all.saturating_sub(1);
        let Some(payer) = payer else { return };
        let left = counted
            .of_payers
            .get(payer)
            .map(|of_payer| of_payer.saturating_sub(1));
        match left {
            Some(0) => {
                counted.of_payers.remove(payer);
            }
            Some(left) => {
                counted.of_payers.insert(payer.to_owned(), left);
            }
            None => {}
        }
    }

    pub(crate) fn all(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // No code that can panic runs under this lock.
        self.counted.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payer_has_a_limited_share_of_the_queue() {
        let waiting = Waiting::new(100);
        assert_eq!((0..100).filter(|_| waiting.enter(Some("loud"))).count(), 25);
        assert!(waiting.enter(Some("quiet")) && waiting.enter(None));
        assert_eq!(waiting.all(), 27);
        waiting.leave(Some("loud"));
        assert!(waiting.enter(Some("loud")) && !waiting.enter(Some("loud")));
        for _ in 0..25 {
            waiting.leave(Some("loud"));
        }
        waiting.leave(Some("quiet"));
        waiting.leave(None);
        assert_eq!(waiting.all(), 0);
        assert!(waiting.lock().of_payers.is_empty());
    }

    #[test]
    fn one_payer_may_have_several_places_in_a_short_queue() {
        let waiting = Waiting::new(1);
        assert_eq!((0..100).filter(|_| waiting.enter(Some("only"))).count(), AT_LEAST);
    }
}
