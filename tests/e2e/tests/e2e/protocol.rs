//! The wire: three shapes of request, golden vectors, dispatch, and what one verify costs.

use devnet::Mining;
use e2e::payment::{NETWORK, PRICE};
use e2e::proxy::Trip;
use e2e::{Reply, World, wait};
use serde_json::{Value, json};

use crate::reason;

/// The golden vector of an EIP-3009 payment, in every shape of request.
fn golden() -> Value {
    let vector = include_str!("../../../../schemes-evm/tests/vectors/exact_eip3009.json");
    serde_json::from_str(vector).expect("the vector parses")
}

/// The golden payment in one of its shapes: verified, settled, and the calldata on chain is the vector's.
fn golden_payment(shape: impl FnOnce(&Value) -> Value) -> (Value, World, Reply) {
    let world = World::start();
    let golden = golden();
    let body = shape(&golden);
    world.untouched(|| world.verify(&body).valid());
    let reply = world.settle(&body);
    let hash = reply.paid();
    let sent = world
        .chain
        .rpc()
        .call("eth_getTransactionByHash", json!([hash]))
        .expect("the node answers");
    assert_eq!(sent["input"], golden["calldata_vrs"]);
    assert_eq!(reply.field("payer"), golden["expectedPayer"]);
    assert_eq!((world.sent(), world.transfers()), (1, 1));
    assert_eq!(world.balance("0x2222222222222222222222222222222222222222"), PRICE);
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    (body, world, reply)
}

#[test]
fn the_golden_v2_request_is_settled() {
    let (_, _world, reply) = golden_payment(|golden| golden["request_v2"].clone());
    assert_eq!(reply.field("network"), NETWORK);
}

#[test]
fn the_golden_v1_request_is_settled() {
    let (_, _world, reply) = golden_payment(|golden| golden["request_v1"].clone());
    assert_eq!(
        reply.field("network"),
        "base-sepolia",
        "the caller's own spelling"
    );
}

#[test]
fn the_golden_legacy_0_request_is_settled() {
    let (body, world, reply) = golden_payment(|golden| {
        json!({
            "x402Version": 1,
            "paymentHeader": golden["legacy0_paymentHeader"],
            "paymentRequirements": golden["request_v1"]["paymentRequirements"],
        })
    });
    assert_eq!(reply.field("txHash"), reply.paid());
    assert_eq!(
        (reply.field("networkId"), &reply.json["error"]),
        ("84532", &Value::Null)
    );
    let failed = world.settle(&body);
    assert_eq!(
        (&failed.json["networkId"], failed.field("error")),
        (&Value::Null, reason::DUPLICATE)
    );
    let verified = world.verify(&body);
    assert_eq!(verified.json["isValid"], false);
    assert!(verified.json["invalidReason"].is_string());
}

#[test]
fn t25_the_golden_variants_of_a_signature_are_judged_as_in_the_vectors() {
    let world = World::start();
    let golden = golden();
    let verify_variant = |variant: &str| {
        let mut body = golden["request_v2"].clone();
        body["paymentPayload"]["payload"]["signature"] = golden["variants"][variant]["signature"].clone();
        world.verify(&body)
    };
    world.untouched(|| {
        verify_variant("high_s").refused(reason::SIGNATURE);
        verify_variant("eip2098_64_bytes").refused(reason::SIGNATURE);
        verify_variant("erc6492_wrapped").refused("eip6492_factory_not_allowed");
        verify_variant("v_0_or_1").valid();
    });
}

#[test]
fn every_shape_of_one_payment_is_the_same_payment() {
    let world = World::start();
    let payment = world.payment(2);
    for body in [payment.v1(), payment.legacy0()] {
        world.verify(&body).valid();
    }
    let hash = world.settle(&payment.legacy0()).paid();
    for body in [payment.v2(), payment.v1(), payment.legacy0()] {
        let reply = world.settle(&body);
        assert!(!reply.is_success(), "{reply:?}");
        assert!(
            [reason::DUPLICATE, reason::NONCE_USED].contains(&reply.field("errorReason")),
            "{reply:?}"
        );
        assert!(reply.field("transaction").is_empty() || reply.field("transaction") == hash);
    }
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn one_verify_of_an_account_with_warm_caches_is_one_round_trip_with_the_simulation_in_it() {
    // No payment is open, and the caches were filled by the first verify.
    let world = World::builder().network("poll_interval_ms = 60000").start();
    world.verify(&world.payment(2).v2()).valid();
    let payment = world.payment(3);
    world.proxy.forget();
    world.verify(&payment.v2()).valid();
    let trips = of_requests(&world);
    assert_eq!(trips.len(), 1, "{trips:?}");
    let facilitator = world.chain.facilitators[0].address.to_lowercase();
    let calls = trips[0]
        .body
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![trips[0].body.clone()]);
    let simulation = calls.iter().find(|call| {
        let data = call["params"][0]["data"]
            .as_str()
            .or(call["params"][0]["input"].as_str())
            .unwrap_or_default();
        call["method"] == "eth_call" && data.starts_with("0xe3ee160e")
    });
    let simulation = &simulation.unwrap_or_else(|| panic!("no simulation in {trips:?}"))["params"][0];
    assert_eq!(
        simulation["from"].as_str().map(str::to_lowercase),
        Some(facilitator)
    );
    assert_eq!(
        simulation["to"].as_str().map(str::to_lowercase),
        Some(devnet::USDC.to_lowercase())
    );
}

/// Round trips of requests. The check of the node, which runs every few seconds, is no part of one.
fn of_requests(world: &World) -> Vec<Trip> {
    let mut trips = world.proxy.trips();
    trips.retain(|trip| trip.methods.first().is_none_or(|first| first != "eth_chainId"));
    trips
}

#[test]
fn t15_what_the_request_itself_refutes_costs_at_most_one_round_trip() {
    let world = World::builder().network("poll_interval_ms = 60000").start();
    world.verify(&world.payment(2).v2()).valid();
    let mut no_domain = world.payment(2).v2();
    no_domain["paymentRequirements"]["extra"] = json!({});
    let mut not_hex = world.payment(2).v2();
    not_hex["paymentPayload"]["payload"]["authorization"]["nonce"] = "0x12".into();
    world.proxy.forget();
    world
        .verify(&no_domain)
        .refused("invalid_exact_evm_missing_eip712_domain");
    world.verify(&not_hex).refused(reason::INVALID_PAYLOAD);
    assert_eq!(of_requests(&world).len(), 0, "{:?}", world.proxy.trips());
    let mut cheap = world.payment(2).v2();
    cheap["paymentRequirements"]["amount"] = "20000".into();
    world
        .verify(&cheap)
        .refused("invalid_exact_evm_payload_authorization_value_mismatch");
    assert_eq!(
        of_requests(&world).len(),
        1,
        "the payer's code, because a bad signature would come first: {:?}",
        world.proxy.trips()
    );
}

#[test]
fn supported_lists_what_is_served_in_both_versions() {
    let world = World::start();
    let reply = world.facilitator.get("/supported");
    assert_eq!(reply.status, 200);
    let kinds = reply.json["kinds"].as_array().cloned().unwrap_or_default();
    let listed: Vec<_> = kinds
        .iter()
        .map(|kind| {
            (
                kind["x402Version"].as_u64(),
                kind["scheme"].as_str(),
                kind["network"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            (Some(2), Some("exact"), Some(NETWORK)),
            (Some(2), Some("upto"), Some(NETWORK)),
            (Some(1), Some("exact"), Some("base-sepolia"))
        ]
    );
    let signers = reply.json["signers"]["eip155:*"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let own = world.chain.facilitators[0].address.to_lowercase();
    assert_eq!(
        signers
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_lowercase)
            .collect::<Vec<_>>(),
        [own]
    );
}

#[test]
fn t09_networks_are_a_set_never_a_pattern() {
    let chain_rpc = World::start();
    let second = format!(
        "[networks.\"eip155:8453\"]\nrpc = [{:?}]\nsigners = [\"signer0\"]\nmax_cost = \"1000000000000000\"\n",
        chain_rpc.proxy.url()
    );
    let world = World::builder().more(&second).start();
    for network in ["eip155:1", "eip155:*", "eip155:84533", "eip155:845"] {
        let mut body = world.payment(2).v2();
        body["paymentRequirements"]["network"] = network.into();
        body["paymentPayload"]["accepted"]["network"] = network.into();
        for path in ["/verify", "/settle"] {
            let reply = world.facilitator.post(path, body.to_string().as_bytes());
            assert_eq!(reply.status, 400, "{network}: {reply:?}");
            assert!(reply.text.contains("invalid_network"), "{network}: {reply:?}");
        }
    }
}

#[test]
fn t10_networks_are_spelled_in_one_way() {
    let world = World::start();
    world.untouched(|| {
        for network in [
            "EIP155:84532",
            "eip155:084532",
            " eip155:84532",
            "eip155:84532 ",
            "eip155:８４５３２",
            "84532",
            "eip155:",
            "",
        ] {
            let mut body = world.payment(2).v2();
            body["paymentRequirements"]["network"] = network.into();
            body["paymentPayload"]["accepted"]["network"] = network.into();
            let reply = world.facilitator.post("/settle", body.to_string().as_bytes());
            assert_eq!(reply.status, 400, "{network:?}: {reply:?}");
            assert!(reply.text.contains("invalid_network"), "{network:?}: {reply:?}");
            let mut body = world.payment(2).v1();
            body["paymentRequirements"]["network"] = network.into();
            body["paymentPayload"]["network"] = network.into();
            let reply = world.facilitator.post("/verify", body.to_string().as_bytes());
            assert_eq!(reply.status, 400, "{network:?}: {reply:?}");
        }
    });
}

#[test]
fn t24_a_kind_that_is_not_served_is_400_so_that_the_next_facilitator_is_tried() {
    let world = World::start();
    for path in ["/verify", "/settle"] {
        let mut body = world.payment(2).v2();
        body["paymentRequirements"]["scheme"] = "deferred".into();
        body["paymentPayload"]["accepted"]["scheme"] = "deferred".into();
        let reply = world.facilitator.post(path, body.to_string().as_bytes());
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.text.contains("unsupported_scheme"), "{reply:?}");
    }
}

#[test]
fn t19_a_trailing_slash_is_the_same_path_and_nothing_redirects() {
    let world = World::start();
    let body = world.payment(2).v2().to_string();
    world.facilitator.post("/verify/", body.as_bytes()).valid();
    let _ = world.facilitator.post("/settle/", body.as_bytes()).paid();
    for path in ["/supported", "/supported/", "/verify", "/settle/", "/health"] {
        assert_eq!(world.facilitator.get(path).status, 200, "{path}");
    }
    assert_eq!(world.facilitator.get("/nowhere").status, 404);
}

#[test]
fn t110_a_production_build_can_not_be_closed_over_http() {
    let mut world = World::start();
    for path in ["/close", "/close/", "/shutdown", "/simulate"] {
        assert_eq!(world.facilitator.post(path, b"{}").status, 404, "{path}");
    }
    assert!(!world.facilitator.has_ended());
    assert_eq!(world.facilitator.get("/health").json["status"], "ok");
}

/// Paths by which services like this one are administrated, and lifecycles driven.
const BACK_DOORS: &[&str] = &[
    "/admin",
    "/admin/",
    "/admin/pause",
    "/api/admin",
    "/actuator/env",
    "/close",
    "/config",
    "/debug/pprof/",
    "/drain",
    "/env",
    "/exact/capture",
    "/exact/close",
    "/exact/refund",
    "/exact/void",
    "/internal/keys",
    "/journal",
    "/keys",
    "/log/level",
    "/pause",
    "/paused",
    "/plugins",
    "/plugins/reload",
    "/quit",
    "/reload",
    "/resume",
    "/rpc",
    "/shutdown",
    "/simulate",
    "/stop",
    "/tenants",
    "/test/reset",
    "/v1/capture",
];

#[test]
fn t108_nothing_is_administrated_over_http() {
    let tenants = "[[tenants]]\nname = \"shop\"\nkey_sha256 = \"".to_owned() + &"ab".repeat(32) + "\"\n";
    for (more, with_tenants) in [("", false), (tenants.as_str(), true)] {
        let mut world = World::builder().more(more).start();
        world.untouched(|| {
            for path in BACK_DOORS {
                // Below the name of a scheme too: `exact` has no routes.
                for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                    let reply = world
                        .facilitator
                        .client()
                        .send(method, path, b"{}", &[])
                        .expect("an answer");
                    assert_eq!(
                        (reply.status, &reply.json),
                        (404, &json!({ "error": "no such path" })),
                        "{method} {path}"
                    );
                }
            }
            for path in [
                "/verify",
                "/settle",
                "/supported",
                "/health",
                "/ready",
                "/metrics",
            ] {
                for method in ["PUT", "PATCH", "DELETE"] {
                    let reply = world
                        .facilitator
                        .client()
                        .send(method, path, b"{}", &[])
                        .expect("an answer");
                    assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
                    assert!(reply.json["error"].is_string(), "{method} {path}: {reply:?}");
                }
            }
            if with_tenants {
                let body = world.payment(2).v2().to_string();
                for path in ["/verify", "/settle"] {
                    assert_eq!(
                        world.facilitator.post(path, body.as_bytes()).status,
                        401,
                        "{path}"
                    );
                }
                assert_eq!(world.facilitator.get("/supported").status, 401);
            }
        });
        assert!(!world.facilitator.has_ended());
        assert_eq!(
            world.facilitator.get("/health").json["draining"],
            false,
            "nothing was switched"
        );
        if !with_tenants {
            // No member of a body or query is a switch either.
            let mut body = world.payment(3).v2();
            for switch in ["simulate", "dryRun", "test", "skipVerification", "confirmations"] {
                body[switch] = json!(false);
                body["paymentPayload"][switch] = json!(true);
            }
            let reply = world
                .facilitator
                .post("/settle?simulate=false&test=1", body.to_string().as_bytes());
            let hash = reply.paid();
            let receipt = world
                .chain
                .receipt(&hash)
                .expect("the node answers")
                .expect("a receipt");
            assert_eq!(receipt["status"], "0x1", "it was settled as ever");
        }
    }
}

#[test]
fn an_idempotency_key_replays_the_answer_to_its_owner_only() {
    let world = World::builder().mining(Mining::Auto).start();
    let body = world.payment(2).v2().to_string();
    let settle = |key: &str| {
        world
            .facilitator
            .client()
            .post("/settle", body.as_bytes(), &[("idempotency-key", key)])
            .expect("an answer")
    };
    let first = settle("order-1");
    let hash = first.paid();
    assert_eq!(settle("order-1").text, first.text, "byte for byte");
    assert_eq!(settle("order-2").failed(reason::DUPLICATE), hash);
    assert_eq!(
        world
            .settle(&serde_json::from_str(&body).expect("JSON"))
            .failed(reason::DUPLICATE),
        hash
    );
    assert_eq!((world.sent(), world.transfers()), (1, 1));
}

#[test]
fn t118_t149_a_sellers_typo_outside_the_amounts_changes_no_verdict() {
    let world = World::start();
    let clean = world.payment(2).v2();
    world.verify(&clean).valid();
    let long: Vec<Value> = (0..700)
        .map(|n| json!({ "name": n, "text": "x".repeat(80) }))
        .collect();
    for (pointer, value) in [
        ("/x402Version", json!("2")),
        ("/paymentPayload/x402Version", json!(2.0)),
        ("/paymentPayload/resource", json!("https://api.example/data")),
        ("/paymentPayload/extensions", json!([])),
        (
            "/paymentPayload/extensions",
            json!({ "bazaar": { "info": long } }),
        ),
        (
            "/paymentPayload/resource",
            json!({ "url": "https://a.example", "description": "y".repeat(5_000) }),
        ),
        ("/paymentRequirements/maxTimeoutSeconds", json!(60.0)),
    ] {
        let mut body = clean.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = body
            .pointer_mut(parent)
            .expect("there")
            .as_object_mut()
            .expect("an object");
        parent.insert(name.to_owned(), value);
        world.verify(&body).valid();
    }
    world.untouched(|| {
        let mut body = clean.clone();
        body["paymentRequirements"]["amount"] = json!(10_000.0);
        assert_eq!(world.settle(&body).failed(reason::INVALID_REQUIREMENTS), "");
    });
}

#[test]
fn t153_a_caller_that_prefers_not_to_wait_gets_the_hash_and_then_success_on_retry() {
    let world = World::builder().mining(Mining::Manual).start();
    let body = world.payment(2).v2().to_string();
    let settle = |prefer: &str| {
        let headers = [("prefer", prefer)];
        let client = world.facilitator.client();
        client
            .post("/settle", body.as_bytes(), &headers)
            .expect("an answer")
    };
    let reply = settle("respond-async");
    let hash = reply.pending();
    assert_eq!(reply.header("preference-applied"), Some("respond-async"));
    world.wait_sent(1);
    world.chain.mine(1).expect("mines");
    let paid = wait::until("it is paid", wait::LONG, || {
        let reply = settle("respond-async");
        reply.is_success().then_some(reply)
    });
    assert_eq!((paid.paid(), world.transfers()), (hash, 1));
}
