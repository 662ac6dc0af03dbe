//! Rows H1 and H5 to H11: how requests are read, and the status and reason of every refusal.

use base64::Engine as _;
use sdk_plugin::{Amount, ProtocolVersion, Purpose};
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn a_v2_request_is_normalised() {
    let front = front(Scripted::default(), settings());
    let seen = front.post_json("/settle", &v2()).await;
    assert_eq!((seen.status, seen.reason()), (200, String::new()));
    let request = front.last();
    assert_eq!(
        (request.version, request.purpose),
        (ProtocolVersion::V2, Purpose::Settle)
    );
    assert_eq!(
        (request.network.as_str(), request.network_as_sent.as_str()),
        ("eip155:84532", "eip155:84532")
    );
    assert_eq!(request.requirements.amount, Amount::from(10_000u64));
    assert_eq!(request.requirements.max_timeout_seconds, 60);
    assert_eq!(request.requirements.extra["name"], "USDC");
    assert_eq!(request.accepted.network, "eip155:84532");
    assert_eq!(request.accepted.raw["amount"], "10000");
    assert_eq!(request.resource.unwrap()["url"], "https://api.example/data");
    assert!(request.extensions.is_empty());
    assert_eq!((request.tenant, request.idempotency_key), (None, None));
    assert!(
        (20_000..=25_000).contains(&request.remaining_ms),
        "{}",
        request.remaining_ms
    );
}

#[tokio::test]
async fn a_v1_request_is_normalised_and_the_reply_keeps_its_spelling() {
    let front = front(Scripted::default(), settings());
    let seen = front.post_json("/settle", &v1()).await;
    assert_eq!(seen.json()["network"], "base-sepolia");
    let request = front.last();
    assert_eq!(request.version, ProtocolVersion::V1);
    assert_eq!(
        (request.network.as_str(), request.network_as_sent.as_str()),
        ("eip155:84532", "base-sepolia")
    );
    assert_eq!(request.requirements.network, "eip155:84532");
    assert_eq!(request.accepted.network, "eip155:84532");
    assert_eq!(
        request.resource,
        Some(json!({ "url": "https://api.example/data", "description": "", "mimeType": "" }))
    );
}

#[tokio::test]
async fn the_oldest_form_is_read_in_every_encoding_and_replied_to_in_its_shape() {
    let front = front(Scripted::default(), settings());
    let payload = with(v1()["paymentPayload"].clone(), "/note", json!("??>>~~ÿ")).to_string();
    let encodings = [
        base64::engine::general_purpose::STANDARD.encode(&payload),
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(&payload),
        base64::engine::general_purpose::URL_SAFE.encode(&payload),
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&payload),
        payload,
    ];
    for header in encodings {
        let body = json!({
            "x402Version": 1, "paymentHeader": header, "paymentRequirements": v1()["paymentRequirements"],
        });
        let seen = front.post_json("/verify", &body).await;
        assert_eq!(
            seen.json(),
            json!({ "isValid": true, "invalidReason": null, "payer": PAYER })
        );
        assert_eq!(front.last().version, ProtocolVersion::Legacy0);
        let seen = front.post_json("/settle", &body).await;
        assert_eq!(
            seen.json(),
            json!({
                "success": true, "error": null, "txHash": HASH, "networkId": "84532",
                "transaction": HASH, "network": "base-sepolia", "payer": PAYER,
            })
        );
    }
}

#[tokio::test]
async fn the_oldest_form_can_be_switched_off_and_its_failures_have_its_shape() {
    let body = json!({ "x402Version": 1, "paymentHeader": "!", "paymentRequirements": {} });
    let seen = front(Scripted::default(), settings())
        .post_json("/settle", &body)
        .await;
    assert_eq!((seen.status, seen.reason().as_str()), (400, "invalid_payload"));
    assert_eq!(
        (&seen.json()["error"], &seen.json()["txHash"]),
        (&json!("invalid_payload"), &Value::Null)
    );
    let seen = front(Scripted::default(), server(|server| server.legacy0 = false))
        .post_json("/settle", &body)
        .await;
    assert_eq!(
        seen.json()["error"],
        "Missing paymentPayload or paymentRequirements"
    );
}

/// Body, status, reason.
fn refusals() -> Vec<(Value, u16, &'static str)> {
    let accepted_only = without(without(v2(), "/x402Version"), "/paymentPayload/x402Version");
    vec![
        (json!([]), 400, "invalid_payload"),
        (json!({}), 400, "invalid_payload"),
        (without(v2(), "/paymentPayload"), 400, "invalid_payload"),
        (with(v2(), "/paymentPayload", json!("x")), 400, "invalid_payload"),
        (with(v2(), "/paymentPayload", Value::Null), 400, "invalid_payload"),
        (
            without(v2(), "/paymentRequirements"),
            400,
            "invalid_payment_requirements",
        ),
        (
            with(v2(), "/paymentRequirements", json!([])),
            400,
            "invalid_payment_requirements",
        ),
        (
            with(v2(), "/paymentPayload/x402Version", json!(3)),
            400,
            "invalid_x402_version",
        ),
        (
            with(v2(), "/paymentPayload/x402Version", json!("v2")),
            400,
            "invalid_x402_version",
        ),
        (
            with(v2(), "/paymentPayload/x402Version", json!(2.5)),
            400,
            "invalid_x402_version",
        ),
        (
            without(
                without(accepted_only, "/paymentPayload/accepted"),
                "/paymentRequirements/amount",
            ),
            400,
            "invalid_x402_version",
        ),
        (
            without(v2(), "/paymentRequirements/scheme"),
            400,
            "invalid_payment_requirements",
        ),
        (
            with(v2(), "/paymentRequirements/network", json!(1)),
            400,
            "invalid_payment_requirements",
        ),
        (
            with(v2(), "/paymentRequirements/network", json!("base-sepolia")),
            400,
            "invalid_network",
        ),
        (
            with(v2(), "/paymentRequirements/network", json!(":")),
            400,
            "invalid_network",
        ),
        (
            with(v2(), "/paymentRequirements/network", json!("a:b:c")),
            400,
            "invalid_network",
        ),
        (
            with(v1(), "/paymentRequirements/network", json!("eip155:84532")),
            400,
            "invalid_network",
        ),
        (
            with(v2(), "/paymentRequirements/network", json!("eip155:1")),
            400,
            "invalid_network",
        ),
        (
            with(v1(), "/paymentRequirements/scheme", json!("deferred")),
            400,
            "unsupported_scheme",
        ),
        (
            with(v2(), "/paymentRequirements/scheme", json!("nope")),
            400,
            "unsupported_scheme",
        ),
        (
            without(v2(), "/paymentRequirements/amount"),
            200,
            "invalid_payment_requirements",
        ),
        (
            with(v2(), "/paymentRequirements/maxTimeoutSeconds", json!(0)),
            200,
            "invalid_payment_requirements",
        ),
        (
            with(v2(), "/paymentRequirements/payTo", json!("")),
            200,
            "invalid_payment_requirements",
        ),
        (
            without(v2(), "/paymentRequirements/asset"),
            200,
            "invalid_payment_requirements",
        ),
        (
            with(v2(), "/paymentRequirements/extra", json!([])),
            200,
            "invalid_payment_requirements",
        ),
        (
            with(v2(), "/paymentPayload/payload", json!("x")),
            200,
            "invalid_payload",
        ),
        (without(v2(), "/paymentPayload/payload"), 200, "invalid_payload"),
        (without(v2(), "/paymentPayload/accepted"), 200, "invalid_payload"),
    ]
}

#[tokio::test]
async fn t05_every_refusal_has_its_status_reason_and_shape_and_reaches_no_scheme() {
    let front = front(Scripted::default(), settings());
    for (body, status, reason) in refusals() {
        for path in ["/verify", "/settle"] {
            let seen = front.post_json(path, &body).await;
            assert_eq!(
                (seen.status, seen.reason().as_str()),
                (status, reason),
                "{path} {body}"
            );
            assert_eq!(seen.headers["content-type"], "application/json");
            let decision = if path == "/verify" { "isValid" } else { "success" };
            assert_eq!(seen.json()[decision], false);
            if path == "/settle" {
                let network = if status == 200 {
                    body["paymentRequirements"]["network"].clone()
                } else {
                    json!("")
                };
                assert_eq!(seen.json()["network"], network, "{body}");
            }
        }
    }
    assert_eq!(front.calls(), 0);
}

#[tokio::test]
async fn the_stated_version_is_used_and_a_missing_one_is_inferred() {
    let front = front(Scripted::default(), settings());
    let unsaid = |body| without(without(body, "/x402Version"), "/paymentPayload/x402Version");
    for (body, version) in [
        (with(v2(), "/x402Version", json!(1)), ProtocolVersion::V2),
        (without(v1(), "/paymentPayload/x402Version"), ProtocolVersion::V1),
        (
            with(v1(), "/paymentPayload/x402Version", Value::Null),
            ProtocolVersion::V1,
        ),
        (unsaid(v2()), ProtocolVersion::V2),
        (unsaid(v1()), ProtocolVersion::V1),
    ] {
        assert_eq!(front.post_json("/verify", &body).await.reason(), "", "{body}");
        assert_eq!(front.last().version, version);
    }
}

#[tokio::test]
async fn t10_other_spellings_of_a_network_are_other_networks() {
    let front = front(Scripted::default(), settings());
    for network in [
        "EIP155:84532",
        "eip155:084532",
        "eip155:84532 ",
        " eip155:84532",
        "eip155:８４５３２",
        "eip155:0x14a34",
        "eip155:*",
        "solana:etwtrabzayq6imfeykouru166vu2xqa1",
        "solana:devnet",
    ] {
        let seen = front
            .post_json(
                "/verify",
                &with(v2(), "/paymentRequirements/network", json!(network)),
            )
            .await;
        assert_eq!(
            (seen.status, seen.reason().as_str()),
            (400, "invalid_network"),
            "{network}"
        );
    }
    for network in ["Base-Sepolia", "base-sepolia ", "base_sepolia", "84532"] {
        let seen = front
            .post_json(
                "/verify",
                &with(v1(), "/paymentRequirements/network", json!(network)),
            )
            .await;
        assert_eq!(
            (seen.status, seen.reason().as_str()),
            (400, "invalid_network"),
            "{network}"
        );
    }
    assert_eq!(front.calls(), 0);
}

#[tokio::test]
async fn t24_an_unserved_kind_is_no_2xx_so_that_the_next_facilitator_is_tried() {
    let front = front(Scripted::default(), settings());
    let seen = front
        .post_json(
            "/verify",
            &with(v2(), "/paymentRequirements/network", json!("eip155:1")),
        )
        .await;
    assert_eq!(seen.status, 400);
    assert_eq!(
        seen.json()["error"],
        "No facilitator registered for scheme: exact and network: eip155:1"
    );
}

#[tokio::test]
async fn t19_paths_take_a_trailing_slash_and_nothing_redirects() {
    for base in ["", "/x402/v"] {
        let front = front(
            Scripted::default(),
            server(|server| base.clone_into(&mut server.base_path)),
        );
        for path in ["/verify", "/verify/", "/settle", "/settle/"] {
            assert_eq!(
                front.post_json(&format!("{base}{path}"), &v2()).await.status,
                200,
                "{base}{path}"
            );
            assert_eq!(
                front.get(&format!("{base}{path}")).await.json()["endpoint"],
                path.trim_end_matches('/')
            );
        }
        for path in ["/supported/", "/health/", "/ready/", "/metrics/"] {
            assert_eq!(
                front.get(&format!("{base}{path}")).await.status,
                200,
                "{base}{path}"
            );
        }
    }
}

#[tokio::test]
async fn t110_other_paths_and_methods_are_json_and_there_is_no_switch_for_tests() {
    let front = front(Scripted::default(), settings());
    for path in [
        "/close",
        "/close/",
        "/",
        "//verify",
        "/verify/x",
        "/nope/x",
        "/Verify",
        "/discovery/resources",
    ] {
        let seen = front.post_json(path, &v2()).await;
        assert_eq!(
            (seen.status, seen.json()),
            (404, json!({ "error": "no such path" })),
            "{path}"
        );
    }
    for (method, path) in [
        ("DELETE", "/verify"),
        ("PUT", "/settle/"),
        ("POST", "/supported"),
        ("POST", "/health"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let seen = front.send(request).await;
        assert_eq!(seen.status, 405, "{path}");
        assert!(seen.json()["error"].is_string());
    }
}

#[tokio::test]
async fn schemes_have_their_own_routes() {
    let front = front(
        Scripted::default(),
        server(|server| "/b".clone_into(&mut server.base_path)),
    );
    let seen = front.post("/b/deferred/vouchers?a=1&a=%20x", r#"{"n":1}"#).await;
    assert_eq!(seen.status, 201);
    assert_eq!(
        seen.json(),
        json!({ "method": "POST", "path": "/vouchers", "query": [["a", "1"], ["a", " x"]], "body": { "n": 1 } })
    );
    for (path, body, status) in [
        ("/b/deferred/vouchers", "{\"a\":1,\"a\":1}", 400),
        ("/b/deferred/other", "", 404),
        ("/b/deferred/busy", "", 503),
        ("/b/deferred/broken", "", 500),
        ("/b/deferred/panic", "", 500),
        ("/b/exact/x", "", 404),
        ("/deferred/vouchers", "", 404),
    ] {
        let seen = front.post(path, body).await;
        assert_eq!(seen.status, status, "{path}");
        assert!(
            !seen.json()["error"].as_str().unwrap().contains("secret"),
            "{path}"
        );
        assert_eq!(seen.headers.contains_key("retry-after"), status == 503);
    }
    let busier = front.post("/b/deferred/busier", "").await;
    assert_eq!(
        (busier.status, busier.headers["retry-after"].to_str().ok()),
        (503, Some("2"))
    );
}

/// Credentials never reach a scheme, and of other headers only those that its manifest lists.
#[tokio::test]
async fn a_route_gets_the_headers_that_its_scheme_lists() {
    let front = front(Scripted::default(), settings());
    let request = Request::post("/deferred/vouchers")
        .header("X-Shop", "north")
        .header("authorization", "Bearer secret")
        .header("cookie", "session=secret")
        .header("x-api-key", "secret")
        .header("x-other", "1")
        .header("x-shop", "south");
    let seen = front.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(seen.status, 201);
    assert_eq!(
        seen.json()["headers"],
        json!([["x-shop", "north"], ["x-shop", "south"]])
    );
    assert!(!seen.json().to_string().contains("secret"));
}

/// A caller's own trace, a trace by its request id, or a new one.
#[tokio::test]
async fn a_request_is_handled_in_a_trace() {
    let front = front(Scripted::default(), settings());
    let traced = async |name: &str, value: &str| {
        let request = Request::post("/deferred/trace").header(name, value);
        let seen = front.send(request.body(Body::empty()).unwrap()).await;
        seen.json().as_str().unwrap().to_owned()
    };
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(traced("traceparent", good).await, good);
    let by_id = traced("x-request-id", "4bf92f3577b34da6a3ce929d0e0e4736").await;
    assert!(
        by_id.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{by_id}"
    );
    let (one, other) = (
        traced("traceparent", "nonsense").await,
        traced("x-request-id", "1").await,
    );
    assert!(one != other && one.len() == good.len(), "{one} {other}");
}

/// Such a route needs no network, even if the scheme is served on several.
#[tokio::test]
async fn a_route_without_a_network_is_called_without_one() {
    let front = front(Scripted::default(), settings());
    for path in ["/escrow/accounts/7", "/escrow/accounts/7?network=base"] {
        let seen = front.post(path, "").await;
        assert_eq!((seen.status, seen.json()), (200, json!("")), "{path}");
    }
    assert_eq!(
        front.post("/escrow/accounts", "").await.status,
        400,
        "not among those listed"
    );
}

#[tokio::test]
async fn the_request_names_the_network_of_a_route() {
    let front = front(Scripted::default(), settings());
    for (path, body, network) in [
        ("/escrow/payments?network=base", "", "eip155:8453"),
        (
            "/escrow/payments?network=eip155:84532",
            r#"{"network":"base"}"#,
            "eip155:84532",
        ),
        ("/escrow/payments", r#"{"network":"base"}"#, "eip155:8453"),
    ] {
        let seen = front.post(path, body).await;
        assert_eq!((seen.status, seen.json()), (200, json!(network)), "{path} {body}");
    }
    for (path, status) in [
        ("/escrow/payments", 400),
        ("/escrow/payments?network=base&network=base", 400),
        ("/escrow/payments?network=solana", 404),
        ("/deferred/vouchers?network=base", 404),
    ] {
        let seen = front.post(path, "").await;
        assert_eq!(seen.status, status, "{path}");
        assert!(
            seen.json()["error"].as_str().unwrap().contains("eip155:84532"),
            "{path}"
        );
    }
}
