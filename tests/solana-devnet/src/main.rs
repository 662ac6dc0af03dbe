//! `solana-devnet`: the dev chain as a process of its own.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use solana_devnet::{Chain, Keys, Shared, Timing, World, serve};
use tokio::net::TcpListener;

/// A Solana dev chain on 127.0.0.1: funded keys, a dollar where devnet's USDC is, Token-2022 dollars, wallets, and a
/// validator's JSON-RPC with a clock that tests can stop. Everything is gone when it ends.
#[derive(Debug, Parser)]
#[command(name = "solana-devnet", after_help = solana_devnet::CONTROL_METHODS)]
struct Args {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8899)]
    port: u16,
    /// Milliseconds that a slot lasts
    #[arg(long, value_name = "MS", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    slot_ms: u64,
    /// Slots until a transaction is confirmed
    #[arg(long, value_name = "SLOTS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=500))]
    confirm_after: u64,
    /// Slots until a transaction is finalized
    #[arg(long, value_name = "SLOTS", default_value_t = 32, value_parser = clap::value_parser!(u64).range(0..=500))]
    finalize_after: u64,
    /// Keys that own SOL, for facilitators
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=500))]
    fee_payers: u16,
    /// Keys that own tokens and no SOL, for buyers
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=5000))]
    buyers: u16,
    /// Say this is the chain's genesis; the default is that of Solana's devnet
    #[arg(long, value_name = "HASH", default_value = solana_devnet::DEVNET_GENESIS)]
    genesis_hash: solana_hash::Hash,
    /// Print one line of JSON (`url` and everything that devnet_world answers) instead of text
    #[arg(long)]
    json: bool,
    /// End when standard input ends: for programs that start this one
    #[arg(long)]
    until_stdin_closes: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let taken = |e| format!("cannot listen on 127.0.0.1:{}: {e}", args.port);
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await.map_err(taken)?;
    let url = format!("http://{}", listener.local_addr().map_err(taken)?);
    let timing = Timing {
        slot: Duration::from_millis(args.slot_ms),
        confirm_after: args.confirm_after,
        finalize_after: args.finalize_after,
    };
    let mut chain = Chain::new(timing, args.genesis_hash);
    let world = World::plant(&mut chain, Keys::new(args.fee_payers, args.buyers))?;
    let mut description = world.describe(&chain);
    description["url"] = json!(url);
    if args.json {
        println!("{description}");
    } else {
        print(&description, &args);
    }
    if args.until_stdin_closes {
        // A thread: reading standard input can't be interrupted, and nothing is left to tidy up.
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    serve(listener, Shared::new(chain, world))
        .await
        .map_err(|e| e.to_string())
}

fn print(world: &Value, args: &Args) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |name: &str| world[name].as_array().cloned().unwrap_or_default();
    println!(
        "Solana dev chain, network {} (solana-devnet in protocol v1)",
        text(&world["network"])
    );
    println!("  HTTP       {}", text(&world["url"]));
    println!(
        "  slots      one every {} ms; confirmed after {}, finalized after {}",
        args.slot_ms, args.confirm_after, args.finalize_after
    );
    println!("\nTokens, six decimals each");
    for token in list("tokens") {
        println!("  {}  {}", text(&token["mint"]), text(&token["name"]));
    }
    println!("\nPrograms and accounts");
    for wallet in list("wallets") {
        println!(
            "  {}  wallet of the second buyer, under {}",
            text(&wallet["address"]),
            text(&wallet["program"])
        );
    }
    println!("  {}  stand-in for Lighthouse", text(&world["lighthouseStandIn"]));
    println!("  {}  look-up table", text(&world["lookupTable"]["address"]));
    println!("\nKeys (public test keys: never fund them on a live network)");
    let keys = [
        ("fee payer: 100 SOL", list("feePayers")),
        ("buyer: 1000 of each token, no SOL", list("buyers")),
        ("merchant: empty token accounts", vec![world["merchant"].clone()]),
        (
            "newcomer: nothing, no token account either",
            vec![world["newcomer"].clone()],
        ),
        (
            "admin: mints the tokens, SOL for airdrops",
            vec![world["admin"].clone()],
        ),
    ];
    for (role, keys) in keys {
        println!("  {role}");
        for key in keys {
            println!(
                "    {:<44}  secret {}",
                text(&key["address"]),
                text(&key["secret"])
            );
        }
    }
    println!("\nCtrl-C stops the chain.");
}
