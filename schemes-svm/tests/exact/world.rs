//! A scripted chain, the vectors' parties, and requests as the core sends them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use schemes_svm::exact::{Config, ExactSvm};
use schemes_svm::fees;
use schemes_svm::programs::{CLOCK, RECENT_BLOCKHASHES};
use schemes_svm::testkit::{Deal, Draft, Key};
use schemes_svm::text;
use schemes_svm::token::{TransferChecked, instructions};
use schemes_svm::wire::Transaction;
use sdk_plugin::chain::Lane;
use sdk_plugin::host::{RpcCall, RpcRequest, RpcResponse, RpcResult};
use sdk_plugin::request::{Accepted, ProtocolVersion, Purpose};
use sdk_plugin::scheme::{Identified, Plan, Refusal, Verdict};
pub use sdk_plugin::testkit::internal_error;
use sdk_plugin::testkit::{self, HostLayer, Recorded, ScriptHost, block_on};
use sdk_plugin::{
    CallContext, Cx, Fault, HostServices, PaymentRequest, Requirements, SchemeHandler, Value, async_trait,
};
use serde_json::{Map, json};
use solana_address::Address;

pub const NETWORK: &str = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1";
pub const NOW_S: u64 = 1_800_000_000;
pub const SLOT: u64 = 1_000;

/// The fee payer that is offered.
pub fn fee_payer() -> Address {
    Key::of_seed(1).address()
}

/// A fee payer that is not offered any more.
pub fn retained() -> Address {
    Key::of_seed(8).address()
}

/// The chain's answers.
#[derive(Debug, Clone)]
pub struct Chain {
    /// By address: owner and data.
    pub accounts: BTreeMap<Address, (Address, Vec<u8>)>,
    pub lamports: BTreeMap<Address, u64>,
    /// Replaces the simulation's whole answer.
    pub simulation: Option<RpcResult>,
    /// The simulation's `err`.
    pub error: Value,
    /// Lamports that the simulation takes from the fee payer; `None`: the fee.
    pub cost: Option<u64>,
    /// What arrives, where it differs from the top-level transfers.
    pub arrives: Option<u64>,
    /// Whether the node shows balances before and after.
    pub shows_balances: bool,
    /// Whether the destination exists before.
    pub destination_exists: bool,
    /// Owner of the source account, where it is not the authority.
    pub source_owner: Option<Address>,
    pub inner: Value,
    /// The slot of the next answer; each simulation finds one more.
    pub slot: u64,
    /// The chain makes no progress.
    pub stands: bool,
    /// Seconds since the epoch by the chain's clock.
    pub time_s: Option<u64>,
    pub blockhash_is_valid: bool,
    /// What the sysvar of recent blockhashes lists, the newest first.
    pub blockhashes: Vec<[u8; 32]>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            lamports: BTreeMap::new(),
            simulation: None,
            error: Value::Null,
            cost: None,
            arrives: None,
            shows_balances: true,
            destination_exists: true,
            source_owner: None,
            inner: Value::Null,
            slot: SLOT,
            stands: false,
            time_s: Some(NOW_S),
            blockhash_is_valid: false,
            blockhashes: Vec::new(),
        }
    }
}

impl Chain {
    fn simulate(&mut self, params: &Value) -> RpcResult {
        let slot = self.slot;
        self.slot += u64::from(!self.stands);
        assert_eq!(params[1]["sigVerify"], json!(false));
        assert_eq!(params[1]["replaceRecentBlockhash"], json!(false));
        assert_eq!(params[1]["commitment"], json!("confirmed"));
        if let Some(answer) = &self.simulation {
            return answer.clone();
        }
        let bytes = text::transaction_bytes(params[0].as_str().unwrap()).unwrap();
        let transaction = Transaction::decode(&bytes).unwrap();
        let accounts = self.resolve(&transaction);
        let mut value =
            json!({ "err": self.error, "logs": ["Program log: no"], "innerInstructions": self.inner });
        if self.shows_balances {
            let (pre, post) = self.balances(&transaction, &accounts);
            value["preBalances"] = json!([1_000_000_000u64]);
            value["postBalances"] =
                json!([1_000_000_000 - self.cost.unwrap_or_else(|| fees::bound(transaction.message()))]);
            value["preTokenBalances"] = pre;
            value["postTokenBalances"] = post;
        }
        shown_at(slot, value)
    }

    /// The message's accounts, with tables that exist resolved.
    fn resolve(&self, transaction: &Transaction) -> Vec<Address> {
        let message = transaction.message();
        let mut all = message.keys.clone();
        for writable in [true, false] {
            for lookup in &message.lookups {
                let indexes = if writable {
                    &lookup.writable_indexes
                } else {
                    &lookup.readonly_indexes
                };
                let data = self
                    .accounts
                    .get(&lookup.account_key)
                    .map(|(_, data)| data.clone())
                    .unwrap_or_default();
                for index in indexes {
                    let at = 56 + usize::from(*index) * 32;
                    all.push(data.get(at..at + 32).map_or_else(Address::default, |b| {
                        Address::new_from_array(b.try_into().unwrap())
                    }));
                }
            }
        }
        all
    }

    fn balances(&self, transaction: &Transaction, accounts: &[Address]) -> (Value, Value) {
        let transfers: Vec<TransferChecked> = instructions(transaction.message(), accounts)
            .unwrap()
            .iter()
            .filter_map(TransferChecked::read)
            .collect();
        let (mut pre, mut post) = (Vec::new(), Vec::new());
        let place = |address: &Address| accounts.iter().position(|known| known == address).unwrap();
        let balance = |address: &Address, mint: &Address, owner: Address, amount: u64| {
            json!({
                "accountIndex": place(address), "mint": mint.to_string(), "owner": owner.to_string(),
                "uiTokenAmount": {"amount": amount.to_string(), "decimals": 6}
            })
        };
        for transfer in &transfers {
            let arrives = self.arrives.unwrap_or(transfer.amount);
            let owner = self.source_owner.unwrap_or(transfer.authority);
            pre.push(balance(&transfer.source, &transfer.mint, owner, 50_000));
            post.push(balance(
                &transfer.source,
                &transfer.mint,
                owner,
                50_000u64.saturating_sub(transfer.amount),
            ));
            if self.destination_exists {
                pre.push(balance(
                    &transfer.destination,
                    &transfer.mint,
                    Address::default(),
                    7,
                ));
            }
            let before = if self.destination_exists { 7u64 } else { 0 };
            post.push(balance(
                &transfer.destination,
                &transfer.mint,
                Address::default(),
                before.saturating_add(arrives),
            ));
        }
        (json!(pre), json!(post))
    }

    fn read(&self, params: &Value) -> RpcResult {
        let accounts: Vec<Value> = params[0]
            .as_array()
            .unwrap()
            .iter()
            .map(|address| {
                let address = text::address(address.as_str().unwrap()).unwrap();
                let lamports = self.lamports.get(&address).copied();
                if let Some(data) = self.sysvar(&address) {
                    return json!({
                        "owner": Address::default().to_string(), "lamports": 1, "data": [text::base64(&data), "base64"]
                    });
                }
                match (self.accounts.get(&address), lamports) {
                    (Some((owner, data)), _) => json!({
                        "owner": owner.to_string(), "lamports": 1, "data": [text::base64(data), "base64"]
                    }),
                    (None, Some(lamports)) => json!({
                        "owner": Address::default().to_string(), "lamports": lamports, "data": ["", "base64"]
                    }),
                    (None, None) => Value::Null,
                }
            })
            .collect();
        shown_at(self.slot, json!(accounts))
    }

    fn sysvar(&self, address: &Address) -> Option<Vec<u8>> {
        if *address == CLOCK {
            let mut data = vec![0; 32];
            data.extend(self.time_s?.to_le_bytes());
            return Some(data);
        }
        if *address != RECENT_BLOCKHASHES || self.blockhashes.is_empty() {
            return None;
        }
        let mut data = (self.blockhashes.len() as u64).to_le_bytes().to_vec();
        for hash in &self.blockhashes {
            data.extend(hash);
            data.extend([0; 8]);
        }
        Some(data)
    }

    /// The answer to any call.
    fn answer(&mut self, call: &RpcCall) -> RpcResult {
        match call.method.as_str() {
            "simulateTransaction" => self.simulate(&call.params),
            "getMultipleAccounts" => self.read(&call.params),
            "isBlockhashValid" => shown_at(self.slot, json!(self.blockhash_is_valid)),
            other => panic!("a scheme does not call {other}"),
        }
    }
}

pub fn at_slot(value: Value) -> RpcResult {
    shown_at(SLOT, value)
}

fn shown_at(slot: u64, value: Value) -> RpcResult {
    RpcResult::Ok(json!({ "context": { "slot": slot }, "value": value }))
}

/// A host whose network has two nodes: the script's, and one with a view of its own that only comparisons reach.
struct TwoNodes {
    first: Arc<ScriptHost>,
    second: Arc<Mutex<Chain>>,
}

#[async_trait]
impl HostLayer for TwoNodes {
    fn inner(&self) -> &dyn HostServices {
        &*self.first
    }

    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let mut response = self.first.rpc(call, request.clone()).await?;
        if let RpcRequest::Compare { calls, .. } = &request {
            let mut second = self.second.lock().unwrap();
            let answers = calls.iter().map(|call| second.answer(call));
            response.results.extend(answers);
        }
        Ok(response)
    }
}

/// A scheme instance, its host, and its chain.
pub struct World {
    pub host: Arc<ScriptHost>,
    pub exact: ExactSvm,
    pub assets: Option<Vec<String>>,
    pub lanes: Vec<Address>,
    config: Config,
    chain: Arc<Mutex<Chain>>,
    second: Option<Arc<Mutex<Chain>>>,
}

impl World {
    pub fn new() -> Self {
        Self::configured(|_| {})
    }

    pub fn configured(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let host = ScriptHost::at_unix_s(NOW_S);
        let chain: Arc<Mutex<Chain>> = Arc::default();
        let simulated = chain.clone();
        host.answer_rpc("simulateTransaction", move |params| {
            simulated.lock().unwrap().simulate(params)
        });
        let valid = chain.clone();
        host.answer_rpc("isBlockhashValid", move |_| {
            let chain = valid.lock().unwrap();
            shown_at(chain.slot, json!(chain.blockhash_is_valid))
        });
        let read = chain.clone();
        host.answer_rpc("getMultipleAccounts", move |params| {
            read.lock().unwrap().read(params)
        });
        Self {
            host,
            exact: ExactSvm::new(config.clone()),
            assets: Some(vec![Deal::example().mint.to_string()]),
            lanes: vec![fee_payer()],
            config,
            chain,
            second: None,
        }
    }

    pub fn with(self, change: impl FnOnce(&mut Chain)) -> Self {
        change(&mut self.chain());
        self
    }

    /// A second node, which sees the chain like this.
    pub fn with_second(mut self, change: impl FnOnce(&mut Chain)) -> Self {
        let mut second = Chain::default();
        change(&mut second);
        self.second = Some(Arc::new(Mutex::new(second)));
        self
    }

    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap()
    }

    pub fn context(&self) -> CallContext {
        let mut context = self.host.context(NETWORK);
        context.network.lanes = self.lanes.iter().map(lane).collect();
        context.network.retained = vec![lane(&retained())];
        context.network.assets = self.assets.clone();
        context
    }

    pub fn cx(&self) -> Cx {
        match &self.second {
            None => self.host.cx(self.context()),
            Some(second) => {
                let host = TwoNodes {
                    first: self.host.clone(),
                    second: second.clone(),
                };
                Cx::new(Arc::new(host), 1, self.context())
            }
        }
    }

    pub fn identify(&self, request: &PaymentRequest) -> Result<Identified, Refusal> {
        testkit::identify(&self.exact, &self.cx(), request)
    }

    pub fn try_verify(&self, request: &PaymentRequest) -> Result<Verdict, Fault> {
        block_on(self.exact.verify(&self.cx(), request))
    }

    /// The payer of a good payment.
    pub fn verify(&self, request: &PaymentRequest) -> Result<String, Refusal> {
        testkit::verify(&self.exact, &self.cx(), request)
    }

    /// The same refusal from verify and from plan.
    pub fn refusal(&self, request: &PaymentRequest) -> Refusal {
        let planned = self.plan(request).expect_err("plan refuses");
        assert_eq!(self.verify(request).expect_err("verify refuses"), planned);
        planned
    }

    pub fn plan(&self, request: &PaymentRequest) -> Result<Plan, Refusal> {
        testkit::plan(&self.exact, &self.cx(), request)
    }

    /// The same reason from verify and from plan, in fresh instances on the same chain.
    pub fn refused(&self, request: &PaymentRequest) -> String {
        let config = self.config.clone();
        let mut fresh = Self::configured(|fresh| *fresh = config).with(|chain| *chain = self.chain().clone());
        fresh.assets = self.assets.clone();
        fresh.lanes = self.lanes.clone();
        let planned = fresh.plan(request).expect_err("plan refuses").reason;
        let verified = self.verify(request).expect_err("verify refuses").reason;
        assert_eq!(planned, verified, "plan and verify differ");
        verified
    }

    /// How often two nodes were read.
    pub fn second_opinions(&self) -> usize {
        let recorded = self.host.recorded().into_iter();
        recorded
            .filter(|recorded| {
                matches!(
                    recorded,
                    Recorded::Rpc {
                        request: RpcRequest::Compare { .. },
                        ..
                    }
                )
            })
            .count()
    }

    /// Batches read so far: each a list of calls.
    pub fn batches(&self) -> Vec<Vec<RpcCall>> {
        let recorded = self.host.recorded().into_iter();
        let reads = recorded.filter_map(|recorded| match recorded {
            Recorded::Rpc {
                request: RpcRequest::Read { network, calls },
                ..
            } => {
                assert_eq!(network, NETWORK);
                Some(calls)
            }
            Recorded::Store { .. } | Recorded::Sleep { .. } => None,
            // A second opinion.
            Recorded::Rpc {
                request: RpcRequest::Compare { .. },
                ..
            } => None,
            other => panic!("a scheme only reads: {other:?}"),
        });
        reads.collect()
    }
}

pub fn lane(signer: &Address) -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: signer.to_string(),
        key: "main".into(),
        ordered: false,
    }
}

/// The request for a transaction, as the core sends it, with the terms of the example.
pub fn request(transaction: &[u8]) -> PaymentRequest {
    request_of(&Deal::example(), transaction)
}

pub fn request_of(deal: &Deal, transaction: &[u8]) -> PaymentRequest {
    PaymentRequest {
        version: ProtocolVersion::V2,
        scheme: "exact".into(),
        network: NETWORK.into(),
        network_as_sent: NETWORK.into(),
        payload: Map::from_iter([("transaction".to_owned(), json!(text::base64(transaction)))]),
        accepted: Accepted {
            scheme: "exact".into(),
            network: NETWORK.into(),
            raw: Map::new(),
        },
        requirements: Requirements {
            scheme: "exact".into(),
            network: NETWORK.into(),
            amount: deal.amount.into(),
            asset: deal.mint.to_string(),
            pay_to: deal.pay_to.to_string(),
            max_timeout_seconds: 60,
            extra: Map::from_iter([("feePayer".to_owned(), json!(deal.fee_payer.to_string()))]),
        },
        resource: None,
        extensions: Map::new(),
        purpose: Purpose::Settle,
        tenant: None,
        idempotency_key: None,
        remaining_ms: 25_000,
        wants_reserves: false,
    }
}

/// The official client's payment.
pub fn good() -> PaymentRequest {
    changed(|_| {})
}

/// It with its parts changed, signed by the buyer.
pub fn changed(change: impl FnOnce(&mut Draft)) -> PaymentRequest {
    let deal = Deal::example();
    let mut draft = deal.official();
    change(&mut draft);
    request(&draft.sign(&deal.buyer))
}

/// The same by protocol v1.
pub fn v1(mut request: PaymentRequest) -> PaymentRequest {
    request.version = ProtocolVersion::V1;
    request
}

/// An active address lookup table's account.
pub fn table(addresses: &[Address]) -> (Address, Vec<u8>) {
    let mut data = 1u32.to_le_bytes().to_vec();
    data.extend(u64::MAX.to_le_bytes());
    data.resize(56, 0);
    addresses
        .iter()
        .for_each(|address| data.extend(address.to_bytes()));
    (schemes_svm::programs::ADDRESS_LOOKUP_TABLE, data)
}

/// A Token-2022 mint with one extension of this type (its data zeros).
pub fn mint_2022(extension: Option<(u16, usize)>) -> (Address, Vec<u8>) {
    let mut data = vec![0; 82];
    // Decimals, and that it is initialised.
    data[44] = 6;
    data[45] = 1;
    if let Some((kind, length)) = extension {
        data.resize(165, 0);
        data.push(1);
        data.extend(kind.to_le_bytes());
        data.extend(u16::try_from(length).unwrap().to_le_bytes());
        data.resize(data.len() + length, 0);
    }
    (schemes_svm::programs::TOKEN_2022, data)
}
