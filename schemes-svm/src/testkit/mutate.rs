//! Transactions that are almost a good payment, each signed again by the buyer: what is wrong with them is not the
//! signature.

use solana_address::Address;
use solana_message::compiled_instruction::CompiledInstruction;

use super::deal::{limit, price};
use super::foreign::foreign_instructions;
use super::{Deal, Draft, Key, Part, sign};
use crate::programs::{ASSOCIATED_TOKEN, LIGHTHOUSE, SYSTEM, TOKEN, TOKEN_2022};
use crate::wire::{Message, Version};

/// What becomes of a mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The buyer still pays exactly the requested amount, and no other account pays anything but the fee.
    Pays,
    /// The bytes show what is wrong: no chain is needed.
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
    let official = deal.official();
    let mut out = Mutations {
        deal,
        parts: official.parts.clone(),
        found: Vec::new(),
    };
    out.order_of_instructions();
    out.foreign_instructions();
    out.terms();
    out.budget();
    out.accounts_of_the_transfer();
    out.whole_drafts(&official);
    let mut found = out.found;
    found.extend(bytes_of_message(deal, &official.message()));
    found
}

/// Mutations of the instructions of the official client's transaction.
struct Mutations<'a> {
    deal: &'a Deal,
    /// The official instructions: compute limit, compute price, transfer, memo.
    parts: Vec<Part>,
    found: Vec<Mutation>,
}

impl Mutations<'_> {
    fn add(&mut self, name: String, draft: &Draft, fate: Fate) {
        self.found.push(Mutation {
            name,
            transaction: draft.sign(&self.deal.buyer),
            fate,
        });
    }

    fn add_parts(&mut self, name: String, parts: Vec<Part>, fate: Fate) {
        self.add(name, &self.deal.draft(parts), fate);
    }

    fn order_of_instructions(&mut self) {
        let parts = self.parts.clone();
        for (index, part) in parts.iter().enumerate() {
            // Without a memo it is still a payment.
            let fate = if index == 3 { Fate::Pays } else { Fate::Refused };
            let mut without = parts.clone();
            without.remove(index);
            self.add_parts(format!("without instruction {index}"), without, fate);
            let mut twice = parts.clone();
            twice.push(part.clone());
            self.add_parts(format!("instruction {index} twice"), twice, fate);
            for other in index + 1..parts.len() {
                let mut swapped = parts.clone();
                swapped.swap(index, other);
                let name = format!("instructions {index} and {other} swapped");
                self.add_parts(name, swapped, Fate::Refused);
            }
        }
    }

    fn foreign_instructions(&mut self) {
        for (number, foreign) in foreign_instructions(self.deal).into_iter().enumerate() {
            for at in 0..=self.parts.len() {
                let mut more = self.parts.clone();
                more.insert(at, foreign.clone());
                let name = format!("foreign instruction {number} at {at}");
                self.add_parts(name, more, Fate::Refused);
            }
        }
    }

    fn terms(&mut self) {
        let deal = self.deal;
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
            self.add(format!("amount {amount}"), &other.official(), Fate::Refused);
        }
        for (name, pay_to) in [
            ("buyer", deal.buyer.address()),
            ("fee payer", deal.fee_payer),
            ("default address", Address::default()),
        ] {
            let other = Deal {
                pay_to,
                ..deal.clone()
            };
            self.add(format!("paid to the {name}"), &other.official(), Fate::Refused);
        }
    }

    fn budget(&mut self) {
        for units in [0, 200_001, 1_400_000, u32::MAX] {
            let mut expensive = self.parts.clone();
            expensive[0] = limit(units);
            let fate = if units == 0 {
                Fate::FailsOnChain
            } else {
                Fate::Refused
            };
            self.add_parts(format!("compute limit {units}"), expensive, fate);
        }
        for micro in [5_000_001, u64::MAX] {
            let mut expensive = self.parts.clone();
            expensive[1] = price(micro);
            self.add_parts(format!("compute price {micro}"), expensive, Fate::Refused);
        }
    }

    fn accounts_of_the_transfer(&mut self) {
        let deal = self.deal;
        for (index, account) in deal.transfer().accounts.iter().enumerate() {
            for (name, other) in [
                ("fee payer", deal.fee_payer),
                ("buyer", deal.buyer.address()),
                ("payee", deal.pay_to),
            ] {
                if account.0 == other {
                    continue;
                }
                let mut parts = self.parts.clone();
                parts[2].accounts[index].0 = other;
                // Any account can be named as the buyer's token account, or as its authority; only the chain can check it.
                let is_open = (index == 0 || index == 3) && other != deal.fee_payer;
                let fate = if is_open {
                    Fate::FailsOnChain
                } else {
                    Fate::Refused
                };
                let name = format!("the {name} as account {index} of the transfer");
                self.add_parts(name, parts, fate);
            }
        }
        for program in [TOKEN, TOKEN_2022, SYSTEM, ASSOCIATED_TOKEN, LIGHTHOUSE] {
            if program == deal.token_program {
                continue;
            }
            let mut parts = self.parts.clone();
            parts[2].program = program;
            self.add_parts(format!("the transfer by {program}"), parts, Fate::Refused);
        }
    }

    fn whole_drafts(&mut self, official: &Draft) {
        let legacy = Draft {
            version: Version::Legacy,
            ..official.clone()
        };
        self.add("legacy message".into(), &legacy, Fate::Pays);
        let guarded = self.deal.guarded();
        self.add("guarded".into(), &guarded, Fate::Pays);
        let other_payer = Draft {
            fee_payer: Key::of_seed(9).address(),
            ..official.clone()
        };
        self.add("another fee payer".into(), &other_payer, Fate::Refused);
    }
}

/// Indices and data of the transfer changed in the message itself.
fn bytes_of_transfer(deal: &Deal, message: &Message) -> Vec<Mutation> {
    let mut out = Vec::new();
    let mut add = |name: String, message: &Message, fate: Fate| {
        out.push(Mutation {
            name,
            transaction: sign(message, &[&deal.buyer]),
            fate,
        });
    };
    let transfer = 2;
    for account in 0..4 {
        for index in 0..message.keys.len() {
            let mut changed = message.clone();
            let accounts = &mut changed.instructions[transfer].accounts;
            if accounts[account] == index as u8 {
                continue;
            }
            accounts[account] = index as u8;
            add(
                format!("account {account} of the transfer is key {index}"),
                &changed,
                if (account == 0 || account == 3) && index != 0 {
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
    out
}

/// Indices, headers and data changed in the message itself, so that the result may not be a message any more.
fn bytes_of_message(deal: &Deal, message: &Message) -> Vec<Mutation> {
    let mut out = bytes_of_transfer(deal, message);
    let mut add = |name: String, message: &Message, fate: Fate| {
        out.push(Mutation {
            name,
            transaction: sign(message, &[&deal.buyer]),
            fate,
        });
    };
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
