//! `cargo xtask demo`: one payment, from the buyer's request to the seller's balance, with everything real but the money.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use devnet::{Devnet, MULTICALL3, Npm, Options, USDC};
use e2e::shop::{Generation, Seller, buy};
use e2e::{Facilitator, Settings, binaries};
use serde_json::Value;

use crate::paint::{bold, dim, green};
use crate::{Failure, cargo};

const UNITS_PER_DOLLAR: u128 = 1_000_000;
/// How often to look whether everything still runs.
const WATCH: Duration = Duration::from_millis(500);

/// Shows a payment: starts a chain of its own, the facilitator with its plugin loaded from its file, a paid API and a
/// buyer, all on this machine. The buyer calls the API with the official x402 client and pays. Prints the HTTP status,
/// the transaction, and the balances before and after.
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
    chain: Devnet,
    npm: Npm,
}

/// Dollars, in atomic units.
struct Balances {
    buyer: u128,
    seller: u128,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    println!("{}", bold("Switchyard demo: a buyer pays for a call of an API"));
    let (folder, _lock) = folder()?;
    step(
        "packages",
        "Node.js packages: the chain's node and the official x402 clients",
    );
    let npm = Npm::ensure()?;
    cargo::build_what_is_shipped()?;
    println!();
    let mut running = start(npm, folder)?;
    let before = balances(&running)?;
    step(
        "buyer",
        &format!("{} calls the API", running.chain.buyers[0].address),
    );
    let report = buy(
        &running.npm,
        Generation::V2,
        &running.chain.buyers[0].key,
        &running.seller.resource,
    )
    .map_err(|error| failed(&running, &error.to_string()))?;
    let after = balances(&running)?;
    show(&running, &report, &before, &after);
    check(&report, &before, &after).map_err(|what| failed(&running, &what))?;
    println!(
        "\n{}",
        green("Paid: the API answered, and the money moved on chain.")
    );
    if args.keep { keep(&mut running) } else { Ok(()) }
}

fn step(name: &str, text: &str) {
    println!("{} {text}", bold(&format!("{name:<12}")));
}

fn start(npm: Npm, folder: PathBuf) -> Result<Running, Failure> {
    let chain = Devnet::start(Options::default())?;
    step("chain", &format!("eip155:84532 (anvil) at {}", chain.url()));
    let settings = Settings {
        // Blocks come with transactions only: an old head is no sign of a sick node here.
        network: "options = { max_head_age_s = 0 }".to_owned(),
        folder: Some(folder),
        ..Settings::new(chain.url(), &chain.facilitators[..1])
    };
    let facilitator = Facilitator::start(&settings)?;
    step(
        "facilitator",
        &format!(
            "{}, signing with {}",
            facilitator.url(),
            chain.facilitators[0].address
        ),
    );
    let plugin = binaries::evm_plugin()?;
    step("plugin", &shown(&plugin));
    step(
        "",
        &dim(&format!(
            "sha256 {}, pinned in {}",
            binaries::sha256(&plugin)?,
            shown(&facilitator.config_file())
        )),
    );
    let pay_to = chain.merchant.address.clone();
    let seller = Seller::start(&npm, Generation::V2, &facilitator.url(), &pay_to, &[])?;
    step(
        "paid API",
        &format!("{} costs 0.01 USDC, to {pay_to}", seller.resource),
    );
    Ok(Running {
        seller,
        facilitator,
        chain,
        npm,
    })
}

fn balances(running: &Running) -> Result<Balances, Failure> {
    let of = |address: &str| running.chain.balance_of(USDC, address);
    Ok(Balances {
        buyer: of(&running.chain.buyers[0].address)?,
        seller: of(&running.chain.merchant.address)?,
    })
}

fn show(running: &Running, report: &Value, before: &Balances, after: &Balances) {
    let payment = &report["payment"];
    let transaction = payment["transaction"].as_str().unwrap_or("none");
    println!();
    step("HTTP status", &report["status"].to_string());
    step("answer", &report["body"].to_string());
    step("transaction", transaction);
    let receipt = running
        .chain
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
    step(
        "",
        &dim(&format!(
            "in block {}, {} gas paid by the facilitator",
            number("blockNumber"),
            number("gasUsed")
        )),
    );
    println!(
        "\n{}",
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
    println!("\n{}", bold("Everything keeps running until Ctrl-C."));
    step("chain", running.chain.url());
    step("facilitator", &facilitator);
    for path in ["supported", "ready", "metrics"] {
        step("", &dim(&format!("curl {facilitator}/{path}")));
    }
    step("paid API", &running.seller.resource);
    step(
        "",
        &dim(&format!(
            "curl -i {}   (402 and what it costs)",
            running.seller.resource
        )),
    );
    step(
        "pay again",
        &format!("BUYER_KEY={} \\", running.chain.buyers[0].key),
    );
    println!("{:<12}   node tests/js/buyer.mjs {}", "", running.seller.resource);
    step("contracts", &format!("USDC {USDC}, Multicall3 {MULTICALL3}"));
    step("log", &shown(&running.facilitator.log_file()));
    while running.chain.anvil().is_running()? && !running.facilitator.has_ended() {
        std::thread::sleep(WATCH);
    }
    Err(failed(running, "the chain or the facilitator ended by itself"))
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
