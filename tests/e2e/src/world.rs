//! A chain, a proxy in front of it, and a facilitator that uses the proxy: what nearly every test starts with.

use std::time::{Duration, Instant};

use devnet::{Account, Devnet, Mining, Options, USDC};
use serde_json::Value;

use crate::facilitator::{Facilitator, Output, Settings};
use crate::http::Reply;
use crate::payment::Payment;
use crate::proxy::Proxy;
use crate::wait;

/// keccak of `Transfer(address,address,uint256)`.
pub const TRANSFER_TOPIC: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/// The facilitator measures what is open every five seconds.
const MEASURED_WITHIN: Duration = Duration::from_secs(6);

/// Fields are dropped in this order: the facilitator before what it talks to.
#[derive(Debug)]
pub struct World {
    pub facilitator: Facilitator,
    pub proxy: Proxy,
    /// In front of the same chain, as the second node; it is configured with [`Builder::two_nodes`].
    pub second: Proxy,
    /// The same as the third.
    pub third: Proxy,
    pub chain: Devnet,
    signers: Vec<Account>,
    settings: Settings,
}

/// How a world is made.
#[derive(Debug)]
pub struct Builder {
    options: Options,
    signers: usize,
    nodes: usize,
    settings: Settings,
    /// Every test that starts a world begins with mining on, so that nothing waits while it boots.
    mining: Mining,
}

impl World {
    /// One block per transaction, one signer, answers after one confirmation.
    #[must_use]
    pub fn start() -> World {
        World::builder().start()
    }

    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            options: Options::default(),
            signers: 1,
            nodes: 1,
            settings: Settings::new("", &[]),
            mining: Mining::Auto,
        }
    }

    /// Another process with the same configuration, in a folder and on a port of its own.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn another(&self) -> Facilitator {
        Facilitator::start(&self.settings).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, with the shipped plugins in processes of their own.
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

    /// A payment of this buyer to the merchant. `buyer[1]` owns the contract wallet.
    #[must_use]
    pub fn payment(&self, buyer: usize) -> Payment {
        Payment::new(&self.chain.buyers[buyer], &self.chain.merchant.address)
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

    /// Transactions of the facilitator's signers, mined or waiting.
    #[must_use]
    pub fn sent(&self) -> u128 {
        self.signers
            .iter()
            .map(|signer| {
                self.chain
                    .pending_count(&signer.address)
                    .expect("the node answers")
            })
            .sum()
    }

    /// Transactions of the facilitator's signers that were mined.
    #[must_use]
    pub fn mined(&self) -> u128 {
        let count = |signer: &Account| {
            self.chain
                .transaction_count(&signer.address)
                .expect("the node answers")
        };
        self.signers.iter().map(count).sum()
    }

    /// Transfers of the dollar, from the first block on.
    #[must_use]
    pub fn transfers(&self) -> usize {
        self.chain
            .logs(USDC, Some(TRANSFER_TOPIC))
            .expect("the node answers")
            .len()
    }

    /// What the merchant got so far.
    #[must_use]
    pub fn earned(&self) -> u128 {
        self.balance(&self.chain.merchant.address)
    }

    /// Dollars of an address, in atomic units.
    #[must_use]
    pub fn balance(&self, holder: &str) -> u128 {
        self.chain.balance_of(USDC, holder).expect("the node answers")
    }

    /// Runs something that must not move anything: no transaction, no gas, no transfer.
    ///
    /// # Panics
    /// When something moved.
    #[track_caller]
    pub fn untouched<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.state();
        let result = act();
        assert_eq!(
            before,
            self.state(),
            "(sent, mined, transfers, wei of the signers, earned)"
        );
        result
    }

    fn state(&self) -> (u128, u128, usize, u128, u128) {
        let wei = |signer: &Account| self.chain.wei_of(&signer.address).expect("the node answers");
        (
            self.sent(),
            self.mined(),
            self.transfers(),
            self.signers.iter().map(wei).sum(),
            self.earned(),
        )
    }

    /// Waits until the facilitator's signers have this many transactions mined or waiting.
    ///
    /// # Panics
    /// When they never have.
    #[track_caller]
    pub fn wait_sent(&self, count: u128) {
        wait::until(&format!("{count} transactions at the node"), wait::LONG, || {
            (self.sent() >= count).then_some(())
        });
    }

    /// The sum of the facilitator's samples of a metric whose labels contain this text, as of now.
    ///
    /// # Panics
    /// Without an answer.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &str) -> u64 {
        let text = self.facilitator.get("/metrics").text;
        let samples = text.lines().filter_map(|line| line.strip_prefix(name));
        samples
            .filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels))
            .filter_map(|rest| rest.rsplit(' ').next()?.split('.').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Waits until no transaction of the facilitator is on its way to finality.
    ///
    /// # Panics
    /// When one stays.
    #[track_caller]
    pub fn wait_slots_closed(&self) {
        self.wait_slots_closed_while(|| {});
    }

    /// As [`World::wait_slots_closed`], with blocks by hand: also what is sent late is mined and gets final.
    ///
    /// # Panics
    /// When a slot stays open, or the node does not answer.
    pub fn mine_until_slots_closed(&self) {
        self.wait_slots_closed_while(|| self.chain.mine(1).expect("mines"));
    }

    fn wait_slots_closed_while(&self, between: impl Fn()) {
        let started = Instant::now();
        wait::until("every slot to be closed", wait::LONG, || {
            between();
            let measured = started.elapsed() >= MEASURED_WITHIN;
            (measured && self.metric("switchyard_open_slots", "") == 0).then_some(())
        });
    }

    /// Settles many bodies at once and gives the answers in the order of the bodies.
    ///
    /// # Panics
    /// Without an answer.
    #[must_use]
    pub fn settle_all(&self, bodies: &[Value]) -> Vec<Reply> {
        self.facilitator.settle_all(bodies)
    }
}

impl Builder {
    #[must_use]
    pub fn mining(mut self, mining: Mining) -> Builder {
        self.mining = mining;
        self
    }

    /// Keys with tokens.
    #[must_use]
    pub fn buyers(mut self, count: u16) -> Builder {
        self.options.buyers = count;
        self
    }

    /// Keys of the facilitator, all of them signers unless the network's lines list others.
    #[must_use]
    pub fn signers(mut self, count: usize) -> Builder {
        self.signers = count;
        self
    }

    /// Configures a second node, [`World::second`], after the first.
    #[must_use]
    pub fn two_nodes(mut self) -> Builder {
        self.nodes = 2;
        self
    }

    /// Configures three nodes: [`World::proxy`], [`World::second`] and [`World::third`].
    #[must_use]
    pub fn three_nodes(mut self) -> Builder {
        self.nodes = 3;
        self
    }

    /// Where the facilitator writes to.
    #[must_use]
    pub fn output(mut self, output: Output) -> Builder {
        self.settings.output = output;
        self
    }

    /// Lines of TOML for `[server]`.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Builder {
        self.settings.server = lines.to_owned();
        self
    }

    /// Lines of TOML for the network.
    #[must_use]
    pub fn network(mut self, lines: &str) -> Builder {
        self.settings.network = lines.to_owned();
        self
    }

    /// Standard input of the process is a terminal.
    #[must_use]
    pub fn terminal(mut self) -> Builder {
        self.settings.terminal = true;
        self
    }

    /// Polls follow the chain's blocks, as by default.
    #[must_use]
    pub fn follow_blocks(mut self) -> Builder {
        self.settings.follow_blocks = true;
        self
    }

    /// Loads the plugin with `auth-capture`, with these lines of TOML for its configuration.
    #[must_use]
    pub fn auth_capture(mut self, config: &str) -> Builder {
        self.settings.auth_capture = Some(config.to_owned());
        self
    }

    /// Lines of TOML for the EVM plugin.
    #[must_use]
    pub fn plugin(mut self, lines: &str) -> Builder {
        self.settings.plugin = lines.to_owned();
        self
    }

    /// Further sections of TOML.
    #[must_use]
    pub fn more(mut self, lines: &str) -> Builder {
        self.settings.more = lines.to_owned();
        self
    }

    /// Starts the chain, the proxy and the facilitator.
    ///
    /// # Panics
    /// When one of them does not start.
    #[must_use]
    pub fn start(self) -> World {
        self.start_with(Facilitator::start)
    }

    /// The same, and the facilitator need not get ready.
    ///
    /// # Panics
    /// When one of them does not start.
    #[must_use]
    pub fn start_unready(self) -> World {
        self.start_with(Facilitator::start_unready)
    }

    fn start_with(self, start: impl FnOnce(&Settings) -> Result<Facilitator, crate::Error>) -> World {
        let (mining, signers) = (self.mining, self.signers);
        let chain = Devnet::start(self.options).unwrap_or_else(|error| panic!("{error}"));
        let proxy = Proxy::start(chain.url()).unwrap_or_else(|error| panic!("{error}"));
        let second = Proxy::start(chain.url()).unwrap_or_else(|error| panic!("{error}"));
        let signers = chain.facilitators[..signers].to_vec();
        let third = Proxy::start(chain.url()).unwrap_or_else(|error| panic!("{error}"));
        let mut rpc = vec![proxy.url(), second.url(), third.url()];
        rpc.truncate(self.nodes);
        let settings = Settings {
            rpc,
            signers: signers.clone(),
            ..self.settings
        };
        let facilitator = start(&settings).unwrap_or_else(|error| panic!("{error}"));
        chain.set_mining(mining).unwrap_or_else(|error| panic!("{error}"));
        World {
            facilitator,
            proxy,
            second,
            third,
            chain,
            signers,
            settings,
        }
    }
}
