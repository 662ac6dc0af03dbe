//! What every workload works with: the chain, the subjects, and one measurement in rounds.

use std::net::SocketAddr;
use std::time::Duration;

use devnet::{Devnet, Options, PERMIT2, USDC};

use crate::Failure;
use crate::load::{Load, Outcome};
use crate::node::{Mode, Node};
use crate::payments::{self, Payer};
use crate::process::Usage;
use crate::results::{Results, shown};
use crate::subject::{Kind, Place, Programs, Subject};

/// Buyers of one payment after the other: what a subject remembers of one payer does not answer for the next.
const BUYERS: u16 = 64;
/// The contract that x402-rs wants to see at its start. It calls it for ERC-6492 payers only, and no buyer here is one.
const ERC6492_VALIDATOR: &str = "0xdAcD51A54883eb67D95FAEb2BBfdC4a9a6BD2a3B";
/// A contract that does nothing.
const STOP: &str = "0x00";
/// Verifies per second of the first warm-up, generously.
const FIRST_RATE: u64 = 3_000;
/// Before the rounds of each measurement.
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);
/// Once, after the start.
const STARTED: Duration = Duration::from_secs(4);
const STARTED_REQUESTS: usize = 4_000;
const STARTED_CONNECTIONS: usize = 16;

pub(crate) const VALID: &str = "\"isValid\":true";
pub(crate) const INVALID: &str = "\"isValid\":false";
pub(crate) const SUCCESS: &str = "\"success\":true";

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Of one measurement of one subject.
    pub(crate) window: Duration,
}

#[derive(Debug)]
pub(crate) struct Bench {
    // Dropped before the chain.
    pub(crate) subjects: Vec<Subject>,
    pub(crate) chain: Devnet,
    pub(crate) programs: Programs,
    pub(crate) effort: Effort,
    pub(crate) results: Results,
    /// What the report says beside the numbers.
    pub(crate) remarks: Vec<String>,
}

/// A series of requests to one subject, and what it cost.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    pub(crate) usage: Usage,
    pub(crate) calls: u64,
}

impl Measured {
    /// Microseconds of CPU for each answer, in hundredths.
    pub(crate) fn cpu_us(&self) -> u64 {
        let micros = self.usage.cpu.as_micros() * 100 / u128::from(self.outcome.answers().max(1));
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    /// Context switches for each answer, in hundredths.
    pub(crate) fn switches(&self) -> u64 {
        self.usage.switches * 100 / self.outcome.answers().max(1)
    }

    /// JSON-RPC calls for each answer, in hundredths.
    pub(crate) fn calls(&self) -> u64 {
        self.calls * 100 / self.outcome.answers().max(1)
    }
}

impl Bench {
    /// Starts the chain and the subjects, each with a funded key of its own, and shows that each accepts a good payment and
    /// refuses a forged one.
    pub(crate) fn start(programs: Programs, effort: Effort) -> Result<Bench, Failure> {
        let options = Options {
            buyers: BUYERS,
            ..Options::default()
        };
        let chain = Devnet::start(options)?;
        chain.set_code(ERC6492_VALIDATOR, STOP)?;
        for buyer in &chain.buyers {
            chain.set_allowance(USDC, &buyer.address, PERMIT2, u128::MAX)?;
        }
        let mut subjects = Vec::new();
        for (kind, signer) in Kind::ALL.into_iter().zip(&chain.facilitators) {
            let place = Place::Evm {
                chain: chain.url(),
                signer,
                networks: 1,
            };
            subjects.push(Subject::start(kind, &programs, &place)?);
        }
        let bench = Bench {
            subjects,
            chain,
            programs,
            effort,
            results: Results::default(),
            remarks: Vec::new(),
        };
        for subject in &bench.subjects {
            bench.assert_honest(subject)?;
            bench.warm_up(subject);
        }
        Ok(bench)
    }

    /// A subject that accepts everything, or nothing, is not measured.
    pub(crate) fn assert_honest(&self, subject: &Subject) -> Result<(), Failure> {
        for (payer, is_good) in [
            (Payer::Accounts, true),
            (Payer::Forged, false),
            (Payer::Wallet, true),
            (Payer::Permits, true),
        ] {
            let wanted = if is_good { VALID } else { INVALID };
            let requests = payments::requests(&self.chain, payer, "/verify", 1);
            let outcome = self.load(subject, &requests, 1, wanted).run();
            if outcome.accepted != 1 {
                let got = outcome.complaint.unwrap_or_default();
                let name = subject.name();
                return Err(Failure(format!(
                    "{name} does not answer {wanted} to a payment {payer:?}: {got}"
                )));
            }
        }
        Ok(())
    }

    /// Ends each subject and starts it again, warmed up.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        for subject in &mut self.subjects {
            subject.restart()?;
        }
        self.subjects.iter().for_each(|subject| self.warm_up(subject));
        Ok(())
    }

    /// Node.js compiles its hot functions while they run.
    fn warm_up(&self, subject: &Subject) {
        let requests = payments::requests(&self.chain, Payer::Accounts, "/verify", STARTED_REQUESTS);
        let load = Load {
            limit: STARTED,
            ..self.load(subject, &requests, STARTED_CONNECTIONS, VALID)
        };
        load.run();
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        for subject in &self.subjects {
            subject.node.set_mode(mode);
        }
    }

    pub(crate) fn load<'a>(
        &self,
        subject: &Subject,
        requests: &'a [Vec<u8>],
        connections: usize,
        wanted: &'a str,
    ) -> Load<'a> {
        Load {
            server: subject.server,
            requests,
            connections,
            limit: self.effort.window,
            wanted,
            keep_bodies: false,
        }
    }

    /// Verifies of these payers over so many connections, all answered with `wanted`, in rounds in which the subjects take
    /// turns. `record` gets each measurement.
    pub(crate) fn verify_rounds(
        &mut self,
        payer: Payer,
        connections: usize,
        wanted: &str,
        mut record: impl FnMut(&mut Results, &'static str, &Measured),
    ) -> Result<(), Failure> {
        let targets: Vec<Target<'_>> = self
            .subjects
            .iter()
            .map(Subject::target)
            .collect::<Result<_, _>>()?;
        let sign = |_: &str, count| payments::requests(&self.chain, payer, "/verify", count);
        let results = &mut self.results;
        rounds(
            self.effort,
            &targets,
            Callers { connections, wanted },
            &sign,
            |name, measured| record(results, name, measured),
        )
    }
}

/// A running process, and the node that it uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) name: &'static str,
    pub(crate) server: SocketAddr,
    pub(crate) process: u32,
    pub(crate) node: Option<&'a Node>,
}

impl Target<'_> {
    fn calls(&self) -> u64 {
        self.node.map(Node::calls).unwrap_or_default()
    }

    /// Sends a load and reads the meters before and after it.
    pub(crate) fn measure(&self, load: Load<'_>) -> Result<Measured, Failure> {
        let (usage, calls) = (Usage::of(self.process)?, self.calls());
        let outcome = load.run();
        Ok(Measured {
            usage: Usage::of(self.process)?.since(usage),
            calls: self.calls() - calls,
            outcome,
        })
    }
}

/// Who calls, and what each answer has to contain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Callers<'a> {
    pub(crate) connections: usize,
    pub(crate) wanted: &'a str,
}

/// Measures the targets in turns. `sign` makes so many requests for the target of this name, and `record` gets each
/// measurement.
pub(crate) fn rounds(
    effort: Effort,
    targets: &[Target<'_>],
    callers: Callers<'_>,
    sign: &dyn Fn(&str, usize) -> Vec<Vec<u8>>,
    mut record: impl FnMut(&'static str, &Measured),
) -> Result<(), Failure> {
    let load = |target: &Target<'_>, limit: Duration, rate: u64| -> Result<Measured, Failure> {
        let requests = sign(target.name, ahead(rate, limit));
        target.measure(Load {
            server: target.server,
            requests: &requests,
            connections: callers.connections,
            limit,
            wanted: callers.wanted,
            keep_bodies: false,
        })
    };
    let mut rates = Vec::new();
    for target in targets {
        rates.push(load(target, WARM_UP, FIRST_RATE)?.outcome.rate() / 100);
    }
    for round in 0..effort.rounds {
        for turn in 0..targets.len() {
            let at = (round + turn) % targets.len();
            let (Some(target), Some(rate)) = (targets.get(at), rates.get_mut(at)) else {
                continue;
            };
            let measured = load(target, effort.window, *rate)?;
            let outcome = &measured.outcome;
            outcome.mostly_accepted(target.name, callers.wanted)?;
            *rate = (*rate).max(outcome.rate() / 100);
            record(target.name, &measured);
        }
    }
    Ok(())
}

/// How many requests to sign for this rate and time: half as many again, so that the time ends first.
fn ahead(rate: u64, time: Duration) -> usize {
    let wanted = u128::from(rate) * time.as_millis() * 3 / 2_000;
    usize::try_from(wanted).unwrap_or(usize::MAX).max(64)
}

/// A duration in hundredths of a millisecond.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros() / 10).unwrap_or(u64::MAX)
}

impl Bench {
    /// The medians of the first quantity of this name, for the terminal.
    pub(crate) fn summary(&self, group: &str, name: &str) -> String {
        let mut rows = self
            .results
            .rows_of(group)
            .filter(|row| row.quantity.name == name);
        let Some(row) = rows.next() else {
            return String::new();
        };
        let medians: Vec<String> = row
            .sides
            .iter()
            .map(|side| format!("{} {}", side.subject, shown(side.median())))
            .collect();
        format!("{} {}", medians.join(", "), row.quantity.unit)
    }
}
