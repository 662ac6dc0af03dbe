//! Defects that are planted on purpose: each makes the driver lie as an earlier one did, and the judge must notice.

use sdk_plugin::chain::{Anchor, BlockStands, GuardState, Observation, TxState, Watch};

use crate::chain::View;
use crate::driver::name_of;
use crate::world::World;

/// What the driver does wrong. Its simulation before a new slot is left out too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A used slot without a receipt is reported as a transaction that failed for good.
    UsedIsDead,
    /// A guard that was not read, or that is changed, is reported as unchanged.
    GuardAlwaysUnchanged,
    /// A decided block is reported as replaced when no receipt is shown.
    NullIsReplaced,
    /// Every block that is canonical is reported as final.
    NewestIsFinal,
    /// The search by logs leaves out our own transactions.
    OwnIsNotFound,
    /// Where transactions have no numbers: a status of null is proof once the last block is final.
    ExpiredByNull,
}

/// Deeper than any finality.
const FINAL: u64 = 1_000;

impl Planted {
    /// What the lying driver reports instead.
    #[must_use]
    pub fn spoil(self, seen: Observation, view: &View, watch: &Watch, world: &World) -> Observation {
        let unchanged = || {
            let block = view.head().map(|block| name_of(block))?;
            Some(Anchor {
                block,
                next_sequence: watch.sequence + 1,
                guards: vec![GuardState::Unchanged; watch.evidence.len()],
                reads: Vec::new(),
            })
        };
        let has_receipt = matches!(seen.state, TxState::Landed { .. } | TxState::Reverted { .. });
        match self {
            Self::UsedIsDead if seen.state == TxState::SlotUsed => {
                let Some(anchor) = unchanged() else { return seen };
                Observation {
                    state: TxState::Reverted {
                        height: anchor.block.height,
                        block: anchor.block.id.clone(),
                        depth: FINAL,
                        message: None,
                    },
                    anchor: Some(anchor),
                    ..seen
                }
            }
            Self::GuardAlwaysUnchanged if seen.state == TxState::SlotUsed => Observation {
                anchor: unchanged(),
                ..seen
            },
            Self::NullIsReplaced if watch.block.is_some() && !has_receipt => Observation {
                block: Some(BlockStands::Replaced),
                ..seen
            },
            Self::NewestIsFinal => Observation {
                block: seen.block.map(|stands| match stands {
                    BlockStands::Canonical { .. } => BlockStands::Canonical { depth: FINAL },
                    BlockStands::Replaced | BlockStands::Unknown => stands,
                }),
                ..seen
            },
            Self::OwnIsNotFound => {
                let signed = world.signed();
                let mut foreign = seen.foreign;
                foreign.retain(|tx| !signed.contains_key(&tx.tx_id));
                Observation { foreign, ..seen }
            }
            // Played where the driver searches for canaries.
            Self::ExpiredByNull | Self::UsedIsDead | Self::GuardAlwaysUnchanged | Self::NullIsReplaced => {
                seen
            }
        }
    }
}
