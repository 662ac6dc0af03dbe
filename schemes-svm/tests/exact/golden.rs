//! The golden vectors.

use schemes_svm::exact::config::{CreateAtaMode, Layout};
use schemes_svm::testkit::{Deal, Key};
use schemes_svm::text;
use schemes_svm::wire::Transaction;
use sdk_plugin::{PaymentRequest, Value};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::world::{NETWORK, World, request};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/exact_svm.json")).expect("vectors parse")
}

fn wire(case: &Value) -> Vec<u8> {
    text::transaction_bytes(case["transaction"].as_str().unwrap()).expect("base64")
}

/// The case's request, with the vectors' terms.
fn of(case: &Value) -> PaymentRequest {
    let mut request = request(&wire(case));
    if let Some(memo) = case.get("requirementsExtraMemo") {
        request.requirements.extra.insert("memo".into(), memo.clone());
    }
    request
}

fn cases() -> Vec<(String, Value)> {
    let vectors = vectors();
    let cases = vectors["cases"].as_object().unwrap();
    cases
        .iter()
        .map(|(name, case)| (name.clone(), case.clone()))
        .collect()
}

#[test]
fn the_examples_terms_are_the_vectors() {
    let (vectors, request) = (vectors(), request(&[]));
    let terms = &vectors["requirements"];
    assert_eq!(terms["network"], json!(NETWORK));
    assert_eq!(terms["amount"], json!(request.requirements.amount));
    assert_eq!(terms["asset"], json!(request.requirements.asset));
    assert_eq!(terms["payTo"], json!(request.requirements.pay_to));
    assert_eq!(terms["extra"], json!(request.requirements.extra));
    let deal = Deal::example();
    assert_eq!(vectors["sourceAta"], json!(deal.source().to_string()));
    assert_eq!(vectors["destinationAta"], json!(deal.destination().to_string()));
    assert_eq!(vectors["blockhash"], json!(deal.blockhash.to_string()));
}

#[test]
fn messages_hashes_and_ids_are_the_vectors() {
    for (name, case) in cases() {
        let Some(message) = case.get("messageBytesHex") else {
            continue;
        };
        let transaction = Transaction::decode(&wire(&case)).expect("it decodes");
        assert_eq!(
            json!(hex::encode(transaction.message_bytes())),
            *message,
            "{name}"
        );
        assert_eq!(
            transaction.message().to_bytes(),
            transaction.message_bytes(),
            "{name}"
        );
        assert_eq!(
            json!(hex::encode(transaction.message_hash())),
            case["messageSha256Hex"],
            "{name}"
        );
        assert_eq!(
            Sha256::digest(transaction.message_bytes())[..],
            transaction.message_hash()
        );
        assert_eq!(
            json!(transaction.signatures[1].to_string()),
            case["payerSignature"],
            "{name}"
        );
        assert!(transaction.others_signed(), "{name}");
        let identified = World::new().identify(&of(&case)).expect("a key");
        assert_eq!(json!(identified.claim_key), case["messageSha256Hex"], "{name}");

        let signature = Key::of_seed(1).sign(transaction.message_bytes());
        assert_eq!(json!(signature.to_string()), case["transactionId"], "{name}");
        let signed = transaction.with_fee_payer_signature(signature);
        assert_eq!(
            json!(text::base64(&signed.to_bytes())),
            case["fullySignedTransaction"],
            "{name}"
        );
    }
}

#[test]
fn both_layouts_answer_as_the_vectors_say() {
    for (name, case) in cases() {
        for layout in [Layout::Identity, Layout::Positional] {
            let positional = case["expect_positional"].as_str().unwrap();
            let expected = match (
                layout,
                case.get("expect_project"),
                case["expect_identity"].as_str(),
            ) {
                (_, Some(_), _) => "invalid_exact_svm_payload_unknown_instruction",
                (Layout::Positional, None, _) | (Layout::Identity, None, Some("same")) => positional,
                (Layout::Identity, None, Some(identity)) => identity,
                // The vectors do not define this case: it is treated like the sponsored creation.
                (Layout::Identity, None, None) => "invalid_exact_svm_payload_unknown_instruction",
            };
            let world = World::configured(|config| config.layout = layout);
            if expected.starts_with("valid") {
                assert_eq!(
                    json!(world.verify(&of(&case)).expect(&name)),
                    case["expectedPayer"]
                );
            } else {
                let reason = expected.split(' ').next().unwrap();
                assert_eq!(world.refused(&of(&case)), reason, "{name} {layout:?}");
            }
        }
    }
}

#[test]
fn creations_are_accepted_as_the_mode_says() {
    let vectors = vectors();
    let (sponsored, client) = (
        of(&vectors["cases"]["create_ata_sponsor_funded"]),
        of(&vectors["cases"]["create_ata_client_funded"]),
    );
    let in_mode = |mode, layout| {
        World::configured(|config| {
            config.create_ata.mode = mode;
            config.layout = layout;
        })
        .with(|chain| {
            chain.destination_exists = false;
            if mode == CreateAtaMode::Sponsor {
                chain.cost = Some(10_001 + 2_039_280);
            }
        })
    };
    for layout in [Layout::Identity, Layout::Positional] {
        assert!(in_mode(CreateAtaMode::Sponsor, layout).verify(&sponsored).is_ok());
        assert!(in_mode(CreateAtaMode::Client, layout).verify(&client).is_ok());
        for (mode, request) in [
            (CreateAtaMode::Sponsor, &client),
            (CreateAtaMode::Client, &sponsored),
        ] {
            assert_eq!(
                in_mode(mode, layout).refused(request),
                "invalid_exact_svm_payload_create_ata_funder_mismatch"
            );
        }
    }
}
