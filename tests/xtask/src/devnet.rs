//! `cargo xtask devnet`: the dev chains, for experiments.

use std::time::Duration;

use devnet::{
    Account, AnvilOptions, BUYER_TOKENS, Devnet, FACILITATOR_WEI, Mining, Options, SOLANA_BUYER_UNITS,
    SOLANA_FEE_PAYER_LAMPORTS, SolanaDevnet, SolanaKey, SolanaOptions,
};

use crate::paint::bold;
use crate::{Failure, cargo};

/// How often to check whether the nodes still run.
const WATCH: Duration = Duration::from_millis(500);
const WEI_PER_ETH: u128 = 1_000_000_000_000_000_000;
const LAMPORTS_PER_SOL: u64 = 1_000_000_000;
const UNITS_PER_DOLLAR: u64 = 1_000_000;

/// Starts two chains side by side and prints endpoints, keys and addresses: anvil as chain 84532 (Base Sepolia's id),
/// with a dollar token at USDC's address there, Permit2, Multicall3, wallets and hostile tokens; and a Solana chain that
/// reports the id of Solana's devnet, with a dollar at USDC's address there, Token-2022 dollars and wallets. Both forget
/// everything when they stop.
///
/// The Solana chain is compiled on first use, which takes some minutes; `--evm-only` does without.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Start the EVM chain only
    #[arg(long, conflicts_with = "solana_only")]
    evm_only: bool,
    /// Start the Solana chain only
    #[arg(long)]
    solana_only: bool,
    #[command(flatten, next_help_heading = "EVM chain")]
    evm: Evm,
    #[command(flatten, next_help_heading = "Solana chain")]
    solana: Solana,
    /// Keys that own ETH or SOL, for facilitators
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=500))]
    facilitators: u16,
    /// Keys that own tokens and neither ETH nor SOL, for buyers
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=5000))]
    buyers: u16,
}

#[derive(Debug, clap::Args)]
struct Evm {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8545)]
    port: u16,
    /// Mine a block every so many seconds instead of one for every transaction at once
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    block_time: Option<u64>,
    /// Mine only on request (`evm_mine`)
    #[arg(long, conflicts_with = "block_time")]
    no_mining: bool,
}

#[derive(Debug, clap::Args)]
struct Solana {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8899)]
    solana_port: u16,
    /// Milliseconds that a slot lasts
    #[arg(long, value_name = "MS", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    slot_ms: u64,
    /// Slots until a transaction is finalized
    #[arg(long, value_name = "SLOTS", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=500))]
    finalize_after: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut evm = if args.solana_only {
        None
    } else {
        Some(start_evm(args)?)
    };
    let mut solana = if args.evm_only {
        None
    } else {
        Some(start_solana(args)?)
    };
    if let Some((chain, mining)) = &evm {
        print_evm(chain, *mining);
        println!(
            "\nIts blocks are irregular: write options = {{ max_head_age_s = 0 }} in the network's configuration."
        );
    }
    if let Some(chain) = &solana {
        print_solana(chain, &args.solana);
    }
    println!("\nThe keys are public test keys: never fund them on a live network. Ctrl-C stops everything.");
    loop {
        if let Some((chain, _)) = &mut evm
            && !chain.anvil().is_running()?
        {
            return Err(Failure("the EVM node ended by itself".to_owned()));
        }
        if let Some(chain) = &mut solana
            && !chain.is_running()?
        {
            return Err(Failure("the Solana node ended by itself".to_owned()));
        }
        std::thread::sleep(WATCH);
    }
}

fn start_evm(args: &Args) -> Result<(Devnet, Mining), Failure> {
    let mining = match args.evm.block_time {
        Some(seconds) => Mining::Every(seconds),
        None if args.evm.no_mining => Mining::Manual,
        None => Mining::Auto,
    };
    let chain = Devnet::start(Options {
        mining,
        facilitators: args.facilitators,
        buyers: args.buyers,
        anvil: AnvilOptions {
            port: args.evm.port,
            ..AnvilOptions::default()
        },
    })?;
    Ok((chain, mining))
}

fn start_solana(args: &Args) -> Result<SolanaDevnet, Failure> {
    cargo::build_solana_devnet()?;
    println!();
    Ok(SolanaDevnet::start(&SolanaOptions {
        port: args.solana.solana_port,
        slot_ms: args.solana.slot_ms,
        finalize_after: args.solana.finalize_after,
        fee_payers: args.facilitators,
        buyers: args.buyers,
        ..SolanaOptions::default()
    })?)
}

fn print_evm(chain: &Devnet, mining: Mining) {
    let blocks = match mining {
        Mining::Auto => "one for every transaction, at once".to_owned(),
        Mining::Every(seconds) => format!("one every {seconds} s"),
        Mining::Manual => "on request only (evm_mine)".to_owned(),
    };
    println!(
        "{}",
        bold("EVM chain, network eip155:84532 (base-sepolia in protocol v1)")
    );
    println!("  HTTP       {}", chain.url());
    println!("  WebSocket  {}", chain.ws_url());
    println!("  blocks     {blocks}");

    println!("\n  Contracts");
    for (contract, address) in chain.contracts() {
        println!("    {contract:<24} {address}");
    }

    println!("\n  Keys");
    let ether = format!("{} ETH", FACILITATOR_WEI / WEI_PER_ETH);
    print_accounts("facilitator", &ether, &chain.facilitators);
    let dollars = format!(
        "{} of each token, no ETH",
        BUYER_TOKENS / u128::from(UNITS_PER_DOLLAR)
    );
    print_accounts("buyer", &dollars, &chain.buyers);
    print_accounts("merchant", "nothing yet", std::slice::from_ref(&chain.merchant));
    print_accounts("admin", "owner of the tokens", std::slice::from_ref(&chain.admin));
}

fn print_accounts(role: &str, owns: &str, accounts: &[Account]) {
    println!("    {role}: {owns}");
    for account in accounts {
        println!("      {}  key {}", account.address, account.key);
    }
}

fn print_solana(chain: &SolanaDevnet, options: &Solana) {
    let title = format!(
        "Solana chain, network {} (solana-devnet in protocol v1)",
        chain.network
    );
    println!("\n{}", bold(&title));
    println!("  HTTP       {}", chain.url());
    println!(
        "  slots      one every {} ms; confirmed after the next, finalized after {} more",
        options.slot_ms,
        options.finalize_after.saturating_sub(1)
    );

    println!("\n  Tokens and programs");
    for token in &chain.tokens {
        println!("    {:<44}  {}", token.mint, token.name);
    }
    for wallet in &chain.wallets {
        println!(
            "    {:<44}  wallet of the second buyer, under {}",
            wallet.address, wallet.program
        );
    }
    println!("    {:<44}  look-up table", chain.lookup_table.address);

    println!("\n  Keys");
    let sol = format!("{} SOL", SOLANA_FEE_PAYER_LAMPORTS / LAMPORTS_PER_SOL);
    println!("    facilitator: {sol}");
    for key in &chain.fee_payers {
        println!("      {:<44}  seed {}", key.address, key.seed);
    }
    let dollars = format!("{} of each token, no SOL", SOLANA_BUYER_UNITS / UNITS_PER_DOLLAR);
    print_keys("buyer", &dollars, &chain.buyers);
    print_keys(
        "merchant",
        "empty token accounts",
        std::slice::from_ref(&chain.merchant),
    );
    print_keys(
        "newcomer",
        "nothing, no token account either",
        std::slice::from_ref(&chain.newcomer),
    );
    println!(
        "  A seed is what a key of suite ed25519 holds in switchyard.toml; a secret is what wallets import."
    );
    println!("  `solana-devnet --help` lists what else this chain does on request.");
}

fn print_keys(role: &str, owns: &str, keys: &[SolanaKey]) {
    println!("    {role}: {owns}");
    for key in keys {
        println!("      {:<44}  secret {}", key.address, key.secret);
    }
}
