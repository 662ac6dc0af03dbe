//! A Solana chain, a proxy in front of it, and a facilitator that uses the proxy; and payments as wallets make them there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use devnet::{SolanaDevnet, SolanaKey, SolanaOptions, SolanaToken, SolanaTransaction};
use schemes_svm::testkit::{Deal, Draft, Key};
use schemes_svm::text;
use schemes_svm::wire::Transaction;
use serde_json::{Map, Value, json};

use crate::facilitator::{Facilitator, Settings, SolanaNetwork};
use crate::http::Reply;
use crate::proxy::Proxy;
use crate::wait;

/// One cent.
pub const PRICE: u64 = 10_000;
/// What every signature costs.
pub const LAMPORTS_PER_SIGNATURE: u64 = 5_000;

/// Fields are dropped in this order: the facilitator before what it talks to.
#[derive(Debug)]
pub struct SolanaWorld {
    pub facilitator: Facilitator,
    pub proxy: Proxy,
    pub second: Proxy,
    pub chain: SolanaDevnet,
    fee_payers: Vec<SolanaKey>,
    settings: Settings,
}

/// How a world is made.
#[derive(Debug)]
pub struct Builder {
    options: SolanaOptions,
    fee_payers: usize,
    two_nodes: bool,
    server: String,
    network: String,
    config: String,
}

impl SolanaWorld {
    /// One fee payer, slots of 50 ms, answers at `confirmed`.
    #[must_use]
    pub fn start() -> SolanaWorld {
        SolanaWorld::builder().start()
    }

    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            options: SolanaOptions::default(),
            fee_payers: 1,
            two_nodes: false,
            server: String::new(),
            network: String::new(),
            config: String::new(),
        }
    }

    /// Another process with the same configuration, and the plugin in a process of its own.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn isolated(&self) -> Facilitator {
        let settings = Settings {
            isolated: true,
            ..self.settings.clone()
        };
        Facilitator::start(&settings).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A payment of [`PRICE`] by this buyer to the merchant, in the first token, with a fresh blockhash. Two of them are
    /// equal when the chain did not move between them: give them different memos.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn deal(&self, buyer: usize) -> Deal {
        self.deal_in(buyer, &self.chain.tokens[0])
    }

    /// The same in another token.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn deal_in(&self, buyer: usize, token: &SolanaToken) -> Deal {
        deal(&self.chain, &self.fee_payers[0], buyer, token)
    }

    /// What a seller sends: this transaction for this deal.
    #[must_use]
    pub fn body(&self, deal: &Deal, transaction: &[u8]) -> Value {
        self.body_with(deal, transaction, json!({}))
    }

    /// The same with further members of `extra`.
    #[must_use]
    pub fn body_with(&self, deal: &Deal, transaction: &[u8], extra: Value) -> Value {
        body(&self.chain.network, deal, transaction, extra)
    }

    /// The same in protocol v1.
    #[must_use]
    pub fn body_v1(&self, deal: &Deal, transaction: &[u8]) -> Value {
        json!({
            "x402Version": 1,
            "paymentPayload": {
                "x402Version": 1,
                "scheme": "exact",
                "network": "solana-devnet",
                "payload": {"transaction": STANDARD.encode(transaction)},
            },
            "paymentRequirements": {
                "scheme": "exact",
                "network": "solana-devnet",
                "maxAmountRequired": deal.amount.to_string(),
                "resource": "https://api.example.com/weather",
                "description": "",
                "mimeType": "application/json",
                "payTo": deal.pay_to.to_string(),
                "maxTimeoutSeconds": 60,
                "asset": deal.mint.to_string(),
                "extra": {"feePayer": deal.fee_payer.to_string()},
            },
        })
    }

    /// The body for what the official client would build, with a memo of its own.
    #[must_use]
    pub fn official(&self, buyer: usize, memo: &str) -> Value {
        let deal = self.deal(buyer);
        self.body(&deal, &with_memo(&deal, memo).sign(&deal.buyer))
    }

    /// # Panics
    /// Without an answer.
    #[track_caller]
    #[must_use]
    pub fn settle(&self, body: &Value) -> Reply {
        self.facilitator.settle(body)
    }

    /// # Panics
    /// Without an answer.
    #[track_caller]
    #[must_use]
    pub fn verify(&self, body: &Value) -> Reply {
        self.facilitator.verify(body)
    }

    /// Settles many bodies at once and gives the answers in the order of the bodies.
    ///
    /// # Panics
    /// Without an answer.
    #[must_use]
    pub fn settle_all(&self, bodies: &[Value]) -> Vec<Reply> {
        self.facilitator.settle_all(bodies)
    }

    /// Everything that landed since the start.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn landed(&self) -> Vec<SolanaTransaction> {
        self.chain.transactions().expect("the node answers")
    }

    /// What the merchant got so far, of the first token.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn earned(&self) -> u64 {
        self.earned_in(&self.chain.tokens[0])
    }

    /// The same of another token.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn earned_in(&self, token: &SolanaToken) -> u64 {
        let account = &self.chain.merchant.token_accounts[&token.mint];
        self.chain
            .token_account_balance(account)
            .expect("the node answers")
    }

    /// Lamports of the facilitator's fee payers.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn lamports(&self) -> u64 {
        let of = |key: &SolanaKey| self.chain.lamports_of(&key.address).expect("the node answers");
        self.fee_payers.iter().map(of).sum()
    }

    /// Runs something that must not move anything: no transaction, no lamport, no transfer.
    ///
    /// # Panics
    /// When something moved.
    #[track_caller]
    pub fn untouched<T>(&self, act: impl FnOnce() -> T) -> T {
        let state = || (self.landed().len(), self.lamports(), self.earned());
        let before = state();
        let result = act();
        assert_eq!(
            before,
            state(),
            "(transactions, lamports of the fee payers, earned)"
        );
        result
    }

    /// Waits until this many transactions have landed.
    ///
    /// # Panics
    /// When they never have.
    #[track_caller]
    pub fn wait_landed(&self, count: usize) {
        wait::until(&format!("{count} transactions on the chain"), wait::LONG, || {
            (self.landed().len() >= count).then_some(())
        });
    }
}

/// A payment of [`PRICE`] by this buyer to the merchant, for which this key pays the fees.
///
/// # Panics
/// When the node does not answer.
#[must_use]
pub fn deal(chain: &SolanaDevnet, fee_payer: &SolanaKey, buyer: usize, token: &SolanaToken) -> Deal {
    let address = |text: &str| text::address(text).expect("an address");
    let blockhash = chain.blockhash().expect("the node answers");
    Deal {
        fee_payer: address(&fee_payer.address),
        buyer: key(&chain.buyers[buyer]),
        pay_to: address(&chain.merchant.address),
        mint: address(&token.mint),
        token_program: address(&token.program),
        amount: PRICE,
        decimals: token.decimals,
        blockhash: address(&blockhash).to_bytes().into(),
    }
}

/// What a seller on a network sends: this transaction for this deal, with further members of `extra`.
///
/// # Panics
/// When `extra` is no object.
#[must_use]
pub fn body(network: &str, deal: &Deal, transaction: &[u8], extra: Value) -> Value {
    let mut all = Map::from_iter([("feePayer".to_owned(), json!(deal.fee_payer.to_string()))]);
    all.extend(extra.as_object().expect("an object").clone());
    let requirements = json!({
        "scheme": "exact",
        "network": network,
        "amount": deal.amount.to_string(),
        "asset": deal.mint.to_string(),
        "payTo": deal.pay_to.to_string(),
        "maxTimeoutSeconds": 60,
        "extra": all,
    });
    json!({
        "x402Version": 2,
        "paymentPayload": {
            "x402Version": 2,
            "resource": {"url": "https://api.example.com/weather"},
            "accepted": requirements,
            "payload": {"transaction": STANDARD.encode(transaction)},
        },
        "paymentRequirements": requirements,
    })
}

/// What the official client builds, with this memo instead of a random one.
#[must_use]
pub fn with_memo(deal: &Deal, memo: &str) -> Draft {
    let mut draft = deal.official();
    draft.parts.pop();
    draft.parts.push(schemes_svm::testkit::memo(memo));
    draft
}

/// The same message with other bytes where the fee payer's signature goes.
///
/// # Panics
/// When the bytes are no transaction.
#[must_use]
pub fn with_first_signature(transaction: &[u8], byte: u8) -> Vec<u8> {
    let decoded = Transaction::decode(transaction).expect("a transaction");
    decoded.with_fee_payer_signature([byte; 64].into()).to_bytes()
}

/// A key of the chain, to sign with.
///
/// # Panics
/// When its seed is no 32 bytes of hex.
#[must_use]
pub fn key(key: &SolanaKey) -> Key {
    let mut seed = [0; 32];
    hex::decode_to_slice(&key.seed, &mut seed).expect("a seed in hex");
    Key::of_secret(seed)
}

impl Builder {
    /// Changes what the chain is started with.
    #[must_use]
    pub fn chain(mut self, change: impl FnOnce(&mut SolanaOptions)) -> Builder {
        change(&mut self.options);
        self
    }

    /// Keys of the facilitator.
    #[must_use]
    pub fn fee_payers(mut self, count: usize) -> Builder {
        self.fee_payers = count;
        self
    }

    /// Configures a second node, [`SolanaWorld::second`], after the first.
    #[must_use]
    pub fn two_nodes(mut self) -> Builder {
        self.two_nodes = true;
        self
    }

    /// Lines of TOML for `[server]`.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Builder {
        self.server = lines.to_owned();
        self
    }

    /// Lines of TOML for the network.
    #[must_use]
    pub fn network(mut self, lines: &str) -> Builder {
        self.network = lines.to_owned();
        self
    }

    /// Lines of TOML for the plugin's configuration.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Builder {
        self.config = lines.to_owned();
        self
    }

    /// Starts the chain, the proxy and the facilitator.
    ///
    /// # Panics
    /// When one of them does not start.
    #[must_use]
    pub fn start(self) -> SolanaWorld {
        let chain = SolanaDevnet::start(&self.options).unwrap_or_else(|error| panic!("{error}"));
        let proxy = Proxy::start(chain.url()).unwrap_or_else(|error| panic!("{error}"));
        let second = Proxy::start(chain.url()).unwrap_or_else(|error| panic!("{error}"));
        let mut rpc = vec![proxy.url()];
        if self.two_nodes {
            rpc.push(second.url());
        }
        let fee_payers = chain.fee_payers[..self.fee_payers].to_vec();
        let network = SolanaNetwork {
            id: chain.network.clone(),
            rpc,
            fee_payers: fee_payers.clone(),
            network: self.network,
            config: self.config,
        };
        let settings = Settings {
            server: self.server,
            rpc: Vec::new(),
            solana: Some(network),
            ..Settings::new("", &[])
        };
        let facilitator = Facilitator::start(&settings).unwrap_or_else(|error| panic!("{error}"));
        SolanaWorld {
            facilitator,
            proxy,
            second,
            chain,
            fee_payers,
            settings,
        }
    }
}
