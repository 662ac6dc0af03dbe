//! The chain's rules, through the same JSON-RPC that a facilitator uses: when a transaction lands, what is answered as of
//! which commitment, and what the levers and stand-ins do.

mod answers;
mod landing;
mod shapes;
mod simulation;
mod stand_ins;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use solana_address::Address;
use solana_devnet::{Chain, DEVNET_GENESIS, Keys, Timing, World, answer, associated_account};
use solana_instruction::{AccountMeta, Instruction};
use solana_keypair::Keypair;
use solana_message::{AddressLookupTableAccount, VersionedMessage, v0};
use solana_signer::Signer;
use solana_transaction::versioned::VersionedTransaction;

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

    /// A payment of the buyer, signed by all signers.
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
