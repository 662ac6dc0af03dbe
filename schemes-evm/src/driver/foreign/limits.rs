//! How large a search of logs a network's nodes accept.

use super::Search;

/// How long the size of a range is remembered that nodes take, in milliseconds: plans change, and nodes are replaced.
const LOG_LIMIT_TTL_MS: u64 = 3_600_000;

/// What a network's nodes have reported about searches of logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::driver) struct LogLimits {
    /// Most blocks of a search, why, and until when that is remembered.
    smaller: Option<(u64, String, u64)>,
    /// Why the last search had no whole answer.
    refused: Option<String>,
}

impl LogLimits {
    /// The most blocks of a search, while that is remembered.
    pub(in crate::driver) fn blocks(&self, now_ms: u64) -> Option<u64> {
        let (blocks, _, until_ms) = self.smaller.as_ref()?;
        (now_ms < *until_ms).then_some(*blocks)
    }

    /// Records what nodes reported in one poll.
    pub(in crate::driver) fn learn(&mut self, search: &Search, now_ms: u64) {
        if let Some((blocks, why)) = &search.smaller {
            self.smaller = Some((*blocks, why.clone(), now_ms.saturating_add(LOG_LIMIT_TTL_MS)));
        }
        self.refused.clone_from(&search.refused);
    }

    /// For the operator.
    pub(in crate::driver) fn warnings(&self, now_ms: u64) -> Vec<String> {
        let smaller = self
            .smaller
            .as_ref()
            .filter(|(_, _, until_ms)| now_ms < *until_ms);
        let smaller = smaller.map(|(blocks, why, _)| {
            format!(
                "a node takes at most {blocks} blocks in one eth_getLogs ({why}): searches for transactions of others \
                 take longer; write max_log_range = {blocks}, or use a node without that limit"
            )
        });
        let refused = self.refused.as_ref().map(|why| {
            format!(
                "no node gives a whole answer to eth_getLogs ({why}): a payment whose authorization another sender used \
                 stays unexplained; add a node that serves it"
            )
        });
        smaller.into_iter().chain(refused).collect()
    }
}
