//! Unusual requests of sellers and browsers that are accepted, and the replies: rows T-118 and T-148 to T-155 of the threats.

use crate::settings::WaitUntil;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{
    HASH, PAYER, Scripted, Seen, failed, front, server, settings, settling, success, tenant, v1, v2, with,
    without,
};
use crate::settings::{Origins, Settings, Tenant};
use base::service::SettleAnswer;

#[tokio::test]
async fn t118_members_without_effect_on_money_are_read_leniently() {
    let front = front(Scripted::default(), settings());
    let accepted = |body: Value| {
        let front = &front;
        async move {
            assert_eq!(front.post_json("/verify", &body).await.reason(), "", "{body}");
            front.last()
        }
    };
    let plain = accepted(without(v2(), "/paymentPayload/resource")).await;
    let no_resource = without(v2(), "/paymentPayload/resource");
    for (pointer, value) in [
        ("/x402Version", json!("2")),
        ("/x402Version", json!([])),
        ("/paymentPayload/x402Version", json!("2")),
        ("/paymentPayload/x402Version", json!(2.0)),
        ("/paymentRequirements/maxTimeoutSeconds", json!(60.0)),
        ("/paymentPayload/extensions", json!([])),
        ("/paymentPayload/extensions", json!("none")),
        ("/paymentPayload/resource", json!(7)),
        ("/paymentPayload/resource", json!([])),
        ("/paymentRequirements/description", json!({ "en": "a" })),
    ] {
        let read = accepted(with(no_resource.clone(), pointer, value.clone())).await;
        let known = (read.remaining_ms, plain.remaining_ms);
        assert!(known.0.abs_diff(known.1) < 10_000);
        let read = sdk_plugin::PaymentRequest {
            remaining_ms: plain.remaining_ms,
            ..read
        };
        assert_eq!(read, plain, "{pointer} = {value}");
    }
    let read = accepted(with(
        v2(),
        "/paymentPayload/resource",
        json!("https://api.example/x"),
    ))
    .await;
    assert_eq!(read.resource, Some(json!({ "url": "https://api.example/x" })));
    for name in ["resource", "description", "mimeType", "outputSchema"] {
        for value in [json!(7), json!([]), json!({ "a": 1 })] {
            let body = with(v1(), &format!("/paymentRequirements/{name}"), value.clone());
            assert_eq!(
                front.post_json("/settle", &body).await.reason(),
                "",
                "{name} {value}"
            );
        }
    }
    let body = with(v1(), "/paymentPayload/x402Version", json!("1"));
    assert_eq!(front.post_json("/verify", &body).await.reason(), "");
}

#[tokio::test]
async fn t118_money_members_stay_strict() {
    let front = front(Scripted::default(), settings());
    for (pointer, value, status) in [
        ("/paymentRequirements/amount", json!(10_000.0), 200),
        ("/paymentRequirements/amount", json!("1e4"), 200),
        ("/paymentRequirements/amount", json!(["10000"]), 200),
        ("/paymentRequirements/maxTimeoutSeconds", json!(60.5), 200),
        ("/paymentRequirements/payTo", json!(["0x00"]), 200),
        ("/paymentRequirements/asset", json!(7), 200),
        ("/paymentRequirements/extra", json!([]), 200),
        ("/paymentPayload/payload", json!([]), 200),
        ("/paymentPayload/accepted", json!([]), 200),
        ("/paymentPayload/x402Version", json!("v2"), 400),
        ("/paymentPayload/x402Version", json!("2.0"), 400),
        ("/paymentPayload/x402Version", json!(2.5), 400),
        ("/paymentPayload/x402Version", json!(true), 400),
    ] {
        for path in ["/verify", "/settle"] {
            let seen = front.post_json(path, &with(v2(), pointer, value.clone())).await;
            assert_eq!(seen.status, status, "{pointer} = {value}: {}", seen.text);
            assert_ne!(seen.reason(), "", "{pointer} = {value}");
        }
    }
    assert_eq!(front.calls(), 0);
}

#[tokio::test]
async fn t148_json_is_read_under_any_content_type_and_replies_name_the_expected_form() {
    let front = front(Scripted::default(), settings());
    let post = |content_type: Option<&str>, body: Vec<u8>| {
        let mut request = Request::post("/verify");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        front.send(request.body(Body::from(body)).unwrap())
    };
    let good = v2().to_string().into_bytes();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/json; charset=UTF-8"),
        Some("application/x-www-form-urlencoded"),
        Some(""),
    ] {
        let seen = post(content_type, good.clone()).await;
        assert_eq!(
            (seen.status, seen.reason().as_str()),
            (200, ""),
            "{content_type:?}"
        );
    }
    let bom = [b"\xef\xbb\xbf".to_vec(), good.clone()].concat();
    let seen = post(Some("application/json"), bom).await;
    assert_eq!((seen.status, seen.reason().as_str()), (200, ""), "{}", seen.text);
    let calls = front.calls();
    let array = with(v2(), "/paymentRequirements", json!([v2()["paymentRequirements"]]));
    for (body, named) in [
        (
            array.to_string().into_bytes(),
            "paymentRequirements must be one object, not an array",
        ),
        (
            with(v2(), "/paymentPayload", json!("eyJ4IjoxfQ=="))
                .to_string()
                .into_bytes(),
            "paymentPayload must be an object, not a string",
        ),
        (
            format!("[{}]", v2()).into_bytes(),
            "the body must be a JSON object, not an array",
        ),
        (
            Vec::new(),
            "the body is empty; send one JSON object with x402Version, paymentPayload",
        ),
        (b" \r\n".to_vec(), "the body is empty"),
        (
            b"{\"paymentPayload\":".to_vec(),
            "the body is not acceptable JSON",
        ),
        (b"paymentPayload=1".to_vec(), "the body is not acceptable JSON"),
    ] {
        let seen = post(Some("text/html"), body).await;
        assert_eq!(seen.status, 400, "{}", seen.text);
        assert_eq!(seen.headers["content-type"], "application/json");
        assert!(!seen.reason().is_empty());
        let error = seen.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(named), "{named}: {error}");
    }
    assert_eq!(front.calls(), calls);
}

#[tokio::test]
async fn t149_long_texts_and_large_extensions_do_not_fail_a_payment() {
    let front = front(Scripted::default(), settings());
    let long = "é".repeat(5_000);
    let catalogue: Value = (0..600)
        .map(|n| json!({ "name": format!("item-{n}"), "text": "x".repeat(80) }))
        .collect();
    assert!(catalogue.to_string().len() > 60 * 1_024);
    let body = with(v2(), "/paymentPayload/resource/description", json!(long));
    let body = with(
        body,
        "/paymentPayload/extensions",
        json!({ "bazaar": { "info": catalogue } }),
    );
    for path in ["/verify", "/settle"] {
        assert_eq!(front.post_json(path, &body).await.reason(), "");
    }
    let body = with(v1(), "/paymentRequirements/description", json!("é".repeat(5_000)));
    let body = with(
        body,
        "/paymentRequirements/outputSchema",
        json!({ "input": catalogue_of(600) }),
    );
    for path in ["/verify", "/settle"] {
        assert_eq!(front.post_json(path, &body).await.reason(), "");
    }
}

fn catalogue_of(items: usize) -> Value {
    (0..items)
        .map(|n| json!({ "name": format!("item-{n}"), "text": "x".repeat(80) }))
        .collect()
}

#[tokio::test]
async fn t150_the_reply_to_the_oldest_form_has_its_old_members_and_the_new_ones() {
    let front = front(Scripted::default(), settings());
    let header = v1()["paymentPayload"].to_string();
    let body = json!({
        "x402Version": 1,
        "paymentHeader": header,
        "paymentRequirements": v1()["paymentRequirements"],
    });
    let seen = front.post_json("/verify", &body).await;
    assert_eq!(
        seen.json(),
        json!({ "isValid": true, "invalidReason": null, "payer": PAYER })
    );
    let reply = front.post_json("/settle", &body).await.json();
    assert_eq!((&reply["success"], &reply["error"]), (&json!(true), &Value::Null));
    assert_eq!(
        (&reply["txHash"], &reply["transaction"]),
        (&json!(HASH), &json!(HASH))
    );
    assert_eq!(
        (&reply["networkId"], &reply["network"]),
        (&json!("84532"), &json!("base-sepolia"))
    );
}

fn header<'s>(seen: &'s Seen, name: &str) -> Option<&'s str> {
    seen.headers.get(name).map(|value| value.to_str().unwrap())
}

fn browser(method: &str, path: &str, origin: &str) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("origin", origin);
    request
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "x-api-key")
        .body(Body::empty())
        .unwrap()
}

const PAGE: &str = "https://shop.example";

#[tokio::test]
async fn t151_scripts_may_read_supported_and_send_payments_only_where_allowed() {
    let open = front(Scripted::default(), settings());
    for path in ["/supported", "/health", "/supported/"] {
        let seen = open.send(browser("GET", path, PAGE)).await;
        assert_eq!(header(&seen, "access-control-allow-origin"), Some("*"), "{path}");
        let seen = open.send(browser("OPTIONS", path, PAGE)).await;
        assert_eq!((seen.status, seen.text.as_str()), (204, ""), "{path}");
        assert_eq!(header(&seen, "access-control-allow-origin"), Some("*"));
        assert_eq!(
            header(&seen, "access-control-allow-methods"),
            Some("GET, HEAD, OPTIONS")
        );
        assert!(
            header(&seen, "access-control-allow-headers")
                .unwrap()
                .contains("x-api-key")
        );
    }
    for path in ["/verify", "/settle", "/ready", "/metrics"] {
        let seen = open.send(browser("OPTIONS", path, PAGE)).await;
        assert_eq!(seen.status, 405, "{path}");
        assert_eq!(header(&seen, "access-control-allow-origin"), None, "{path}");
    }
    let seen = open.post_json("/settle", &v2()).await;
    assert_eq!(header(&seen, "access-control-allow-origin"), None);

    let listed = front(
        Scripted::default(),
        server(|server| {
            server.cors_origins = Origins::These(vec![PAGE.to_owned()]);
            server.cors_payments = true;
        }),
    );
    for path in ["/supported", "/verify", "/settle"] {
        let seen = listed.send(browser("OPTIONS", path, PAGE)).await;
        assert_eq!(seen.status, 204, "{path}");
        assert_eq!(header(&seen, "access-control-allow-origin"), Some(PAGE), "{path}");
        assert_eq!(header(&seen, "vary"), Some("Origin"), "{path}");
        for stranger in ["https://shop.example.evil.example", "null", "http://shop.example"] {
            let seen = listed.send(browser("OPTIONS", path, stranger)).await;
            assert_eq!(header(&seen, "access-control-allow-origin"), None, "{stranger}");
            assert_eq!(header(&seen, "access-control-allow-methods"), None, "{stranger}");
            assert_eq!(header(&seen, "vary"), Some("Origin"), "{stranger}");
        }
    }
    let request = Request::post("/settle").header("origin", PAGE);
    let seen = listed
        .send(request.body(Body::from(v2().to_string())).unwrap())
        .await;
    assert_eq!(header(&seen, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(seen.reason(), "");
}

#[tokio::test]
async fn t152_the_members_and_not_the_status_report_the_outcome() {
    for reason in [
        "insufficient_funds",
        "settlement_pending",
        "unexpected_settle_error",
    ] {
        let hash = if reason == "settlement_pending" { HASH } else { "" };
        let service = settling(SettleAnswer::Reply(failed(reason, "as scripted", hash)));
        let seen = front(service, settings()).post_json("/settle", &v2()).await;
        assert_eq!(
            (seen.status, &seen.json()["success"]),
            (200, &json!(false)),
            "{reason}"
        );
        assert_eq!(seen.reason(), reason);
    }
    // The handbook's samples read replies in this way, and they are copied.
    let book = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/answers.md");
    let page = std::fs::read_to_string(book).unwrap();
    assert!(
        page.contains("The status says nothing about the payment: read `isValid` and `success`."),
        "docs/src/answers.md does not say what decides"
    );
}

#[tokio::test]
async fn t153_a_preference_shortens_the_wait_and_the_reply_is_200_with_the_hash() {
    let front = front(
        settling(SettleAnswer::Reply(failed("settlement_pending", "", HASH))),
        settings(),
    );
    let post = |path: &str, prefer: &str| {
        let request = Request::post(path).header("prefer", prefer);
        front.send(request.body(Body::from(v2().to_string())).unwrap())
    };
    let early = || front.service.early.lock().unwrap().last().copied().unwrap();
    let seen = post("/settle", "respond-async").await;
    assert_eq!((seen.status, seen.reason().as_str()), (200, "settlement_pending"));
    assert_eq!(seen.json()["transaction"], HASH);
    assert_eq!(header(&seen, "preference-applied"), Some("respond-async"));
    assert_eq!(header(&seen, "vary"), Some("Prefer"));
    assert_eq!(early(), Some(Duration::ZERO));
    assert!(
        front.last().remaining_ms > 20_000,
        "the time to record something is not shortened"
    );
    let seen = post("/settle", "wait=60").await;
    assert_eq!(header(&seen, "preference-applied"), Some("wait=60"));
    assert!((50_000..=60_000).contains(&front.last().remaining_ms));
    assert!(early().unwrap() > Duration::from_secs(50));
    for (prefer, applied) in [
        ("wait=5, respond-async", "respond-async, wait=5"),
        ("wait=900", "wait=85"),
    ] {
        let seen = post("/settle", prefer).await;
        assert_eq!(
            (seen.status, header(&seen, "preference-applied")),
            (200, Some(applied))
        );
    }
    for ignored in ["wait=soon", "return=minimal", ""] {
        let seen = post("/settle", ignored).await;
        assert_eq!(
            (seen.status, header(&seen, "preference-applied")),
            (200, None),
            "{ignored}"
        );
        assert_eq!(early(), None);
    }
    let seen = post("/verify", "respond-async, wait=1").await;
    assert_eq!((seen.status, header(&seen, "preference-applied")), (200, None));
}

#[tokio::test]
async fn t154_a_tenant_waits_its_own_time_unless_it_requests_more() {
    let key = "k".repeat(32);
    let old = Tenant {
        settle_wait: Duration::from_secs(4),
        ..tenant("old", &[&key])
    };
    let with_tenant = Settings {
        tenants: vec![old],
        ..settings()
    };
    let front = front(
        settling(SettleAnswer::Reply(failed("settlement_pending", "", HASH))),
        with_tenant,
    );
    let post = |prefer: &str| {
        let request = Request::post("/settle")
            .header("prefer", prefer)
            .header("x-api-key", &key);
        front.send(request.body(Body::from(v2().to_string())).unwrap())
    };
    for (prefer, most_ms) in [("", 4_000), ("wait=2", 4_000), ("wait=9", 9_000)] {
        let seen = post(prefer).await;
        assert_eq!(
            (seen.status, seen.json()["transaction"].as_str()),
            (200, Some(HASH))
        );
        let left = front.last().remaining_ms;
        assert!(left <= most_ms && left > most_ms - 2_000, "{prefer}: {left}");
    }
}

#[tokio::test]
async fn t155_every_settle_reply_has_network_and_payer_in_the_caller_s_spelling() {
    let base58 = "7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV";
    let solana = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1";
    let body = ["/paymentRequirements", "/paymentPayload/accepted"]
        .iter()
        .fold(v2(), |body, part| {
            with(body, &format!("{part}/network"), json!(solana))
        });
    for answer in [
        failed("insufficient_funds", "", ""),
        failed("settlement_pending", "", HASH),
        failed("", "", ""),
        success(),
    ] {
        let mut reply = answer;
        reply.payer = base58.to_owned();
        reply.network = String::new();
        let service = settling(SettleAnswer::Reply(reply));
        let seen = front(service, settings())
            .post_json("/settle", &body)
            .await
            .json();
        assert_eq!(
            (&seen["network"], &seen["payer"]),
            (&json!(solana), &json!(base58)),
            "{seen}"
        );
    }
    let service = Scripted {
        on_settle: Box::new(|_| panic!("as scripted")),
        ..Scripted::default()
    };
    let seen = front(service, settings()).post_json("/settle", &body).await;
    assert_eq!(seen.reason(), "unexpected_settle_error");
    assert_eq!(
        (&seen.json()["network"], &seen.json()["payer"]),
        (&json!(solana), &json!(""))
    );
}

#[tokio::test]
async fn a_tenant_is_answered_at_its_own_level_unless_it_requests_a_wait() {
    let of_level = |name: &str, wait_until: WaitUntil| Tenant {
        wait_until,
        ..tenant(name, &[name])
    };
    let with_tenants = Settings {
        tenants: vec![
            of_level("submitted", WaitUntil::Submitted),
            of_level("confirmed", WaitUntil::Confirmed),
            of_level("final", WaitUntil::Final),
        ],
        ..settings()
    };
    let front = front(
        settling(SettleAnswer::Reply(failed("settlement_pending", "", HASH))),
        with_tenants,
    );
    for (tenant, prefer, is_early, until_final) in [
        ("submitted", "", Some(false), false),
        ("submitted", "wait=9", Some(true), false),
        ("submitted", "respond-async", Some(false), false),
        ("confirmed", "", None, false),
        ("confirmed", "respond-async", Some(false), false),
        ("final", "", None, true),
        ("final", "respond-async", Some(false), true),
        ("final", "wait=9", Some(true), true),
    ] {
        let request = Request::post("/settle")
            .header("prefer", prefer)
            .header("x-api-key", tenant);
        let seen = front
            .send(request.body(Body::from(v2().to_string())).unwrap())
            .await;
        assert_eq!(seen.status, 200);
        let early = front.service.early.lock().unwrap().pop().unwrap();
        let has_wait = early.map(|early| early > Duration::ZERO);
        let waits_for_final = front.service.until_final.lock().unwrap().pop().unwrap();
        assert_eq!(
            (has_wait, waits_for_final),
            (is_early, until_final),
            "{tenant} {prefer}"
        );
    }
}
