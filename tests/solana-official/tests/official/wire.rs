//! Our reader of transactions beside the official one: what ours reads, the official one reads alike; what only ours
//! refuses is one of three things, which [`stricter`] names.

use std::cell::Cell;
use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use schemes_svm::testkit::{Deal, Draft, mutations};
use schemes_svm::wire::{DecodeError, Transaction, Version};
use solana_sdk::hash::Hash;
use solana_sdk::message::compiled_instruction::CompiledInstruction;
use solana_sdk::message::v0::MessageAddressTableLookup;
use solana_sdk::message::{Message, MessageHeader, VersionedMessage, v0};
use solana_sdk::pubkey::Pubkey;
use solana_sdk::signature::Signature;
use solana_sdk::transaction::VersionedTransaction;

/// Bytes of Solana's packet: a node takes no longer transaction of version 0.
const PACKET: usize = 1_232;
const CASES: u32 = 20_000;

/// What became of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    BothRead,
    BothRefuse,
    OursIsStricter,
}

/// As a node does it: decode, then sanitize.
fn official(bytes: &[u8]) -> Result<VersionedTransaction, String> {
    if bytes.len() > PACKET {
        return Err("longer than a packet".to_owned());
    }
    let read: VersionedTransaction = wincode::deserialize(bytes).map_err(|error| error.to_string())?;
    read.sanitize().map_err(|error| error.to_string())?;
    Ok(read)
}

/// Compares both readers on these bytes.
fn compare(bytes: &[u8]) -> Outcome {
    match (Transaction::decode(bytes), official(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            same(bytes, &ours, &theirs);
            Outcome::BothRead
        }
        (Ok(ours), Err(why)) => panic!("only ours reads it ({why}): {ours:?}"),
        (Err(error), Ok(theirs)) => {
            assert!(
                stricter(bytes, error, &theirs),
                "only ours refuses it ({error}): {theirs:?}"
            );
            Outcome::OursIsStricter
        }
        (Err(_), Err(_)) => Outcome::BothRefuse,
    }
}

fn same(bytes: &[u8], ours: &Transaction, theirs: &VersionedTransaction) {
    let (mine, message) = (ours.message(), &theirs.message);
    assert_eq!(ours.signatures, theirs.signatures);
    assert_eq!(mine.header, *message.header());
    assert_eq!(mine.keys, message.static_account_keys());
    assert_eq!(mine.recent_blockhash, *message.recent_blockhash());
    assert_eq!(mine.instructions, message.instructions());
    let (version, lookups): (Version, &[MessageAddressTableLookup]) = match message {
        VersionedMessage::Legacy(_) => (Version::Legacy, &[]),
        VersionedMessage::V0(message) => (Version::V0, &message.address_table_lookups),
        VersionedMessage::V1(_) => panic!("ours reads no version 1"),
    };
    assert_eq!((mine.version, mine.lookups.as_slice()), (version, lookups));
    let named = (mine.version == Version::V0).then_some(0);
    assert_eq!(Transaction::named_version(bytes), Ok(named));
    // What is signed, and what is sent.
    assert_eq!(ours.message_bytes(), message.serialize());
    assert_eq!(ours.to_bytes(), bytes);
    assert_eq!(wincode::serialize(theirs).expect("wire bytes"), bytes);
    let others = theirs.verify_with_results().iter().skip(1).all(|good| *good);
    assert_eq!(ours.others_signed(), others);
}

/// Whether ours may refuse what the official type reads: it is no payment that a chain would run.
fn stricter(bytes: &[u8], error: DecodeError, theirs: &VersionedTransaction) -> bool {
    match error {
        // The official types leave it to the caller whether anything may follow. Ours refuses it, so that one message has
        // one form.
        DecodeError::Trailing => wincode::serialize(theirs).is_ok_and(|exact| exact.len() < bytes.len()),
        // A node refuses it later, when it locks accounts. Ours refuses it before anything is paid for.
        DecodeError::Inconsistent("an account is listed twice") => {
            let keys = theirs.message.static_account_keys();
            keys.iter().collect::<HashSet<_>>().len() < keys.len()
        }
        // Known to the official types, and not enabled on any network that ours serves.
        DecodeError::Version(1) | DecodeError::Length | DecodeError::Truncated => {
            matches!(theirs.message, VersionedMessage::V1(_))
        }
        DecodeError::Version(_) | DecodeError::TooLong | DecodeError::Inconsistent(_) => false,
    }
}

/// Payments as wallets make them: legacy, version 0, with guards, and with a look-up table.
fn payments() -> Vec<Vec<u8>> {
    let deal = Deal::example();
    let official = deal.official();
    let legacy = Draft {
        version: Version::Legacy,
        ..official.clone()
    };
    let tables = Draft {
        tables: vec![(
            Pubkey::new_from_array([9; 32]),
            vec![deal.mint, deal.destination()],
        )],
        ..official.clone()
    };
    let drafts = [official, legacy, tables, deal.guarded()];
    drafts.iter().map(|draft| draft.sign(&deal.buyer)).collect()
}

/// Runs the comparison on many inputs, and prints how often both read and how often only ours refused.
fn tally(bytes: impl Strategy<Value = Vec<u8>>) -> (u32, u32) {
    let (read, stricter) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(CASES)
    });
    let result = runner.run(&bytes, |bytes| {
        match compare(&bytes) {
            Outcome::BothRead => read.set(read.get() + 1),
            Outcome::OursIsStricter => stricter.set(stricter.get() + 1),
            Outcome::BothRefuse => {}
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    (read.get(), stricter.get())
}

#[test]
fn payments_of_wallets_are_read_alike() {
    for bytes in payments() {
        assert_eq!(compare(&bytes), Outcome::BothRead);
    }
    let all = mutations(&Deal::example());
    let read = all
        .iter()
        .filter(|mutation| compare(&mutation.transaction) == Outcome::BothRead)
        .count();
    assert!(read > all.len() / 2, "{read} of {} are transactions", all.len());
}

#[test]
fn each_cut_and_each_byte_more_is_judged_alike() {
    for bytes in payments() {
        for length in 0..bytes.len() {
            assert_eq!(compare(&bytes[..length]), Outcome::BothRefuse, "cut to {length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(compare(&longer), Outcome::OursIsStricter);
        let packet = [bytes.clone(), vec![0; PACKET + 1 - bytes.len()]].concat();
        assert_eq!(compare(&packet), Outcome::BothRefuse);
    }
}

#[test]
fn each_byte_in_each_value_is_judged_alike() {
    let bytes = payments().swap_remove(2);
    let signed = 1 + 2 * 64;
    // Bytes of a signature change nothing but the signature.
    for at in std::iter::once(0).chain(signed..bytes.len()) {
        let mut changed = bytes.clone();
        for value in 0..=u8::MAX {
            changed[at] = value;
            let _ = compare(&changed);
        }
    }
}

#[test]
fn random_bytes_are_judged_alike() {
    let _ = tally(vec(any::<u8>(), 0..=PACKET + 1));
}

#[test]
fn patched_payments_are_judged_alike() {
    let patches = vec((any::<Index>(), any::<u8>()), 1..6);
    let edits = (
        proptest::sample::select(payments()),
        patches,
        any::<Option<Index>>(),
    );
    let (read, _) = tally(edits.prop_map(|(mut bytes, patches, insert)| {
        for (at, byte) in patches {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(at) = insert {
            bytes.insert(at.index(bytes.len()), 0);
        }
        bytes
    }));
    assert!(read > CASES / 20, "{read} of {CASES} are transactions");
}

#[test]
fn messages_of_the_official_types_are_judged_alike() {
    let (read, stricter) =
        tally(transactions().prop_map(|made| wincode::serialize(&made).expect("wire bytes")));
    assert!(read > CASES / 20, "{read} of {CASES} are transactions");
    assert!(stricter > 0, "no account was listed twice");
}

/// Transactions of the official types whose numbers are small, so that many of them are consistent.
fn transactions() -> impl Strategy<Value = VersionedTransaction> {
    let index = || 0..10_u8;
    let header = (0..4_u8, 0..3_u8, 0..4_u8).prop_map(
        |(num_required_signatures, num_readonly_signed_accounts, num_readonly_unsigned_accounts)| {
            MessageHeader {
                num_required_signatures,
                num_readonly_signed_accounts,
                num_readonly_unsigned_accounts,
            }
        },
    );
    let instruction = (index(), vec(index(), 0..4), vec(any::<u8>(), 0..140)).prop_map(
        |(program_id_index, accounts, data)| CompiledInstruction {
            program_id_index,
            accounts,
            data,
        },
    );
    let lookup = (any::<u8>(), vec(any::<u8>(), 0..3), vec(any::<u8>(), 0..3)).prop_map(
        |(key, writable_indexes, readonly_indexes)| MessageAddressTableLookup {
            account_key: Pubkey::new_from_array([key; 32]),
            writable_indexes,
            readonly_indexes,
        },
    );
    // Few distinct keys would nearly always repeat one.
    let keys = vec(
        any::<u8>().prop_map(|byte| Pubkey::new_from_array([byte; 32])),
        0..12,
    );
    let parts = (header, keys, vec(instruction, 0..4), vec(lookup, 0..3));
    (parts, any::<bool>(), any::<[u8; 32]>(), any::<Option<u8>>()).prop_map(
        |((header, account_keys, instructions, address_table_lookups), legacy, hash, signatures)| {
            let recent_blockhash = Hash::new_from_array(hash);
            let message = if legacy {
                VersionedMessage::Legacy(Message {
                    header,
                    account_keys,
                    recent_blockhash,
                    instructions,
                })
            } else {
                VersionedMessage::V0(v0::Message {
                    header,
                    account_keys,
                    recent_blockhash,
                    instructions,
                    address_table_lookups,
                })
            };
            // Mostly as many as the header requests.
            let count = match signatures {
                Some(byte) if byte < 32 => byte % 4,
                _ => header.num_required_signatures,
            };
            VersionedTransaction {
                signatures: vec![Signature::from([7; 64]); usize::from(count)],
                message,
            }
        },
    )
}
