//! A node that holds transactions, receipts, logs and nonces, and counts its calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolValue};
use k256::ecdsa::SigningKey;
use schemes_evm::abi::{AuthorizedToken, Multicall};
use schemes_evm::driver::EvmDriver;
use sdk_plugin::chain::{Attempt, Lane, Observation, Slot, TxState, Watch};
use sdk_plugin::host::{RpcError, RpcRequest, RpcResponse, RpcResult};
use sdk_plugin::scheme::{EvidenceWanted, Guard, ReadAt, ReadWanted};
use sdk_plugin::testkit::{HostLayer, Recorded, ScriptHost, block_on};
use sdk_plugin::{ChainDriver, Cx, Fault, HexBytes, HostServices, Value, async_trait};
use serde_json::json;

pub const NETWORK: &str = "eip155:84532";
pub const SIGNER: &str = "0x5cbdd86a2fa8dc4bddd8a8f69dba48572eec07fb";
pub const NOW_S: u64 = 1_800_000_000;

/// State of the chain as this node shows it.
#[derive(Debug, Clone)]
pub struct Node {
    pub chain_id: u64,
    pub head: u64,
    pub head_time_s: u64,
    pub base_fee: Option<u64>,
    pub gas_price: u64,
    /// Tip of each of the last blocks at the requested percentile.
    pub tips: Vec<u64>,
    pub multicall: bool,
    pub balance: u64,
    /// Nonce of the signer from a height on.
    pub nonces: BTreeMap<u64, u64>,
    /// Heights at which the chain has another block than [`block_id`] names.
    pub forks: BTreeMap<u64, u64>,
    /// Blocks below this height have no state any more.
    pub state_from: u64,
    /// Whether it does not know blocks that are named by an object (EIP-1898).
    pub by_number_only: bool,
    /// From which height on the guarded state is changed.
    pub changed_at: Option<u64>,
    /// By hash: the result of `eth_getTransactionByHash`.
    pub transactions: BTreeMap<String, Value>,
    pub receipts: BTreeMap<String, Value>,
    pub logs: Vec<Value>,
    pub logs_error: Option<String>,
    /// Most blocks of a search, and the error for more.
    pub logs_limit: Option<(u64, i64, String)>,
    /// What a call at an older block answers.
    pub replay: RpcResult,
    pub l1_fee: RpcResult,
    /// By owner and spender, of every asset; what is not here is 0.
    pub allowances: BTreeMap<(Address, Address), u64>,
    /// What a transfer needs, and what it answers when it is called.
    pub estimate: RpcResult,
    pub transfer: RpcResult,
    /// Whether each call of a simulated `aggregate3` works; longer or shorter than the calls: Multicall3 answers otherwise.
    pub works: Vec<bool>,
    /// A contract that the node can't run.
    pub cannot_run: Option<&'static str>,
    /// What the token returns, by selector.
    pub token: BTreeMap<&'static str, Vec<u8>>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            chain_id: 84_532,
            head: 100,
            head_time_s: NOW_S - 2,
            base_fee: Some(1_000),
            gas_price: 1_500,
            tips: vec![5_000_000; 5],
            multicall: true,
            balance: 5_000_000_000_000_000_000,
            nonces: BTreeMap::from([(0, 7)]),
            forks: BTreeMap::new(),
            state_from: 0,
            by_number_only: false,
            changed_at: None,
            transactions: BTreeMap::new(),
            receipts: BTreeMap::new(),
            logs: Vec::new(),
            logs_error: None,
            logs_limit: None,
            replay: revert("FiatTokenV2: authorization is used or canceled"),
            l1_fee: RpcResult::Ok(json!("0x")),
            allowances: BTreeMap::new(),
            estimate: RpcResult::Ok(json!("0xc350")),
            transfer: RpcResult::Ok(json!("0x01")),
            works: Vec::new(),
            cannot_run: None,
            token: BTreeMap::new(),
        }
    }
}

pub fn hex(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

pub fn revert(text: &str) -> RpcResult {
    RpcResult::Error(RpcError {
        code: 3,
        message: format!("execution reverted: {text}"),
        data: Value::Null,
    })
}

pub fn node_error(message: &str) -> RpcResult {
    RpcResult::Error(RpcError {
        code: -32000,
        message: message.into(),
        data: Value::Null,
    })
}

/// A 32-byte hash that contains its number.
pub fn hash(number: u64) -> String {
    format!("0x{number:064x}")
}

impl Node {
    fn answer(&self, method: &str, params: &Value) -> RpcResult {
        let found = |map: &BTreeMap<String, Value>| {
            let key = params[0].as_str().unwrap_or_default();
            RpcResult::Ok(map.get(key).cloned().unwrap_or(Value::Null))
        };
        match method {
            "eth_chainId" => RpcResult::Ok(hex(self.chain_id)),
            "eth_blockNumber" => RpcResult::Ok(hex(self.head)),
            "eth_gasPrice" => RpcResult::Ok(hex(self.gas_price)),
            "eth_getBalance" => RpcResult::Ok(hex(self.balance)),
            "eth_getCode" => RpcResult::Ok(json!(if self.multicall { "0x6080" } else { "0x" })),
            "eth_getBlockByNumber" => match params[0].as_str() {
                Some("latest") => RpcResult::Ok(self.header(self.head)),
                Some(number) => {
                    let height = quantity(number);
                    RpcResult::Ok(if height > self.head {
                        Value::Null
                    } else {
                        self.header(height)
                    })
                }
                None => panic!("a block is a text"),
            },
            "eth_getBlockByHash" => {
                let found = (0..=self.head).find(|height| params[0] == json!(self.block_id(*height)));
                RpcResult::Ok(found.map_or(Value::Null, |height| self.header(height)))
            }
            "eth_feeHistory" => RpcResult::Ok(json!({
                "oldestBlock": hex(self.head.saturating_sub(4)),
                "baseFeePerGas": vec![hex(self.base_fee.unwrap_or(0)); 6],
                "reward": self.tips.iter().map(|tip| vec![hex(*tip)]).collect::<Vec<_>>(),
            })),
            "eth_getTransactionCount" => self.nonce(&params[1]),
            "eth_getTransactionReceipt" => found(&self.receipts),
            "eth_getTransactionByHash" => found(&self.transactions),
            "eth_getLogs" => self.logs(&params[0]),
            "eth_call" | "eth_estimateGas"
                if self
                    .cannot_run
                    .is_some_and(|contract| params[0]["to"] == json!(contract)) =>
            {
                node_error("Exec Failed")
            }
            "eth_call" if params[0]["to"] == json!("0x420000000000000000000000000000000000000f") => {
                self.l1_fee.clone()
            }
            "eth_estimateGas" => self.estimate.clone(),
            "eth_call"
                if params[0]["data"]
                    .as_str()
                    .is_some_and(|data| data.starts_with("0xa9059cbb")) =>
            {
                self.transfer.clone()
            }
            "eth_call" if params[0]["data"] == json!(GUARD_DATA) => match self.state_height(&params[1]) {
                Ok(height) => {
                    let changed = self.changed_at.is_some_and(|at| height >= at);
                    RpcResult::Ok(json!(hash(u64::from(changed))))
                }
                Err(refusal) => refusal,
            },
            "eth_call" if params[0]["to"] == json!(ASSET) && self.described(&params[0]).is_some() => {
                self.described(&params[0]).expect("an answer")
            }
            "eth_call" => self.call(&params[0]),
            _ => panic!("unexpected {method} {params}"),
        }
    }

    fn described(&self, call: &Value) -> Option<RpcResult> {
        let data = self.token.get(call["data"].as_str()?)?;
        Some(RpcResult::Ok(json!(format!("0x{}", hex::encode(data)))))
    }

    fn call(&self, call: &Value) -> RpcResult {
        let data = hex::decode(call["data"].as_str().unwrap().trim_start_matches("0x")).unwrap();
        let bytes = |data: Vec<u8>| RpcResult::Ok(json!(format!("0x{}", hex::encode(data))));
        if let Ok(all) = Multicall::tryAggregateCall::abi_decode(&data) {
            assert!(self.multicall && !all.requireSuccess);
            let outcomes: Vec<Multicall::Outcome> = all
                .calls
                .iter()
                .map(|one| Multicall::Outcome {
                    success: true,
                    returnData: self.allowance(&one.callData).expect("an allowance").into(),
                })
                .collect();
            return bytes(Multicall::tryAggregateCall::abi_encode_returns(&outcomes));
        }
        if Multicall::aggregate3Call::abi_decode(&data).is_ok() {
            let outcome = |works: &bool| Multicall::Outcome {
                success: *works,
                returnData: Vec::new().into(),
            };
            let outcomes: Vec<Multicall::Outcome> = self.works.iter().map(outcome).collect();
            return match self.multicall {
                true => bytes(Multicall::aggregate3Call::abi_encode_returns(&outcomes)),
                false => bytes(Vec::new()),
            };
        }
        self.allowance(&data).map_or_else(|| self.replay.clone(), bytes)
    }

    fn allowance(&self, data: &[u8]) -> Option<Vec<u8>> {
        let asked = AuthorizedToken::allowanceCall::abi_decode(data).ok()?;
        let given = self.allowances.get(&(asked.owner, asked.spender));
        Some(U256::from(given.copied().unwrap_or(0)).abi_encode())
    }

    /// Id of the block at a height.
    pub fn block_id(&self, height: u64) -> String {
        block_id(height + self.forks.get(&height).copied().unwrap_or(0))
    }

    fn header(&self, height: u64) -> Value {
        let mut block = json!({
            "number": hex(height), "hash": self.block_id(height), "timestamp": hex(self.head_time_s),
            "parentHash": self.block_id(height.saturating_sub(1)),
        });
        if let Some(fee) = self.base_fee {
            block["baseFeePerGas"] = hex(fee);
        }
        block
    }

    /// The height of a block with state, or the node's refusal.
    fn state_height(&self, block: &Value) -> Result<u64, RpcResult> {
        let height = match block {
            Value::String(tag) if tag == "latest" => self.head,
            Value::String(number) => quantity(number),
            named if self.by_number_only => {
                return Err(RpcResult::Error(RpcError {
                    code: -32602,
                    message: format!("invalid argument 1: {named}"),
                    data: Value::Null,
                }));
            }
            named => {
                let known =
                    (0..=self.head).find(|height| named["blockHash"] == json!(self.block_id(*height)));
                known.ok_or_else(|| node_error("header not found"))?
            }
        };
        if height < self.state_from {
            return Err(node_error(&format!("missing trie node of {height}")));
        }
        Ok(height)
    }

    fn nonce(&self, block: &Value) -> RpcResult {
        let height = match self.state_height(block) {
            Ok(height) => height,
            Err(refusal) => return refusal,
        };
        let nonce = self
            .nonces
            .range(..=height)
            .next_back()
            .map_or(0, |(_, nonce)| *nonce);
        RpcResult::Ok(hex(nonce))
    }

    fn logs(&self, filter: &Value) -> RpcResult {
        if let Some(error) = &self.logs_error {
            return node_error(error);
        }
        let number = |value: &Value| quantity(value.as_str().unwrap());
        if let Some((blocks, code, message)) = &self.logs_limit
            && filter["blockHash"].is_null()
            && number(&filter["toBlock"]) - number(&filter["fromBlock"]) >= *blocks
        {
            return RpcResult::Error(RpcError {
                code: *code,
                message: message.clone(),
                data: Value::Null,
            });
        }
        let wanted = |log: &&Value| match &filter["blockHash"] {
            Value::Null => {
                let range = number(&filter["fromBlock"])..=number(&filter["toBlock"]);
                range.contains(&number(&log["blockNumber"]))
            }
            block => log["blockHash"] == *block,
        };
        RpcResult::Ok(self.logs.iter().filter(wanted).cloned().collect())
    }

    /// Puts a transaction into a block with these logs.
    pub fn land(&mut self, tx_id: &str, height: u64, success: bool, logs: Vec<Value>) {
        let block = self.block_id(height);
        let logs: Vec<Value> = logs
            .into_iter()
            .map(|mut log| {
                log["transactionHash"] = json!(tx_id);
                log["blockNumber"] = hex(height);
                log["blockHash"] = json!(block);
                log
            })
            .collect();
        self.logs.extend(logs.clone());
        self.transactions.insert(
            tx_id.into(),
            json!({"hash": tx_id, "blockHash": block, "from": SIGNER, "to": ASSET, "input": "0xe3ee160e", "gas": "0x186a0"}),
        );
        self.receipts.insert(
            tx_id.into(),
            json!({
                "transactionHash": tx_id, "blockHash": block, "blockNumber": hex(height),
                "status": hex(u64::from(success)), "logs": logs,
            }),
        );
    }

    /// Puts a transaction into the pool.
    pub fn pend(&mut self, tx_id: &str) {
        self.transactions
            .insert(tx_id.into(), json!({"hash": tx_id, "blockHash": null}));
    }

    pub fn drop_transaction(&mut self, tx_id: &str) {
        self.transactions.remove(tx_id);
        self.receipts.remove(tx_id);
        self.logs.retain(|log| log["transactionHash"] != json!(tx_id));
    }
}

fn quantity(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// Id of the block at a height, where nothing is forked.
pub fn block_id(height: u64) -> String {
    hash(0xb10c_0000 + height)
}

/// The call that reads the guarded state.
pub const GUARD_DATA: &str = "0x99";

/// A guard on the last bit of 32 bytes.
pub fn guard() -> Guard {
    Guard {
        read: ReadWanted {
            name: "guard".into(),
            target: ASSET.into(),
            data: GUARD_DATA.parse().unwrap(),
            required: false,
            at: ReadAt::Block,
        },
        mask: hash(1).parse().unwrap(),
        unchanged: hash(0).parse().unwrap(),
    }
}

pub const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";

/// A log of an emitter with topics given by number.
pub fn log(index: u64, emitter: &str, topics: &[u64]) -> Value {
    json!({
        "logIndex": hex(index), "address": emitter, "data": "0x2a", "removed": false,
        "topics": topics.iter().map(|topic| hash(*topic)).collect::<Vec<_>>(),
    })
}

pub fn topic(number: u64) -> Option<HexBytes> {
    Some(hash(number).parse().unwrap())
}

/// A driver, its host, and its node.
pub struct World {
    pub host: Arc<ScriptHost>,
    pub driver: EvmDriver,
    pub options: Value,
    pub finality: u64,
    /// Assets of the network; `None`: any.
    pub assets: Option<Vec<String>>,
    node: Arc<Mutex<Node>>,
}

impl World {
    pub fn new() -> Self {
        let host = ScriptHost::at_unix_s(NOW_S);
        let node = Arc::new(Mutex::new(Node::default()));
        for method in schemes_evm::driver::RPC_READS {
            let node = node.clone();
            host.answer_rpc(method, move |params| node.lock().unwrap().answer(method, params));
        }
        host.answer_sign(|request| Ok(HexBytes(sign(&[0x33; 32], request.message.as_ref()))));
        Self {
            host,
            driver: EvmDriver::new(),
            options: Value::Null,
            finality: 12,
            assets: None,
            node,
        }
    }

    pub fn with_options(options: Value) -> Self {
        let mut world = Self::new();
        world.options = options;
        world
    }

    pub fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap()
    }

    pub fn cx(&self) -> Cx {
        let mut context = self.host.context(NETWORK);
        context.network.lanes = vec![lane()];
        context.network.options = self.options.clone();
        context.network.assets.clone_from(&self.assets);
        context.network.finality = self.finality;
        self.host.cx(context)
    }

    /// A call whose host returns at most so many bytes of an answer.
    pub fn narrow_cx(&self, most_bytes: usize) -> Cx {
        self.limited_cx(Limited {
            inner: self.host.clone(),
            most_bytes,
            fault: Mutex::default(),
        })
    }

    /// A call whose round trip of this number, from 0, ends in a fault.
    pub fn cx_failing_at(&self, trip: usize, fault: Fault) -> Cx {
        self.limited_cx(Limited {
            inner: self.host.clone(),
            most_bytes: usize::MAX,
            fault: Mutex::new(Some((trip, fault))),
        })
    }

    fn limited_cx(&self, limited: Limited) -> Cx {
        Cx::new(Arc::new(limited), 1, self.cx().context().clone())
    }

    pub fn observe(&self, watches: &[Watch]) -> Vec<Observation> {
        let seen = block_on(self.driver.observe(&self.cx(), watches)).expect("no fault");
        let ids = |ids: &mut dyn Iterator<Item = String>| ids.collect::<Vec<_>>();
        assert_eq!(
            ids(&mut seen.iter().map(|seen| seen.attempt_id.clone())),
            ids(&mut watches.iter().map(|watch| watch.attempt_id.clone())),
            "answers in the watches' order"
        );
        seen
    }

    pub fn state(&self, watch: &Watch) -> TxState {
        self.observe(std::slice::from_ref(watch)).remove(0).state
    }

    /// Number of calls in each round trip so far.
    pub fn trips(&self) -> Vec<usize> {
        let recorded = self.host.recorded().into_iter();
        recorded
            .filter_map(|recorded| match recorded {
                Recorded::Rpc {
                    request: RpcRequest::Read { calls, .. },
                    ..
                } => Some(calls.len()),
                _ => None,
            })
            .collect()
    }
}

/// A host with a limit for answers, as a plugin's message limit is, and with a fault to come.
struct Limited {
    inner: Arc<ScriptHost>,
    most_bytes: usize,
    fault: Mutex<Option<(usize, Fault)>>,
}

#[async_trait]
impl HostLayer for Limited {
    fn inner(&self) -> &dyn HostServices {
        &*self.inner
    }

    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let due = {
            let mut fault = self.fault.lock().unwrap();
            match fault.take() {
                Some((0, due)) => Some(due),
                Some((trips, later)) => {
                    *fault = Some((trips - 1, later));
                    None
                }
                None => None,
            }
        };
        if let Some(fault) = due {
            return Err(fault);
        }
        let response = self.inner.rpc(call, request).await?;
        let bytes = serde_json::to_vec(&response).unwrap().len();
        if bytes > self.most_bytes {
            let cap = self.most_bytes;
            return Err(Fault::invalid(format!(
                "the answer has {bytes} bytes, the plugin takes {cap}"
            )));
        }
        Ok(response)
    }
}

/// r, s and the recovery id over a digest, as `sign.v1` gives them.
pub fn sign(key: &[u8; 32], digest: &[u8]) -> Vec<u8> {
    let key = SigningKey::from_slice(key).unwrap();
    let (signature, recovery) = key.sign_prehash_recoverable(digest).unwrap();
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(recovery.to_byte());
    bytes
}

pub fn lane() -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: SIGNER.into(),
        key: "main".into(),
        ordered: true,
    }
}

pub fn slot(sequence: u64) -> Slot {
    Slot::new(lane(), sequence)
}

/// A watch on transaction `number` in the slot `sequence`, journaled at height 90.
pub fn watch(number: u64, sequence: u64) -> Watch {
    Watch {
        attempt_id: format!("attempt-{number}"),
        tx_id: hash(number),
        lane: lane(),
        sequence,
        terms: Value::Null,
        since_height: 90,
        evidence: vec![EvidenceWanted::default()],
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

pub fn attempt(number: u64) -> Attempt {
    Attempt {
        id: format!("attempt-{number}"),
        tx_id: hash(number),
        lane: lane(),
        sequence: 7,
    }
}
