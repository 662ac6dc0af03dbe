//! Solana: verify and settle of the same subjects in front of a Solana chain of its own, which runs for this part only.
//!
//! A peer that accepts a payment whose payer did not sign is measured all the same, and the report says so: on this chain a
//! node refuses such a transaction when it is sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use devnet::{SolanaDevnet, SolanaOptions};
use e2e::solana;
use serde_json::json;

use super::settle;
use super::verify::{self, connections_text};
use crate::bench::{Bench, Callers, INVALID, SUCCESS, Target, VALID, rounds};
use crate::load::{Load, Outcome};
use crate::subject::{Kind, Place, Subject};
use crate::{Failure, wire};

/// As on Solana's own networks.
const SLOT_MS: u64 = 400;
const VERIFY: &str = "Verify, Solana";
const SETTLE: &str = "Settle, Solana";

/// Gives every payment a memo of its own.
static PAYMENTS: AtomicU64 = AtomicU64::new(0);

/// Fields are dropped in this order.
struct Solana {
    subjects: Vec<Subject>,
    chain: SolanaDevnet,
}

/// What a payment is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payment {
    Good,
    /// It pays less than the seller wants.
    Short,
    /// Another key has signed it.
    Forged,
}

pub(crate) fn run(bench: &mut Bench) -> Result<(), Failure> {
    let solana = Solana::start(bench)?;
    for subject in &solana.subjects {
        if let Some(remark) = solana.assert_honest(subject)? {
            println!("   note: {remark}");
            bench.remarks.push(remark);
        }
    }
    verifies(bench, &solana)?;
    settles(bench, &solana)
}

fn verifies(bench: &mut Bench, solana: &Solana) -> Result<(), Failure> {
    let targets: Vec<Target<'_>> = solana
        .subjects
        .iter()
        .map(Subject::target)
        .collect::<Result<_, _>>()?;
    for connections in verify::CONNECTIONS {
        let name = connections_text(connections);
        let results = &mut bench.results;
        rounds(
            bench.effort,
            &targets,
            Callers {
                connections,
                wanted: VALID,
            },
            &|subject, count| solana.requests(subject, Payment::Good, "/verify", count),
            |subject, measured| {
                verify::record(results, (VERIFY, &name), "verifies/s", subject, measured);
                verify::costs(results, (VERIFY, &name), subject, measured);
            },
        )?;
        println!("   {VERIFY}, {name}: {}", bench.summary(VERIFY, &name));
    }
    Ok(())
}

fn settles(bench: &mut Bench, solana: &Solana) -> Result<(), Failure> {
    for (connections, count) in settle::SIZES {
        let name = settle::size_text(connections, count);
        for round in 0..bench.effort.rounds {
            for turn in 0..solana.subjects.len() {
                let Some(subject) = solana.subjects.get((round + turn) % solana.subjects.len()) else {
                    continue;
                };
                let requests = solana.requests(subject.name(), Payment::Good, "/settle", count);
                let measured = subject.target()?.measure(Load {
                    limit: settle::LIMIT,
                    ..bench.load(subject, &requests, connections, SUCCESS)
                })?;
                let results = &mut bench.results;
                settle::record(results, (SETTLE, &name), subject.name(), &measured, count);
            }
        }
        println!("   {SETTLE}, {name}: {}", bench.summary(SETTLE, &name));
    }
    Ok(())
}

impl Solana {
    fn start(bench: &Bench) -> Result<Solana, Failure> {
        let chain = SolanaDevnet::start(&SolanaOptions {
            slot_ms: SLOT_MS,
            ..SolanaOptions::default()
        })?;
        let mut subjects = Vec::new();
        for (kind, fee_payer) in Kind::ALL.into_iter().zip(&chain.fee_payers) {
            let place = Place::Solana {
                chain: &chain,
                fee_payer,
            };
            subjects.push(Subject::start(kind, &bench.programs, &place)?);
        }
        Ok(Solana { subjects, chain })
    }

    /// So many payments, for which this subject pays the fees, as POST requests for this path.
    fn requests(&self, subject: &str, payment: Payment, path: &str, count: usize) -> Vec<Vec<u8>> {
        let fee_payer = Kind::ALL
            .iter()
            .zip(&self.chain.fee_payers)
            .find_map(|(kind, key)| (kind.name() == subject).then_some(key));
        let (Some(fee_payer), Some(token)) = (fee_payer, self.chain.tokens.first()) else {
            return Vec::new();
        };
        let buyers = self.chain.buyers.len();
        let deals: Vec<_> = (0..buyers)
            .map(|buyer| solana::deal(&self.chain, fee_payer, buyer, token))
            .collect();
        let of = |number: usize| deals.get(number % buyers.max(1));
        let sign = |number: usize| {
            let (deal, other) = (of(number)?, of(number + 1)?);
            let memo = format!("payment {}", PAYMENTS.fetch_add(1, Ordering::Relaxed));
            let mut paid = deal.clone();
            if payment == Payment::Short {
                paid.amount -= 1;
            }
            let key = match payment {
                Payment::Good | Payment::Short => &deal.buyer,
                Payment::Forged => &other.buyer,
            };
            let transaction = solana::with_memo(&paid, &memo).sign(key);
            let body = solana::body(&self.chain.network, deal, &transaction, json!({}));
            Some(wire::post(path, body.to_string().as_bytes()))
        };
        (0..count).filter_map(sign).collect()
    }

    /// What the report must say of a subject. One that refuses a good payment, or accepts one of less than the price, is not
    /// measured.
    fn assert_honest(&self, subject: &Subject) -> Result<Option<String>, Failure> {
        let answer = |payment, wanted| -> Outcome {
            let requests = self.requests(subject.name(), payment, "/verify", 1);
            let load = Load {
                server: subject.server,
                requests: &requests,
                connections: 1,
                limit: Duration::from_secs(5),
                wanted,
                keep_bodies: false,
            };
            load.run()
        };
        let name = subject.name();
        for (payment, wanted) in [(Payment::Good, VALID), (Payment::Short, INVALID)] {
            let outcome = answer(payment, wanted);
            if outcome.accepted != 1 {
                let got = outcome.complaint.unwrap_or_default();
                return Err(Failure(format!(
                    "{name} does not answer {wanted} to a payment {payment:?} on Solana: {got}"
                )));
            }
        }
        let refuses = answer(Payment::Forged, INVALID).accepted == 1;
        Ok((!refuses).then(|| {
            format!(
                "{name} answers a verify on Solana without checking the payer's signature: it accepted a payment that \
                 another key had signed."
            )
        }))
    }
}
