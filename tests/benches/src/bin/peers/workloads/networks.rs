//! A facilitator with 100 networks: all of one chain, under 100 chain ids.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::bench::{Bench, Effort, VALID, ms};
use crate::load::rate;
use crate::payments::{self, Payer};
use crate::process::{Usage, resident_kib};
use crate::results::Quantity;
use crate::subject::{Kind, Place, Subject};
use crate::workloads::starts::mib;

const NETWORKS: u64 = 100;
const CONNECTIONS: usize = 16;
/// Verifies of a measurement, at most.
const REQUESTS: usize = 6_000;
/// How long a subject is watched while it has nothing to do.
pub(crate) const IDLE: Duration = Duration::from_secs(4);
const GROUP: &str = "100 networks";

/// A start takes seconds: three rounds are enough.
pub(crate) fn rounds(effort: Effort) -> u32 {
    u32::try_from(effort.rounds).unwrap_or(u32::MAX).min(3)
}

pub(crate) fn run(bench: &mut Bench) -> Result<(), Failure> {
    for _ in 0..rounds(bench.effort) {
        for kind in Kind::ALL {
            once(bench, kind)?;
        }
    }
    for name in ["start", "idle", "16 connections"] {
        println!("   {GROUP}, {name}: {}", bench.summary(GROUP, name));
    }
    Ok(())
}

fn once(bench: &mut Bench, kind: Kind) -> Result<(), Failure> {
    // The fourth key: the first three belong to the subjects that run already.
    let signer = bench
        .chain
        .facilitators
        .last()
        .ok_or_else(|| Failure("a chain without funded keys".to_owned()))?;
    let mut subject = Subject::start(
        kind,
        &bench.programs,
        &Place::Evm {
            chain: bench.chain.url(),
            signer,
            networks: NETWORKS,
        },
    )?;
    let start = subject.restart()?;
    bench.assert_honest(&subject)?;
    let (usage, calls, began) = (Usage::of(subject.id()?)?, subject.node.calls(), Instant::now());
    std::thread::sleep(IDLE);
    let idle = Usage::of(subject.id()?)?.since(usage);
    let polls = rate(subject.node.calls() - calls, began.elapsed());
    let memory = resident_kib(subject.id()?)?;
    let requests = payments::requests(&bench.chain, Payer::Accounts, "/verify", REQUESTS);
    let load = bench.load(&subject, &requests, CONNECTIONS, VALID);
    let measured = subject.target()?.measure(load)?;
    measured.outcome.mostly_accepted(kind.name(), VALID)?;
    let busy = idle.cpu.as_micros() * 100 / IDLE.as_millis().max(1);
    let busy = u64::try_from(busy).unwrap_or(u64::MAX);
    let results = &mut bench.results;
    for (quantity, value) in [
        (Quantity::lower(GROUP, "start", "ms"), ms(start)),
        (Quantity::lower(GROUP, "idle", "MiB"), mib(memory)),
        (Quantity::lower(GROUP, "idle", "ms of CPU per second"), busy),
        (
            Quantity::lower(GROUP, "idle", "calls to the node per second"),
            polls,
        ),
        (
            Quantity::higher(GROUP, "16 connections", "verifies/s"),
            measured.outcome.rate(),
        ),
        (
            Quantity::lower(GROUP, "16 connections", "µs of CPU"),
            measured.cpu_us(),
        ),
    ] {
        results.add(&quantity, kind.name(), value);
    }
    Ok(())
}
