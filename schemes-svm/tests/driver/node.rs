//! A scripted node, and what the core sends to a driver.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use schemes_svm::driver::SvmDriver;
use schemes_svm::testkit::{Deal, Draft, Key};
use schemes_svm::text;
use sdk_plugin::chain::{KeyInfo, Lane, Network, Observation, Watch};
use sdk_plugin::host::{RpcError, RpcRequest, RpcResult, Suite};
use sdk_plugin::scheme::{Call, EvidenceWanted, Gate, LaneChoice, LogFilter, OnFail, Step};
use sdk_plugin::testkit::{Recorded, ScriptHost, block_on};
use sdk_plugin::{Amount, CallContext, ChainDriver, Cx, HexBytes, Value};
use serde_json::json;
use solana_address::Address;

pub const NETWORK: &str = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1";
pub const GENESIS: &str = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG";
pub const NOW_S: u64 = 1_800_000_000;

/// The node's answers.
#[derive(Debug, Clone)]
pub struct Chain {
    pub genesis: String,
    pub health: RpcResult,
    pub slot: u64,
    pub height: u64,
    pub finalized_height: u64,
    pub time_s: u64,
    pub lamports: u64,
    /// By signature: what a node remembers.
    pub statuses: BTreeMap<String, Value>,
    /// The same of what only its history knows.
    pub history: BTreeMap<String, Value>,
    pub transactions: BTreeMap<String, Value>,
    pub tables: BTreeMap<Address, (Address, Vec<u8>)>,
    /// The oldest slot whose block the node claims to have.
    pub first_available: u64,
    /// Slots whose blocks this node lacks.
    pub holes: BTreeSet<u64>,
    /// Slots whose blocks are listed and not shown.
    pub hidden: BTreeSet<u64>,
    /// Slots that have a block without transactions.
    pub empty: BTreeSet<u64>,
    /// Slots whose transactions the node's index knows.
    pub indexed: Range<u64>,
    /// More signatures of a slot's block.
    pub contained: BTreeMap<u64, String>,
    pub good_blockhashes: BTreeSet<String>,
    /// By method: what the node answers instead.
    pub instead: BTreeMap<String, RpcResult>,
    /// Calls so far, and the one that is answered with null.
    pub calls: usize,
    pub null_at: Option<usize>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            genesis: GENESIS.into(),
            health: RpcResult::Ok(json!("ok")),
            slot: 1_000,
            height: 900,
            finalized_height: 868,
            time_s: NOW_S - 1,
            lamports: 1_000_000_000,
            statuses: BTreeMap::new(),
            history: BTreeMap::new(),
            transactions: BTreeMap::new(),
            tables: BTreeMap::new(),
            first_available: 0,
            holes: BTreeSet::new(),
            hidden: BTreeSet::new(),
            empty: BTreeSet::new(),
            indexed: 0..u64::MAX,
            contained: BTreeMap::new(),
            good_blockhashes: BTreeSet::new(),
            instead: BTreeMap::new(),
            calls: 0,
            null_at: None,
        }
    }
}

/// A signature of a slot's block.
pub fn canary(slot: u64, number: u8) -> String {
    let mut bytes = [7; 64];
    bytes[..8].copy_from_slice(&slot.to_be_bytes());
    bytes[8] = number;
    solana_signature::Signature::from(bytes).to_string()
}

fn slot_of(canary: &str) -> Option<u64> {
    let signature = text::signature(canary)?;
    let bytes: &[u8] = signature.as_ref();
    (bytes[9..] == [7; 55]).then(|| u64::from_be_bytes(bytes[..8].try_into().unwrap()))
}

impl Chain {
    pub fn advance(&mut self, blocks: u64) {
        self.slot += blocks;
        self.height += blocks;
        self.finalized_height += blocks;
    }

    pub fn answer(&mut self, method: &str, params: &Value) -> RpcResult {
        self.calls += 1;
        if self.null_at == Some(self.calls) {
            return RpcResult::Ok(Value::Null);
        }
        if let Some(instead) = self.instead.get(method) {
            return instead.clone();
        }
        let finalized = params[0]["commitment"] == json!("finalized");
        RpcResult::Ok(match method {
            "getGenesisHash" => json!(self.genesis),
            "getVersion" => json!({"solana-core": "4.2.2", "feature-set": 1}),
            "getHealth" => return self.health.clone(),
            "getSlot" if finalized => json!(self.finalized_slot()),
            "getSlot" => json!(self.slot),
            "getBlockHeight" if finalized => json!(self.finalized_height),
            "getBlockHeight" => json!(self.height),
            "getMultipleAccounts" => self.in_context(self.accounts(&params[0])),
            "getSignatureStatuses" => self.in_context(self.statuses_of(params)),
            "getTransaction" => {
                let id = params[0].as_str().unwrap();
                self.transactions.get(id).cloned().unwrap_or_default()
            }
            "getFirstAvailableBlock" => json!(self.first_available),
            "getBlocks" => {
                let (from, to) = (params[0].as_u64().unwrap(), params[1].as_u64().unwrap());
                let newest = to.min(self.finalized_slot());
                let listed =
                    (from.max(self.first_available)..=newest).filter(|slot| !self.holes.contains(slot));
                listed.collect()
            }
            "getBlock" => {
                let slot = params[0].as_u64().unwrap();
                assert_eq!(params[1]["transactionDetails"], json!("signatures"));
                if slot < self.first_available || self.holes.contains(&slot) || self.hidden.contains(&slot) {
                    return refusal(-32_004, &format!("Block not available for slot {slot}"));
                }
                let own = (0..9).map(|number| canary(slot, number));
                let own: Vec<String> = own.filter(|_| !self.empty.contains(&slot)).collect();
                let signatures: Vec<&String> = own.iter().chain(self.contained.get(&slot)).collect();
                json!({"blockHeight": slot - SLOTS_WITHOUT_BLOCK, "parentSlot": slot - 1, "signatures": signatures})
            }
            "isBlockhashValid" => {
                self.in_context(json!(self.good_blockhashes.contains(params[0].as_str().unwrap())))
            }
            other => panic!("unexpected {other} {params}"),
        })
    }

    fn finalized_slot(&self) -> u64 {
        self.slot - (self.height - self.finalized_height)
    }

    fn in_context(&self, value: Value) -> Value {
        json!({"context": {"slot": self.slot}, "value": value})
    }

    fn accounts(&self, addresses: &Value) -> Value {
        let account = |address: &Value| {
            let address = text::address(address.as_str().unwrap()).unwrap();
            let (owner, lamports, data) = if address == schemes_svm::programs::CLOCK {
                let mut clock = vec![0; 40];
                clock[32..].copy_from_slice(&self.time_s.to_le_bytes());
                (Address::default(), 1, clock)
            } else if let Some((owner, data)) = self.tables.get(&address) {
                (*owner, 1, data.clone())
            } else if self.lamports == 0 {
                return Value::Null;
            } else {
                (Address::default(), self.lamports, vec![])
            };
            json!({"owner": owner.to_string(), "lamports": lamports, "data": [text::base64(&data), "base64"]})
        };
        addresses.as_array().unwrap().iter().map(account).collect()
    }

    fn statuses_of(&self, params: &Value) -> Value {
        let history = params[1]["searchTransactionHistory"] == json!(true);
        let status = |id: &Value| {
            let id = id.as_str().unwrap();
            let old = self.history.get(id).filter(|_| history);
            let known = slot_of(id).filter(|slot| history && self.indexed.contains(slot));
            let canary = known.map(|slot| status(slot, "finalized", Value::Null));
            self.statuses
                .get(id)
                .or(old)
                .cloned()
                .or(canary)
                .unwrap_or_default()
        };
        params[0].as_array().unwrap().iter().map(status).collect()
    }
}

/// How much a height is below its slot.
pub const SLOTS_WITHOUT_BLOCK: u64 = 100;

pub const METHODS: [&str; 12] = [
    "getBlock",
    "getBlockHeight",
    "getBlocks",
    "getFirstAvailableBlock",
    "getGenesisHash",
    "getHealth",
    "getMultipleAccounts",
    "getSignatureStatuses",
    "getSlot",
    "getTransaction",
    "getVersion",
    "isBlockhashValid",
];

pub struct World {
    pub host: Arc<ScriptHost>,
    pub driver: SvmDriver,
    pub options: Value,
    pub finality: u64,
    chain: Arc<Mutex<Chain>>,
}

impl World {
    pub fn new() -> Self {
        let host = ScriptHost::at_unix_s(NOW_S);
        let chain: Arc<Mutex<Chain>> = Arc::default();
        for method in METHODS {
            let chain = chain.clone();
            host.answer_rpc(method, move |params| chain.lock().unwrap().answer(method, params));
        }
        host.answer_sign(|request| {
            assert_eq!((request.key.as_str(), request.suite), ("main", Suite::Ed25519));
            let signature = Key::of_seed(1).sign(request.message.as_ref());
            Ok(HexBytes(AsRef::<[u8]>::as_ref(&signature).to_vec()))
        });
        Self {
            host,
            driver: SvmDriver::new(),
            options: Value::Null,
            finality: 32,
            chain,
        }
    }

    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap()
    }

    pub fn cx(&self) -> Cx {
        let mut context: CallContext = self.host.context(NETWORK);
        context.network.options = self.options.clone();
        context.network.finality = self.finality;
        self.host.cx(context)
    }

    pub fn network(&self) -> Network {
        Network {
            id: NETWORK.into(),
            keys: vec![KeyInfo {
                name: "main".into(),
                suite: Suite::Ed25519,
                public_key: HexBytes(Key::of_seed(1).address().to_bytes().to_vec()),
            }],
            options: self.options.clone(),
            calls_failed: false,
            brief: false,
        }
    }

    pub fn observe(&self, watches: &[Watch]) -> Vec<Observation> {
        block_on(self.driver.observe(&self.cx(), watches)).expect("no fault")
    }

    /// Sizes of the reads so far; a comparison of two nodes is marked.
    pub fn reads(&self) -> Vec<(usize, bool)> {
        let recorded = self.host.recorded().into_iter();
        recorded
            .filter_map(|recorded| match recorded {
                Recorded::Rpc {
                    request: RpcRequest::Read { calls, .. },
                    ..
                } => Some((calls.len(), false)),
                Recorded::Rpc {
                    request: RpcRequest::Compare { calls, .. },
                    ..
                } => Some((calls.len(), true)),
                _ => None,
            })
            .collect()
    }
}

pub fn fee_payer() -> Address {
    Key::of_seed(1).address()
}

pub fn lane() -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: fee_payer().to_string(),
        key: "main".into(),
        ordered: false,
    }
}

/// A step for a transaction of these parts.
pub fn step(operation: &str, draft: &Draft) -> Step {
    let deal = Deal::example();
    Step {
        call: Call {
            target: deal.mint.to_string(),
            operation: operation.into(),
            data: HexBytes(draft.sign(&deal.buyer)),
            native_value: Amount::ZERO,
            compute_limit: None,
        },
        lane: LaneChoice::Signer {
            address: fee_payer().to_string(),
        },
        gate: Gate::None,
        on_fail: OnFail::Stop,
        batchable: false,
        one_per_payer: false,
        renewable: false,
        max_cost: None,
        expires_at_s: None,
        evidence: EvidenceWanted::default(),
        pays: true,
        memo: Value::Null,
    }
}

/// A signature that is as good as any.
pub fn tx_id(seed: u8) -> String {
    Key::of_seed(1).sign(&[seed]).to_string()
}

pub fn watch(seed: u8, since: u64) -> Watch {
    let deal = Deal::example();
    let topic = |address: Address| Some(HexBytes(address.to_bytes().to_vec()));
    Watch {
        attempt_id: format!("a{seed}"),
        tx_id: tx_id(seed),
        lane: lane(),
        sequence: u64::from(seed),
        terms: Value::Null,
        since_height: since,
        evidence: vec![EvidenceWanted {
            logs: vec![LogFilter {
                emitter: deal.token_program.to_string(),
                topics: vec![None, topic(deal.mint), topic(deal.destination())],
            }],
            ..EvidenceWanted::default()
        }],
        search_foreign: false,
        pool: false,
        block: None,
        by_block: false,
        final_at: None,
        read_guards: false,
        whole_block: false,
        brief: false,
    }
}

pub fn status(slot: u64, stage: &str, error: Value) -> Value {
    json!({"slot": slot, "confirmations": null, "confirmationStatus": stage, "err": error})
}

pub fn refusal(code: i64, message: &str) -> RpcResult {
    RpcResult::Error(RpcError {
        code,
        message: message.into(),
        data: Value::Null,
    })
}

/// All of a set's members are what the driver's list contains, and the reverse.
pub fn called_methods(host: &ScriptHost) -> BTreeSet<String> {
    host.recorded()
        .into_iter()
        .filter_map(|recorded| match recorded {
            Recorded::Rpc {
                request: RpcRequest::Read { calls, .. },
                ..
            } => Some(calls),
            Recorded::Rpc {
                request: RpcRequest::Compare { calls, .. },
                ..
            } => Some(calls),
            _ => None,
        })
        .flatten()
        .map(|call| call.method)
        .collect()
}
