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
        "where    how        process     settles  failed     alone p50 / p99 ms    beside p50 / p99 ms   p99 ratio   restart ms"
    );
    for how in [
        "segv", "abort", "exit0", "overflow", "thread", "fill", "hang", "spin", "flood",
    ] {
        measure(&fatal, ("verify", how), Place::ItsOwn, lasts);
    }
    measure(&fatal, ("judge", "segv"), Place::ItsOwn, lasts);
    for how in ["hang", "spin", "flood"] {
        measure(&fatal, ("verify", how), Place::TheSame, lasts);
    }
    for how in ["segv", "abort", "exit0", "overflow", "thread"] {
        measure(&fatal, ("verify", how), Place::Quarantine, lasts);
    }
    measure(&fatal, ("judge", "segv"), Place::Quarantine, lasts);
    for at in [("create", "exit0"), ("start", "abort"), ("create", "hang")] {
        measure(&fatal, at, Place::Quarantine, lasts);
    }
}

/// Where the broken plugin runs while it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a process of its own from the start.
    ItsOwn,
    /// In the facilitator's process, which it does not end.
    TheSame,
    /// It ended the facilitator's process, or kept it from starting: what the start after it made of that.
    Quarantine,
}

/// The route by which the broken plugin is called. One that breaks before it serves is not called by what it serves.
fn route(at: &str) -> &'static str {
    if at == "judge" { "/settle" } else { "/verify" }
}

/// Has the plugin end the process, or one start of it, and starts it again: how long that takes.
fn end_once(world: &mut World, fatal: &Fatal, (at, how): (&str, &str)) -> Duration {
    match at {
        "verify" | "judge" => {
            let body = payment(world, "the end");
            let client = world.facilitator.client();
            drop(client.post(route(at), body.to_string().as_bytes(), &[]));
            world.facilitator.wait_exit();
        }
        _ => {
            world.facilitator.kill();
            world
                .facilitator
                .reconfigure(&fatal.section("never", how), &fatal.section(at, how));
            if how != "hang" {
                let _ = world.facilitator.restart_refused();
            }
        }
    }
    let ended = Instant::now();
    if matches!(at, "verify" | "judge") {
        world.facilitator.restart();
    } else {
        world.facilitator.restart_unready();
    }
    ended.elapsed()
}

fn measure(fatal: &Fatal, (at, how): (&str, &str), place: Place, lasts: Duration) {
    let ends_starts = !matches!(at, "verify" | "judge");
    let section = fatal
        .section(if ends_starts { "never" } else { at }, how)
        .replace(
            "isolation = \"none\"",
            match place {
                Place::ItsOwn => "isolation = \"process\"",
                Place::TheSame | Place::Quarantine => "isolation = \"none\"",
            },
        );
    let limits = "[limits]\naddress_requests_per_minute = 0\n";
    let mut world = World::builder().more(&format!("{section}{limits}")).start();
    // Fills caches and pools.
    settles(&world, Duration::from_secs(1));
    let alone = settles(&world, lasts);
    let restart = (place == Place::Quarantine).then(|| end_once(&mut world, fatal, (at, how)));
    let world = world;
    let is_over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        for caller in 0..BAD_CALLERS {
            let (world, is_over) = (&world, &is_over);
            scope.spawn(move || {
                let client = world.facilitator.client();
                for number in 0_u64.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    // The answer says that its plugin does not serve, after the longest wait or at once.
                    let body = payment(world, &format!("caller {caller}, {number}"));
                    drop(client.post(route(at), body.to_string().as_bytes(), &[]));
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
        "{at:<8} {how:<10} {:<10} {:>8} {:>7} {:>12} / {:<10} {:>9} / {:<10} {}.{:02}       {}",
        match place {
            Place::TheSame => "the same",
            Place::ItsOwn => "its own",
            Place::Quarantine if ends_starts => "none now",
            Place::Quarantine => "its own now",
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
