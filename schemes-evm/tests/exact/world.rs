//! A scripted chain, a buyer with the vectors' key, and requests as the core sends them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use alloy_primitives::{Address, B256, U256, address, b256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use k256::ecdsa::SigningKey;
use schemes_evm::abi::{MULTICALL3, Multicall, PERMIT2};
use schemes_evm::exact::ExactEvm;
use schemes_evm::permit2::abi::EXACT_PROXY;
use sdk_plugin::chain::Lane;
use sdk_plugin::host::{RpcCall, RpcError, RpcRequest, RpcResponse, RpcResult};
use sdk_plugin::request::{Accepted, ProtocolVersion, Purpose};
use sdk_plugin::scheme::{Identified, Plan, Planned, Refusal, Verdict};
pub use sdk_plugin::testkit::internal_error;
use sdk_plugin::testkit::{self, HostLayer, Recorded, ScriptHost, block_on};
use sdk_plugin::{
    CallContext, Cx, Fault, HostServices, PaymentRequest, Requirements, SchemeHandler, Value, async_trait,
};
use serde_json::{Map, json};

use crate::two_nodes::TwoNodes;

pub const NETWORK: &str = "eip155:84532";
pub const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";
pub const FACILITATOR: &str = "0x5cbdd86a2fa8dc4bddd8a8f69dba48572eec07fb";
pub const PAYER: &str = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A";
pub const PAYER_ADDRESS: Address = address!("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A");
pub const PAYEE: &str = "0x2222222222222222222222222222222222222222";
pub const OTHER: &str = "0x4444444444444444444444444444444444444444";
pub const NONCE: &str = "0xabababababababababababababababababababababababababababababababab";
pub const NOW_S: u64 = 1_800_000_000;

/// The chain's answers. Every answer can be replaced by an error.
#[derive(Debug, Clone)]
pub struct Chain {
    pub payer_code: RpcResult,
    pub asset_code: RpcResult,
    pub wallet: RpcResult,
    pub simulation: RpcResult,
    pub estimate: RpcResult,
    /// What both answer when they are made at a price; `None`: the same.
    pub priced: Option<RpcResult>,
    pub gas_price: RpcResult,
    /// Wei of the signer.
    pub signer_wei: u64,
    pub height: RpcResult,
    pub balance: RpcResult,
    /// What the two calls of a deployment answer.
    pub rehearsal: RpcResult,
    /// What the multicall of the diagnosis answers.
    pub diagnosis: RpcResult,
    /// `authorizationState`, beside the simulation.
    pub state: RpcResult,
    /// Of the head block that a diagnosis reads, in seconds since the epoch.
    pub head_s: u64,
    /// Its height.
    pub head: u64,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            payer_code: hex_result(&[]),
            asset_code: hex_result(&[0x60, 0x80]),
            wallet: hex_result(&[]),
            simulation: hex_result(&[]),
            estimate: RpcResult::Ok(json!("0x15f90")),
            priced: None,
            gas_price: RpcResult::Ok(json!("0x3b9aca00")),
            signer_wei: u64::MAX,
            height: RpcResult::Ok(json!("0x64")),
            balance: word_result(50_000),
            rehearsal: hex_result(&[]),
            diagnosis: Token::default().answer(),
            state: word_result(0),
            head_s: NOW_S,
            head: 100,
        }
    }
}

/// The token's answers to a diagnosis; `None`: that call failed.
#[derive(Debug, Clone)]
pub struct Token {
    pub balance: Option<u64>,
    pub name: Option<&'static str>,
    pub version: Option<&'static str>,
    pub used: Option<bool>,
    /// Of the block on which calls run.
    pub number: u64,
}

impl Default for Token {
    fn default() -> Self {
        Self {
            balance: Some(50_000),
            name: Some("USDC"),
            version: Some("2"),
            used: Some(false),
            number: 100,
        }
    }
}

impl Token {
    pub fn answer(&self) -> RpcResult {
        let outcome = |data: Option<Vec<u8>>| Multicall::Outcome {
            success: data.is_some(),
            returnData: data.unwrap_or_default().into(),
        };
        let text = |text: Option<&str>| outcome(text.map(|text| text.to_owned().abi_encode()));
        let outcomes = vec![
            outcome(self.balance.map(|balance| U256::from(balance).abi_encode())),
            text(self.name),
            text(self.version),
            outcome(self.used.map(|used| used.abi_encode())),
            outcome(Some(U256::from(NOW_S).abi_encode())),
            outcome(Some(U256::from(self.number).abi_encode())),
        ];
        hex_result(&outcomes.abi_encode())
    }
}

pub fn hex_result(bytes: &[u8]) -> RpcResult {
    RpcResult::Ok(json!(format!("0x{}", hex::encode(bytes))))
}

pub fn word_result(number: u64) -> RpcResult {
    hex_result(&U256::from(number).abi_encode())
}

pub fn revert(text: &str) -> RpcResult {
    use alloy_sol_types::{Revert, SolError};
    RpcResult::Error(RpcError {
        code: 3,
        message: format!("execution reverted: {text}"),
        data: json!(format!("0x{}", hex::encode(Revert::from(text).abi_encode()))),
    })
}

/// The wallet's yes.
pub fn magic() -> RpcResult {
    let mut word = [0; 32];
    word[..4].copy_from_slice(&[0x16, 0x26, 0xba, 0x7e]);
    hex_result(&word)
}

/// A scheme instance, its host, and its chain.
pub struct World {
    pub host: Arc<ScriptHost>,
    pub exact: ExactEvm,
    pub assets: Option<Vec<String>>,
    pub options: Value,
    chain: Arc<Mutex<Chain>>,
}

impl World {
    pub fn new() -> Self {
        let host = ScriptHost::at_unix_s(NOW_S);
        let chain = Arc::new(Mutex::new(Chain::default()));
        for method in [
            "eth_getCode",
            "eth_call",
            "eth_estimateGas",
            "eth_blockNumber",
            "eth_gasPrice",
            "eth_getBalance",
            "eth_getBlockByNumber",
        ] {
            let chain = chain.clone();
            host.answer_rpc(method, move |params| {
                answer(&chain.lock().unwrap(), method, params)
            });
        }
        Self {
            host,
            exact: ExactEvm::default(),
            assets: Some(vec![ASSET.into()]),
            options: Value::Null,
            chain,
        }
    }

    pub fn with(change: impl FnOnce(&mut Chain)) -> Self {
        let world = Self::new();
        change(&mut world.chain());
        world
    }

    /// The same chain, with the operator's allow-list of assets.
    pub fn allowing(mut self, assets: Option<Vec<String>>) -> Self {
        self.assets = assets;
        self
    }

    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap()
    }

    /// A call on a network of two nodes: this chain's, and another one's. A read goes to this one.
    pub fn cx_beside(&self, other: &World) -> Cx {
        TwoNodes::cx(&self.host, &other.host, &self.cx())
    }

    fn context(&self) -> CallContext {
        let mut context = self.host.context(NETWORK);
        context.network.lanes = vec![lane(FACILITATOR)];
        context.network.assets = self.assets.clone();
        context.network.options = self.options.clone();
        context
    }

    pub fn cx(&self) -> Cx {
        self.host.cx(self.context())
    }

    /// A call whose round trips from number `trip` on, counted from 0, get no answer from any node.
    pub fn cx_failing_at(&self, trip: usize) -> Cx {
        let failing = FailingTrip {
            inner: self.host.clone(),
            until: AtomicUsize::new(trip),
        };
        Cx::new(Arc::new(failing), 1, self.context())
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

    pub fn try_plan(&self, request: &PaymentRequest) -> Result<Planned, Fault> {
        block_on(self.exact.plan(&self.cx(), request))
    }

    pub fn plan(&self, request: &PaymentRequest) -> Result<Plan, Refusal> {
        let plan = testkit::plan(&self.exact, &self.cx(), request)?;
        for step in &plan.steps {
            let guard = step.evidence.guard.as_ref().expect("every step has a guard");
            assert_eq!(guard.check(), Ok(()));
        }
        Ok(plan)
    }

    /// The same reason from verify and from plan, in fresh instances on the same chain.
    pub fn refused(&self, request: &PaymentRequest) -> String {
        let mut fresh = Self::with(|chain| *chain = self.chain().clone()).allowing(self.assets.clone());
        fresh.options.clone_from(&self.options);
        let planned = fresh.plan(request).expect_err("plan refuses").reason;
        let verified = self.verify(request).expect_err("verify refuses").reason;
        assert_eq!(planned, verified, "plan and verify differ");
        verified
    }

    /// Batches read so far: each a list of calls.
    pub fn batches(&self) -> Vec<Vec<RpcCall>> {
        let recorded = self.host.recorded().into_iter();
        recorded
            .map(|recorded| match recorded {
                Recorded::Rpc {
                    request: RpcRequest::Read { network, calls } | RpcRequest::Compare { network, calls },
                    ..
                } => {
                    assert_eq!(network, NETWORK);
                    calls
                }
                other => panic!("a scheme only reads: {other:?}"),
            })
            .collect()
    }
}

/// A host on which round trips fail from one on.
struct FailingTrip {
    inner: Arc<ScriptHost>,
    until: AtomicUsize,
}

#[async_trait]
impl HostLayer for FailingTrip {
    fn inner(&self) -> &dyn HostServices {
        &*self.inner
    }

    async fn rpc(&self, call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let left = self.until.load(Ordering::Relaxed);
        self.until.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 {
            return Err(Fault::unavailable("no node answers"));
        }
        self.inner.rpc(call, request).await
    }
}

pub fn lane(signer: &str) -> Lane {
    Lane {
        network: NETWORK.into(),
        signer: signer.into(),
        key: "main".into(),
        ordered: true,
    }
}

fn lower(address: Address) -> String {
    address.to_string().to_lowercase()
}

fn answer(chain: &Chain, method: &str, params: &Value) -> RpcResult {
    let to = params[0]["to"].as_str().unwrap_or_default().to_owned();
    let data = params[0]["data"].as_str().unwrap_or_default().to_owned();
    let is_multicall = to == MULTICALL3.to_string().to_lowercase();
    let is_priced = params[0]["gasPrice"] == json!("0x3b9aca00");
    match method {
        "eth_gasPrice" => chain.gas_price.clone(),
        "eth_getBalance" => RpcResult::Ok(json!(format!("{:#x}", chain.signer_wei))),
        "eth_estimateGas" | "eth_call" if is_priced && chain.priced.is_some() => {
            chain.priced.clone().expect("an answer")
        }
        "eth_blockNumber" => chain.height.clone(),
        "eth_getBlockByNumber" => RpcResult::Ok(json!({
            "number": format!("{:#x}", chain.head),
            "timestamp": format!("{:#x}", chain.head_s),
        })),
        "eth_call" if to == ASSET && data.starts_with("0xe94a0102") => chain.state.clone(),
        // The proxy of Permit2 is not deployed here.
        "eth_call" if to == lower(EXACT_PROXY) => hex_result(&[]),
        "eth_getCode" if params[0] == json!(lower(PERMIT2)) => hex_result(&[]),
        "eth_getCode" if params[0] == json!(ASSET) => chain.asset_code.clone(),
        "eth_getCode" if params[0] == json!(PAYER.to_lowercase()) => chain.payer_code.clone(),
        "eth_estimateGas" if to == ASSET && is_transfer(&data) => chain.estimate.clone(),
        "eth_call" if to == ASSET && is_transfer(&data) => chain.simulation.clone(),
        "eth_call" if to == ASSET && data.starts_with("0x70a08231") => chain.balance.clone(),
        "eth_call" if to == PAYER.to_lowercase() && data.starts_with("0x1626ba7e") => chain.wallet.clone(),
        "eth_estimateGas" if is_multicall => chain.estimate.clone(),
        "eth_call" if is_multicall && is_rehearsal(&data) => chain.rehearsal.clone(),
        "eth_call" if is_multicall => chain.diagnosis.clone(),
        _ => panic!("unexpected {method} {params}"),
    }
}

/// Two calls with the result of each: a deployment and a transfer.
fn is_rehearsal(data: &str) -> bool {
    let data = hex::decode(data.trim_start_matches("0x")).unwrap();
    let call = Multicall::tryAggregateCall::abi_decode(&data);
    call.is_ok_and(|call| call.calls.len() == 2 && call.calls.iter().all(|call| call.target != MULTICALL3))
}

pub fn is_transfer(data: &str) -> bool {
    data.starts_with("0xe3ee160e") || data.starts_with("0xcf092995")
}

/// A payment as its buyer and seller see it, before it is signed.
#[derive(Debug, Clone)]
pub struct Offer {
    pub version: ProtocolVersion,
    /// Name of the token's signing domain; in the requirements it is "USDC".
    pub name: &'static str,
    pub to: &'static str,
    pub value: u64,
    pub valid_after: u64,
    pub valid_before: u64,
    pub nonce: &'static str,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            version: ProtocolVersion::V2,
            name: "USDC",
            to: PAYEE,
            value: 10_000,
            valid_after: 0,
            valid_before: 4_102_444_800,
            nonce: NONCE,
        }
    }
}

impl Offer {
    /// The request for it, signed by the payer's key.
    pub fn signed(&self) -> PaymentRequest {
        let digest = self.digest();
        let key = SigningKey::from_slice(&[0x11; 32]).unwrap();
        let (signature, recovery) = key.sign_prehash_recoverable(digest.as_slice()).unwrap();
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        self.with_signature(&bytes)
    }

    /// The EIP-712 digest, computed here once more from the specification.
    pub fn digest(&self) -> B256 {
        let domain = (
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
            keccak256(self.name),
            keccak256("2"),
            U256::from(84_532),
            ASSET.parse::<Address>().unwrap(),
        );
        let message = (
            b256!("0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267"),
            PAYER_ADDRESS,
            self.to.parse::<Address>().unwrap(),
            U256::from(self.value),
            U256::from(self.valid_after),
            U256::from(self.valid_before),
            self.nonce.parse::<B256>().unwrap(),
        );
        let separator = keccak256(domain.abi_encode());
        let mut bytes = vec![0x19, 0x01];
        bytes.extend_from_slice(separator.as_slice());
        bytes.extend_from_slice(keccak256(message.abi_encode()).as_slice());
        keccak256(bytes)
    }

    pub fn with_signature(&self, signature: &[u8]) -> PaymentRequest {
        let payload = json!({
            "signature": format!("0x{}", hex::encode(signature)),
            "authorization": {
                "from": PAYER,
                "to": self.to,
                "value": self.value.to_string(),
                "validAfter": self.valid_after.to_string(),
                "validBefore": self.valid_before.to_string(),
                "nonce": self.nonce,
            }
        });
        request(self.version, payload)
    }
}

/// A request as the core sends it, for 10000 units to [`PAYEE`].
pub fn request(version: ProtocolVersion, payload: Value) -> PaymentRequest {
    let Value::Object(payload) = payload else {
        panic!("a payload is an object");
    };
    PaymentRequest {
        version,
        scheme: "exact".into(),
        network: NETWORK.into(),
        network_as_sent: "base-sepolia".into(),
        payload,
        accepted: Accepted {
            scheme: "exact".into(),
            network: NETWORK.into(),
            raw: Map::new(),
        },
        requirements: Requirements {
            scheme: "exact".into(),
            network: NETWORK.into(),
            amount: 10_000u64.into(),
            asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".into(),
            pay_to: PAYEE.into(),
            max_timeout_seconds: 60,
            extra: Map::from_iter([
                ("name".to_owned(), json!("USDC")),
                ("version".to_owned(), json!("2")),
            ]),
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

/// A good payment, signed once: debug builds are slow at it.
pub fn good() -> PaymentRequest {
    static GOOD: LazyLock<PaymentRequest> = LazyLock::new(|| Offer::default().signed());
    GOOD.clone()
}

/// Sets one member of `payload.authorization`.
pub fn set_authorization(request: &mut PaymentRequest, name: &str, value: Value) {
    request.payload["authorization"][name] = value;
}
