//! `cargo xtask devnet`: the dev chain for a developer's own experiments.

use std::time::Duration;

use devnet::{Account, AnvilOptions, BUYER_TOKENS, Devnet, FACILITATOR_WEI, Mining, Options};

use crate::Failure;

/// How often to look whether the node still runs.
const WATCH: Duration = Duration::from_millis(500);
const WEI_PER_ETH: u128 = 1_000_000_000_000_000_000;
const UNITS_PER_DOLLAR: u128 = 1_000_000;

/// Starts anvil as chain 84532 (Base Sepolia's id), with a dollar token at USDC's address there, Permit2, Multicall3,
/// wallets and hostile tokens, and prints endpoints, keys and addresses. The chain forgets everything when it stops.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8545)]
    port: u16,
    /// Mine a block every so many seconds instead of one for every transaction at once
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    block_time: Option<u64>,
    /// Mine only on request (`evm_mine`)
    #[arg(long, conflicts_with = "block_time")]
    no_mining: bool,
    /// Keys that own ETH, for facilitators
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=500))]
    facilitators: u16,
    /// Keys that own tokens and no ETH, for buyers
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=5000))]
    buyers: u16,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let mining = match args.block_time {
        Some(seconds) => Mining::Every(seconds),
        None if args.no_mining => Mining::Manual,
        None => Mining::Auto,
    };
    let mut chain = Devnet::start(Options {
        mining,
        facilitators: args.facilitators,
        buyers: args.buyers,
        anvil: AnvilOptions {
            port: args.port,
            ..AnvilOptions::default()
        },
    })?;
    print(&chain, mining);
    while chain.anvil().is_running()? {
        std::thread::sleep(WATCH);
    }
    Err(Failure("the node ended by itself".to_owned()))
}

fn print(chain: &Devnet, mining: Mining) {
    let blocks = match mining {
        Mining::Auto => "one for every transaction, at once".to_owned(),
        Mining::Every(seconds) => format!("one every {seconds} s"),
        Mining::Manual => "on request only (evm_mine)".to_owned(),
    };
    println!("EVM dev chain, network eip155:84532 (base-sepolia in protocol v1)");
    println!("  HTTP       {}", chain.url());
    println!("  WebSocket  {}", chain.ws_url());
    println!("  blocks     {blocks}");

    println!("\nContracts");
    for (contract, address) in chain.contracts() {
        println!("  {contract:<20} {address}");
    }

    println!("\nKeys (public test keys: never fund them on a live network)");
    print_accounts(
        "facilitator",
        &format!("{} ETH", FACILITATOR_WEI / WEI_PER_ETH),
        &chain.facilitators,
    );
    let dollars = format!("{} of each token, no ETH", BUYER_TOKENS / UNITS_PER_DOLLAR);
    print_accounts("buyer", &dollars, &chain.buyers);
    print_accounts("merchant", "nothing yet", std::slice::from_ref(&chain.merchant));
    print_accounts("admin", "owner of the tokens", std::slice::from_ref(&chain.admin));
    println!("\nCtrl-C stops the chain.");
}

fn print_accounts(role: &str, owns: &str, accounts: &[Account]) {
    println!("  {role}: {owns}");
    for account in accounts {
        println!("    {}  key {}", account.address, account.key);
    }
}
