//! The decision about the steps of a slot, and what the polls since then have shown of its block.

use crate::decide::steps::Decided;

use journal::GroundAt;
use sdk_plugin::chain::{BlockRef, Shown};

/// The decision about the steps of a slot.
#[derive(Debug)]
pub struct SlotDecision {
    /// The transaction and block that were judged.
    pub on: Decided,
    standing: Standing,
    /// A node showed a revert.
    by_revert: bool,
    /// Other steps of the slot are not decided.
    is_partial: bool,
    /// Polls in a row that showed another block in place of the deciding one.
    replaced: u32,
}

/// What is known of the block that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Another block may replace it.
    Open,
    /// Another block may replace it, and the last poll showed the deciding transaction in no block.
    Unseen,
    /// It is final. A foreign transaction in it decided, and the slot's own use may not be final yet.
    Final,
}

impl SlotDecision {
    #[must_use]
    pub fn new(on: Decided, shown: &Shown) -> Self {
        Self::restored(on, matches!(shown, Shown::Reverted { .. }), false, None)
    }

    /// The decision as the journal has it; `is_partial`: about some steps of the slot. What polls have shown of the `known`
    /// one is kept, except that its block is final: the next poll shows that again.
    #[must_use]
    pub fn restored(on: Decided, by_revert: bool, is_partial: bool, known: Option<Self>) -> Self {
        match known {
            Some(known) => Self {
                on,
                by_revert,
                is_partial,
                standing: match known.standing {
                    Standing::Unseen => Standing::Unseen,
                    Standing::Open | Standing::Final => Standing::Open,
                },
                ..known
            },
            None => Self {
                on,
                standing: Standing::Open,
                by_revert,
                is_partial,
                replaced: 0,
            },
        }
    }

    /// Whether a transaction of ours has decided, in a block that may still be replaced.
    #[must_use]
    pub fn rests_on_own_block(&self) -> bool {
        self.on.foreign.is_none() && matches!(self.on.at, GroundAt::Block(_))
    }

    /// Whether the block of the foreign transaction that decided is final.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.standing == Standing::Final
    }

    /// Whether it was decided because a node showed a revert.
    #[must_use]
    pub fn is_by_revert(&self) -> bool {
        self.by_revert
    }

    /// Whether other steps of the slot are not decided. They are judged as long as this stands.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Whether nodes may have lost the slot's transaction: the last poll showed it in no block, or another one has
    /// decided for good.
    #[must_use]
    pub fn may_be_lost(&self) -> bool {
        match self.standing {
            Standing::Open => false,
            Standing::Unseen | Standing::Final => true,
        }
    }

    /// Polls in a row that showed another block in place of the deciding one.
    #[must_use]
    pub fn replaced(&self) -> u32 {
        self.replaced
    }

    /// The block whose presence in the chain matters until it is final; `None` for a transaction that can't land.
    #[must_use]
    pub fn block(&self) -> Option<BlockRef> {
        match &self.on.at {
            GroundAt::Block(id) => Some(BlockRef {
                id: id.clone(),
                height: self.on.height,
                time_s: 0,
            }),
            GroundAt::Dead(_) => None,
        }
    }

    /// The block of the foreign transaction that decided is final.
    pub fn make_final(&mut self) {
        self.standing = Standing::Final;
    }

    /// Records whether a poll showed another block in place of the deciding one.
    pub fn record_replaced(&mut self, is_replaced: bool) {
        self.replaced = if is_replaced {
            self.replaced.saturating_add(1)
        } else {
            0
        };
    }

    /// Records whether a poll showed a transaction of ours in a block. `true`: one has decided, and this is the first
    /// poll that does not show it.
    pub fn record_in_block(&mut self, is_in_block: bool) -> bool {
        let is_unseen = self.rests_on_own_block() && !is_in_block;
        let is_first = is_unseen && self.standing == Standing::Open;
        self.standing = match self.standing {
            Standing::Final => Standing::Final,
            Standing::Open | Standing::Unseen if is_unseen => Standing::Unseen,
            Standing::Open | Standing::Unseen => Standing::Open,
        };
        is_first
    }
}
