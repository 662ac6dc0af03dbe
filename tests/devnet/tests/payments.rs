//! Payments on the planted contracts: the golden vectors are accepted, replays and forgeries are refused with the exact
//! messages of the deployed contracts.

mod common;

use common::{Authorization, FOREVER, PAYEE, logs_of, refusal, revert_data, succeeded, text, vectors};
use devnet::{Arg, BUYER_TOKENS, Devnet, Mining, Options, PERMIT2, PERMIT2_PROXY, USDC, encode};

const DOMAIN: (&str, &str) = ("USDC", "2");
const REPLAY: &str = "FiatTokenV2: authorization is used or canceled";

fn chain() -> Devnet {
    Devnet::start(Options::default()).expect("the chain starts")
}

#[test]
fn the_golden_authorization_pays_once_through_either_overload() {
    let chain = chain();
    let vectors = vectors();
    let (vector, facilitator) = (&vectors["exact_eip3009"], chain.facilitators[0].address.clone());
    let payer = &chain.buyers[0].address;
    for overload in ["calldata_vrs", "calldata_bytes"] {
        let before = chain.snapshot().expect("snapshot");
        let data = text(&vector[overload]);
        let receipt = chain.send(&facilitator, USDC, data).expect("the payment is sent");
        assert!(succeeded(&receipt));
        let logs = logs_of(&receipt);
        let token = chain.artifact("DollarToken").expect("artefact");
        assert_eq!(
            logs[0].1[0], token.events["AuthorizationUsed(address,bytes32)"],
            "used comes first"
        );
        assert_eq!(logs[1].1[0], token.events["Transfer(address,address,uint256)"]);
        assert_eq!(logs.len(), 2);
        assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 10_000);
        assert_eq!(
            chain.balance_of(USDC, payer).expect("balance"),
            BUYER_TOKENS - 10_000
        );
        assert!(
            chain
                .authorization_used(USDC, payer, text(&vector["message"]["nonce"]))
                .expect("state")
        );

        let again = refusal(chain.rpc().eth_call(Some(&facilitator), USDC, data));
        assert!(again.contains(REPLAY), "{again}");
        chain.revert(&before).expect("back to the start");
    }
}

#[test]
fn signatures_are_canonical_or_refused_by_name() {
    let chain = chain();
    let payer = chain.buyers[2].clone();
    let payment = Authorization::of(USDC, DOMAIN, &payer.address, 1);
    let good = payment.sign(&chain, &payer);
    let call_with = |signature: &[u8]| {
        chain
            .rpc()
            .eth_call(None, USDC, &payment.calldata_bytes(&chain, signature))
    };
    call_with(&good).expect("the untouched signature is fine");
    assert!(refusal(call_with(&good[..64])).contains("ECRecover: invalid signature length"));
    let mut raw_v = good.clone();
    raw_v[64] -= 27;
    assert!(refusal(call_with(&raw_v)).contains("ECRecover: invalid signature 'v' value"));
    let mut other = good.clone();
    other[1] ^= 1;
    assert!(refusal(call_with(&other)).contains("invalid signature"));

    let vectors = vectors();
    let high_s = text(&vectors["exact_eip3009"]["variants"]["high_s"]["signature"]).trim_start_matches("0x");
    let high_s = hex::decode(high_s).expect("hex");
    let golden = Authorization::of(USDC, DOMAIN, &chain.buyers[0].address, 0xab);
    for data in [
        golden.calldata_vrs(&chain, &high_s),
        golden.calldata_bytes(&chain, &high_s),
    ] {
        let message = refusal(chain.rpc().eth_call(None, USDC, &data));
        assert!(
            message.contains("ECRecover: invalid signature 's' value"),
            "{message}"
        );
    }
}

#[test]
fn the_golden_permit2_payment_settles_through_the_proxy() {
    let chain = chain();
    let vectors = vectors();
    let (vector, facilitator) = (&vectors["permit2_exact"], &chain.facilitators[0].address);
    let (payer, settle) = (&chain.buyers[0].address, text(&vector["settleCalldata"]));
    let proxy = chain.artifact("ExactPermit2Proxy").expect("artefact");

    let before_approval = refusal(chain.rpc().eth_call(Some(facilitator), PERMIT2_PROXY, settle));
    assert!(
        before_approval.contains("TRANSFER_FROM_FAILED"),
        "{before_approval}"
    );

    // Without any ETH of the payer: the EIP-2612 permit travels along.
    let start = chain.snapshot().expect("snapshot");
    let with_permit = text(&vector["settleWithPermitCalldata"]);
    let receipt = chain
        .send(facilitator, PERMIT2_PROXY, with_permit)
        .expect("settles");
    assert!(succeeded(&receipt));
    assert_eq!(
        logs_of(&receipt).last().expect("logs").1[0],
        proxy.events["SettledWithPermit()"]
    );
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 10_000);
    chain.revert(&start).expect("back to the start");

    // With an allowance from before.
    chain
        .set_wei(payer, 1_000_000_000_000_000_000)
        .expect("gas for the approval");
    let allow = [Arg::address(PERMIT2).expect("address"), Arg::uint(1_000_000)];
    let approve = chain
        .artifact("DollarToken")
        .and_then(|t| t.call("approve(address,uint256)", &allow));
    chain
        .send(payer, USDC, &approve.expect("encodes"))
        .expect("approves");
    let receipt = chain.send(facilitator, PERMIT2_PROXY, settle).expect("settles");
    assert!(succeeded(&receipt));
    assert_eq!(
        logs_of(&receipt).last().expect("logs").1[0],
        proxy.events["Settled()"]
    );
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 10_000);

    let again = revert_data(chain.rpc().eth_call(Some(facilitator), PERMIT2_PROXY, settle));
    assert_eq!(
        again,
        chain.artifact("Permit2").expect("artefact").errors["InvalidNonce()"]
    );
}

#[test]
fn a_permit_that_was_used_by_another_sender_does_no_harm() {
    let chain = chain();
    let vectors = vectors();
    let data = text(&vectors["permit2_exact"]["settleWithPermitCalldata"]);
    // The permit's own members, cut out of the calldata: value, deadline, r, s, v.
    let word = |at: usize| {
        let digits = &data[10 + 64 * at..10 + 64 * (at + 1)];
        Arg::Word(hex::decode(digits).expect("hex").try_into().expect("32 bytes"))
    };
    let addresses = [chain.buyers[0].address.as_str(), PERMIT2].map(|a| Arg::address(a).expect("address"));
    let args = [
        addresses.to_vec(),
        vec![word(0), word(1), word(4), word(2), word(3)],
    ]
    .concat();
    let permit = chain
        .artifact("DollarToken")
        .and_then(|t| {
            t.call(
                "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
                &args,
            )
        })
        .expect("encodes");
    assert!(succeeded(
        &chain
            .send(&chain.facilitators[1].address, USDC, &permit)
            .expect("front-run")
    ));

    let receipt = chain
        .send(&chain.facilitators[0].address, PERMIT2_PROXY, data)
        .expect("settles all the same");
    let proxy = chain.artifact("ExactPermit2Proxy").expect("artefact");
    let failed = &proxy.events["EIP2612PermitFailedWithReason(address,address,string)"];
    assert!(
        logs_of(&receipt)
            .iter()
            .any(|(_, topics, _)| topics[0] == *failed)
    );
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 10_000);
}

#[test]
fn every_refusal_of_the_dollar_has_its_exact_message() {
    let chain = chain();
    let payer = &chain.buyers[5];
    let payment = Authorization::of(USDC, DOMAIN, &payer.address, 5);
    let data = payment.calldata_vrs(&chain, &payment.sign(&chain, payer));
    let refusal_now = || refusal(chain.rpc().eth_call(None, USDC, &data));

    chain.pause(USDC, true).expect("pause");
    assert!(refusal_now().contains("Pausable: paused"));
    chain.pause(USDC, false).expect("unpause");
    for account in [payer.address.as_str(), PAYEE] {
        chain.set_blacklisted(USDC, account, true).expect("blacklist");
        assert!(refusal_now().contains("Blacklistable: account is blacklisted"));
        chain.set_blacklisted(USDC, account, false).expect("unblacklist");
    }

    let rich = Authorization {
        value: BUYER_TOKENS + 1,
        ..payment.clone()
    };
    let too_much = rich.calldata_vrs(&chain, &rich.sign(&chain, payer));
    let message = refusal(chain.rpc().eth_call(None, USDC, &too_much));
    assert!(
        message.contains("ERC20: transfer amount exceeds balance"),
        "{message}"
    );

    // Times are checked before the signature, so an unsigned change of these ABI words is enough: validAfter and validBefore.
    let with_word = |at: usize, value: u128| {
        let mut changed = data.clone();
        changed.replace_range(10 + 64 * at..10 + 64 * (at + 1), &format!("{value:064x}"));
        refusal(chain.rpc().eth_call(None, USDC, &changed))
    };
    assert!(with_word(3, FOREVER).contains("FiatTokenV2: authorization is not yet valid"));
    assert!(with_word(4, 1).contains("FiatTokenV2: authorization is expired"));
    chain
        .rpc()
        .eth_call(None, USDC, &data)
        .expect("and as signed it is fine");
}

#[test]
fn one_multicall_answers_all_diagnosis_questions() {
    let chain = chain();
    let payer = Arg::address(&chain.buyers[0].address).expect("address");
    let balance = encode("0x70a08231", &[payer]).expect("encodes");
    // tryAggregate(false, [(USDC, balanceOf), (USDC, an unknown function)]), laid out by hand.
    let calls = [balance.trim_start_matches("0x"), "deadbeef"];
    let entry = |call: &str| {
        let padded = format!("{call:0<width$}", width = call.len().next_multiple_of(64));
        let length = call.len() / 2;
        format!(
            "{:0>64}{:064x}{length:064x}{padded}",
            USDC.trim_start_matches("0x").to_lowercase(),
            64
        )
    };
    let entries = calls.map(entry);
    let offsets = [64, 64 + entries[0].len() / 2].map(|offset| format!("{offset:064x}"));
    let data = format!(
        "0xbce38bd7{:064x}{:064x}{:064x}{}{}",
        0,
        64,
        2,
        offsets.concat(),
        entries.concat()
    );
    let answer = chain
        .rpc()
        .eth_call(None, devnet::MULTICALL3, &data)
        .expect("answers");
    // Word 4 on: success, offset, length, balance; then the failed one.
    assert_eq!(answer[4 * 32 + 31], 1);
    assert_eq!(answer[7 * 32 + 16..8 * 32], BUYER_TOKENS.to_be_bytes());
    assert_eq!(answer[8 * 32 + 31], 0);
}

#[test]
fn a_transaction_may_revert_in_its_block() {
    let chain = Devnet::start(Options {
        mining: Mining::Manual,
        ..Options::default()
    })
    .expect("the chain starts");
    chain.pause(USDC, true).expect("pause");
    let data = text(&vectors()["exact_eip3009"]["calldata_vrs"]).to_owned();
    let receipt = chain
        .send_with_gas(&chain.facilitators[0].address, USDC, &data, 200_000)
        .expect("is mined");
    assert!(!succeeded(&receipt));
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 0);
}
