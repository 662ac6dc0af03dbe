//! Logs and metrics that fail change nothing for a payment.

use std::io::Write as _;
use std::process::{Command, Stdio};

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

#[test]
fn the_log_line_of_an_answer_and_the_reply_have_the_id_of_the_request() {
    let world = World::start();
    let mut unsigned = world.payment(2).v2();
    unsigned["paymentPayload"]["payload"]["signature"] = "0x00".into();
    let settle = |headers: &[(&str, &str)]| {
        let body = unsigned.to_string();
        let reply = world
            .facilitator
            .client()
            .post("/settle", body.as_bytes(), headers);
        let reply = reply.expect("an answer");
        assert!(!reply.is_success(), "{reply:?}");
        reply.header("x-request-id").expect("an id").to_owned()
    };
    assert_eq!(settle(&[("x-request-id", "order-17")]), "order-17");
    let made = settle(&[("x-request-id", "two words")]);
    assert!(made.len() == 32 && made != settle(&[]), "{made}");
    wait::until("the answer in the log", wait::LONG, || {
        let log = world.facilitator.log();
        let answered = log.lines().find(|line| line.contains("answered: refused"))?;
        answered.contains("order-17").then_some(())
    });
}

#[test]
fn promtool_has_nothing_to_object_to_in_the_metrics_of_a_process_with_traffic() {
    let found = Command::new("promtool").arg("--version").output();
    if found.is_err() {
        // `.ci/run` installs it. A developer's machine may do without.
        eprintln!(
            "not checked: promtool is not on the PATH (`cargo xtask monitoring --help` says how to install it)"
        );
        return;
    }
    let world = World::start();
    let body = world.payment(2).v2();
    world.verify(&body).valid();
    let _ = world.settle(&body).paid();
    let _ = world.settle(&body).failed(reason::DUPLICATE);
    assert_eq!(world.facilitator.post("/settle", b"{").status, 400);
    let text = world.facilitator.get("/metrics").text;
    assert_eq!(
        world.metric("switchyard_settlements_total", "outcome=\"paid\""),
        1,
        "{text}"
    );
    // The objectives in docs/monitoring/prometheus/slo.yml select these by their text.
    for text_of_rules in [
        "le=\"1\"",
        "le=\"25\"",
        "outcome=\"success\",path=\"/settle\"",
        "outcome=\"valid\",path=\"/verify\"",
    ] {
        assert!(text.contains(text_of_rules), "{text_of_rules}\n{text}");
    }
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut input = check.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let output = check.wait_with_output().expect("promtool ends");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.is_empty(), "{printed}\n{text}");
}
