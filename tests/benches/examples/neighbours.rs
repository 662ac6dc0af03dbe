//! What a broken plugin costs the others: the times of settles of `exact` on a development chain while another plugin is called
//! without a pause, beside those of the same process before.
//!
//! ```text
//! cargo build --release -p switchyard -p plugin-evm
//! cargo run --release -p benches --example neighbours
//! ```
//!
//! An argument replaces the seconds of each measurement (`8`). Each line has one broken plugin, where it ran, the settles, those that
//! failed, and the median and the 99th percentile of their times, alone and beside it. A plugin that ends the facilitator's process is
//! measured beside what the next start makes of it; the last column is the time from the end to the first good `/ready`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::World;
use e2e::fatal::{Fatal, payment};

const CALLERS: usize = 4;
/// Callers of the broken plugin.
const BAD_CALLERS: usize = 4;

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(8);
    let lasts = Duration::from_secs(seconds);
    let fatal = Fatal::build(&[]);
    println!(
        "how        process     settles  failed     alone p50 / p99 ms    beside p50 / p99 ms   p99 ratio   restart ms"
    );
    for how in [
        "segv", "abort", "exit0", "overflow", "thread", "fill", "hang", "spin", "flood",
    ] {
        measure(&fatal, how, "process", lasts);
    }
    for how in ["hang", "spin", "flood"] {
        measure(&fatal, how, "none", lasts);
    }
    for how in ["segv", "abort", "exit0", "overflow", "thread"] {
        measure(&fatal, how, "ends it", lasts);
    }
}

/// Has the plugin end the process, and starts it again: how long that takes.
fn end_once(world: &mut World) -> Duration {
    let body = payment(world, "the end");
    let client = world.facilitator.client();
    drop(client.post("/verify", body.to_string().as_bytes(), &[]));
    world.facilitator.wait_exit();
    let ended = Instant::now();
    world.facilitator.restart();
    ended.elapsed()
}

fn measure(fatal: &Fatal, how: &str, isolation: &str, lasts: Duration) {
    let section = fatal.section("verify", how).replace(
        "isolation = \"none\"",
        match isolation {
            "process" => "isolation = \"process\"",
            _ => "isolation = \"none\"",
        },
    );
    let limits = "[limits]\naddress_requests_per_minute = 0\n";
    let mut world = World::builder().more(&format!("{section}{limits}")).start();
    // Fills caches and pools.
    settles(&world, Duration::from_secs(1));
    let alone = settles(&world, lasts);
    let restart = (isolation == "ends it").then(|| end_once(&mut world));
    let world = world;
    let is_over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        for caller in 0..BAD_CALLERS {
            let (world, is_over) = (&world, &is_over);
            scope.spawn(move || {
                let body = payment(world, &format!("caller {caller}"));
                while !is_over.load(Ordering::Relaxed) {
                    // The answer says that its plugin does not serve, after the longest wait or at once.
                    drop(world.facilitator.verify(&body));
                }
            });
        }
        std::thread::sleep(Duration::from_millis(500));
        let beside = settles(&world, lasts);
        is_over.store(true, Ordering::Relaxed);
        beside
    });
    let ratio = beside.p99.as_micros() * 100 / alone.p99.as_micros().max(1);
    println!(
        "{how:<10} {:<10} {:>8} {:>7} {:>12} / {:<10} {:>9} / {:<10} {}.{:02}       {}",
        match isolation {
            "none" => "the same",
            "process" => "its own",
            _ => "its own now",
        },
        alone.count + beside.count,
        alone.failed + beside.failed,
        millis(alone.p50),
        millis(alone.p99),
        millis(beside.p50),
        millis(beside.p99),
        ratio / 100,
        ratio % 100,
        restart.map_or_else(String::new, |took| took.as_millis().to_string()),
    );
}

fn millis(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{}", micros / 1_000, micros % 1_000 / 100)
}

struct Times {
    count: usize,
    failed: usize,
    p50: Duration,
    p99: Duration,
}

/// Settles payments of several buyers for this long.
fn settles(world: &World, lasts: Duration) -> Times {
    let (times, failed) = (Mutex::new(Vec::new()), Mutex::new(0_usize));
    let until = Instant::now() + lasts;
    std::thread::scope(|scope| {
        for buyer in 0..CALLERS {
            let (times, failed) = (&times, &failed);
            scope.spawn(move || {
                while Instant::now() < until {
                    let body = world.payment(buyer).v2();
                    let sent = Instant::now();
                    let reply = world.settle(&body);
                    let took = sent.elapsed();
                    if reply.json["success"] == true {
                        times.lock().expect("no panic").push(took);
                    } else {
                        eprintln!("{reply:?}");
                        *failed.lock().expect("no panic") += 1;
                    }
                }
            });
        }
    });
    let mut times = times.into_inner().expect("no panic");
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    Times {
        count: times.len(),
        failed: failed.into_inner().expect("no panic"),
        p50: at(50),
        p99: at(99),
    }
}
