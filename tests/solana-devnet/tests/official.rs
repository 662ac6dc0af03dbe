//! The chain under the official clients and facilitator: Node.js drives it through `@solana/kit` and `@x402/svm`.

use devnet::{Npm, SolanaDevnet, SolanaOptions};

fn start() -> SolanaDevnet {
    let program = Some(env!("CARGO_BIN_EXE_solana-devnet").into());
    SolanaDevnet::start(&SolanaOptions {
        program,
        ..SolanaOptions::default()
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_official_facilitator_settles_a_payment_of_the_official_client() {
    let chain = start();
    let output = Npm::ensure()
        .unwrap_or_else(|error| panic!("{error}"))
        .script("solana-check.mjs")
        .env("SOLANA_RPC_URL", chain.url())
        .env("SOLANA_KEY", &chain.buyers[0].secret)
        .env("FEE_PAYER_KEY", &chain.fee_payers[0].secret)
        .env("PAY_TO", &chain.merchant.address)
        .output()
        .expect("node starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let landed = chain.transactions().expect("the chain answers");
    assert_eq!(landed.len(), 1);
    assert_eq!(landed[0].fee_payer, chain.fee_payers[0].address);
    assert_eq!(landed[0].err, None);
}

#[test]
fn the_levers_work_over_the_wire() {
    let chain = start();
    let frozen = chain.freeze().expect("the chain answers");
    assert!(frozen.frozen);
    let later = chain.advance(200).expect("the chain answers");
    assert_eq!(
        (later.processed, later.finalized),
        (frozen.processed + 200, frozen.finalized + 200)
    );
    assert!(!chain.resume().expect("the chain answers").frozen);

    let (newcomer, usdc) = (&chain.newcomer.address, devnet::SOLANA_USDC);
    assert_eq!(chain.balance_of(usdc, newcomer).expect("the chain answers"), 0);
    let account = chain
        .set_token_balance(newcomer, usdc, 7)
        .expect("the chain answers");
    assert_eq!(Some(&account), chain.newcomer.token_accounts.get(usdc));
    assert_eq!(chain.balance_of(usdc, newcomer).expect("the chain answers"), 7);
    chain.set_lamports(newcomer, 5).expect("the chain answers");
    assert_eq!(chain.lamports_of(newcomer).expect("the chain answers"), 5);
    assert_eq!(
        chain
            .lamports_of(&chain.buyers[0].address)
            .expect("the chain answers"),
        0
    );
}

#[test]
fn the_process_ends_when_its_parent_process_ends() {
    use std::process::{Command, Stdio};
    let mut process = Command::new(env!("CARGO_BIN_EXE_solana-devnet"))
        .args(["--port", "0", "--json", "--until-stdin-closes"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    drop(process.stdin.take());
    assert!(process.wait().expect("it ends").success());
}
