//! One network that answers nobody, and more callers than it may have: all other callers are served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use devnet::{Devnet, USDC};
use e2e::payment::PRICE;
use e2e::{Fault, Payment, World, wait};
use serde_json::Value;

const ELSEWHERE: &str = "eip155:8453";
/// More than the default of `max_concurrent_requests`.
const CALLERS: usize = 1_100;
const DEFAULT_PLACES: usize = 1_024;

/// A request that is on its way; nobody waits for its answer.
fn begin(world: &World, body: &Value) -> TcpStream {
    let address = world.facilitator.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).expect("connects");
    let body = body.to_string();
    let head = format!(
        "POST /settle HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("is written");
    stream.write_all(body.as_bytes()).expect("is written");
    stream
}

fn elsewhere(chain: &Devnet, buyer: usize) -> Value {
    let mut payment = Payment::new(&chain.buyers[buyer], &chain.merchant.address);
    payment.domain.chain_id = 8453;
    let mut body = payment.v2();
    for place in ["/paymentRequirements/network", "/paymentPayload/accepted/network"] {
        *body.pointer_mut(place).expect("there") = ELSEWHERE.into();
    }
    body
}

#[test]
fn t124_a_network_without_answers_delays_only_its_own_callers() {
    let other = Devnet::of_chain(8453).expect("the other chain starts");
    let world = World::builder()
        .more(&format!(
            "[limits]\naddress_burst = 100000\n\n[networks.{ELSEWHERE:?}]\nrpc = [{:?}]\nsigners = [\"signer0\"]\nmax_cost = \"10000000000000000\"\n\
             poll_interval_ms = 50\nassets = [{USDC:?}]\n",
            other.url()
        ))
        .start();
    world.proxy.on("*", Fault::HoldAnswer);
    let mut streams: Vec<TcpStream> = (0..CALLERS)
        .map(|at| begin(&world, &world.payment(2 + at % 4).v2()))
        .collect();
    wait::until("the surplus to be answered", wait::LONG, || {
        let surplus = streams.iter().filter(|stream| answered(stream)).count();
        (surplus >= CALLERS - DEFAULT_PLACES).then_some(())
    });
    // The silent network's callers are still inside, and all other callers are served.
    world.facilitator.verify(&elsewhere(&other, 2)).valid();
    let _ = world.facilitator.settle(&elsewhere(&other, 3)).paid();
    assert_eq!(world.facilitator.get("/supported").status, 200);
    assert_eq!(world.facilitator.get("/ready").status, 200);
    let earned = other.balance_of(USDC, &other.merchant.address);
    assert_eq!(earned.expect("the node answers"), PRICE);
    // Each caller is answered that its payment was not started, and when to retry.
    for stream in &mut streams {
        stream.set_read_timeout(Some(wait::LONG)).expect("set");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
        assert!(text.contains("retry-after: "), "{text}");
    }
    world.proxy.heal();
    let body = world.payment(2).v2();
    wait::until("the silent network is back", wait::LONG, || {
        world.settle(&body).is_success().then_some(())
    });
    assert_eq!((world.sent(), world.earned()), (1, PRICE));
}

/// Whether bytes of the answer are there.
fn answered(stream: &TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(1)))
        .expect("set");
    matches!(stream.peek(&mut [0]), Ok(1))
}
