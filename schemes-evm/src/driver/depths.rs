//! Whether the configured depth is enough for this chain, by a table of the lowest useful values; the operator may set a
//! higher one.
//!
//! The figures count blocks from the head, which is 1. They protect against what chains do on a normal day: a late block
//! that loses its slot, a sequencer that restarts, a node that lags. None of them is a guarantee; the chain's own
//! `finalized` mark is later on most of them.

/// What one kind of chain needs.
struct Depths {
    name: &'static str,
    chain_ids: &'static [u64],
    confirmations: u64,
    finality: u64,
    why: &'static str,
}

/// Known chains and their public test networks.
const KNOWN: &[Depths] = &[
    // Finality: two epochs of 32 slots (consensus-specs, phase0, SLOTS_PER_EPOCH; ethereum.org "Proof-of-stake:
    // finality"). Confirmations: a proposer may replace a head block that came late (consensus-specs, fork choice,
    // get_proposer_head), and it replaces one block at most.
    Depths {
        name: "Ethereum",
        chain_ids: &[1, 11_155_111, 560_048],
        confirmations: 2,
        finality: 64,
        why: "blocks are final after two epochs of 32 slots, and a late head block may be replaced",
    },
    // docs.base.org "Transaction finality": a batch reaches Ethereum after some 2 minutes, which is 60 blocks of 2 s; no
    // batched block has ever been replaced, one that was not batched has. The other chains of the OP stack derive their
    // blocks alike (specs.optimism.io "Derivation": unsafe, safe and finalized heads).
    Depths {
        name: "the OP stack",
        chain_ids: &[8_453, 84_532, 10, 11_155_420, 480, 1_868, 34_443, 7_777_777],
        confirmations: 1,
        finality: 60,
        why: "the sequencer can replace blocks until their batch is on Ethereum, some 2 minutes later",
    },
    // docs.arbitrum.io "Finality and chain reorganizations": a block rests on the sequencer's promise until its batch is
    // posted, which takes minutes; five of them are 1,200 blocks of 250 ms.
    Depths {
        name: "Arbitrum",
        chain_ids: &[42_161, 42_170, 421_614],
        confirmations: 1,
        finality: 1_200,
        why: "the sequencer can replace blocks until their batch is on Ethereum, some minutes later",
    },
    // PIP-11: a milestone is at least 12 blocks and is voted on by a second chain; before milestones, blocks were
    // replaced up to 157 deep (February 2023). Five milestones, rounded up.
    Depths {
        name: "Polygon PoS",
        chain_ids: &[137, 80_002],
        confirmations: 2,
        finality: 64,
        why: "blocks are final with a milestone, which may be some of 12 blocks away",
    },
    // docs.bnbchain.org "Finality" (BEP-126): block n is final with block n + 2 while validators vote; without their
    // votes it takes the blocks of 11 validators, each of which makes 16 in a row (BEP-524).
    Depths {
        name: "BNB Smart Chain",
        chain_ids: &[56, 97],
        confirmations: 3,
        finality: 176,
        why: "blocks are final two blocks later while validators vote, and after 11 turns of 16 blocks when they do not",
    },
    // build.avax.network "Snowman consensus": nodes show accepted blocks only, and those are never replaced. The second
    // block is for nodes that lag another one by a block.
    Depths {
        name: "Avalanche",
        chain_ids: &[43_114, 43_113],
        confirmations: 1,
        finality: 2,
        why: "blocks are final at once, and nodes may be one block behind each other",
    },
];

/// Chains without other users: Hardhat and Anvil, Ganache and geth --dev.
const DEVELOPMENT: &[u64] = &[31_337, 1_337];

/// Of any other chain nothing is known, so it gets what a proof-of-stake chain of Ethereum's kind needs.
const UNKNOWN: Depths = Depths {
    name: "a chain that this driver does not know",
    chain_ids: &[],
    confirmations: 1,
    finality: 64,
    why: "most chains of Ethereum's kind are final after two epochs of 32 blocks; the chain's own documentation knows",
};

/// What is too small, each with what to write instead.
pub(super) fn warnings(chain_id: u64, confirmations: u64, finality: u64) -> Vec<String> {
    if DEVELOPMENT.contains(&chain_id) {
        return Vec::new();
    }
    let needed = KNOWN
        .iter()
        .find(|depths| depths.chain_ids.contains(&chain_id))
        .unwrap_or(&UNKNOWN);
    let warning = |key: &str, configured: u64, least: u64, danger: &str| {
        (configured < least).then(|| {
            format!(
                "{key} = {configured} is too small for {}: {}; {danger}; write {key} = {least} or more",
                needed.name, needed.why
            )
        })
    };
    let answers = warning(
        "confirmations",
        confirmations,
        needed.confirmations,
        "a payment may be answered as success and be gone afterwards",
    );
    let closes = warning(
        "finality",
        finality,
        needed.finality,
        "a payment may be closed and be replaced afterwards",
    );
    answers.into_iter().chain(closes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_is_in_the_table_once_and_can_be_satisfied() {
        let mut ids: Vec<u64> = KNOWN
            .iter()
            .flat_map(|depths| depths.chain_ids)
            .copied()
            .collect();
        ids.extend(DEVELOPMENT);
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for depths in KNOWN.iter().chain([&UNKNOWN]) {
            let id = depths.chain_ids.first().copied().unwrap_or(999_999_999);
            let none: [String; 0] = [];
            assert_eq!(warnings(id, depths.confirmations, depths.finality), none);
            assert!(depths.finality > 1 && depths.finality >= depths.confirmations);
        }
    }

    #[test]
    fn what_is_too_small_says_what_to_write_and_development_chains_are_left_alone() {
        let reported = warnings(1, 1, 63);
        let [confirmations, finality] = reported.as_slice() else {
            panic!("{reported:?}")
        };
        assert!(confirmations.starts_with("confirmations = 1 is too small for Ethereum"));
        assert!(
            confirmations.ends_with("write confirmations = 2 or more"),
            "{confirmations}"
        );
        assert!(finality.ends_with("write finality = 64 or more"), "{finality}");
        for (id, finality, count) in [
            (8_453, 60, 0),
            (8_453, 59, 1),
            (42_161, 64, 1),
            (137, 63, 2),
            (56, 64, 2),
            (43_114, 1, 1),
            (43_114, 2, 0),
            (987_654, 64, 0),
            (987_654, 63, 1),
            (31_337, 1, 0),
            (1_337, 1, 0),
        ] {
            assert_eq!(warnings(id, 1, finality).len(), count, "{id} {finality}");
        }
    }
}
