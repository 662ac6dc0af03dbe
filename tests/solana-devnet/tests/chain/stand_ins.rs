//! The programs that are Rust functions of the chain: the wallet and the stand-in for Lighthouse.

use serde_json::{Value, json};
use solana_address::Address;
use solana_devnet::programs::{ASSERTION_FAILED, MEMORY_RENT_LAMPORTS};
use solana_instruction::{AccountMeta, Instruction};
use solana_signer::Signer;
use solana_transaction::versioned::VersionedTransaction;

use crate::Rig;

const LIGHTHOUSE: Address = Address::from_str_const("L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95");

/// A payment that the second buyer's wallet makes; before a slot only, if one is given.
pub(crate) fn wallet_payment(rig: &mut Rig, units: u64, until: Option<u64>) -> VersionedTransaction {
    let owner = rig.world.keys.buyers[1].pair.insecure_clone();
    let (program, wallet) = rig.world.wallets().next().expect("a wallet");
    let inner = rig.transfer(&wallet, units);
    let mut accounts = vec![
        AccountMeta::new_readonly(owner.pubkey(), true),
        AccountMeta::new_readonly(wallet, false),
        AccountMeta::new_readonly(inner.program_id, false),
    ];
    accounts.extend(inner.accounts.into_iter().map(|meta| AccountMeta {
        is_signer: false,
        ..meta
    }));
    let mut data = vec![u8::from(until.is_some())];
    data.extend(
        until
            .unwrap_or_default()
            .to_le_bytes()
            .into_iter()
            .filter(|_| until.is_some()),
    );
    data.extend(inner.data);
    rig.signed(
        &[Instruction {
            program_id: program,
            accounts,
            data,
        }],
        &[&owner],
    )
}

#[test]
fn a_wallet_pays_through_an_inner_instruction() {
    let mut rig = Rig::new();
    let payment = wallet_payment(&mut rig, 10, None);
    let simulated = rig.simulated(&payment, "confirmed");
    assert_eq!(simulated["err"], Value::Null, "{simulated}");
    let inner = &simulated["innerInstructions"][0];
    assert_eq!(inner["index"], 0);
    let transfer = &inner["instructions"][0]["parsed"];
    assert_eq!(transfer["type"], "transferChecked");
    let (_, wallet) = rig.world.wallets().next().expect("a wallet");
    assert_eq!(transfer["info"]["authority"], wallet.to_string());
    assert_eq!(transfer["info"]["tokenAmount"]["amount"], "10");
    let signature = rig.send(&payment);
    assert_eq!(rig.earned("processed"), "10");
    rig.chain.advance(2);
    let stored = rig.call(
        "getTransaction",
        json!([signature, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}]),
    );
    let data = stored["meta"]["innerInstructions"][0]["instructions"][0]["data"]
        .as_str()
        .expect("base58")
        .to_owned();
    assert_eq!(bs58::decode(data).into_vec().expect("base58").first(), Some(&12));
}

#[test]
fn a_wallet_can_pay_in_a_simulation_and_not_afterwards() {
    let mut rig = Rig::new();
    let processed = rig
        .call("getSlot", json!([{"commitment": "processed"}]))
        .as_u64()
        .expect("a slot");
    let payment = wallet_payment(&mut rig, 10, Some(processed));
    let simulated = rig.simulated(&payment, "confirmed");
    assert_eq!(simulated["innerInstructions"].as_array().map(Vec::len), Some(1));
    let signature = rig.send(&payment);
    assert_eq!(rig.status(&signature)["err"], Value::Null);
    assert_eq!(rig.earned("processed"), "0");
}

#[test]
fn the_lighthouse_stand_in_asserts_and_takes_rent_for_a_memory_write() {
    let mut rig = Rig::new();
    let payer = rig.payer();
    let system = Address::from_str_const("11111111111111111111111111111111");
    let memory = Address::new_from_array([9; 32]);
    let guard = |data: Vec<u8>| Instruction {
        program_id: LIGHTHOUSE,
        accounts: vec![
            AccountMeta::new_readonly(LIGHTHOUSE, false),
            AccountMeta::new_readonly(system, false),
            AccountMeta::new(payer.pubkey(), true),
            AccountMeta::new(memory, false),
        ],
        data,
    };
    let holds = rig.signed(&[guard(vec![5, 0])], &[]);
    assert_eq!(rig.simulated(&holds, "confirmed")["err"], Value::Null);
    let fails = rig.signed(&[guard(vec![5, 0xff])], &[]);
    assert_eq!(
        rig.simulated(&fails, "confirmed")["err"],
        json!({"InstructionError": [0, {"Custom": ASSERTION_FAILED}]})
    );
    let writes = rig.signed(&[guard(vec![0])], &[]);
    let simulated = rig.simulated(&writes, "confirmed");
    assert_eq!(simulated["err"], Value::Null, "{simulated}");
    let lamports = |name: &str| simulated[name][0].as_u64().expect("a number");
    assert_eq!(
        lamports("preBalances") - lamports("postBalances"),
        5_000 + MEMORY_RENT_LAMPORTS
    );
}
