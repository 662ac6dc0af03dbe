//! `exact` on Solana: reading a payment's transaction, and who signed it.

use std::hint::black_box;

use benches::{Comparisons, repeat};
use schemes_svm::text;
use schemes_svm::wire::Transaction;
use solana_transaction::versioned::VersionedTransaction;

use crate::vectors;

pub(crate) fn compare(comparisons: &mut Comparisons) {
    // Version 0, as the official client of x402 builds it.
    let encoded = vectors::text(&vectors::svm(), "/cases/official_client/transaction");
    let bytes = text::transaction_bytes(&encoded).expect("base64");
    let transaction = Transaction::decode(&bytes).expect("ours reads it");
    let theirs = official(&bytes).expect("the official type reads it");
    assert_eq!(transaction.message_bytes(), theirs.message.serialize());
    comparisons.compare(
        ("svm", "read a transaction"),
        repeat(|| Transaction::decode(black_box(&bytes)).is_ok()),
        "solana-transaction: decode and sanitize",
        repeat(|| official(black_box(&bytes)).is_some()),
    );

    let payer = transaction.message().signers()[1];
    let signature = transaction.signatures[1];
    let message = transaction.message_bytes();
    assert!(transaction.others_signed());
    comparisons.compare(
        ("svm", "read a transaction, check who signed"),
        repeat(|| Transaction::decode(black_box(&bytes)).is_ok_and(|read| read.others_signed())),
        "ed25519-dalek: verify the payer's signature",
        repeat(|| black_box(&signature).verify(payer.as_ref(), message)),
    );
}

/// As a node does it.
fn official(bytes: &[u8]) -> Option<VersionedTransaction> {
    let read: VersionedTransaction = wincode::deserialize(bytes).ok()?;
    read.sanitize().ok()?;
    Some(read)
}
