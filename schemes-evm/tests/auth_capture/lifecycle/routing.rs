//! HTTP under `/auth-capture/`.

use alloy_primitives::B256;
use alloy_sol_types::SolEvent;
use schemes_evm::auth_capture::abi::Escrow;
use schemes_evm::auth_capture::config::{Config, KeeperRule, TenantReceiver};
use schemes_evm::auth_capture::deployment::V1_1;
use schemes_evm::auth_capture::records::{OperationKind, OperationRow, SkippedVoid};
use sdk_plugin::host::{RpcRequest, RpcResult};
use sdk_plugin::scheme::{RouteRequest, RouteResponse};
use sdk_plugin::testkit::{Recorded, block_on};
use sdk_plugin::wire::SettleReply;
use sdk_plugin::{PaymentRequest, SchemeHandler, Value};
use serde_json::json;

use super::world::*;

fn get(path: &str) -> RouteRequest {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    RouteRequest {
        method: "GET".into(),
        path: path.into(),
        query: query
            .split('&')
            .filter_map(|member| member.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: Value::Null,
        headers: Vec::new(),
        tenant: Some(TENANT.into()),
        idempotency_key: None,
        outcome: None,
    }
}

fn post(path: &str, body: Value) -> RouteRequest {
    RouteRequest {
        method: "POST".into(),
        body,
        ..get(path)
    }
}

fn send_route(world: &World, request: &RouteRequest) -> RouteResponse {
    block_on(world.scheme.route(&world.cx(), request)).expect("no fault")
}

fn reply(world: &World, request: &RouteRequest) -> (u16, Value) {
    match send_route(world, request) {
        RouteResponse::Reply { status, body } => {
            if status >= 400 {
                let sentence = body["error"].as_str().expect("a sentence");
                assert!(sentence.len() > 10, "{sentence}");
            }
            (status, body)
        }
        RouteResponse::Settle { request } => panic!("settles {request:?}"),
    }
}

fn settles(world: &World, request: &RouteRequest) -> PaymentRequest {
    match send_route(world, request) {
        RouteResponse::Settle { request } => *request,
        RouteResponse::Reply { status, body } => panic!("{status} {body}"),
    }
}

fn path(payment: &Payment, what: &str) -> String {
    format!("/payments/{}{what}", payment.hash())
}

fn known(payment: &Payment) -> World {
    let world = World::new();
    world.knows(payment, TENANT);
    world
}

/// The same with a keeper.
fn kept(payment: &Payment) -> World {
    let config = Config {
        keepers: vec![KeeperRule {
            receiver: RECEIVER,
            capture_every_s: Some(600),
            margin_s: 3_600,
            void_unused: false,
        }],
        ..config()
    };
    let world = World::with(config, |_| {});
    world.knows(payment, TENANT);
    world
}

#[test]
fn only_tenants_see_payments_and_only_their_own() {
    let payment = Payment::delegated();
    let world = known(&payment);
    for what in ["", "/digest?operation=void"] {
        assert_eq!(reply(&world, &get(&path(&payment, what))).0, 200);
        let mut stranger = get(&path(&payment, what));
        stranger.tenant = Some("other".into());
        assert_eq!(reply(&world, &stranger).0, 404);
        stranger.tenant = None;
        assert_eq!(reply(&world, &stranger).0, 403);
    }
    let mut stranger = post(&path(&payment, "/void"), Value::Null);
    stranger.tenant = Some("other".into());
    assert_eq!(reply(&world, &stranger).0, 404);
    let mut list = get("/payments");
    assert_eq!(reply(&world, &list).1["payments"].as_array().unwrap().len(), 1);
    list.tenant = Some("other".into());
    assert_eq!(reply(&world, &list).1["payments"], json!([]));
    assert_eq!(reply(&world, &get("/payments?tenant=other")).0, 403);
    assert_eq!(reply(&world, &get("/payments?tenant=shop")).0, 200);
}

#[test]
fn what_is_not_understood_says_what_to_write() {
    let payment = Payment::delegated();
    let world = known(&payment);
    for (request, status) in [
        (get("/payments/0x12"), 400),
        (get(&format!("/payments/{}", B256::ZERO)), 404),
        (post("/payments", json!({})), 405),
        (get(&path(&payment, "/capture")), 405),
        (post(&path(&payment, ""), json!({})), 405),
        (get("/payments?receiver=shop"), 400),
        (
            get(&format!("/payments?receiver={RECEIVER}&operator={OPERATOR}")),
            400,
        ),
        (get(&format!("/payments?reciever={RECEIVER}")), 400),
        (get("/payments?state=open"), 400),
        (get("/payments?limit=51"), 400),
        (get("/payments?limit=0"), 400),
        (get("/payments?limit=1&limit=2"), 400),
        (get("/payments?deadline=soon"), 400),
        (get("/payments?after=x"), 400),
        (get(&path(&payment, "/digest")), 400),
        (get(&path(&payment, "/digest?operation=capture")), 400),
        (post(&path(&payment, "/capture"), json!([])), 400),
        (post(&path(&payment, "/capture"), json!({ "amount": "1" })), 400),
        (
            post(
                &path(&payment, "/refund"),
                json!({ "amount": 1, "expectedCapturableAmount": "1",
                "expectedRefundableAmount": "1" }),
            ),
            400,
        ),
        (post(&path(&payment, "/void"), json!({ "ammount": "1" })), 400),
        (post(&path(&payment, "/usage"), json!({ "amount": "1" })), 400),
        (
            post(&path(&payment, "/usage"), json!({ "id": "a", "amount": "0" })),
            400,
        ),
        (
            post(&path(&payment, "/usage"), json!({ "id": "", "amount": "1" })),
            400,
        ),
    ] {
        assert_eq!(reply(&world, &request).0, status, "{request:?}");
    }
    for unknown in ["/", "/payments/1/2/3", "/refunds"] {
        assert!(block_on(world.scheme.route(&world.cx(), &get(unknown))).is_err());
    }
}

#[test]
fn one_payment_shows_everything_that_a_merchant_may_have_lost() {
    let payment = Payment::delegated();
    let world = known(&payment);
    world.chain().state = state_result(true, 400_000, 600_000);
    keep(&world, &payment, OperationKind::Authorize, HELD, 6);
    keep(&world, &payment, OperationKind::Capture, 600_000, 7);
    let (status, body) = reply(&world, &get(&path(&payment, "")));
    assert_eq!(status, 200);
    assert_eq!(body["paymentInfoHash"], json!(payment.hash()));
    assert_eq!(body["state"], "held");
    assert_eq!(body["capturableAmount"], "400000");
    assert_eq!(body["refundableAmount"], "600000");
    assert_eq!(body["saltNonce"], json!(B256::from(payment.salt_nonce)));
    assert_eq!(body["paymentInfo"]["salt"], json!(B256::from(payment.info.salt)));
    assert_eq!(body["paymentInfo"]["maxAmount"], HELD.to_string());
    assert_eq!(body["captureDeadline"], NOW_S + 86_400);
    assert_eq!(body["fees"]["minFeeBps"], 100);
    assert_eq!(body["operationsComplete"], true);
    assert_eq!(
        body["operations"],
        json!([
            { "type": "authorize", "amount": "1000000", "transaction": "0x06", "height": 6 },
            { "type": "capture", "amount": "600000", "transaction": "0x07", "height": 7, "feeAmount": "6000" },
        ])
    );
    assert_eq!(body["actions"], json!(["capture", "void", "refund"]));
}

/// What a judgement writes of an operation at a height.
fn keep(world: &World, payment: &Payment, kind: OperationKind, amount: u64, height: u64) {
    let fee = (kind == OperationKind::Capture).then(|| payment.fee(amount));
    let operation = OperationRow {
        kind,
        amount: units(amount),
        fee,
        transaction: format!("{height:#04x}"),
        height,
        // One clock may lag the other: the chain's order is by height.
        planned_at_s: NOW_S - height,
        voids_remainder: false,
    };
    let record = payment.record(Some(TENANT));
    world.store(record.operation_writes(&operation).unwrap());
}

#[test]
fn operations_of_one_second_are_shown_in_the_order_of_the_chain() {
    let payment = Payment::delegated();
    let world = known(&payment);
    world.chain().state = state_result(true, 400_000, 600_000);
    // Their rows are in the reverse order.
    for (kind, amount, height, transaction) in [
        (OperationKind::Authorize, HELD, 6, "0xff"),
        (OperationKind::Capture, 600_000, 7, "0x01"),
    ] {
        let operation = OperationRow {
            kind,
            amount: units(amount),
            fee: (kind == OperationKind::Capture).then(|| payment.fee(amount)),
            transaction: transaction.into(),
            height,
            planned_at_s: NOW_S,
            voids_remainder: false,
        };
        let record = payment.record(Some(TENANT));
        world.store(record.operation_writes(&operation).unwrap());
    }
    let (_, body) = reply(&world, &get(&path(&payment, "")));
    assert_eq!(body["operations"][0]["type"], "authorize");
    assert_eq!(body["operations"][1]["type"], "capture");
    assert_eq!(body["operationsComplete"], true);
}

/// The log of the buyer's reclaim of so many units at block 9.
fn reclaimed(payment: &Payment, amount: u64) -> RpcResult {
    let event = Escrow::PaymentReclaimed {
        paymentInfoHash: payment.hash(),
        amount: units(amount),
    }
    .encode_log_data();
    RpcResult::Ok(json!([{
        "topics": event.topics(),
        "data": event.data,
        "transactionHash": B256::repeat_byte(9),
        "blockNumber": "0x9",
    }]))
}

#[test]
fn a_reclaim_between_our_own_operations_is_found() {
    let payment = Payment::delegated();
    let world = known(&payment);
    keep(&world, &payment, OperationKind::Authorize, HELD, 6);
    keep(&world, &payment, OperationKind::Capture, 600_000, 7);
    keep(&world, &payment, OperationKind::Refund, 600_000, 12);
    world.chain().state = state_result(true, 0, 0);
    world.chain().logs = reclaimed(&payment, 400_000);
    let (_, body) = reply(&world, &get(&path(&payment, "")));
    let kinds: Vec<&Value> = body["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["type"])
        .collect();
    assert_eq!(kinds, ["authorize", "capture", "reclaim", "refund"]);
    assert_eq!(body["operationsComplete"], true);
    let searched = world
        .host
        .recorded()
        .into_iter()
        .find_map(|recorded| match recorded {
            Recorded::Rpc {
                request: RpcRequest::Read { calls, .. },
                ..
            } => calls
                .into_iter()
                .find(|call| call.method == "eth_getLogs")
                .map(|call| call.params[0]["fromBlock"].clone()),
            _ => None,
        });
    assert_eq!(searched, Some(json!("0x7")), "after the last that left a hold");
}

#[test]
fn what_others_did_is_found_in_the_escrows_events() {
    let payment = Payment::delegated();
    let world = known(&payment);
    keep(&world, &payment, OperationKind::Authorize, HELD, 6);
    world.chain().state = state_result(true, 0, 0);
    let shown = || reply(&world, &get(&path(&payment, ""))).1;
    assert_eq!(shown()["operationsComplete"], false, "the events are not found");
    world.chain().logs = internal_error();
    assert_eq!(shown()["operationsComplete"], false);
    world.chain().logs = reclaimed(&payment, HELD);
    let body = shown();
    assert_eq!(body["operationsComplete"], true);
    assert_eq!(body["operations"][1]["type"], "reclaim");
    assert_eq!(body["operations"][1]["transaction"], json!(B256::repeat_byte(9)));
    assert_eq!(body["state"], "closed");
}

#[test]
fn the_possible_actions_follow_the_balances_and_the_time() {
    let payment = Payment::delegated();
    let world = known(&payment);
    let actions = |collected, capturable, refundable| {
        world.chain().state = state_result(collected, capturable, refundable);
        reply(&world, &get(&path(&payment, ""))).1["actions"].clone()
    };
    assert_eq!(actions(false, 0, 0), json!([]));
    assert_eq!(actions(true, 1, 0), json!(["capture", "void"]));
    assert_eq!(actions(true, 0, 1), json!(["refund"]));
    world.host.advance_ms(86_400_000);
    assert_eq!(actions(true, 1, 1), json!(["void", "refund"]));
    world.host.advance_ms(7 * 86_400_000);
    assert_eq!(actions(true, 1, 1), json!(["void"]));
}

#[test]
fn payments_are_listed_by_deadline_a_page_at_a_time() {
    let world = World::new();
    let mut hashes = Vec::new();
    for day in 0..5u64 {
        let mut payment = Payment::delegated();
        payment.info.authorizationExpiry = (NOW_S + 1_000 + day).try_into().unwrap();
        if day == 3 {
            payment.info.receiver = STRANGER;
        }
        world.knows(&payment, TENANT);
        hashes.push(json!(payment.hash()));
    }
    let page = |query: &str| {
        let body = reply(&world, &get(&format!("/payments?{query}"))).1;
        let listed: Vec<Value> = body["payments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|payment| payment["paymentInfoHash"].clone())
            .collect();
        (listed, body["next"].as_str().map(str::to_owned))
    };
    assert_eq!(page("").0, hashes);
    let (first, next) = page("limit=2");
    assert_eq!(first, hashes[..2]);
    let (second, next) = page(&format!("limit=2&after={}", next.unwrap()));
    assert_eq!(second, hashes[2..4]);
    let (third, next) = page(&format!("limit=2&after={}", next.unwrap()));
    assert_eq!((third.as_slice(), next), (&hashes[4..], None));
    assert_eq!(page(&format!("receiver={STRANGER}")).0, hashes[3..4]);
    assert_eq!(page(&format!("operator={OPERATOR}")).0.len(), 5);
    let (due, next) = page(&format!("limit=2&deadline={}", NOW_S + 1_000));
    assert_eq!((due.as_slice(), next), (&hashes[..1], None));
    assert_eq!(page("state=held").0, hashes);
    assert_eq!(page("state=closed").0, Vec::<Value>::new());
    world.host.advance_ms(1_002_000);
    assert_eq!(page("state=expired").0, hashes[..3]);
}

#[test]
fn a_tenant_whose_authorizer_we_are_captures_voids_and_refunds() {
    let payment = Payment::delegated();
    let world = known(&payment);
    let body = json!({ "amount": "500000", "expectedCapturableAmount": HELD.to_string(),
        "expectedRefundableAmount": "0", "voidRemainder": true });
    let ordered = settles(&world, &post(&path(&payment, "/capture"), body.clone()));
    assert_eq!(ordered.tenant.as_deref(), Some(TENANT));
    let plan = world.plan(&ordered).expect("a plan");
    assert_eq!(plan.steps.len(), 2);
    // The same again is the same claim.
    let again = settles(&world, &post(&path(&payment, "/capture"), body));
    assert_eq!(world.identify(&ordered), world.identify(&again));

    let void = settles(&world, &post(&path(&payment, "/void"), Value::Null));
    assert_eq!(world.plan(&void).expect("a plan").steps.len(), 1);

    world.chain().state = state_result(true, 0, HELD);
    let body = json!({ "amount": "5", "expectedCapturableAmount": "0",
        "expectedRefundableAmount": HELD.to_string() });
    let refund = settles(&world, &post(&path(&payment, "/refund"), body));
    assert!(world.plan(&refund).is_ok());
}

#[test]
fn the_outcome_is_worded_as_settle_words_it() {
    let payment = Payment::delegated();
    let world = known(&payment);
    let mut request = post(&path(&payment, "/void"), Value::Null);
    let mut outcome = SettleReply {
        success: true,
        error_reason: None,
        error_message: None,
        payer: lower(PAYER),
        transaction: "0xaa".into(),
        network: NETWORK.into(),
        amount: Some("0".into()),
        extra: None,
        extensions: None,
    };
    let mut told = |outcome: &SettleReply| {
        request.outcome = Some(outcome.clone());
        match send_route(&world, &request) {
            RouteResponse::Reply { status, body } => (status, body["transaction"].clone()),
            RouteResponse::Settle { .. } => panic!("settles twice"),
        }
    };
    assert_eq!(told(&outcome), (200, json!("0xaa")));
    outcome.success = false;
    outcome.error_reason = Some("settlement_pending".into());
    assert_eq!(told(&outcome).0, 202);
    outcome.error_reason = Some("duplicate_settlement".into());
    assert_eq!(told(&outcome).0, 200, "it happened before");
    outcome.error_reason = Some("invalid_auth_capture_evm_zero_authorization".into());
    assert_eq!(told(&outcome).0, 409);
}

#[test]
fn other_merchants_get_the_digest_that_their_authorizer_signs() {
    let payment = Payment::on(V1_1);
    let world = known(&payment);
    let act = post(
        &path(&payment, "/capture"),
        json!({ "amount": "1", "expectedCapturableAmount": "1", "expectedRefundableAmount": "0" }),
    );
    let (status, body) = reply(&world, &act);
    assert_eq!(status, 409);
    assert!(body["error"].as_str().unwrap().contains(&lower(authorizer())));

    for (query, operation) in [
        ("operation=capture&amount=750000", "capture"),
        ("operation=void", "void"),
    ] {
        let (status, body) = reply(&world, &get(&path(&payment, &format!("/digest?{query}"))));
        assert_eq!(status, 200, "{operation}");
        let digest: B256 = body["digest"].as_str().unwrap().parse().unwrap();
        // Filled in with the signature, what is answered can be settled.
        let mut sent = body["settle"]["paymentPayload"]["payload"].clone();
        sent["authorizerSignature"] = json!(signature(digest));
        let mut request = payment.request(sent);
        request.requirements.extra = body["settle"]["paymentRequirements"]["extra"]
            .as_object()
            .unwrap()
            .clone();
        assert!(world.verify(&request).is_ok(), "{operation}");
        assert_eq!(
            world.identify(&request).unwrap().claim_key,
            digest.to_string(),
            "{operation}"
        );
    }
}

#[test]
fn usage_is_counted_once_for_each_id_and_never_beyond_what_is_held() {
    let payment = Payment::delegated();
    let world = kept(&payment);
    let report = |id: &str, amount: u64| {
        let body = json!({ "id": id, "amount": amount.to_string() });
        let (status, body) = reply(&world, &post(&path(&payment, "/usage"), body));
        (status, body["total"].clone())
    };
    assert_eq!(report("a", 400_000), (200, json!("400000")));
    assert_eq!(report("a", 400_000), (200, json!("400000")), "the same again");
    assert_eq!(report("a", 400_001).0, 409, "one id, two amounts");
    assert_eq!(report("b", 600_001).0, 409, "more than is held");
    assert_eq!(report("b", 600_000), (200, json!("1000000")));
    assert_eq!(report("c", 1).0, 409);
    let shown = reply(&world, &get(&path(&payment, ""))).1;
    assert_eq!(shown["usage"], json!({ "total": "1000000", "reports": 2 }));
}

#[test]
fn nothing_is_reported_for_what_is_not_held() {
    let payment = Payment::delegated();
    let world = kept(&payment);
    world.chain().state = state_result(true, 0, HELD);
    let body = json!({ "id": "a", "amount": "1" });
    assert_eq!(
        reply(&world, &post(&path(&payment, "/usage"), body.clone())).0,
        409
    );
    let charged = Payment::delegated().charged();
    let world = kept(&charged);
    assert_eq!(reply(&world, &post(&path(&charged, "/usage"), body)).0, 409);
}

#[test]
fn a_report_brings_the_keeper() {
    let payment = Payment::delegated();
    let world = kept(&payment);
    let body = json!({ "id": "a", "amount": "1" });
    assert_eq!(reply(&world, &post(&path(&payment, "/usage"), body)).0, 200);
    let jobs = world
        .host
        .recorded()
        .into_iter()
        .filter(|recorded| matches!(recorded, Recorded::Job { .. }))
        .count();
    assert_eq!(jobs, 1);
}

#[test]
fn usage_that_no_caller_would_capture_is_never_reported_as_counted() {
    let body = json!({ "id": "a", "amount": "1" });
    let report =
        |world: &World, payment: &Payment| reply(world, &post(&path(payment, "/usage"), body.clone())).0;
    let ours = Payment::delegated();
    assert_eq!(report(&known(&ours), &ours), 409, "no keeper");
    let their_own = Payment::on(V1_1);
    assert_eq!(report(&kept(&their_own), &their_own), 409, "their own authorizer");
}

#[test]
fn the_same_report_again_brings_the_keeper_again() {
    let payment = Payment::delegated();
    let world = kept(&payment);
    let jobs = || {
        let recorded = world.host.recorded().into_iter();
        recorded
            .filter(|recorded| matches!(recorded, Recorded::Job { .. }))
            .count()
    };
    for number in 1..=2 {
        let body = json!({ "id": "a", "amount": "1" });
        assert_eq!(reply(&world, &post(&path(&payment, "/usage"), body)).0, 200);
        assert_eq!(jobs(), number);
    }
}

/// Had payments collected before its receiver was given to [`TENANT`].
const EARLIER: &str = "earlier";

/// The operator has given the receiver to the tenant.
fn given() -> Config {
    Config {
        receivers: vec![TenantReceiver {
            tenant: TENANT.into(),
            receiver: RECEIVER,
        }],
        ..config()
    }
}

#[test]
fn a_receivers_payments_are_its_tenants_no_matter_who_had_them_collected() {
    let payment = Payment::delegated();
    let world = World::with(given(), |_| {});
    world.knows(&payment, EARLIER);
    let as_earlier = |request: RouteRequest| RouteRequest {
        tenant: Some(EARLIER.into()),
        ..request
    };
    for what in ["", "/digest?operation=void"] {
        assert_eq!(reply(&world, &get(&path(&payment, what))).0, 200);
        assert_eq!(reply(&world, &as_earlier(get(&path(&payment, what)))).0, 404);
    }
    assert_eq!(
        reply(&world, &get(&path(&payment, ""))).1["actions"],
        json!(["capture", "void"])
    );
    for query in [
        String::new(),
        format!("?receiver={RECEIVER}"),
        format!("?operator={OPERATOR}"),
    ] {
        let listed = |request: RouteRequest| {
            let payments = reply(&world, &request).1["payments"].clone();
            payments.as_array().unwrap().len()
        };
        let request = get(&format!("/payments{query}"));
        assert_eq!(listed(request.clone()), 1, "{query:?}");
        assert_eq!(listed(as_earlier(request)), 0, "{query:?}");
    }
    assert_eq!(
        reply(&world, &get(&format!("/payments?operator={STRANGER}"))).1["payments"],
        json!([]),
        "the receiver's list holds the payments of all operators"
    );

    // Orders that need only the tenant's key.
    let void = post(&path(&payment, "/void"), Value::Null);
    assert_eq!(reply(&world, &as_earlier(void.clone())).0, 404);
    let ordered = settles(&world, &void);
    assert_eq!(ordered.tenant.as_deref(), Some(TENANT));
    assert!(world.plan(&ordered).is_ok());
    let stolen = PaymentRequest {
        tenant: Some(EARLIER.into()),
        ..ordered
    };
    assert_eq!(world.refused(&stolen), "unauthenticated_authorizer_request");
}

#[test]
fn payments_from_before_and_after_a_receiver_was_given_are_one_list() {
    let world = World::with(given(), |_| {});
    let mut hashes = Vec::new();
    for second in 0..5u64 {
        let mut payment = Payment::delegated();
        payment.info.authorizationExpiry = (NOW_S + 1_000 + second).try_into().unwrap();
        let tenant = if second % 2 == 0 { EARLIER } else { TENANT };
        world.knows(&payment, tenant);
        hashes.push(json!(payment.hash()));
    }
    // Of another receiver, which the operator has assigned to no tenant.
    let mut others = Payment::delegated();
    others.info.receiver = STRANGER;
    world.knows(&others, EARLIER);

    let (mut listed, mut after) = (Vec::new(), String::new());
    for (page, length) in [2, 2, 1].into_iter().enumerate() {
        let body = reply(&world, &get(&format!("/payments?limit=2{after}"))).1;
        let payments = body["payments"].as_array().unwrap();
        assert_eq!(payments.len(), length, "page {page}");
        listed.extend(payments.iter().map(|one| one["paymentInfoHash"].clone()));
        after = match body["next"].as_str() {
            Some(next) => format!("&after={next}"),
            None => "the last page".to_owned(),
        };
    }
    assert_eq!((listed, after.as_str()), (hashes, "the last page"));
}

/// A capture of 600,000 at height 7 that orders the void of the rest.
fn closing(payment: &Payment) -> OperationRow {
    OperationRow {
        kind: OperationKind::Capture,
        amount: units(600_000),
        fee: Some(payment.fee(600_000)),
        transaction: "0x07".into(),
        height: 7,
        planned_at_s: NOW_S,
        voids_remainder: true,
    }
}

#[test]
fn the_void_that_waits_after_a_capture_is_shown() {
    let payment = Payment::delegated();
    let world = known(&payment);
    let record = payment.record(Some(TENANT));
    keep(&world, &payment, OperationKind::Authorize, HELD, 6);
    let shown = || reply(&world, &get(&path(&payment, ""))).1["voidRemainder"].clone();
    assert_eq!(shown(), Value::Null, "nothing is to come");

    world.chain().state = state_result(true, 400_000, 600_000);
    world.store(record.operation_writes(&closing(&payment)).unwrap());
    let of_capture = |more: Value| {
        let mut all = json!({ "capture": "0x07", "captureHeight": 7, "orderedAt": NOW_S });
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    // Final at depth 12, where the capture's own block is 1.
    assert_eq!(
        shown(),
        of_capture(json!({ "state": "waiting", "dueAtHeight": 18 }))
    );

    // It failed, and the money is still held.
    let skipped = SkippedVoid::new(
        "invalid_auth_capture_evm_transaction_reverted",
        "out of gas",
        NOW_S + 9,
    );
    let write = skipped.write(NETWORK, payment.hash(), NOW_S, record.refund_deadline_s());
    world.store(vec![write.unwrap()]);
    assert_eq!(
        shown(),
        of_capture(json!({
            "state": "skipped",
            "reason": "invalid_auth_capture_evm_transaction_reverted",
            "message": "out of gas",
            "skippedAt": NOW_S + 9,
        }))
    );
    // The capture was undone and is there again: so is the void.
    world.store(record.operation_writes(&closing(&payment)).unwrap());
    assert_eq!(shown()["state"], "waiting");

    // Nothing is left, and the reason is unknown.
    world.chain().state = state_result(true, 0, 600_000);
    assert_eq!(shown()["state"], "ended");
    world.chain().logs = reclaimed(&payment, 400_000);
    assert_eq!(shown()["state"], "skipped");
    assert_eq!(shown()["reason"], "invalid_auth_capture_evm_zero_authorization");
    world.chain().logs = RpcResult::Ok(json!([]));

    keep(&world, &payment, OperationKind::Void, 400_000, 18);
    assert_eq!(
        shown(),
        of_capture(json!({ "state": "done", "transaction": "0x12" }))
    );
}
