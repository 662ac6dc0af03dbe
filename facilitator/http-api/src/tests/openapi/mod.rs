//! The OpenAPI document is generated here, and held to the routes and to every response of the other tests.
//!
//! `UPDATE_DOCS=1 cargo test -p http-api openapi` writes the document and its page anew.

mod document;
mod page;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;

use super::*;
use crate::openapi::DOCUMENT;
use crate::router::routes;

static PARSED: LazyLock<Value> = LazyLock::new(document::document);
/// By pointer to a schema.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Checks a response against the document. `path`: without the base path.
pub(super) fn check(method: &str, path: &str, seen: &Seen) {
    let path = path
        .strip_suffix('/')
        .filter(|path| !path.is_empty())
        .unwrap_or(path);
    let template = template(path);
    // A response to HEAD is that of GET without its body.
    let described = if method == "HEAD" { "GET" } else { method };
    let found = template
        .and_then(|template| Some((template, PARSED["paths"][template].get(described.to_lowercase())?)));
    let Some((template, operation)) = found else {
        let expected: &[u16] = if template.is_some_and(|template| !template.starts_with("/{")) {
            &[405]
        } else {
            &[404, 400, 401, 413, 429, 503, 500, 200, 201]
        };
        assert!(
            expected.contains(&seen.status),
            "{method} {path} is not documented and got {}",
            seen.status
        );
        if seen.status == 405 {
            validate("/components/schemas/Error", &seen.text, method, path);
        }
        return;
    };
    let status = seen.status.to_string();
    let range = format!("{}XX", &status[..1]);
    let known = &operation["responses"];
    let key = [status.as_str(), range.as_str()]
        .into_iter()
        .find(|key| known.get(key).is_some());
    let Some(key) = key else {
        panic!(
            "{method} {path}: status {status} is not documented: {}",
            seen.text
        )
    };
    let response = &known[key];
    if response["headers"].get("Retry-After").is_some() {
        let wait = header(seen, "retry-after").and_then(|wait| wait.parse::<u64>().ok());
        assert!(
            wait.is_some_and(|wait| wait > 0),
            "{method} {path} {status}: no Retry-After"
        );
    }
    let Some((media, _)) = response["content"]
        .as_object()
        .and_then(|content| content.iter().next())
    else {
        assert_eq!(
            (seen.text.as_str(), header(seen, "content-type")),
            ("", None),
            "{method} {path} {status}"
        );
        return;
    };
    assert_eq!(
        header(seen, "content-type"),
        Some(media.as_str()),
        "{method} {path} {status}"
    );
    if media == "application/json" && method != "HEAD" {
        let escape = |text: &str| text.replace('~', "~0").replace('/', "~1");
        let pointer = format!(
            "/paths/{}/{}/responses/{key}/content/{}/schema",
            escape(template),
            described.to_lowercase(),
            escape(media)
        );
        validate(&pointer, &seen.text, method, path);
    }
}

fn validate(pointer: &str, body: &str, method: &str, path: &str) {
    let known = VALIDATORS.lock().unwrap().get(pointer).cloned();
    let validator = known.unwrap_or_else(|| {
        let mut schema = PARSED.pointer(pointer).unwrap().clone();
        schema["components"] = PARSED["components"].clone();
        let validator = Arc::new(jsonschema::draft202012::new(&schema).unwrap());
        VALIDATORS
            .lock()
            .unwrap()
            .insert(pointer.to_owned(), Arc::clone(&validator));
        validator
    });
    let body: Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{method} {path}: {error}: {body}"));
    if let Err(error) = validator.validate(&body) {
        panic!("{method} {path}: {body} is not as documented: {error}");
    }
}

/// The path of the document that a path matches; `None`: it is none of the API.
fn template(path: &str) -> Option<&'static str> {
    let paths = PARSED["paths"].as_object().unwrap();
    if let Some((exact, _)) = paths.get_key_value(path) {
        return Some(exact);
    }
    let (first, rest) = path.strip_prefix('/')?.split_once('/')?;
    match first {
        _ if rest.is_empty() => None,
        "settlements" if !rest.contains('/') => Some("/settlements/{reference}"),
        "reservations" if !rest.contains('/') => Some("/reservations/{claim}"),
        _ => Some("/{scheme}/{path}"),
    }
}

#[test]
fn the_checked_in_document_and_page_are_those_of_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = serde_json::to_string_pretty(&*PARSED).unwrap() + "\n";
    let page = page::page(&PARSED);
    for (path, text) in [
        ("../../docs/src/openapi.json", document),
        ("src/openapi/page.html", page),
    ] {
        let path = folder.join(path);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{} is old; run: UPDATE_DOCS=1 cargo test -p http-api openapi",
            path.display()
        );
    }
}

#[tokio::test]
async fn every_route_and_method_is_documented_and_no_other() {
    let front = front(Scripted::default(), settings());
    let mut known: BTreeSet<String> = PARSED["paths"].as_object().unwrap().keys().cloned().collect();
    known.remove("/{scheme}/{path}");
    let routed: BTreeSet<String> = routes().iter().map(|(path, _)| format!("/{path}")).collect();
    assert_eq!(known, routed);
    for template in &routed {
        let path = template
            .replace("{reference}", "0x01")
            .replace("{claim}", "unknown");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let request = Request::builder()
                .method(method)
                .uri(&path)
                .body(Body::empty())
                .unwrap();
            let seen = front.send(request).await;
            let is_known = PARSED["paths"][template].get(method.to_lowercase()).is_some();
            // OPTIONS on the payment paths is 405 unless scripts may send payments.
            assert!(
                is_known || seen.status == 405,
                "{method} {path} is not documented: {}",
                seen.status
            );
            assert!(
                !is_known || seen.status != 405 || method == "OPTIONS",
                "{method} {path} is documented: 405"
            );
        }
    }
}

#[tokio::test]
async fn the_document_names_the_base_path_and_the_page_runs_no_script() {
    let with_base = front(
        Scripted::default(),
        server(|server| server.base_path = "/x402".into()),
    );
    let seen = with_base.get("/x402/openapi.json").await;
    assert_eq!(seen.json()["servers"][0]["url"], "/x402");
    assert_eq!(header(&seen, "access-control-allow-origin"), Some("*"));
    let front = front(Scripted::default(), settings());
    assert_eq!(front.get("/openapi.json").await.text, DOCUMENT);
    let seen = front.get("/docs").await;
    let policy = header(&seen, "content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let style = seen
        .text
        .split("<style>")
        .nth(1)
        .unwrap()
        .split("</style>")
        .next()
        .unwrap();
    let digest = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, Sha256::digest(style));
    assert!(policy.contains(&digest));
    // Text may have such words only where it is escaped.
    for forbidden in [
        "<script",
        "<img",
        "<link",
        "<iframe",
        " style=\"",
        " src=\"",
        " href=\"http",
        " onclick=",
        " onload=",
    ] {
        assert!(!seen.text.contains(forbidden), "{forbidden}");
    }
}

fn header<'s>(seen: &'s Seen, name: &str) -> Option<&'s str> {
    seen.headers.get(name).map(|value| value.to_str().unwrap())
}
