//! T-56: whatever the bytes are, the decoder answers, and what it reads it writes back.

use std::collections::BTreeSet;

use proptest::prelude::*;
use schemes_svm::exact::config::{CreateAtaMode, Layout};
use schemes_svm::exact::reason;
use schemes_svm::testkit::{Deal, Fate, mutations};
use schemes_svm::wire::{DecodeError, Transaction};

use crate::world::{World, good, request};

/// Reads, and where that works compares with what is written.
fn decode(bytes: &[u8]) -> Result<Transaction, DecodeError> {
    let read = Transaction::decode(bytes)?;
    assert_eq!(read.to_bytes(), bytes);
    assert_eq!(read.message().to_bytes(), read.message_bytes());
    Ok(read)
}

fn official() -> Vec<u8> {
    let deal = Deal::example();
    deal.official().sign(&deal.buyer)
}

#[test]
fn t56_versions_other_than_0_are_refused_in_words() {
    let mut bytes = official();
    let version = 1 + 2 * 64;
    assert_eq!(bytes[version], 0x80);
    for number in 1..=127 {
        bytes[version] = 0x80 | number;
        assert_eq!(decode(&bytes), Err(DecodeError::Version(number)));
        assert_eq!(
            World::new().refused(&request(&bytes)),
            reason::UNSUPPORTED_VERSION
        );
    }
}

#[test]
fn t56_every_cut_and_every_flipped_bit_is_answered() {
    let bytes = official();
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            let _ = decode(&flipped);
        }
    }
    let mut long = bytes.clone();
    long.push(0);
    assert_eq!(decode(&long), Err(DecodeError::Trailing));
    assert_eq!(decode(&vec![0; 1_233]), Err(DecodeError::TooLong));
}

#[test]
fn t56_lengths_have_one_spelling() {
    let bytes = official();
    // Two signatures as 0x82 0x00, and as three bytes.
    for spelling in [vec![0x82, 0x00], vec![0x82, 0x80, 0x00]] {
        let mut other = spelling;
        other.extend_from_slice(&bytes[1..]);
        assert_eq!(decode(&other), Err(DecodeError::Length));
    }
    assert_eq!(
        decode(&[0xff, 0xff, 0x04]),
        Err(DecodeError::Length),
        "65536 and more"
    );
    assert_eq!(decode(&[0xff, 0xff, 0xff]), Err(DecodeError::Length));
    assert_eq!(decode(&[0xff, 0xff, 0x03]), Err(DecodeError::Truncated));
}

#[test]
fn every_mutation_is_refused_unless_it_still_pays_exactly() {
    let deal = Deal::example();
    let mutations = mutations(&deal);
    assert!(mutations.len() >= 200, "{}", mutations.len());
    let names: BTreeSet<&str> = mutations.iter().map(|mutation| mutation.name.as_str()).collect();
    assert_eq!(names.len(), mutations.len(), "two mutations have one name");
    let mut wrong: Vec<String> = Vec::new();
    for layout in [Layout::Identity, Layout::Positional] {
        for mutation in &mutations {
            let world = World::configured(|config| config.layout = layout);
            let verdict = world.verify(&request(&mutation.transaction));
            let expected = match (layout, mutation.fate) {
                // Which has no room for three guards before a transfer.
                (Layout::Positional, Fate::Pays) => mutation.name != "guarded",
                (Layout::Identity, Fate::Pays) => true,
                (_, Fate::Refused) => false,
                // The scripted chain lets everything work.
                (_, Fate::FailsOnChain) => continue,
            };
            if verdict.is_ok() != expected {
                wrong.push(format!("{layout:?}: {}: {verdict:?}", mutation.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_buyers_own_creation_is_the_only_mutation_that_its_mode_adds() {
    let deal = Deal::example();
    for mutation in mutations(&deal) {
        let world = World::configured(|config| config.create_ata.mode = CreateAtaMode::Client);
        let verdict = world.verify(&request(&mutation.transaction));
        if mutation.fate == Fate::FailsOnChain {
            continue;
        }
        let expected = mutation.fate == Fate::Pays || mutation.name == "foreign instruction 4 at 2";
        assert_eq!(verdict.is_ok(), expected, "{}: {verdict:?}", mutation.name);
    }
}

#[test]
fn hostile_members_of_the_payload_are_refused() {
    for transaction in [
        serde_json::json!(null),
        serde_json::json!(7),
        serde_json::json!({}),
        serde_json::json!([]),
        serde_json::json!(""),
        serde_json::json!("not base64!"),
        serde_json::json!("A".repeat(100_000)),
    ] {
        let mut request = good();
        request.payload["transaction"] = transaction;
        assert_eq!(World::new().refused(&request), reason::UNDECODABLE);
        assert!(World::new().identify(&request).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn t56_random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn t56_patched_transactions_do_not_panic(
        patches in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = official_cached();
        for (place, byte) in patches {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = decode(&bytes);
    }
}

fn official_cached() -> Vec<u8> {
    static OFFICIAL: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(official);
    OFFICIAL.clone()
}
