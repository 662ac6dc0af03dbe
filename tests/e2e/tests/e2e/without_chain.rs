//! A network without a chain: its scheme keeps the accounts itself, so that it needs no node, no key and no cost.

use devnet::{Account, FACILITATOR};
use e2e::compiled::Compiled;
use e2e::{Facilitator, Settings};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const NETWORK: &str = "ledger:shop";
const CODE: &str = "7Q2M-9XKD";

fn sha256_of(code: &str) -> String {
    hex::encode(Sha256::digest(code.as_bytes()))
}

fn example() -> Compiled {
    Compiled::build(
        &[
            "plugins/example-c/voucher.c",
            "plugins/example-c/json.c",
            "plugins/example-c/sha256.c",
        ],
        &["-O2", "-fvisibility=hidden"],
    )
}

/// Only the scheme `voucher` of the example in C, with two codes.
fn facilitator(plugin: &Compiled) -> Facilitator {
    let voucher = |code: &str| {
        format!(
            "{{ sha256 = \"{}\", network = \"{NETWORK}\", asset = \"credit\", amount = \"10000\", payTo = \"shop\", \
             expiresAtS = 4000000000 }}",
            sha256_of(code)
        )
    };
    let more = format!(
        "[networks.{NETWORK:?}]\nchain = false\nassets = [\"credit\"]\n\n[plugin.voucher]\n{}\nconfig.vouchers = [{}, {}]\n",
        plugin.pinned(),
        voucher(CODE),
        voucher("second")
    );
    let settings = Settings {
        rpc: Vec::new(),
        more,
        ..Settings::new("", &[])
    };
    Facilitator::start(&settings).expect("it starts")
}

fn payment(code: &str) -> Value {
    let terms = json!({
        "scheme": "voucher", "network": NETWORK, "amount": "10000", "asset": "credit", "payTo": "shop",
        "maxTimeoutSeconds": 60, "extra": {}
    });
    json!({
        "x402Version": 2,
        "paymentPayload": { "x402Version": 2, "accepted": terms, "payload": { "code": code } },
        "paymentRequirements": terms
    })
}

fn settled(facilitator: &Facilitator, code: &str) -> (bool, String) {
    let reply = facilitator.settle(&payment(code));
    assert_eq!(reply.status, 200, "{}", reply.text);
    (reply.is_success(), reply.field("errorReason").to_owned())
}

#[test]
fn a_network_without_a_chain_needs_no_node_and_no_key() {
    let plugin = example();
    let mut facilitator = facilitator(&plugin);
    let (is_good, printed) = facilitator.command(&["check", "--ask"]);
    assert!(is_good && printed.contains("no chain"), "{printed}");
    let supported = facilitator.get("/supported").json;
    assert_eq!(supported["kinds"][0]["network"], NETWORK, "{supported}");
    assert_eq!(
        supported["kinds"].as_array().map(Vec::len),
        Some(1),
        "{supported}"
    );
    assert_eq!(supported["signers"], json!({ "ledger:*": [] }), "{supported}");

    let body = payment(CODE);
    assert_eq!(facilitator.verify(&body).json["isValid"], true);
    assert_eq!(settled(&facilitator, CODE), (true, String::new()));
    let again = facilitator.verify(&body);
    assert_eq!(
        (&again.json["isValid"], again.field("invalidReason")),
        (&json!(false), "invalid_voucher_already_redeemed"),
        "{}",
        again.text
    );
    assert_eq!(
        settled(&facilitator, CODE),
        (false, crate::reason::DUPLICATE.to_owned())
    );

    let log = facilitator.log();
    let paid = log.lines().filter(|line| line.contains("record: paid")).count();
    assert_eq!(paid, 1, "{log}");
    let metrics = facilitator.get("/metrics").text;
    let counted =
        "switchyard_settlements_total{network=\"ledger:shop\",outcome=\"paid\",scheme=\"voucher\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    facilitator.kill();
    facilitator.restart();
    assert_eq!(
        settled(&facilitator, CODE),
        (false, crate::reason::DUPLICATE.to_owned())
    );
    assert_eq!(settled(&facilitator, "second"), (true, String::new()));
    let (is_good, printed) = facilitator.command(&["payments"]);
    assert!(is_good && printed.matches(NETWORK).count() >= 2, "{printed}");
}

#[test]
fn a_network_without_a_chain_has_a_scheme_and_no_driver() {
    let plugin = example();
    let voucher = format!("[plugin.voucher]\n{}\nconfig.vouchers = []\n", plugin.pinned());
    let own = Settings::new("http://127.0.0.1:9", &[Account::from(FACILITATOR)]);
    let without_nodes = Settings {
        rpc: Vec::new(),
        ..own.clone()
    };
    for (settings, more, refused) in [
        (
            &without_nodes,
            format!("[networks.\"ledgers:shop\"]\nchain = false\n{voucher}"),
            "no configured plugin has a scheme for ledgers networks",
        ),
        (
            &without_nodes,
            format!("[networks.\"ledger:shop\"]\n{voucher}"),
            "is missing; write rpc = …",
        ),
        (
            &own,
            "[networks.\"eip155:1\"]\nchain = false\n".to_owned(),
            "is false, and plugin.evm has a driver for this chain",
        ),
        (
            &own,
            format!("[networks.\"ledger:shop\"]\nchain = false\n{voucher}authorizers = {{ signer0 = [] }}\n"),
            "is a signer of eip155:84532 too; give each use a key of its own",
        ),
    ] {
        let settings = Settings {
            more,
            ..settings.clone()
        };
        let (status, log) = Facilitator::run_to_end(&settings).expect("it ends");
        assert!(!status.success() && log.contains(refused), "{refused}:\n{log}");
    }
}
