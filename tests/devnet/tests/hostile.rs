//! The hostile tokens do what their names promise: the transaction succeeds, and only an exact reader of logs (or balances)
//! sees that the payee was not paid what was signed.

mod common;

use common::{Authorization, PAYEE, logs_of, succeeded};
use devnet::{Devnet, FEE_TOKEN, LYING_TOKEN, Options};

fn transfer_logs(chain: &Devnet, receipt: &serde_json::Value) -> Vec<(String, String, u128)> {
    let topic = &chain.artifact("DollarToken").expect("artefact").events["Transfer(address,address,uint256)"];
    let units = |data: &str| u128::from_str_radix(&data[34..], 16).expect("a number");
    let logs = logs_of(receipt)
        .into_iter()
        .filter(|(_, topics, _)| topics[0] == *topic);
    logs.map(|(emitter, topics, data)| (emitter, topics[2].clone(), units(&data)))
        .collect()
}

fn payee_topic() -> String {
    format!("0x{:0>64}", PAYEE.trim_start_matches("0x"))
}

#[test]
fn the_fee_token_pays_one_percent_less_than_signed() {
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let payer = &chain.buyers[1];
    let payment = Authorization::of(FEE_TOKEN, ("Fee Dollar", "1"), &payer.address, 1);
    let data = payment.calldata_vrs(&chain, &payment.sign(&chain, payer));
    let receipt = chain
        .send(&chain.facilitators[0].address, FEE_TOKEN, &data)
        .expect("is mined");
    assert!(succeeded(&receipt));
    assert_eq!(chain.balance_of(FEE_TOKEN, PAYEE).expect("balance"), 9_900);
    assert_eq!(
        transfer_logs(&chain, &receipt)[0],
        (FEE_TOKEN.to_owned(), payee_topic(), 9_900)
    );
}

#[test]
fn the_lying_token_lies_in_every_mood() {
    let chain = Devnet::start(Options::default()).expect("the chain starts");
    let payer = &chain.buyers[1];
    let facilitator = &chain.facilitators[0].address;
    let perfect = (LYING_TOKEN.to_owned(), payee_topic(), 10_000);
    // Mood, units that arrive, whether a perfect Transfer log of the token itself is there.
    let moods = [
        (0, 10_000, true),
        (1, 0, false),
        (2, 9_999, false),
        (3, 0, false),
        (4, 0, false),
        (5, 0, true),
        (6, 10_000, true),
        (7, 10_000, true),
        (13, 10_000, true),
        (14, 0, false),
        (15, 10_000, true),
        (16, 10_000, true),
    ];
    for (mood, arrived, has_perfect_log) in moods {
        let before = chain.balance_of(LYING_TOKEN, PAYEE).expect("balance");
        chain.set_token_mood(mood).expect("mood");
        let payment = Authorization::of(LYING_TOKEN, ("Lying Dollar", "1"), &payer.address, mood + 1);
        let data = payment.calldata_bytes(&chain, &payment.sign(&chain, payer));
        let receipt = chain.send(facilitator, LYING_TOKEN, &data).expect("is mined");
        assert!(succeeded(&receipt), "mood {mood}");
        let after = chain.balance_of(LYING_TOKEN, PAYEE).expect("balance");
        assert_eq!(after - before, arrived, "mood {mood}");
        assert_eq!(
            transfer_logs(&chain, &receipt).contains(&perfect),
            has_perfect_log,
            "mood {mood}"
        );

        let used =
            &chain.artifact("DollarToken").expect("artefact").events["AuthorizationUsed(address,bytes32)"];
        let logs_authorization = logs_of(&receipt)
            .iter()
            .any(|(_, topics, _)| topics[0] == *used && topics[2] == payment.nonce_text());
        assert_eq!(logs_authorization, !matches!(mood, 6 | 7 | 14), "mood {mood}");
    }
    for mood in [8, 9, 11, 12, 17] {
        chain.set_token_mood(mood).expect("mood");
        let (height, _) = chain.head().expect("the node answers");
        chain.set_token_turn(height + 1).expect("the token turns");
        let payment = Authorization::of(LYING_TOKEN, ("Lying Dollar", "1"), &payer.address, mood + 1);
        let data = payment.calldata_bytes(&chain, &payment.sign(&chain, payer));
        let call = chain.rpc().eth_call(Some(facilitator), LYING_TOKEN, &data);
        assert_eq!(call.is_ok(), matches!(mood, 8 | 11), "mood {mood}");
        let receipt = chain
            .send_with_gas(facilitator, LYING_TOKEN, &data, 300_000)
            .expect("is mined");
        assert!(!succeeded(&receipt), "mood {mood}");
    }
}
