//! What we read of token programs beside spl-token's own types.

use proptest::collection::vec;
use proptest::prelude::*;
use schemes_svm::programs::{TOKEN, TOKEN_2022};
use schemes_svm::rpc;
use schemes_svm::token::{self, Instruction, MintKind, TransferChecked};
use solana_sdk::pubkey::Pubkey;
use spl_associated_token_account_interface::address::get_associated_token_address_with_program_id;
use spl_token::instruction::{TokenInstruction, transfer_checked};
use spl_token::solana_program::program_option::COption;
use spl_token::solana_program::program_pack::Pack;
use spl_token::state::{Account, AccountState, Mint};

fn address() -> impl Strategy<Value = Pubkey> {
    any::<[u8; 32]>().prop_map(Pubkey::new_from_array)
}

fn maybe<T: std::fmt::Debug + Clone>(some: impl Strategy<Value = T>) -> impl Strategy<Value = COption<T>> {
    proptest::option::of(some).prop_map(COption::from)
}

fn account() -> impl Strategy<Value = Account> {
    let states = [AccountState::Initialized, AccountState::Frozen];
    (
        (address(), address(), any::<u64>()),
        (
            maybe(address()),
            proptest::sample::select(states.to_vec()),
            maybe(any::<u64>()),
        ),
        (any::<u64>(), maybe(address())),
    )
        .prop_map(
            |((mint, owner, amount), (delegate, state, is_native), (delegated_amount, close_authority))| {
                Account {
                    mint,
                    owner,
                    amount,
                    delegate,
                    state,
                    is_native,
                    delegated_amount,
                    close_authority,
                }
            },
        )
}

fn mint() -> impl Strategy<Value = Mint> {
    (maybe(address()), any::<u64>(), any::<u8>(), maybe(address())).prop_map(
        |(mint_authority, supply, decimals, freeze_authority)| Mint {
            mint_authority,
            supply,
            decimals,
            is_initialized: true,
            freeze_authority,
        },
    )
}

fn packed<T: Pack>(state: T) -> Vec<u8> {
    let mut data = vec![0; T::LEN];
    T::pack(state, &mut data).expect("it fits");
    data
}

/// As we read an account of the first token program.
fn kind(data: Vec<u8>) -> Option<MintKind> {
    token::mint_kind(&rpc::Account {
        owner: TOKEN,
        lamports: 1,
        data,
    })
}

fn instruction(data: Vec<u8>, accounts: Vec<Pubkey>) -> Instruction {
    Instruction {
        program: TOKEN,
        accounts,
        data,
    }
}

#[test]
fn the_programs_are_the_official_ones() {
    assert_eq!(TOKEN, spl_token::id());
    let associated = spl_associated_token_account_interface::program::id();
    assert_eq!(schemes_svm::programs::ASSOCIATED_TOKEN, associated);
    assert_eq!(schemes_svm::programs::MEMO, spl_memo_interface::v3::id());
    assert_eq!(
        schemes_svm::programs::COMPUTE_BUDGET,
        solana_compute_budget_interface::id()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn the_owner_of_an_account_is_the_official_one(account in account()) {
        prop_assert_eq!(token::account_owner(&packed(account)), Some(account.owner));
    }

    /// Ours reads the owner of anything long enough: it uses the owner only of accounts that a token program moved money out of.
    #[test]
    fn data_that_is_an_account_to_us_has_the_official_owner(
        account in account(),
        patches in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut data = packed(account);
        for (at, byte) in patches {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Ok(theirs) = Account::unpack(&data) {
            prop_assert_eq!(token::account_owner(&data), Some(theirs.owner));
        }
    }

    #[test]
    fn a_mint_of_the_first_program_is_plain(mint in mint()) {
        prop_assert_eq!(kind(packed(mint)), Some(MintKind::Plain { for_ever: true }));
    }

    /// Ours calls every account of a mint's size a mint, an unfinished one too: no transfer of it passes simulation.
    #[test]
    fn data_that_is_no_mint_to_us_is_none_to_spl_token(data in vec(any::<u8>(), 0..400)) {
        if kind(data.clone()).is_none() {
            prop_assert!(Mint::unpack(&data).is_err());
        } else {
            prop_assert_eq!(data.len(), Mint::LEN);
        }
    }

    #[test]
    fn an_account_is_no_mint(account in account()) {
        prop_assert_eq!(kind(packed(account)), None);
    }

    #[test]
    fn a_transfer_is_read_as_it_was_built(
        (source, mint, destination, authority) in (address(), address(), address(), address()),
        (amount, decimals) in (any::<u64>(), any::<u8>()),
        further in vec(address(), 0..4),
    ) {
        let signers: Vec<&Pubkey> = further.iter().collect();
        let built = transfer_checked(
            &spl_token::id(), &source, &mint, &destination, &authority, &signers, amount, decimals,
        )
        .expect("an instruction");
        let accounts = built.accounts.iter().map(|meta| meta.pubkey).collect();
        let read = TransferChecked::read(&instruction(built.data, accounts));
        let expected = TransferChecked {
            program: TOKEN, source, mint, destination, authority, further, amount, decimals,
        };
        prop_assert_eq!(read, Some(expected));
    }

    /// The other way round: ours takes no data for a transfer that the program would not, and misses none.
    #[test]
    fn data_that_is_a_transfer_to_us_is_one_to_spl_token(
        first in prop_oneof![Just(12_u8), any::<u8>()],
        rest in vec(any::<u8>(), 0..14),
    ) {
        let data = [vec![first], rest].concat();
        let accounts = (1..=4).map(|byte| Pubkey::new_from_array([byte; 32])).collect();
        let ours = TransferChecked::read(&instruction(data.clone(), accounts));
        let ours = ours.map(|transfer| (transfer.amount, transfer.decimals));
        let theirs = match TokenInstruction::unpack(&data) {
            Ok(TokenInstruction::TransferChecked { amount, decimals }) => Some((amount, decimals)),
            _ => None,
        };
        prop_assert_eq!(ours, theirs);
    }
}

proptest! {
    // Each address takes a search.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn associated_accounts_are_the_official_ones(owner in address(), mint in address()) {
        for program in [TOKEN, TOKEN_2022] {
            prop_assert_eq!(
                token::associated_account(&owner, &mint, &program),
                get_associated_token_address_with_program_id(&owner, &mint, &program)
            );
        }
    }
}
