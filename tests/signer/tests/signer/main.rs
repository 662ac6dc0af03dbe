//! What the reference signer signs and what it refuses, for transactions written by the chains' own types.

mod der;
mod ledger;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_primitives::{Address, Bytes, TxKind, U256, address, keccak256};
use host::custody::remote::wire::{Purpose, SignBody};
use sdk_plugin::HexBytes;
use sdk_plugin::host::Suite;
use signer::policy::Policy;
use signer::signer::{No, Signer};
use solana_message::compiled_instruction::CompiledInstruction;
use solana_message::{Message, MessageHeader};

const USDC: Address = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");
/// Of the private key 1.
const OWN: Address = address!("7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
const SEED_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

const POLICY: &str = r#"
listen = { socket = "signer.sock" }
[keys.hot]
file = "hot.key"
networks = ["eip155:84532"]
max_fee = "1000000000000000"
max_signatures_per_hour = 3
max_discarded = 0
contracts = [{ address = "0x036CbD53842c5426634e7929541eC2318f3dCF7e", selectors = ["0xe3ee160e"] }]
domains = ["0x0101010101010101010101010101010101010101010101010101010101010101"]
[keys.sol]
suite = "ed25519"
file = "sol.key"
networks = ["solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"]
max_fee = "10000"
max_signatures_per_hour = 100
programs = ["ComputeBudget111111111111111111111111111111", "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"]
"#;

fn signer() -> Signer {
    let folder = tempfile::tempdir().unwrap();
    for (name, key) in [("hot.key", format!("{:064x}", 1)), ("sol.key", SEED.to_owned())] {
        let file = folder.path().join(name);
        fs::write(&file, key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let file = folder.path().join("policy.toml");
    fs::write(&file, POLICY).unwrap();
    let policy = Policy::read(&file).unwrap();
    run(Signer::open(policy)).unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

fn transfer() -> TxEip1559 {
    TxEip1559 {
        chain_id: 84_532,
        nonce: 7,
        gas_limit: 100_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(USDC),
        value: U256::ZERO,
        access_list: Default::default(),
        input: Bytes::from_static(&[0xe3, 0xee, 0x16, 0x0e, 1, 2, 3]),
    }
}

fn body(unsigned: Vec<u8>) -> SignBody {
    SignBody {
        key: "hot".to_owned(),
        suite: Suite::Secp256k1,
        network: "eip155:84532".to_owned(),
        purpose: Purpose::Transaction {
            sequence: 7,
            attempt: 0,
        },
        message: HexBytes(keccak256(&unsigned).to_vec()),
        unsigned: HexBytes(unsigned),
    }
}

fn of(transaction: &TxEip1559) -> SignBody {
    body(transaction.encoded_for_signing())
}

fn refusal(body: &SignBody) -> No {
    run(signer().sign(body)).unwrap_err()
}

fn refused(body: &SignBody, code: &str, says: &str) {
    let no = refusal(body);
    assert!(
        no.code == code && no.message.contains(says),
        "{no:?}, wanted {code}: {says}"
    );
}

#[test]
fn an_allowed_call_is_signed_in_each_form_of_transaction() {
    let call = transfer();
    let legacy = TxLegacy {
        chain_id: Some(call.chain_id),
        nonce: call.nonce,
        gas_price: 5,
        gas_limit: call.gas_limit,
        to: call.to,
        value: call.value,
        input: call.input.clone(),
    };
    let listed = TxEip2930 {
        chain_id: call.chain_id,
        nonce: call.nonce,
        gas_price: 5,
        gas_limit: call.gas_limit,
        to: call.to,
        value: call.value,
        access_list: Default::default(),
        input: call.input.clone(),
    };
    let fill = TxEip1559 {
        to: TxKind::Call(OWN),
        input: Bytes::new(),
        ..call.clone()
    };
    for unsigned in [
        call.encoded_for_signing(),
        legacy.encoded_for_signing(),
        listed.encoded_for_signing(),
        fill.encoded_for_signing(),
    ] {
        let answer = run(signer().sign(&body(unsigned))).unwrap();
        assert_eq!(answer.signature.len(), 65);
    }
}

#[test]
fn the_policy_refuses_what_it_does_not_name() {
    let call = transfer();
    let with = |change: fn(&mut TxEip1559)| {
        let mut changed = call.clone();
        change(&mut changed);
        of(&changed)
    };
    refused(
        &with(|tx| tx.to = TxKind::Call(Address::ZERO)),
        "policy",
        "may not call 0x00",
    );
    refused(
        &with(|tx| tx.to = TxKind::Create),
        "policy",
        "may not create contracts",
    );
    refused(
        &with(|tx| tx.input = Bytes::from_static(&[9, 9, 9, 9])),
        "policy",
        "may not call 0x09090909 of",
    );
    refused(
        &with(|tx| tx.input = Bytes::new()),
        "policy",
        "may not call 0x of",
    );
    refused(
        &with(|tx| tx.value = U256::from(1)),
        "policy",
        "moves 1, and max_value is 0",
    );
    refused(
        &with(|tx| tx.gas_limit = 10_000_000),
        "policy",
        "and max_fee is 1000000000000000",
    );
    refused(&with(|tx| tx.gas_limit = u64::MAX), "policy", "max_fee");
    // An empty transfer to itself is a fill; with money or data it is a call.
    refused(
        &with(|tx| {
            tx.to = TxKind::Call(OWN);
            tx.value = U256::from(1);
        }),
        "policy",
        "may not call 0x7e5f",
    );
    refused(&with(|tx| tx.chain_id = 1), "invalid_request", "for chain 1");
    refused(&with(|tx| tx.nonce = 8), "invalid_request", "has nonce 8");
    let delegating = TxEip7702 {
        chain_id: call.chain_id,
        nonce: call.nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 1,
        max_priority_fee_per_gas: 1,
        to: USDC,
        value: U256::ZERO,
        access_list: Default::default(),
        authorization_list: vec![alloy_eips::eip7702::SignedAuthorization::new_unchecked(
            alloy_eips::eip7702::Authorization {
                chain_id: U256::from(1),
                address: USDC,
                nonce: 0,
            },
            0,
            U256::from(1),
            U256::from(1),
        )],
        input: call.input.clone(),
    };
    refused(&body(delegating.encoded_for_signing()), "policy", "EIP-7702");
}

#[test]
fn bytes_that_contradict_each_other_are_refused() {
    let good = of(&transfer());
    let mut other_digest = good.clone();
    other_digest.message = HexBytes(vec![1; 32]);
    refused(
        &other_digest,
        "invalid_request",
        "message is not the digest of unsigned",
    );
    let mut longer = transfer().encoded_for_signing();
    longer.push(0);
    refused(&body(longer), "invalid_request", "unsigned");
    for cut in 0..transfer().encoded_for_signing().len() {
        let cut = transfer().encoded_for_signing()[..cut].to_vec();
        assert_eq!(refusal(&body(cut)).code, "invalid_request");
    }
    // Not bound to a chain.
    let unbound = TxLegacy {
        to: TxKind::Call(USDC),
        nonce: 7,
        ..TxLegacy::default()
    };
    refused(&body(unbound.encoded_for_signing()), "invalid_request", "EIP-155");
    let change = |change: fn(&mut SignBody)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    refused(
        &change(|body| body.key = "cold".to_owned()),
        "unknown_key",
        "cold",
    );
    refused(
        &change(|body| body.suite = Suite::Ed25519),
        "invalid_request",
        "another suite",
    );
    refused(
        &change(|body| body.network = "eip155:1".to_owned()),
        "policy",
        "may not sign on eip155:1",
    );
}

#[test]
fn typed_data_needs_a_named_domain_and_its_digest() {
    let typed = |domain: u8, message: Option<u8>| {
        let (domain, hash) = (vec![domain; 32], vec![2; 32]);
        let digest = keccak256([&[0x19, 0x01][..], &domain, &hash].concat()).to_vec();
        SignBody {
            purpose: Purpose::TypedData {
                domain: HexBytes(domain),
                struct_hash: HexBytes(hash),
            },
            unsigned: HexBytes::default(),
            message: HexBytes(message.map_or(digest, |byte| vec![byte; 32])),
            ..of(&transfer())
        }
    };
    assert!(run(signer().sign(&typed(1, None))).is_ok());
    refused(&typed(3, None), "policy", "typed data of the domain");
    refused(&typed(1, Some(9)), "invalid_request", "digest of the typed data");
    // A transaction's digest is none of typed data.
    let mut disguised = of(&transfer());
    disguised.purpose = typed(1, None).purpose;
    refused(&disguised, "invalid_request", "no transaction");
}

#[test]
fn one_transaction_a_slot_and_so_many_an_hour() {
    let signer = signer();
    let sign = |change: fn(&mut TxEip1559), sequence: u64, attempt: u32| {
        let mut transaction = transfer();
        transaction.nonce = sequence;
        change(&mut transaction);
        let mut body = of(&transaction);
        body.purpose = Purpose::Transaction { sequence, attempt };
        run(signer.sign(&body)).map_err(|no| no.code)
    };
    assert!(sign(|_| {}, 7, 0).is_ok());
    assert!(sign(|_| {}, 7, 0).is_ok(), "the same again");
    assert_eq!(sign(|tx| tx.gas_limit = 99_999, 7, 1).unwrap_err(), "conflict");
    assert!(sign(|tx| tx.max_fee_per_gas *= 2, 7, 1).is_ok(), "a replacement");
    assert!(sign(|_| {}, 8, 0).is_ok());
    assert_eq!(sign(|_| {}, 9, 0).unwrap_err(), "rate_limited");
}

fn message(programs: &[&str], accounts: Vec<u8>, price: u64) -> Vec<u8> {
    let own: [u8; 32] = hex::decode(SEED_PUBLIC).unwrap().try_into().unwrap();
    let mut keys = vec![own.into(), [9; 32].into()];
    keys.extend(
        programs
            .iter()
            .map(|program| program.parse::<solana_address::Address>().unwrap()),
    );
    let data = |index: usize| match index {
        0 => [&[3][..], &price.to_le_bytes()].concat(),
        _ => vec![12],
    };
    let instructions = (0..programs.len()).map(|index| CompiledInstruction {
        program_id_index: u8::try_from(index + 2).unwrap(),
        accounts: if index == 0 { Vec::new() } else { accounts.clone() },
        data: data(index),
    });
    let message = Message {
        header: MessageHeader {
            num_required_signatures: 1,
            num_readonly_signed_accounts: 0,
            num_readonly_unsigned_accounts: u8::try_from(programs.len()).unwrap(),
        },
        account_keys: keys,
        recent_blockhash: solana_hash::Hash::default(),
        instructions: instructions.collect(),
    };
    solana_message::VersionedMessage::Legacy(message).serialize()
}

fn solana(unsigned: Vec<u8>) -> SignBody {
    SignBody {
        key: "sol".to_owned(),
        suite: Suite::Ed25519,
        network: "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1".to_owned(),
        purpose: Purpose::Transaction {
            sequence: 1,
            attempt: 0,
        },
        message: HexBytes(unsigned.clone()),
        unsigned: HexBytes(unsigned),
    }
}

#[test]
fn a_solana_message_is_decoded_and_held_against_the_policy() {
    let budget = "ComputeBudget111111111111111111111111111111";
    let token = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
    let system = "11111111111111111111111111111111";
    let good = message(&[budget, token], vec![1], 1_000);
    let answer = run(signer().sign(&solana(good.clone()))).unwrap();
    assert_eq!(answer.signature.len(), 64);
    refused(
        &solana(message(&[budget, system], vec![1], 1)),
        "policy",
        "may not call program \"1111",
    );
    refused(
        &solana(message(&[budget, token], vec![0], 1)),
        "policy",
        "names the key sol",
    );
    // 1,400,000 units at 5,000 micro-lamports are 7,000 lamports more than the base fee of 5,000.
    refused(
        &solana(message(&[budget, token], vec![1], 5_000)),
        "policy",
        "may cost 12000",
    );
    let mut other = good.clone();
    other[4] ^= 1;
    refused(&solana(other), "policy", "is not the fee payer");
    for cut in 0..good.len() {
        assert_eq!(refusal(&solana(good[..cut].to_vec())).code, "invalid_request");
    }
    let mut contradiction = solana(good);
    contradiction.message = HexBytes(vec![1]);
    refused(&contradiction, "invalid_request", "message is not unsigned");
}
