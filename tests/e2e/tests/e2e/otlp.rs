//! Spans and metrics that a collector receives: OTLP over HTTP, decoded with the types of the crate `opentelemetry-proto`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use devnet::{Devnet, Mining, Options};
use e2e::http::Client;
use e2e::payment::PRICE;
use e2e::{Facilitator, Payment, Settings, World, wait};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SECRET: &str = "c0llector-s3cret";

/// One request: its path, its headers in lower case, its body.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    head: String,
    body: Vec<u8>,
}

/// A collector that takes everything, or a node that relays everything.
struct Collector {
    address: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Collector {
    fn start() -> Collector {
        Collector::serving(None)
    }

    fn relaying_to(node: &str) -> Collector {
        Collector::serving(Some(node.to_owned()))
    }

    fn serving(node: Option<String>) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (into, node) = (Arc::clone(&into), node.clone());
                thread::spawn(move || serve(&stream, &into, node.as_deref()));
            }
        });
        Collector { address, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic").clone()
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.received().into_iter().filter(|one| one.path == "/v1/traces");
        let decoded = requests.map(|one| {
            ExportTraceServiceRequest::decode(one.body.as_slice()).expect("a trace request of OTLP")
        });
        let resources = decoded.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    fn wait_for(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        wait::until(what, wait::LONG, || self.spans().into_iter().find(&is_it))
    }
}

fn serve(stream: &TcpStream, into: &Mutex<Vec<Received>>, node: Option<&str>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            let line = line.to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            head += &line;
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let sent = body.clone();
        into.lock().expect("no panic").push(Received { path, head, body });
        let answer = match node {
            Some(node) => node_reply(node, &sent),
            None => String::new(),
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if (&*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn node_reply(node: &str, body: &[u8]) -> String {
    let client = Client::new(node);
    client
        .post("", body, &[])
        .map_or_else(|_| String::new(), |reply| reply.text)
}

fn settings(collector: &str, more: &str) -> String {
    format!(
        "[telemetry]\notlp_endpoint = {collector:?}\notlp_headers = \"api-key={SECRET}\"\nservice_name = \"pay\"\n\
         metrics_interval_seconds = 1\n{more}"
    )
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

fn of_caller(span: &Span) -> bool {
    hex::encode(&span.trace_id) == "4bf92f3577b34da6a3ce929d0e0e4736"
}

#[test]
fn one_trace_leads_from_the_request_over_plugin_and_node_to_the_hash() {
    let collector = Collector::start();
    let world = World::builder().more(&settings(&collector.address, "")).start();
    let body = world.payment(2).v2();
    let reply =
        world
            .facilitator
            .client()
            .post("/settle", body.to_string().as_bytes(), &[("traceparent", CALLER)]);
    let hash = reply.expect("an answer").paid();
    let in_trace = |name: &'static str| collector.wait_for(name, |span| of_caller(span) && span.name == name);
    let root = in_trace("POST /settle");
    assert_eq!(hex::encode(&root.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(root.kind, SpanKind::Server as i32);
    assert_eq!(text(&root.attributes, "http.route"), "/settle");
    assert_eq!(text(&root.attributes, "http.request.method"), "POST");
    let verify = in_trace("x402.plan");
    assert_eq!(verify.parent_span_id, root.span_id);
    assert_eq!(text(&verify.attributes, "switchyard.scheme"), "exact");
    let build = in_trace("chain.build");
    assert_eq!(build.parent_span_id, root.span_id);
    let broadcast = in_trace("chain.broadcast");
    assert_eq!(text(&broadcast.attributes, "switchyard.transaction.id"), hash);
    // The round trip is a part of the operation that needs it.
    let send = in_trace("eth_sendRawTransaction");
    assert_eq!(send.parent_span_id, broadcast.span_id);
    assert_eq!(send.kind, SpanKind::Client as i32);
    assert_eq!(text(&send.attributes, "server.address"), "127.0.0.1");
    assert!(send.start_time_unix_nano >= broadcast.start_time_unix_nano);
    let settlement = in_trace("settlement");
    assert_eq!(text(&settlement.attributes, "switchyard.transaction.id"), hash);
    assert_eq!(
        text(&settlement.attributes, "switchyard.settlement.outcome"),
        "paid"
    );
    // A trace of its own for a request without one, and none for a caller that does not want one.
    world.verify(&world.payment(3).v2()).valid();
    let own = collector.wait_for("a verify", |span| span.name == "POST /verify");
    assert!(!of_caller(&own) && own.parent_span_id.is_empty());
}

#[test]
fn spans_after_the_caller_has_hung_up_belong_to_its_trace() {
    let collector = Collector::start();
    let world = World::builder()
        .server("settle_wait_seconds = 1")
        .mining(Mining::Manual)
        .more(&settings(&collector.address, ""))
        .start();
    let body = world.payment(2).v2();
    let reply =
        world
            .facilitator
            .client()
            .post("/settle", body.to_string().as_bytes(), &[("traceparent", CALLER)]);
    let hash = reply.expect("an answer").pending();
    let root = collector.wait_for("the request", |span| span.name == "POST /settle");
    world.chain.mine(3).expect("mines");
    let settlement = collector.wait_for("the settlement", |span| span.name == "settlement");
    assert!(of_caller(&settlement));
    assert_eq!(settlement.parent_span_id, root.span_id);
    assert_eq!(text(&settlement.attributes, "switchyard.transaction.id"), hash);
    assert!(settlement.end_time_unix_nano > root.end_time_unix_nano);
    collector.wait_for("a poll", |span| {
        of_caller(span) && span.name == "chain.observe" && span.end_time_unix_nano > root.end_time_unix_nano
    });
}

#[test]
fn metrics_arrive_with_the_values_that_are_scraped_and_nothing_secret_does() {
    let collector = Collector::start();
    let world = World::builder().more(&settings(&collector.address, "")).start();
    let payment = world.payment(2);
    let body = payment.v2();
    let _ = world.settle(&body).paid();
    let paid = wait::until("the payment in the metrics", wait::LONG, || {
        let last = collector
            .received()
            .into_iter()
            .rfind(|one| one.path == "/v1/metrics")?;
        let request =
            ExportMetricsServiceRequest::decode(last.body.as_slice()).expect("a metrics request of OTLP");
        let resource = request.resource_metrics.first()?.clone();
        let service = resource.resource.clone().expect("a resource");
        assert_eq!(text(&service.attributes, "service.name"), "pay");
        let mut metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        let settlements = metrics.find(|metric| metric.name == "switchyard_settlements_total")?;
        let Some(Data::Sum(sum)) = settlements.data else {
            panic!("a counter is a sum")
        };
        assert!(sum.is_monotonic);
        sum.data_points.into_iter().find(|point| {
            let is_one = point.value == Some(number_data_point::Value::AsDouble(1.0));
            text(&point.attributes, "outcome") == "paid" && is_one
        })
    });
    assert_eq!(text(&paid.attributes, "scheme"), "exact");
    assert!(paid.start_time_unix_nano < paid.time_unix_nano);
    collector.wait_for("the broadcast", |span| span.name == "chain.broadcast");
    // The collector knows the key by which it lets us in. Nothing else does.
    let received = collector.received();
    assert!(
        received
            .iter()
            .all(|one| one.head.contains(&format!("api-key: {SECRET}")))
    );
    assert!(
        received
            .iter()
            .all(|one| one.head.contains("content-type: application/x-protobuf"))
    );
    let signer = world.chain.facilitators[0]
        .key
        .trim_start_matches("0x")
        .to_lowercase();
    let signature = hex::encode(payment.signature());
    let nonce = payment.nonce().trim_start_matches("0x").to_owned();
    for one in &received {
        let sent = String::from_utf8_lossy(&one.body).to_lowercase();
        for (what, secret) in [
            ("the signer's key", &signer),
            ("the payer's signature", &signature),
            ("the authorization's nonce", &nonce),
            ("a node's URL", &world.proxy.url()),
            ("the collector's key", &SECRET.to_owned()),
        ] {
            assert!(!sent.contains(secret.as_str()), "{what} was sent to {}", one.path);
        }
    }
    assert!(!world.facilitator.log().contains(SECRET));
}

/// The time that some payments take, one after another.
fn time_of(world: &World, buyers: std::ops::Range<usize>) -> Duration {
    let started = Instant::now();
    for buyer in buyers {
        let body = world.payment(buyer).v2();
        world.verify(&body).valid();
        let _ = world.settle(&body).paid();
    }
    started.elapsed()
}

#[test]
fn a_collector_that_hangs_or_refuses_slows_no_payment() {
    let without = time_of(&World::builder().buyers(8).start(), 2..8);
    // Connections are accepted by the kernel, and nobody ever reads from them.
    let hangs = TcpListener::bind("127.0.0.1:0").expect("a port");
    let refuses = e2e::facilitator::free_port().expect("a port");
    for endpoint in [
        format!("http://{}", hangs.local_addr().expect("an address")),
        format!("http://127.0.0.1:{refuses}"),
    ] {
        let world = World::builder().buyers(8).more(&settings(&endpoint, "")).start();
        let with = time_of(&world, 2..8);
        assert!(
            with < without * 2 + Duration::from_secs(2),
            "{endpoint}: {with:?} with it, {without:?} without"
        );
        assert_eq!(world.earned(), 6 * PRICE);
    }
    drop(hangs);
}

#[test]
fn a_collector_that_is_away_is_logged_once_and_its_spans_are_counted() {
    let refuses = e2e::facilitator::free_port().expect("a port");
    let world = World::builder()
        .more(&settings(&format!("http://127.0.0.1:{refuses}"), ""))
        .start();
    let _ = world.settle(&world.payment(2).v2()).paid();
    wait::until("dropped spans", wait::LONG, || {
        let text = world.facilitator.get("/metrics").text;
        let dropped = "switchyard_otlp_dropped_total{signal=\"spans\"} ";
        let count = text.lines().find_map(|line| line.strip_prefix(dropped))?;
        (count.parse::<u64>().expect("a count") > 0).then_some(())
    });
    let _ = world.settle(&world.payment(3).v2()).paid();
    thread::sleep(Duration::from_secs(5));
    let log = world.facilitator.log();
    assert_eq!(log.matches("otlp_export_failed").count(), 1, "{log}");
}

#[test]
fn nodes_get_the_trace_only_where_that_is_configured() {
    let collector = Collector::start();
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let signer = chain.facilitators[0].clone();
    let has_trace = |more: &str, buyer: usize| {
        let node = Collector::relaying_to(chain.url());
        let settings = Settings {
            more: settings(&collector.address, more),
            ..Settings::new(&node.address, std::slice::from_ref(&signer))
        };
        let facilitator = Facilitator::start(&settings).expect("starts");
        let body = Payment::new(&chain.buyers[buyer], &chain.merchant.address).v2();
        let headers = [("traceparent", CALLER)];
        let reply = facilitator
            .client()
            .post("/settle", body.to_string().as_bytes(), &headers);
        let _ = reply.expect("an answer").paid();
        let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-";
        node.received().iter().any(|one| one.head.contains(trace))
    };
    assert!(!has_trace("", 2));
    assert!(has_trace("traceparent_to_nodes = true", 3));
}

#[test]
fn t105_no_key_and_no_signature_of_a_payer_reaches_a_collector_or_metrics() {
    let collector = Collector::start();
    let more = settings(&collector.address, "") + "[log]\nlevel = \"trace\"\n";
    let world = World::builder().more(&more).start();
    let payment = world.payment(2);
    let _hash = world.settle(&payment.v2()).paid();
    // Errors have texts, too.
    let mut spoiled = world.payment(3).v2();
    spoiled["paymentPayload"]["payload"]["signature"] = "0x12".into();
    let _ = world.verify(&spoiled);
    collector.wait_for("the settlement", |span| span.name == "settlement");
    wait::until("metrics", wait::LONG, || {
        let received = collector.received();
        received.iter().any(|one| one.path == "/v1/metrics").then_some(())
    });
    let mut secrets = crate::secrets::keys(&world.chain.facilitators);
    secrets.extend(crate::secrets::keys(&world.chain.buyers));
    secrets.extend(crate::secrets::spellings(&payment.signature()));
    secrets.push(SECRET.as_bytes().to_vec());
    let received = collector.received();
    assert!(received.len() > 2, "spans and metrics came");
    for one in received {
        crate::secrets::assert_without(&one.path, &one.body, &secrets);
    }
    let metrics = world.facilitator.get("/metrics").text;
    crate::secrets::assert_without("/metrics", metrics.as_bytes(), &secrets);
    crate::secrets::assert_without("the log", world.facilitator.log().as_bytes(), &secrets);
}
