//! The chain as alloy's provider reads it, and a buyer who signs with alloy's local signer: no line of ours judges here
//! whether a payment arrived.

use std::future::IntoFuture;

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_provider::{Provider, RootProvider};
use alloy_rpc_types_eth::{Filter, TransactionInput, TransactionReceipt, TransactionRequest};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, SolEvent, SolStruct, eip712_domain, sol};
use devnet::{BUYER_TOKENS, PERMIT2, USDC};
use e2e::World;
use e2e::payment::{NETWORK, PRICE, body_v2, now_s};
use serde_json::{Value, json};

use crate::reason;

sol! {
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    event Transfer(address indexed from, address indexed to, uint256 value);
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);

    function balanceOf(address holder) returns (uint256);
    function allowance(address owner, address spender) returns (uint256);
    function authorizationState(address authorizer, bytes32 nonce) returns (bool);
}

/// A node, through alloy's provider.
struct Chain {
    provider: RootProvider,
    runtime: tokio::runtime::Runtime,
}

impl Chain {
    fn of(world: &World) -> Chain {
        Chain {
            provider: RootProvider::new_http(world.chain.url().parse().expect("a URL")),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
        }
    }

    /// The answer to a request.
    #[track_caller]
    fn answer_to<T, E: std::fmt::Debug>(&self, request: impl IntoFuture<Output = Result<T, E>>) -> T {
        let answer = self.runtime.block_on(request.into_future());
        answer.expect("the node answers")
    }

    /// Calls a function of the dollar.
    #[track_caller]
    fn read<C: SolCall>(&self, call: &C) -> C::Return {
        let request = TransactionRequest {
            to: Some(address(USDC).into()),
            input: TransactionInput::new(Bytes::from(call.abi_encode())),
            ..TransactionRequest::default()
        };
        let answer = self.answer_to(self.provider.call(request));
        C::abi_decode_returns(&answer).expect("what the function returns")
    }

    fn units(&self, holder: Address) -> U256 {
        self.read(&balanceOfCall { holder })
    }

    #[track_caller]
    fn receipt(&self, hash: &str) -> TransactionReceipt {
        let hash: B256 = hash.parse().expect("a hash");
        self.answer_to(self.provider.get_transaction_receipt(hash))
            .expect("a receipt")
    }

    /// Transfers of the dollar, from the first block on.
    fn transfers(&self) -> Vec<Transfer> {
        let filter = Filter::new()
            .address(address(USDC))
            .event_signature(Transfer::SIGNATURE_HASH)
            .from_block(0);
        let logs = self.answer_to(self.provider.get_logs(&filter));
        logs.iter()
            .map(|log| Transfer::decode_log(&log.inner).expect("a transfer").data)
            .collect()
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

/// A payment that alloy's types describe and alloy's signer signs, as the seller sends it on.
fn body(signer: &PrivateKeySigner, signed: &TransferWithAuthorization, demanded: U256) -> Value {
    let domain = eip712_domain! {
        name: "USDC",
        version: "2",
        chain_id: 84532,
        verifying_contract: address(USDC),
    };
    let signature = signer
        .sign_hash_sync(&signed.eip712_signing_hash(&domain))
        .expect("a signature");
    let requirements = json!({
        "scheme": "exact",
        "network": NETWORK,
        "amount": demanded.to_string(),
        "asset": USDC,
        "payTo": signed.to.to_string(),
        "maxTimeoutSeconds": 60,
        "extra": {"name": "USDC", "version": "2"},
    });
    let payload = json!({
        "signature": hex::encode_prefixed(signature.as_bytes()),
        "authorization": {
            "from": signed.from.to_string(),
            "to": signed.to.to_string(),
            "value": signed.value.to_string(),
            "validAfter": signed.validAfter.to_string(),
            "validBefore": signed.validBefore.to_string(),
            "nonce": signed.nonce.to_string(),
        },
    });
    body_v2(&requirements, &payload)
}

#[test]
fn a_buyer_in_alloy_pays_once_and_alloy_sees_it_on_the_chain() {
    let world = World::start();
    let chain = Chain::of(&world);
    let signer: PrivateKeySigner = world.chain.buyers[2].key.parse().expect("a key");
    let (buyer, merchant) = (signer.address(), address(&world.chain.merchant.address));
    let price = U256::from(PRICE);
    let signed = TransferWithAuthorization {
        from: buyer,
        to: merchant,
        value: price,
        validAfter: U256::ZERO,
        validBefore: U256::from(now_s() + 600),
        nonce: B256::repeat_byte(0x51),
    };
    let used = || {
        chain.read(&authorizationStateCall {
            authorizer: buyer,
            nonce: signed.nonce,
        })
    };
    let balances = || (chain.units(buyer), chain.units(merchant));
    let before = (U256::from(BUYER_TOKENS), U256::ZERO);
    assert_eq!((used(), balances()), (false, before));

    // A unit more or less than the seller requests moves nothing.
    for demanded in [price - U256::ONE, price + U256::ONE] {
        let body = body(&signer, &signed, demanded);
        world.untouched(|| assert!(!world.settle(&body).is_success()));
    }
    assert_eq!((used(), balances()), (false, before));

    let body = body(&signer, &signed, price);
    world.untouched(|| world.verify(&body).valid());
    let hash = world.settle(&body).paid();
    let receipt = chain.receipt(&hash);
    assert!(receipt.status());
    assert_eq!(receipt.to, Some(address(USDC)));
    assert_ne!(receipt.from, buyer, "the facilitator pays the gas");
    let logs = receipt.logs();
    let transfers: Vec<_> = logs
        .iter()
        .filter_map(|log| Transfer::decode_log(&log.inner).ok())
        .collect();
    let [transfer] = transfers.as_slice() else {
        panic!("not one transfer: {logs:?}");
    };
    assert_eq!(
        (transfer.address, transfer.from, transfer.to, transfer.value),
        (address(USDC), buyer, merchant, price)
    );
    let uses = logs
        .iter()
        .filter_map(|log| AuthorizationUsed::decode_log(&log.inner).ok());
    let uses: Vec<_> = uses.map(|event| (event.authorizer, event.nonce)).collect();
    assert_eq!(uses, [(buyer, signed.nonce)]);
    let after = (before.0 - price, price);
    assert_eq!((used(), balances()), (true, after));

    // Again: the same transaction is named, and nothing moves.
    assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    assert_eq!((chain.transfers().len(), balances()), (1, after));
}

#[test]
fn our_reads_of_the_chain_are_alloys() {
    let world = World::start();
    let chain = Chain::of(&world);
    let _ = world.settle(&world.payment(2).v2()).paid();
    let (owner, merchant) = (&world.chain.buyers[3].address, &world.chain.merchant.address);
    world
        .chain
        .set_allowance(USDC, owner, PERMIT2, 77)
        .expect("the allowance is set");
    let (mine, theirs) = (
        world
            .chain
            .allowance(USDC, owner, PERMIT2)
            .expect("the node answers"),
        chain.read(&allowanceCall {
            owner: address(owner),
            spender: address(PERMIT2),
        }),
    );
    assert_eq!((mine, theirs), (77, U256::from(77)));
    for holder in [&world.chain.buyers[2].address, owner, merchant] {
        assert_eq!(U256::from(world.balance(holder)), chain.units(address(holder)));
    }
    let transfers = chain.transfers();
    assert_eq!(world.transfers(), transfers.len());
    assert_eq!(
        transfers.iter().map(|transfer| transfer.value).sum::<U256>(),
        U256::from(world.earned())
    );
    let signer = &world.chain.facilitators[0].address;
    let wei = chain.answer_to(chain.provider.get_balance(address(signer)));
    assert_eq!(
        U256::from(world.chain.wei_of(signer).expect("the node answers")),
        wei
    );
    assert!(wei < U256::from(devnet::FACILITATOR_WEI), "gas was paid");
}
