//! Plugins and tenants that are replaced while the process serves.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use e2e::fatal::{Fatal, payment};
use e2e::{World, binaries, wait};

use crate::tenants::{post, tenant};

const CALLERS: usize = 12;

/// Two builds of the shipped plugin: the second has a byte more, which no loader reads.
struct Builds {
    _folder: tempfile::TempDir,
    sha256: [String; 2],
    files: [PathBuf; 2],
}

impl Builds {
    fn new() -> Builds {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes = fs::read(binaries::evm_plugin().expect("built")).expect("readable");
        let files = ["one.so", "two.so"].map(|name| folder.path().join(name));
        fs::write(&files[0], &bytes).expect("written");
        fs::write(&files[1], [&bytes[..], b"2"].concat()).expect("written");
        let sha256 = [0, 1].map(|number: usize| binaries::sha256(&files[number]).expect("readable"));
        Builds {
            _folder: folder,
            sha256,
            files,
        }
    }

    /// Configures the other build.
    fn alternate(&self, world: &World, from: usize, to: usize) {
        let file = |number: usize| self.files[number].display().to_string();
        world.facilitator.reconfigure(&file(from), &file(to));
        world
            .facilitator
            .reconfigure(&self.sha256[from], &self.sha256[to]);
    }

    fn lines(&self) -> String {
        format!("file = {:?}\nsha256 = {:?}\n", self.files[0], self.sha256[0])
    }
}

#[track_caller]
fn reload(world: &World) -> String {
    let (is_done, said) = world.facilitator.command(&["plugin", "reload"]);
    assert!(is_done, "{said}");
    said
}

/// A member of `/proc/PID/status`.
fn status(world: &World, member: &str) -> u64 {
    let process = world.facilitator.process_id().expect("it runs");
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("readable");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(member))
        .expect("a member");
    let number = line
        .trim_start_matches(':')
        .split_whitespace()
        .next()
        .expect("a number");
    number.parse().expect("a number")
}

/// Reloads the plugin so often while payments are verified and settled. `RELOADS` repeats it longer.
fn reloads_under_load(isolation: &str) {
    let builds = Builds::new();
    let reloads = std::env::var("RELOADS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6);
    let world = World::builder()
        .buyers(12)
        .more("[limits]\naddress_requests_per_minute = 0\n")
        .plugin(&format!("{}isolation = {isolation:?}\n", builds.lines()))
        .start();
    let (done, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begin = Instant::now();
    let (before, after) = std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (world, done, answers) = (&world, &done, &answers);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let body = world.payment(caller).v2();
                    for _ in 0..40 {
                        let reply = world.facilitator.verify(&body);
                        assert_eq!(reply.json["isValid"], true, "{reply:?}");
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    let _hash = world.settle(&body).paid();
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut before = None;
        for number in 0..reloads {
            // Each generation serves.
            let served = answers.load(Ordering::Relaxed) + 100;
            wait::until("a hundred answers", wait::LONG, || {
                (answers.load(Ordering::Relaxed) >= served).then_some(())
            });
            builds.alternate(&world, number % 2, (number + 1) % 2);
            let said = reload(&world);
            assert!(said.contains(&format!("generation {}", number + 2)), "{said}");
            if number == 1 {
                before = Some([status(&world, "VmRSS"), status(&world, "Threads")]);
            }
        }
        done.store(true, Ordering::Relaxed);
        let after = [status(&world, "VmRSS"), status(&world, "Threads")];
        (before.expect("two reloads"), after)
    });
    println!(
        "{isolation}: {reloads} reloads, {} answers in {} ms; memory {} to {} KiB, threads {} to {}",
        answers.into_inner(),
        begin.elapsed().as_millis(),
        before[0],
        after[0],
        before[1],
        after[1],
    );
    // The threads of instances end with their last calls.
    wait::until("as many threads as before", wait::LONG, || {
        (status(&world, "Threads") <= before[1] + 2).then_some(())
    });
    assert!(after[0] < before[0] + (64 << 10), "memory: {before:?} {after:?}");
    assert_eq!(
        world.metric("switchyard_plugin_generation", "plugin=\"evm\""),
        reloads as u64 + 1
    );
}

#[test]
fn a_plugin_is_reloaded_under_load_without_a_failed_request() {
    reloads_under_load("none");
}

#[test]
fn an_isolated_plugin_is_reloaded_under_load_without_a_failed_request() {
    reloads_under_load("process");
}

#[test]
fn law6_a_reload_that_fails_keeps_what_serves_and_says_why() {
    let fatal = Fatal::build(&[]);
    let section = fatal.section("never", "abort").replace("\"none\"", "\"process\"");
    let world = World::builder().more(&section).start();
    let body = payment(&world, "one");
    let serves = || {
        let reply = world.facilitator.verify(&body);
        assert_eq!(reply.json["isValid"], true, "{reply:?}");
    };
    serves();
    assert!(reload(&world).contains("nothing has changed"));
    for (from, to, why) in [
        (
            "at = \"never\"",
            "at = \"create\"",
            "its process ended by the signal 6 (abort)",
        ),
        (
            "at = \"create\"",
            "at = \"start\"",
            "it did not start: plugin fatal: its process ended by the signal 6 (abort)",
        ),
        ("at = \"start\"", "at = 7", "plugin.fatal.config"),
        ("at = 7", "att = \"never\"", "plugin.fatal.config"),
    ] {
        world.facilitator.reconfigure(from, to);
        let (is_done, said) = world.facilitator.command(&["plugin", "reload"]);
        assert!(!is_done && said.contains(why), "{to}: {said}");
        serves();
    }
    world.facilitator.reconfigure("att = \"never\"", "at = \"never\"");
    let log = world.facilitator.log().len();
    world.facilitator.reconfigure("how = \"abort\"", "how = \"segv\"");
    world.facilitator.hang_up();
    wait::until("a reload by the signal", wait::LONG, || {
        let text = world.facilitator.log();
        text.get(log..)?.contains("plugin_reloaded").then_some(())
    });
    serves();
}

#[test]
fn what_a_reload_can_not_replace_is_listed() {
    let fatal = Fatal::build(&[]);
    let world = World::builder().more("[limits]\naddress_burst = 7\n").start();
    world.facilitator.reconfigure(
        "address_burst = 7",
        &format!("address_burst = 8\n{}", fatal.section("never", "abort")),
    );
    let said = reload(&world);
    for line in [
        "[limits] has changed: it takes effect at the next start",
        "plugin.fatal is new: it is loaded at the next start",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn tenants_are_added_and_their_keys_rotated_by_a_reload() {
    let one = tenant("one", "key-one", "");
    let world = World::builder().more(&one).start();
    let body = world.payment(1).v2();
    let verify = |key: &str| post(&world, "/verify", &body, key).status;
    assert_eq!(
        [verify("key-one"), verify("key-new"), verify("key-two")],
        [200, 401, 401]
    );
    let both = [tenant("one", "key-new", ""), tenant("two", "key-two", "")].concat();
    world.facilitator.reconfigure(&one, &both);
    let said = reload(&world);
    assert!(
        said.contains("tenant one has changed") && said.contains("tenant two is new"),
        "{said}"
    );
    wait::until("the new keys", wait::LONG, || {
        (verify("key-two") == 200).then_some(())
    });
    assert_eq!(
        [verify("key-one"), verify("key-new"), verify("key-two")],
        [401, 200, 200]
    );
    let reply = post(&world, "/settle", &body, "key-two");
    assert_eq!(reply.json["success"], true, "{reply:?}");
}
