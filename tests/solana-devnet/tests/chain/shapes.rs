//! Answers as the official Rust client reads them: into its own types, which insist on every member.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use solana_account_decoder_client_types::{UiAccount, token::UiTokenAmount};
use solana_rpc_client_types::response::{
    Response, RpcBlockhash, RpcConfirmedTransactionStatusWithSignature, RpcKeyedAccount,
    RpcPrioritizationFee, RpcSimulateTransactionResult, RpcVersionInfo,
};
use solana_transaction_status_client_types::option_serializer::OptionSerializer;
use solana_transaction_status_client_types::{
    EncodedConfirmedTransactionWithStatusMeta, TransactionConfirmationStatus, TransactionStatus,
    UiConfirmedBlock, UiInnerInstructions, UiInstruction, UiParsedInstruction,
};

use crate::stand_ins::wallet_payment;
use crate::{Rig, wire};

impl Rig {
    #[track_caller]
    fn typed<T: DeserializeOwned>(&mut self, method: &str, params: Value) -> T {
        let answer = self.call(method, params);
        serde_json::from_value(answer.clone()).unwrap_or_else(|error| panic!("{method}: {error} in {answer}"))
    }
}

const CONFIRMED: &str = "confirmed";

#[test]
fn blocks_and_accounts_decode_as_the_clients_types() {
    let mut rig = Rig::new();
    let _: RpcVersionInfo = rig.typed("getVersion", json!([]));
    let latest: Response<RpcBlockhash> = rig.typed("getLatestBlockhash", json!([]));
    assert!(latest.value.last_valid_block_height > 0);
    let fees: Vec<RpcPrioritizationFee> = rig.typed("getRecentPrioritizationFees", json!([]));
    assert_eq!(fees.len(), 150);

    let usdc = rig.world.tokens[0];
    let buyer = rig.world.keys.buyers[0].address();
    let encoding = json!({"encoding": "base64"});
    let mint: Response<Option<UiAccount>> =
        rig.typed("getAccountInfo", json!([usdc.mint.to_string(), encoding]));
    assert_eq!(
        mint.value.map(|account| account.owner),
        Some(usdc.program.to_string())
    );
    let both = json!([usdc.mint.to_string(), buyer.to_string()]);
    let several: Response<Vec<Option<UiAccount>>> = rig.typed("getMultipleAccounts", json!([both, encoding]));
    assert_eq!(
        several.value.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, false]
    );
    let owned: Response<Vec<RpcKeyedAccount>> = rig.typed(
        "getTokenAccountsByOwner",
        json!([buyer.to_string(), {"mint": usdc.mint.to_string()}, encoding]),
    );
    let account = owned.value.first().expect("one").pubkey.clone();
    let balance: Response<UiTokenAmount> = rig.typed("getTokenAccountBalance", json!([account]));
    assert_eq!(balance.value.ui_amount, Some(1_000.0));
}

#[test]
fn a_block_decodes_as_the_clients_type() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    rig.chain.advance(2);
    let slot = rig.status(&signature)["slot"].as_u64().expect("a slot");
    let options = json!({"commitment": CONFIRMED, "transactionDetails": "signatures", "rewards": false});
    let block: UiConfirmedBlock = rig.typed("getBlock", json!([slot, options]));
    assert_eq!(block.parent_slot, slot - 1);
    let signatures = block.signatures.expect("requested");
    assert_eq!((signatures.len(), signatures.last()), (2, Some(&signature)));
    let bare: UiConfirmedBlock = rig.typed(
        "getBlock",
        json!([slot, {"commitment": CONFIRMED, "transactionDetails": "none"}]),
    );
    assert_eq!((bare.signatures, bare.block_height), (None, block.block_height));
    assert_eq!(bare.rewards.map(|rewards| rewards.len()), Some(0));
    // Votes have statuses as others do.
    let statuses: Response<Vec<Option<TransactionStatus>>> =
        rig.typed("getSignatureStatuses", json!([signatures]));
    assert!(
        statuses
            .value
            .iter()
            .flatten()
            .all(|status| status.slot == slot && status.err.is_none())
    );
    assert_eq!(statuses.value.iter().flatten().count(), 2);
}

#[test]
fn a_simulation_decodes_as_the_clients_type() {
    let mut rig = Rig::new();
    let payment = wallet_payment(&mut rig, 10, None);
    let merchant = rig.account(&rig.world.keys.merchant.address()).to_string();
    let options = json!({
        "encoding": "base64", "commitment": CONFIRMED, "innerInstructions": true, "replaceRecentBlockhash": true,
        "accounts": {"encoding": "base64", "addresses": [merchant]},
    });
    let simulated: Response<RpcSimulateTransactionResult> =
        rig.typed("simulateTransaction", json!([wire(&payment), options]));
    let value = simulated.value;
    assert_eq!(value.err, None);
    assert!(value.replacement_blockhash.is_some() && value.loaded_addresses.is_some());
    assert_eq!(value.post_token_balances.map(|balances| balances.len()), Some(2));
    let written = value
        .accounts
        .expect("requested")
        .pop()
        .flatten()
        .expect("it exists");
    assert_eq!(
        written.data.decode().and_then(|data| data.get(64).copied()),
        Some(10)
    );
    let inner: Vec<UiInnerInstructions> = value.inner_instructions.expect("requested");
    let first = inner.first().and_then(|inner| inner.instructions.first());
    assert!(
        matches!(first, Some(UiInstruction::Parsed(UiParsedInstruction::Parsed(_)))),
        "{first:?}"
    );
}

#[test]
fn landed_transactions_decode_as_the_clients_types() {
    let mut rig = Rig::new();
    let buyer = rig.world.keys.buyers[0].address().to_string();
    let failing = rig.payment(2_000_000_000);
    let signatures = [wallet_payment(&mut rig, 10, None), failing].map(|transaction| rig.send(&transaction));
    rig.chain.advance(2);

    let statuses: Response<Vec<Option<TransactionStatus>>> =
        rig.typed("getSignatureStatuses", json!([signatures]));
    let [Some(paid), Some(failed)] = statuses.value.as_slice() else {
        panic!("both landed: {statuses:?}");
    };
    assert_eq!(
        paid.confirmation_status,
        Some(TransactionConfirmationStatus::Confirmed)
    );
    assert!(paid.err.is_none() && failed.err.is_some() && failed.status.is_err());

    for encoding in ["json", "jsonParsed", "base64", "base58"] {
        let options =
            json!({"commitment": CONFIRMED, "encoding": encoding, "maxSupportedTransactionVersion": 0});
        for signature in &signatures {
            let found: EncodedConfirmedTransactionWithStatusMeta =
                rig.typed("getTransaction", json!([signature, options]));
            let meta = found.transaction.meta.expect("kept");
            assert!(matches!(meta.inner_instructions, OptionSerializer::Some(_)));
            assert_eq!(meta.fee, 10_000);
            if encoding.starts_with("base") {
                let decoded = found.transaction.transaction.decode().expect("it decodes");
                assert_eq!(
                    decoded.signatures.first().map(ToString::to_string).as_ref(),
                    Some(signature)
                );
            }
        }
    }
    let listed: Vec<RpcConfirmedTransactionStatusWithSignature> = rig.typed(
        "getSignaturesForAddress",
        json!([buyer, {"commitment": CONFIRMED}]),
    );
    assert_eq!(
        listed.first().map(|entry| entry.signature.as_str()),
        Some(signatures[1].as_str())
    );
}
