//! A scripted chain with the proxies, a buyer with the vectors' key, and requests as the core sends them.

use std::sync::{Arc, Mutex, MutexGuard};

use alloy_primitives::{Address, B256, U256, address, b256, keccak256};
use alloy_sol_types::SolValue;
use k256::ecdsa::SigningKey;
use schemes_evm::abi::{GAS_PRICE_ORACLE, MULTICALL3, Multicall, PERMIT2};
use schemes_evm::exact::{Config, ExactEvm};
use schemes_evm::permit2::approval::Limits;
use schemes_evm::permit2::{EXTENSION, Proxy};
use schemes_evm::upto::UptoEvm;
use sdk_plugin::chain::Lane;
use sdk_plugin::host::{RpcCall, RpcError, RpcRequest, RpcResult};
use sdk_plugin::request::{Accepted, ProtocolVersion, Purpose};
use sdk_plugin::scheme::{Identified, Plan, Planned, Refusal, SchemeCheck, Supported, Verdict};
use sdk_plugin::testkit::{self, Recorded, ScriptHost, block_on};
use sdk_plugin::{CallContext, Cx, Fault, PaymentRequest, Requirements, SchemeHandler, Value};
use serde_json::{Map, json};

use crate::two_nodes::TwoNodes;

pub const NETWORK: &str = "eip155:84532";
pub const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";
pub const FACILITATOR: &str = "0x5cbdd86a2fa8dc4bddd8a8f69dba48572eec07fb";
pub const RETAINED: &str = "0x6666666666666666666666666666666666666666";
pub const PAYER: &str = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A";
pub const PAYER_ADDRESS: Address = address!("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A");
pub const PAYEE: &str = "0x2222222222222222222222222222222222222222";
pub const OTHER: &str = "0x4444444444444444444444444444444444444444";
pub const NOW_S: u64 = 1_800_000_000;
pub const BOTH: [Proxy; 2] = [Proxy::Exact, Proxy::Upto];

/// The chain's answers. Every answer can be replaced by an error.
#[derive(Debug, Clone)]
pub struct Chain {
    pub payer_code: RpcResult,
    pub asset_code: RpcResult,
    pub permit2_code: RpcResult,
    /// `PERMIT2()` of the proxy.
    pub proxy: RpcResult,
    pub wallet: RpcResult,
    pub simulation: RpcResult,
    pub estimate: RpcResult,
    pub balance: RpcResult,
    /// What the multicall of the diagnosis answers.
    pub diagnosis: RpcResult,
    pub head: u64,
    /// Of the payer: after what has landed, and after all that a node knows of.
    pub next_nonce: u64,
    pub pending_nonce: u64,
    /// The payer's native currency, in wei.
    pub native: u64,
    /// In wei; `None`: the chain has none.
    pub base_fee: Option<u64>,
    /// What becomes of the payer's own `approve` and `transfer`.
    pub approves: RpcResult,
    /// What becomes of native currency that it is sent.
    pub receives: RpcResult,
    pub transfers: RpcResult,
    /// A word of the payer's nonces at Permit2.
    pub nonces: RpcResult,
    /// The fee for a transaction's bytes, of the oracle.
    pub data_fee: RpcResult,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            payer_code: hex_result(&[]),
            asset_code: hex_result(&[0x60, 0x80]),
            permit2_code: hex_result(&[0x60, 0x80]),
            proxy: hex_result(&PERMIT2.abi_encode()),
            wallet: hex_result(&[]),
            simulation: hex_result(&[]),
            estimate: RpcResult::Ok(json!("0x15f90")),
            balance: word_result(50_000),
            diagnosis: Findings::default().answer(),
            head: 100,
            next_nonce: 7,
            pending_nonce: 7,
            native: 0,
            base_fee: Some(500_000_000),
            approves: word_result(1),
            receives: hex_result(&[]),
            transfers: word_result(1),
            nonces: word_result(0),
            data_fee: hex_result(&[]),
        }
    }
}

impl Chain {
    /// The EVM refuses the call.
    pub fn reverting(mut self, text: &str) -> Self {
        self.simulation = revert(text);
        self.estimate = revert(text);
        self
    }

    /// The call fails, and the diagnosis finds this.
    pub fn failing(findings: &Findings) -> Self {
        Self {
            diagnosis: findings.answer(),
            ..Self::default()
        }
        .reverting("TRANSFER_FROM_FAILED")
    }

    /// The payer is a wallet that accepts.
    pub fn of_wallet() -> Self {
        let mut word = [0; 32];
        word[..4].copy_from_slice(&[0x16, 0x26, 0xba, 0x7e]);
        Self {
            payer_code: hex_result(&[1]),
            wallet: hex_result(&word),
            ..Self::default()
        }
    }
}

/// The answers to a diagnosis; `None`: that call failed.
#[derive(Debug, Clone)]
pub struct Findings {
    pub proxy: Option<Address>,
    pub balance: Option<u64>,
    pub allowance: Option<u64>,
    pub nonces: Option<U256>,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            proxy: Some(PERMIT2),
            balance: Some(50_000),
            allowance: Some(50_000),
            nonces: Some(U256::ZERO),
        }
    }
}

impl Findings {
    pub fn answer(&self) -> RpcResult {
        let outcome = |data: Option<Vec<u8>>| Multicall::Outcome {
            success: data.is_some(),
            returnData: data.unwrap_or_default().into(),
        };
        let word = |word: Option<u64>| outcome(word.map(|word| U256::from(word).abi_encode()));
        let outcomes = vec![
            outcome(self.proxy.map(|proxy| proxy.abi_encode())),
            word(self.balance),
            word(self.allowance),
            outcome(self.nonces.map(|nonces| nonces.abi_encode())),
            word(Some(NOW_S)),
            word(Some(100)),
        ];
        hex_result(&outcomes.abi_encode())
    }
}

pub fn hex_result(bytes: &[u8]) -> RpcResult {
    RpcResult::Ok(json!(format!("0x{}", hex::encode(bytes))))
}

/// What a node answers that is in trouble itself.
pub fn internal() -> RpcResult {
    testkit::internal_error()
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

/// A scheme instance, its host, and its chain.
pub struct World {
    pub host: Arc<ScriptHost>,
    pub scheme: Box<dyn SchemeHandler>,
    pub assets: Option<Vec<String>>,
    pub lanes: Vec<Lane>,
    pub retained: Vec<Lane>,
    proxy: Proxy,
    chain: Arc<Mutex<Chain>>,
}

impl World {
    pub fn new(proxy: Proxy) -> Self {
        Self::on(proxy, Chain::default())
    }

    pub fn on(proxy: Proxy, chain: Chain) -> Self {
        let host = ScriptHost::at_unix_s(NOW_S);
        let chain = Arc::new(Mutex::new(chain));
        for method in [
            "eth_getCode",
            "eth_call",
            "eth_estimateGas",
            "eth_blockNumber",
            "eth_gasPrice",
            "eth_getBlockByNumber",
            "eth_chainId",
            "eth_getBalance",
            "eth_getTransactionCount",
        ] {
            let chain = chain.clone();
            host.answer_rpc(method, move |params| {
                answer(&chain.lock().unwrap(), proxy, method, params)
            });
        }
        Self {
            host,
            scheme: scheme(proxy, Config::default()),
            assets: Some(vec![ASSET.into()]),
            lanes: vec![lane(FACILITATOR)],
            retained: vec![lane(RETAINED)],
            proxy,
            chain,
        }
    }

    /// The same chain, where the operator spends this on approvals.
    pub fn sponsoring(mut self, limits: Limits) -> Self {
        let approvals = [(NETWORK.to_owned(), limits)].into();
        let config = Config {
            approvals,
            ..Config::default()
        };
        self.scheme = scheme(self.proxy, config);
        self
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

    pub fn cx(&self) -> Cx {
        let mut context: CallContext = self.host.context(NETWORK);
        context.network.lanes = self.lanes.clone();
        context.network.retained = self.retained.clone();
        context.network.assets = self.assets.clone();
        self.host.cx(context)
    }

    pub fn supported(&self) -> Result<Supported, Fault> {
        block_on(self.scheme.supported(&self.cx()))
    }

    pub fn check(&self) -> SchemeCheck {
        block_on(self.scheme.check(&self.cx())).expect("no fault")
    }

    pub fn identify(&self, request: &PaymentRequest) -> Result<Identified, Refusal> {
        match block_on(self.scheme.identify(&self.cx(), request)).expect("no fault") {
            sdk_plugin::scheme::Identity::Identified(identified) => Ok(identified),
            sdk_plugin::scheme::Identity::Refused(refusal) => Err(refusal),
        }
    }

    pub fn try_verify(&self, request: &PaymentRequest) -> Result<Verdict, Fault> {
        block_on(self.scheme.verify(&self.cx(), request))
    }

    /// The payer of a good payment.
    pub fn verify(&self, request: &PaymentRequest) -> Result<String, Refusal> {
        match self.try_verify(request).expect("no fault") {
            Verdict::Valid(valid) => Ok(valid.payer),
            Verdict::Invalid(refusal) => Err(refusal),
        }
    }

    pub fn try_plan(&self, request: &PaymentRequest) -> Result<Planned, Fault> {
        block_on(self.scheme.plan(&self.cx(), request))
    }

    pub fn plan(&self, request: &PaymentRequest) -> Result<Plan, Refusal> {
        match self.try_plan(request).expect("no fault") {
            Planned::Plan(plan) => {
                for step in plan.steps.iter().filter(|step| step.pays) {
                    let guard = step.evidence.guard.as_ref().expect("it has a guard");
                    assert_eq!(guard.check(), Ok(()));
                }
                Ok(plan)
            }
            Planned::Refused(refusal) => Err(refusal),
            Planned::Done(done) => panic!("nothing to send: {done:?}"),
        }
    }

    /// The same reason from verify and from plan, in fresh instances on the same chain.
    pub fn refused(&self, request: &PaymentRequest) -> String {
        let verified = self.verify(request).expect_err("verify refuses").reason;
        assert_eq!(self.not_planned(request), verified, "plan and verify differ");
        verified
    }

    /// Plan's reason, in a fresh instance on the same chain.
    pub fn not_planned(&self, request: &PaymentRequest) -> String {
        let fresh = Self::on(self.proxy, self.chain().clone()).allowing(self.assets.clone());
        fresh.plan(request).expect_err("plan refuses").reason
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

fn scheme(proxy: Proxy, config: Config) -> Box<dyn SchemeHandler> {
    match proxy {
        Proxy::Exact => Box::new(ExactEvm::new(config)),
        Proxy::Upto => Box::new(UptoEvm::new(config)),
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

fn answer(chain: &Chain, proxy: Proxy, method: &str, params: &Value) -> RpcResult {
    let to = params[0]["to"].as_str().unwrap_or_default().to_owned();
    let data = params[0]["data"].as_str().unwrap_or_default().to_owned();
    let proxy = lower(proxy.address());
    match method {
        "eth_gasPrice" => RpcResult::Ok(json!("0x3b9aca00")),
        "eth_blockNumber" => RpcResult::Ok(json!("0x64")),
        "eth_getBlockByNumber" => RpcResult::Ok(json!({
            "number": format!("{:#x}", chain.head),
            "timestamp": format!("{NOW_S:#x}"),
            "baseFeePerGas": chain.base_fee.map(|wei| format!("{wei:#x}")),
        })),
        "eth_chainId" => RpcResult::Ok(json!("0x14a34")),
        "eth_getBalance" if params[0] == json!(PAYER.to_lowercase()) => {
            RpcResult::Ok(json!(format!("{:#x}", chain.native)))
        }
        "eth_getTransactionCount" if params[0] == json!(PAYER.to_lowercase()) => {
            let count = match params[1].as_str() {
                Some("pending") => chain.pending_nonce,
                _ => chain.next_nonce,
            };
            RpcResult::Ok(json!(format!("{count:#x}")))
        }
        "eth_call" if to == ASSET && data.starts_with("0x095ea7b3") => chain.approves.clone(),
        "eth_call" if to == ASSET && data.starts_with("0xa9059cbb") => chain.transfers.clone(),
        "eth_call" if to == lower(PERMIT2) => chain.nonces.clone(),
        "eth_call" if to == lower(GAS_PRICE_ORACLE) => chain.data_fee.clone(),
        "eth_getCode" if params[0] == json!(ASSET) => chain.asset_code.clone(),
        "eth_getCode" if params[0] == json!(PAYER.to_lowercase()) => chain.payer_code.clone(),
        "eth_getCode" if params[0] == json!(lower(PERMIT2)) => chain.permit2_code.clone(),
        "eth_call" if to == proxy && data == "0x6afdd850" => chain.proxy.clone(),
        "eth_estimateGas" if to == proxy => chain.estimate.clone(),
        "eth_call" if to == proxy => chain.simulation.clone(),
        "eth_call" if to == ASSET && data.starts_with("0x70a08231") => chain.balance.clone(),
        "eth_call" if to == PAYER.to_lowercase() && data.starts_with("0x1626ba7e") => chain.wallet.clone(),
        "eth_call" if to == PAYER.to_lowercase() && params[0]["value"] == "0x1" => chain.receives.clone(),
        "eth_call" if to == lower(MULTICALL3) => chain.diagnosis.clone(),
        _ => panic!("unexpected {method} {params}"),
    }
}

/// A payment as its buyer and seller see it, before it is signed.
#[derive(Debug, Clone)]
pub struct Offer {
    pub proxy: Proxy,
    pub token: &'static str,
    /// Atomic units that are permitted; the requirements' are 10000.
    pub amount: u64,
    pub spender: Address,
    pub to: &'static str,
    pub facilitator: &'static str,
    pub nonce: U256,
    pub deadline: u64,
    pub valid_after: u64,
}

impl Offer {
    pub fn of(proxy: Proxy) -> Self {
        Self {
            proxy,
            token: ASSET,
            amount: 10_000,
            spender: proxy.address(),
            to: PAYEE,
            facilitator: FACILITATOR,
            nonce: U256::from(0x1_07),
            deadline: 4_102_444_800,
            valid_after: 0,
        }
    }

    /// The request for it, signed by the payer's key.
    pub fn signed(&self) -> PaymentRequest {
        self.with_signature(&self.signature())
    }

    pub fn signature(&self) -> Vec<u8> {
        let key = SigningKey::from_slice(&[0x11; 32]).unwrap();
        let (signature, recovery) = key.sign_prehash_recoverable(self.digest().as_slice()).unwrap();
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        bytes
    }

    /// The EIP-712 digest, computed here once more from the specification: a domain without a version.
    pub fn digest(&self) -> B256 {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let domain = (
            keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
            keccak256("Permit2"),
            U256::from(84_532),
            PERMIT2,
        );
        let permitted = keccak256(
            (
                keccak256("TokenPermissions(address token,uint256 amount)"),
                address(self.token),
                U256::from(self.amount),
            )
                .abi_encode(),
        );
        let (type_hash, witness) = match self.proxy {
            Proxy::Exact => (
                b256!("0xebc156cd23678a74c94df13d772ef5478420637f0c94bd10d509e1dc98f521c7"),
                (
                    keccak256("Witness(address to,uint256 validAfter)"),
                    address(self.to),
                    U256::from(self.valid_after),
                )
                    .abi_encode(),
            ),
            Proxy::Upto => (
                b256!("0x51dff6974ad4388c499e7fcfe838d2bd767162553a144098ce20ea661d70c2ee"),
                (
                    keccak256("Witness(address to,address facilitator,uint256 validAfter)"),
                    address(self.to),
                    address(self.facilitator),
                    U256::from(self.valid_after),
                )
                    .abi_encode(),
            ),
        };
        let message = (
            type_hash,
            permitted,
            self.spender,
            self.nonce,
            U256::from(self.deadline),
            keccak256(witness),
        );
        let mut bytes = vec![0x19, 0x01];
        bytes.extend_from_slice(keccak256(domain.abi_encode()).as_slice());
        bytes.extend_from_slice(keccak256(message.abi_encode()).as_slice());
        keccak256(bytes)
    }

    pub fn with_signature(&self, signature: &[u8]) -> PaymentRequest {
        let mut witness = json!({ "to": self.to, "validAfter": self.valid_after.to_string() });
        if self.proxy == Proxy::Upto {
            witness["facilitator"] = self.facilitator.into();
        }
        let payload = json!({
            "signature": format!("0x{}", hex::encode(signature)),
            "permit2Authorization": {
                "from": PAYER,
                "permitted": { "token": self.token, "amount": self.amount.to_string() },
                "spender": self.spender.to_string(),
                "nonce": self.nonce.to_string(),
                "deadline": self.deadline.to_string(),
                "witness": witness,
            }
        });
        request(self.proxy, payload)
    }
}

/// A request as the core sends it, for 10000 units to [`PAYEE`].
pub fn request(proxy: Proxy, payload: Value) -> PaymentRequest {
    let Value::Object(payload) = payload else {
        panic!("a payload is an object");
    };
    let scheme = match proxy {
        Proxy::Exact => "exact",
        Proxy::Upto => "upto",
    };
    PaymentRequest {
        version: ProtocolVersion::V2,
        scheme: scheme.into(),
        network: NETWORK.into(),
        network_as_sent: NETWORK.into(),
        payload,
        accepted: Accepted {
            scheme: scheme.into(),
            network: NETWORK.into(),
            raw: Map::new(),
        },
        requirements: Requirements {
            scheme: scheme.into(),
            network: NETWORK.into(),
            amount: 10_000u64.into(),
            asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".into(),
            pay_to: PAYEE.into(),
            max_timeout_seconds: 60,
            extra: Map::from_iter([
                ("name".to_owned(), json!("USDC")),
                ("version".to_owned(), json!("2")),
                ("assetTransferMethod".to_owned(), json!("permit2")),
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

pub fn good(proxy: Proxy) -> PaymentRequest {
    Offer::of(proxy).signed()
}

/// The same with a token's own permit.
pub fn sponsored(proxy: Proxy) -> PaymentRequest {
    with_info(good(proxy), info())
}

pub fn with_info(mut request: PaymentRequest, info: Value) -> PaymentRequest {
    request
        .extensions
        .insert(EXTENSION.into(), json!({ "info": info }));
    request
}

pub fn info() -> Value {
    json!({
        "from": PAYER,
        "asset": ASSET,
        "spender": PERMIT2.to_string(),
        "amount": "10000",
        "nonce": "0",
        "deadline": "4102444800",
        "signature": format!("0x{}1b", "2a".repeat(64)),
        "version": "1",
    })
}

/// Sets one member of `payload.permit2Authorization`, at a path.
pub fn set(request: &mut PaymentRequest, path: &str, value: Value) {
    let mut payload = Value::Object(request.payload.clone());
    let at = format!("/permit2Authorization{path}");
    *payload.pointer_mut(&at).expect("a member") = value;
    let Value::Object(payload) = payload else {
        unreachable!()
    };
    request.payload = payload;
}
