//! The dashboard of a real facilitator in trouble, in a real browser.

use std::path::Path;
use std::process::Command;

use e2e::fatal::{Fatal, payment};
use e2e::proxy::Fault;
use e2e::wait;
use serde_json::Value;

use super::{Desk, VIEW};

/// The test of the page that reads a facilitator which runs.
const OF_THE_PAGE: &str = "a facilitator in trouble";

fn names(overview: &Value, about: &str) -> bool {
    let problems = overview["problems"].as_array().expect("problems");
    problems.iter().any(|problem| {
        let text = problem["about"].as_str().unwrap_or_default();
        text.starts_with(about) && problem["network"].is_string()
    })
}

/// `cargo xtask test` runs it where there is a browser, which `CHROMIUM` names.
#[test]
#[ignore = "needs Chromium and the packages of the dashboard"]
fn the_first_viewport_names_network_and_cause_of_what_is_wrong() {
    let fatal = Fatal::build(&[]);
    let mut desk = Desk::start(&fatal.section("verify", "segv"), |world| {
        world.two_nodes().signers(2)
    });
    // A plugin that ended the process and is in quarantine since.
    let body = payment(&desk.world, "one").to_string();
    let sent = desk
        .world
        .facilitator
        .client()
        .post("/verify", body.as_bytes(), &[]);
    assert!(sent.is_err(), "{sent:?}");
    let _status = desk.world.facilitator.wait_exit();
    desk.world.facilitator.restart();
    // A dead node, and a signer without gas.
    desk.world.second.on("*", Fault::Refuse);
    let unfunded = desk.signers()[1]["address"]
        .as_str()
        .expect("an address")
        .to_owned();
    desk.world.chain.set_wei(&unfunded, 5).expect("a balance");
    wait::until("all three are problems", wait::LONG, || {
        let overview = desk.overview();
        let all = ["node ", "signer ", "plugin fatal"];
        all.iter().all(|about| names(&overview, about)).then_some(())
    });
    let overview = desk.overview();
    let problems = overview["problems"].as_array().expect("problems");
    let of_signer = problems
        .iter()
        .filter(|one| one.to_string().contains(&unfunded))
        .count();
    assert_eq!(of_signer, 1, "once is enough: {problems:?}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../facilitator/admin-api/dashboard");
    let tested = Command::new("node")
        .args([
            "--test",
            "--test-name-pattern",
            OF_THE_PAGE,
            "test/browser.test.mjs",
        ])
        .current_dir(folder)
        .env("ADMIN_URL", format!("http://127.0.0.1:{}", desk.port))
        .env("ADMIN_TOKEN", VIEW)
        .output()
        .expect("node");
    let text = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success(), "{text}");
    assert!(
        text.contains("pass 1") || text.contains("# pass 1"),
        "the test was run: {text}"
    );
}
