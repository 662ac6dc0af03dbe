//! Wallets and tokens that are not what they claim to be, and signatures of other domains.

use alloy_primitives::{U256, keccak256};
use alloy_sol_types::SolValue;
use k256::ecdsa::SigningKey;
use sdk_plugin::PaymentRequest;
use sdk_plugin::Value;
use sdk_plugin::host::{RpcError, RpcResult};
use sdk_plugin::request::Purpose;
use serde_json::json;

use crate::world::{ASSET, Chain, Offer, World, good, hex_result, magic, revert, set_authorization};

const SIGNATURE: &str = "invalid_exact_evm_signature";
const SIMULATION: &str = "invalid_exact_evm_transaction_simulation_failed";

/// A wallet at the payer's address that accepts.
fn wallet(chain: &mut Chain) {
    chain.payer_code = hex_result(&[0x60]);
    chain.wallet = magic();
}

/// Signed by the wallet's own scheme: no account's signature.
fn of_wallet() -> PaymentRequest {
    Offer::default().with_signature(&[7; 130])
}

/// The payment, signed by the payer's key over another domain separator.
fn over(separator: alloy_primitives::B256) -> PaymentRequest {
    let offer = Offer::default();
    let message = (
        keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 \
             validBefore,bytes32 nonce)",
        ),
        crate::world::PAYER_ADDRESS,
        offer.to.parse::<alloy_primitives::Address>().unwrap(),
        U256::from(offer.value),
        U256::from(offer.valid_after),
        U256::from(offer.valid_before),
        offer.nonce.parse::<alloy_primitives::B256>().unwrap(),
    );
    let mut bytes = vec![0x19, 0x01];
    bytes.extend_from_slice(separator.as_slice());
    bytes.extend_from_slice(keccak256(message.abi_encode()).as_slice());
    let key = SigningKey::from_slice(&[0x11; 32]).unwrap();
    let (signature, recovery) = key.sign_prehash_recoverable(keccak256(bytes).as_slice()).unwrap();
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + recovery.to_byte());
    offer.with_signature(&bytes)
}

#[test]
fn t156_what_the_token_itself_can_not_verify_is_refused() {
    // A contract pays with a token that knows only ecrecover.
    let world = World::with(|chain| {
        wallet(chain);
        chain.simulation = revert("ECRecover: invalid signature");
        chain.estimate = revert("ECRecover: invalid signature");
    });
    assert_eq!(world.refused(&of_wallet()), SIMULATION);
    // A wallet that signs with an empty domain.
    let empty = keccak256(keccak256("EIP712Domain()").abi_encode());
    assert_eq!(World::new().refused(&over(empty)), SIGNATURE);
    // A token with a salt domain: signed as the token wants it, which this scheme can't; and as the seller states it.
    let salted = (
        keccak256("EIP712Domain(string name,string version,address verifyingContract,bytes32 salt)"),
        keccak256("USDC"),
        keccak256("2"),
        ASSET.parse::<alloy_primitives::Address>().unwrap(),
        U256::from(84_532),
    );
    assert_eq!(
        World::new().refused(&over(keccak256(salted.abi_encode()))),
        SIGNATURE
    );
    let world = World::with(|chain| {
        chain.simulation = revert("invalid signature");
        chain.estimate = revert("invalid signature");
    });
    assert_eq!(world.refused(&good()), SIMULATION);
}

#[test]
fn every_kind_of_payer_pays_by_its_own_rule() {
    let delegation = [&[0xef, 0x01, 0x00][..], &[0x77; 20]].concat();
    let bytes_overload = "0xcf092995";
    let by_owner = (U256::from(1), vec![0x11_u8; 65]).abi_encode_params();
    let kinds: [(&str, &[u8], PaymentRequest, &str); 5] = [
        ("account", &[], good(), "0xe3ee160e"),
        (
            "wallet",
            &[0x60],
            Offer::default().with_signature(&[9; 65]),
            "0xe3ee160e",
        ),
        ("delegated account", &delegation, good(), "0xe3ee160e"),
        ("passkey wallet", &[0x60], of_wallet(), bytes_overload),
        (
            "wallet that wraps its owner's signature",
            &[0x60],
            Offer::default().with_signature(&by_owner),
            bytes_overload,
        ),
    ];
    for (kind, code, request, operation) in kinds {
        let world = |answer: RpcResult| {
            World::with(|chain| {
                chain.payer_code = hex_result(code);
                chain.wallet = answer;
            })
        };
        let plan = world(magic()).plan(&request).expect(kind);
        // What a payer's own code does must not concern other payments.
        assert_eq!(plan.steps[0].batchable, kind == "account", "{kind}");
        assert_eq!(plan.steps[0].call.operation, operation, "{kind}");
        assert!(world(magic()).verify(&request).is_ok(), "{kind}");
        // Any code decides alone: an account's own good signature does not count against it.
        let refusing = world(hex_result(&[0xff; 32]));
        if code.is_empty() {
            assert!(refusing.verify(&request).is_ok(), "{kind}");
        } else {
            assert_eq!(refusing.refused(&request), SIGNATURE, "{kind}");
        }
    }
}

#[test]
fn a_member_that_nobody_signed_does_not_matter() {
    let mut request = good();
    set_authorization(&mut request, "spender", json!(ASSET));
    assert!(
        World::new().verify(&request).is_ok(),
        "a member that nobody signed"
    );
}

#[test]
fn a_wallet_that_answers_by_the_price_of_gas_is_tried_at_a_real_one() {
    // By its own signature, and by an account's that has code.
    for request in [of_wallet(), good()] {
        let world = World::with(wallet);
        assert!(world.verify(&request).is_ok());
        assert!(world.plan(&request).is_ok());
        let cold = world.batches().len();
        assert!(world.verify(&request).is_ok());
        let warm = world.batches().len() - cold;
        assert!(
            warm <= if request == good() { 2 } else { 1 },
            "{warm} round trips"
        );
        // Yes to a call without a price, no to a transaction.
        let world = World::with(|chain| {
            wallet(chain);
            chain.priced = Some(revert("FiatTokenV2: invalid signature"));
        });
        assert_eq!(world.refused(&request), SIMULATION);
        assert_eq!(world.refused(&request), SIMULATION, "with the price in mind");
        // A node that rejects the price decides nothing about the payment.
        for message in [
            "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 2",
            "insufficient funds for gas * price + value",
        ] {
            let world = World::with(|chain| {
                wallet(chain);
                chain.priced = Some(RpcResult::Error(RpcError {
                    code: -32000,
                    message: message.into(),
                    data: Value::Null,
                }));
            });
            for _ in 0..2 {
                assert!(world.verify(&request).is_ok(), "{message}");
                assert!(world.plan(&request).is_ok(), "{message}");
            }
        }
        // Without a price it is tried as before.
        let world = World::with(|chain| {
            wallet(chain);
            chain.gas_price = revert("none");
        });
        assert!(world.verify(&request).is_ok());
    }
    // The verify of an account without code takes one round trip, and the next one is at the price that it reads.
    let verify = PaymentRequest {
        purpose: Purpose::Verify,
        ..good()
    };
    let world = World::with(|chain| chain.priced = Some(revert("no")));
    assert!(world.verify(&verify).is_ok());
    assert_eq!(world.batches().len(), 1);
    assert_eq!(world.verify(&verify).expect_err("refused").reason, SIMULATION);
}

/// A node cuts the gas down to what the signer's balance pays for: that is the operator's trouble, and no refusal.
#[test]
fn a_signer_that_can_not_pay_the_price_refuses_no_payment() {
    let short = |signer_wei: u64, text: &str| {
        let text = text.to_owned();
        World::with(move |chain| {
            chain.signer_wei = signer_wei;
            chain.priced = Some(RpcResult::Error(RpcError {
                code: 3,
                message: text.clone(),
                data: Value::Null,
            }));
        })
    };
    for text in [
        "gas required exceeds allowance (0)",
        "Out of gas: gas required exceeds allowance: 1",
        "Insufficient funds for gas * price + value",
    ] {
        assert!(short(1_000, text).plan(&good()).is_ok(), "{text}");
    }
    // With enough, it is the token that burns gas at a price (T-31).
    let world = short(u64::MAX, "out of gas");
    assert_eq!(world.refused(&good()), SIMULATION);
}

#[test]
fn t31_a_token_that_answers_by_the_price_of_gas_is_refused_before_a_send() {
    let world = World::with(|chain| chain.priced = Some(revert("not at this price")));
    assert_eq!(world.refused(&good()), SIMULATION);
    // A price that the node rejects is read again.
    let world = World::new();
    assert!(world.plan(&good()).is_ok());
    world.chain().priced = Some(RpcResult::Error(RpcError {
        code: -32000,
        message: "max fee per gas less than block base fee".into(),
        data: Value::Null,
    }));
    world.plan(&good()).expect("without a price");
    world.chain().gas_price = RpcResult::Ok(json!("0x77359400"));
    world.plan(&good()).expect("at the new price");
    let batches = world.batches();
    let priced = &batches.last().expect("a batch")[2].params[0];
    assert_eq!(priced["gasPrice"], json!("0x77359400"));
}
