//! A surfpool node inside this process, offline, with a dollar mint where devnet's USDC is, a Token-2022 mint, a fee
//! payer with SOL, and buyers and a merchant with token accounts; and a facilitator in front of it.
//!
//! What it has over the dev chain of `tests/solana-devnet`: commitment levels and a blockhash queue that are not ours.
//! What it lacks: levers on time, the guards' program, wallet programs.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use devnet::{Rpc, SOLANA_NETWORK, SolanaKey};
use e2e::{Facilitator, Proxy, Settings, SolanaNetwork, wait};
use schemes_svm::programs::{TOKEN, TOKEN_2022};
use schemes_svm::testkit::{Deal, Key};
use schemes_svm::{text, token};
use serde_json::{Value, json};
use surfpool_core::start_local_surfnet;
use surfpool_core::surfnet::svm::SurfnetSvm;
use surfpool_types::{RpcConfig, SimnetConfig, SimnetEvent, SurfpoolConfig};

/// One cent.
pub const PRICE: u64 = 10_000;
/// What every buyer starts with.
pub const BUYER_UNITS: u64 = 1_000_000_000;
pub const BUYERS: u8 = 32;
const SLOT_MS: u64 = 100;
const START: Duration = Duration::from_secs(120);
const DECIMALS: u8 = 6;
const FEE_PAYER_LAMPORTS: u64 = 100_000_000_000;
/// Rent of a mint, and more than enough.
const MINT_LAMPORTS: u64 = 10_000_000;

/// A node, a proxy in front of it, and a facilitator that uses the proxy. The node ends with the test's process.
#[derive(Debug)]
pub struct World {
    pub facilitator: Facilitator,
    pub proxy: Proxy,
    pub rpc: Rpc,
    /// Of the Token-2022 dollar.
    pub mint_2022: String,
}

fn seed(index: u8) -> [u8; 32] {
    [100 + index; 32]
}

impl World {
    /// Starts it all; `network`: further lines of TOML for the network.
    ///
    /// # Panics
    /// When anything does not start.
    #[must_use]
    pub fn start(network: &str) -> World {
        let rpc = Rpc::new(&start_node());
        let fee_payer = Key::of_seed(1).address().to_string();
        let mint_2022 = Key::of_seed(9).address().to_string();
        let usdc = Deal::example().mint.to_string();
        set(&rpc, &fee_payer, json!({ "lamports": FEE_PAYER_LAMPORTS }));
        for (mint, program) in [(&usdc, TOKEN), (&mint_2022, TOKEN_2022)] {
            let data = hex(&mint_account());
            let account = json!({ "lamports": MINT_LAMPORTS, "owner": program.to_string(), "data": data });
            set(&rpc, mint, account);
            let owners = (0..BUYERS).map(|index| (Key::of_secret(seed(index)).address(), BUYER_UNITS));
            for (owner, units) in owners.chain([(Key::of_seed(3).address(), 0)]) {
                let params = json!([owner.to_string(), mint, { "amount": units }, program.to_string()]);
                rpc.call("surfnet_setTokenAccount", params)
                    .expect("a token account");
            }
        }
        let proxy = Proxy::start(rpc.url()).unwrap_or_else(|error| panic!("{error}"));
        // Its genesis hash is another one at every start.
        let options = "options = { any_genesis = true, max_head_age_s = 0, max_clock_skew_s = 0 }";
        let solana = SolanaNetwork {
            id: SOLANA_NETWORK.to_owned(),
            rpc: vec![proxy.url()],
            fee_payers: vec![SolanaKey {
                address: fee_payer,
                secret: String::new(),
                seed: hex(&[1; 32]),
                token_accounts: Default::default(),
            }],
            network: format!("{options}\nassets = [{mint_2022:?}]\n{network}"),
            config: String::new(),
        };
        let settings = Settings {
            rpc: Vec::new(),
            solana: Some(solana),
            ..Settings::new("", &[])
        };
        let facilitator = Facilitator::start(&settings).unwrap_or_else(|error| panic!("{error}"));
        World {
            facilitator,
            proxy,
            rpc,
            mint_2022,
        }
    }

    /// A payment of [`PRICE`] by this buyer to the merchant in USDC, with a fresh blockhash.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn deal(&self, buyer: u8) -> Deal {
        let answer = self
            .rpc
            .call("getLatestBlockhash", json!([{ "commitment": "confirmed" }]))
            .expect("a blockhash");
        let blockhash = answer["value"]["blockhash"].as_str().and_then(text::address);
        Deal {
            buyer: Key::of_secret(seed(buyer)),
            amount: PRICE,
            blockhash: blockhash.expect("32 bytes").to_bytes().into(),
            ..Deal::example()
        }
    }

    /// The same in the Token-2022 dollar.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn deal_2022(&self, buyer: u8) -> Deal {
        Deal {
            mint: text::address(&self.mint_2022).expect("an address"),
            token_program: TOKEN_2022,
            ..self.deal(buyer)
        }
    }

    /// What a seller sends.
    #[must_use]
    pub fn body(&self, deal: &Deal, transaction: &[u8]) -> Value {
        e2e::solana::body(SOLANA_NETWORK, deal, transaction, json!({}))
    }

    /// What the merchant got so far, as of the newest slot.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn earned(&self, deal: &Deal) -> u64 {
        let account = token::associated_account(&deal.pay_to, &deal.mint, &deal.token_program);
        let params = json!([account.to_string(), { "commitment": "processed" }]);
        let answer = self
            .rpc
            .call("getTokenAccountBalance", params)
            .expect("a balance");
        let units = answer["value"]["amount"]
            .as_str()
            .and_then(|text| text.parse().ok());
        units.expect("a number")
    }
}

fn start_node() -> String {
    let free_port = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("its address").port()
    };
    let (port, ws_port) = (free_port(), free_port());
    let (svm, events, geyser) = SurfnetSvm::default();
    let (commands, orders) = crossbeam_channel::unbounded();
    let config = SurfpoolConfig {
        simnets: vec![SimnetConfig {
            offline_mode: true,
            remote_rpc_url: None,
            slot_time: SLOT_MS,
            ..SimnetConfig::default()
        }],
        rpc: RpcConfig {
            bind_host: "127.0.0.1".to_owned(),
            bind_port: port,
            ws_port,
            ..RpcConfig::default()
        },
        ..SurfpoolConfig::default()
    };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let ended = runtime.block_on(start_local_surfnet(svm, config, commands, orders, geyser));
        if let Err(error) = ended {
            eprintln!("surfpool ended: {error}");
        }
    });
    loop {
        match events.recv_timeout(START).expect("surfpool starts") {
            SimnetEvent::CoreStarted(_) => break,
            SimnetEvent::Aborted(why) => panic!("surfpool: {why}"),
            _ => {}
        }
    }
    // No other code reads its events, and their channel must not fill.
    thread::spawn(move || while events.recv().is_ok() {});
    let url = format!("http://127.0.0.1:{port}");
    let rpc = Rpc::new(&url);
    wait::until("surfpool answers", START, || {
        rpc.call("getHealth", json!([])).ok()
    });
    url
}

fn set(rpc: &Rpc, address: &str, account: Value) {
    rpc.call("surfnet_setAccount", json!([address, account]))
        .expect("an account");
}

/// A mint without authorities (SPL Token's `Mint`, 82 bytes): supply at 36, decimals at 44, initialized at 45.
fn mint_account() -> Vec<u8> {
    let mut data = vec![0; 82];
    data[36..44].copy_from_slice(&(BUYER_UNITS * u64::from(BUYERS)).to_le_bytes());
    data[44] = DECIMALS;
    data[45] = 1;
    data
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
