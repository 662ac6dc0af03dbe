//! Any sequence of operations, with any amounts, fees and times, forged, repeated, raced, and with the facilitator killed
//! at any moment: the chain's tokens are conserved, nobody gets more than the terms allow, every payment's state follows a
//! model of a few lines, and the journal's view is the chain's.
//!
//! `ESCROW_SEED` names the first seed and `ESCROW_SEEDS` how many follow one another.

pub(crate) mod books;
pub(crate) mod dice;
mod life;
mod payment;
mod settle;

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use devnet::{AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, Account, USDC};
use e2e::World;
use e2e::escrow::{self, refunds};

use dice::Dice;
use life::{Life, People};

const WORKERS: usize = 5;
const ROUNDS: usize = 5;
const STEPS: u64 = 20;
const OPERATORS: usize = 2;
const RICH: u128 = 1_000_000_000_000;

fn receiver(worker: usize) -> String {
    format!("0x00000000000000000000000000000000000ee{worker:03}")
}

fn fee_receiver(worker: usize) -> String {
    format!("0x00000000000000000000000000000000000fe{worker:03}")
}

fn number(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => usual,
    }
}

fn start() -> World {
    let agreements: String = (0..WORKERS).map(|worker| refunds(&receiver(worker))).collect();
    let buyers = u16::try_from(2 + 2 * WORKERS).expect("few");
    let world = escrow::world(&agreements.replace("\"1000000000\"", "\"1000000000000000\""))
        .signers(OPERATORS)
        .buyers(buyers)
        .start();
    let chain = &world.chain;
    for operator in &chain.facilitators[..OPERATORS] {
        chain.mint(USDC, &operator.address, RICH).expect("minted");
        for deployment in [AUTH_CAPTURE_V11, AUTH_CAPTURE_V10] {
            chain
                .set_allowance(
                    USDC,
                    &operator.address,
                    deployment.operator_refund_collector,
                    RICH,
                )
                .expect("allowed");
        }
    }
    for buyer in 0..chain.buyers.len() {
        e2e::hold::allow_permit2(&world, buyer);
    }
    world
}

/// Where all of the dollars are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Books {
    /// Of every account that may ever have some, together.
    total: u128,
    /// Escrow, operator, and what is held under it there.
    stores: Vec<(&'static str, String, u128)>,
    operators: u128,
}

fn books(world: &World) -> Books {
    let chain = &world.chain;
    let addresses = |accounts: &[Account]| accounts.iter().map(|one| one.address.clone()).collect::<Vec<_>>();
    let operators = addresses(&chain.facilitators[..OPERATORS]);
    let mut stores = Vec::new();
    for deployment in [AUTH_CAPTURE_V11, AUTH_CAPTURE_V10] {
        for operator in &operators {
            let store = chain
                .token_store(&deployment, operator)
                .expect("the node answers");
            stores.push((deployment.escrow, operator.clone(), world.balance(&store)));
        }
        for collector in [
            deployment.erc3009_collector,
            deployment.permit2_collector,
            deployment.operator_refund_collector,
            deployment.escrow,
        ] {
            assert_eq!(world.balance(collector), 0, "{collector} keeps nothing");
        }
    }
    let sum = |holders: &[String]| holders.iter().map(|holder| world.balance(holder)).sum::<u128>();
    let operators = sum(&operators);
    let workers: Vec<String> = (0..WORKERS)
        .flat_map(|worker| [receiver(worker), fee_receiver(worker)])
        .collect();
    let held: u128 = stores.iter().map(|(_, _, units)| units).sum();
    let others = sum(&addresses(&chain.buyers)) + world.earned() + sum(&workers);
    Books {
        total: others + operators + held,
        stores,
        operators,
    }
}

/// The escrow holds what the payments add up to, and the operators paid for the refunds and for nothing else.
fn balanced(world: &World, lives: &[Life], before: &Books) {
    let now = books(world);
    assert_eq!(now.total, before.total, "tokens are conserved");
    for ((escrow, operator, units), (_, _, earlier)) in now.stores.iter().zip(&before.stores) {
        let held: u128 = lives.iter().map(|life| life.held(escrow, operator)).sum();
        assert_eq!(*units, earlier + held, "in escrow {escrow} for {operator}");
    }
    let signed = |units: u128| i128::try_from(units).expect("fits");
    let refunded: i128 = lives.iter().map(Life::refunded).sum();
    assert_eq!(signed(now.operators), signed(before.operators) + refunded);
}

/// All workers at once, until each has made its steps, or until the facilitator dies after the `dies_after`th.
fn round(world: &World, lives: &mut [Life], dies_after: Option<u64>) {
    // Nobody dies while what the last death left open is checked.
    std::thread::scope(|scope| {
        for life in lives.iter_mut() {
            scope.spawn(|| life.close(world));
        }
    });
    let (time, steps, dead) = (RwLock::new(()), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for life in lives {
            let (time, steps, dead) = (&time, &steps, &dead);
            scope.spawn(move || {
                for _ in 0..STEPS {
                    if dead.load(Ordering::SeqCst) {
                        return;
                    }
                    if dies_after == Some(steps.fetch_add(1, Ordering::SeqCst)) {
                        dead.store(true, Ordering::SeqCst);
                        // The others are in the middle of theirs.
                        world.facilitator.crash();
                        return;
                    }
                    life.step(world, time);
                }
            });
        }
    });
}

fn run(world: &mut World, seed: u64) {
    println!("seed {seed}");
    let before = books(world);
    let mut dice = Dice::new(seed, 1_000);
    let mut lives: Vec<Life> = (0..WORKERS)
        .map(|worker| {
            let people = People {
                buyer: 2 + worker,
                receiver: receiver(worker),
                fee_receiver: fee_receiver(worker),
            };
            let name = format!("seed {seed} worker {worker}");
            Life::new(world, Dice::new(seed, worker), people, name)
        })
        .collect();
    for turn in 0..ROUNDS {
        let most = STEPS * u64::try_from(WORKERS).expect("few") - 1;
        let dies_after = (turn + 1 < ROUNDS).then(|| dice.between(8, most));
        round(world, &mut lives, dies_after);
        if dies_after.is_some() {
            world.facilitator.kill();
            world.facilitator.restart();
        }
    }
    lives.iter_mut().for_each(|life| life.close(world));
    balanced(world, &lives, &before);
    for life in &lives {
        for payment in &life.past {
            payment.audit(world);
        }
    }
    let (done, refused): (usize, usize) = lives.iter().fold((0, 0), |(done, refused), life| {
        (done + life.done, refused + life.refused)
    });
    println!("seed {seed}: {done} operations done, {refused} refused");
    assert!(
        done >= WORKERS && refused >= WORKERS,
        "{done} done, {refused} refused: nothing was tried"
    );
}

#[test]
fn random_operations_and_crashes_keep_every_balance_correct() {
    let mut world = start();
    let first = number("ESCROW_SEED", 1);
    for seed in first..first + number("ESCROW_SEEDS", 1) {
        run(&mut world, seed);
    }
}
