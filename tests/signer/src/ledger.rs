//! What the signer has signed: at most so many signatures an hour, and one transaction a slot unless its fee is higher.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use alloy_primitives::U256;

const HOUR: Duration = Duration::from_secs(3_600);
/// Slots of a key that are remembered; the lowest are forgotten first.
const MAX_SLOTS: usize = 4_096;

/// Network, key and sequence.
pub type Slot = (String, String, u64);

#[derive(Debug, Default)]
pub struct Ledger {
    slots: BTreeMap<Slot, Signed>,
    hours: BTreeMap<String, VecDeque<Instant>>,
}

/// What was signed for a slot.
#[derive(Debug)]
struct Signed {
    messages: Vec<Vec<u8>>,
    highest_fee: U256,
    attempt: u32,
    discarded: u32,
}

/// Why nothing is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    Conflict,
    Rate,
}

/// One signature.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub key: &'a str,
    /// `None`: typed data.
    pub slot: Option<(&'a str, u64, u32)>,
    pub message: &'a [u8],
    pub max_fee: U256,
    pub max_discarded: u32,
    pub max_per_hour: u32,
}

impl Ledger {
    /// Records a signature that is given now. The same one again is given without counting.
    ///
    /// # Errors
    /// It is not allowed; nothing is recorded.
    pub fn admit(&mut self, wanted: &Wanted<'_>, now: Instant) -> Result<(), Denied> {
        let slot = wanted.slot.map(|(network, sequence, attempt)| {
            ((network.to_owned(), wanted.key.to_owned(), sequence), attempt)
        });
        let mut is_discarded = false;
        if let Some((slot, attempt)) = &slot
            && let Some(signed) = self.slots.get(slot)
        {
            if signed.messages.iter().any(|message| message == wanted.message) {
                return Ok(());
            }
            let is_higher = wanted.max_fee > signed.highest_fee;
            is_discarded = !is_higher;
            let may_discard = *attempt == signed.attempt && signed.discarded < wanted.max_discarded;
            if !is_higher && !may_discard {
                return Err(Denied::Conflict);
            }
        }
        let hour = self.hours.entry(wanted.key.to_owned()).or_default();
        while hour.front().is_some_and(|at| now.duration_since(*at) >= HOUR) {
            hour.pop_front();
        }
        if hour.len() >= usize::try_from(wanted.max_per_hour).unwrap_or(usize::MAX) {
            return Err(Denied::Rate);
        }
        hour.push_back(now);
        if let Some((slot, attempt)) = slot {
            let signed = self.slots.entry(slot).or_insert_with(|| Signed {
                messages: Vec::new(),
                highest_fee: U256::ZERO,
                attempt,
                discarded: 0,
            });
            signed.messages.push(wanted.message.to_vec());
            signed.highest_fee = signed.highest_fee.max(wanted.max_fee);
            signed.attempt = signed.attempt.max(attempt);
            signed.discarded = signed.discarded.saturating_add(u32::from(is_discarded));
            while self.slots.len() > MAX_SLOTS {
                self.slots.pop_first();
            }
        }
        Ok(())
    }
}
