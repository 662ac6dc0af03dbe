//! The listener as an attacker meets it: pages of other origins, names that resolve to this machine, spelled paths, smuggled and
//! slow requests, guesses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use e2e::wait;
use serde_json::json;

use super::{Desk, MONEY, VIEW};
use crate::tenants::tenant;

/// The status and text of whatever answers these bytes; 0: none.
fn raw(port: u16, bytes: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    // A connection that stays open has answered by then.
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .expect("a limit");
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), text)
}

fn request(desk: &Desk, line: &str, headers: &str, body: &str) -> (u16, String) {
    let host = format!("127.0.0.1:{}", desk.port);
    let host = if headers.to_ascii_lowercase().contains("host:") {
        String::new()
    } else {
        format!("Host: {host}\r\n")
    };
    let text = format!("{line} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n{body}");
    raw(desk.port, text.as_bytes())
}

#[test]
fn a_page_of_another_origin_or_name_gets_nothing() {
    let desk = Desk::start("", |world| world);
    let token = format!("Authorization: Bearer {MONEY}\r\n");
    for (headers, status) in [
        ("Host: evil.example\r\n", 421),
        ("Host: 127.0.0.1:1\r\n", 421),
        ("Host: \r\n", 421),
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
    ] {
        for path in ["GET /api/overview", "GET /", "POST /api/pause"] {
            let (found, text) = request(&desk, path, &format!("{token}{headers}"), "");
            assert_eq!(found, status, "{path} {headers}: {text}");
            assert!(!text.contains("\"networks\""), "{text}");
        }
    }
    let (status, text) = request(&desk, "GET /api/overview", &token, "");
    assert_eq!(status, 200, "{text}");
    let lower = text.to_ascii_lowercase();
    assert!(
        lower.contains("frame-ancestors 'none'") && lower.contains("require-trusted-types-for 'script'"),
        "{text}"
    );
    assert!(
        !lower.contains("access-control-allow"),
        "no page of another origin may read it: {text}"
    );
    assert!(!lower.contains("set-cookie"));
    // A preflight is an ordinary request without a token.
    let preflight = "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
    assert_eq!(request(&desk, "OPTIONS /api/pause", preflight, "").0, 403);
}

#[test]
fn a_form_or_a_cookie_changes_nothing() {
    let desk = Desk::start("", |world| world);
    let body = json!({ "reason": "csrf" }).to_string();
    let length = body.len();
    for headers in [
        format!("Cookie: token={MONEY}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"),
        format!("X-Api-Key: {MONEY}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"),
    ] {
        assert_eq!(request(&desk, "POST /api/pause", &headers, &body).0, 401);
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ] {
        let headers =
            format!("Authorization: Bearer {MONEY}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
        assert_eq!(
            request(&desk, "POST /api/pause", &headers, &body).0,
            415,
            "{kind}"
        );
    }
    let query = format!("GET /api/overview?token={MONEY}&access_token={MONEY}");
    assert_eq!(request(&desk, &query, "", "").0, 401);
    let get = format!("Authorization: Bearer {MONEY}\r\n");
    assert_eq!(request(&desk, "GET /api/pause?reason=x", &get, "").0, 405);
    let hidden = format!("{get}X-HTTP-Method-Override: POST\r\n");
    assert_eq!(request(&desk, "GET /api/pause", &hidden, "").0, 405);
    assert_eq!(desk.overview()["pauses"], json!([]));
}

#[test]
fn a_path_that_is_spelled_in_another_way_opens_nothing() {
    let desk = Desk::start("", |world| world);
    for path in [
        "/api/overview",
        "/API/overview",
        "//api/overview",
        "/./api/overview",
        "/assets/../api/overview",
        "/assets/..%2fapi/overview",
        "/%61pi/overview",
        "/api/overview/",
        "/api;/overview",
        "/api/overview%00",
        "/assets/app.js/../../api/overview",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "/metrics",
        "/ready",
        "/assets/",
        "/index.html",
    ] {
        let (status, text) = request(&desk, &format!("GET {path}"), "", "");
        assert_eq!(status, 401, "{path}: {text}");
        assert!(!text.contains("root:") && !text.contains("\"networks\""));
    }
    let token = format!("Authorization: Bearer {VIEW}\r\n");
    let absolute = "GET http://evil.example/api/overview";
    let (status, text) = request(&desk, absolute, &token, "");
    assert!(status != 200 || !text.contains("evil"), "{text}");
    assert_eq!(request(&desk, "GET /", "", "").0, 200);
}

#[test]
fn smuggled_and_slow_requests_end() {
    let desk = Desk::start("", |world| world);
    let host = format!("Host: 127.0.0.1:{}\r\n", desk.port);
    let token = format!("Authorization: Bearer {MONEY}\r\n");
    let inner = format!(
        "POST /api/pause HTTP/1.1\r\n{host}{token}Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{{\"reason\":\"x\"}}"
    );
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length : 5\r\n",
    ] {
        // The outer request has no token: were its body read as a second request, that one would pause.
        let bytes = format!("POST /api/reload HTTP/1.1\r\n{host}{headers}\r\n0\r\n\r\n{inner}");
        let (_, text) = raw(desk.port, bytes.as_bytes());
        let answers = text.matches("HTTP/1.1 200").count();
        // A chunked body that ends is a whole request; what follows it is the client's own next request on its own connection.
        if !headers.starts_with("Transfer-Encoding: chunked") && !headers.contains("encoding: chunked") {
            assert_eq!(answers, 0, "{headers}: {text}");
        }
    }
    let large = format!(
        "Authorization: Bearer {MONEY}\r\nX-Filler: {}\r\n",
        "x".repeat(20_000)
    );
    assert!(matches!(
        request(&desk, "GET /api/overview", &large, "").0,
        431 | 400 | 0
    ));
    let body = format!("{{\"reason\":\"{}\"}}", "x".repeat(20_000));
    let headers = format!(
        "{token}Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    assert_eq!(request(&desk, "POST /api/pause", &headers, &body).0, 413);
    // A body that never comes ends after some seconds, and meanwhile others are served.
    let mut slow = TcpStream::connect(("127.0.0.1", desk.port)).expect("a connection");
    let head = format!(
        "POST /api/pause HTTP/1.1\r\n{host}{token}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).expect("sent");
    let _ = desk.overview();
    slow.set_read_timeout(Some(wait::LONG)).expect("a limit");
    let mut text = [0; 12];
    slow.read_exact(&mut text).expect("an answer");
    assert_eq!(&text, b"HTTP/1.1 408");
}

#[test]
fn guesses_are_slowed_down_and_do_not_lock_the_operator_out() {
    let desk = Desk::start("", |world| world);
    let statuses: Vec<u16> = (0..15)
        .map(|guess| desk.get("/api/overview", &format!("guess-{guess}")).status)
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 401).count(),
        10,
        "{statuses:?}"
    );
    let last = desk.get("/api/overview", "guess");
    assert_eq!(last.status, 429);
    assert!(last.header("retry-after").is_some());
    assert_eq!(desk.get("/api/overview", VIEW).status, 200);
    let log = desk.world.facilitator.log();
    assert!(!log.contains(VIEW) && !log.contains("guess-"), "{log}");
}

/// A client may hang up at any moment, for instance because its SSH connection breaks. What the log says was done is done.
#[test]
fn a_client_that_hangs_up_leaves_no_change_half_made() {
    let desk = Desk::start(&tenant("one", "key-one", ""), |world| world);
    for n in 0_u64..12 {
        let body = json!({ "name": format!("gone-{n}") }).to_string();
        let head = format!(
            "POST /api/tenants/add HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {MONEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            desk.port,
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", desk.port)).expect("a connection");
        stream.write_all(head.as_bytes()).expect("sent");
        std::thread::sleep(Duration::from_millis(n % 6 * 2));
    }
    // Not the start of another name.
    let is_in = |text: &str, name: &str| {
        let mut after = text.split(name).skip(1);
        after.any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    wait::until("each recorded tenant is there", wait::LONG, || {
        let log = desk.get("/api/log", VIEW).json;
        let tenants = desk.overview()["tenants"].to_string();
        let recorded: Vec<String> = (0..12)
            .map(|n| format!("gone-{n}"))
            .filter(|name| is_in(&log.to_string(), name))
            .collect();
        let are_there = recorded
            .iter()
            .all(|name| tenants.contains(&format!("\"{name}\"")));
        (!recorded.is_empty() && are_there).then_some(())
    });
}
