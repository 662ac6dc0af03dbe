//! What is measured, in the order of importance.

pub(crate) mod core;
mod networks;
mod settle;
mod solana;
mod starts;
mod verify;

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use crate::Failure;
use crate::bench::{Bench, Effort, WARM_UP};
use crate::subject::Kind;

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Verify of accounts beside the chain, and with a recorded node of 5 ms and of 50 ms: 1, 16 and 64 connections
    Verify,
    /// Settle on instant blocks and on blocks of 2 seconds: 1, 16 and 64 payments at once, one signer
    Settle,
    /// Verify of a contract wallet
    Wallet,
    /// Verify of payments by Permit2
    Permits,
    /// Verify and settle on Solana: 1, 16 and 64 at once, one fee payer
    Solana,
    /// A flood of forged payments
    Refusals,
    /// From a killed process to a ready one, and memory idle and loaded
    Starts,
    /// The core with a no-op plugin, beside axum alone and beside the same handlers linked in
    Core,
    /// Start, memory and verify with 100 networks
    Networks,
}

impl Workload {
    pub(crate) const ALL: [Workload; 9] = [
        Workload::Verify,
        Workload::Settle,
        Workload::Wallet,
        Workload::Permits,
        Workload::Solana,
        Workload::Refusals,
        Workload::Starts,
        Workload::Core,
        Workload::Networks,
    ];

    pub(crate) fn run(self, bench: &mut Bench) -> Result<(), Failure> {
        match self {
            Workload::Verify => verify::accounts(bench),
            Workload::Settle => settle::run(bench),
            Workload::Wallet => verify::wallet(bench),
            Workload::Permits => verify::permits(bench),
            Workload::Solana => solana::run(bench),
            Workload::Refusals => verify::refusals(bench),
            Workload::Starts => starts::run(bench),
            Workload::Core => core::run(bench),
            Workload::Networks => networks::run(bench),
        }
    }

    /// About how long it takes.
    pub(crate) fn expected(self, effort: Effort) -> Duration {
        let rounds = u32::try_from(effort.rounds).unwrap_or(u32::MAX);
        // Payments are signed in about the time in which they are sent.
        let measurement = effort.window.saturating_mul(2);
        let subjects = u32::try_from(Kind::ALL.len()).unwrap_or(1);
        let once = measurement.saturating_mul(subjects);
        let warm_up = WARM_UP.saturating_mul(4 * subjects);
        match self {
            Workload::Verify => (once.saturating_mul(rounds) + warm_up).saturating_mul(9),
            // Peers that poll the chain every seven seconds take that long for each step.
            Workload::Settle => Duration::from_secs(100).saturating_mul(rounds),
            // Verifies, and settles that each last for several slots.
            Workload::Solana => (once + Duration::from_secs(15))
                .saturating_mul(rounds)
                .saturating_mul(3),
            Workload::Wallet | Workload::Permits | Workload::Refusals => {
                once.saturating_mul(rounds) + warm_up
            }
            Workload::Starts => (once + Duration::from_secs(6)).saturating_mul(rounds),
            Workload::Core => (once.saturating_mul(rounds) + warm_up).saturating_mul(3),
            Workload::Networks => (once + networks::IDLE * subjects).saturating_mul(networks::rounds(effort)),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", |name| name.get_name()))
    }
}
