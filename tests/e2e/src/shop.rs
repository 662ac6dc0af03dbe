//! The official clients: a paid API and a buyer, as Node.js processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use devnet::Npm;
use serde_json::Value;

use crate::Error;
use crate::leash::Leash;

/// Which generation of the official packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    V2,
    V1,
}

/// A paid API; dropping it stops it.
#[derive(Debug)]
pub struct Seller {
    /// The official middleware writes to it: a closed pipe would end the process.
    _output: Option<BufReader<ChildStdout>>,
    child: Child,
    _leash: Leash,
    /// What costs money.
    pub resource: String,
    /// Where it listens.
    pub address: String,
}

impl Seller {
    /// Starts the seller and returns when it listens. `environment`: what the script's head describes, beside
    /// `FACILITATOR_URL` and `PAY_TO`. Without `pay_to` a v2 seller takes no payments on EVM; `SOLANA_PAY_TO` in the
    /// environment makes it take them on Solana.
    ///
    /// # Errors
    /// When it ends before it listens.
    pub fn start(
        npm: &Npm,
        generation: Generation,
        facilitator: &str,
        pay_to: &str,
        environment: &[(&str, &str)],
    ) -> Result<Seller, Error> {
        let script = match generation {
            Generation::V2 => "seller.mjs",
            Generation::V1 => "seller-v1.mjs",
        };
        Seller::run(npm, script, facilitator, pay_to, environment)
    }

    /// The same for a seller that holds money by `auth-capture` before it takes any.
    ///
    /// # Errors
    /// When it ends before it listens.
    pub fn start_holding(
        npm: &Npm,
        facilitator: &str,
        pay_to: &str,
        environment: &[(&str, &str)],
    ) -> Result<Seller, Error> {
        Seller::run(npm, "auth-capture-seller.mjs", facilitator, pay_to, environment)
    }

    fn run(
        npm: &Npm,
        script: &str,
        facilitator: &str,
        pay_to: &str,
        environment: &[(&str, &str)],
    ) -> Result<Seller, Error> {
        let lost = |e: std::io::Error| Error(format!("cannot start node {script}: {e}"));
        let mut child = npm
            .script(script)
            .env("FACILITATOR_URL", facilitator)
            .env("PAY_TO", pay_to)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(lost)?;
        let mut line = String::new();
        let mut output = child.stdout.take().map(BufReader::new);
        if let Some(output) = &mut output {
            output.read_line(&mut line).map_err(lost)?;
        }
        let started: Value = serde_json::from_str(&line).unwrap_or_default();
        match (started["resource"].as_str(), started["listening"].as_str()) {
            (Some(resource), Some(address)) => Ok(Seller {
                _leash: Leash::on(&child)?,
                _output: output,
                child,
                resource: resource.to_owned(),
                address: address.to_owned(),
            }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                Err(Error(format!(
                    "node {script} ended before it listened (its message is above)"
                )))
            }
        }
    }
}

impl Drop for Seller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets a buyer with this key fetch the URL and pay; gives what the script reports.
///
/// # Errors
/// When no HTTP answer arrived, with what the script wrote.
pub fn buy(npm: &Npm, generation: Generation, key: &str, url: &str) -> Result<Value, Error> {
    run_buyer(npm, generation, &[("BUYER_KEY", key)], url)
}

/// The same for a buyer that reads the EVM chain at `rpc`: what it signs for gas sponsoring depends on the chain.
///
/// # Errors
/// As [`buy`].
pub fn buy_reading(npm: &Npm, key: &str, rpc: &str, url: &str) -> Result<Value, Error> {
    let environment = [("BUYER_KEY", key), ("RPC_URL", rpc)];
    run_buyer(npm, Generation::V2, &environment, url)
}

/// The same for a buyer that pays up to this many dollars at once.
///
/// # Errors
/// As [`buy`].
pub fn buy_up_to(npm: &Npm, key: &str, dollars: &str, url: &str) -> Result<Value, Error> {
    let environment = [("BUYER_KEY", key), ("MAX_DOLLARS", dollars)];
    run_buyer(npm, Generation::V2, &environment, url)
}

/// The same for a contract wallet, for which the buyer's key signs. The environment describes it: see `buyer.mjs`.
///
/// # Errors
/// As [`buy`].
pub fn buy_with_wallet(npm: &Npm, key: &str, wallet: &[(&str, &str)], url: &str) -> Result<Value, Error> {
    let environment: Vec<(&str, &str)> = [("BUYER_KEY", key)]
        .into_iter()
        .chain(wallet.iter().copied())
        .collect();
    run_buyer(npm, Generation::V2, &environment, url)
}

/// Lets a buyer with this key (base58) fetch the URL and pay on the Solana dev chain at `rpc`.
///
/// # Errors
/// As [`buy`].
pub fn buy_on_solana(
    npm: &Npm,
    generation: Generation,
    key: &str,
    rpc: &str,
    url: &str,
) -> Result<Value, Error> {
    let environment: &[(&str, &str)] = match generation {
        Generation::V2 => &[("SOLANA_KEY", key), ("SOLANA_RPC_URL", rpc)],
        Generation::V1 => &[
            ("BUYER_KEY", key),
            ("NETWORK", "solana-devnet"),
            ("SOLANA_RPC_URL", rpc),
        ],
    };
    run_buyer(npm, generation, environment, url)
}

fn run_buyer(
    npm: &Npm,
    generation: Generation,
    environment: &[(&str, &str)],
    url: &str,
) -> Result<Value, Error> {
    let script = match generation {
        Generation::V2 => "buyer.mjs",
        Generation::V1 => "buyer-v1.mjs",
    };
    let mut command: Command = npm.script(script);
    let output = command
        .arg(url)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|e| Error(format!("cannot start node {script}: {e}")))?;
    if !output.status.success() {
        return Err(Error(format!(
            "node {script} failed:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| Error(format!("node {script} printed no JSON: {e}")))
}
