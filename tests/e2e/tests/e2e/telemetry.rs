//! Logs and metrics that fail change nothing for a payment.

use devnet::Mining;
use e2e::payment::PRICE;
use e2e::{Output, World, wait};

use crate::reason;

fn pays_although(output: Output) {
    let mut world = World::builder()
        .output(output)
        .more("[log]\nlevel = \"trace\"")
        .start();
    let body = world.payment(2).v2();
    world.verify(&body).valid();
    let hash = world.settle(&body).paid();
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    // What is refused is refused as ever, and what follows a crash as well.
    assert_eq!(world.facilitator.post("/settle", b"{").status, 400);
    world.facilitator.kill();
    world.facilitator.restart();
    let other = world.payment(3).v2();
    let _ = world.settle(&other).paid();
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (2, 2, 2 * PRICE)
    );
    assert_eq!(world.facilitator.get("/metrics").status, 200);
    world.facilitator.terminate();
    assert!(world.facilitator.wait_exit().success(), "a clean exit");
}

#[test]
fn t102_a_full_disk_for_the_log_changes_no_payment() {
    pays_although(Output::FullDisk);
}

#[test]
fn t102_a_log_pipe_that_is_never_read_changes_no_payment() {
    pays_although(Output::ClosedPipe);
}

#[test]
fn all_log_lines_about_one_payment_have_the_same_claim() {
    let world = World::builder()
        .server("settle_wait_seconds = 1")
        .mining(Mining::Manual)
        .start();
    let field = |log: &str, line: &str, name: &str| {
        let line = log.lines().find(|found| found.contains(line))?;
        let field = line.split_whitespace().find(|part| part.starts_with(name))?;
        Some(field.to_owned())
    };
    let _ = world.settle(&world.payment(2).v2()).pending();
    world.chain.mine(3).expect("mines");
    let log = wait::until("the payment in the log", wait::LONG, || {
        let log = world.facilitator.log();
        field(&log, "height=", "tx=").is_some().then_some(log)
    });
    let claim = field(&log, "answered: pending", "claim=");
    assert!(claim.is_some(), "{log}");
    assert_eq!(field(&log, "height=", "claim="), claim, "{log}");
}
