//! Which blocks can hold a transaction.
//!
//! A plan names its message's blockhash and the slot whose state the simulation ran on, so that the driver still knows
//! both after a restart. The node that simulated knew the blockhash at that slot; so the blockhash is of that slot or older.

use sdk_plugin::HexBytes;
use sdk_plugin::chain::Watch;
use sdk_plugin::scheme::{ReadAt, ReadWanted};
use solana_hash::Hash;

use super::heights::{BLOCKHASH_BLOCKS, Heights};
use crate::text;

/// Name of the read by which a step's evidence names the blockhash (`target`, base58) and the simulation's slot (`data`, 8
/// bytes, big-endian, and where a list had it 8 more for the blocks that were left at most). It is never read for a
/// transaction that landed.
const BLOCKHASH: &str = "blockhash";

/// The entry of a step's evidence for how long its transaction can land: `blocks_left` at most, from that slot on.
pub(crate) fn wanted(blockhash: &Hash, simulated_at: u64, blocks_left: u64) -> ReadWanted {
    let mut data = simulated_at.to_be_bytes().to_vec();
    if blocks_left < BLOCKHASH_BLOCKS {
        data.extend(blocks_left.to_be_bytes());
    }
    ReadWanted {
        name: BLOCKHASH.into(),
        target: blockhash.to_string(),
        data: HexBytes(data),
        required: false,
        at: ReadAt::Block,
    }
}

/// What is known of a transaction's lifetime, in slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// It is not in an older slot: the earlier one of simulation and journaling. One lying node can move only one of them
    /// into the future.
    pub(super) from: u64,
    /// Its blockhash is of this slot or older.
    pub(super) known_at: u64,
    /// Plans of older versions do not name it.
    pub(super) blockhash: Option<String>,
    /// By a list of recent blockhashes: the blocks that were left at most. `None`: it was on no list. The list is one
    /// node's, good enough to free a slot, never to mark a payment as failed.
    pub(super) blocks_left: Option<u64>,
}

impl Lifetime {
    /// `head` is the newest slot that a node has shown.
    pub(super) fn of(watch: &Watch, head: u64) -> Self {
        let reads = watch.evidence.iter().flat_map(|wanted| &wanted.reads);
        let named = reads.filter(|read| read.name == BLOCKHASH).find_map(|read| {
            let (slot, rest) = read.data.as_ref().split_first_chunk::<8>()?;
            let left = match rest.len() {
                0 => None,
                _ => Some(u64::from_be_bytes(rest.try_into().ok()?)),
            };
            text::address(&read.target).map(|_| (u64::from_be_bytes(*slot), read.target.clone(), left))
        });
        let journaled = watch.since_height;
        let Some((simulated, blockhash, left)) = named else {
            return Self {
                from: journaled,
                known_at: journaled,
                blockhash: None,
                blocks_left: None,
            };
        };
        let (from, to) = (simulated.min(journaled), simulated.max(journaled));
        Self {
            from,
            // A slot that the chain has not reached was wrong: the transaction must not wait for it.
            known_at: if to <= head { to } else { from },
            blockhash: Some(blockhash),
            blocks_left: left.filter(|left| *left < BLOCKHASH_BLOCKS),
        }
    }

    /// Once the confirmed block height is above this, the transaction will not land any more, by what one node has listed.
    pub(super) fn listed_end(&self, heights: &Heights) -> Option<u64> {
        heights.end_after(self.known_at, self.blocks_left?)
    }

    /// Once the finalized block height is above this, the transaction can't land any more.
    pub(super) fn last_valid(&self, heights: &Heights) -> Option<u64> {
        heights.last_valid(self.known_at)
    }
}

#[cfg(test)]
mod tests {
    use sdk_plugin::Value;
    use sdk_plugin::chain::Lane;
    use sdk_plugin::scheme::EvidenceWanted;

    use super::*;

    fn watch(since_height: u64, simulated_at: Option<u64>) -> Watch {
        let reads = simulated_at.map(|slot| wanted(&Hash::new_from_array([7; 32]), slot, 40));
        Watch {
            attempt_id: "1".into(),
            tx_id: "1".into(),
            lane: Lane {
                network: "solana:x".into(),
                signer: "x".into(),
                key: "x".into(),
                ordered: false,
            },
            sequence: 1,
            terms: Value::Null,
            since_height,
            evidence: vec![EvidenceWanted {
                reads: reads.into_iter().collect(),
                ..EvidenceWanted::default()
            }],
            search_foreign: false,
            pool: false,
            block: None,
            by_block: false,
            final_at: None,
            read_guards: false,
            whole_block: false,
            brief: false,
        }
    }

    #[test]
    fn the_earlier_slot_begins_it_and_the_later_one_that_exists_bounds_it() {
        let of = |journaled, simulated| {
            let life = Lifetime::of(&watch(journaled, simulated), 1_000);
            assert_eq!(life.blockhash.is_some(), simulated.is_some());
            assert_eq!(life.blocks_left, simulated.map(|_| 40));
            (life.from, life.known_at)
        };
        assert_eq!(of(900, None), (900, 900));
        assert_eq!(of(900, Some(898)), (898, 900));
        assert_eq!(
            of(700, Some(898)),
            (700, 898),
            "it was journaled by a node that lags"
        );
        assert_eq!(of(9_000_000, Some(898)), (898, 898), "a head in the future");
        assert_eq!(of(900, Some(9_000_000)), (900, 900), "a simulation in the future");
    }

    #[test]
    fn malformed_entries_say_nothing() {
        for (target, data) in [
            ("x", vec![0; 8]),
            ("11111111111111111111111111111111", vec![0; 7]),
            ("11111111111111111111111111111111", vec![0; 15]),
            ("11111111111111111111111111111111", vec![0; 17]),
        ] {
            let mut watch = watch(900, Some(1));
            watch.evidence[0].reads[0].target = target.into();
            watch.evidence[0].reads[0].data = HexBytes(data);
            assert_eq!(Lifetime::of(&watch, 1_000).from, 900);
        }
    }

    #[test]
    fn plans_of_older_versions_and_blockhashes_on_no_list_have_no_listed_end() {
        let mut heights = Heights::default();
        heights.record(950, 800);
        let end = |data: Vec<u8>| {
            let mut watch = watch(900, Some(898));
            watch.evidence[0].reads[0].data = HexBytes(data);
            Lifetime::of(&watch, 1_000).listed_end(&heights)
        };
        let old = 898u64.to_be_bytes().to_vec();
        assert_eq!(end(old.clone()), None);
        let with = |left: u64| [old.clone(), left.to_be_bytes().to_vec()].concat();
        assert_eq!(end(with(150)), None);
        assert_eq!(end(with(u64::MAX)), None);
        assert_eq!(end(with(20)), Some(800 + 20 + 32));
    }
}
