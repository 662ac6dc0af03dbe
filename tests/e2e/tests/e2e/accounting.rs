//! What payments cost, the export for accounting, and the comparison of journal and chain.

use devnet::Mining;
use e2e::{Fault, SolanaWorld, World, wait};
use serde_json::Value;

/// What the sender of a transaction paid, by its receipt.
pub(crate) fn cost(world: &World, hash: &str) -> u128 {
    let receipt = world.chain.receipt(hash).expect("the node answers");
    let receipt = receipt.unwrap_or_else(|| panic!("no receipt of {hash}"));
    let quantity = |name: &str| {
        let text = receipt[name].as_str().unwrap_or_else(|| panic!("{receipt}"));
        u128::from_str_radix(text.trim_start_matches("0x"), 16).expect("a quantity")
    };
    quantity("gasUsed") * quantity("effectiveGasPrice")
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}")))
        .collect()
}

/// Exit status, differences by kind and transaction, and the summary.
fn reconciled(world: &World) -> (Option<i32>, Vec<(String, String)>, Value) {
    let arguments = ["reconcile", "--since", "1h", "--json"];
    let (status, out, err) = world.facilitator.command_status(&arguments);
    let mut lines = lines(&out);
    let summary = lines.pop().unwrap_or_else(|| panic!("{out}{err}"));
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let differences = lines.iter().filter(|line| line.get("difference").is_some());
    let differences = differences.map(|line| (text(line, "difference"), text(line, "transaction")));
    (status, differences.collect(), summary["summary"].clone())
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

/// Payments are taken away while the process is down, rows are edited, and the signer is used elsewhere.
#[test]
fn a_comparison_finds_what_the_journal_and_the_chain_do_not_agree_on() {
    let mut world = World::start();
    let signer = world.chain.facilitators[0].address.clone();
    let (first, second) = (paid(&world, 2), paid(&world, 3));
    let (status, differences, summary) = reconciled(&world);
    assert_eq!((status, differences), (Some(0), vec![]), "{summary}");
    assert_eq!(
        (&summary["payments"], &summary["agreeing"]),
        (&2.into(), &2.into())
    );

    // A node that is down shows nothing, and that is no difference.
    world.proxy.on("eth_getTransactionReceipt", Fault::Status(503));
    let (status, differences, summary) = reconciled(&world);
    assert_eq!((status, differences), (Some(2), vec![]), "{summary}");
    assert_ne!(summary["unread"], 0, "{summary}");
    world.proxy.heal();

    world.facilitator.kill();
    let absent = || ("absent".to_owned(), second.clone());
    world.chain.reorg(1).expect("the newest block is replaced");
    let (status, differences, summary) = reconciled(&world);
    assert_eq!((status, differences), (Some(1), vec![absent()]), "{summary}");
    let (status, text, _) = world.facilitator.command_status(&["reconcile", "--since", "1h"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("journal: the payment is settled") && text.contains("has not used nonce 1"),
        "{text}"
    );
    // The payments of yesterday.
    let (status, text, _) = world.facilitator.command_status(&["reconcile"]);
    assert!(
        status == Some(0) && text.contains("0 payments opened from"),
        "{text}"
    );

    // Others use the signer's key: once in the payment's own slot, and once more.
    world.chain.set_mining(Mining::Auto).expect("set");
    let own = |world: &World| {
        world
            .chain
            .send(&signer, &world.chain.merchant.address, "0x")
            .expect("sent")
    };
    own(&world);
    let (status, differences, summary) = reconciled(&world);
    assert_eq!((status, differences), (Some(1), vec![absent()]), "{summary}");
    own(&world);
    let (status, differences, summary) = reconciled(&world);
    let unknown = ("unknownTransaction".to_owned(), String::new());
    assert_eq!(
        (status, differences),
        (Some(1), vec![unknown.clone(), absent()]),
        "{summary}"
    );

    // A row that says another fee.
    let fee = cost(&world, &first);
    let folder = world.facilitator.data_folder();
    let edited = journal::sqlite::edit(folder.as_ref(), journal::Table::Settlements, |row| {
        let other = row.replace(&format!("\"fee\":\"{fee}\""), "\"fee\":\"1\"");
        row.contains(&first).then_some(other)
    });
    assert_eq!(edited, Ok(1));
    let (status, differences, summary) = reconciled(&world);
    let other_fee = ("fee".to_owned(), first.clone());
    assert_eq!(
        (status, differences),
        (Some(1), vec![unknown, other_fee, absent()]),
        "{summary}"
    );
    // Without a journal nothing can be compared.
    let journal = folder.join("journal.sqlite");
    wait::until("the folder is free", wait::LONG, || {
        std::fs::rename(&journal, journal.with_extension("gone")).ok()
    });
    let (status, _, error) = world.facilitator.command_status(&["reconcile"]);
    assert!(
        status == Some(2) && error.contains("there is no journal"),
        "{error}"
    );
}

#[test]
fn on_solana_the_fee_is_what_the_fee_payer_paid() {
    let world = SolanaWorld::start();
    let before = world.lamports();
    let hash = world.settle(&world.official(0, "fee")).paid();
    let spent = before - world.lamports();
    assert!(spent > 0);
    let (status, out, err) = world.facilitator.command_status(&["journal", "export"]);
    assert_eq!(status, Some(0), "{err}");
    let lines = lines(&out);
    let [line] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(
        (line["transaction"].as_str(), line["gasPaid"].as_str()),
        (Some(hash.as_str()), Some(spent.to_string().as_str()))
    );
    let (status, out, err) = world.facilitator.command_status(&["reconcile", "--since", "1h"]);
    assert!(
        status == Some(0) && out.contains("1 transactions agree, 0 differences"),
        "{out}{err}"
    );
}
