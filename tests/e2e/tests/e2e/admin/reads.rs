//! What is shown.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use devnet::Mining;
use e2e::payment::{NETWORK, PRICE};
use e2e::proxy::Fault;
use e2e::{World, wait};
use serde_json::{Value, json};

use super::{Desk, MONEY, VIEW, config};

fn problems(overview: &Value) -> Vec<String> {
    let problems = overview["problems"].as_array().expect("problems");
    let sentence =
        |problem: &Value| format!("{} {} {}", problem["network"], problem["about"], problem["what"]);
    problems.iter().map(sentence).collect()
}

#[test]
fn the_overview_names_what_is_there_and_its_sums_are_the_journals() {
    let desk = Desk::start("", |world| world.buyers(5));
    let overview = desk.overview();
    assert_eq!(overview["role"], "view");
    let network = &overview["networks"][0];
    assert_eq!(
        (&network["id"], &network["title"]),
        (&json!(NETWORK), &json!("Base Sepolia"))
    );
    assert_eq!(network["ready"], true);
    assert!(network["explorer"].as_str().expect("a template").contains("{}"));
    assert_eq!(network["signers"][0]["state"], "active");
    assert_eq!(network["signers"][0]["canPay"], true);
    assert_eq!(overview["plugins"][0]["running"], true);
    assert_eq!(overview["plugins"][0]["generation"], 1);
    assert_eq!(overview["journal"]["kind"], "sqlite");

    let paid: Vec<String> = (2..5)
        .map(|buyer| desk.world.settle(&desk.world.payment(buyer).v2()).paid())
        .collect();
    let is_summed = || {
        let totals = &desk.overview()["totals"];
        (totals["settled"] == 3).then(|| totals.clone())
    };
    let totals = wait::until("three payments in the sums", wait::LONG, is_summed);
    assert_eq!(totals["complete"], true);
    assert_eq!(totals["volume"][0]["amount"], (PRICE * 3).to_string());
    assert_eq!(totals["volume"][0]["payments"], 3);
    let earned = desk.world.earned();
    assert_eq!(
        totals["volume"][0]["amount"],
        earned.to_string(),
        "the chain says the same"
    );

    let overview = desk.overview();
    assert!(
        overview["networks"][0]["blockHeight"].as_u64() > Some(0),
        "{overview}"
    );
    assert!(overview["journal"]["bytes"].as_u64() > Some(0));
    assert!(overview["journal"]["diskFree"].as_u64() <= overview["journal"]["diskTotal"].as_u64());

    let listed = desk.get("/api/payments?limit=2", VIEW).json;
    assert_eq!(listed["payments"].as_array().expect("payments").len(), 2);
    assert_eq!(listed["payments"][0]["transaction"], paid[2]);
    let cursor = listed["cursor"].as_str().expect("there is more");
    let rest = desk
        .get(
            &format!("/api/payments?limit=2&cursor={}", cursor.replace('|', "%7C")),
            VIEW,
        )
        .json;
    assert_eq!(rest["payments"][0]["transaction"], paid[0]);
    let one = desk.get(&format!("/api/payments/{}", paid[1]), VIEW).json;
    let history = one["payments"][0]["history"].as_array().expect("a history");
    let events: Vec<&str> = history
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert!(
        events.starts_with(&["opened", "prepared"]) && events.contains(&"released"),
        "{events:?}"
    );
    let series = desk.get("/api/series", VIEW).json;
    let settled = series["networks"][0]["settled"].as_array().expect("steps");
    assert_eq!(settled.len(), 360);
    assert_eq!(settled.iter().filter_map(Value::as_u64).sum::<u64>(), 3);
    assert_eq!(desk.get("/api/payments/0xabc", VIEW).status, 404);
    for wrong in ["status=paid", "cursor=x", "limit=x", "colour=red"] {
        let reply = desk.get(&format!("/api/payments?{wrong}"), VIEW);
        assert_eq!(reply.status, 400, "{wrong}: {reply:?}");
        assert!(!reply.field("error").is_empty());
    }
}

#[test]
fn what_is_wrong_is_named_with_its_network_before_it_hurts() {
    let desk = Desk::start("", |world| {
        world
            .two_nodes()
            .signers(2)
            .network("max_cost_per_day = \"20000000000000000\"")
    });
    // A dead node, and a signer without gas.
    desk.world.second.on("*", Fault::Refuse);
    let empty = desk.signers()[1]["address"]
        .as_str()
        .expect("an address")
        .to_owned();
    desk.world.chain.set_wei(&empty, 5).expect("a balance");
    let found = wait::until("both are named", wait::LONG, || {
        let overview = desk.overview();
        let found = problems(&overview);
        let has = |about: &str| {
            found
                .iter()
                .any(|line| line.contains(about) && line.contains(NETWORK))
        };
        (has("node ") && has(&format!("signer {empty}"))).then_some(found)
    });
    let budget = &desk.overview()["networks"][0]["budget"];
    assert_eq!(budget["limit"], "20000000000000000");
    let of_signer = found
        .iter()
        .find(|line| line.contains("signer"))
        .expect("a sentence");
    assert!(of_signer.contains("0.000000000000000005 ETH"), "{of_signer}");
    assert!(of_signer.contains("send it native currency"), "{of_signer}");
    let text = desk.get("/api/overview", VIEW).text;
    assert!(!text.contains("http://127.0.0.1"), "no node's URL: {text}");
}

#[test]
fn the_stream_sends_the_overview_again_and_again() {
    let desk = Desk::start("", |world| world);
    let mut stream = TcpStream::connect(("127.0.0.1", desk.port)).expect("a connection");
    let request = format!(
        "GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {MONEY}\r\n\r\n",
        desk.port
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let overviews: Vec<Value> = lines
        .filter(|line| line.starts_with('{'))
        .take(2)
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect();
    assert_eq!(overviews.len(), 2);
    assert_eq!(overviews[0]["role"], "money");
    assert!(overviews[0]["atMs"].as_u64() < overviews[1]["atMs"].as_u64());
}

#[test]
fn a_socket_serves_the_same_and_only_its_owner_may_use_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::builder()
        .mining(Mining::Auto)
        .more(&config("unix:data/desk.sock"))
        .start();
    let path = world.facilitator.data_folder().join("desk.sock");
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("a connection");
    let request = format!(
        "GET /api/overview HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {VIEW}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let text = std::io::read_to_string(stream).expect("an answer");
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("\"networks\""),
        "{text}"
    );
}
