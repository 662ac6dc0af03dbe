//! What payments cost, the export for accounting.

use e2e::World;
use serde_json::Value;

/// What the sender of a transaction paid, by its receipt.
fn cost(world: &World, hash: &str) -> u128 {
    let receipt = world.chain.receipt(hash).expect("the node answers");
    let receipt = receipt.unwrap_or_else(|| panic!("no receipt of {hash}"));
    let quantity = |name: &str| {
        let text = receipt[name].as_str().unwrap_or_else(|| panic!("{receipt}"));
        u128::from_str_radix(text.trim_start_matches("0x"), 16).expect("a quantity")
    };
    quantity("gasUsed") * quantity("effectiveGasPrice")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}")))
        .collect()
}

fn paid(world: &World, buyer: usize) -> String {
    world.settle(&world.payment(buyer).v2()).paid()
}

/// While the process serves: the sum of the exported gas is what the signers spent.
#[test]
fn the_exported_gas_is_what_the_signers_spent() {
    let world = World::start();
    let signer = &world.chain.facilitators[0].address;
    let balance = || {
        let balance = world
            .chain
            .rpc()
            .call("eth_getBalance", serde_json::json!([signer, "latest"]));
        let balance = balance.expect("the node answers");
        let text = balance
            .as_str()
            .expect("a quantity")
            .trim_start_matches("0x")
            .to_owned();
        u128::from_str_radix(&text, 16).expect("a quantity")
    };
    let before = balance();
    let hashes = [paid(&world, 2), paid(&world, 3)];
    let spent = before - balance();
    let arguments = ["journal", "export", "--since", "1h"];
    let (status, out, err) = world.facilitator.command_status(&arguments);
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(
        err.contains("exported 2 payments and 0 other transactions"),
        "{err}"
    );
    assert!(
        err.contains(&format!(": {spent} native atomic units")),
        "{spent} in {err}"
    );
    let lines = lines(&out);
    let gas: Vec<u128> = lines
        .iter()
        .map(|line| {
            line["gasPaid"]
                .as_str()
                .expect("a fee")
                .parse()
                .expect("a number")
        })
        .collect();
    assert_eq!(gas.iter().sum::<u128>(), spent);
    for ((line, hash), gas) in lines.iter().zip(&hashes).zip(gas) {
        assert_eq!(
            (
                line["kind"].as_str(),
                line["outcome"].as_str(),
                line["transaction"].as_str()
            ),
            (Some("payment"), Some("settled"), Some(hash.as_str()))
        );
        assert_eq!(gas, cost(&world, hash));
        let merchant = world.chain.merchant.address.to_lowercase();
        assert_eq!(line["payee"].as_str().map(str::to_lowercase), Some(merchant));
        let (good, explained) = world.facilitator.command(&["explain", hash]);
        assert!(
            good && explained.contains(&format!("fee          {gas} native atomic units"))
                && explained.contains(&format!("{gas} native atomic units, node 127.0.0.1")),
            "{explained}"
        );
    }
    let file = world.facilitator.data_folder().join("export.csv");
    let path = file.to_str().expect("a path");
    let (good, text) = world
        .facilitator
        .command(&["journal", "export", "--csv", "--out", path]);
    assert!(good, "{text}");
    let csv = std::fs::read_to_string(&file).expect("written");
    assert!(
        csv.starts_with("kind,time,payment,payer,payee,") && csv.lines().count() == 3,
        "{csv}"
    );
    let (good, text) = world.facilitator.command(&["journal", "export", "--out", path]);
    assert!(!good && text.contains("name a new file"), "{text}");
}
