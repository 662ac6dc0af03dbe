//! Signed payments, each with a nonce of its own, as complete HTTP requests.

use devnet::{Account, Devnet, WALLET};
use e2e::Payment;

use crate::wire;

/// The chain of the benchmark, Base Sepolia's id.
pub(crate) const CHAIN_ID: u64 = 84_532;
/// Signing takes longer than sending: it is done ahead, on every core of the smallest machine.
const THREADS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payer {
    /// Accounts without code, in turn.
    Accounts,
    /// A contract wallet, which answers through ERC-1271.
    Wallet,
    /// Accounts without code that have approved Permit2, in turn.
    Permits,
    /// Accounts in whose name another key signs.
    Forged,
}

/// So many payments of these payers to the merchant, as POST requests for this path.
pub(crate) fn requests(chain: &Devnet, payer: Payer, path: &str, count: usize) -> Vec<Vec<u8>> {
    let sign = |number: usize| {
        let payment = payment(chain, payer, number);
        let body = match payer {
            Payer::Permits => payment.by_permit2(),
            Payer::Accounts | Payer::Wallet | Payer::Forged => payment.v2(),
        };
        wire::post(path, body.to_string().as_bytes())
    };
    std::thread::scope(|scope| {
        let sign = &sign;
        let signers: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || (thread..count).step_by(THREADS).map(sign).collect::<Vec<_>>()))
            .collect();
        let parts = signers.into_iter().map(|signer| match signer.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        parts.flatten().collect()
    })
}

fn payment(chain: &Devnet, payer: Payer, number: usize) -> Payment {
    let merchant = &chain.merchant.address;
    let buyer = |number: usize| -> &Account { &chain.buyers[number % chain.buyers.len()] };
    match payer {
        Payer::Accounts | Payer::Permits => Payment::new(buyer(number), merchant),
        // buyers[1] owns the wallet.
        Payer::Wallet => Payment::new(buyer(1), merchant).from_wallet(WALLET),
        Payer::Forged => {
            let mut payment = Payment::new(buyer(number), merchant);
            payment.key.clone_from(&buyer(number + 1).key);
            payment
        }
    }
}
