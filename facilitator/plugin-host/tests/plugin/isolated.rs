//! Plugins in a process of their own: what they can't reach from there, and what their end costs.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base::calls::aside::Subject;
use base::calls::{CallScope, CallTable, Operation};
use plugin_host::{
    ErrorKind, Isolation, Limits, LoadRequest, Loaded, RunnerSettings, Sandbox, load, stray_completions,
};
use sdk_plugin::scheme::Identity;
use sdk_plugin::{CallTerms, Cx, Fault, FaultKind, PaymentRequest, Value};
use serde_json::json;

use crate::sample::payments;
use crate::support::{
    LoggedHost, Neighbour, call_supported, compile, cx, folder, host, load_hostile, request, root, runner,
    scheme, short,
};

fn attacker() -> PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let source = root().join("tests/plugins/attacker/attacker.c");
        compile(
            &source,
            "attacker.so",
            &["-shared", "-D_GNU_SOURCE", "-Wno-format-truncation"],
        )
    });
    FILE.clone()
}

/// A file that only this process's user may read, as keys are.
fn secret() -> PathBuf {
    let path = folder("secret").join("key");
    std::fs::write(&path, "0xsecret").expect("write a file");
    path
}

fn config(what: &str) -> Value {
    json!({ "do": what, "path": secret(), "core": std::process::id() })
}

async fn load_attacker(what: &str, limits: Limits, settings: RunnerSettings) -> (Loaded, Arc<LoggedHost>) {
    let (host, _) = host();
    let request = LoadRequest {
        isolation: Isolation::Process(settings),
        ..request(attacker(), config(what), host.clone(), limits)
    };
    (load(request).await.expect("it loads"), host)
}

/// What comes of an attack in the whole sandbox; `None` where this kernel lacks a part.
async fn attack(what: &str) -> Option<Vec<String>> {
    let (host, _) = host();
    let settings = RunnerSettings {
        sandbox: Sandbox::Full,
        ..runner()
    };
    let request = LoadRequest {
        isolation: Isolation::Process(settings),
        ..request(attacker(), config(what), host.clone(), Limits::default())
    };
    let loaded = match load(request).await {
        Err(error) if error.kind == ErrorKind::Sandbox => {
            println!("not tested: {error}");
            return None;
        }
        loaded => loaded.expect("it loads"),
    };
    let answer = call_supported(&loaded, &host).await.expect("an answer");
    Some(answer.extensions)
}

/// Every attempt fails because it is not permitted (1), or access is denied (13).
async fn is_refused(what: &str, attempts: usize) {
    let Some(results) = attack(what).await else { return };
    assert_eq!(results.len(), attempts, "{results:?}");
    for result in results {
        let error = result.rsplit(": ").next().expect("a number");
        assert!(["1", "13"].contains(&error), "{what}: {result}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_plugin_knows_how_long_it_has_and_for_what() {
    let (loaded, host) = load_attacker("terms", Limits::default(), runner()).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let limit = Limits::default().call_timeout;
    for (timeout, left) in [
        (Duration::from_millis(1_500), 1_500),
        (3 * limit, limit.as_millis()),
    ] {
        let terms = CallTerms {
            timeout: Some(timeout),
            trace: Some(trace.into()),
        };
        let answer = scheme(&loaded).supported(&cx(&host).with_terms(terms)).await;
        assert_eq!(
            answer.expect("an answer").extensions,
            [format!("{trace}: {left}")]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_reaches_no_file() {
    is_refused("files", 10).await;
    assert!(secret().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_inherits_no_descriptor() {
    let file = std::fs::File::open(secret()).expect("readable");
    // Unlike those of the standard library, one that programs inherit.
    let inherited = rustix::io::dup(&file).expect("a descriptor");
    is_refused("descriptors", 0).await;
    drop(inherited);
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_reaches_no_memory_of_the_core() {
    is_refused("memory", 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_has_no_sockets() {
    is_refused("sockets", 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_starts_no_process_and_changes_none() {
    is_refused("processes", 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_signals_nobody_else() {
    is_refused("signals", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_sees_no_environment() {
    is_refused("environment", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_has_no_unusual_system_calls() {
    is_refused("kernel", 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_that_takes_all_memory_gets_its_share() {
    let settings = RunnerSettings {
        memory_bytes: 64 << 20,
        ..runner()
    };
    let (loaded, host) = load_attacker("fill", Limits::default(), settings).await;
    match call_supported(&loaded, &host).await {
        Ok(answer) => {
            let taken = answer
                .extensions
                .first()
                .and_then(|text| text.strip_suffix(" MiB"));
            let taken: u64 = taken.expect("a number").parse().expect("a number");
            assert!(taken <= 64, "{taken} MiB");
        }
        Err(fault) => assert!(fault.message.contains("64 are allowed"), "{fault}"),
    }
    Neighbour::new().await.is_well().await;
    let settings = RunnerSettings {
        memory_bytes: 64 << 20,
        ..runner()
    };
    let (loaded, host) = load_attacker("threads", Limits::default(), settings).await;
    let answer = call_supported(&loaded, &host).await.expect("an answer");
    assert_eq!(answer.extensions, ["bounded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_isolated_plugin_that_spins_or_floods_keeps_no_other_from_answering() {
    let neighbour = Neighbour::new().await;
    for what in ["spin", "flood", "errors"] {
        let (loaded, host) = load_attacker(what, Limits::default(), runner()).await;
        let busy = tokio::spawn(async move { call_supported(&loaded, &host).await });
        for _ in 0..100 {
            neighbour.is_well().await;
        }
        busy.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_forged_answers_complete_no_call_of_another_instance() {
    let (held, its_host) = load_hostile("hold", Limits::default()).await;
    let open = cx(&its_host);
    let handler = scheme(&held);
    let waiting = tokio::spawn(async move { handler.supported(&open).await });
    let before = stray_completions();
    let (loaded, host) = load_attacker("forge", Limits::default(), runner()).await;
    let own = call_supported(&loaded, &host).await.expect("its own call");
    assert!(
        own.extensions == ["forged"] || own.extensions == ["forged: 0"],
        "{own:?}"
    );
    while stray_completions() <= before + 1_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(host.script.recorded(), [], "no host call had a right");
    assert!(!waiting.is_finished());
    while !waiting.is_finished() {
        held.health.check().await.expect("releases the held call");
    }
    let answer = waiting.await.expect("no panic").expect("an answer");
    assert_eq!(answer.extensions, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_a_process_that_writes_nonsense_or_nothing_is_ended_and_started_again() {
    for (what, kinds, why) in [
        (
            "noise",
            &[FaultKind::Shutdown][..],
            "plugin attacker: its process was ended: it wrote what is no message (a frame of an unknown kind)",
        ),
        // Without a descriptor it can neither answer nor read what is sent to it.
        ("mute", &[FaultKind::Shutdown, FaultKind::Deadline], ""),
    ] {
        let limits = Limits {
            call_timeout: Duration::from_secs(1),
            ..Limits::default()
        };
        let (loaded, host) = load_attacker(what, limits, runner()).await;
        for _ in 0..2 {
            // The process is there again after a pause.
            while loaded.health.check().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let fault = call_supported(&loaded, &host).await.expect_err("it falls");
            assert!(kinds.contains(&fault.kind), "{fault}");
            assert!(fault.message.contains(why), "{fault}");
        }
    }
    Neighbour::new().await.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_a_process_that_does_not_complete_a_call_is_ended() {
    let (loaded, host) = load_attacker("flood", short(), runner()).await;
    let fault = call_supported(&loaded, &host).await.expect_err("silence");
    assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
    // The call is completed with the process, so that its permit is free.
    let mut was_down = false;
    while !was_down {
        was_down = loaded
            .health
            .check()
            .await
            .is_err_and(|fault| fault.message.contains("did not complete a call"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_no_runner_is_reported() {
    let (host, _) = host();
    let settings = |program: &str| RunnerSettings {
        program: program.into(),
        ..runner()
    };
    for (program, kind, why) in [
        ("/nowhere/at/all", ErrorKind::File, "its process can't be started"),
        (
            "/bin/true",
            ErrorKind::Start,
            "its process ended with the status 0",
        ),
        ("/bin/cat", ErrorKind::Start, "its process"),
    ] {
        let request = LoadRequest {
            isolation: Isolation::Process(settings(program)),
            ..request(
                attacker(),
                json!({ "do": "nothing" }),
                host.clone(),
                Limits::default(),
            )
        };
        let error = load(request).await.expect_err(program);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(why), "{error}");
    }
}

/// A scheme that ends its process in `identify`, for payloads with this text only.
async fn load_fatal(how: &str, calls: &Arc<CallTable>) -> (Loaded, Arc<LoggedHost>) {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let source = root().join("tests/plugins/fatal/fatal.c");
        compile(&source, "fatal.so", &["-shared", "-D_GNU_SOURCE", "-O0"])
    });
    let (host, _) = host();
    let config = json!({ "at": "identify", "how": how, "mark": "crafted" });
    let mut request = request(FILE.clone(), config, host.clone(), Limits::default());
    request.isolation = Isolation::Process(runner());
    request.instance.calls = Arc::clone(calls);
    (load(request).await.expect("it loads"), host)
}

/// A call about the payment with this nonce, as the engine makes it.
async fn identify(
    (loaded, host): &(Loaded, Arc<LoggedHost>),
    calls: &Arc<CallTable>,
    nonce: &str,
) -> Result<Identity, Fault> {
    let guard = calls.begin(CallScope {
        instance: 1,
        operation: Operation::Identify,
        network: "test:1".into(),
        signs: None,
        attempt: None,
        node: None,
        subject: Some(subject(nonce)),
    });
    let cx = Cx::new(host.clone(), guard.id(), host.script.context("test:1"));
    let mut request = payments().remove(0);
    *request.get_mut("payload").expect("a payload") = json!({ "nonce": nonce });
    let request: PaymentRequest = serde_json::from_value(request).expect("a payment");
    let scheme = loaded.schemes.get("fatal").expect("its scheme").clone();
    scheme.identify(&cx, &request).await
}

fn subject(nonce: &str) -> Subject {
    let mut digest = [1; 32];
    digest
        .iter_mut()
        .zip(nonce.bytes())
        .for_each(|(byte, text)| *byte = text);
    Subject {
        digest,
        scheme: "fatal".into(),
        recorded: None,
    }
}

async fn until_it_serves(plugin: &(Loaded, Arc<LoggedHost>)) {
    // It does not know the operation, and so it counts as healthy.
    while plugin.0.health.check().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law6_the_payment_that_ends_its_process_is_named_among_others() {
    for how in ["segv", "abort", "overflow", "exit0"] {
        let calls = Arc::new(CallTable::default());
        let plugin = load_fatal(how, &calls).await;
        for times in 1..=2 {
            until_it_serves(&plugin).await;
            // What comes of the others is not the question: the process that serves them ends.
            let (ended, _, _) = tokio::join!(
                identify(&plugin, &calls, "crafted"),
                identify(&plugin, &calls, "a"),
                identify(&plugin, &calls, "b"),
            );
            let fault = ended.expect_err("its process ends");
            assert_eq!(fault.kind, FaultKind::Shutdown, "{how}: {fault}");
            let is_set_aside = calls.aside.check(1, &subject("crafted")).is_some();
            assert_eq!(is_set_aside, times == 2, "{how}, {times} times");
        }
        until_it_serves(&plugin).await;
        for nonce in ["a", "b"] {
            assert_eq!(calls.aside.check(1, &subject(nonce)), None, "{how}");
            identify(&plugin, &calls, nonce).await.expect("it is served");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law6_a_payment_alone_in_a_process_that_ends_by_another_thread_is_counted() {
    let calls = Arc::new(CallTable::default());
    let plugin = load_fatal("thread", &calls).await;
    for _ in 0..2 {
        assert_eq!(calls.aside.check(1, &subject("crafted")), None);
        until_it_serves(&plugin).await;
        identify(&plugin, &calls, "crafted")
            .await
            .expect_err("its process ends");
    }
    assert!(calls.aside.check(1, &subject("crafted")).is_some());
}
