//! Rows H2 to H4: credentials, limits, size.

use std::sync::Arc;

use axum::http::request::Builder;
use serde_json::json;
use tokio::sync::Notify;

use super::*;
use crate::connections::Peer;
use crate::settings::AddressBlock;

fn tenants() -> Settings {
    let shop = Tenant {
        settle_wait: Duration::from_secs(4),
        rate: Rate {
            per_minute: 1,
            burst: 2,
        },
        ..tenant("shop", &["shop-key", "shop-key-2"])
    };
    let reader = Tenant {
        scopes: BTreeSet::from([Scope::Verify]),
        ..tenant("reader", &["reader-key"])
    };
    Settings {
        tenants: vec![shop, reader],
        ..settings()
    }
}

fn post(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let builder = headers
        .iter()
        .fold(Request::post(path), |builder: Builder, (name, value)| {
            builder.header(*name, *value)
        });
    builder.body(v2().to_string().into()).unwrap()
}

#[tokio::test]
async fn t18_with_tenants_every_caller_needs_a_key() {
    let front = front(Scripted::default(), tenants());
    let bad: [&[(&str, &str)]; 9] = [
        &[],
        &[("Authorization", "Bearer wrong")],
        &[("Authorization", "Bearer ")],
        &[("Authorization", "Basic c2hvcC1rZXk=")],
        &[("Authorization", "shop-key")],
        &[("X-API-Key", "")],
        &[("X-API-Key", "SHOP-KEY")],
        &[("Authorization", "Bearer shop-key"), ("X-API-Key", "reader-key")],
        &[("X-API-Key", "wrong"), ("X-API-Key", "shop-key")],
    ];
    for headers in bad {
        for path in ["/verify", "/settle"] {
            let seen = front.send(post(path, headers)).await;
            assert_eq!(
                (seen.status, seen.reason().as_str()),
                (401, "unauthorized"),
                "{path} {headers:?}"
            );
            assert_eq!(seen.headers["www-authenticate"], "Bearer");
        }
    }
    let seen = front.get("/supported").await;
    assert_eq!(
        (seen.status, seen.json()),
        (401, json!({ "error": "unauthorized" }))
    );
    assert_eq!(front.post("/deferred/vouchers", "").await.status, 401);
    assert_eq!(
        front
            .send(post("/settle", &[("X-API-Key", "reader-key")]))
            .await
            .status,
        401,
        "scope"
    );
    assert_eq!(front.calls(), 0);
    for path in ["/health", "/ready", "/metrics", "/verify"] {
        assert_eq!(front.get(path).await.status, 200, "{path} is open");
    }
}

#[tokio::test]
async fn t17_t18_routes_of_schemes_need_the_scope_settle_and_count_to_its_limits() {
    let front = front(Scripted::default(), tenants());
    let path = "/deferred/vouchers";
    for headers in [&[][..], &[("X-API-Key", "wrong")], &[("X-API-Key", "reader-key")]] {
        assert_eq!(front.send(post(path, headers)).await.status, 401, "{headers:?}");
    }
    let of_shop = [("X-API-Key", "shop-key"), ("Idempotency-Key", "order-7")];
    let seen = front.send(post(path, &of_shop)).await;
    assert_eq!(seen.status, 201);
    assert_eq!(
        (&seen.json()["tenant"], &seen.json()["idempotencyKey"]),
        (&json!("shop"), &json!("order-7"))
    );
    assert_eq!(front.send(post("/settle", &of_shop)).await.status, 200);
    assert_eq!(
        front.send(post(path, &of_shop)).await.status,
        429,
        "the burst of 2 is used up"
    );
}

#[tokio::test]
async fn t17_the_request_carries_the_tenant_and_its_wait() {
    let front = front(Scripted::default(), tenants());
    for headers in [("Authorization", "bearer shop-key"), ("X-API-Key", "shop-key-2")] {
        assert_eq!(front.send(post("/settle", &[headers])).await.status, 200);
        assert_eq!(front.last().tenant.as_deref(), Some("shop"));
        assert!((3_000..=4_000).contains(&front.last().remaining_ms));
    }
    let seen = front.send(post("/settle", &[("X-API-Key", "shop-key")])).await;
    assert_eq!(
        (seen.status, seen.reason().as_str()),
        (429, "rate_limited"),
        "the burst of 2 is used up"
    );
    assert_eq!(
        front
            .send(post("/verify", &[("X-API-Key", "reader-key")]))
            .await
            .status,
        200,
        "others are not concerned"
    );
}

#[tokio::test(start_paused = true)]
async fn t15_an_address_is_limited_and_gets_retry_after() {
    let limits = Settings {
        address_rate: Rate {
            per_minute: 20,
            burst: 2,
        },
        ..server(|server| server.trusted_proxies = AddressBlock::parse("10.0.0.0/8").into_iter().collect())
    };
    let front = front(Scripted::default(), limits);
    let from = |peer: &str, forwarded: Option<&str>| {
        let mut request = post("/verify", &[]);
        request.extensions_mut().insert(Peer {
            address: Some(format!("{peer}:1").parse().unwrap()),
            ..Peer::default()
        });
        if let Some(forwarded) = forwarded {
            request
                .headers_mut()
                .insert("x-forwarded-for", forwarded.parse().unwrap());
        }
        request
    };
    for _ in 0..2 {
        assert_eq!(front.send(from("192.0.2.1", None)).await.status, 200);
    }
    let seen = front.send(from("192.0.2.1", Some("192.0.2.77"))).await;
    assert_eq!(
        (seen.status, seen.reason().as_str()),
        (429, "rate_limited"),
        "strangers can't name another address"
    );
    assert_eq!(seen.headers["retry-after"], "3");
    for forwarded in ["192.0.2.1", "192.0.2.55, 192.0.2.1", "192.0.2.1, 10.0.0.9"] {
        assert_eq!(
            front.send(from("10.0.0.1", Some(forwarded))).await.status,
            429,
            "{forwarded}"
        );
    }
    for forwarded in ["192.0.2.2", "192.0.2.1, 192.0.2.3", "192.0.2.1, nonsense"] {
        assert_eq!(
            front.send(from("10.0.0.1", Some(forwarded))).await.status,
            200,
            "{forwarded}"
        );
    }
    tokio::time::advance(std::time::Duration::from_secs(3)).await;
    assert_eq!(front.send(from("192.0.2.1", None)).await.status, 200);
}

#[tokio::test]
async fn guessing_keys_is_limited() {
    let limited = Settings {
        address_rate: Rate {
            per_minute: 1,
            burst: 3,
        },
        ..tenants()
    };
    let front = front(Scripted::default(), limited);
    for n in 0..3 {
        assert_eq!(
            front
                .send(post("/settle", &[("X-API-Key", &n.to_string())]))
                .await
                .status,
            401
        );
    }
    assert_eq!(
        front.send(post("/settle", &[("X-API-Key", "3")])).await.status,
        429
    );
    assert_eq!(
        front
            .send(post("/settle", &[("X-API-Key", "shop-key")]))
            .await
            .status,
        200,
        "a tenant is not an address"
    );
}

#[tokio::test]
async fn t124_requests_at_once_are_limited_for_each_network_and_endpoint() {
    let (inside, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (entered, wait) = (Arc::clone(&inside), Arc::clone(&go));
    let service = Scripted {
        on_settle: Box::new(move |request| {
            let (entered, wait) = (Arc::clone(&entered), Arc::clone(&wait));
            Box::pin(async move {
                if request.network.starts_with("eip155:") {
                    entered.notify_one();
                    wait.notified().await;
                }
                SettleAnswer::Reply(success())
            })
        }),
        ..Scripted::default()
    };
    let front = Arc::new(front(
        service,
        server(|server| server.max_concurrent_requests = 1),
    ));
    let first = tokio::spawn({
        let front = Arc::clone(&front);
        async move { front.post_json("/settle", &v2()).await.status }
    });
    inside.notified().await;
    let seen = front.post_json("/settle", &v2()).await;
    assert_eq!(
        (seen.status, seen.reason().as_str()),
        (503, "service_unavailable")
    );
    assert_eq!(seen.headers["retry-after"], "1");
    assert_eq!(seen.json()["network"], "eip155:84532");
    // All other requests are served.
    let elsewhere = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1";
    let other = with(v2(), "/paymentRequirements/network", elsewhere.into());
    let other = with(other, "/paymentPayload/accepted/network", elsewhere.into());
    assert_eq!(front.post_json("/settle", &other).await.status, 200);
    assert_eq!(front.post_json("/verify", &v2()).await.status, 200);
    assert_eq!(
        front.post_json("/deferred/vouchers", &json!({})).await.status,
        201
    );
    assert_eq!(front.get("/supported").await.status, 200);
    assert_eq!(front.get("/health").await.status, 200);
    assert_eq!(front.app.admission.in_flight(), 1);
    go.notify_one();
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(front.app.admission.in_flight(), 0);
    go.notify_one();
    assert_eq!(front.post_json("/settle", &v2()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_complete_body_are_limited_and_do_not_limit_reads() {
    let front = Arc::new(front(
        Scripted::default(),
        server(|server| server.max_concurrent_requests = 1),
    ));
    let slow = tokio::spawn({
        let front = Arc::clone(&front);
        let never = futures_util::stream::pending::<Result<String, std::io::Error>>();
        async move { front.post("/settle", Body::from_stream(never)).await.status }
    });
    tokio::task::yield_now().await;
    assert_eq!(front.app.admission.in_flight(), 1);
    assert_eq!(front.post_json("/settle", &v2()).await.status, 503);
    assert_eq!(front.get("/supported").await.status, 200);
    assert_eq!(slow.await.unwrap(), 400);
    assert_eq!(front.post_json("/settle", &v2()).await.status, 200);
}

#[tokio::test]
async fn t12_a_body_that_is_too_large_is_413_whether_announced_or_not() {
    let front = front(
        Scripted::default(),
        server(|server| server.body_limit_bytes = 4_096),
    );
    let mut large = v2();
    large["pad"] = json!("x".repeat(4_096));
    let seen = front.post_json("/settle", &large).await;
    assert_eq!((seen.status, seen.reason().as_str()), (413, "invalid_payload"));
    let chunks = futures_util::stream::iter((0..10).map(|_| Ok::<_, std::io::Error>("x".repeat(1_000))));
    let seen = front.post("/settle", Body::from_stream(chunks)).await;
    assert_eq!((seen.status, seen.reason().as_str()), (413, "invalid_payload"));
    let broken = futures_util::stream::iter([Err::<String, _>(std::io::Error::other("gone"))]);
    assert_eq!(front.post("/settle", Body::from_stream(broken)).await.status, 400);
    assert_eq!(front.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_not_awaited() {
    let front = front(Scripted::default(), settings());
    let never = futures_util::stream::pending::<Result<String, std::io::Error>>();
    let started = tokio::time::Instant::now();
    let seen = front.post("/settle", Body::from_stream(never)).await;
    assert_eq!((seen.status, seen.reason().as_str()), (400, "invalid_payload"));
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn t22_while_draining_payments_are_refused_and_reads_are_not() {
    let front = front(Scripted::default(), settings());
    front.app.admission.drain();
    for path in ["/verify", "/settle"] {
        let seen = front.post_json(path, &v2()).await;
        assert_eq!(
            (seen.status, seen.reason().as_str()),
            (503, "service_unavailable")
        );
        assert_eq!(seen.headers["retry-after"], "5");
        // It is not known whether the payment is recorded.
        assert!(!seen.text.contains("not recorded"), "{}", seen.text);
        assert!(seen.text.contains("send the same request again"), "{}", seen.text);
    }
    assert_eq!(front.get("/ready").await.status, 503);
    let ready = front.get("/ready").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
    assert_eq!(ready.json()["draining"], true);
    assert_eq!(ready.json()["why"], "shutting down: no new payments are taken");
    assert_eq!(front.get("/health").await.json()["draining"], true);
    assert_eq!(front.get("/supported").await.status, 200);
    assert_eq!(front.calls(), 0);
}

#[tokio::test]
async fn a_tenant_that_wants_it_reserves_at_verify_and_ends_its_own_reservation() {
    let reserving = Tenant {
        reserve_at_verify: Some(Duration::from_secs(60)),
        ..tenant("shop", &["shop-key"])
    };
    let with_tenants = Settings {
        tenants: vec![reserving, tenant("other", &["other-key"])],
        ..settings()
    };
    let front = front(Scripted::default(), with_tenants);
    for key in ["shop-key", "other-key"] {
        assert_eq!(
            front.send(post("/verify", &[("X-API-Key", key)])).await.status,
            200
        );
    }
    let reserved = front.service.reserve.lock().unwrap().clone();
    assert_eq!(reserved, [Some(Duration::from_secs(60)), None]);

    let end = |path: String, key: &str| {
        let request = Request::delete(path).header("X-API-Key", key);
        front.send(request.body(Body::empty()).unwrap())
    };
    let path = "/reservations/evm%7Ceip155%3A84532%7C0xusdc:0xpayer%2F0xnonce";
    let strange = end(path.to_owned(), "other-key").await;
    let unknown = end("/reservations/unknown".to_owned(), "shop-key").await;
    for seen in [&strange, &unknown] {
        assert_eq!(
            (seen.status, seen.json()["error"].as_str()),
            (404, Some("not_found"))
        );
    }
    assert_eq!(strange.text, unknown.text);
    let unreachable = end("/reservations/unreachable".to_owned(), "shop-key").await;
    assert_eq!(
        (unreachable.status, unreachable.json()["error"].as_str()),
        (503, Some("service_unavailable"))
    );
    for path in [path.to_owned(), format!("{path}/")] {
        let seen = end(path, "shop-key").await;
        assert_eq!((seen.status, &seen.json()["ended"]), (200, &json!(true)));
    }
    assert_eq!(end(path.to_owned(), "wrong").await.status, 401);
    assert_eq!(front.get(path).await.status, 405);
}

#[tokio::test]
async fn without_tenants_there_is_no_reservation_to_end() {
    let front = front(Scripted::default(), settings());
    let request = Request::delete(format!("/reservations/{}", CLAIM.replace(['|', '/'], "%7C")));
    let seen = front.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (seen.status, seen.json()["error"].as_str()),
        (404, Some("not_found"))
    );
    front.post_json("/verify", &v2()).await;
    assert_eq!(front.service.reserve.lock().unwrap().as_slice(), [None]);
}
