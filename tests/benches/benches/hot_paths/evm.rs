//! `exact` on EVM networks: who signed an EIP-3009 authorization, and a whole verify.

use std::hint::black_box;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use benches::{Comparisons, repeat};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use schemes_evm::abi::TransferWithAuthorization;
use schemes_evm::exact::ExactEvm;
use schemes_evm::{recovery, signature, text};
use sdk_plugin::chain::Lane;
use sdk_plugin::host::{RpcCall, RpcRequest, RpcResponse, RpcResult};
use sdk_plugin::scheme::Verdict;
use sdk_plugin::testkit::{HostLayer, ScriptHost, block_on};
use sdk_plugin::{CallContext, Cx, Fault, HostServices, SchemeHandler, Value, async_trait};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId as CRecoveryId};
use secp256k1::{Message, Secp256k1};
use serde_json::json;

use crate::vectors;

pub(crate) const NETWORK: &str = "eip155:84532";
const FACILITATOR: &str = "0x5cbdd86a2fa8dc4bddd8a8f69dba48572eec07fb";
/// Before the authorization of the vectors expires.
const NOW_S: u64 = 1_800_000_000;

pub(crate) fn compare(comparisons: &mut Comparisons) {
    let signed = Signed::of_vectors();
    let recovery = Recovery::of(&signed);
    assert!(signed.is_by_payer());
    assert_eq!(recovery.k256(), Some(signed.payer));
    assert_eq!(recovery.libsecp256k1(), Some(signed.payer));
    let name = ("evm", "digest and signer");
    comparisons.compare(
        name,
        repeat(|| black_box(&signed).is_by_payer()),
        "k256: recovery from the digest",
        repeat(|| black_box(&recovery).k256_key().is_some()),
    );
    comparisons.compare(
        name,
        repeat(|| black_box(&signed).is_by_payer()),
        "libsecp256k1: the same recovery",
        repeat(|| black_box(&recovery).c_key().is_some()),
    );

    let (node, exact, payment) = (Node::new(), ExactEvm::default(), vectors::evm_payment());
    let verify = || block_on(exact.verify(&node.cx(), &payment));
    // The first verify also reads the code of the asset.
    for _ in 0..2 {
        assert!(matches!(verify(), Ok(Verdict::Valid(_))));
    }
    comparisons.compare(
        ("evm", "verify with a node that answers at once"),
        repeat(|| verify().is_ok()),
        "k256: recovery from the digest",
        repeat(|| black_box(&recovery).k256_key().is_some()),
    );
}

/// The authorization of the vectors.
struct Signed {
    authorization: TransferWithAuthorization,
    domain: Eip712Domain,
    payer: Address,
    signature: Vec<u8>,
}

impl Signed {
    fn of_vectors() -> Self {
        let vectors = vectors::evm();
        let of = |pointer: &str| vectors::text(&vectors, pointer);
        let address = |pointer: &str| text::address(&of(pointer)).expect("an address");
        let number = |pointer: &str| of(pointer).parse::<U256>().expect("a number");
        let chain_id = vectors["domain"]["chainId"].as_u64().expect("a number");
        let signed = Self {
            authorization: TransferWithAuthorization {
                from: address("/message/from"),
                to: address("/message/to"),
                value: number("/message/value"),
                validAfter: number("/message/validAfter"),
                validBefore: number("/message/validBefore"),
                nonce: text::word(&of("/message/nonce")).expect("32 bytes"),
            },
            domain: Eip712Domain::new(
                Some(of("/domain/name").into()),
                Some(of("/domain/version").into()),
                Some(U256::from(chain_id)),
                Some(address("/domain/verifyingContract")),
                None,
            ),
            payer: address("/signer"),
            signature: vectors::bytes(&vectors, "/signature"),
        };
        assert_eq!(signed.digest().to_string(), of("/digest"));
        signed
    }

    fn digest(&self) -> B256 {
        self.authorization.eip712_signing_hash(&self.domain)
    }

    fn is_by_payer(&self) -> bool {
        recovery::signed_by(self.payer, &self.digest(), &self.signature)
    }
}

/// What the two libraries need for the same signature.
struct Recovery {
    digest: B256,
    signature: (Signature, RecoveryId),
    of_c: (Secp256k1<secp256k1::VerifyOnly>, RecoverableSignature),
}

impl Recovery {
    fn of(signed: &Signed) -> Self {
        let (v, r, s) = signature::split(&signed.signature).expect("65 bytes");
        let id = v - 27;
        let signature = Signature::from_scalars(r.0, s.0).expect("two scalars");
        let c_id = CRecoveryId::try_from(i32::from(id)).expect("0 or 1");
        let compact = [r.0, s.0].concat();
        let c_signature = RecoverableSignature::from_compact(&compact, c_id).expect("a signature");
        Self {
            digest: signed.digest(),
            signature: (signature, RecoveryId::from_byte(id).expect("0 or 1")),
            of_c: (Secp256k1::verification_only(), c_signature),
        }
    }

    fn k256_key(&self) -> Option<VerifyingKey> {
        let (signature, id) = &self.signature;
        VerifyingKey::recover_from_prehash(self.digest.as_slice(), signature, *id).ok()
    }

    fn c_key(&self) -> Option<secp256k1::PublicKey> {
        let (context, signature) = &self.of_c;
        let message = Message::from_digest(self.digest.0);
        context.recover_ecdsa(message, signature).ok()
    }

    fn k256(&self) -> Option<Address> {
        self.k256_key().map(|key| Address::from_public_key(&key))
    }

    fn libsecp256k1(&self) -> Option<Address> {
        let key = self.c_key()?.serialize_uncompressed();
        Some(Address::from_raw_public_key(key.get(1..)?))
    }
}

/// A node that answers at once, and the host in front of it. It keeps no record, which a long run would fill.
pub(crate) struct Node {
    below: Arc<ScriptHost>,
    context: CallContext,
}

impl Node {
    pub(crate) fn new() -> Arc<Self> {
        let below = ScriptHost::at_unix_s(NOW_S);
        let mut context = below.context(NETWORK);
        context.network.lanes = vec![Lane {
            network: NETWORK.into(),
            signer: FACILITATOR.into(),
            key: "main".into(),
            ordered: true,
        }];
        context.network.assets = Some(vec![asset()]);
        context.scheme = "exact".into();
        Arc::new(Self { below, context })
    }

    /// A call of its own, as the core makes one for each operation.
    pub(crate) fn cx(self: &Arc<Self>) -> Cx {
        Cx::new(Arc::clone(self) as Arc<dyn HostServices>, 1, self.context.clone())
    }
}

#[async_trait]
impl HostLayer for Node {
    fn inner(&self) -> &dyn HostServices {
        &*self.below
    }

    async fn rpc(&self, _call: u64, request: RpcRequest) -> Result<RpcResponse, Fault> {
        let RpcRequest::Read { calls, .. } = request else {
            return Err(Fault::internal("only reads are expected"));
        };
        Ok(RpcResponse {
            results: calls.iter().map(answer).collect(),
        })
    }
}

/// The asset as networks list it.
fn asset() -> String {
    vectors::text(&vectors::evm(), "/domain/verifyingContract").to_lowercase()
}

/// The answers of a chain on which the payment of the vectors is good.
fn answer(call: &RpcCall) -> RpcResult {
    /// `authorizationState(address,bytes32)`.
    const AUTHORIZATION_STATE: &str = "0xe94a0102";
    /// `balanceOf(address)`.
    const BALANCE_OF: &str = "0x70a08231";
    let word = |number: u64| json!(format!("0x{number:064x}"));
    let data = call.params[0]["data"].as_str().unwrap_or_default();
    let code_of = call.params[0].as_str().unwrap_or_default();
    RpcResult::Ok(match call.method.as_str() {
        "eth_getCode" if code_of.starts_with("0x036cbd53") => json!("0x6080"),
        "eth_getCode" => json!("0x"),
        "eth_call" if data.starts_with(AUTHORIZATION_STATE) => word(0),
        "eth_call" if data.starts_with(BALANCE_OF) => word(50_000),
        "eth_call" => json!("0x"),
        "eth_estimateGas" => json!("0x15f90"),
        "eth_blockNumber" => json!("0x64"),
        _ => Value::Null,
    })
}
