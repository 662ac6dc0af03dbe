//! The chain's rules, through the same JSON-RPC that a facilitator uses: when a transaction lands, what is answered as of
//! which commitment, and what the levers and stand-ins do.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use solana_address::Address;
use solana_devnet::programs::{ASSERTION_FAILED, MEMORY_RENT_LAMPORTS};
use solana_devnet::{Chain, DEVNET_GENESIS, Keys, Timing, World, answer, associated_account};
use solana_instruction::{AccountMeta, Instruction};
use solana_keypair::Keypair;
use solana_message::{AddressLookupTableAccount, VersionedMessage, v0};
use solana_signature::Signature;
use solana_signer::Signer;
use solana_transaction::versioned::VersionedTransaction;

const LIGHTHOUSE: Address = Address::from_str_const("L2TExMFKdjpN9kozasaurPirfHy9P8sbXoAN1qA3S95");
const BLOCKHASH_AGE: u64 = 150;

/// A chain whose clock stands, so that nothing happens between two lines of a test.
struct Rig {
    chain: Chain,
    world: World,
}

impl Rig {
    fn new() -> Rig {
        let timing = Timing {
            slot: Duration::from_millis(400),
            confirm_after: 2,
            finalize_after: 10,
        };
        let mut chain = Chain::new(timing, DEVNET_GENESIS.parse().expect("a hash"));
        chain.freeze();
        let world = World::plant(&mut chain, Keys::new(2, 3)).expect("a world");
        Rig { chain, world }
    }

    fn raw(&mut self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        answer(&mut self.chain, &self.world, call.to_string().as_bytes())
    }

    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        let mut reply = self.raw(method, params);
        assert_eq!(reply["error"], Value::Null, "{method}");
        reply["result"].take()
    }

    #[track_caller]
    fn refused(&mut self, method: &str, params: Value) -> (i64, Value) {
        let mut reply = self.raw(method, params);
        let code = reply["error"]["code"]
            .as_i64()
            .unwrap_or_else(|| panic!("{method} was not refused: {reply}"));
        (code, reply["error"]["data"].take())
    }

    fn blockhash(&mut self) -> solana_hash::Hash {
        let latest = self.call("getLatestBlockhash", json!([{"commitment": "confirmed"}]));
        latest["value"]["blockhash"]
            .as_str()
            .expect("text")
            .parse()
            .expect("a hash")
    }

    fn payer(&self) -> Keypair {
        self.world.keys.fee_payers[0].pair.insecure_clone()
    }

    fn buyer(&self) -> Keypair {
        self.world.keys.buyers[0].pair.insecure_clone()
    }

    fn account(&self, owner: &Address) -> Address {
        let usdc = self.world.tokens[0];
        associated_account(owner, &usdc.mint, &usdc.program)
    }

    /// TransferChecked of the dollar to the merchant.
    fn transfer(&self, owner: &Address, units: u64) -> Instruction {
        let usdc = self.world.tokens[0];
        let mut data = vec![12];
        data.extend(units.to_le_bytes());
        data.push(6);
        Instruction {
            program_id: usdc.program,
            accounts: vec![
                AccountMeta::new(self.account(owner), false),
                AccountMeta::new_readonly(usdc.mint, false),
                AccountMeta::new(self.account(&self.world.keys.merchant.address()), false),
                AccountMeta::new_readonly(*owner, true),
            ],
            data,
        }
    }

    /// A payment of the buyer, signed by everybody.
    fn payment(&mut self, units: u64) -> VersionedTransaction {
        let buyer = self.buyer();
        let instruction = self.transfer(&buyer.pubkey(), units);
        self.signed(&[instruction], &[&buyer])
    }

    fn signed(&mut self, instructions: &[Instruction], signers: &[&Keypair]) -> VersionedTransaction {
        self.signed_with_tables(instructions, signers, &[])
    }

    fn signed_with_tables(
        &mut self,
        instructions: &[Instruction],
        signers: &[&Keypair],
        tables: &[AddressLookupTableAccount],
    ) -> VersionedTransaction {
        let blockhash = self.blockhash();
        let payer = self.payer();
        let message =
            v0::Message::try_compile(&payer.pubkey(), instructions, tables, blockhash).expect("it compiles");
        let all: Vec<&dyn Signer> = std::iter::once(&payer as &dyn Signer)
            .chain(signers.iter().map(|key| *key as &dyn Signer))
            .collect();
        VersionedTransaction::try_new(VersionedMessage::V0(message), &all).expect("it signs")
    }

    #[track_caller]
    fn send(&mut self, transaction: &VersionedTransaction) -> String {
        let sent = self.call(
            "sendTransaction",
            json!([wire(transaction), {"encoding": "base64", "skipPreflight": true}]),
        );
        sent.as_str().expect("a signature").to_owned()
    }

    fn status(&mut self, signature: &str) -> Value {
        self.call("getSignatureStatuses", json!([[signature]]))["value"][0].take()
    }

    fn earned(&mut self, commitment: &str) -> String {
        let account = self.account(&self.world.keys.merchant.address()).to_string();
        let balance = self.call(
            "getTokenAccountBalance",
            json!([account, {"commitment": commitment}]),
        );
        balance["value"]["amount"].as_str().expect("text").to_owned()
    }

    fn simulated(&mut self, transaction: &VersionedTransaction, commitment: &str) -> Value {
        let options = json!({"encoding": "base64", "commitment": commitment, "innerInstructions": true});
        self.call("simulateTransaction", json!([wire(transaction), options]))["value"].take()
    }
}

fn wire(transaction: &VersionedTransaction) -> String {
    BASE64.encode(wincode::serialize(transaction).expect("it serializes"))
}

#[test]
fn a_transaction_is_processed_then_confirmed_then_finalized() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    let mut seen = Vec::new();
    for slots in [0, 2, 8] {
        rig.chain.advance(slots);
        let status = rig.status(&signature);
        seen.push((
            status["confirmationStatus"].clone(),
            status["confirmations"].clone(),
        ));
        assert_eq!(status["err"], Value::Null);
    }
    let wanted = [
        ("processed", json!(0)),
        ("confirmed", json!(2)),
        ("finalized", Value::Null),
    ];
    assert_eq!(
        seen,
        wanted.map(|(name, confirmations)| (json!(name), confirmations))
    );
}

#[test]
fn balances_are_answered_as_of_the_commitment() {
    let mut rig = Rig::new();
    for (units, slots) in [(10, 2), (5, 0)] {
        let payment = rig.payment(units);
        rig.send(&payment);
        rig.chain.advance(slots);
    }
    assert_eq!(
        ["finalized", "confirmed", "processed"].map(|name| rig.earned(name)),
        ["0", "10", "15"]
    );
    rig.chain.advance(10);
    assert_eq!(
        ["finalized", "confirmed", "processed"].map(|name| rig.earned(name)),
        ["15", "15", "15"]
    );
}

#[test]
fn stored_transactions_appear_once_confirmed() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    let options = json!({"commitment": "confirmed", "maxSupportedTransactionVersion": 0});
    assert_eq!(
        rig.call("getTransaction", json!([signature, options])),
        Value::Null
    );
    rig.chain.advance(2);
    let found = rig.call("getTransaction", json!([signature, options]));
    let meta = &found["meta"];
    assert_eq!(meta["fee"], 10_000);
    let lamports = |name: &str| meta[name][0].as_u64().expect("a number");
    assert_eq!(lamports("preBalances") - lamports("postBalances"), 10_000);
    let balances = meta["postTokenBalances"].as_array().expect("a list");
    let merchant = rig.world.keys.merchant.address().to_string();
    let earned = balances
        .iter()
        .find(|balance| balance["owner"] == merchant.as_str())
        .expect("the merchant's");
    assert_eq!(
        earned["uiTokenAmount"],
        json!({"amount": "10", "decimals": 6, "uiAmount": 0.00001, "uiAmountString": "0.00001"})
    );
    assert_eq!(
        rig.call(
            "getTransaction",
            json!([signature, {"commitment": "finalized", "maxSupportedTransactionVersion": 0}])
        ),
        Value::Null
    );
    assert_eq!(
        rig.refused("getTransaction", json!([signature, {"commitment": "processed"}]))
            .0,
        -32602
    );
    assert_eq!(
        rig.refused("getTransaction", json!([signature, {"commitment": "confirmed"}]))
            .0,
        -32015
    );
}

#[test]
fn a_blockhash_is_good_for_150_blocks() {
    let mut rig = Rig::new();
    let (first, last) = (rig.payment(1), rig.payment(2));
    let until =
        rig.call("getLatestBlockhash", json!([{"commitment": "confirmed"}]))["value"]["lastValidBlockHeight"]
            .as_u64();
    // It was confirmed, so it is two blocks old already.
    rig.chain.advance(BLOCKHASH_AGE - 2);
    assert_eq!(
        rig.call("getBlockHeight", json!([{"commitment": "processed"}]))
            .as_u64(),
        until
    );
    let signature = rig.send(&first);
    assert_eq!(rig.status(&signature)["confirmationStatus"], "processed");
    rig.chain.advance(1);
    let (code, data) = rig.refused(
        "sendTransaction",
        json!([wire(&last), {"encoding": "base64", "preflightCommitment": "processed"}]),
    );
    assert_eq!((code, &data["err"]), (-32002, &json!("BlockhashNotFound")));
    let signature = rig.send(&last);
    assert_eq!(rig.status(&signature), Value::Null);
    let blockhash = last.message.recent_blockhash().to_string();
    assert_eq!(
        rig.call(
            "isBlockhashValid",
            json!([blockhash, {"commitment": "processed"}])
        )["value"],
        false
    );
    assert_eq!(rig.earned("processed"), "1");
}

#[test]
fn a_blockhash_is_unknown_below_the_commitment_it_was_read_at() {
    let mut rig = Rig::new();
    let payment = rig.payment(1);
    assert_eq!(rig.simulated(&payment, "finalized")["err"], "BlockhashNotFound");
    assert_eq!(rig.simulated(&payment, "confirmed")["err"], Value::Null);
}

#[test]
fn the_same_message_lands_once() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    rig.send(&payment);
    assert_eq!(rig.earned("processed"), "10");
    let options = json!({"encoding": "base64", "preflightCommitment": "processed"});
    let (code, data) = rig.refused("sendTransaction", json!([wire(&payment), options]));
    assert_eq!((code, &data["err"]), (-32002, &json!("AlreadyProcessed")));
    // A view that is older than the transaction does not know it yet, and sending it again is harmless.
    let again = rig.call(
        "sendTransaction",
        json!([wire(&payment), {"encoding": "base64", "preflightCommitment": "confirmed"}]),
    );
    assert_eq!(again, signature.as_str());
    assert_eq!(rig.earned("processed"), "10");
}

#[test]
fn a_missing_signature_is_refused_by_preflight_and_dropped_without_it() {
    let mut rig = Rig::new();
    let mut payment = rig.payment(10);
    payment.signatures[0] = Signature::default();
    let (code, data) = rig.refused("sendTransaction", json!([wire(&payment), {"encoding": "base64"}]));
    assert_eq!((code, &data["err"]), (-32002, &json!("SignatureFailure")));
    rig.send(&payment);
    assert_eq!(rig.earned("processed"), "0");
    assert!(rig.chain.landed().is_empty());
}

#[test]
fn a_simulation_needs_no_fee_payers_signature_and_changes_nothing() {
    let mut rig = Rig::new();
    let mut payment = rig.payment(10);
    payment.signatures[0] = Signature::default();
    let simulated = rig.simulated(&payment, "confirmed");
    assert_eq!(simulated["err"], Value::Null);
    let units = |name: &str| {
        let balances = simulated[name].as_array().expect("a list").iter();
        balances
            .map(|balance| {
                balance["uiTokenAmount"]["amount"]
                    .as_str()
                    .expect("text")
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    let (mut before, mut after) = (units("preTokenBalances"), units("postTokenBalances"));
    (before.sort(), after.sort());
    assert_eq!(
        (before, after),
        (
            vec!["0".into(), "1000000000".into()],
            vec!["10".into(), "999999990".into()]
        )
    );
    assert_eq!(simulated["fee"], 10_000);
    let lamports = |name: &str| simulated[name][0].as_u64().expect("a number");
    assert_eq!(lamports("preBalances") - lamports("postBalances"), 10_000);
    assert_eq!(rig.earned("processed"), "0");
    let verifying =
        json!([wire(&payment), {"encoding": "base64", "commitment": "confirmed", "sigVerify": true}]);
    assert_eq!(
        rig.call("simulateTransaction", verifying)["value"]["err"],
        "SignatureFailure"
    );
}

#[test]
fn a_simulation_sees_what_its_commitment_sees() {
    let mut rig = Rig::new();
    let all = rig.payment(1_000_000_000);
    let more = rig.payment(1);
    rig.send(&all);
    assert_eq!(rig.simulated(&more, "confirmed")["err"], Value::Null);
    let failed = rig.simulated(&more, "processed");
    assert_eq!(failed["err"], json!({"InstructionError": [0, {"Custom": 1}]}));
    assert_eq!(rig.earned("processed"), "1000000000");
}

#[test]
fn a_failed_transaction_lands_and_pays_its_fee() {
    let mut rig = Rig::new();
    let payment = rig.payment(2_000_000_000);
    let signature = rig.send(&payment);
    let status = rig.status(&signature);
    assert_eq!(status["err"], json!({"InstructionError": [0, {"Custom": 1}]}));
    assert_eq!(
        status["status"],
        json!({"Err": {"InstructionError": [0, {"Custom": 1}]}})
    );
    let payer = rig.payer().pubkey().to_string();
    let balance = rig.call("getBalance", json!([payer, {"commitment": "processed"}]));
    assert_eq!(balance["value"], 99_999_990_000_u64);
}

#[test]
fn transactions_are_dropped_while_asked_to() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    rig.call("devnet_dropIncoming", json!([true]));
    let signature = rig.send(&payment);
    assert_eq!(rig.status(&signature), Value::Null);
    rig.call("devnet_dropIncoming", json!([false]));
    rig.send(&payment);
    assert_eq!(rig.status(&signature)["confirmationStatus"], "processed");
}

#[test]
fn a_forgotten_transaction_is_undone_and_may_land_again() {
    let mut rig = Rig::new();
    let (first, second) = (rig.payment(10), rig.payment(5));
    let (gone, kept) = (rig.send(&first), rig.send(&second));
    rig.chain.advance(2);
    assert_eq!(rig.status(&gone)["confirmationStatus"], "confirmed");
    rig.call("devnet_forgetTransaction", json!([gone]));
    assert_eq!(rig.status(&gone), Value::Null);
    assert_eq!(rig.status(&kept)["confirmationStatus"], "confirmed");
    assert_eq!(rig.earned("confirmed"), "5");
    rig.send(&first);
    assert_eq!(rig.status(&gone)["confirmationStatus"], "processed");
    assert_eq!(rig.earned("processed"), "15");
    rig.chain.advance(10);
    assert_eq!(rig.refused("devnet_forgetTransaction", json!([gone])).0, -32602);
}

#[test]
fn a_slot_that_is_not_there_yet_is_refused() {
    let mut rig = Rig::new();
    let slot = rig
        .call("getSlot", json!([{"commitment": "confirmed"}]))
        .as_u64()
        .expect("a slot");
    let options = json!([{"commitment": "confirmed", "minContextSlot": slot + 1}]);
    assert_eq!(
        rig.refused("getLatestBlockhash", options),
        (-32016, json!({"contextSlot": slot}))
    );
}

#[test]
fn a_payment_through_a_look_up_table_lands() {
    let mut rig = Rig::new();
    let buyer = rig.buyer();
    let table = AddressLookupTableAccount {
        key: rig.world.lookup_table,
        addresses: rig.world.looked_up.clone(),
    };
    let instruction = rig.transfer(&buyer.pubkey(), 10);
    let payment = rig.signed_with_tables(&[instruction], &[&buyer], &[table]);
    assert_eq!(
        payment.message.static_account_keys().len(),
        3,
        "payer, buyer and the token program are static"
    );
    let simulated = rig.simulated(&payment, "confirmed");
    assert_eq!(simulated["err"], Value::Null);
    assert_eq!(
        simulated["loadedAddresses"]["writable"].as_array().map(Vec::len),
        Some(2)
    );
    rig.send(&payment);
    assert_eq!(rig.earned("processed"), "10");
}

/// A payment that the second buyer's wallet makes; before a slot only, if one is given.
fn wallet_payment(rig: &mut Rig, units: u64, until: Option<u64>) -> VersionedTransaction {
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

#[test]
fn a_token_with_a_transfer_fee_delivers_less() {
    let mut rig = Rig::new();
    let fee = rig.world.tokens[2];
    let buyer = rig.buyer();
    let of = |owner: &Address| associated_account(owner, &fee.mint, &fee.program);
    let mut instruction = rig.transfer(&buyer.pubkey(), 1_000);
    let merchant = rig.world.keys.merchant.address();
    instruction.program_id = fee.program;
    instruction.accounts[0].pubkey = of(&buyer.pubkey());
    instruction.accounts[1].pubkey = fee.mint;
    instruction.accounts[2].pubkey = of(&merchant);
    let payment = rig.signed(&[instruction], &[&buyer]);
    rig.send(&payment);
    let balance = rig.call(
        "getTokenAccountBalance",
        json!([of(&merchant).to_string(), {"commitment": "processed"}]),
    );
    assert_eq!(balance["value"]["amount"], "990");
}

#[test]
fn an_edit_shows_at_every_commitment() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    rig.send(&payment);
    let buyer = rig.buyer().pubkey().to_string();
    let mint = rig.world.tokens[0].mint.to_string();
    let account = rig.call("devnet_setTokenBalance", json!([buyer, mint, "3"]));
    for commitment in ["processed", "confirmed", "finalized"] {
        let balance = rig.call(
            "getTokenAccountBalance",
            json!([account, {"commitment": commitment}]),
        );
        assert_eq!(balance["value"]["amount"], "3", "{commitment}");
    }
    assert_eq!(
        rig.refused("devnet_setTokenBalance", json!([buyer, buyer, "3"]))
            .0,
        -32602
    );
}

#[test]
fn a_batch_is_answered_in_order() {
    let mut rig = Rig::new();
    let calls = json!([
        {"jsonrpc": "2.0", "id": "a", "method": "getHealth"},
        {"jsonrpc": "2.0", "id": "b", "method": "nonsense", "params": []},
    ]);
    let replies = answer(&mut rig.chain, &rig.world, calls.to_string().as_bytes());
    assert_eq!(
        (&replies[0]["id"], &replies[0]["result"]),
        (&json!("a"), &json!("ok"))
    );
    assert_eq!(
        (&replies[1]["id"], &replies[1]["error"]["code"]),
        (&json!("b"), &json!(-32601))
    );
}

#[test]
fn what_is_no_transaction_is_refused_politely() {
    let mut rig = Rig::new();
    let whole = wire(&rig.payment(1));
    let cut = whole.get(..whole.len() - 8).expect("longer").to_owned();
    for (text, encoding) in [
        ("", "base64"),
        ("!", "base64"),
        (cut.as_str(), "base64"),
        ("0", "base58"),
        ("x", "hex"),
    ] {
        let (code, _) = rig.refused("sendTransaction", json!([text, {"encoding": encoding}]));
        assert_eq!(code, -32602, "{text} as {encoding}");
    }
    let huge = "A".repeat(2_000);
    assert_eq!(
        rig.refused("simulateTransaction", json!([huge, {"encoding": "base64"}]))
            .0,
        -32602
    );
    assert_eq!(answer(&mut rig.chain, &rig.world, b"{")["error"]["code"], -32700);
    assert_eq!(rig.refused("getBalance", json!(["Wrong!"])).0, -32602);
}
