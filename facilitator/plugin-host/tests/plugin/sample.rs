//! Every shape of every message of the boundary, as JSON: each optional member and each variant at least once.

use serde_json::{Value, json};

fn lane() -> Value {
    json!({ "network": "test:1", "signer": "0xaa", "key": "hot", "ordered": true })
}

fn requirements() -> Value {
    json!({
        "scheme": "full", "network": "test:1", "amount": "10000", "asset": "0xtoken", "payTo": "0xseller",
        "maxTimeoutSeconds": 60, "extra": { "name": "USDC" }
    })
}

/// A payment with all its members, and one with none that can be left out.
pub(crate) fn payments() -> Vec<Value> {
    let full = json!({
        "version": "2", "scheme": "full", "network": "test:1", "networkAsSent": "test:1",
        "payload": { "signature": "0x01", "deep": [[[1.5, null, true, "ü\u{0}"]]] },
        "accepted": { "scheme": "full", "network": "test:1", "raw": { "amount": "1" } },
        "requirements": requirements(), "resource": { "url": "https://example.com/a" },
        "extensions": { "payment-identifier": { "info": {} } }, "purpose": "settle", "tenant": "shop",
        "idempotencyKey": "k-1", "remainingMs": 25_000
    });
    let bare = json!({
        "version": "legacy0", "scheme": "full", "network": "test:1", "networkAsSent": "testnet", "payload": {},
        "accepted": { "scheme": "", "network": "", "raw": {} }, "requirements": requirements(), "extensions": {},
        "purpose": "verify", "remainingMs": 0
    });
    vec![full, bare]
}

pub(crate) fn plan() -> Value {
    let step = |lane: Value, gate: &str, on_fail: &str, pays: bool| {
        json!({
            "call": { "target": "0xtoken", "operation": "0xe3ee160e", "data": "0xe3ee160e00", "nativeValue": "0" },
            "lane": lane, "gate": gate, "onFail": on_fail, "batchable": !pays, "pays": pays, "memo": { "note": 1 },
            "evidence": { "logs": [], "reads": [], "foreign": [] }
        })
    };
    let mut steps = vec![
        step(json!({ "type": "any" }), "none", "stop", true),
        step(
            json!({ "type": "signer", "address": "0xaa" }),
            "confirmed",
            "continue",
            false,
        ),
        step(json!({ "type": "foreign" }), "final", "stop", false),
    ];
    let first = steps
        .first_mut()
        .and_then(Value::as_object_mut)
        .expect("an object");
    first.insert(
        "maxCost".into(),
        json!("115792089237316195423570985008687907853269984665640564039457584007913129639935"),
    );
    first.insert("expiresAtS".into(), json!(1_700_000_060_u64));
    first.insert(
        "evidence".into(),
        json!({
            "logs": [{ "emitter": "0xtoken", "topics": ["0xdd", null] }],
            "reads": [{ "name": "state", "target": "0xtoken", "data": "0x", "required": true, "at": "block" }],
            "foreign": [{ "emitter": "0xtoken", "topics": [] }],
            "guard": {
                "read": { "name": "used", "target": "0xtoken", "data": "0x01", "required": false, "at": "parent" },
                "mask": "0xff", "unchanged": "0x00"
            },
            "blockLogs": [{ "emitter": "0xescrow", "topics": ["0xdd"] }]
        }),
    );
    let call = first
        .get_mut("call")
        .and_then(Value::as_object_mut)
        .expect("an object");
    call.insert("computeLimit".into(), json!(120_000));
    json!({
        "payer": "0xbuyer", "steps": steps, "writes": writes(), "jobs": [job()],
        "reserves": [{ "asset": "0xtoken", "payer": "0xbuyer", "amount": "10000", "available": "10000",
                       "asOfHeight": 5, "refusalReason": "insufficient_funds" }],
        "holds": [{ "signer": "0xaa", "untilS": 1_800_000_000_u64 }]
    })
}

fn writes() -> Value {
    json!([
        { "key": "a", "value": 1, "condition": { "type": "always" } },
        { "key": "b", "value": { "x": [] }, "condition": { "type": "absent" }, "expiresAtMs": 1_800_000_000_000_u64 },
        { "key": "c", "value": null, "condition": { "type": "equals", "value": "old" } }
    ])
}

pub(crate) fn evidences() -> Vec<Value> {
    let log = json!({ "id": "0xt/1", "emitter": "0xtoken", "topics": ["0xdd"], "data": "0x" });
    let evidence = |shown: Value, guard: &str| {
        json!({
            "step": 0, "shown": shown, "txId": "0xt", "headHeight": 9, "logs": [log],
            "deltas": [{ "id": "0xt/d", "account": "0xseller", "asset": "0xtoken", "received": "10000", "sent": "0" }],
            "reads": [{ "name": "state", "data": "0x01" }, { "name": "pruned" }],
            "foreign": [
                { "txId": "0xf", "height": 8, "block": "0xb", "depth": 2, "logs": [log] },
                { "txId": "0xe", "height": 7, "block": "", "earlier": true, "depth": 3, "logs": [] }
            ],
            "guard": guard, "blockLogs": [log]
        })
    };
    vec![
        evidence(json!({ "type": "landed", "height": 9 }), "absent"),
        evidence(
            json!({ "type": "reverted", "height": 9, "message": "no" }),
            "unchanged",
        ),
        evidence(
            json!({ "type": "reverted", "height": 9, "message": null }),
            "changed",
        ),
        evidence(json!({ "type": "dead", "why": "expired" }), "unread"),
    ]
}

pub(crate) fn routes() -> Vec<Value> {
    let outcome = json!({
        "success": false, "errorReason": "settlement_pending", "errorMessage": "wait", "payer": "", "transaction": "0xt",
        "network": "test:1", "amount": "1", "extra": {}, "extensions": {}
    });
    vec![
        json!({ "method": "GET", "path": "/a", "query": [["q", "1"]], "body": null, "headers": [["x-shop", "north"]] }),
        json!({ "method": "POST", "path": "/", "query": [], "body": { "a": 1 }, "tenant": "shop", "idempotencyKey": "k",
                "outcome": outcome }),
    ]
}

pub(crate) fn job() -> Value {
    json!({ "id": "j", "scheme": "full", "network": "test:1", "kind": "collect", "payload": { "a": 1 }, "runAtMs": 1 })
}

pub(crate) fn network() -> Value {
    json!({
        "id": "test:1",
        "keys": [{ "name": "hot", "suite": "secp256k1", "publicKey": "0x04" }, { "name": "sol", "suite": "ed25519", "publicKey": "0x" }],
        "options": { "confirmations": 1 }
    })
}

pub(crate) fn slot() -> Value {
    json!({ "lane": lane(), "sequence": 9_007_199_254_740_991_u64, "lost": 1 })
}

pub(crate) fn bid() -> Value {
    json!({ "terms": { "maxFee": "0x1" }, "headHeight": 7 })
}

pub(crate) fn attempt() -> Value {
    json!({ "id": "a", "txId": "0xt", "lane": lane(), "sequence": 3 })
}

pub(crate) fn watch() -> Value {
    let evidence = plan()
        .pointer("/steps/0/evidence")
        .cloned()
        .expect("the first step's");
    json!({
        "attemptId": "a", "txId": "0xt", "lane": lane(), "sequence": 3, "sinceHeight": 1, "evidence": [evidence],
        "searchForeign": true, "pool": true, "block": { "id": "0xb", "height": 9, "timeS": 1_700_000_000_u64 },
        "byBlock": true, "finalAt": 12, "readGuards": true, "wholeBlock": true
    })
}

/// The answers of a handler, call by call.
pub(crate) fn answers(op: &str) -> Vec<Value> {
    let reply =
        json!({ "payer": "0xbuyer", "amount": "10000", "extra": { "a": 1 }, "extensions": { "b": 2 } });
    let refusal =
        |tag: &str| json!({ "type": tag, "reason": "invalid_payload", "message": "why", "payer": "" });
    let tagged = |tag: &str, mut value: Value| {
        value
            .as_object_mut()
            .expect("an object")
            .insert("type".into(), json!(tag));
        value
    };
    let built =
        json!({ "txId": "0xt", "bytes": "0x02", "maxCost": "21000", "leftOut": [1], "wouldFail": "used" });
    match op {
        "x402.supported" => vec![json!({
            "kinds": [{ "x402Version": 2, "scheme": "full", "network": "test:1", "extra": { "a": 1 } },
                      { "x402Version": 1, "scheme": "full", "network": "test:1" }],
            "extensions": ["e"], "signers": ["0xaa"]
        })],
        "x402.identify" => vec![
            json!({ "type": "identified", "payer": "0xbuyer", "claimKey": "k", "conflictKeys": ["c"], "fingerprint": "f",
                    "payloadDigest": "d", "replayReason": "used", "replayableUntilS": 1_700_000_060_u64 }),
            refusal("refused"),
        ],
        "x402.verify" => {
            vec![
                json!({ "type": "valid", "payer": "0xbuyer", "extra": { "a": 1 } }),
                refusal("invalid"),
            ]
        }
        "x402.plan" => vec![
            tagged("plan", plan()),
            refusal("refused"),
            json!({ "type": "done", "reply": reply, "writes": writes(), "jobs": [job()] }),
        ],
        "x402.judge" => vec![
            json!({ "type": "paid", "txId": "0xt", "items": ["0xt/1"], "reply": reply, "writes": writes(), "jobs": [job()], "repeatable": true }),
            refusal("notPaid"),
            json!({ "type": "next" }),
            json!({ "type": "unproven", "why": "no log" }),
        ],
        "x402.route" => vec![
            json!({ "type": "reply", "status": 404, "body": { "error": "none" } }),
            json!({ "type": "settle", "request": payments().first() }),
        ],
        "x402.job" => vec![json!({ "requests": payments() })],
        "x402.check" => vec![
            json!({ "ready": true, "warnings": ["the node keeps no old state"] }),
            json!({ "ready": false, "whyNot": "no code at 0xaa: write another escrow", "warnings": [] }),
        ],
        "chain.check" => vec![
            json!({ "ready": true, "addresses": { "hot": "0xaa" }, "ordered": true, "headHeight": 9, "warnings": ["w"] }),
            json!({ "ready": false, "whyNot": "wrong chain id", "addresses": {}, "ordered": false, "headHeight": 0, "warnings": [] }),
        ],
        "chain.lane" => vec![json!({ "nextSequence": 3, "balance": "1", "headHeight": 9 })],
        "chain.quote" => vec![bid(), bid()],
        "chain.build" => vec![built],
        "chain.fill" => vec![built],
        "chain.broadcast" => vec![
            json!({ "type": "accepted" }),
            json!({ "type": "sequenceUsed" }),
            json!({ "type": "underpriced" }),
            json!({ "type": "insufficientFunds" }),
            json!({ "type": "rejected", "message": "no" }),
            json!({ "type": "unknown", "message": "silence" }),
        ],
        "chain.observe" => observations(),
        other => panic!("no answers to {other}"),
    }
}

fn observations() -> Vec<Value> {
    let evidence = evidences().first().cloned().expect("one");
    let states = [
        json!({ "type": "unknown" }),
        json!({ "type": "pending" }),
        json!({ "type": "landed", "height": 9, "block": "0xb", "depth": 1 }),
        json!({ "type": "reverted", "height": 9, "block": "0xb", "depth": 1, "message": "no" }),
        json!({ "type": "slotUsed" }),
        json!({ "type": "lapsed" }),
        json!({ "type": "expired", "proof": "height" }),
    ];
    let stands = [
        json!({ "type": "canonical", "depth": 3 }),
        json!({ "type": "replaced" }),
        json!({ "type": "unknown" }),
    ];
    let anchor = json!({
        "block": { "id": "0xa", "height": 9, "timeS": 1_700_000_000_u64 }, "nextSequence": 4,
        "guards": ["absent", "unchanged", "changed", "unread"], "reads": evidence.get("reads")
    });
    let mut stands = stands.iter().cycle().cloned();
    let observation = |state: Value| {
        let of = |member: &str| evidence.get(member).cloned().expect("a member");
        let observation = json!({
            "attemptId": "a", "state": state, "headHeight": 9, "logs": of("logs"), "deltas": of("deltas"),
            "reads": of("reads"), "foreign": of("foreign"), "foreignSearched": true,
            "block": stands.next(), "anchor": anchor, "blockLogs": of("blockLogs")
        });
        json!({ "observations": [observation] })
    };
    states.map(observation).to_vec()
}

/// The requests of a plugin to its host, by service.
pub(crate) fn host_requests(service: &str) -> Vec<Value> {
    match service {
        "rpc.v1" => vec![
            json!({ "type": "read", "network": "test:1", "calls": [{ "method": "good", "params": [1] }, { "method": "bad", "params": {} }] }),
            json!({ "type": "send", "network": "test:1", "attemptId": "a", "method": "send", "params": ["$bytes"], "encoding": "base64" }),
        ],
        "sign.v1" => vec![json!({ "key": "hot", "suite": "secp256k1", "message": "0x00" })],
        "store.v1" => vec![
            json!({ "type": "write", "writes": [{ "key": "a", "value": 1, "condition": { "type": "absent" } }] }),
            json!({ "type": "write", "writes": writes() }),
            json!({ "type": "get", "key": "a" }),
            json!({ "type": "scan", "prefix": "a", "after": null, "limit": 10 }),
            json!({ "type": "scan", "prefix": "a", "after": "b", "limit": 10 }),
        ],
        "job.v1" => vec![
            json!({ "type": "schedule", "job": job() }),
            json!({ "type": "cancel", "id": "j" }),
        ],
        other => panic!("no requests for {other}"),
    }
}
