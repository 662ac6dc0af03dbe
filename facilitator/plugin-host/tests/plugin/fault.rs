//! A loaded plugin that breaks the rules: its callers get a clear fault, and other instances are not affected.

use plugin_host::{ErrorKind, Isolation, Limits, load, stray_completions};
use sdk_plugin::host::RpcRequest;
use sdk_plugin::scheme::Supported;
use sdk_plugin::testkit::Recorded;
use sdk_plugin::{Cx, FaultKind};
use serde_json::json;

use crate::support::{
    Neighbour, SHORT, attempt, call_supported, cx, here_and_isolated, host, hostile, isolation, load_hostile,
    request, scheme, short, try_load_hostile,
};

/// With one thread, the work of a call after its completion ends ahead of the next call.
fn one_thread() -> Limits {
    Limits {
        threads: 1,
        ..Limits::default()
    }
}

here_and_isolated! {
    async fn t07_a_plugin_that_never_answers_fills_its_own_bulkhead_only() {
        let neighbour = Neighbour::new().await;
        let (loaded, host) = load_hostile(
            "never",
            Limits {
                concurrent_calls: 2,
                ..short()
            },
        )
        .await;
        let (one, other) = tokio::join!(call_supported(&loaded, &host), call_supported(&loaded, &host));
        for silence in [one, other] {
            let fault = silence.expect_err("silence");
            assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
            assert!(fault.message.contains("the plugin did not answer x402.supported within"), "{fault}");
        }
        let fault = call_supported(&loaded, &host).await.expect_err("full");
        assert_eq!(fault.kind, FaultKind::Overloaded, "{fault}");
        neighbour.is_well().await;
    }

    async fn t07_a_plugin_that_blocks_its_threads_blocks_no_other_instance() {
        let neighbour = Neighbour::new().await;
        let (loaded, host) = load_hostile(
            "block",
            Limits {
                queued_tasks: 3,
                ..short()
            },
        )
        .await;
        let mut kinds = Vec::new();
        for _ in 0..6 {
            kinds.push(call_supported(&loaded, &host).await.expect_err("blocked").kind);
            neighbour.is_well().await;
        }
        assert_eq!(kinds.first(), Some(&FaultKind::Deadline));
        assert_eq!(
            kinds.last(),
            Some(&FaultKind::Overloaded),
            "its queue stays full: {kinds:?}"
        );
    }

    async fn t07_a_second_completion_finds_no_call_and_its_buffer_is_freed() {
        let neighbour = Neighbour::new().await;
        let before = stray_completions();
        let (loaded, host) = load_hostile("twice", one_thread()).await;
        assert_eq!(call_supported(&loaded, &host).await, Ok(Supported::default()));
        let health = loaded.health.check().await.expect("health");
        assert_eq!(health.message.as_deref(), Some("2 given, 2 released"));
        assert!(stray_completions() > before);
        neighbour.is_well().await;
    }

    async fn t07_a_completion_after_the_deadline_frees_only_the_permit() {
        let (loaded, host) = load_hostile(
            "hold",
            Limits {
                concurrent_calls: 2,
                threads: 1,
                ..short()
            },
        )
        .await;
        for _ in 0..3 {
            assert_eq!(
                call_supported(&loaded, &host).await.expect_err("held").kind,
                FaultKind::Deadline
            );
            loaded.health.check().await.expect("releases the held call");
        }
        let health = loaded.health.check().await.expect("health");
        // Three late answers, and three of `plugin.health`.
        assert_eq!(health.message.as_deref(), Some("6 given, 6 released"));
    }

    async fn t07_a_call_whose_caller_stopped_waiting_gives_no_rights() {
        let (loaded, host) = load_hostile("hold", Limits::default()).await;
        let cx = cx(&host);
        let gone = tokio::time::timeout(SHORT, scheme(&loaded).supported(&cx)).await;
        assert!(gone.is_err(), "held");
        let caller = try_load_hostile(
            json!({ "fault": "call", "parent": cx.call_id() }),
            Limits::default(),
        )
        .await;
        let (caller, its_host) = caller.expect("it loads");
        call_supported(&caller, &its_host).await.expect("an answer");
        assert_eq!(
            its_host.script.recorded(),
            [Recorded::Sleep { call: 0, millis: 1 }]
        );
        let health = loaded.health.check().await.expect("releases the held call");
        assert!(health.healthy);
    }

    async fn t07_malformed_answers_are_internal_faults() {
        let neighbour = Neighbour::new().await;
        for (fault, message) in [
            ("garbage", "the plugin's answer to x402.supported does not parse"),
            ("deep", "the plugin's answer to x402.supported does not parse"),
            ("control", "ERROR forged"),
            ("badstatus", "forty-two"),
            ("huge", "2097152 bytes, 1048576 are allowed"),
            ("nowhere", "5 bytes"),
        ] {
            let (loaded, host) = load_hostile(fault, Limits::default()).await;
            let got = call_supported(&loaded, &host).await.expect_err(fault);
            assert_eq!(got.kind, FaultKind::Internal, "{fault}: {got}");
            assert!(got.message.contains(message), "{fault}: {got}");
            neighbour.is_well().await;
        }
    }

    async fn t07_completions_that_break_the_rules_touch_nothing() {
        let neighbour = Neighbour::new().await;
        for fault in ["refuse", "stray", "badcalls", "flood"] {
            let (loaded, host) = load_hostile(
                fault,
                Limits {
                    queued_tasks: 100,
                    ..Limits::default()
                },
            )
            .await;
            for _ in 0..3 {
                let answer = call_supported(&loaded, &host).await;
                // A full queue refuses calls until it is empty again.
                let shed = fault == "flood"
                    && answer
                        .as_ref()
                        .is_err_and(|fault| fault.kind == FaultKind::Overloaded);
                assert!(shed || answer == Ok(Supported::default()), "{fault}: {answer:?}");
            }
            neighbour.is_well().await;
        }
    }

    async fn t07_a_plugin_that_creates_no_instance_is_refused() {
        for (fault, message) in [
            (
                "null",
                "it refuses to make an instance: status -8 without a message",
            ),
            (
                "null-with-error",
                "it refuses to make an instance: no money, no plugin",
            ),
            (
                "hang",
                "ms: I/O belongs in plugin.start",
            ),
            ("start-fails", "it did not start: the dog ate it"),
        ] {
            let limits = Limits {
                // A process may need some time to start.
                create_timeout: match (isolation(), fault) {
                    (Isolation::Process(_), "hang") => 20 * SHORT,
                    (Isolation::Process(_), _) => Limits::default().create_timeout,
                    (Isolation::None, _) => SHORT,
                },
                ..Limits::default()
            };
            let error = try_load_hostile(json!({ "fault": fault }), limits)
                .await
                .expect_err(fault);
            assert_eq!(error.kind, ErrorKind::Start, "{fault}: {error}");
            assert!(error.message.contains(message), "{fault}: {error}");
        }
        Neighbour::new().await.is_well().await;
    }

    async fn a_host_call_has_the_open_call_that_it_belongs_to() {
        let (loaded, host) = load_hostile("call", Limits::default()).await;
        let cx = cx(&host);
        let supported = scheme(&loaded).supported(&cx).await.expect("an answer");
        assert_eq!(supported.extensions, ["0"], "the host's status");
        assert_eq!(
            host.script.recorded(),
            [Recorded::Sleep {
                call: cx.call_id(),
                millis: 1
            }]
        );
    }

    async fn a_plugin_cannot_borrow_the_rights_of_another_instances_call() {
        let (held, its_host) = load_hostile("hold", Limits::default()).await;
        let open = cx(&its_host);
        let handler = scheme(&held);
        let waiting = tokio::spawn({
            let open = open.clone();
            async move { handler.supported(&open).await }
        });
        let config = json!({ "fault": "call", "parent": open.call_id() });
        let (borrower, host) = try_load_hostile(config, Limits::default())
            .await
            .expect("it loads");
        call_supported(&borrower, &host).await.expect("an answer");
        assert_eq!(host.script.recorded(), [Recorded::Sleep { call: 0, millis: 1 }]);
        // Repeated until the held call has arrived and is released.
        while !waiting.is_finished() {
            held.health.check().await.expect("health");
        }
        assert_eq!(waiting.await.expect("no panic"), Ok(Supported::default()));
    }

    async fn call_ids_are_used_once() {
        let (loaded, host) = load_hostile("never", short()).await;
        let once = cx(&host);
        assert_eq!(
            scheme(&loaded).supported(&once).await.expect_err("silence").kind,
            FaultKind::Deadline
        );
        assert_eq!(
            scheme(&loaded).supported(&once).await.expect_err("known").kind,
            FaultKind::Internal
        );
        let zero = Cx::new(host.clone(), 0, host.script.context("test:1"));
        assert_eq!(
            scheme(&loaded).supported(&zero).await.expect_err("zero").kind,
            FaultKind::Internal
        );
    }

    async fn after_a_send_every_fault_is_indeterminate() {
        for fault in ["send-never", "send-garbage"] {
            let (loaded, host) = load_hostile(fault, short()).await;
            let driver = loaded.drivers.get("test").expect("its driver");
            let cx = cx(&host);
            let got = driver.broadcast(&cx, &attempt()).await.expect_err(fault);
            assert_eq!(got.kind, FaultKind::Indeterminate, "{fault}: {got}");
            let recorded = host.script.recorded();
            let [
                Recorded::Rpc {
                    call,
                    request: RpcRequest::Send { .. },
                },
            ] = recorded.as_slice()
            else {
                panic!("{fault}: {recorded:?}")
            };
            assert_eq!(*call, cx.call_id());
        }
    }

    async fn a_send_after_the_deadline_is_denied_so_the_fault_stays_deadline() {
        let (loaded, host) = load_hostile("hold-send", short()).await;
        let driver = loaded.drivers.get("test").expect("its driver");
        let fault = driver.broadcast(&cx(&host), &attempt()).await.expect_err("held");
        assert_eq!(fault.kind, FaultKind::Deadline, "nothing was sent: {fault}");
        loaded.health.check().await.expect("now it tries to send");
        assert_eq!(host.script.recorded(), [], "the host was not called");
    }

    async fn an_instance_is_destroyed_when_its_last_call_is_complete() {
        let (host, mut lines) = host();
        let config = json!({ "fault": "none" });
        let loaded = load(request(hostile(), config, host.clone(), Limits::default()))
            .await
            .expect("it loads");
        assert_eq!(call_supported(&loaded, &host).await, Ok(Supported::default()));
        drop(loaded);
        assert_eq!(lines.recv().await.as_deref(), Some("destroyed"));
    }
}

/// A process that leaves calls open is ended instead: `isolated.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn t07_calls_that_a_plugin_never_completes_are_given_up() {
    let limits = Limits {
        concurrent_calls: 2,
        ..short()
    };
    let (loaded, host) = load_hostile("never", limits).await;
    for _ in 0..3 {
        let (one, other) = tokio::join!(call_supported(&loaded, &host), call_supported(&loaded, &host));
        for silence in [one, other] {
            assert_eq!(
                silence.expect_err("silence").kind,
                FaultKind::Deadline,
                "it was accepted"
            );
        }
        tokio::time::sleep(2 * SHORT).await;
    }
    // No thread is free again where the plugin's code has not returned.
    let (loaded, host) = load_hostile("block", limits).await;
    for _ in 0..2 {
        assert_eq!(
            call_supported(&loaded, &host).await.expect_err("blocked").kind,
            FaultKind::Deadline
        );
    }
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(
        call_supported(&loaded, &host).await.expect_err("full").kind,
        FaultKind::Overloaded
    );
}

/// In a process of its own, because other tests load plugins at the same time in this one.
#[test]
fn t07_what_a_plugin_changes_of_the_process_is_put_back() {
    let own = std::env::current_exe().expect("this program");
    let test = ["--exact", "fault::changes_the_process", "--ignored"];
    let output = std::process::Command::new(own)
        .args(test)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the test above runs it, alone"]
async fn changes_the_process() {
    let mask = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("readable");
        let line = status
            .lines()
            .find(|line| line.starts_with("Umask:"))
            .expect("a mask");
        line.to_owned()
    };
    let folder = || std::fs::read_link("/proc/self/cwd").expect("readable");
    // Bit 14 is SIGTERM, bit 10 SIGSEGV.
    let signals = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("readable");
        let of = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("a set");
            u64::from_str_radix(line.trim(), 16).expect("hex")
        };
        let wanted = (1 << 14) | (1 << 10);
        (of("SigIgn:") & wanted, of("SigCgt:") & wanted)
    };
    let before = (mask(), folder(), signals());
    let (loaded, host) = load_hostile("process", Limits::default()).await;
    assert_eq!((mask(), folder(), signals()), before);
    assert_eq!(call_supported(&loaded, &host).await, Ok(Supported::default()));
}
