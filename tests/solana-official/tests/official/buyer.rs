//! Payments of a buyer that shares no code with the facilitator, and the chain as solana-client and spl-token read it.

use std::str::FromStr;

use devnet::{SOLANA_BUYER_UNITS, SolanaKey};
use e2e::SolanaWorld;
use e2e::solana::PRICE;
use schemes_svm::exact::reason;
use schemes_svm::testkit::Deal;
use serde_json::Value;
use solana_client::rpc_client::RpcClient;
use solana_client::rpc_config::RpcTransactionConfig;
use solana_commitment_config::CommitmentConfig;
use solana_official::{Buyer, Error, Offer, wire};
use solana_sdk::pubkey::Pubkey;
use solana_sdk::signature::Signature;
use solana_sdk::signer::keypair::Keypair;
use solana_sdk::transaction::VersionedTransaction;
use solana_transaction_status_client_types::UiTransactionEncoding;
use spl_token::solana_program::program_pack::Pack;
use spl_token::state::Account;

/// A facilitator on a chain, and what a seller requires there.
struct Shop {
    world: SolanaWorld,
    rpc: RpcClient,
    deal: Deal,
    offer: Offer,
}

/// The buyer whom [`Shop::buyer`] gives.
const BUYER: usize = 2;

impl Shop {
    fn open() -> Shop {
        let world = SolanaWorld::start();
        let deal = world.deal(BUYER);
        let offer = Offer {
            mint: deal.mint,
            pay_to: deal.pay_to,
            amount: PRICE,
            fee_payer: deal.fee_payer,
        };
        Shop {
            rpc: client(&world),
            world,
            deal,
            offer,
        }
    }

    fn buyer(&self) -> Buyer {
        buyer(&self.world, &self.world.chain.buyers[BUYER])
    }

    /// What the seller sends to the facilitator.
    fn body(&self, payment: &VersionedTransaction) -> Value {
        self.world.body(&self.deal, &wire(payment).expect("wire bytes"))
    }

    /// Units in a token account, as spl-token reads it.
    fn units(&self, account: &Pubkey) -> u64 {
        let data = self.rpc.get_account_data(account).expect("the account");
        Account::unpack(&data).expect("a token account").amount
    }

    /// The transaction as it landed.
    fn landed(&self, signature: &Signature) -> VersionedTransaction {
        let config = RpcTransactionConfig {
            encoding: Some(UiTransactionEncoding::Base64),
            commitment: Some(CommitmentConfig::confirmed()),
            max_supported_transaction_version: Some(0),
        };
        let found = self
            .rpc
            .get_transaction_with_config(signature, config)
            .expect("the transaction");
        let meta = found.transaction.meta.expect("its effects");
        assert_eq!(meta.err, None);
        found.transaction.transaction.decode().expect("wire bytes")
    }
}

fn client(world: &SolanaWorld) -> RpcClient {
    RpcClient::new_with_commitment(world.chain.url(), CommitmentConfig::confirmed())
}

fn buyer(world: &SolanaWorld, key: &SolanaKey) -> Buyer {
    let key = Keypair::try_from_base58_string(&key.secret).expect("a key");
    Buyer::new(client(world), key)
}

#[test]
fn the_payment_lands_as_it_was_signed_and_a_replay_pays_nothing() {
    let shop = Shop::open();
    let buyer = shop.buyer();
    let payment = buyer.pay(&shop.offer, "order 1").expect("a payment");
    assert_eq!(
        payment.verify_with_results(),
        [false, true],
        "the fee payer has not signed yet"
    );
    let body = shop.body(&payment);
    shop.world.untouched(|| shop.world.verify(&body).valid());

    let hash = shop.world.settle(&body).paid();
    let signature = Signature::from_str(&hash).expect("a signature");
    let status = shop
        .rpc
        .get_signature_status(&signature)
        .expect("the node answers");
    assert_eq!(status, Some(Ok(())));
    let landed = shop.landed(&signature);
    assert_eq!(
        landed.message, payment.message,
        "the buyer signed what is on the chain"
    );
    assert_eq!(landed.signatures[1], payment.signatures[1]);
    assert_eq!(landed.signatures[0], signature);
    assert_eq!(landed.verify_with_results(), [true, true]);

    let balances = || {
        (
            shop.units(&buyer.source(&shop.offer.mint)),
            shop.units(&shop.offer.destination()),
        )
    };
    let paid_once = (SOLANA_BUYER_UNITS - PRICE, PRICE);
    assert_eq!(balances(), paid_once);

    shop.world.untouched(|| {
        assert_eq!(
            shop.world.settle(&body).failed(reason::DUPLICATE_SETTLEMENT),
            hash
        );
    });
    // Its bytes are public now: sending them again moves nothing either.
    let again = shop.rpc.send_transaction(&landed);
    assert!(
        again.is_err() || again.is_ok_and(|same| same == signature),
        "the chain knows it"
    );
    assert_eq!(balances(), paid_once);
    assert_eq!(shop.world.landed().len(), 1);
}

#[test]
fn another_amount_than_the_sellers_is_refused() {
    let shop = Shop::open();
    let buyer = shop.buyer();
    for amount in [PRICE - 1, PRICE + 1] {
        let offer = Offer { amount, ..shop.offer };
        let payment = buyer.pay(&offer, "order 2").expect("a payment");
        let body = shop.body(&payment);
        shop.world.untouched(|| {
            shop.world.verify(&body).refused(reason::AMOUNT_MISMATCH);
            shop.world.settle(&body).refused(reason::AMOUNT_MISMATCH);
        });
    }
    assert_eq!(shop.units(&buyer.source(&shop.offer.mint)), SOLANA_BUYER_UNITS);
    assert_eq!(shop.units(&shop.offer.destination()), 0);
}

#[test]
fn another_payee_than_the_sellers_is_refused() {
    let shop = Shop::open();
    let pay_to = Pubkey::from_str(&shop.world.chain.buyers[3].address).expect("an address");
    let payment = shop
        .buyer()
        .pay(&Offer { pay_to, ..shop.offer }, "order 3")
        .expect("a payment");
    let body = shop.body(&payment);
    shop.world.untouched(|| {
        shop.world.verify(&body).refused(reason::RECIPIENT_MISMATCH);
        shop.world.settle(&body).refused(reason::RECIPIENT_MISMATCH);
    });
}

#[test]
fn a_message_changed_after_the_buyer_signed_is_refused() {
    let shop = Shop::open();
    let mut payment = shop.buyer().pay(&shop.offer, "order 4").expect("a payment");
    let other = shop.buyer().pay(&shop.offer, "order 5").expect("a payment");
    payment.message = other.message;
    assert_eq!(payment.verify_with_results(), [false, false]);
    let body = shop.body(&payment);
    shop.world.untouched(|| {
        shop.world.verify(&body).refused(reason::SIGNATURE_INVALID);
        shop.world.settle(&body).refused(reason::SIGNATURE_INVALID);
    });
}

#[test]
fn a_buyer_without_the_money_signs_nothing() {
    let shop = Shop::open();
    let offer = Offer {
        amount: SOLANA_BUYER_UNITS + 1,
        ..shop.offer
    };
    let refused = shop.buyer().pay(&offer, "order 6").expect_err("too little");
    assert!(
        matches!(
            refused,
            Error::Funds {
                has: SOLANA_BUYER_UNITS
            }
        ),
        "{refused:?}"
    );
    let newcomer = buyer(&shop.world, &shop.world.chain.newcomer);
    let refused = newcomer.pay(&shop.offer, "order 7").expect_err("no account");
    assert!(matches!(refused, Error::Node(_)), "{refused:?}");
}
