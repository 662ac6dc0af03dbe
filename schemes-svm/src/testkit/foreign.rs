//! Instructions that do not belong in a payment.

use solana_address::Address;

use super::{Deal, Key, Part, guard, limit, memo};
use crate::programs::SYSTEM;

/// The index of the first token operation in [`foreign_instructions`], so that numbers in names stay the same.
const FIRST_TOKEN_OPERATION: usize = 7;

/// Instructions that do not belong in a payment.
pub(super) fn foreign_instructions(deal: &Deal) -> Vec<Part> {
    let payer = deal.fee_payer;
    let lamports = |from: Address| {
        let mut data = 2u32.to_le_bytes().to_vec();
        data.extend(1_000_000u64.to_le_bytes());
        Part {
            program: SYSTEM,
            accounts: vec![(from, true), (deal.buyer.address(), true)],
            data,
        }
    };
    let mut named_memo = memo("x");
    named_memo.accounts.push((payer, false));
    let mut all = vec![
        lamports(payer),
        lamports(deal.buyer.address()),
        // A durable nonce.
        Part {
            program: SYSTEM,
            accounts: vec![(payer, true)],
            data: 4u32.to_le_bytes().to_vec(),
        },
        deal.create(payer),
        deal.create(deal.buyer.address()),
        guard(0, vec![(payer, true)]),
        guard(1, vec![(payer, true)]),
        named_memo,
        // RequestHeapFrame, SetLoadedAccountsDataSizeLimit.
        Part {
            data: vec![1, 0, 128, 0, 0],
            ..limit(0)
        },
        Part {
            data: vec![4, 0, 0, 1, 0],
            ..limit(0)
        },
        deal.transfer(),
        Part {
            program: Key::of_seed(77).address(),
            accounts: vec![(payer, true)],
            data: vec![0],
        },
    ];
    all.splice(
        FIRST_TOKEN_OPERATION..FIRST_TOKEN_OPERATION,
        token_operations(deal),
    );
    all
}

/// Operations of the token program other than a checked transfer.
fn token_operations(deal: &Deal) -> Vec<Part> {
    let payer = deal.fee_payer;
    let token = |first: u8, accounts: Vec<(Address, bool)>| Part {
        program: deal.token_program,
        accounts,
        data: vec![first, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    vec![
        // Transfer without checks, approval and revocation of a delegate, change of owner, burning, closing.
        token(
            3,
            vec![(deal.source(), true), (deal.destination(), true), (payer, false)],
        ),
        token(
            4,
            vec![
                (deal.source(), true),
                (deal.buyer.address(), false),
                (payer, false),
            ],
        ),
        token(5, vec![(deal.source(), true), (payer, false)]),
        token(
            6,
            vec![
                (deal.source(), true),
                (deal.buyer.address(), false),
                (payer, false),
            ],
        ),
        token(
            8,
            vec![
                (deal.source(), true),
                (deal.mint, true),
                (deal.buyer.address(), false),
                (payer, false),
            ],
        ),
        token(
            9,
            vec![
                (deal.source(), true),
                (payer, true),
                (deal.buyer.address(), false),
            ],
        ),
    ]
}
