//! `cargo xtask demo`: two payments, from the buyers' requests to the seller's balances, one on each kind of chain, and one
//! that is held in escrow first, with everything real but the money.

mod escrow;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use devnet::{Devnet, MULTICALL3, Npm, Options, SOLANA_USDC, SolanaDevnet, SolanaOptions, USDC};
use e2e::shop::{Generation, Seller, buy, buy_on_solana};
use e2e::{Facilitator, Settings, SolanaNetwork, binaries};
use serde_json::Value;

use crate::paint::{bold, dim, green};
use crate::{Failure, cargo};

const UNITS_PER_DOLLAR: u128 = 1_000_000;
/// How often to check whether everything still runs.
const WATCH: Duration = Duration::from_millis(500);

/// Shows three payments: starts an EVM chain, the facilitator with its plugins loaded from their files, a paid API and a buyer,
/// all on this machine. The buyer calls the API with the official x402 client and pays. Prints the HTTP status, the
/// transaction, and the balances before and after. Then a dollar is held in escrow, captured in part and returned in part.
/// Meanwhile the Solana parts are compiled; then a Solana chain is added, and another buyer pays there.
///
/// Needs Rust and Node.js; installs and builds the rest, which takes some minutes the first time.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave everything running until Ctrl-C, and print where
    #[arg(long)]
    keep: bool,
}

/// Everything that runs, stopped in this order.
struct Running {
    seller: Seller,
    facilitator: Facilitator,
    evm: Devnet,
    /// Started after the EVM payments.
    solana: Option<SolanaDevnet>,
    npm: Npm,
}

/// Dollars, in atomic units.
struct Balances {
    buyer: u128,
    seller: u128,
}

/// Which chain a buyer pays on.
#[derive(Clone, Copy)]
enum On {
    Evm,
    Solana,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    println!(
        "{}",
        bold("Switchyard demo: two buyers pay for calls of an API, one on an EVM chain, one on Solana")
    );
    let (folder, _lock) = folder()?;
    step(
        "packages",
        "Node.js packages: the EVM chain's node and the official x402 clients",
    );
    let npm = Npm::ensure()?;
    cargo::build_evm()?;
    // The Solana dev chain's runtime is hundreds of crates: the EVM payments need not wait for them.
    let rest = cargo::start_solana_build(&folder.join("solana-build.log"))?;
    println!();
    let mut running = start(npm, &folder)?;
    pay(&running, On::Evm)?;
    escrow::show(&running)?;
    println!();
    rest.finish("The Solana plugin and dev chain, started before the payments")?;
    println!();
    running.add_solana(&folder)?;
    pay(&running, On::Solana)?;
    println!(
        "\n{}",
        green("Paid three times: the APIs answered, and the money moved on both chains.")
    );
    if args.keep { keep(&mut running) } else { Ok(()) }
}

fn step(name: &str, text: &str) {
    println!("{} {text}", bold(&format!("{name:<12}")));
}

fn start(npm: Npm, folder: &Path) -> Result<Running, Failure> {
    let evm = Devnet::start(Options::default())?;
    step("EVM chain", &format!("eip155:84532 (anvil) at {}", evm.url()));
    let facilitator = serve(&evm, None, folder)?;
    let seller = Seller::start(
        &npm,
        Generation::V2,
        &facilitator.url(),
        &evm.merchant.address,
        &[],
    )?;
    step("paid API", &format!("{} costs 0.01 USDC", seller.resource));
    Ok(Running {
        seller,
        facilitator,
        evm,
        solana: None,
        npm,
    })
}

/// Starts a facilitator for these chains. The journal of an earlier one in the same folder is resumed.
fn serve(evm: &Devnet, solana: Option<&SolanaDevnet>, folder: &Path) -> Result<Facilitator, Failure> {
    let settings = Settings {
        // Blocks come with transactions only: an old head does not show a broken node here.
        network: "options = { max_head_age_s = 0 }".to_owned(),
        solana: solana.map(|solana| SolanaNetwork {
            id: solana.network.clone(),
            rpc: vec![solana.url().to_owned()],
            fee_payers: solana.fee_payers.iter().take(1).cloned().collect(),
            ..SolanaNetwork::default()
        }),
        folder: Some(folder.to_owned()),
        auth_capture: Some(String::new()),
        ..Settings::new(evm.url(), &evm.facilitators[..1])
    };
    let facilitator = Facilitator::start(&settings)?;
    step("facilitator", &facilitator.url());
    let evm_plugins = [binaries::evm_plugin()?, binaries::auth_capture_plugin()?];
    let solana_plugin = solana.map(|_| binaries::svm_plugin()).transpose()?;
    for plugin in evm_plugins.into_iter().chain(solana_plugin) {
        let digest = binaries::sha256(&plugin)?;
        step("plugin", &format!("{}, sha256 {digest}", shown(&plugin)));
    }
    step(
        "",
        &dim(&format!("pinned in {}", shown(&facilitator.config_file()))),
    );
    Ok(facilitator)
}

impl Running {
    /// Restarts the facilitator with a Solana chain beside the EVM chain.
    fn add_solana(&mut self, folder: &Path) -> Result<(), Failure> {
        let solana = SolanaDevnet::start(&SolanaOptions::default())?;
        step(
            "Solana chain",
            &format!("{} (litesvm) at {}", solana.network, solana.url()),
        );
        self.facilitator.kill();
        self.facilitator = serve(&self.evm, Some(&solana), folder)?;
        self.seller = Seller::start(
            &self.npm,
            Generation::V2,
            &self.facilitator.url(),
            &self.evm.merchant.address,
            &[("SOLANA_PAY_TO", &solana.merchant.address)],
        )?;
        step(
            "paid API",
            &format!("{} costs 0.01 USDC on either chain", self.seller.resource),
        );
        self.solana = Some(solana);
        Ok(())
    }

    fn solana(&self) -> Result<&SolanaDevnet, Failure> {
        self.solana
            .as_ref()
            .ok_or_else(|| Failure("the Solana chain does not run yet".to_owned()))
    }
}

fn pay(running: &Running, on: On) -> Result<(), Failure> {
    println!();
    let address = match on {
        On::Evm => &running.evm.buyers[0].address,
        On::Solana => &running.solana()?.buyers[0].address,
    };
    step("buyer", &format!("{address} calls the API"));
    let before = balances(running, on)?;
    let url = &running.seller.resource;
    let report = match on {
        On::Evm => buy(&running.npm, Generation::V2, &running.evm.buyers[0].key, url),
        On::Solana => buy_on_solana(
            &running.npm,
            Generation::V2,
            &running.solana()?.buyers[0].secret,
            running.solana()?.url(),
            url,
        ),
    }
    .map_err(|error| failed(running, &error.to_string()))?;
    let after = balances(running, on)?;
    show(&report, &before, &after);
    step("", &dim(&cost(running, on, &report)));
    check(&report, &before, &after).map_err(|what| failed(running, &what))
}

fn balances(running: &Running, on: On) -> Result<Balances, Failure> {
    let of = |buyer: &str, seller: &str| -> Result<Balances, Failure> {
        let units = |owner: &str| -> Result<u128, Failure> {
            Ok(match on {
                On::Evm => running.evm.balance_of(USDC, owner)?,
                On::Solana => running.solana()?.balance_of(SOLANA_USDC, owner)?.into(),
            })
        };
        Ok(Balances {
            buyer: units(buyer)?,
            seller: units(seller)?,
        })
    };
    match on {
        On::Evm => of(&running.evm.buyers[0].address, &running.evm.merchant.address),
        On::Solana => of(
            &running.solana()?.buyers[0].address,
            &running.solana()?.merchant.address,
        ),
    }
}

/// What the facilitator paid for the transaction.
fn cost(running: &Running, on: On, report: &Value) -> String {
    let transaction = report["payment"]["transaction"].as_str().unwrap_or_default();
    match on {
        On::Evm => {
            let receipt = running
                .evm
                .receipt(transaction)
                .ok()
                .flatten()
                .unwrap_or_default();
            let number = |name: &str| {
                let digits = receipt[name]
                    .as_str()
                    .unwrap_or_default()
                    .trim_start_matches("0x");
                u128::from_str_radix(digits, 16).unwrap_or_default()
            };
            format!(
                "in block {}, {} gas paid by the facilitator",
                number("blockNumber"),
                number("gasUsed")
            )
        }
        On::Solana => {
            let options = serde_json::json!({"commitment": "confirmed", "maxSupportedTransactionVersion": 0});
            let landed = running
                .solana
                .as_ref()
                .and_then(|solana| {
                    let params = serde_json::json!([transaction, options]);
                    solana.rpc().call("getTransaction", params).ok()
                })
                .unwrap_or_default();
            format!(
                "in slot {}, {} lamports paid by the facilitator",
                landed["slot"], landed["meta"]["fee"]
            )
        }
    }
}

fn show(report: &Value, before: &Balances, after: &Balances) {
    let payment = &report["payment"];
    step("HTTP status", &report["status"].to_string());
    step("answer", &report["body"].to_string());
    step("network", payment["network"].as_str().unwrap_or("none"));
    step("transaction", payment["transaction"].as_str().unwrap_or("none"));
    println!(
        "{}",
        bold(&format!("{:<12} {:>14} {:>14}  USDC", "", "before", "after"))
    );
    for (name, before, after) in [
        ("buyer", before.buyer, after.buyer),
        ("seller", before.seller, after.seller),
    ] {
        println!(
            "{} {:>14} {:>14}",
            bold(&format!("{name:<12}")),
            dollars(before),
            dollars(after)
        );
    }
}

fn dollars(units: u128) -> String {
    format!("{}.{:06}", units / UNITS_PER_DOLLAR, units % UNITS_PER_DOLLAR)
}

// What was shown has to be true.
fn check(report: &Value, before: &Balances, after: &Balances) -> Result<(), String> {
    if report["status"] != 200 || report["payment"]["success"] != true {
        return Err(format!("the buyer did not get what it paid for: {report}"));
    }
    let paid = before.buyer.checked_sub(after.buyer).filter(|paid| *paid > 0);
    if paid.is_none() || paid != after.seller.checked_sub(before.seller) {
        return Err("the balances on chain do not show the payment".to_owned());
    }
    Ok(())
}

fn failed(running: &Running, what: &str) -> Failure {
    Failure(format!(
        "{what}\nThe facilitator's log: {}",
        shown(&running.facilitator.log_file())
    ))
}

fn keep(running: &mut Running) -> Result<(), Failure> {
    let facilitator = running.facilitator.url();
    let resource = running.seller.resource.clone();
    println!("\n{}", bold("Everything keeps running until Ctrl-C."));
    step("EVM chain", running.evm.url());
    let solana_url = running.solana()?.url().to_owned();
    step("Solana chain", &solana_url);
    step("facilitator", &facilitator);
    for path in ["supported", "ready", "metrics"] {
        step("", &dim(&format!("curl {facilitator}/{path}")));
    }
    step("paid API", &resource);
    step("", &dim(&format!("curl -i {resource}   (402 and what it costs)")));
    step(
        "pay again",
        &format!("BUYER_KEY={} \\", running.evm.buyers[0].key),
    );
    println!("{:<12}   node tests/js/buyer.mjs {resource}", "");
    step(
        "on Solana",
        &format!("SOLANA_KEY={} \\", running.solana()?.buyers[0].secret),
    );
    println!("{:<12}   SOLANA_RPC_URL={} \\", "", solana_url);
    println!("{:<12}   node tests/js/buyer.mjs {resource}", "");
    step("contracts", &format!("USDC {USDC}, Multicall3 {MULTICALL3}"));
    step("mint", &format!("USDC {SOLANA_USDC}"));
    step("log", &shown(&running.facilitator.log_file()));
    while running.evm.anvil().is_running()?
        && running
            .solana
            .as_mut()
            .is_none_or(|solana| solana.is_running().unwrap_or(false))
        && !running.facilitator.has_ended()
    {
        std::thread::sleep(WATCH);
    }
    Err(failed(running, "a chain or the facilitator ended by itself"))
}

// One demo at a time: its folder is found again, so that an error can name the log in it.
fn folder() -> Result<(PathBuf, File), Failure> {
    let lost = |e: std::io::Error| Failure(format!("cannot prepare tests/.run/demo: {e}"));
    let parent = cargo::root().join("tests/.run");
    fs::create_dir_all(&parent).map_err(lost)?;
    let lock = File::create(parent.join("demo.lock")).map_err(lost)?;
    if lock.try_lock().is_err() {
        return Err(Failure(
            "another demo is running in this clone (with --keep?); end it first".to_owned(),
        ));
    }
    let folder = parent.canonicalize().map_err(lost)?.join("demo");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(lost(error)),
        _ => {}
    }
    fs::create_dir(&folder).map_err(lost)?;
    Ok((folder, lock))
}

// As seen from the repository, where the command was started.
fn shown(file: &std::path::Path) -> String {
    let root = cargo::root().canonicalize().unwrap_or_default();
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}
