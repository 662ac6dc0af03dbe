//! Transactions without numbers, as Solana has them: each is good until a block height, for every owner of its bytes,
//! and lands once at most by its id. A fork that loses one makes it good again.

use std::collections::BTreeMap;

use sdk_plugin::chain::Sent;

use super::{BLOCK_LIMIT, Chain, Included, NODES, Tx};
use crate::token::State;

impl Chain {
    pub(super) fn submit_unnumbered(
        &mut self,
        node: usize,
        id: String,
        tx: Tx,
        last: u64,
        now_ms: u64,
    ) -> Sent {
        let node = node % NODES;
        self.follow(node, now_ms);
        let Some(head) = self.nodes[node].view.last().cloned() else {
            return Sent::Unknown {
                message: "no blocks".into(),
            };
        };
        if head.state.landed.contains_key(&id) {
            return Sent::Accepted;
        }
        if head.height >= last {
            return Sent::Rejected {
                message: "its block hash is too old".into(),
            };
        }
        if tx.max_fee < self.base_fee / 2 || self.nodes[node].calls_all_bids_too_low(now_ms) {
            return Sent::Underpriced;
        }
        self.nodes[node].pool.insert(tx.place(&id), (id, tx));
        Sent::Accepted
    }

    /// Puts what the nodes offer into the block.
    pub(super) fn mine_unnumbered(
        &mut self,
        state: &mut State,
        txs: &mut Vec<Included>,
        height: u64,
        now_ms: u64,
    ) {
        let offers = self.nodes.iter().flat_map(|node| node.pool.values());
        let offers: BTreeMap<String, (u64, Tx)> = offers
            .filter_map(|(id, tx)| Some((id.clone(), (tx.good_until?, tx.clone()))))
            .collect();
        for (id, (last, tx)) in offers {
            if txs.len() >= BLOCK_LIMIT {
                break;
            }
            let is_good = last >= height && !state.landed.contains_key(&id);
            if !is_good || tx.max_fee < self.base_fee || self.rng.chance(self.weather.delayed) {
                continue;
            }
            state.landed.insert(id, last);
            txs.push(self.include(state, tx, now_ms));
        }
        // What is too old needs no memory to keep it out.
        state.landed.retain(|_, last| *last >= height);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Weather, tx_id};
    use crate::rng::Rng;
    use crate::token::Op;

    fn chain() -> Chain {
        let weather = Weather {
            block_ms: 1_000,
            lost_in_reorg: 1_000,
            ..Weather::default()
        };
        let state = State {
            balances: [("ann".to_owned(), 100)].into(),
            ..State::default()
        };
        Chain::new(weather, 2, state, Rng::new(1))
    }

    fn bytes(good_until: u64) -> Vec<u8> {
        let op = Op::Pay {
            from: "ann".into(),
            to: "shop".into(),
            value: 10,
            nonce: 1,
        };
        let tx = Tx {
            signer: "signer-k0".into(),
            nonce: 0,
            max_fee: 40,
            op: Some(op),
            more: Vec::new(),
            salt: 0,
            good_until: Some(good_until),
        };
        tx.encode()
    }

    fn heights(chain: &Chain, bytes: &[u8]) -> Vec<u64> {
        let id = tx_id(bytes);
        let blocks = chain.canonical().iter();
        blocks
            .filter(|block| block.txs.iter().any(|tx| tx.id == id))
            .map(|block| block.height)
            .collect()
    }

    #[test]
    fn a_transaction_lands_once_however_often_it_is_sent() {
        let (mut chain, bytes) = (chain(), bytes(50));
        for now in 0..20 {
            assert_eq!(chain.submit(now % 2, &bytes, 0), Sent::Accepted);
            chain.tick(0);
        }
        assert_eq!(heights(&chain, &bytes), [1]);
        assert_eq!(chain.state().balances["shop"], 10);
    }

    #[test]
    fn a_transaction_lands_up_to_its_last_block_and_never_after() {
        for (last, expected) in [(4, vec![4]), (3, vec![])] {
            let (mut chain, bytes) = (chain(), bytes(last));
            for _ in 0..2 {
                chain.tick(0);
            }
            assert_eq!(chain.submit(0, &bytes, 0), Sent::Accepted);
            chain.set_fee(Some(41));
            chain.tick(0);
            chain.set_fee(None);
            for _ in 0..9 {
                chain.tick(0);
            }
            assert_eq!(heights(&chain, &bytes), expected);
            if expected.is_empty() {
                assert!(matches!(chain.submit(0, &bytes, 0), Sent::Rejected { .. }));
            }
        }
    }

    #[test]
    fn a_transaction_lost_by_a_fork_lands_again_up_to_its_last_block() {
        let (mut chain, bytes) = (chain(), bytes(4));
        chain.submit(0, &bytes, 0);
        chain.tick(0);
        chain.tick(0);
        chain.reorg(2, 0);
        assert_eq!(heights(&chain, &bytes), [] as [u64; 0]);
        assert!((0..NODES).all(|node| !chain.view(node, 0).is_pooled(&tx_id(&bytes))));
        assert_eq!(chain.submit(1, &bytes, 0), Sent::Accepted);
        chain.tick(0);
        assert_eq!(heights(&chain, &bytes), [3]);
        assert_eq!(chain.state().balances["shop"], 10);
    }
}
