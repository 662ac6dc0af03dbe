//! For how many more blocks a transaction can land.
//!
//! A blockhash is good for 150 blocks. A payment that is signed when few of them are left is valid and will probably not
//! land: it uses one of the in-flight transactions for nothing, and any payer can do that many times.
//!
//! Nodes list the newest blockhashes in a sysvar account. It is read together with what the driver's checks and the scheme's
//! offers read anyway, and otherwise only where what is known does not show that a payment has enough blocks left. The bound
//! errs to the low side until it is read again: slots are counted as blocks, and some slots have none. A blockhash that was
//! never listed is not refused.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use solana_hash::Hash;

use crate::rpc::Account;
use crate::slots::{Newest, Seen};

/// Blocks after its own in which a blockhash is good (the runtime's `MAX_PROCESSING_AGE`).
const GOOD_FOR_BLOCKS: u64 = 150;
/// Slots after which a blockhash that is not listed any more is forgotten.
const FORGET_AFTER_SLOTS: u64 = 1_000;
/// Bytes of the list's length, and of an entry: the hash, and a fee that is not used.
const LENGTH_BYTES: usize = 8;
const ENTRY_BYTES: usize = 40;
const HASH_BYTES: usize = 32;

/// What is known of each network. Shared by the driver and the scheme.
#[derive(Debug, Default)]
pub struct Blockhashes(Mutex<HashMap<String, Listed>>);

#[derive(Debug, Default)]
struct Listed {
    /// The slot of the newest list.
    newest: Newest,
    /// By blockhash: the slot of the newest list that has it, and its index in it. The newest block has index 0.
    places: HashMap<Hash, (u64, u64)>,
    /// Those that the lists of two nodes have called too old, which they stay; and the slot of the list then.
    too_old: HashMap<Hash, u64>,
}

/// What is known of one blockhash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// This many blocks at least.
    AtLeast(u64),
    /// The newest list is too old to decide.
    Unknown,
}

impl Blockhashes {
    /// Records the sysvar account as a node showed it at a slot. One that can't be read is ignored.
    pub(crate) fn record(&self, network: &str, slot: u64, account: Option<&Account>) {
        let Some(hashes) = account.and_then(|account| listed(&account.data)) else {
            return;
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(network.to_owned()).or_default();
        match known.newest.record(slot) {
            Seen::Outlier => return,
            Seen::Near if known.newest.slot() != Some(slot) => return,
            Seen::Near => {}
            Seen::Anew => {
                known.places.clear();
                known.too_old.clear();
            }
        }
        known
            .places
            .retain(|_, (seen, _)| slot.saturating_sub(*seen) < FORGET_AFTER_SLOTS);
        known
            .too_old
            .retain(|_, seen| slot.saturating_sub(*seen) < FORGET_AFTER_SLOTS);
        for (position, hash) in (0u64..).zip(hashes) {
            known.places.insert(hash, (slot, position));
        }
    }

    /// How many blocks a blockhash is good for at a slot, at least.
    pub(crate) fn left(&self, network: &str, blockhash: &Hash, at: u64) -> Left {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get(network) else {
            // No node has shown a list: there is nothing to hold against a payment.
            return Left::AtLeast(GOOD_FOR_BLOCKS);
        };
        // One that no list has is newer than all of them.
        let (seen, position) = known.places.get(blockhash).copied().unwrap_or((known.slot(), 0));
        let age = position.saturating_add(at.saturating_sub(seen));
        match GOOD_FOR_BLOCKS.checked_sub(age) {
            Some(left) => Left::AtLeast(left),
            None if known.places.contains_key(blockhash) => Left::AtLeast(0),
            None => Left::Unknown,
        }
    }

    /// How many blocks a blockhash is good for at a slot, at most: as many as slots may have been since a list had it.
    pub(crate) fn at_most(&self, network: &str, blockhash: &Hash, at: u64) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = all.get(network).and_then(|known| known.places.get(blockhash));
        listed.map_or(GOOD_FOR_BLOCKS, |(seen, position)| {
            GOOD_FOR_BLOCKS
                .saturating_sub(*position)
                .saturating_add(seen.saturating_sub(at))
                .min(GOOD_FOR_BLOCKS)
        })
    }

    /// The slot of the newest list.
    pub(crate) fn slot(&self, network: &str) -> Option<u64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(network)?.newest.slot()
    }

    /// Two nodes agree that a blockhash has too few blocks left.
    pub(crate) fn agreed_too_old(&self, network: &str, blockhash: &Hash) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(network.to_owned()).or_default();
        let slot = known.slot();
        known.too_old.insert(*blockhash, slot);
    }

    pub(crate) fn is_agreed_too_old(&self, network: &str, blockhash: &Hash) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(network)
            .is_some_and(|known| known.too_old.contains_key(blockhash))
    }

    /// Whether a list has it.
    pub(crate) fn has(&self, network: &str, blockhash: &Hash) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(network)
            .is_some_and(|known| known.places.contains_key(blockhash))
    }
}

impl Listed {
    fn slot(&self) -> u64 {
        self.newest.slot().unwrap_or_default()
    }
}

/// How many blocks a blockhash is good for by this account alone; `None` where it is not listed.
pub(crate) fn left_by(account: Option<&Account>, blockhash: &Hash) -> Option<u64> {
    let hashes = account.and_then(|account| listed(&account.data))?;
    let (position, _) = (0u64..).zip(hashes).find(|(_, hash)| hash == blockhash)?;
    Some(GOOD_FOR_BLOCKS.saturating_sub(position))
}

/// The hashes of the sysvar, the newest first; `None` for other data.
fn listed(data: &[u8]) -> Option<Vec<Hash>> {
    let (length, entries) = data.split_first_chunk::<LENGTH_BYTES>()?;
    let count = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    let entries = entries.get(..count).filter(|entries| !entries.is_empty())?;
    let hash = |entry: &[u8; ENTRY_BYTES]| {
        entry
            .first_chunk::<HASH_BYTES>()
            .map(|hash| Hash::new_from_array(*hash))
    };
    entries.iter().map(hash).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use solana_address::Address;

    use super::*;

    fn hash(number: u64) -> Hash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Hash::new_from_array(bytes)
    }

    /// The sysvar when block `newest` is the newest.
    fn sysvar(newest: u64) -> Account {
        let hashes: Vec<Hash> = (0..150).map(|age| hash(newest.saturating_sub(age))).collect();
        let mut data = 150u64.to_le_bytes().to_vec();
        for hash in hashes {
            data.extend(hash.to_bytes());
            data.extend([0; 8]);
        }
        Account {
            owner: Address::default(),
            lamports: 1,
            data,
        }
    }

    #[test]
    fn what_is_left_is_counted_from_the_newest_list_that_has_it() {
        let known = Blockhashes::default();
        assert_eq!(
            known.left("a", &hash(1_000), 2_000),
            Left::AtLeast(150),
            "no list"
        );
        known.record("a", 2_000, Some(&sysvar(1_000)));
        assert_eq!(known.left("a", &hash(1_000), 2_000), Left::AtLeast(150));
        assert_eq!(known.left("a", &hash(1_000), 2_020), Left::AtLeast(130));
        assert_eq!(known.left("a", &hash(900), 2_020), Left::AtLeast(30));
        assert_eq!(known.left("a", &hash(900), 2_060), Left::AtLeast(0));
        assert_eq!(known.at_most("a", &hash(900), 2_000), 50);
        assert_eq!(
            known.at_most("a", &hash(900), 2_060),
            50,
            "slots may have no block"
        );
        assert_eq!(known.at_most("a", &hash(900), 1_990), 60, "simulated before");
        assert_eq!(known.at_most("a", &hash(1_005), 2_000), 150);
        assert_eq!(
            known.left("a", &hash(1_005), 2_020),
            Left::AtLeast(130),
            "newer than the list"
        );
        assert_eq!(known.left("a", &hash(1_005), 2_160), Left::Unknown);
        assert_eq!(
            known.left("b", &hash(1_000), 2_000),
            Left::AtLeast(150),
            "no list there"
        );
        // An older list changes nothing, and slots without blocks are made good by a newer one.
        known.record("a", 1_990, Some(&sysvar(500)));
        known.record("a", 2_060, Some(&sysvar(1_030)));
        assert_eq!(known.left("a", &hash(900), 2_060), Left::AtLeast(20));
        assert_eq!(
            known.left("a", &hash(870), 2_060),
            Left::AtLeast(0),
            "not listed any more"
        );
    }

    #[test]
    fn a_list_that_is_cut_off_says_nothing() {
        assert_eq!(listed(&[]), None);
        assert_eq!(listed(&0u64.to_le_bytes()), None);
        let data = sysvar(1_000).data;
        assert_eq!(listed(&data).map(|hashes| hashes.len()), Some(150));
        assert_eq!(listed(&data[..data.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn hostile_data_do_not_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = listed(&data);
        }
    }
}
