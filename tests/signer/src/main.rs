//! `reference-signer POLICY.toml`: serves until it is ended.

use std::path::Path;
use std::process::ExitCode;

use signer::policy::Policy;
use signer::serve;
use signer::signer::Signer;

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: reference-signer POLICY.toml");
        return ExitCode::FAILURE;
    };
    match run(Path::new(&file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path) -> Result<(), String> {
    let policy = Policy::read(file)?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| format!("no event loop can be started: {error}"))?;
    runtime.block_on(async {
        let listen = policy.listen.clone();
        let signer = Signer::open(policy).await?;
        serve::serve(&listen, signer, |address| println!("listening on {address}")).await
    })
}
