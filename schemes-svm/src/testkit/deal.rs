//! A payment's parties, and the parts that wallets make transactions of.

use solana_address::Address;
use solana_hash::Hash;

use super::{Draft, Key, Part};
use crate::programs::{ASSOCIATED_TOKEN, COMPUTE_BUDGET, LIGHTHOUSE, MEMO, SYSTEM, TOKEN};
use crate::token::{self, CREATE_IDEMPOTENT, TRANSFER_CHECKED};
use crate::wire::Version;

/// Who pays whom, how much of what.
#[derive(Debug, Clone)]
pub struct Deal {
    pub fee_payer: Address,
    pub buyer: Key,
    pub pay_to: Address,
    pub mint: Address,
    pub token_program: Address,
    /// Atomic units.
    pub amount: u64,
    pub decimals: u8,
    pub blockhash: Hash,
}

impl Deal {
    /// The deal of the golden vectors: 0.01 of devnet's USDC; the secrets are the bytes 1 (fee payer), 2 (buyer) and 3
    /// (payee), 32 times each.
    #[must_use]
    pub fn example() -> Self {
        Self {
            fee_payer: Key::of_seed(1).address(),
            buyer: Key::of_seed(2),
            pay_to: Key::of_seed(3).address(),
            mint: Address::from_str_const("4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"),
            token_program: TOKEN,
            amount: 10_000,
            decimals: 6,
            blockhash: Hash::new_from_array([7; 32]),
        }
    }

    /// The buyer's token account.
    #[must_use]
    pub fn source(&self) -> Address {
        token::associated_account(&self.buyer.address(), &self.mint, &self.token_program)
    }

    /// The payee's token account.
    #[must_use]
    pub fn destination(&self) -> Address {
        token::associated_account(&self.pay_to, &self.mint, &self.token_program)
    }

    /// The transfer.
    #[must_use]
    pub fn transfer(&self) -> Part {
        let mut data = vec![TRANSFER_CHECKED];
        data.extend(self.amount.to_le_bytes());
        data.push(self.decimals);
        Part {
            program: self.token_program,
            accounts: vec![
                (self.source(), true),
                (self.mint, false),
                (self.destination(), true),
                (self.buyer.address(), false),
            ],
            data,
        }
    }

    /// The creation of the payee's token account.
    #[must_use]
    pub fn create(&self, funder: Address) -> Part {
        Part {
            program: ASSOCIATED_TOKEN,
            accounts: vec![
                (funder, true),
                (self.destination(), true),
                (self.pay_to, false),
                (self.mint, false),
                (SYSTEM, false),
                (self.token_program, false),
            ],
            data: vec![CREATE_IDEMPOTENT],
        }
    }

    /// A transaction of these parts, signed by the buyer.
    #[must_use]
    pub fn draft(&self, parts: Vec<Part>) -> Draft {
        Draft {
            version: Version::V0,
            fee_payer: self.fee_payer,
            signers: vec![self.buyer.address()],
            blockhash: self.blockhash,
            parts,
            tables: Vec::new(),
        }
    }

    /// What the official client builds: limit, price, transfer, memo.
    #[must_use]
    pub fn official(&self) -> Draft {
        self.draft(vec![
            limit(20_000),
            price(1),
            self.transfer(),
            memo("0123456789abcdef0123456789abcdef"),
        ])
    }

    /// What a wallet with guards builds of it: assertions about the buyer's accounts around the transfer.
    #[must_use]
    pub fn guarded(&self) -> Draft {
        let reads = |account: Address| guard(6, vec![(account, false)]);
        self.draft(vec![
            limit(20_000),
            price(1),
            reads(self.source()),
            reads(self.buyer.address()),
            reads(self.source()),
            self.transfer(),
            memo("0123456789abcdef0123456789abcdef"),
            reads(self.buyer.address()),
        ])
    }
}

/// SetComputeUnitLimit.
#[must_use]
pub fn limit(units: u32) -> Part {
    let mut data = vec![2];
    data.extend(units.to_le_bytes());
    Part {
        program: COMPUTE_BUDGET,
        accounts: Vec::new(),
        data,
    }
}

/// SetComputeUnitPrice.
#[must_use]
pub fn price(micro_lamports: u64) -> Part {
    let mut data = vec![3];
    data.extend(micro_lamports.to_le_bytes());
    Part {
        program: COMPUTE_BUDGET,
        accounts: Vec::new(),
        data,
    }
}

#[must_use]
pub fn memo(text: &str) -> Part {
    Part {
        program: MEMO,
        accounts: Vec::new(),
        data: text.as_bytes().to_vec(),
    }
}

/// An instruction of the guards' program.
#[must_use]
pub fn guard(first_byte: u8, accounts: Vec<(Address, bool)>) -> Part {
    Part {
        program: LIGHTHOUSE,
        accounts,
        data: vec![first_byte, 0, 0],
    }
}
