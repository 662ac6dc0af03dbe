//! Builds the OpenAPI document: replies that have a type from the type, the others by hand. The other tests hold both to what
//! the API sends.

use base::settlement::SettlementStatus;
use schemars::generate::SchemaSettings;
use sdk_plugin::wire::{SettleReply, SupportedReply, VerifyReply};
use serde_json::{Map, Value, json};

use crate::tests::{v1, v2};

const CALLER: &str = "Without tenants, no credentials are needed.";

pub(super) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchyard",
            "summary": "Verifies and settles x402 payments.",
            "description": "A decided outcome of a payment is always HTTP 200: read `isValid` and `success`. Another status \
                means that the request was not carried out, and says nothing about a payment that an earlier request started. \
                Send the same request again after a 503: it never pays twice.\n\nEvery path also exists with a slash at its \
                end. Other paths get 404, and other methods 405, with an `Error`. A request that is no HTTP gets 400, one with \
                a head above 64 KiB 431, both without a body.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "bearer": [] }, { "apiKey": [] }],
        "tags": [
            { "name": "payments", "description": "Verify, settle, and what became of it." },
            { "name": "operation", "description": "For operators, their monitoring and their proxies." },
        ],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": format!("The API key of a tenant. {CALLER}") },
                "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": format!("The same. {CALLER}") },
            },
            "headers": {
                "RetryAfter": {
                    "description": "Seconds after which the same request may be sent again.",
                    "required": true,
                    "schema": { "type": "integer", "minimum": 1 },
                },
            },
            "schemas": schemas(),
        },
    })
}

fn paths() -> Value {
    json!({
        "/verify": payment_path("Verify", "Whether the payment would be settled now. Decides nothing."),
        "/settle": payment_path("Settle", "Settles the payment, and replies when the chain shows it or the wait is over. The \
            same payment again gets the same outcome."),
        "/supported": {
            "get": operation("supported", "payments", "What can be paid: schemes, networks and signers.", &[
                ok("The kinds that are ready now.", "SupportedReply"),
                error("401", "UNAUTHORIZED"), error("429", "LIMITED"),
                (String::from("500"), response("A defect of the facilitator.", "Error", false)),
                error("503", "BUSY"),
            ], json!([])),
            "options": preflight("supported", true),
        },
        "/settlements": { "get": operation("listSettlements", "payments", "The caller's settlements, newest first. Without \
                tenants there is no list.", &[
            ok("A page.", "SettlementPage"),
            error("400", "QUERY"), error("401", "UNAUTHORIZED"), error("404", "NOT_FOUND"), error("429", "LIMITED"), error("503", "BUSY"),
        ], json!([
            query("status", "Only those with this status.", json!({ "enum": statuses() })),
            query("payer", "Only those of this payer.", json!({ "type": "string", "maxLength": 256 })),
            query("payTo", "Only those to this recipient.", json!({ "type": "string", "maxLength": 256 })),
            query("from", "Recorded at this time or later: ISO 8601 with an offset, or a date.", json!({ "type": "string" })),
            query("to", "Recorded before this time.", json!({ "type": "string" })),
            query("limit", "The most on a page.", json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 20 })),
            query("cursor", "The cursor of the page before.", json!({ "type": "string", "maxLength": 256 })),
        ])) },
        "/settlements/{reference}": { "get": operation("getSettlement", "payments", "What became of a payment. Of another \
                tenant's, the reply is that of an unknown one.", &[
            ok("The settlement, or `payments` if the transaction has several.", "SettlementReply"),
            error("400", "QUERY"), error("401", "UNAUTHORIZED"), error("404", "NOT_FOUND"), error("429", "LIMITED"), error("503", "BUSY"),
        ], json!([
            path("reference", "An id, a transaction, a claim, or `key:` and an `Idempotency-Key`."),
            query("network", "CAIP-2 id or plain name, where a transaction exists on several.", json!({ "type": "string" })),
        ])) },
        "/reservations/{claim}": { "delete": operation("endReservation", "payments", "Ends a reservation of a verify before its \
                time.", &[
            ok("It is ended.", "ReservationEnd"),
            error("401", "UNAUTHORIZED"), error("404", "NOT_FOUND"), error("429", "LIMITED"), error("503", "BUSY"),
        ], json!([path("claim", "The `claim` of the reservation in the reply of the verify.")])) },
        "/{scheme}/{path}": scheme_path(),
        "/health": {
            "get": operation("health", "operation", "Whether the process lives.", &[ok("It does.", "Health")], json!([])),
            "options": preflight("health", true),
        },
        "/ready": { "get": operation("ready", "operation", "Whether new payments are accepted, and what is wrong.", &[
            ok("At least one network accepts new payments.", "Ready"),
            (String::from("503"), response("None does.", "Ready", false)),
        ], json!([])) },
        "/metrics": { "get": operation("metrics", "operation", "Metrics of Prometheus.", &[
            (String::from("200"), text("Every family has a HELP line.", "text/plain; version=0.0.4; charset=utf-8")),
        ], json!([])) },
        "/openapi.json": {
            "get": operation("openapi", "operation", "This document.", &[ok("OpenAPI 3.1.", "Document")], json!([])),
            "options": preflight("openapi", true),
        },
        "/docs": { "get": operation("docs", "operation", "This document as a page.", &[
            (String::from("200"), text("Without scripts.", "text/html; charset=utf-8")),
        ], json!([])) },
    })
}

fn payment_path(name: &str, summary: &str) -> Value {
    let lower = name.to_lowercase();
    let failure = |status: &str, what: &str, waits: bool| {
        (
            status.to_owned(),
            response(what, &format!("{name}Failure"), waits),
        )
    };
    let mut post = operation(
        &lower,
        "payments",
        summary,
        &[
            ok("A decided outcome, good or bad.", &format!("{name}Response")),
            failure(
                "400",
                "The request can't be carried out by this facilitator.",
                false,
            ),
            failure("401", "No valid API key for this path.", false),
            failure("413", "The body is larger than this facilitator accepts.", false),
            failure("429", "Too many requests of this caller.", true),
            failure(
                "503",
                "Not processed: overloaded, stopping, or the journal can't be written.",
                true,
            ),
        ],
        json!([]),
    );
    let mut parameters = vec![header(
        "Idempotency-Key",
        "Names the payment for look-ups. 1 to 255 visible ASCII characters.",
        json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }),
    )];
    if name == "Settle" {
        parameters.push(header(
            "Prefer",
            "`wait=N` seconds, or `respond-async`. What was applied is in `Preference-Applied`.",
            json!({ "type": "string", "examples": ["wait=10"] }),
        ));
    }
    post["parameters"] = json!(parameters);
    post["requestBody"] = json!({
        "required": true,
        "content": { "application/json": {
            "schema": reference("PaymentRequest"),
            "examples": { "version2": { "value": v2() }, "version1": { "value": v1() } },
        } },
    });
    json!({
        "get": operation(&format!("describe{name}"), "payments", "What to send here, for people who open the URL.", &[
            ok("A description.", "Description"),
        ], json!([])),
        "post": post,
        "options": preflight(&lower, false),
    })
}

/// Routes that schemes define.
fn scheme_path() -> Value {
    let mut path_item = Map::new();
    for method in ["get", "post", "put", "patch", "delete"] {
        let responses = [
            (
                String::from("2XX"),
                response("As the scheme defines.", "Any", false),
            ),
            (
                String::from("4XX"),
                response(
                    "As the scheme defines; before it: no such route (404), a bad request (400), no API \
                key (401), a body that is too large (413), or too many requests (429), each with an `Error`.",
                    "Any",
                    false,
                ),
            ),
            (
                String::from("500"),
                response("A defect of the facilitator or of a plugin.", "Error", false),
            ),
            error("503", "BUSY"),
        ];
        let mut operation = operation(
            &format!("{method}SchemeRoute"),
            "payments",
            "A route of a scheme, such as \
            `/deferred/vouchers`. Which exist depends on the plugins; `path` may contain slashes.",
            &responses,
            json!([
                path("scheme", "The name of a scheme that has routes."),
                path("path", "The scheme's path."),
                query(
                    "network",
                    "CAIP-2 id or plain name, where the scheme serves several.",
                    json!({ "type": "string" })
                ),
            ]),
        );
        if method != "get" {
            operation["requestBody"] =
                json!({ "content": { "application/json": { "schema": { "type": "object" } } } });
        }
        path_item.insert(method.to_owned(), operation);
    }
    path_item.into()
}

fn operation(id: &str, tag: &str, summary: &str, responses: &[(String, Value)], parameters: Value) -> Value {
    let responses: Map<String, Value> = responses.iter().cloned().collect();
    let mut operation =
        json!({ "operationId": id, "tags": [tag], "summary": summary, "responses": responses });
    if parameters != json!([]) {
        operation["parameters"] = parameters;
    }
    if tag == "operation" {
        operation["security"] = json!([]);
    }
    operation
}

fn preflight(id: &str, is_open: bool) -> Value {
    let mut responses = json!({ "204": { "description": "What scripts of the page's origin may do." } });
    if !is_open {
        responses["405"] = response("Scripts of web pages may not send payments here.", "Error", false);
    }
    json!({ "operationId": format!("preflight_{id}"), "tags": ["payments"], "summary": "A browser's question ahead of a request \
        of another origin's script.", "security": [], "responses": responses })
}

fn ok(description: &str, schema: &str) -> (String, Value) {
    ("200".to_owned(), response(description, schema, false))
}

fn error(status: &str, kind: &str) -> (String, Value) {
    let (description, schema, waits) = match kind {
        "UNAUTHORIZED" => ("No valid API key for this path.", "Error", false),
        "LIMITED" => ("Too many requests of this caller.", "Error", true),
        "BUSY" => (
            "Not processed: overloaded, stopping, or the journal can't be read.",
            "Error",
            true,
        ),
        "QUERY" => ("A reference or a query that can't be read.", "QueryError", false),
        _ => ("There is none, or it is another tenant's.", "Error", false),
    };
    (status.to_owned(), response(description, schema, waits))
}

fn response(description: &str, schema: &str, waits: bool) -> Value {
    let mut response = json!({ "description": description, "content": { "application/json": { "schema": reference(schema) } } });
    if waits {
        response["headers"] = json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
    }
    response
}

fn text(description: &str, media: &str) -> Value {
    json!({ "description": description, "content": { media: { "schema": { "type": "string" } } } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn header(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": schema })
}

fn path(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string", "minLength": 1 } })
}

fn statuses() -> Vec<&'static str> {
    SettlementStatus::ALL.map(SettlementStatus::name).to_vec()
}

fn schemas() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    generator.subschema_for::<VerifyReply>();
    generator.subschema_for::<SettleReply>();
    generator.subschema_for::<SupportedReply>();
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    for schema in schemas.values_mut() {
        close(schema);
    }
    for name in ["VerifyReply", "SettleReply"] {
        let mut failure = schemas[name].clone();
        failure["properties"]["error"] =
            json!({ "type": "string", "description": "What is wrong with the request." });
        failure["required"].as_array_mut().unwrap().push(json!("error"));
        failure["description"] = json!("A request that was not carried out.");
        schemas.insert(name.replace("Reply", "Failure0"), failure);
    }
    let by_hand = [requests(), replies(), statuses_and_errors()];
    schemas.extend(by_hand.into_iter().flat_map(|schemas| match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }));
    for (name, current) in [
        ("VerifyFailure", "VerifyFailure0"),
        ("SettleFailure", "SettleFailure0"),
    ] {
        let old = format!("Legacy{name}");
        schemas.insert(
            name.to_owned(),
            json!({ "anyOf": [reference(&current.replace('0', "Current")), reference(&old)] }),
        );
        let current_schema = schemas.remove(current).unwrap();
        schemas.insert(current.replace('0', "Current"), current_schema);
    }
    schemas.into()
}

/// Replies have no `null` and no member that is not documented.
fn close(schema: &mut Value) {
    if schema["type"] == "object" && schema.get("properties").is_some() {
        schema["additionalProperties"] = json!(false);
    }
    let members = schema.get_mut("properties").and_then(Value::as_object_mut);
    for member in members.into_iter().flat_map(Map::values_mut) {
        let kinds = member["type"].as_array().cloned();
        if let Some([kind, _null]) = kinds.as_deref() {
            member["type"] = kind.clone();
        }
    }
}

fn object(description: &str, properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "description": description, "properties": properties, "required": required, "additionalProperties": false })
}

fn requests() -> Value {
    let version = json!({ "description": "1 or 2. Strings and fractions of zero are read, too.", "enum": [1, 2, "1", "2"] });
    json!({
        "PaymentRequest": {
            "description": "Unknown members are ignored, and `null` counts as absent.",
            "anyOf": [reference("PaymentRequestCurrent"), reference("PaymentRequestLegacy")],
        },
        "PaymentRequestCurrent": {
            "type": "object",
            "description": "Version 1 or 2.",
            "properties": {
                "x402Version": version,
                "paymentPayload": { "type": "object", "properties": {
                    "x402Version": version,
                    "scheme": { "type": "string", "description": "Version 1." },
                    "network": { "type": "string", "description": "Version 1." },
                    "accepted": reference("PaymentRequirements"),
                    "payload": { "type": "object", "description": "As the scheme defines." },
                    "resource": { "type": "object" },
                    "extensions": { "type": "object" },
                }, "required": ["payload"] },
                "paymentRequirements": reference("PaymentRequirements"),
            },
            "required": ["paymentPayload", "paymentRequirements"],
        },
        "PaymentRequestLegacy": {
            "type": "object",
            "description": "The oldest form of version 1. An operator may disable it.",
            "properties": {
                "x402Version": version,
                "paymentHeader": { "type": "string", "description": "The value of `X-PAYMENT`: base64 of a JSON object." },
                "paymentRequirements": reference("PaymentRequirements"),
            },
            "required": ["paymentHeader", "paymentRequirements"],
        },
        "PaymentRequirements": {
            "type": "object",
            "properties": {
                "scheme": { "type": "string", "examples": ["exact"] },
                "network": { "type": "string", "description": "CAIP-2 id (version 2) or plain name (version 1).", "examples": ["eip155:8453", "base"] },
                "amount": { "type": "string", "description": "Version 2: atomic units, decimal.", "pattern": "^[0-9]{1,78}$" },
                "maxAmountRequired": { "type": "string", "description": "The same in version 1.", "pattern": "^[0-9]{1,78}$" },
                "asset": { "type": "string" },
                "payTo": { "type": "string" },
                "maxTimeoutSeconds": { "type": "integer", "minimum": 0 },
                "extra": { "type": "object", "description": "As the scheme defines." },
            },
            "required": ["scheme", "network", "payTo"],
        },
    })
}

fn replies() -> Value {
    let text = json!({ "type": "string" });
    let maybe = json!({ "type": ["string", "null"] });
    let legacy_verify = json!({ "isValid": { "type": "boolean" }, "invalidReason": maybe, "payer": text });
    let legacy_settle = json!({
        "success": { "type": "boolean" }, "error": maybe, "errorReason": text, "txHash": maybe, "networkId": maybe,
        "transaction": text, "network": text, "payer": text,
    });
    let mut failed_verify = legacy_verify.clone();
    failed_verify["error"] = text.clone();
    let mut failed_settle = legacy_settle.clone();
    failed_settle["error"] = text;
    let verify = ["isValid", "invalidReason", "payer"];
    let settle = [
        "success",
        "error",
        "txHash",
        "networkId",
        "transaction",
        "network",
        "payer",
    ];
    let oldest = "The reply to the oldest form of a request.";
    json!({
        "VerifyResponse": { "anyOf": [reference("VerifyReply"), reference("LegacyVerifyReply")] },
        "SettleResponse": { "anyOf": [reference("SettleReply"), reference("LegacySettleReply")] },
        "LegacyVerifyReply": object(oldest, legacy_verify, &verify),
        "LegacySettleReply": object(oldest, legacy_settle, &settle),
        "LegacyVerifyFailure": object(oldest, failed_verify, &["isValid", "invalidReason", "payer", "error"]),
        "LegacySettleFailure": object(oldest, failed_settle, &settle),
        "ReservationEnd": object("A reservation that is ended.", json!({ "ended": { "const": true } }), &["ended"]),
        "Description": object("What to send.", json!({
            "endpoint": { "enum": ["/verify", "/settle"] }, "description": { "type": "string" }, "body": { "type": "object" },
        }), &["endpoint", "description", "body"]),
    })
}

fn statuses_and_errors() -> Value {
    let text = json!({ "type": "string" });
    let amount = json!({ "type": "string", "pattern": "^[0-9]+$" });
    let time = json!({ "type": "string", "description": "ISO 8601 in UTC.", "pattern": "Z$" });
    let flag = json!({ "type": "boolean" });
    let sentences = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
    let settlement = json!({
        "id": text, "status": { "enum": statuses() },
        "mayPayAgain": { "type": "boolean", "description": "Whether the payer may pay again without paying twice." },
        "transaction": text, "network": text, "scheme": text, "payer": text, "payTo": text, "asset": text,
        "amount": amount, "fee": amount, "errorReason": text, "errorMessage": text,
        "released": { "type": "boolean", "description": "Whether a caller got `success`." },
        "createdAt": time, "updatedAt": time, "expiresAt": time,
        "retryAfterMs": { "type": "integer", "minimum": 0 },
    });
    let required = [
        "id",
        "status",
        "mayPayAgain",
        "transaction",
        "network",
        "scheme",
        "payer",
        "payTo",
        "asset",
        "released",
        "createdAt",
        "updatedAt",
    ];
    let public = json!({ "status": { "enum": statuses() }, "transaction": text, "network": text });
    let shown = json!({ "anyOf": [reference("Settlement"), reference("PublicSettlement")] });
    json!({
        "Settlement": object("What is recorded of a payment. Members that are not known are left out.", settlement, &required),
        "PublicSettlement": object("What callers without credentials get by a transaction.", public, &["status", "transaction", "network"]),
        "SettlementReply": { "anyOf": [
            reference("Settlement"), reference("PublicSettlement"),
            object("Several payments of one transaction.", json!({ "payments": { "type": "array", "items": shown, "minItems": 2 } }), &["payments"]),
        ] },
        "SettlementPage": object("A page of settlements.", json!({
            "items": { "type": "array", "items": reference("Settlement"), "maxItems": 100 },
            "cursor": { "type": "string", "description": "Names the next page; absent on the last one." },
        }), &["items"]),
        "Health": object("A process that lives.", json!({ "status": { "const": "ok" }, "version": text, "draining": flag }), &["status", "version", "draining"]),
        "Ready": object("Whether new payments are accepted.", json!({
            "ready": flag, "networks": { "type": "array", "items": reference("NetworkStatus") },
            "draining": { "const": true }, "why": text, "alarms": sentences,
        }), &["ready", "networks"]),
        "NetworkStatus": object("A network.", json!({
            "network": text, "ready": flag, "why": text, "alarms": sentences, "warnings": sentences,
            "schemes": { "type": "array", "items": object("A scheme that is not ready.", json!({
                "scheme": text, "ready": { "const": false }, "why": text,
            }), &["scheme", "ready", "why"]) },
        }), &["network", "ready"]),
        "Error": object("Why the request was not carried out.", json!({ "error": text }), &["error"]),
        "QueryError": object("Why the request was not carried out.", json!({
            "error": { "enum": ["invalid_query", "invalid_reference"] }, "errorMessage": text,
        }), &["error"]),
        "Document": { "type": "object", "properties": { "openapi": { "const": "3.1.0" } }, "required": ["openapi"] },
        "Any": { "description": "Any JSON value." },
    })
}
