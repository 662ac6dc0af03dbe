//! A scripted chain, with an instance of the scheme in front of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use alloy_primitives::aliases::U120;
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolValue;
use schemes_evm::auth_capture::AuthCaptureEvm;
use schemes_evm::auth_capture::config::Config;
use sdk_plugin::chain::Lane;
use sdk_plugin::host::{RpcCall, RpcError, RpcRequest, RpcResponse, RpcResult, StoreRequest, StoreResponse};
use sdk_plugin::scheme::{Identified, Plan, Planned, Refusal, Verdict};
pub use sdk_plugin::testkit::internal_error;
use sdk_plugin::testkit::{self, HostLayer, Recorded, ScriptHost, block_on};
use sdk_plugin::{CallContext, Cx, Fault, HostServices, PaymentRequest, SchemeHandler, Value, async_trait};
use serde_json::json;

use crate::two_nodes::TwoNodes;

use super::offer::{ASSET, AUTHORIZER, FACILITATOR, NETWORK, NOW_S, PAYER};

/// The operator's token store.
pub const STORE: Address = Address::repeat_byte(0x57);
/// A signer that is no longer used for new work.
pub const RETAINED: &str = "0x7777777777777777777777777777777777777777";
const TYPEHASH: &str = "0xae68ac7ce30c86ece8196b61a7c486d8f0061f575037fbd34e7fe4e2820c6591";

/// The chain's answers. Every answer can be replaced by an error.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Timestamp of the newest block, seconds since the epoch.
    pub head_s: u64,
    pub payer_code: RpcResult,
    pub payer_wallet: RpcResult,
    pub authorizer_code: RpcResult,
    pub authorizer_wallet: RpcResult,
    pub state: RpcResult,
    pub balance: RpcResult,
    pub simulation: RpcResult,
    pub estimate: RpcResult,
    pub store: RpcResult,
    /// `PAYMENT_INFO_TYPEHASH` of escrows.
    pub typehash: RpcResult,
    /// Escrows that answer nothing.
    pub missing: Vec<Address>,
    /// What a contract operator does in the sandbox.
    pub sandbox: Sandbox,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            head_s: NOW_S,
            payer_code: hex_result(&[]),
            payer_wallet: hex_result(&[]),
            authorizer_code: hex_result(&[]),
            authorizer_wallet: hex_result(&[]),
            state: state(false, 0, 0),
            balance: word_result(5_000_000),
            simulation: hex_result(&[]),
            estimate: RpcResult::Ok(json!("0x30d40")),
            store: hex_result(&STORE.abi_encode()),
            typehash: RpcResult::Ok(json!(TYPEHASH)),
            missing: Vec::new(),
            sandbox: Sandbox::default(),
        }
    }
}

/// What `eth_simulateV1` shows around the call in the middle.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    /// Instead of everything below.
    pub instead: Option<RpcResult>,
    pub before: (bool, u64, u64),
    pub after: (bool, u64, u64),
    /// By account, lower case: what its balance of 1,000,000,000 changes by.
    pub changes: BTreeMap<String, i64>,
    /// The same of the sender's native balance.
    pub native_change: i64,
    /// Logs of the call.
    pub logs: Vec<Value>,
    /// Revert data of the call, if it fails.
    pub reverts: Option<String>,
}

impl Sandbox {
    fn answer(&self, params: &Value) -> RpcResult {
        if let Some(instead) = &self.instead {
            return instead.clone();
        }
        let calls = params[0]["blockStateCalls"][0]["calls"].as_array().unwrap();
        let mut is_after = false;
        let answers = calls.iter().map(|call| {
            let data = call["data"].as_str().unwrap();
            if is_collection(data) {
                is_after = true;
                assert_eq!(call["from"], json!(FACILITATOR.to_lowercase()));
                return match &self.reverts {
                    Some(data) => json!({
                        "status": "0x0", "returnData": data, "gasUsed": "0x1", "logs": [],
                        "error": { "code": 3, "message": "execution reverted", "data": data },
                    }),
                    None => simulated(&[], self.logs.clone()),
                };
            }
            let balance = |change: i64| {
                let change = if is_after { change } else { 0 };
                U256::from(1_000_000_000i64 + change).abi_encode()
            };
            let returned = match &data[..10] {
                "0x34b778ed" => {
                    let (collected, capturable, refundable) = if is_after { self.after } else { self.before };
                    words(collected, capturable, refundable)
                }
                "0x70a08231" => {
                    let account = format!("0x{}", &data[34..74]);
                    balance(self.changes.get(&account).copied().unwrap_or_default())
                }
                "0x4d2301cc" => balance(self.native_change),
                "0xe15d987a" => hex::decode(&TYPEHASH[2..]).unwrap(),
                other => panic!("unexpected {other} in the sandbox"),
            };
            simulated(&returned, Vec::new())
        });
        RpcResult::Ok(json!([{ "calls": answers.collect::<Vec<_>>() }]))
    }
}

fn simulated(returned: &[u8], logs: Vec<Value>) -> Value {
    json!({
        "status": "0x1",
        "returnData": format!("0x{}", hex::encode(returned)),
        "gasUsed": "0x30d40",
        "logs": logs,
    })
}

pub fn hex_result(bytes: &[u8]) -> RpcResult {
    RpcResult::Ok(json!(format!("0x{}", hex::encode(bytes))))
}

pub fn word_result(number: u64) -> RpcResult {
    hex_result(&U256::from(number).abi_encode())
}

fn words(collected: bool, capturable: u64, refundable: u64) -> Vec<u8> {
    (collected, U120::from(capturable), U120::from(refundable)).abi_encode()
}

pub fn state(collected: bool, capturable: u64, refundable: u64) -> RpcResult {
    hex_result(&words(collected, capturable, refundable))
}

/// The wallet's yes.
pub fn magic() -> RpcResult {
    let mut word = [0; 32];
    word[..4].copy_from_slice(&[0x16, 0x26, 0xba, 0x7e]);
    hex_result(&word)
}

/// A revert with this message.
pub fn revert(text: &str) -> RpcResult {
    use alloy_sol_types::{Revert, SolError};
    reverted(&Revert::from(text).abi_encode())
}

/// A revert with a typed error.
pub fn typed(selector: u32) -> RpcResult {
    reverted(&selector.to_be_bytes())
}

fn reverted(data: &[u8]) -> RpcResult {
    RpcResult::Error(RpcError {
        code: 3,
        message: "execution reverted".into(),
        data: json!(format!("0x{}", hex::encode(data))),
    })
}

/// A scheme instance, its host, and its chain.
pub struct World {
    pub host: Arc<ScriptHost>,
    pub scheme: AuthCaptureEvm,
    config: Config,
    pub assets: Option<Vec<String>>,
    pub lanes: Vec<Lane>,
    /// [`RETAINED`] is a former signer; otherwise a current one that can't pay now.
    pub retired: bool,
    chain: Arc<Mutex<Chain>>,
}

impl World {
    pub fn new(config: Config, chain: Chain) -> Self {
        let host = ScriptHost::at_unix_s(NOW_S);
        let chain = Arc::new(Mutex::new(chain));
        for method in [
            "eth_getCode",
            "eth_call",
            "eth_estimateGas",
            "eth_getBlockByNumber",
            "eth_simulateV1",
        ] {
            let chain = chain.clone();
            host.answer_rpc(method, move |params| {
                answer(&chain.lock().unwrap(), method, params)
            });
        }
        Self {
            host,
            scheme: AuthCaptureEvm::new(config.clone()),
            config,
            assets: Some(vec![ASSET.into()]),
            lanes: vec![lane(FACILITATOR)],
            retired: false,
            chain,
        }
    }

    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap()
    }

    fn context(&self) -> CallContext {
        let mut context = self.host.context(NETWORK);
        context.network.lanes = self.lanes.clone();
        context.network.retained = vec![lane(RETAINED)];
        context.network.retired = self.retired.then(|| RETAINED.to_owned()).into_iter().collect();
        context.network.assets = self.assets.clone();
        context
    }

    pub fn cx(&self) -> Cx {
        self.host.cx(self.context())
    }

    /// A call on a network of two nodes, of which this one is read first.
    pub fn cx_beside(&self, other: &Self) -> Cx {
        TwoNodes::cx(&self.host, &other.host, &self.cx())
    }

    /// A call whose store, or whose round trip number `trip`, counted from 0, does not answer.
    pub fn cx_failing(&self, trip: Option<usize>) -> Cx {
        let failing = Failing {
            inner: self.host.clone(),
            until: trip.map(AtomicUsize::new),
        };
        Cx::new(Arc::new(failing), 1, self.context())
    }

    pub fn identify(&self, request: &PaymentRequest) -> Result<Identified, Refusal> {
        testkit::identify(&self.scheme, &self.cx(), request)
    }

    pub fn try_verify(&self, request: &PaymentRequest) -> Result<Verdict, Fault> {
        block_on(self.scheme.verify(&self.cx(), request))
    }

    /// The payer of a good payment.
    pub fn verify(&self, request: &PaymentRequest) -> Result<String, Refusal> {
        testkit::verify(&self.scheme, &self.cx(), request)
    }

    pub fn try_plan(&self, request: &PaymentRequest) -> Result<Planned, Fault> {
        block_on(self.scheme.plan(&self.cx(), request))
    }

    pub fn plan(&self, request: &PaymentRequest) -> Result<Plan, Refusal> {
        let plan = testkit::plan(&self.scheme, &self.cx(), request)?;
        for step in &plan.steps {
            let guard = step.evidence.guard.as_ref().expect("every step has a guard");
            assert_eq!(guard.check(), Ok(()));
        }
        Ok(plan)
    }

    /// The same refusal from verify and from plan, in fresh instances on the same chain.
    pub fn refused(&self, request: &PaymentRequest) -> Refusal {
        let mut fresh = Self::new(self.config.clone(), self.chain().clone());
        fresh.assets.clone_from(&self.assets);
        fresh.lanes.clone_from(&self.lanes);
        fresh.retired = self.retired;
        let planned = fresh.plan(request).expect_err("plan refuses");
        let verified = self.verify(request).expect_err("verify refuses");
        assert_eq!(planned, verified, "plan and verify differ");
        verified
    }

    /// Batches read so far: each a list of calls.
    pub fn batches(&self) -> Vec<Vec<RpcCall>> {
        let recorded = self.host.recorded().into_iter();
        recorded
            .filter_map(|recorded| match recorded {
                Recorded::Rpc {
                    request: RpcRequest::Read { network, calls } | RpcRequest::Compare { network, calls },
                    ..
                } => {
                    assert_eq!(network, NETWORK);
                    Some(calls)
                }
                Recorded::Store {
                    request: StoreRequest::Get { .. },
                    ..
                } => None,
                other => panic!("a scheme only reads: {other:?}"),
            })
            .collect()
    }
}

/// A host on which the store or one round trip fails.
struct Failing {
    inner: Arc<ScriptHost>,
    until: Option<AtomicUsize>,
}

#[async_trait]
impl HostLayer for Failing {
    fn inner(&self) -> &dyn HostServices {
        &*self.inner
    }

    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        if let Some(until) = &self.until
            && until.fetch_sub(1, Ordering::Relaxed) == 0
        {
            return Err(Fault::unavailable("no node answers"));
        }
        self.inner.rpc(call, request).await
    }

    async fn store(&self, call: u64, request: StoreRequest) -> Result<StoreResponse, Fault> {
        if self.until.is_none() {
            return Err(Fault::unavailable("the store does not answer"));
        }
        self.inner.store(call, request).await
    }
}

pub fn lane(signer: &str) -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: signer.to_lowercase(),
        key: "main".into(),
        ordered: true,
    }
}

fn answer(chain: &Chain, method: &str, params: &Value) -> RpcResult {
    let to = params[0]["to"].as_str().unwrap_or_default().to_owned();
    let data = params[0]["data"].as_str().unwrap_or_default().to_owned();
    let is = |account: &str| to == account.to_lowercase();
    let missing = chain.missing.iter().any(|escrow| is(&escrow.to_string()));
    match method {
        "eth_getBlockByNumber" => RpcResult::Ok(json!({
            "number": "0x64",
            "timestamp": format!("{:#x}", chain.head_s),
        })),
        "eth_getCode" if params[0] == json!(PAYER.to_lowercase()) => chain.payer_code.clone(),
        "eth_getCode" if params[0] == json!(AUTHORIZER.to_lowercase()) => chain.authorizer_code.clone(),
        "eth_getCode" => hex_result(&[0x60, 0x80]),
        "eth_simulateV1" => chain.sandbox.answer(params),
        "eth_estimateGas" if is_collection(&data) => chain.estimate.clone(),
        "eth_call" if missing => hex_result(&[]),
        "eth_call" if is_collection(&data) => chain.simulation.clone(),
        "eth_call" if data.starts_with("0x34b778ed") => chain.state.clone(),
        "eth_call" if data.starts_with("0x9d3facde") => chain.store.clone(),
        "eth_call" if data.starts_with("0xe15d987a") => chain.typehash.clone(),
        "eth_call" if is(ASSET) && data.starts_with("0x70a08231") => chain.balance.clone(),
        "eth_call" if is(PAYER) && data.starts_with("0x1626ba7e") => chain.payer_wallet.clone(),
        "eth_call" if is(AUTHORIZER) && data.starts_with("0x1626ba7e") => chain.authorizer_wallet.clone(),
        // Another account's wallet decides nothing.
        "eth_call" if data.starts_with("0x1626ba7e") => hex_result(&[]),
        _ => panic!("unexpected {method} {params}"),
    }
}

/// `authorize` or `charge` of either generation.
pub fn is_collection(data: &str) -> bool {
    ["0x41d66202", "0x9e65819f", "0xc449d17c"]
        .iter()
        .any(|selector| data.starts_with(selector))
}
