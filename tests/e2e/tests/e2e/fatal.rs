//! Plugins that end the process: each costs a restart, the next start says who it was and runs it in a process of its own, and
//! everything else is served.

use e2e::fatal::{Fatal, payment};
use e2e::{World, wait};
use serde_json::Value;

/// A facilitator with a scheme that works and one that ends the process, which this payment is for.
fn world(fatal: &Fatal, at: &str, how: &str) -> World {
    World::builder().more(&fatal.section(at, how)).start()
}

/// Sends a request that nobody answers, because the process ends.
#[track_caller]
fn ends(world: &mut World, path: &str, body: &Value) -> std::process::ExitStatus {
    let sent = world
        .facilitator
        .client()
        .post(path, body.to_string().as_bytes(), &[]);
    assert!(sent.is_err(), "{sent:?}");
    world.facilitator.wait_exit()
}

#[track_caller]
fn serves_exact(world: &World) {
    let body = world.payment(1).v2();
    wait::until("a scheme that works", wait::LONG, || {
        let reply = world.facilitator.verify(&body);
        (reply.json["isValid"] == true).then_some(())
    });
    let _hash = world.settle(&body).paid();
}

/// What was written since, in which a part must be.
#[track_caller]
fn says(world: &World, since: usize, part: &str) {
    let log = world.facilitator.log();
    let log = log.get(since..).unwrap_or_default();
    assert!(log.contains(part), "no {part:?} in\n{log}");
}

#[test]
fn law6_a_plugin_that_ends_the_process_costs_a_restart_and_then_its_own_process() {
    let fatal = Fatal::build(&[]);
    for (how, what) in [
        (
            "segv",
            "signal 11 (segmentation fault) while it was serving x402.verify",
        ),
        ("abort", "signal 6 (abort) while it was serving x402.verify"),
        (
            "overflow",
            "signal 11 (segmentation fault) while it was serving x402.verify",
        ),
        (
            "exit0",
            "it called exit, which ended the last process while it was serving x402.verify",
        ),
        ("thread", "signal 11 (segmentation fault) on a thread of its own"),
        (
            "texit",
            "it called exit, which ended the last process on a thread of its own",
        ),
    ] {
        let mut world = world(&fatal, "verify", how);
        serves_exact(&world);
        let body = payment(&world, "one");
        let status = ends(&mut world, "/verify", &body);
        assert!(!status.success(), "{how}: an orderly end for a supervisor");
        if how == "exit0" || how == "texit" {
            assert_eq!(status.code(), Some(70));
        }
        // From then on it ends its own process.
        let before = world.facilitator.log().len();
        world.facilitator.restart();
        says(&world, before, "plugin_blamed");
        says(&world, before, what);
        says(&world, before, "plugin_isolated");
        for _ in 0..3 {
            serves_exact(&world);
            let reply = world.facilitator.verify(&body);
            assert_ne!(reply.json["isValid"], true, "{reply:?}");
        }
        says(&world, before, "plugin_process_ended");
        serves_exact(&world);
        assert!(!world.facilitator.has_ended(), "{how}: it is isolated");
        let (_, shown) = world.facilitator.command(&["plugin", "quarantine"]);
        assert!(
            shown.contains("fatal (in quarantine)") && shown.contains(what),
            "{shown}"
        );
        if how == "segv" {
            let (is_released, said) = world.facilitator.command(&["plugin", "release", "fatal"]);
            assert!(is_released, "{said}");
            world.facilitator.kill();
            let before = world.facilitator.log().len();
            world.facilitator.restart();
            let log = world.facilitator.log();
            assert!(!log.get(before..).unwrap_or_default().contains("plugin_isolated"));
            ends(&mut world, "/verify", &body);
        }
    }
}

#[test]
fn law6_a_plugin_that_ends_the_process_in_judge_ends_it_once() {
    let fatal = Fatal::build(&[]);
    let mut world = world(&fatal, "judge", "segv");
    let body = payment(&world, "one");
    ends(&mut world, "/settle", &body);
    // It resumes the payment, and judges it again: in a process of its own.
    let before = world.facilitator.log().len();
    world.facilitator.restart();
    says(&world, before, "while it was serving x402.judge");
    wait::until("the end of its own process", wait::LONG, || {
        let log = world.facilitator.log();
        let is_ended = log
            .get(before..)
            .unwrap_or_default()
            .contains("plugin_process_ended");
        is_ended.then_some(())
    });
    serves_exact(&world);
    assert!(!world.facilitator.has_ended());
    // Another file is another plugin: the payment continues.
    world.facilitator.kill();
    world.facilitator.reconfigure("at = \"judge\"", "at = \"never\"");
    let (is_released, said) = world.facilitator.command(&["plugin", "release", "fatal"]);
    assert!(is_released, "{said}");
    world.facilitator.restart();
    serves_exact(&world);
    let reply = world.facilitator.settle(&body);
    assert_eq!(reply.json["errorReason"], "settlement_pending", "{reply:?}");
}

#[test]
fn law6_a_plugin_that_ends_the_process_at_its_start_ends_one_start() {
    for (at, how, flags) in [
        ("create", "exit0", &[][..]),
        ("start", "abort", &[]),
        ("load", "segv", &["-DAT_LOAD=\"segv\""]),
        // It holds the lock of the loader, for which any thread may wait.
        ("load", "hang", &["-DAT_LOAD=\"hang\""]),
    ] {
        let good = Fatal::build(&[]);
        let mut world = world(&good, "never", how);
        world.facilitator.kill();
        let bad = Fatal::build(flags);
        let (from, to) = (good.section("never", how), bad.section(at, how));
        world.facilitator.reconfigure(&from, &to);
        let (status, _) = world.facilitator.restart_refused();
        assert!(!status.success(), "{at}: {status}");
        let before = world.facilitator.log().len();
        world.facilitator.restart_unready();
        says(&world, before, "in a process of its own it does not run either");
        serves_exact(&world);
        let (_, shown) = world.facilitator.command(&["plugin", "quarantine"]);
        assert!(
            shown.contains("fatal (in quarantine)") && shown.contains("at its start"),
            "{at}: {shown}"
        );
    }
}

#[test]
fn law6_a_plugin_that_does_not_start_costs_its_own_kinds_unless_the_operator_is_strict() {
    let fatal = Fatal::build(&[]);
    let more = fatal.section("create", "hang");
    let mut world = World::builder().more(&more).start_unready();
    serves_exact(&world);
    says(&world, 0, "it did not make an instance within");
    let ready = world.facilitator.get("/ready").text;
    assert!(ready.contains("plugin.fatal does not run"), "{ready}");
    assert!(!ready.contains(".so"), "no paths: {ready}");
    world.facilitator.kill();
    world
        .facilitator
        .reconfigure("[plugins]\n", "[plugins]\nstrict = true\n");
    let (status, log) = world.facilitator.restart_refused();
    assert!(!status.success());
    assert!(log.contains("plugin.fatal: plugin"), "{log}");
}

#[test]
fn law6_an_isolated_plugin_ends_its_own_process_only() {
    let fatal = Fatal::build(&[]);
    for (at, how) in [
        ("verify", "segv"),
        ("verify", "abort"),
        ("identify", "exit0"),
        ("plan", "overflow"),
        ("judge", "segv"),
    ] {
        let section = fatal
            .section(at, how)
            .replace("isolation = \"none\"", "isolation = \"process\"");
        let world = World::builder().more(&section).start();
        let body = payment(&world, "one");
        for _ in 0..2 {
            let reply = match at {
                "verify" => world.facilitator.verify(&body),
                _ => world.facilitator.settle(&body),
            };
            assert_ne!(reply.json["isValid"], true, "{at}: {reply:?}");
            assert_ne!(reply.json["success"], true, "{at}: {reply:?}");
            serves_exact(&world);
        }
        wait::until("the end of its own process", wait::LONG, || {
            world
                .facilitator
                .log()
                .contains("plugin_process_ended")
                .then_some(())
        });
        assert!(!world.facilitator.is_gone(), "{at}: the facilitator is there");
        let (_, shown) = world.facilitator.command(&["plugin", "quarantine"]);
        assert!(!shown.contains("in quarantine"), "{shown}");
        assert!(!shown.contains("suspected"), "{shown}");
    }
}

#[test]
fn law6_while_an_isolated_plugin_does_not_run_its_kinds_are_not_ready() {
    let fatal = Fatal::build(&[]);
    let section = fatal
        .section("verify", "segv")
        .replace("isolation = \"none\"", "isolation = \"process\"");
    let world = World::builder().more(&section).start();
    let mut number = 0;
    // Each end doubles the pause before its next start.
    wait::until("the plugin named by /ready", wait::LONG, || {
        number += 1;
        let reply = world
            .facilitator
            .verify(&payment(&world, &format!("payment {number}")));
        assert_ne!(reply.json["isValid"], true, "{reply:?}");
        let ready = world.facilitator.get("/ready").text;
        ready.contains("its plugin does not run now").then_some(())
    });
    let ready = world.facilitator.get("/ready");
    assert_eq!(ready.status, 200, "the network itself is ready: {ready:?}");
    serves_exact(&world);
    wait::until("its return", wait::LONG, || {
        let ready = world.facilitator.get("/ready").text;
        (!ready.contains("its plugin does not run now")).then_some(())
    });
}

fn count(world: &World, part: &str) -> usize {
    world.facilitator.log().matches(part).count()
}

#[test]
fn law6_a_payment_that_ends_its_plugins_process_twice_is_set_aside_and_others_settle() {
    let fatal = Fatal::build(&[]);
    for isolation in ["process", "none"] {
        let section = fatal
            .section("judge", "segv")
            .replace("isolation = \"none\"", &format!("isolation = {isolation:?}"))
            .replace("how = \"segv\"", "how = \"segv\", mark = \"crafted\"");
        let mut world = World::builder().more(&section).start();
        let crafted = payment(&world, "crafted");
        if isolation == "none" {
            ends(&mut world, "/settle", &crafted);
            world.facilitator.restart();
        } else {
            let reply = world.facilitator.settle(&crafted);
            assert_eq!(reply.json["errorReason"], "settlement_pending", "{reply:?}");
        }
        wait::until("the payment is set aside", wait::LONG, || {
            (count(&world, "payment_set_aside") == 1).then_some(())
        });
        let ended = count(&world, "plugin_process_ended");
        assert_eq!(ended, if isolation == "none" { 1 } else { 2 });
        // Everything else of this scheme settles.
        for nonce in ["one", "two"] {
            let other = payment(&world, nonce);
            wait::until("another payment of the scheme", wait::LONG, || {
                let reply = world.facilitator.settle(&other);
                let is_done =
                    reply.json["success"] == true || reply.json["errorReason"] == super::reason::DUPLICATE;
                is_done.then_some(())
            });
        }
        let reply = world.facilitator.settle(&crafted);
        assert_eq!(reply.json["errorReason"], "settlement_pending", "{reply:?}");
        assert_eq!(
            count(&world, "plugin_process_ended"),
            ended,
            "it is not called about it"
        );
        assert_eq!(count(&world, "payment_set_aside"), 1, "reported once");
        let metrics = world.facilitator.get("/metrics").text;
        let metric = metrics
            .lines()
            .find(|line| line.starts_with("switchyard_set_aside_total{") && line.contains("\"fatal\""));
        assert!(metric.is_some_and(|line| line.ends_with(" 1")), "{metric:?}");
        let (_, shown) = world.facilitator.command(&["plugin", "quarantine"]);
        assert!(shown.contains("fatal: a payment (set aside)"), "{shown}");
        let (_, shown) = world.facilitator.command(&["payments"]);
        assert_eq!(shown.matches("pending (set aside)").count(), 1, "{shown}");
        // So it stays after a start, until the plugin is released.
        world.facilitator.kill();
        world.facilitator.restart();
        wait::until("it is still set aside", wait::LONG, || {
            (count(&world, "payment_set_aside") == 2).then_some(())
        });
        assert_eq!(count(&world, "plugin_process_ended"), ended);
        let (is_released, said) = world.facilitator.command(&["plugin", "release", "fatal"]);
        assert!(is_released, "{said}");
        let (is_reloaded, said) = world.facilitator.command(&["plugin", "reload"]);
        assert!(is_reloaded, "{said}");
        wait::until("it is judged again", wait::LONG, || {
            (count(&world, "plugin_process_ended") > ended).then_some(())
        });
    }
}

#[test]
fn check_says_what_a_start_says_of_the_sandbox() {
    const LACKS: &str = "this system lacks a part of the sandbox";
    let fatal = Fatal::build(&[]);
    let section = fatal
        .section("never", "abort")
        .replace("isolation = \"none\"", "isolation = \"process\"");
    let world = World::builder().more(&section).start_unready();
    serves_exact(&world);
    let is_lacking = world.facilitator.log().contains(LACKS);
    let (is_good, said) = world.facilitator.command(&["check"]);
    assert_eq!(is_good, !is_lacking, "{said}");
    assert_eq!(said.contains(LACKS), is_lacking, "{said}");
    assert!(!said.contains("could not be tried"), "{said}");
}
