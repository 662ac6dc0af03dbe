//! The commits of one payment, with the terms of the vectors and the plan of the scheme.

use journal::testkit::{opened_with, paid, prepared};
use journal::{Event, Ground, GroundAt, NewAttempt, NewSettlement, Release};
use schemes_evm::exact::ExactEvm;
use sdk_plugin::scheme::{Identified, Identity, Planned};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{HexBytes, SchemeHandler, StepIndex};
use serde_json::json;

use crate::evm::Node;
use crate::vectors;

/// What a commit makes durable, and the mark that is queued ahead of it and shares its sync.
pub(super) struct Commit {
    pub(super) mark: Option<Event>,
    pub(super) events: Vec<Event>,
}

/// One payment from its claim to its end, in the order in which the engine commits.
pub(super) struct Life {
    pub(super) commits: [Commit; 3],
}

/// What all payments have in common.
pub(super) struct Terms {
    identified: Identified,
    plan: String,
    /// In place of a signed transaction, which has about 100 bytes more.
    bytes: Vec<u8>,
}

impl Terms {
    pub(super) fn of_vectors() -> Self {
        let (node, exact, payment) = (Node::new(), ExactEvm::default(), vectors::evm_payment());
        let Ok(Identity::Identified(identified)) = block_on(exact.identify(&node.cx(), &payment)) else {
            panic!("the payment of the vectors is identified");
        };
        let Ok(Planned::Plan(plan)) = block_on(exact.plan(&node.cx(), &payment)) else {
            panic!("the payment of the vectors is planned");
        };
        Self {
            identified,
            plan: serde_json::to_string(&plan).expect("a plan can be written"),
            bytes: vectors::bytes(&vectors::evm(), "/calldata_vrs"),
        }
    }

    /// Payments that differ in their nonce, one after another in the slots of one lane.
    pub(super) fn lives(&self) -> impl Iterator<Item = Life> {
        (0..).map(|number| self.life(number))
    }

    fn life(&self, number: u64) -> Life {
        let (settlement, attempt) = (2 * number + 1, 2 * number + 2);
        let tx_id = format!("0x{number:064x}");
        let prepared = self.prepared(attempt, settlement, number, &tx_id);
        let (network, signer) = (
            prepared.row.lane.network.clone(),
            prepared.row.lane.signer.clone(),
        );
        let first = vec![
            Event::Opened(Box::new(self.opened(settlement, number))),
            Event::Prepared(Box::new(prepared)),
        ];
        let second = vec![
            paid(settlement, &format!("{tx_id}/7")),
            Event::StepGrounded {
                settlement,
                step: StepIndex::FIRST,
                ground: Ground {
                    attempt,
                    at: GroundAt::Block(tx_id.clone()),
                    height: 50,
                    foreign: None,
                    reverted: false,
                },
            },
            Event::Released {
                settlement,
                release: self.release(settlement, &tx_id),
            },
            Event::KeysFreed { settlement },
        ];
        let third = vec![
            Event::SlotClosed {
                network,
                signer,
                sequence: number,
                by: tx_id,
            },
            Event::StepFinal {
                settlement,
                step: StepIndex::FIRST,
            },
            Event::KeysFreed { settlement },
            Event::Finished {
                settlement,
                at_ms: 1_800_000_060_000,
            },
        ];
        let alone = |events| Commit { mark: None, events };
        let sent = Commit {
            mark: Some(Event::Sent { attempt }),
            events: second,
        };
        Life {
            commits: [alone(first), sent, alone(third)],
        }
    }

    fn opened(&self, settlement: u64, number: u64) -> NewSettlement {
        let identified = &self.identified;
        // The same key with another nonce.
        let kept = identified.claim_key.len().saturating_sub(16);
        let key = identified.claim_key.get(..kept).expect("a key in ASCII");
        let event = opened_with(settlement, &format!("{key}{number:016x}"), |row, _, _| {
            row.payer.clone_from(&identified.payer);
            row.digest.clone_from(&identified.payload_digest);
            row.fingerprint.clone_from(&identified.payload_digest);
            row.replay_reason.clone_from(&identified.replay_reason);
            row.replayable_until_s = identified.replayable_until_s;
            row.request = format!("{number:064x}");
        });
        let Event::Opened(opened) = event else {
            panic!("opened_with opens");
        };
        NewSettlement::new(opened.row, self.plan.clone(), Vec::new(), Vec::new())
    }

    fn prepared(&self, attempt: u64, settlement: u64, sequence: u64, tx_id: &str) -> NewAttempt {
        let Event::Prepared(prepared) = prepared(attempt, settlement, sequence) else {
            panic!("prepared prepares");
        };
        let mut row = prepared.row;
        tx_id.clone_into(&mut row.tx_id);
        NewAttempt::new(row, HexBytes(self.bytes.clone()))
    }

    fn release(&self, number: u64, tx_id: &str) -> Release {
        let reply = json!({
            "success": true,
            "payer": self.identified.payer,
            "transaction": tx_id,
            "network": crate::evm::NETWORK,
        });
        Release {
            number,
            tenant: None,
            idempotency_key: None,
            body: reply.to_string(),
            at_ms: 1_800_000_030_000,
        }
    }
}
