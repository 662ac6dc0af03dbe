//! `GET /settlements` and `GET /settlements/{reference}`.

use base::settlement::{SettlementRecord, SettlementStatus};
use sdk_plugin::Amount;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn record(id: &str, network: &str) -> SettlementRecord {
    SettlementRecord {
        id: id.into(),
        status: SettlementStatus::Pending,
        may_pay_again: false,
        transaction: HASH.into(),
        network: network.into(),
        scheme: "exact".into(),
        payer: PAYER.into(),
        pay_to: "0x2096".into(),
        asset: "0x036C".into(),
        amount: Some(Amount::from(10_000_u64)),
        fee: Some(Amount::from(21_000_000_000_u64)),
        error_reason: None,
        error_message: None,
        released: false,
        created_at_ms: 1_769_860_800_001,
        updated_at_ms: 1_769_860_801_000,
        expires_at_s: Some(1_769_860_860),
        retry_after_ms: Some(2_000),
    }
}

fn found(record: SettlementRecord, by_transaction: bool) -> FoundSettlement {
    FoundSettlement {
        record,
        by_transaction,
    }
}

/// Knows a settlement of the shop by its id, claim, transaction and `Idempotency-Key`.
fn shop() -> Scripted {
    Scripted {
        on_find: Box::new(|tenant, name| {
            let one = || record("one", "eip155:84532");
            if tenant.is_some_and(|tenant| tenant != "shop") {
                return Ok(Vec::new());
            }
            Ok(match name {
                SettlementName::Any(name) if name == "one" || name == "evm|eip155:84532|0xa:0xb" => {
                    vec![found(one(), false)]
                }
                SettlementName::Any(name) if name == HASH => vec![found(one(), true)],
                SettlementName::Any(name) if name == "both" => {
                    vec![found(one(), true), found(record("two", "eip155:8453"), true)]
                }
                SettlementName::IdempotencyKey(key) if key == "order 7/a" => vec![found(one(), false)],
                SettlementName::Any(_) | SettlementName::IdempotencyKey(_) => Vec::new(),
            })
        }),
        ..Scripted::default()
    }
}

fn tenants() -> Settings {
    let reader = Tenant {
        scopes: BTreeSet::from([Scope::Verify]),
        ..tenant("reader", &["reader-key"])
    };
    Settings {
        tenants: vec![
            tenant("shop", &["shop-key"]),
            tenant("other", &["other-key"]),
            reader,
        ],
        ..settings()
    }
}

async fn get(front: &Front, path: &str, key: &str) -> Seen {
    let request = Request::get(path).header("x-api-key", key);
    front.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_settlement_is_shown_by_id_claim_transaction_and_key() {
    let front = front(shop(), tenants());
    let expected = json!({
        "id": "one", "status": "pending", "mayPayAgain": false, "transaction": HASH, "network": "eip155:84532",
        "scheme": "exact", "payer": PAYER, "payTo": "0x2096", "asset": "0x036C", "amount": "10000", "released": false,
        "fee": "21000000000",
        "createdAt": "2026-01-31T12:00:00.001Z", "updatedAt": "2026-01-31T12:00:01.000Z",
        "expiresAt": "2026-01-31T12:01:00.000Z", "retryAfterMs": 2_000,
    });
    for reference in [
        "one",
        "one/",
        "evm%7Ceip155:84532%7C0xa:0xb",
        HASH,
        "key:order%207%2Fa",
        "one?network=base-sepolia",
        "one?network=eip155:84532",
    ] {
        let seen = get(&front, &format!("/settlements/{reference}"), "shop-key").await;
        assert_eq!((seen.status, seen.json()), (200, expected.clone()), "{reference}");
        assert_eq!(seen.headers["cache-control"], "no-store");
        assert_eq!(seen.headers["content-type"], "application/json");
    }
    let seen = get(&front, "/settlements/both", "shop-key").await.json();
    let ids: Vec<_> = seen["payments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, [&json!("one"), &json!("two")]);
    let seen = get(&front, "/settlements/both?network=base", "shop-key")
        .await
        .json();
    assert_eq!(seen["id"], "two");
}

#[tokio::test(start_paused = true)]
async fn t167_another_tenants_settlement_is_404_as_an_unknown_one() {
    let front = front(shop(), tenants());
    let mut replies = Vec::new();
    for (path, key) in [
        ("/settlements/one", "other-key"),
        ("/settlements/unknown", "other-key"),
        ("/settlements/key:order%207%2Fa", "other-key"),
        (&format!("/settlements/{HASH}"), "other-key"),
        ("/settlements/unknown", "shop-key"),
        ("/settlements/one?network=base", "shop-key"),
    ] {
        let started = tokio::time::Instant::now();
        let mut seen = get(&front, path, key).await;
        // Each request has an id of its own.
        assert!(seen.headers.remove("x-request-id").is_some(), "{path}");
        replies.push((
            seen.status,
            seen.text,
            format!("{:?}", seen.headers),
            started.elapsed(),
        ));
    }
    assert_eq!(
        (replies[0].0, replies[0].1.as_str()),
        (404, r#"{"error":"not_found"}"#)
    );
    // In virtual time a reply takes as long as it waits.
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
}

#[tokio::test]
async fn credentials_are_those_of_settle() {
    let front = front(shop(), tenants());
    for path in ["/settlements/one", "/settlements", "/settlements/unknown"] {
        for key in ["wrong", "reader-key"] {
            let seen = get(&front, path, key).await;
            assert_eq!(
                (seen.status, seen.json()),
                (401, json!({"error": "unauthorized"})),
                "{path}"
            );
        }
        assert_eq!(front.get(path).await.status, 401);
    }
    // Reads continue while the process drains.
    front.app.admission.drain();
    assert_eq!(get(&front, "/settlements/one", "shop-key").await.status, 200);
}

#[tokio::test]
async fn without_tenants_a_transaction_shows_three_members_and_there_is_no_list() {
    let front = front(shop(), settings());
    let seen = front.get(&format!("/settlements/{HASH}")).await;
    let public = json!({"status": "pending", "transaction": HASH, "network": "eip155:84532"});
    assert_eq!((seen.status, seen.json()), (200, public.clone()));
    assert_eq!(front.get("/settlements/both").await.json()["payments"][0], public);
    for reference in ["one", "key:order%207%2Fa"] {
        let seen = front.get(&format!("/settlements/{reference}")).await.json();
        assert_eq!(seen["payer"], PAYER);
    }
    let seen = front.get("/settlements").await;
    assert_eq!((seen.status, seen.json()), (404, json!({"error": "not_found"})));
}

#[tokio::test]
async fn a_malformed_reference_is_400() {
    let front = front(shop(), settings());
    let long = "a".repeat(1_025);
    let long_key = format!("key:{}", "a".repeat(256));
    for reference in ["key:", "%ff", "a%00b", "a%0A", "key:%C3%A9", &long, &long_key] {
        let seen = front.get(&format!("/settlements/{reference}")).await;
        let body = json!({"error": "invalid_reference"});
        assert_eq!((seen.status, seen.json()), (400, body), "{reference}");
        assert_eq!(seen.headers["cache-control"], "no-store");
    }
    for query in ["network=nowhere", "network=base&network=base", "network="] {
        let seen = front.get(&format!("/settlements/one?{query}")).await;
        assert_eq!(
            (seen.status, &seen.json()["error"]),
            (400, &json!("invalid_query")),
            "{query}"
        );
    }
    assert_eq!(front.post("/settlements/one", "{}").await.status, 405);
}

#[tokio::test(start_paused = true)]
async fn each_settlement_can_be_looked_up_60_times_a_minute() {
    let front = front(shop(), tenants());
    for path in ["/settlements/one", "/settlements/unknown"] {
        // Those that are not found take a while, in which a token comes back.
        let mut allowed = 0;
        let limited = loop {
            let seen = get(&front, path, "shop-key").await;
            if seen.status == 429 {
                break seen;
            }
            allowed += 1;
        };
        assert!((60..70).contains(&allowed), "{allowed}");
        assert_eq!(limited.json(), json!({"error": "rate_limited"}));
        assert_eq!(limited.headers["retry-after"], "1");
        // Another tenant and another reference have a limit of their own.
        assert_eq!(get(&front, path, "other-key").await.status, 404);
    }
    let seen = get(&front, &format!("/settlements/{HASH}"), "shop-key").await;
    assert_eq!(seen.status, 200);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(get(&front, "/settlements/one", "shop-key").await.status, 200);
}

#[tokio::test]
async fn a_journal_that_can_not_be_read_is_503() {
    let unreadable = Scripted {
        on_find: Box::new(|_, _| Err(LookUpError::Unavailable)),
        ..Scripted::default()
    };
    let panics = Scripted {
        on_find: Box::new(|_, _| panic!("as scripted")),
        ..Scripted::default()
    };
    for service in [unreadable, panics] {
        let front = front(service, tenants());
        for path in ["/settlements/one", "/settlements"] {
            let seen = get(&front, path, "shop-key").await;
            assert_eq!(
                (seen.status, seen.json()),
                (503, json!({"error": "service_unavailable"}))
            );
            assert_eq!(seen.headers["retry-after"], "1");
        }
    }
}

#[tokio::test]
async fn a_list_is_of_the_caller_and_has_every_filter() {
    let service = Scripted {
        on_list: Box::new(|query| {
            if query.cursor.as_deref() == Some("none of theirs") {
                return Err(LookUpError::UnknownCursor);
            }
            let mut record = record(&format!("{query:?}"), "eip155:84532");
            record.status = SettlementStatus::Failed;
            record.error_reason = Some("insufficient_funds".into());
            record.error_message = Some("see https://rpc.example/KEY".into());
            Ok(SettlementPage {
                records: vec![record],
                cursor: query.payer.clone(),
            })
        }),
        ..Scripted::default()
    };
    let front = front(service, tenants());
    let seen = get(&front, "/settlements", "shop-key").await;
    assert_eq!(seen.status, 200);
    let body = seen.json();
    let wanted = "SettlementQuery { tenant: \"shop\", status: None, payer: None, pay_to: None, from_ms: None, to_ms: None, \
                  limit: 20, cursor: None }";
    assert_eq!(body["items"][0]["id"], wanted);
    assert_eq!(body.get("cursor"), None);
    assert_eq!(body["items"][0]["errorReason"], "insufficient_funds");
    assert!(!seen.text.contains("://"), "{}", seen.text);

    let path = "/settlements/?status=failed&payer=0xP&payTo=0xQ&from=1970-01-02&to=1970-01-01T00:00:01Z&limit=7&cursor=c";
    let body = get(&front, path, "shop-key").await.json();
    let wanted = "SettlementQuery { tenant: \"shop\", status: Some(Failed), payer: Some(\"0xP\"), pay_to: Some(\"0xQ\"), \
                  from_ms: Some(86400000), to_ms: Some(1000), limit: 7, cursor: Some(\"c\") }";
    assert_eq!(
        (&body["items"][0]["id"], &body["cursor"]),
        (&json!(wanted), &json!("0xP"))
    );

    for (query, hint) in [
        ("status=lost", "pending, settled"),
        ("payto=0xQ", "payTo"),
        ("limit=0", "1 to 100"),
        ("limit=101", "1 to 100"),
        ("from=yesterday", "2026-01-31"),
        ("payer=a&payer=b", "twice"),
        ("cursor=none%20of%20theirs", "earlier page"),
        ("payer=%00", "payer"),
    ] {
        let seen = get(&front, &format!("/settlements?{query}"), "shop-key").await;
        assert_eq!(
            (seen.status, &seen.json()["error"]),
            (400, &json!("invalid_query")),
            "{query}"
        );
        assert!(seen.text.contains(hint), "{query}: {}", seen.text);
    }
}

#[tokio::test]
async fn the_id_for_look_ups_is_in_replies_of_version_2_only() {
    let extensions = |more: bool| {
        let mut extensions = json!({"settlement-status": {"id": "one"}});
        if more {
            extensions["other"] = json!({"kept": true});
        }
        extensions.as_object().cloned()
    };
    for more in [false, true] {
        let reply = SettleReply {
            extensions: extensions(more),
            ..success()
        };
        let front = front(settling(SettleAnswer::Reply(reply)), settings());
        let newer = front.post_json("/settle", &v2()).await.json();
        assert_eq!(newer["extensions"]["settlement-status"], json!({"id": "one"}));
        let older = front.post_json("/settle", &v1()).await.json();
        let kept = more.then(|| json!({"other": {"kept": true}}));
        assert_eq!(older.get("extensions"), kept.as_ref());
    }
}

fn results(seen: &Seen) -> Option<Value> {
    let header = seen.headers.get("extension-responses")?;
    let bytes = STANDARD.decode(header.as_bytes()).expect("base64");
    Some(serde_json::from_slice(&bytes).expect("an object"))
}

/// The official client logs `status`, `rejectedReason`, `reason` and `code` of each extension, and nothing else.
#[tokio::test]
async fn what_became_of_extensions_is_in_a_header_of_version_2_and_not_in_the_body() {
    let sent = json!({
        "gas": { "status": "rejected", "rejectedReason": "too_dear", "code": 7, "secret": "s", "reason": "a" },
        "other": { "kept": true },
        "odd": { "status": 1 },
    });
    let expected = json!({
        "gas": { "status": "rejected", "rejectedReason": "too_dear", "reason": "a" },
    });
    let kept = json!({ "odd": { "status": 1 }, "other": { "kept": true } });
    let reply = SettleReply {
        extensions: sent.as_object().cloned(),
        ..success()
    };
    let recorded = serde_json::to_string(&reply).expect("a reply");
    for answer in [SettleAnswer::Reply(reply), SettleAnswer::Replay(recorded)] {
        let front = front(settling(answer), settings());
        let newer = front.post_json("/settle", &v2()).await;
        assert_eq!(results(&newer), Some(expected.clone()));
        assert_eq!(newer.json()["extensions"], kept);
        let older = front.post_json("/settle", &v1()).await;
        assert_eq!(results(&older), None);
        assert_eq!(older.json()["extensions"], kept);
    }
    let front = front(Scripted::default(), settings());
    let without = front.post_json("/verify", &v2()).await;
    assert_eq!(results(&without), None, "no extension, no header");
}

#[tokio::test]
async fn results_that_are_too_long_for_a_header_are_left_out() {
    let many = (0..200).map(|number| (format!("extension-{number}"), json!({ "status": "success" })));
    let reply = SettleReply {
        extensions: Some(many.collect()),
        ..success()
    };
    let front = front(settling(SettleAnswer::Reply(reply)), settings());
    let seen = front.post_json("/settle", &v2()).await;
    assert_eq!((seen.status, results(&seen)), (200, None));
    assert_eq!(seen.json()["success"], true);
}
