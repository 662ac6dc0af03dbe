//! Ids, in blocks: a node takes a block from the database, and no other node ever gets an id of it.

use std::sync::Mutex;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::lock;
use super::transaction::{Link, Statement};
use super::trouble::Trouble;

/// Ids in a block: so many that a node that can't reach the database for hours has enough.
const BLOCK: u64 = 1 << 20;
/// What a node gets that has used up its blocks while the database can't be reached. It is never committed.
pub(super) const NONE_LEFT: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    next: u64,
    end: u64,
}

/// The ids that this node may use.
#[derive(Debug)]
pub(super) struct Ids(Mutex<Blocks>);

#[derive(Debug)]
struct Blocks {
    current: Block,
    following: Option<Block>,
    /// A block is being taken.
    is_taking: bool,
}

impl Ids {
    pub(super) async fn open(link: &Link) -> Result<Self, Trouble> {
        Ok(Self(Mutex::new(Blocks {
            current: take_block(link).await?,
            following: None,
            is_taking: false,
        })))
    }

    /// An id, and whether the caller must now fetch another block.
    pub(super) fn take(&self) -> (u64, bool) {
        let mut blocks = lock(&self.0);
        if blocks.current.next >= blocks.current.end
            && let Some(following) = blocks.following.take()
        {
            blocks.current = following;
        }
        let Block { next, end } = blocks.current;
        let wants = !blocks.is_taking && blocks.following.is_none() && end.saturating_sub(next) < BLOCK / 2;
        blocks.is_taking |= wants;
        if next >= end {
            return (NONE_LEFT, wants);
        }
        blocks.current.next = next.saturating_add(1);
        (next, wants)
    }

    /// Replaces the blocks by one that was taken just now: its ids are greater than all that any node has used until then.
    pub(super) fn replace(&self, block: Block) {
        let mut blocks = lock(&self.0);
        blocks.current = block;
        blocks.following = None;
    }

    /// Takes the block after the current one.
    pub(super) async fn fetch(&self, link: &Link) {
        let block = take_block(link).await;
        let mut blocks = lock(&self.0);
        blocks.is_taking = false;
        match block {
            // The current one may be newer, if it was replaced meanwhile.
            Ok(block) if block.next > blocks.current.next => blocks.following = Some(block),
            Ok(_) => {}
            Err(trouble) => tracing::warn!("journal: no ids: {trouble}"),
        }
    }
}

/// Takes a block.
pub(super) fn next_block() -> Statement {
    Statement::new("UPDATE switchyard.ids SET next = next + $1 WHERE one = 1 RETURNING next")
        .with(i64::try_from(BLOCK).unwrap_or(i64::MAX), Type::INT8)
}

async fn take_block(link: &Link) -> Result<Block, Trouble> {
    block_of(&link.query(next_block()).await?)
}

/// The block in the answer to [`next_block`].
pub(super) fn block_of(rows: &[Row]) -> Result<Block, Trouble> {
    let end: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
    let end = end.and_then(|end| u64::try_from(end).ok());
    match end.and_then(|end| {
        Some(Block {
            next: end.checked_sub(BLOCK)?,
            end,
        })
    }) {
        Some(block) => Ok(block),
        None => Err(Trouble::Answer("table switchyard.ids has no number".into())),
    }
}
