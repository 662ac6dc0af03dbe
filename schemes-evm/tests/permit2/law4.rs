//! The decision table of PROOF.md for Permit2, row by row: absence proves nothing, and whatever used up a nonce is named.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use schemes_evm::abi::PERMIT2;
use schemes_evm::permit2::Proxy;
use schemes_evm::permit2::abi::{
    ExactProxy, FacilitatorBinding, NONCE_INVALIDATION_TOPIC, PayeeBinding, Permission, TokenPermissions,
    TokenPermit, UptoProxy,
};
use sdk_plugin::HexBytes;
use sdk_plugin::chain::{Evidence, ForeignCall, ForeignTx, GuardState, LogEntry, Shown};
use sdk_plugin::scheme::Judgement;

use crate::judge::{FOREIGN, OWN, account, evidence, exact_log, judge, landed, moved, plan, reverted};
use crate::world::{ASSET, OTHER, PAYEE, PAYER, PAYER_ADDRESS};

const NONCE: u64 = 263;

/// A call of a proxy by a stranger.
#[derive(Clone, Copy)]
struct Stranger {
    proxy: Proxy,
    owner: Address,
    nonce: u64,
    token: &'static str,
    to: &'static str,
    amount: u64,
    sponsored: bool,
}

impl Stranger {
    fn of(proxy: Proxy) -> Self {
        Self {
            proxy,
            owner: PAYER_ADDRESS,
            nonce: NONCE,
            token: ASSET,
            to: PAYEE,
            amount: 10_000,
            sponsored: false,
        }
    }

    fn call(self) -> ForeignCall {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let owner = self.owner;
        let permit = Permission {
            permitted: TokenPermissions {
                token: address(self.token),
                amount: U256::from(self.amount),
            },
            nonce: U256::from(self.nonce),
            deadline: U256::MAX,
        };
        let permit2612 = TokenPermit {
            value: U256::from(self.amount),
            deadline: U256::MAX,
            r: B256::ZERO,
            s: B256::ZERO,
            v: 27,
        };
        let (to, signature) = (address(self.to), vec![1; 65].into());
        let payee = PayeeBinding {
            to,
            validAfter: U256::ZERO,
        };
        let facilitator = FacilitatorBinding {
            to,
            facilitator: Address::ZERO,
            validAfter: U256::ZERO,
        };
        let amount = U256::from(self.amount);
        let data = match (self.proxy, self.sponsored) {
            (Proxy::Exact, false) => ExactProxy::settleCall {
                permit,
                owner,
                witness: payee,
                signature,
            }
            .abi_encode(),
            (Proxy::Exact, true) => ExactProxy::settleWithPermitCall {
                permit2612,
                permit,
                owner,
                witness: payee,
                signature,
            }
            .abi_encode(),
            (Proxy::Upto, false) => UptoProxy::settleCall {
                permit,
                amount,
                owner,
                witness: facilitator,
                signature,
            }
            .abi_encode(),
            (Proxy::Upto, true) => UptoProxy::settleWithPermitCall {
                permit2612,
                permit,
                amount,
                owner,
                witness: facilitator,
                signature,
            }
            .abi_encode(),
        };
        ForeignCall {
            target: self.proxy.address().to_string().to_lowercase(),
            data: HexBytes(data),
        }
    }

    fn tx(self, logs: Vec<LogEntry>) -> ForeignTx {
        tx(Some(self.call()), logs)
    }
}

fn tx(call: Option<ForeignCall>, logs: Vec<LogEntry>) -> ForeignTx {
    ForeignTx {
        tx_id: FOREIGN.into(),
        height: 110,
        block: "0xb".into(),
        earlier: false,
        in_slot: false,
        call,
        depth: 11,
        logs,
    }
}

fn canceled(owner: &str, word: u64, mask: U256) -> LogEntry {
    LogEntry {
        id: format!("{FOREIGN}/1"),
        emitter: PERMIT2.to_string().to_lowercase(),
        topics: vec![HexBytes(NONCE_INVALIDATION_TOPIC.to_vec()), account(owner)],
        data: HexBytes([U256::from(word).to_be_bytes::<32>(), mask.to_be_bytes::<32>()].concat()),
    }
}

#[derive(Debug, PartialEq)]
enum Expected {
    Paid(&'static str),
    /// The reason, and whether the message names the foreign transaction.
    Failed(&'static str, bool),
    Open,
}

fn check(seen: &str, proxy: Proxy, evidence: &Evidence, expected: &Expected) {
    let judged = match judge(proxy, &plan(proxy), evidence) {
        Judgement::Paid(paid) if paid.tx_id == OWN => Expected::Paid(OWN),
        Judgement::Paid(paid) if paid.tx_id == FOREIGN => Expected::Paid(FOREIGN),
        Judgement::NotPaid(refusal) => {
            let names_it = refusal.message.unwrap_or_default().contains(FOREIGN);
            let known = [
                "permit2_invalid_nonce",
                "invalid_exact_evm_transaction_failed",
                "invalid_upto_evm_transaction_failed",
                "invalid_exact_evm_transfer_event_mismatch",
            ];
            let reason = known.into_iter().find(|reason| *reason == refusal.reason);
            Expected::Failed(reason.expect("a known reason"), names_it)
        }
        Judgement::Unproven { .. } => Expected::Open,
        other => panic!("{seen}: {other:?}"),
    };
    assert_eq!(&judged, expected, "{proxy:?}: {seen}");
}

fn seen(shown: Shown, guard: GuardState, foreign: Vec<ForeignTx>) -> Evidence {
    Evidence {
        guard,
        ..evidence(shown, vec![], foreign)
    }
}

fn raced() -> Shown {
    reverted("execution reverted (error data 0x756688fe…)")
}

fn dead() -> Shown {
    Shown::Dead {
        why: "its slot was used".into(),
    }
}

#[test]
fn without_the_transaction_that_did_it_a_used_nonce_decides_nothing() {
    use GuardState::{Changed, Unchanged, Unread};
    for shown in [raced(), dead()] {
        for proxy in crate::world::BOTH {
            for guard in [Changed, Unread] {
                check(
                    "no transaction",
                    proxy,
                    &seen(shown.clone(), guard, vec![]),
                    &Expected::Open,
                );
            }
        }
    }
    let failed = Expected::Failed("permit2_invalid_nonce", false);
    check(
        "a revert, unused",
        Proxy::Exact,
        &seen(raced(), Unchanged, vec![]),
        &failed,
    );
    let failed = Expected::Failed("invalid_exact_evm_transaction_failed", false);
    check(
        "dead, unused",
        Proxy::Exact,
        &seen(dead(), Unchanged, vec![]),
        &failed,
    );
}

#[test]
fn our_own_success_needs_a_node_that_knows_it() {
    for (guard, expected) in [
        (GuardState::Absent, Expected::Paid(OWN)),
        (GuardState::Changed, Expected::Paid(OWN)),
        (GuardState::Unread, Expected::Paid(OWN)),
        (GuardState::Unchanged, Expected::Open),
    ] {
        let evidence = Evidence {
            guard,
            ..evidence(landed(), exact_log(), vec![])
        };
        check("landed", Proxy::Exact, &evidence, &expected);
    }
}

#[test]
fn t33_the_exact_transfer_by_a_stranger() {
    let replay = || Expected::Failed("permit2_invalid_nonce", true);
    for shown in [raced(), dead()] {
        for sponsored in [false, true] {
            let direct = |proxy| {
                let stranger = Stranger {
                    sponsored,
                    ..Stranger::of(proxy)
                };
                stranger.tx(exact_log())
            };
            let row = |tx: ForeignTx| seen(shown.clone(), GuardState::Changed, vec![tx]);
            let exact = direct(Proxy::Exact);
            check(
                "after our attempt",
                Proxy::Exact,
                &row(exact.clone()),
                &Expected::Paid(FOREIGN),
            );
            let earlier = ForeignTx {
                earlier: true,
                ..exact
            };
            check("before our attempt", Proxy::Exact, &row(earlier), &replay());
            check(
                "by another journal",
                Proxy::Upto,
                &row(direct(Proxy::Upto)),
                &replay(),
            );
        }
    }
}

#[test]
fn the_nonce_used_for_something_else_is_a_replay() {
    let of = Stranger::of(Proxy::Exact);
    for (name, stranger, logs) in [
        (
            "another payee",
            Stranger { to: OTHER, ..of },
            vec![moved(1, ASSET, PAYER, OTHER, 10_000)],
        ),
        (
            "another payee, and a transfer to ours beside it",
            Stranger { to: OTHER, ..of },
            [vec![moved(1, ASSET, PAYER, OTHER, 10_000)], exact_log()].concat(),
        ),
        (
            "another amount",
            Stranger { amount: 9_999, ..of },
            vec![moved(1, ASSET, PAYER, PAYEE, 9_999)],
        ),
        ("another token", Stranger { token: OTHER, ..of }, exact_log()),
        ("the other proxy", Stranger::of(Proxy::Upto), exact_log()),
        ("a fee was kept", of, vec![moved(1, ASSET, PAYER, PAYEE, 9_999)]),
    ] {
        let evidence = seen(raced(), GuardState::Changed, vec![stranger.tx(logs)]);
        check(
            name,
            Proxy::Exact,
            &evidence,
            &Expected::Failed("permit2_invalid_nonce", true),
        );
    }
}

#[test]
fn what_cannot_be_attributed_decides_nothing() {
    let of = Stranger::of(Proxy::Exact);
    let nested = ForeignCall {
        target: OTHER.into(),
        ..of.call()
    };
    let torn = ForeignCall {
        data: HexBytes(of.call().data.0[..100].to_vec()),
        ..of.call()
    };
    for (name, tx) in [
        ("inside of another call", tx(Some(nested), exact_log())),
        ("a call that is not shown", tx(None, exact_log())),
        ("a call that is no settlement", tx(Some(torn), exact_log())),
        (
            "another nonce",
            Stranger {
                nonce: NONCE + 1,
                ..of
            }
            .tx(exact_log()),
        ),
        (
            "another owner",
            Stranger {
                owner: Address::repeat_byte(1),
                ..of
            }
            .tx(exact_log()),
        ),
        ("its log is not shown", of.tx(vec![])),
        (
            "nothing of ours",
            tx(None, vec![moved(1, ASSET, PAYER, OTHER, 10_000)]),
        ),
    ] {
        let evidence = seen(raced(), GuardState::Changed, vec![tx]);
        check(name, Proxy::Exact, &evidence, &Expected::Open);
    }
}

#[test]
fn t34_a_cancellation_is_proven_by_its_event() {
    let bit = U256::ONE << 7;
    let (canceling, failed) = (
        |word, mask| vec![tx(None, vec![canceled(PAYER, word, mask)])],
        Expected::Failed("permit2_invalid_nonce", true),
    );
    for proxy in crate::world::BOTH {
        for foreign in [canceling(1, bit), canceling(1, U256::MAX)] {
            check(
                "cancelled",
                proxy,
                &seen(raced(), GuardState::Changed, foreign),
                &failed,
            );
        }
    }
    let mut of_token = canceled(PAYER, 1, bit);
    of_token.emitter = ASSET.into();
    let mut torn = canceled(PAYER, 1, bit);
    torn.data.0.pop();
    for (name, foreign) in [
        ("another bit", canceling(1, !bit)),
        ("another word", canceling(0, bit)),
        ("another owner", vec![tx(None, vec![canceled(OTHER, 1, bit)])]),
        ("another contract", vec![tx(None, vec![of_token])]),
        ("a torn event", vec![tx(None, vec![torn])]),
    ] {
        let evidence = seen(raced(), GuardState::Changed, foreign);
        check(name, Proxy::Exact, &evidence, &Expected::Open);
    }
    // A nonce can be cancelled after it was used: what may have been that use stays open.
    let mut both = canceling(1, bit);
    both.push(tx(None, exact_log()));
    let evidence = seen(raced(), GuardState::Changed, both);
    check(
        "cancelled after a transfer",
        Proxy::Exact,
        &evidence,
        &Expected::Open,
    );
    let mut used = canceling(1, bit);
    used.push(Stranger::of(Proxy::Exact).tx(exact_log()));
    let evidence = seen(raced(), GuardState::Changed, used);
    check(
        "cancelled after the use",
        Proxy::Exact,
        &evidence,
        &Expected::Paid(FOREIGN),
    );
}
