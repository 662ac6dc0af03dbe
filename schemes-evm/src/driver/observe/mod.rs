//! The state of each attempt. One batch serves all of them.
//!
//! | batch | when | reads |
//! |---|---|---|
//! | 0 | only brief watches (`brief`) | receipts, or the blocks that decided something |
//! | 1 | in every other case | chain id, head block, nonces, receipts, blocks that decided something, transactions by hash where wanted |
//! | 1a | a receipt is not of the head block | the block at its height, which must be its own |
//! | 1b | something seems final by the head's number | the block that makes it final, by its number |
//! | 2 | a slot is used without a receipt, a transaction reverted, guards are wanted | nonce and guards at one block named by its hash |
//! | 3 | a transaction landed whose evidence has reads; searches | reads at its block, logs |
//!
//! Absence decides nothing: a null receipt with a nonce that is past only shows that the slot is used, and the guards show
//! what that means. Nonces come before receipts in the batch: a nonce that is read first and already counts the slot
//! can't be that of a block which the receipts of the same node do not know yet.

mod anchor;
mod brief;
mod landed;
mod view;

use sdk_plugin::chain::{Observation, Watch};
use sdk_plugin::{Cx, Fault};

use self::view::View;
pub(super) use self::view::{Header, transaction};
use super::EvmDriver;
use super::foreign::Search;
use crate::options::Options;

impl EvmDriver {
    pub(super) async fn observe_all(&self, cx: &Cx, watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        if watches.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(mut observations) = brief::read(cx, watches).await? {
            landed::read_blocks(cx, watches, &mut observations).await?;
            return Ok(observations);
        }
        let options = Options::read(&cx.network().options)?;
        let view = View::read(cx, watches).await?;
        let mut observations: Vec<Observation> =
            watches.iter().map(|watch| view.observation(watch)).collect();
        view.prove_finality(cx, watches, &mut observations).await?;
        self.anchors(cx, &view, watches, &mut observations).await?;
        landed::read_blocks(cx, watches, &mut observations).await?;
        self.search(cx, &view, &options, watches, &mut observations)
            .await?;
        Ok(observations)
    }

    /// Searches for transactions of others. A search that nodes refuse is incomplete, and does not affect the rest.
    async fn search(
        &self,
        cx: &Cx,
        view: &View,
        options: &Options,
        watches: &[Watch],
        observations: &mut [Observation],
    ) -> Result<(), Fault> {
        if !watches.iter().any(|watch| watch.search_foreign) {
            return Ok(());
        }
        let accepted = self.accepted_log_range(cx).unwrap_or(options.max_log_range);
        let mut search = Search::default();
        for (index, watch) in watches.iter().enumerate() {
            if watch.search_foreign {
                search.add(index, watch, view.head.height, options.max_log_range, accepted);
            }
        }
        search.run(cx).await?;
        {
            let mut networks = self.networks();
            let known = networks.entry(cx.network().id.clone()).or_default();
            known.log_limits.learn(&search, cx.now_ms());
        }
        let found = search.finish(cx, watches, view.head.height).await?;
        for (index, (watch, observation)) in watches.iter().zip(observations).enumerate() {
            if watch.search_foreign {
                (observation.foreign, observation.foreign_searched) = found(index);
            }
        }
        Ok(())
    }

    /// The most blocks that a search may cover, as far as nodes have reported.
    fn accepted_log_range(&self, cx: &Cx) -> Option<u64> {
        let networks = self.networks();
        networks.get(&cx.network().id)?.log_limits.blocks(cx.now_ms())
    }
}
