//! Answers of the first node that are odd as HTTP or as JSON-RPC.

use serde_json::{Value, json};

use super::node::{Answer, Raw, edited, failure};
use super::{Report, serve_each};

/// The same answer to everything.
fn always(status: u16, body: &'static str) -> Answer {
    Box::new(move |_, _| Raw::of(status, body))
}

/// The real node's answers with another HTTP status.
fn with_status(status: u16) -> Answer {
    Box::new(move |request, node| Raw::of(status, node(request).to_string()))
}

/// An error object for every call.
fn errors(error: Value) -> Answer {
    edited(move |call, answer| *answer = failure(call, &error))
}

/// The members of a batch's answer are changed; single calls are answered well.
fn in_batches(change: impl Fn(&mut Vec<Value>) + Send + Sync + 'static) -> Answer {
    Box::new(move |request, node| {
        let mut answer = node(request);
        if let Some(answers) = answer.as_array_mut() {
            change(answers);
        }
        Raw::json(&answer)
    })
}

/// One member of a batch's answer is an error object, if there is such a member.
fn error_at(pick: fn(usize) -> usize, error: Value) -> Answer {
    in_batches(move |answers| {
        let at = pick(answers.len());
        if let Some(one) = answers.get_mut(at) {
            *one = failure(one, &error);
        }
    })
}

/// Batches are answered like this; single calls are answered well.
fn refuses_batches(answer: Answer) -> Answer {
    Box::new(move |request, node| {
        if request.is_array() {
            answer(request, node)
        } else {
            Raw::json(&node(request))
        }
    })
}

#[test]
fn a_first_node_with_invalid_http_stops_no_payment() {
    let mut report = Report::default();
    let variants: Vec<(&str, Answer)> = vec![
        (
            "200 with HTML",
            always(200, "<html><body>502 Bad Gateway</body></html>"),
        ),
        ("200 without a body", always(200, "")),
        ("204", always(204, "")),
        (
            "302",
            Box::new(|_, _| Raw::of(302, "")?.with_header("location: https://example.com/")),
        ),
        ("429 with good answers", with_status(429)),
        ("500 with good answers", with_status(500)),
        ("400 with good answers", with_status(400)),
        ("every connection closed", Box::new(|_, _| None)),
        (
            "half of the JSON",
            Box::new(|request, node| {
                let answer = node(request).to_string();
                Raw::of(200, &answer[..answer.len() / 2])
            }),
        ),
        (
            "half of the announced bytes",
            Box::new(|request, node| {
                let whole = Raw::json(&node(request))?;
                let half = whole.body.len() / 2;
                Some(Raw {
                    body: whole.body[..half].to_vec(),
                    missing: whole.body.len() - half,
                    ..whole
                })
            }),
        ),
        (
            "503 for a day",
            Box::new(|_, _| Raw::of(503, "{}")?.with_header("retry-after: 86400")),
        ),
    ];
    serve_each(&mut report, variants);
    report.end();
}

#[test]
fn a_first_node_with_invalid_json_rpc_ids_stops_no_payment() {
    let mut report = Report::default();
    let variants: Vec<(&str, Answer)> = vec![
        ("wrong", edited(|_, answer| answer["id"] = json!(77))),
        (
            "strings",
            edited(|_, answer| answer["id"] = json!(answer["id"].to_string())),
        ),
        ("null", edited(|_, answer| answer["id"] = Value::Null)),
        (
            "missing",
            edited(|_, answer| {
                answer.as_object_mut().and_then(|answer| answer.remove("id"));
            }),
        ),
        (
            "twice the same",
            in_batches(|answers| {
                if let [first, .., last] = &mut answers[..] {
                    last.clone_from(first);
                }
            }),
        ),
        (
            "one answer too many",
            in_batches(|answers| answers.push(answers[0].clone())),
        ),
        (
            "one answer missing",
            in_batches(|answers| {
                answers.pop();
            }),
        ),
    ];
    serve_each(&mut report, variants);
    report.end();
}

#[test]
fn a_first_node_with_unusual_json_rpc_errors_stops_no_payment() {
    let mut report = Report::default();
    let error = |code: i64, message: &str| json!({"code": code, "message": message});
    let last = |count: usize| count.saturating_sub(1).max(1);
    let variants: Vec<(&str, Answer)> = vec![
        (
            "the second of a batch is an internal error",
            error_at(|_| 1, error(-32603, "internal error")),
        ),
        (
            "the second of a batch exceeds a limit",
            error_at(|_| 1, error(-32005, "limit exceeded")),
        ),
        (
            "the last of a batch reverts without data",
            error_at(last, error(3, "execution reverted")),
        ),
        (
            "too many requests as a revert",
            errors(error(3, "Too many requests")),
        ),
        (
            "the gateway is out of gas",
            errors(error(-32000, "upstream out of gas; retry")),
        ),
        (
            "a database that cannot revert",
            errors(error(-32000, "internal: unable to revert database snapshot")),
        ),
        (
            "a code that is a string",
            errors(json!({"code": "-32000", "message": "x"})),
        ),
        ("an error that is a string", errors(json!("forbidden"))),
        ("an error without a message", errors(json!({"code": -32000}))),
        (
            "a null error beside the result",
            edited(|_, answer| answer["error"] = Value::Null),
        ),
        (
            "an error beside the result",
            edited(|_, answer| answer["error"] = json!({"code": -32000, "message": "x"})),
        ),
        // Last: the node may count as one that lacks methods for minutes.
        (
            "another method does not exist",
            errors(error(
                -32601,
                "the method eth_subscribe does not exist/is not available",
            )),
        ),
    ];
    serve_each(&mut report, variants);
    report.end();
}

#[test]
fn a_first_node_that_refuses_batches_stops_no_payment() {
    let whole = |code: i64, message: &str| {
        let error = json!({"code": code, "message": message});
        let answer = failure(&Value::Null, &error).to_string();
        refuses_batches(Box::new(move |_, _| Raw::of(200, answer.as_str())))
    };
    let each = json!({"code": -32601, "message": "batch not supported"});
    let variants: Vec<(&str, Answer)> = vec![
        ("an object, -32600", whole(-32600, "batches are not allowed")),
        ("an object, -32000", whole(-32000, "batching is disabled")),
        ("-32601 for each call", refuses_batches(errors(each))),
        ("405", refuses_batches(always(405, ""))),
        (
            "the first answer only",
            Box::new(|request, node| {
                let answer = node(request);
                Raw::json(answer.as_array().map_or(&answer, |answers| &answers[0]))
            }),
        ),
    ];
    let mut report = Report::default();
    // Each on a new facilitator: one that has learned it sends no batches any more.
    for variant in variants {
        serve_each(&mut report, vec![variant]);
    }
    report.end();
}
