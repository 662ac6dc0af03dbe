//! When the next block of a chain is due, learned from the heads that are read anyway.
//!
//! Two kinds of facts are kept: a block was there at a time, and a block was not there yet at a time. Assumes blocks at
//! regular times. Where the facts contradict each other, the average counts; where they do so grossly, the chain makes blocks
//! for transactions, and no time is known. A wrong guess costs a call or some waiting, never a wrong answer: nothing is
//! decided from it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Facts of each kind that are kept: an hour of an idle network, and the newest payments of a busy one.
const MAX_FACTS: usize = 32;
/// The block time is known from facts about blocks that are at least so many apart.
const LEAST_BLOCKS: u64 = 4;
/// Facts may contradict each other by this much: answers take time, and blocks do not come to the millisecond.
const TOLERANCE_MS: i64 = 60;
/// Facts that tell when the next block is due: with older ones the error of the block time adds up.
const RECENT_FACTS: usize = 8;
/// Block times are round where the facts allow it, in milliseconds: the roundest that they allow counts.
const ROUND_MS: [i64; 5] = [1_000, 500, 250, 100, 50];
/// Longer times are no block time, in milliseconds: the chain makes blocks for transactions only, or stood still.
const MOST_BLOCK_TIME_MS: i64 = 15_000;
/// A chain that was once so many times slower than at another time has no block time: it makes blocks for transactions. Some
/// missed blocks in a row are far less.
const MOST_CONTRADICTION: i64 = 8;
/// After so many heads in a row that are far below the highest one, that one was false.
const MOST_FAR_BELOW: u32 = 8;
/// Heads of several nodes are at most so many blocks apart.
const FAR_BELOW_BLOCKS: u64 = 64;
/// A block is queried this much after it is due, in milliseconds: nodes show it a little later.
const LATER_MS: i64 = 50;

/// A fact about a block: there, or not there yet.
#[derive(Debug, Clone, Copy)]
struct Fact {
    height: u64,
    at_ms: i64,
}

/// What is known of the times of a chain's blocks.
#[derive(Debug)]
pub(crate) struct BlockClock {
    origin: Instant,
    there: VecDeque<Fact>,
    not_yet: VecDeque<Fact>,
    block_time_ms: Option<i64>,
    /// Heads in a row that were far below the highest one.
    far_below: u32,
}

impl BlockClock {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            there: VecDeque::new(),
            not_yet: VecDeque::new(),
            block_time_ms: None,
            far_below: 0,
        }
    }

    /// The head of the chain was this block.
    pub(crate) fn record_head(&mut self, height: u64, now: Instant) {
        self.record_there(height, now);
        self.record_not_yet(height.saturating_add(1), now);
    }

    /// This block was there, and higher ones may have been.
    pub(crate) fn record_there(&mut self, height: u64, now: Instant) {
        let at_ms = self.millis(now);
        let highest = self.there.back().map_or(0, |last| last.height);
        if height <= highest && !self.there.is_empty() {
            let is_far = height.saturating_add(FAR_BELOW_BLOCKS) < highest;
            self.far_below = if is_far {
                self.far_below.saturating_add(1)
            } else {
                0
            };
            if self.far_below < MOST_FAR_BELOW {
                return;
            }
            self.there.clear();
            self.not_yet.clear();
            self.block_time_ms = None;
        }
        self.far_below = 0;
        push(&mut self.there, Fact { height, at_ms });
        self.learn();
    }

    /// This block was not there yet.
    pub(crate) fn record_not_yet(&mut self, height: u64, now: Instant) {
        let at_ms = self.millis(now);
        match self.not_yet.back_mut() {
            Some(last) if height < last.height => return,
            Some(last) if height == last.height => last.at_ms = last.at_ms.max(at_ms),
            Some(_) | None => push(&mut self.not_yet, Fact { height, at_ms }),
        }
        self.learn();
    }

    /// The usual time between two blocks; `None`: not known yet.
    pub(crate) fn block_time(&self) -> Option<Duration> {
        duration(self.block_time_ms?)
    }

    /// When the first block is due that comes after this time.
    pub(crate) fn next_due(&self, after: Instant) -> Option<Instant> {
        let (block_time, (_, due_ms)) = (self.block_time_ms?, self.newest()?);
        let passed = self.millis(after).saturating_sub(due_ms).max(0);
        let blocks = passed.checked_div(block_time)?.saturating_add(1);
        self.instant(due_ms.saturating_add(blocks.saturating_mul(block_time)))
    }

    /// When this block is due, perhaps in the past.
    pub(crate) fn due_at(&self, height: u64) -> Option<Instant> {
        let (block_time, (newest, due_ms)) = (self.block_time_ms?, self.newest()?);
        let blocks = i64::try_from(height)
            .ok()?
            .checked_sub(i64::try_from(newest).ok()?)?;
        self.instant(due_ms.saturating_add(blocks.checked_mul(block_time)?))
    }

    /// The highest block that is due by this time.
    pub(crate) fn height_at(&self, now: Instant) -> Option<u64> {
        let (block_time, (newest, due_ms)) = (self.block_time_ms?, self.newest()?);
        let passed = self.millis(now).saturating_sub(due_ms).max(0);
        let blocks = u64::try_from(passed.checked_div(block_time)?).ok()?;
        Some(newest.saturating_add(blocks))
    }

    /// The newest block that was there, and when it was due: the earliest time by which the recent facts show it, but not
    /// before the times at which they show it missing.
    fn newest(&self) -> Option<(u64, i64)> {
        let block_time = self.block_time_ms?;
        let newest = self.there.back()?.height;
        let moved = |fact: &Fact| {
            let blocks = i64::try_from(newest)
                .ok()?
                .checked_sub(i64::try_from(fact.height).ok()?)?;
            Some(fact.at_ms.saturating_add(blocks.checked_mul(block_time)?))
        };
        let recent = |facts: &VecDeque<Fact>| -> Vec<i64> {
            facts.iter().rev().take(RECENT_FACTS).filter_map(moved).collect()
        };
        let by = recent(&self.there).into_iter().min()?;
        let after = recent(&self.not_yet).into_iter().max().unwrap_or(by);
        let latest = self.there.back()?.at_ms;
        Some((newest, by.max(after).min(latest).saturating_add(LATER_MS)))
    }

    fn learn(&mut self) {
        let (mut least, mut most) = (0, i64::MAX);
        for there in &self.there {
            for not_yet in &self.not_yet {
                let span_ms = not_yet.at_ms.saturating_sub(there.at_ms);
                if let Some(blocks) = apart(there.height, not_yet.height) {
                    least = least.max(span_ms.saturating_sub(TOLERANCE_MS) / blocks);
                }
                if let Some(blocks) = apart(not_yet.height, there.height) {
                    let span_ms = span_ms.saturating_neg().saturating_add(TOLERANCE_MS);
                    most = most.min(span_ms / blocks);
                }
            }
        }
        let (Some(first), Some(last)) = (self.there.front(), self.there.back()) else {
            return;
        };
        let Some(blocks) =
            apart(first.height, last.height).filter(|_| last.height - first.height >= LEAST_BLOCKS)
        else {
            return;
        };
        let average = last.at_ms.saturating_sub(first.at_ms) / blocks;
        let is_vague = most > least.saturating_add(least / 2);
        let learned = if least < most && is_vague {
            // As long as it could be half as long again, it is not known.
            0
        } else if least < most {
            let round = ROUND_MS.into_iter().find_map(|unit| {
                let multiple = most / unit * unit;
                (multiple > least && multiple > 0).then_some(multiple)
            });
            round.unwrap_or(least.saturating_add(most) / 2)
        } else if least > most.saturating_mul(MOST_CONTRADICTION) {
            0
        } else {
            average
        };
        self.block_time_ms = (1..=MOST_BLOCK_TIME_MS).contains(&learned).then_some(learned);
    }

    fn millis(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.origin).as_millis();
        i64::try_from(since).unwrap_or(i64::MAX)
    }

    fn instant(&self, at_ms: i64) -> Option<Instant> {
        self.origin.checked_add(duration(at_ms.max(0))?)
    }
}

fn duration(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

/// How many blocks the second height is above the first; `None`: not above.
fn apart(below: u64, above: u64) -> Option<i64> {
    let blocks = above.checked_sub(below).filter(|blocks| *blocks > 0)?;
    i64::try_from(blocks).ok()
}

fn push(facts: &mut VecDeque<Fact>, fact: Fact) {
    if facts.len() >= MAX_FACTS {
        facts.pop_front();
    }
    facts.push_back(fact);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain whose block 100 came after `first_ms`, and one every `every_ms`.
    fn height(first_ms: u64, every_ms: u64, at_ms: u64) -> u64 {
        100 + (at_ms - first_ms) / every_ms
    }

    fn observed(every_ms: u64, times_ms: &[u64]) -> (BlockClock, Instant) {
        let start = Instant::now();
        let mut clock = BlockClock::new(start);
        for at_ms in times_ms {
            clock.record_head(
                height(300, every_ms, *at_ms),
                start + Duration::from_millis(*at_ms),
            );
        }
        (clock, start)
    }

    #[test]
    fn the_block_time_is_learned_from_a_few_heads() {
        for (every_ms, times_ms) in [
            (2_000, vec![1_000, 6_000, 11_000, 16_000]),
            (12_000, vec![5_000, 25_000, 85_000, 145_000, 205_000]),
            (250, vec![1_000, 6_000, 11_000, 16_000]),
        ] {
            let (clock, _) = observed(every_ms, &times_ms);
            assert_eq!(clock.block_time(), Some(Duration::from_millis(every_ms)));
        }
        for times_ms in [vec![1_000, 3_000], vec![1_000, 9_500]] {
            let (clock, start) = observed(2_000, &times_ms);
            assert_eq!(clock.block_time(), None, "too few facts");
            assert_eq!(clock.next_due(start), None);
        }
    }

    #[test]
    fn a_block_is_due_when_the_facts_have_shown_it_earliest() {
        let (mut clock, start) = observed(2_000, &[1_000, 6_700, 11_100, 16_900]);
        let at = |ms| start + Duration::from_millis(ms);
        // Blocks come at 300 ms of each even second; the earliest time at which a block was seen is 700 ms after one.
        let due = clock.next_due(at(17_000)).unwrap();
        assert!(due >= at(18_300) && due <= at(18_300 + 450), "{:?}", due - start);
        clock.record_there(109, at(18_350));
        let due = clock.next_due(at(18_400)).unwrap();
        assert!(due >= at(20_300) && due <= at(20_450), "{:?}", due - start);
        assert_eq!(clock.due_at(111).unwrap(), clock.next_due(at(20_500)).unwrap());
        assert_eq!(clock.height_at(at(20_500)), Some(110));
    }

    #[test]
    fn blocks_at_irregular_times_give_their_average() {
        let start = Instant::now();
        let mut clock = BlockClock::new(start);
        for (height, at_ms) in [
            (100, 0),
            (101, 4_000),
            (110, 14_000),
            (111, 19_000),
            (120, 31_000),
        ] {
            clock.record_head(height, start + Duration::from_millis(at_ms));
        }
        assert_eq!(clock.block_time(), Some(Duration::from_millis(31_000 / 20)));
    }

    #[test]
    fn a_chain_that_makes_blocks_for_transactions_has_no_block_time() {
        let start = Instant::now();
        let mut clock = BlockClock::new(start);
        for (height, at_ms) in [(100, 0), (101, 9_000), (117, 9_400), (118, 30_000), (134, 30_400)] {
            clock.record_head(height, start + Duration::from_millis(at_ms));
        }
        assert_eq!(clock.block_time(), None);
        // Every second slot is missed for a while.
        let (mut clock, start) = observed(12_000, &[5_000, 25_000, 85_000, 145_000]);
        let seen = height(300, 12_000, 145_000);
        clock.record_head(seen + 1, start + Duration::from_millis(169_000));
        clock.record_head(seen + 2, start + Duration::from_millis(193_000));
        assert!(clock.block_time().is_some());
    }

    #[test]
    fn heads_that_go_back_or_stand_still_change_nothing() {
        let (mut clock, start) = observed(2_000, &[1_000, 6_000, 11_000, 16_000]);
        let known = clock.block_time();
        clock.record_head(3, start + Duration::from_millis(16_100));
        clock.record_head(107, start + Duration::from_millis(16_200));
        assert_eq!(clock.block_time(), known);
    }
}
