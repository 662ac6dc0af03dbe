//! Rows H12 and H13: how replies of the service are sent.

use std::time::Duration;

use sdk_plugin::wire::reason;
use serde_json::json;

use super::*;
use telemetry::metrics::MAX_SERIES;

#[tokio::test]
async fn successful_replies_have_only_the_members_they_need() {
    let front = front(Scripted::default(), settings());
    assert_eq!(
        front.post_json("/verify", &v2()).await.json(),
        json!({ "isValid": true, "payer": PAYER })
    );
    assert_eq!(
        front.post_json("/settle", &v2()).await.json(),
        json!({ "success": true, "payer": PAYER, "transaction": HASH, "network": "eip155:84532" })
    );
}

#[tokio::test]
async fn t16_messages_are_cut_and_redacted_and_keep_the_hash() {
    let message = format!(
        "POST https://user:KEY@rpc.example/v2/KEY said {} of {HASH} {}",
        "ab".repeat(32),
        "é".repeat(600)
    );
    let front = front(
        settling(SettleAnswer::Reply(failed("settlement_pending", &message, HASH))),
        settings(),
    );
    let seen = front.post_json("/settle", &v2()).await;
    assert_eq!((seen.status, seen.reason().as_str()), (200, "settlement_pending"));
    assert_eq!(seen.json()["transaction"], HASH);
    assert!(
        !seen.text.contains("KEY") && !seen.text.contains("abab"),
        "{}",
        seen.text
    );
    let message = seen.json()["errorMessage"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with(&format!("POST [removed] said [removed] of {HASH} éé"))
            && message.chars().count() == 500
    );
}

#[tokio::test]
async fn t06_missing_and_wrong_members_of_a_reply_are_corrected() {
    let reply = SettleReply {
        success: false,
        error_reason: None,
        amount: Some("1.5".into()),
        network: "nonsense".into(),
        transaction: String::new(),
        extra: serde_json::from_value(json!({ "a": null, "b": { "c": null, "d": [1] } })).unwrap(),
        ..success()
    };
    let seen = front(settling(SettleAnswer::Reply(reply)), settings())
        .post_json("/settle", &v1())
        .await;
    assert_eq!(
        seen.json(),
        json!({
            "success": false, "errorReason": "unexpected_settle_error", "payer": PAYER, "transaction": "",
            "network": "base-sepolia", "extra": { "b": { "d": [1] } },
        })
    );
    let pending = settling(SettleAnswer::Reply(failed(reason::SETTLEMENT_PENDING, "", "")));
    assert_eq!(
        front(pending, settings())
            .post_json("/settle", &v2())
            .await
            .reason(),
        "unexpected_settle_error"
    );
    let contradiction = SettleReply {
        error_reason: Some("x".into()),
        error_message: Some("y".into()),
        ..success()
    };
    let seen = front(settling(SettleAnswer::Reply(contradiction)), settings())
        .post_json("/settle", &v2())
        .await;
    assert_eq!(
        (seen.json()["success"].clone(), seen.json().get("errorMessage")),
        (json!(true), None)
    );
}

#[tokio::test]
async fn t06_after_a_panic_the_caller_gets_the_envelope_in_its_shape() {
    let service = || Scripted {
        on_verify: Box::new(|_| panic!("as scripted")),
        on_settle: Box::new(|_| Box::pin(async { panic!("as scripted") })),
        ..Scripted::default()
    };
    let front = front(service(), settings());
    let seen = front.post_json("/verify", &v2()).await;
    assert_eq!(
        (seen.status, seen.reason().as_str()),
        (200, "unexpected_verify_error")
    );
    let seen = front.post_json("/settle", &v1()).await;
    assert_eq!(
        (seen.status, seen.reason().as_str()),
        (200, "unexpected_settle_error")
    );
    assert_eq!(seen.json()["network"], "base-sepolia");
}

#[tokio::test(start_paused = true)]
async fn t07_the_caller_of_a_service_that_never_replies_gets_503() {
    let service = Scripted {
        on_verify: Box::new(|_| Box::pin(std::future::pending())),
        on_settle: Box::new(|_| Box::pin(std::future::pending())),
        ..Scripted::default()
    };
    let front = front(service, settings());
    let started = tokio::time::Instant::now();
    assert_eq!(
        front.post_json("/verify", &v2()).await.reason(),
        "unexpected_verify_error"
    );
    assert_eq!(started.elapsed().as_secs(), 10);
    let started = tokio::time::Instant::now();
    // It is not known whether the payment is recorded, so the reply is not a failure.
    let seen = front.post_json("/settle", &v2()).await;
    assert_eq!(
        (seen.status, seen.reason().as_str()),
        (503, "service_unavailable")
    );
    assert_eq!(seen.headers["retry-after"], "2");
    assert_eq!(
        started.elapsed(),
        Duration::from_secs(35),
        "the wait and one commit"
    );
    assert_eq!(front.app.admission.in_flight(), 0);
}

#[tokio::test]
async fn a_response_is_delivered_when_its_body_is_taken_and_lost_otherwise() {
    let front = front(Scripted::default(), settings());
    let ends = || std::mem::take(&mut *front.service.deliveries.lock().unwrap());
    for path in ["/settle", "/deferred/vouchers"] {
        let request = || Request::post(path).body(Body::from(v2().to_string())).unwrap();
        let response = front.router.call(request()).await.unwrap();
        assert_eq!(ends(), [], "{path}: on its way");
        drop(response);
        assert_eq!(ends(), [Delivery::Lost], "{path}");
        front.send(request()).await;
        assert_eq!(ends(), [Delivery::Delivered], "{path}");
    }
    // A failure of the scheme tells the caller nothing about an outcome.
    front.post_json("/deferred/broken", &v2()).await;
    assert_eq!(ends(), [Delivery::Lost]);
}

#[tokio::test]
async fn t16_no_part_of_a_response_contains_an_own_key() {
    let key = "ab".repeat(32);
    let mut keys = KeyDigests::default();
    keys.add_hex(&[0xab; 32]);
    let reply = SettleReply {
        extra: serde_json::from_value(json!({ "note": format!("0x{key}") })).unwrap(),
        ..failed("no", &format!("see 0x{key} and {HASH}"), HASH)
    };
    let app = App::new(
        &settings(),
        Arc::new(settling(SettleAnswer::Reply(reply))) as _,
        Arc::new(Metrics::default()),
        keys,
    );
    let router = TowerToHyperService::new(router(app));
    let request = Request::post("/settle")
        .body(Body::from(v2().to_string()))
        .unwrap();
    let body = router.call(request).await.unwrap().into_body().collect().await;
    let text = String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap();
    assert!(!text.contains("abab"), "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["errorMessage"], format!("see [removed] and {HASH}"));
    assert_eq!(
        (&body["transaction"], &body["extra"]["note"]),
        (&json!(HASH), &json!("[removed]"))
    );
}

#[tokio::test]
async fn a_replay_has_the_bytes_of_the_first_reply_in_every_shape() {
    let first = SettleReply {
        amount: Some("10000".into()),
        ..success()
    };
    let recorded = serde_json::to_string(&first).unwrap();
    let answering = front(settling(SettleAnswer::Reply(first)), settings());
    let replaying = front(settling(SettleAnswer::Replay(recorded)), settings());
    let old = json!({
        "paymentHeader": v1()["paymentPayload"].to_string(), "paymentRequirements": v1()["paymentRequirements"],
    });
    for body in [v2(), v1(), old] {
        let first = answering.post_json("/settle", &body).await;
        let replay = replaying.post_json("/settle", &body).await;
        assert_eq!((replay.status, replay.text), (200, first.text));
    }
    let request = Request::post("/settle")
        .header("Idempotency-Key", "order 7")
        .body(v2().to_string().into());
    replaying.send(request.unwrap()).await;
    assert_eq!(replaying.last().idempotency_key.as_deref(), Some("order 7"));
}

#[tokio::test]
async fn an_invalid_idempotency_key_is_refused_before_the_service_is_called() {
    let front = front(Scripted::default(), settings());
    for key in ["", &"k".repeat(256), "schlüssel"] {
        let request = Request::post("/settle")
            .header("Idempotency-Key", key)
            .body(v2().to_string().into());
        let seen = front.send(request.unwrap()).await;
        assert_eq!(
            (seen.status, seen.reason().as_str()),
            (400, "invalid_payload"),
            "{key}"
        );
    }
    assert_eq!(front.calls(), 0);
}

#[tokio::test]
async fn an_unavailable_service_is_503_with_retry_after() {
    let answer = SettleAnswer::Unavailable {
        retry_after_s: 7,
        message: "the queue of https://rpc.example is full".into(),
    };
    let seen = front(settling(answer), settings())
        .post_json("/settle", &v2())
        .await;
    assert_eq!(
        (seen.status, seen.reason().as_str()),
        (503, "service_unavailable")
    );
    assert_eq!(
        (
            seen.headers["retry-after"].to_str().unwrap(),
            &seen.json()["error"]
        ),
        ("7", &json!("the queue of [removed] is full"))
    );
}

#[tokio::test]
async fn payment_requests_are_counted_by_names_of_the_configuration() {
    let answer = SettleAnswer::Unavailable {
        retry_after_s: 7,
        message: "too many settlements wait for this network".into(),
    };
    let tenants = Settings {
        tenants: vec![tenant("shop", &["key-1"])],
        ..settings()
    };
    let front = front(settling(answer), tenants);
    let settle = async |body: &Value, key: &str| {
        let request = Request::post("/settle").header("content-type", "application/json");
        let request = request
            .header("x-api-key", key)
            .body(Body::from(body.to_string()));
        front.send(request.unwrap()).await.status
    };
    assert_eq!(settle(&v2(), "key-1").await, 503);
    assert_eq!(settle(&v2(), "another").await, 401);
    let hostile = with(v2(), "/paymentRequirements/network", json!("eip155:<script>"));
    assert_ne!(settle(&hostile, "key-1").await, 503);
    let text = front.get("/metrics").await.text;
    for line in [
        "tenant_requests_total{network=\"eip155:84532\",path=\"/settle\",result=\"unavailable\",tenant=\"shop\"} 1",
        "tenant_requests_total{network=\"none\",path=\"/settle\",result=\"negative\",tenant=\"none\"} 1",
        "tenant_requests_total{network=\"other\",path=\"/settle\",result=\"negative\",tenant=\"shop\"} 1",
        "unavailable_total{cause=\"overloaded\",path=\"/settle\"} 1",
        "unavailable_total{cause=\"draining\",path=\"/verify\"} 0",
        "http_requests_total{outcome=\"success\",path=\"/settle\",status=\"200\"} 0",
    ] {
        assert!(
            text.contains(&format!("\nswitchyard_{line}\n")),
            "{line} in {text}"
        );
    }
    assert!(!text.contains("script"), "{text}");
}

#[tokio::test]
async fn supported_lists_version_2_first_and_only_valid_kinds() {
    let front = front(Scripted::default(), settings());
    let seen = front.get("/supported").await;
    assert_eq!(
        seen.json(),
        json!({
            "kinds": [
                { "x402Version": 2, "scheme": "exact", "network": "eip155:84532" },
                { "x402Version": 1, "scheme": "exact", "network": "base-sepolia" },
            ],
            "extensions": [],
            "signers": { "eip155:*": [PAYER] },
        })
    );
}

#[tokio::test]
async fn health_ready_and_metrics_contain_no_secrets() {
    let front = front(Scripted::default(), settings());
    assert_eq!(front.get("/health").await.json()["status"], "ok");
    let seen = front.get("/ready").await;
    assert_eq!((seen.status, seen.json()["ready"].clone()), (200, json!(true)));
    assert_eq!(
        seen.json()["networks"][1]["why"],
        "connection refused by [removed]"
    );
    front.post_json("/verify", &v2()).await;
    front
        .post_json(
            "/verify",
            &with(v2(), "/paymentRequirements/network", json!("eip155:1")),
        )
        .await;
    let seen = front.get("/metrics").await;
    assert_eq!(
        seen.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        "switchyard_http_requests_total{outcome=\"valid\",path=\"/verify\",status=\"200\"} 1",
        "switchyard_http_requests_total{outcome=\"invalid_network\",path=\"/verify\",status=\"400\"} 1",
        "switchyard_http_request_seconds_count{path=\"/verify\"} 2",
        "switchyard_http_requests_inside 0",
    ] {
        assert!(
            seen.text.lines().any(|have| have == line),
            "{line} in {}",
            seen.text
        );
    }
    let down = super::front(
        Scripted {
            ready: false,
            ..Scripted::default()
        },
        settings(),
    );
    assert_eq!(down.get("/ready").await.status, 503);
}

#[tokio::test]
async fn ready_names_unready_schemes_and_is_503_when_all_are_unready() {
    let scheme = |scheme: &str, ready: bool| SchemeReadiness {
        scheme: scheme.into(),
        ready,
        why_not: (!ready).then(|| "no code at 0xaa on https://rpc.example/KEY".into()),
        warnings: Vec::new(),
    };
    for (exact, status) in [(true, 200), (false, 503)] {
        let front = front(
            Scripted {
                schemes: vec![scheme("exact", exact), scheme("auth-capture", false)],
                ..Scripted::default()
            },
            settings(),
        );
        let seen = front.get("/ready").await;
        assert_eq!(
            (seen.status, seen.json()["ready"].clone()),
            (status, json!(status == 200))
        );
        let schemes = seen.json()["networks"][0]["schemes"].clone();
        let listed = schemes.as_array().map_or(0, Vec::len);
        assert_eq!(listed, if exact { 1 } else { 2 }, "{schemes}");
        let last = json!({ "scheme": "auth-capture", "ready": false, "why": "no code at 0xaa on [removed]" });
        assert_eq!(schemes[listed - 1], last);
    }
}

#[tokio::test]
async fn t102_invalid_samples_change_no_response() {
    let front = front(Scripted::default(), settings());
    let metrics = &front.app.metrics;
    for n in 0..2 * MAX_SERIES {
        let n = n.to_string();
        let labels = [("path", n.as_str()), ("status", "200"), ("outcome", "success")];
        metrics.add("switchyard_http_requests_total", &labels, u64::MAX);
        // Another type than that of the sample that follows.
        metrics.set(
            "switchyard_http_request_seconds",
            &[("path", n.as_str())],
            f64::NAN,
        );
    }
    let seen = front.post_json("/settle", &v2()).await;
    assert_eq!(seen.status, 200);
    assert_eq!(
        (&seen.json()["success"], &seen.json()["transaction"]),
        (&json!(true), &json!(HASH))
    );
    assert_eq!(front.post_json("/verify", &v2()).await.json()["isValid"], true);
    let text = front.get("/metrics").await.text;
    assert!(
        text.contains("switchyard_http_requests_total{overflow=\"true\"}"),
        "it has overflowed"
    );
}

#[tokio::test]
async fn ready_is_503_with_the_reason_while_the_disk_refuses_writes() {
    let folder = tempfile::tempdir().unwrap();
    let front = front(
        Scripted::default(),
        Settings {
            data_directory: folder.path().to_owned(),
            ..settings()
        },
    );
    assert_eq!(front.get("/ready").await.status, 200);
    let probe = folder.path().join(telemetry::disk::PROBE);
    std::os::unix::fs::symlink("/dev/full", &probe).unwrap();
    front.app.disk.check(&front.app.metrics).await;
    let seen = front.get("/ready").await;
    assert_eq!((seen.status, &seen.json()["ready"]), (503, &json!(false)));
    let why = seen.json()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("the disk is full: make room"), "{why}");
    assert_eq!(front.get("/health").await.status, 200, "a restart would not help");
    std::fs::remove_file(&probe).unwrap();
    front.app.disk.check(&front.app.metrics).await;
    assert_eq!(front.get("/ready").await.status, 200);
}

#[tokio::test]
async fn ready_is_503_while_the_database_does_not_answer_and_names_what_needs_a_person_in_it() {
    let why = "the database of the journal does not answer (no route to postgres://user@db.example/x)";
    let journal = JournalReadiness {
        why_not: Some(why.into()),
        alarms: vec!["payments of lane eip155:1|0xa are open".into()],
    };
    let scripted = Scripted {
        journal: journal.clone().into(),
        ..Scripted::default()
    };
    let front = front(scripted, settings());
    let service = Arc::clone(&front.service);
    let seen = front.get("/ready").await;
    assert_eq!((seen.status, &seen.json()["ready"]), (503, &json!(false)));
    let shown = seen.json()["why"].as_str().unwrap().to_owned();
    assert!(
        shown.starts_with("the database of the journal does not answer"),
        "{shown}"
    );
    assert!(!shown.contains("db.example"), "{shown}");
    assert_eq!(seen.json()["alarms"], json!(journal.alarms));
    *service.journal.lock().unwrap() = JournalReadiness {
        why_not: None,
        ..journal
    };
    let seen = front.get("/ready").await;
    assert_eq!((seen.status, &seen.json()["why"]), (200, &json!(null)));
    assert_eq!(seen.json()["alarms"].as_array().map(Vec::len), Some(1));
    *service.journal.lock().unwrap() = JournalReadiness::default();
    assert_eq!(front.get("/ready").await.json()["alarms"], json!(null));
}

#[tokio::test]
async fn every_response_has_a_request_id_and_a_good_one_of_the_caller_is_kept() {
    let front = front(Scripted::default(), settings());
    let id = |seen: &Seen| {
        let ids: Vec<_> = seen.headers.get_all("x-request-id").iter().collect();
        let [id] = ids.as_slice() else { panic!("{ids:?}") };
        id.to_str().unwrap().to_owned()
    };
    let mut made = BTreeSet::new();
    for (method, path) in [
        ("POST", "/verify"),
        ("POST", "/settle"),
        ("GET", "/settle"),
        ("PUT", "/settle"),
        ("GET", "/supported"),
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/metrics"),
        ("GET", "/no/such/path"),
        ("POST", "/deferred/vouchers?network=eip155:84532"),
        ("OPTIONS", "/supported"),
    ] {
        let request = || Request::builder().method(method).uri(path);
        let body = || Body::from(v2().to_string());
        let seen = front.send(request().body(body()).unwrap()).await;
        assert!(made.insert(id(&seen)), "{method} {path}");
        let sent = request().header("x-request-id", "order-17").body(body()).unwrap();
        assert_eq!(id(&front.send(sent).await), "order-17", "{method} {path}");
        let bad = request().header("x-request-id", "a b").body(body()).unwrap();
        assert!(made.insert(id(&front.send(bad).await)), "{method} {path}");
    }
}
