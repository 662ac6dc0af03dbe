//! The Solana dev chain as tests use it: the process of `tests/solana-devnet`, started on a free port, waited for, and
//! gone when its handle is; its keys, its balances, and its levers.
//!
//! The program is not built here, so that tests that need no Solana never compile its runtime: the caller of the tests
//! does (`cargo xtask test`, or `cargo build --release --package solana-devnet`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Error, Rpc};

/// The network that the chain reports: Solana's devnet.
pub const SOLANA_NETWORK: &str = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1";
/// The dollar, where devnet's USDC is.
pub const SOLANA_USDC: &str = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU";
/// What each buyer and wallet starts with, per token: 1,000 dollars. Buyers own no SOL.
pub const SOLANA_BUYER_UNITS: u64 = 1_000_000_000;
/// What each fee payer starts with: 100 SOL.
pub const SOLANA_FEE_PAYER_LAMPORTS: u64 = 100_000_000_000;

/// What to start.
#[derive(Debug, Clone)]
pub struct SolanaOptions {
    /// 0 takes a free one.
    pub port: u16,
    /// Milliseconds that a slot lasts.
    pub slot_ms: u64,
    /// Slots until a transaction is confirmed.
    pub confirm_after: u64,
    /// Slots until a transaction is finalized.
    pub finalize_after: u64,
    /// Keys with SOL; the first is the fee payer of the golden vectors.
    pub fee_payers: u16,
    /// Keys with tokens; the first is the payer of the golden vectors, the second owns the wallets.
    pub buyers: u16,
    /// The program, if it is not where cargo puts it.
    pub program: Option<PathBuf>,
}

impl Default for SolanaOptions {
    /// Slots of 50 ms, final after 32 of them: slow enough to see both, fast enough to wait for.
    fn default() -> Self {
        SolanaOptions {
            port: 0,
            slot_ms: 50,
            confirm_after: 1,
            finalize_after: 32,
            fee_payers: 4,
            buyers: 16,
            program: None,
        }
    }
}

/// A key of this chain.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SolanaKey {
    pub address: String,
    /// Base58 of the 64 bytes of seed and public key.
    pub secret: String,
    /// The seed, in hex.
    pub seed: String,
    /// Associated token accounts by mint, whether they exist or not.
    pub token_accounts: BTreeMap<String, String>,
}

/// A kind of money on this chain.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SolanaToken {
    pub name: String,
    pub mint: String,
    /// The token program.
    pub program: String,
    pub decimals: u8,
    /// What Token-2022 keeps of every transfer, in hundredths of a percent.
    pub fee_basis_points: u16,
}

/// A smart wallet: an address that only its program can sign for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SolanaWallet {
    pub program: String,
    pub owner: String,
    pub address: String,
    pub token_accounts: BTreeMap<String, String>,
}

/// A table of addresses that v0 messages can refer to.
#[derive(Debug, Clone, Deserialize)]
pub struct LookupTable {
    pub address: String,
    pub addresses: Vec<String>,
}

/// A transaction that is in a block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SolanaTransaction {
    pub signature: String,
    pub slot: u64,
    pub fee_payer: String,
    /// Why it failed, if it did: it is in its block and paid its fee all the same.
    pub err: Option<Value>,
}

/// The newest slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SolanaSlots {
    pub processed: u64,
    pub confirmed: u64,
    pub finalized: u64,
    /// Whether the clock stands.
    pub frozen: bool,
}

/// A running Solana dev chain. Dropping it stops the process.
#[derive(Debug)]
pub struct SolanaDevnet {
    process: Child,
    rpc: Rpc,
    /// `solana:` and the beginning of the genesis hash.
    pub network: String,
    /// USDC first, then Token-2022's, then the one with a transfer fee.
    pub tokens: Vec<SolanaToken>,
    pub fee_payers: Vec<SolanaKey>,
    pub buyers: Vec<SolanaKey>,
    /// Owns empty token accounts.
    pub merchant: SolanaKey,
    /// Owns nothing, not even a token account.
    pub newcomer: SolanaKey,
    /// Of `buyers[1]`; they hold tokens. The first is of the tests' own program, the second of what stands in for Squads.
    pub wallets: Vec<SolanaWallet>,
    pub lookup_table: LookupTable,
}

// The line that the program prints when it listens.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    url: String,
    network: String,
    tokens: Vec<SolanaToken>,
    fee_payers: Vec<SolanaKey>,
    buyers: Vec<SolanaKey>,
    merchant: SolanaKey,
    newcomer: SolanaKey,
    wallets: Vec<SolanaWallet>,
    lookup_table: LookupTable,
}

impl SolanaDevnet {
    /// Starts the process and returns when it listens.
    ///
    /// # Errors
    /// [`Error::Setup`] when the program was not built or ends at once (a taken port).
    pub fn start(options: &SolanaOptions) -> Result<SolanaDevnet, Error> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => built_program()?,
        };
        let mut process = Command::new(&program)
            .args(["--json", "--until-stdin-closes"])
            .args(["--port", &options.port.to_string()])
            .args(["--slot-ms", &options.slot_ms.to_string()])
            .args(["--confirm-after", &options.confirm_after.to_string()])
            .args(["--finalize-after", &options.finalize_after.to_string()])
            .args(["--fee-payers", &options.fee_payers.to_string()])
            .args(["--buyers", &options.buyers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in a terminal reaches the parent, whose end of the pipe then closes.
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("cannot start {}", program.display())))?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            let reading = Error::io("cannot read the output of solana-devnet");
            BufReader::new(stdout).read_line(&mut line).map_err(reading)?;
        }
        let Ok(described) = serde_json::from_str::<Described>(&line) else {
            // It has ended, or it speaks another version's language; nobody waits for it.
            let _ = process.kill();
            let _ = process.wait();
            return Err(Error::Setup(format!(
                "solana-devnet ended before it listened (its message is above); is port {} taken, or the program older \
                 than these tests? `cargo build --release --package solana-devnet` renews it",
                options.port
            )));
        };
        Ok(SolanaDevnet {
            process,
            rpc: Rpc::new(&described.url),
            network: described.network,
            tokens: described.tokens,
            fee_payers: described.fee_payers,
            buyers: described.buyers,
            merchant: described.merchant,
            newcomer: described.newcomer,
            wallets: described.wallets,
            lookup_table: described.lookup_table,
        })
    }

    #[must_use]
    pub fn url(&self) -> &str {
        self.rpc.url()
    }

    #[must_use]
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system does not report it.
    pub fn is_running(&mut self) -> Result<bool, Error> {
        let status = self
            .process
            .try_wait()
            .map_err(Error::io("cannot watch solana-devnet"))?;
        Ok(status.is_none())
    }

    /// Units of a mint in the owner's associated account, as of the newest slot; 0 without an account.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn balance_of(&self, mint: &str, owner: &str) -> Result<u64, Error> {
        let options = json!({"encoding": "base64", "commitment": "processed"});
        let answer = self
            .rpc
            .call("getTokenAccountsByOwner", json!([owner, {"mint": mint}, options]))?;
        let accounts = answer["value"].as_array().cloned().unwrap_or_default();
        accounts.iter().try_fold(0_u64, |sum, account| {
            let units = self.token_account_balance(account["pubkey"].as_str().unwrap_or_default())?;
            sum.checked_add(units)
                .ok_or_else(|| Error::Malformed("more units than fit".to_owned()))
        })
    }

    /// Units in a token account, as of the newest slot.
    ///
    /// # Errors
    /// As [`Rpc::call`]; [`Error::Rpc`] when there is no such account.
    pub fn token_account_balance(&self, account: &str) -> Result<u64, Error> {
        let answer = self.rpc.call(
            "getTokenAccountBalance",
            json!([account, {"commitment": "processed"}]),
        )?;
        let amount = answer["value"]["amount"]
            .as_str()
            .and_then(|text| text.parse().ok());
        amount.ok_or_else(|| Error::Malformed(format!("getTokenAccountBalance answered {answer}")))
    }

    /// Lamports of an address, as of the newest slot.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn lamports_of(&self, address: &str) -> Result<u64, Error> {
        let answer = self
            .rpc
            .call("getBalance", json!([address, {"commitment": "processed"}]))?;
        let lamports = answer["value"].as_u64();
        lamports.ok_or_else(|| Error::Malformed(format!("getBalance answered {answer}")))
    }

    /// A blockhash to put into a transaction: the newest confirmed one.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn blockhash(&self) -> Result<String, Error> {
        let answer = self
            .rpc
            .call("getLatestBlockhash", json!([{"commitment": "confirmed"}]))?;
        let blockhash = answer["value"]["blockhash"].as_str().map(str::to_owned);
        blockhash.ok_or_else(|| Error::Malformed(format!("getLatestBlockhash answered {answer}")))
    }

    /// Everything that landed since the start, oldest first.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn transactions(&self) -> Result<Vec<SolanaTransaction>, Error> {
        self.lever("devnet_transactions", json!([]))
    }

    /// The newest slots, and whether the clock stands.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn slots(&self) -> Result<SolanaSlots, Error> {
        self.lever("devnet_slots", json!([]))
    }

    /// Stops the clock.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn freeze(&self) -> Result<SolanaSlots, Error> {
        self.lever("devnet_freeze", json!([]))
    }

    /// Lets the clock run again.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn resume(&self) -> Result<SolanaSlots, Error> {
        self.lever("devnet_resume", json!([]))
    }

    /// Passes slots at once; 151 of them expire every blockhash so far.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn advance(&self, slots: u64) -> Result<SolanaSlots, Error> {
        self.lever("devnet_advance", json!([slots]))
    }

    /// Whether transactions are accepted and dropped silently.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn drop_incoming(&self, drop: bool) -> Result<SolanaSlots, Error> {
        self.lever("devnet_dropIncoming", json!([drop]))
    }

    /// Undoes a transaction that is not finalized, as a fork without it does. Its bytes stay good until they expire.
    ///
    /// # Errors
    /// As [`Rpc::call`]; [`Error::Rpc`] when it is finalized or unknown.
    pub fn forget(&self, signature: &str) -> Result<SolanaSlots, Error> {
        self.lever("devnet_forgetTransaction", json!([signature]))
    }

    /// Sets how much an address owns; 0 removes it.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn set_lamports(&self, address: &str, lamports: u64) -> Result<SolanaSlots, Error> {
        self.lever("devnet_setAccount", json!([address, {"lamports": lamports}]))
    }

    /// Edits an account: any of `lamports`, `data` (base64), `owner` and `executable`; the others stay.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn set_account(&self, address: &str, edit: &Value) -> Result<SolanaSlots, Error> {
        self.lever("devnet_setAccount", json!([address, edit]))
    }

    /// Sets what the owner's associated account holds, creates it where there is none, and gives its address.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub fn set_token_balance(&self, owner: &str, mint: &str, units: u64) -> Result<String, Error> {
        self.lever("devnet_setTokenBalance", json!([owner, mint, units.to_string()]))
    }

    fn lever<T: for<'a> Deserialize<'a>>(&self, method: &str, params: Value) -> Result<T, Error> {
        let answer = self.rpc.call(method, params)?;
        serde_json::from_value(answer).map_err(|e| Error::Malformed(format!("{method}: {e}")))
    }
}

impl Drop for SolanaDevnet {
    fn drop(&mut self) {
        // Closing the pipe is the order to end; waiting frees the port before the next line of a test runs.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

// Beside the running program or test, or in the release profile of the same target directory.
fn built_program() -> Result<PathBuf, Error> {
    let running = std::env::current_exe().map_err(Error::io("cannot find the target directory"))?;
    let name = format!("solana-devnet{}", std::env::consts::EXE_SUFFIX);
    let folders = running.ancestors().skip(1).take(3);
    let places = folders.flat_map(|folder| [folder.join("release").join(&name), folder.join(&name)]);
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
        Error::Setup(
            "the Solana dev chain is not built: run `cargo build --release --package solana-devnet` (cargo xtask does it \
             where it needs it)"
                .to_owned(),
        )
    })
}
