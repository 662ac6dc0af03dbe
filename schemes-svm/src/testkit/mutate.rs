//! Transactions that are almost a good payment, each signed again by the buyer: what is wrong with them is not the
//! signature.

use solana_address::Address;
use solana_message::compiled_instruction::CompiledInstruction;

use super::deal::{guard, limit, memo, price};
use super::{Deal, Draft, Key, Part, sign};
use crate::programs::{ASSOCIATED_TOKEN, LIGHTHOUSE, SYSTEM, TOKEN, TOKEN_2022};
use crate::wire::{Message, Version};

/// What becomes of a mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The buyer still pays exactly what was asked for, and nobody else pays anything but the fee.
    Pays,
    /// What the bytes say is wrong: no chain is needed to see it.
    Refused,
    /// A runtime refuses it, whether or not the bytes show it.
    FailsOnChain,
}

/// One mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// What was changed.
    pub name: String,
    /// Wire bytes, signed by the buyer.
    pub transaction: Vec<u8>,
    pub fate: Fate,
}

/// More than 200 mutations of the official client's transaction for this deal, always the same ones.
#[must_use]
pub fn mutations(deal: &Deal) -> Vec<Mutation> {
    let mut out = Vec::new();
    let mut add = |name: String, draft: Draft, fate: Fate| {
        let transaction = draft.sign(&deal.buyer);
        out.push(Mutation {
            name,
            transaction,
            fate,
        });
    };
    let official = deal.official();
    let parts = &official.parts;
    let with = |parts: Vec<Part>| deal.draft(parts);

    for (index, part) in parts.iter().enumerate() {
        let mut without = parts.clone();
        without.remove(index);
        // Without a memo it is still a payment.
        add(
            format!("without instruction {index}"),
            with(without),
            if index == 3 { Fate::Pays } else { Fate::Refused },
        );
        let mut twice = parts.clone();
        twice.push(part.clone());
        add(
            format!("instruction {index} twice"),
            with(twice),
            if index == 3 { Fate::Pays } else { Fate::Refused },
        );
        for other in index + 1..parts.len() {
            let mut swapped = parts.clone();
            swapped.swap(index, other);
            add(
                format!("instructions {index} and {other} swapped"),
                with(swapped),
                Fate::Refused,
            );
        }
    }
    for (place, stranger) in strangers(deal).into_iter().enumerate() {
        for at in 0..=parts.len() {
            let mut more = parts.clone();
            more.insert(at, stranger.clone());
            add(format!("stranger {place} at {at}"), with(more), Fate::Refused);
        }
    }
    let (amount, top) = (deal.amount, u64::MAX);
    let near = [
        amount - 1,
        amount + 1,
        amount / 2,
        amount * 2,
        amount * 10,
        amount.swap_bytes(),
    ];
    for amount in near.into_iter().chain([0, 1, amount << 32, top / 2, top]) {
        let other = Deal {
            amount,
            ..deal.clone()
        };
        add(format!("amount {amount}"), other.official(), Fate::Refused);
    }
    for (name, pay_to) in [
        ("buyer", deal.buyer.address()),
        ("fee payer", deal.fee_payer),
        ("nobody", Address::default()),
    ] {
        let other = Deal {
            pay_to,
            ..deal.clone()
        };
        add(format!("paid to the {name}"), other.official(), Fate::Refused);
    }
    for units in [0, 200_001, 1_400_000, u32::MAX] {
        let mut expensive = parts.clone();
        expensive[0] = limit(units);
        add(
            format!("compute limit {units}"),
            with(expensive),
            if units == 0 {
                Fate::FailsOnChain
            } else {
                Fate::Refused
            },
        );
    }
    for micro in [5_000_001, u64::MAX] {
        let mut expensive = parts.clone();
        expensive[1] = price(micro);
        add(format!("compute price {micro}"), with(expensive), Fate::Refused);
    }
    for (place, account) in deal.transfer().accounts.iter().enumerate() {
        for (name, other) in [
            ("fee payer", deal.fee_payer),
            ("buyer", deal.buyer.address()),
            ("payee", deal.pay_to),
        ] {
            if account.0 == other {
                continue;
            }
            let mut parts = parts.clone();
            parts[2].accounts[place].0 = other;
            // Any account may claim to be the buyer's token account, or its authority; only the chain knows better.
            let is_open = (place == 0 || place == 3) && other != deal.fee_payer;
            let fate = if is_open {
                Fate::FailsOnChain
            } else {
                Fate::Refused
            };
            add(
                format!("the {name} as account {place} of the transfer"),
                with(parts),
                fate,
            );
        }
    }
    for program in [TOKEN, TOKEN_2022, SYSTEM, ASSOCIATED_TOKEN, LIGHTHOUSE] {
        if program == deal.token_program {
            continue;
        }
        let mut parts = parts.clone();
        parts[2].program = program;
        add(format!("the transfer by {program}"), with(parts), Fate::Refused);
    }
    add(
        "legacy message".into(),
        Draft {
            version: Version::Legacy,
            ..official.clone()
        },
        Fate::Pays,
    );
    add("guarded".into(), deal.guarded(), Fate::Pays);
    add(
        "another fee payer".into(),
        Draft {
            fee_payer: Key::of_seed(9).address(),
            ..official.clone()
        },
        Fate::Refused,
    );

    out.extend(bytes_of_message(deal, &official.message()));
    out
}

/// Instructions that have no place in a payment.
fn strangers(deal: &Deal) -> Vec<Part> {
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
    let token = |first: u8, accounts: Vec<(Address, bool)>| Part {
        program: deal.token_program,
        accounts,
        data: vec![first, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    let mut named_memo = memo("x");
    named_memo.accounts.push((payer, false));
    vec![
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
    ]
}

/// Indices, headers and data changed in the message itself, where the result may be no message any more.
fn bytes_of_message(deal: &Deal, message: &Message) -> Vec<Mutation> {
    let mut out = Vec::new();
    let mut add = |name: String, message: &Message, fate: Fate| {
        out.push(Mutation {
            name,
            transaction: sign(message, &[&deal.buyer]),
            fate,
        });
    };
    let transfer = 2;
    for place in 0..4 {
        for index in 0..message.keys.len() {
            let mut changed = message.clone();
            let accounts = &mut changed.instructions[transfer].accounts;
            if accounts[place] == index as u8 {
                continue;
            }
            accounts[place] = index as u8;
            add(
                format!("account {place} of the transfer is key {index}"),
                &changed,
                if (place == 0 || place == 3) && index != 0 {
                    Fate::FailsOnChain
                } else {
                    Fate::Refused
                },
            );
        }
    }
    for index in [0, 1, 200, 255] {
        let mut changed = message.clone();
        changed.instructions[transfer].program_id_index = index;
        add(
            format!("the transfer's program is key {index}"),
            &changed,
            Fate::Refused,
        );
    }
    for byte in 0..message.instructions[transfer].data.len() {
        let mut changed = message.clone();
        changed.instructions[transfer].data[byte] ^= 1;
        add(
            format!("byte {byte} of the transfer flipped"),
            &changed,
            if byte == 9 {
                Fate::FailsOnChain
            } else {
                Fate::Refused
            },
        );
    }
    for length in 0..message.instructions[transfer].data.len() {
        let mut changed = message.clone();
        changed.instructions[transfer].data.truncate(length);
        add(
            format!("the transfer's data cut to {length}"),
            &changed,
            Fate::Refused,
        );
    }
    for count in [0, 1, 3, 4, 127, 255] {
        let mut changed = message.clone();
        changed.header.num_required_signatures = count;
        add(format!("{count} required signatures"), &changed, Fate::Refused);
    }
    for count in [1, 2, 3, 255] {
        let mut changed = message.clone();
        changed.header.num_readonly_signed_accounts = count;
        if changed != *message {
            add(format!("{count} read-only signers"), &changed, Fate::FailsOnChain);
        }
    }
    for count in [0, 5, 6, 7, 255] {
        let mut changed = message.clone();
        changed.header.num_readonly_unsigned_accounts = count;
        // Writable in the header, a mint is not written to all the same, and programs are read-only to the runtime.
        let fate = if count == 0 {
            Fate::Pays
        } else {
            Fate::FailsOnChain
        };
        add(format!("{count} read-only accounts"), &changed, fate);
    }
    let mut changed = message.clone();
    changed.instructions.push(CompiledInstruction {
        program_id_index: 0,
        accounts: vec![],
        data: vec![],
    });
    add("the fee payer as a program".into(), &changed, Fate::Refused);
    out
}
