//! What an operator sees and sets where several nodes share a PostgreSQL database.

use devnet::Mining;
use e2e::facilitator::Facilitator;
use e2e::payment::PRICE;
use e2e::{World, wait};
use serde_json::Value;

const NETWORK: &str = "eip155:84532";
const SECRET: &str = "our key has leaked";

fn world() -> World {
    let database = pg::server().database();
    World::builder()
        .mining(Mining::Auto)
        .more(&format!("[journal]\npostgres = {database:?}\nnode = \"west.1\""))
        .start()
}

fn kinds(node: &Facilitator) -> usize {
    let supported = node.get("/supported");
    supported.json["kinds"].as_array().expect("kinds").len()
}

#[track_caller]
fn done(node: &Facilitator, arguments: &[&str]) -> String {
    let (status, out, err) = node.command_status(arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {out}{err}");
    out
}

#[test]
fn every_command_reads_the_journal_of_all_nodes() {
    let world = world();
    let second = world.another();
    let mut hashes = Vec::new();
    for (node, buyer) in [(&world.facilitator, 2), (&second, 3)] {
        hashes.push(node.settle(&world.payment(buyer).v2()).paid());
    }
    for node in [&world.facilitator, &second] {
        let listed = done(node, &["payments", "--json"]);
        for hash in &hashes {
            assert!(listed.contains(hash.as_str()), "{hash} in {listed}");
            let explained = done(node, &["explain", hash]);
            assert!(
                explained.contains("status       settled") && explained.contains("  paid "),
                "{explained}"
            );
        }
        let exported = done(node, &["journal", "export", "--since", "1h"]);
        let lines: Vec<Value> = exported
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let paid = lines.iter().filter(|line| line["amount"] == PRICE.to_string());
        assert_eq!(paid.count(), 2, "{exported}");
        assert_eq!(done(node, &["releases"]), "no release is withheld\n");
        let stats = done(node, &["journal", "stats"]);
        let settlements = stats.lines().find(|line| line.starts_with("settlements "));
        assert!(settlements.expect("a line").ends_with(" 2 rows"), "{stats}");
        let verified = done(node, &["journal", "verify"]);
        assert!(verified.contains("of 2 processes"), "{verified}");
        let (status, out, err) = node.command_status(&["reconcile", "--since", "1h", "--json"]);
        assert_eq!(status, Some(0), "{out}{err}");
        assert!(out.contains("\"payments\":2"), "{out}");
    }
    let log = world.facilitator.log();
    assert!(log.contains("journal_opened") && log.contains("west.1-"), "{log}");
    for text in [log, second.log()] {
        assert!(!text.contains(pg::PASSWORD), "the password is in a log");
    }
}

#[test]
fn t107_a_pause_on_one_node_stops_every_node() {
    let world = world();
    let mut second = world.another();
    let nodes = [&world.facilitator, &second];
    let output = done(nodes[0], &["pause", "--network", NETWORK, "--reason", SECRET]);
    assert!(output.contains(NETWORK), "{output}");
    for node in nodes {
        wait::until("the pause is noticed", wait::LONG, || {
            (kinds(node) == 0).then_some(())
        });
    }
    let body = world.payment(2).v2();
    world.untouched(|| {
        for node in nodes {
            let reply = node.settle(&body);
            assert_eq!(reply.status, 503, "{reply:?}");
            assert!(!reply.text.contains(SECRET), "{reply:?}");
        }
    });
    assert!(nodes[1].log().contains("PAUSED"));
    let output = done(nodes[1], &["paused"]);
    assert!(output.contains(SECRET), "{output}");
    second.kill();
    second.restart();
    assert_eq!(kinds(&second), 0, "a start reads it before the port opens");
    done(&second, &["resume"]);
    for node in [&world.facilitator, &second] {
        wait::until("the end of the pause is noticed", wait::LONG, || {
            (kinds(node) > 0).then_some(())
        });
    }
    let _ = second.settle(&body).paid();
    assert_eq!((world.sent(), world.transfers(), world.earned()), (1, 1, PRICE));
}
