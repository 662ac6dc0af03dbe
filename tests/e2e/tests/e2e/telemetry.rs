//! Logs and metrics that fail change nothing for a payment.

use e2e::payment::PRICE;
use e2e::{Output, World};

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
fn t102_a_log_that_nobody_reads_changes_no_payment() {
    pays_although(Output::ClosedPipe);
}
