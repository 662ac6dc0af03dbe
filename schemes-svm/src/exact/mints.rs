//! Mints that are known to be plain for ever. Only facts that can't change are remembered.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use solana_address::Address;

/// Most mints remembered; beyond it all are forgotten, which costs a read.
const MOST: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct PlainMints(Mutex<HashSet<(String, Address)>>);

impl PlainMints {
    pub(super) fn has(&self, network: &str, mint: &Address) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&(network.to_owned(), *mint))
    }

    pub(super) fn add(&self, network: &str, mint: Address) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((network.to_owned(), mint));
    }
}
