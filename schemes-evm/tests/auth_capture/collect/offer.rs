//! What a buyer and a seller agree on, the signatures they make, and requests as the core sends them.

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue};
use k256::ecdsa::SigningKey;
use schemes_evm::abi::PERMIT2;
use schemes_evm::auth_capture::abi::{PaymentInfo, ReceiveWithAuthorization};
use schemes_evm::auth_capture::authorizer::Operation;
use schemes_evm::auth_capture::config::{Config, CustomOperator, DelegatedAuthorizer, TenantReceiver};
use schemes_evm::auth_capture::deployment::{Deployment, FeeForm, Method, V1_0, V1_1};
use schemes_evm::auth_capture::fees::Fee;
use schemes_evm::auth_capture::payment_info::{EscrowId, bound_salt};
use schemes_evm::permit2::abi::{PermitTransferFrom, TokenPermissions};
use sdk_plugin::request::{Accepted, ProtocolVersion, Purpose};
use sdk_plugin::{PaymentRequest, Requirements, Value};
use serde_json::json;

pub const NETWORK: &str = "eip155:84532";
pub const CHAIN_ID: u64 = 84_532;
pub const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";
pub const ASSET_ADDRESS: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");
pub const FACILITATOR: &str = "0x5CbDd86a2FA8Dc4bDdd8a8f69dBa48572EeC07FB";
pub const PAYER: &str = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A";
pub const PAYER_ADDRESS: Address = address!("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A");
pub const AUTHORIZER: &str = "0x1563915e194D8CfBA1943570603F7606A3115508";
pub const PAYEE: &str = "0x2222222222222222222222222222222222222222";
pub const OTHER: &str = "0x4444444444444444444444444444444444444444";
/// A contract operator on the allow-list of [`config`].
pub const CONTRACT: &str = "0x0be7a70000000000000000000000000000000007";
/// A factory on the allow-list of [`config`].
pub const FACTORY: Address = Address::repeat_byte(0xfa);
pub const TENANT: &str = "shop";
/// A tenant whose payloads may leave out `saltNonce`.
pub const PROBING: &str = "old-shop";
pub const NOW_S: u64 = 1_800_000_000;
/// Atomic units that are signed.
pub const UNITS: u64 = 1_000_000;

/// Everything on that a collection may need.
pub fn config() -> Config {
    Config {
        custom_operators: vec![CustomOperator {
            address: CONTRACT.parse().unwrap(),
            network: Some(NETWORK.into()),
            charges: true,
        }],
        wallet_factories: vec![FACTORY],
        nonce_probing_tenants: vec![PROBING.into()],
        ..Config::default()
    }
}

/// As [`config`], and the vectors' authorizer is ours.
pub fn delegating() -> Config {
    Config {
        delegated_authorizer: Some(DelegatedAuthorizer {
            address: AUTHORIZER.parse().unwrap(),
            receivers: [TENANT, "another"]
                .map(|tenant| TenantReceiver {
                    tenant: tenant.into(),
                    receiver: PAYEE.parse().unwrap(),
                })
                .into(),
        }),
        ..config()
    }
}

/// A payment before it is signed.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The wire of the seed documents.
    pub v1_0: bool,
    pub deployment: Deployment,
    pub method: Method,
    /// `paymentFlow: authorization`, or `autoCapture`.
    pub charge: bool,
    /// What the seller charges and the fee, once it completes the charge.
    pub completion: Option<(u64, u64)>,
    /// Whether the salt commits to the authorizer.
    pub bound: bool,
    pub operator: &'static str,
    pub custom: bool,
    pub payer: Address,
    /// What the buyer accepts, and what the seller charges.
    pub accepted: u64,
    pub asked: u64,
    /// What the buyer signs.
    pub value: u64,
    pub valid_after: u64,
    pub valid_before: u64,
    pub capture_deadline: u64,
    pub refund_deadline: u64,
    pub min_bps: u16,
    pub max_bps: u16,
    pub recipient: Address,
    /// The collector in the buyer's signature, if it is another than the deployment's.
    pub collector: Option<Address>,
    /// The token in a Permit2 signature, if it is another than the asset.
    pub permitted: Option<Address>,
    /// XORed onto the nonce before it is signed.
    pub nonce_off_by: u8,
    pub salt_nonce: B256,
    /// ERC-6492: factory and calldata around the buyer's signature.
    pub wrapper: Option<(Address, Bytes)>,
}

impl Default for Offer {
    /// A hold on the v1.1 escrow, bound to the authorizer, at a fixed fee of 1%.
    fn default() -> Self {
        Self {
            v1_0: false,
            deployment: V1_1,
            method: Method::Eip3009,
            charge: false,
            completion: None,
            bound: true,
            operator: FACILITATOR,
            custom: false,
            payer: PAYER_ADDRESS,
            accepted: UNITS,
            asked: UNITS,
            value: UNITS,
            valid_after: 0,
            valid_before: NOW_S + 600,
            capture_deadline: NOW_S + 3_600,
            refund_deadline: NOW_S + 86_400,
            min_bps: 100,
            max_bps: 100,
            recipient: OTHER.parse().unwrap(),
            collector: None,
            permitted: None,
            nonce_off_by: 0,
            salt_nonce: B256::with_last_byte(0xab),
            wrapper: None,
        }
    }
}

impl Offer {
    /// A completed charge of three quarters.
    pub fn charged() -> Self {
        Self {
            charge: true,
            completion: Some((750_000, 7_500)),
            ..Self::default()
        }
    }

    /// A hold in the wire of the seed documents.
    pub fn v1_0() -> Self {
        Self {
            v1_0: true,
            deployment: V1_0,
            bound: false,
            ..Self::default()
        }
    }

    /// A hold through the admitted contract.
    pub fn custom() -> Self {
        Self {
            operator: CONTRACT,
            custom: true,
            ..Self::default()
        }
    }

    pub fn place(&self) -> EscrowId {
        EscrowId {
            chain_id: CHAIN_ID,
            escrow: self.deployment.escrow,
        }
    }

    pub fn salt(&self) -> U256 {
        if self.bound {
            bound_salt(AUTHORIZER.parse().unwrap(), Address::ZERO, self.salt_nonce.into())
        } else {
            self.salt_nonce.into()
        }
    }

    pub fn info(&self) -> PaymentInfo {
        PaymentInfo {
            operator: self.operator.parse().unwrap(),
            payer: self.payer,
            receiver: PAYEE.parse().unwrap(),
            token: ASSET_ADDRESS,
            maxAmount: U120::from(self.accepted),
            preApprovalExpiry: U48::from(self.valid_before),
            authorizationExpiry: U48::from(self.capture_deadline),
            refundExpiry: U48::from(self.refund_deadline),
            minFeeBps: self.min_bps,
            maxFeeBps: self.max_bps,
            feeReceiver: self.recipient,
            salt: self.salt(),
        }
    }

    pub fn hash(&self) -> B256 {
        self.info().hash(self.place())
    }

    pub fn collector(&self) -> Address {
        self.collector.unwrap_or(self.deployment.collector(self.method))
    }

    fn nonce(&self) -> B256 {
        let mut nonce = self.info().signature_nonce(self.place());
        nonce.0[31] ^= self.nonce_off_by;
        nonce
    }

    fn digest(&self) -> B256 {
        let domain = |name: &'static str, version: Option<&'static str>, contract| {
            Eip712Domain::new(
                Some(name.into()),
                version.map(Into::into),
                Some(U256::from(CHAIN_ID)),
                Some(contract),
                None,
            )
        };
        match self.method {
            Method::Eip3009 => ReceiveWithAuthorization {
                from: self.payer,
                to: self.collector(),
                value: U256::from(self.value),
                validAfter: U256::from(self.valid_after),
                validBefore: U256::from(self.valid_before),
                nonce: self.nonce(),
            }
            .eip712_signing_hash(&domain("USDC", Some("2"), ASSET_ADDRESS)),
            Method::Permit2 => PermitTransferFrom {
                permitted: TokenPermissions {
                    token: self.permitted.unwrap_or(ASSET_ADDRESS),
                    amount: U256::from(self.value),
                },
                spender: self.collector(),
                nonce: self.nonce().into(),
                deadline: U256::from(self.valid_before),
            }
            .eip712_signing_hash(&domain("Permit2", None, PERMIT2)),
        }
    }

    /// The bytes that the buyer sends as signature.
    pub fn signature(&self) -> Vec<u8> {
        let bare = sign(0x11, self.digest());
        match &self.wrapper {
            None => bare,
            Some((factory, calldata)) => {
                let inner = Bytes::from(bare);
                let mut wrapped = (*factory, calldata.clone(), inner).abi_encode_params();
                wrapped.extend([0x64, 0x92].repeat(16));
                wrapped
            }
        }
    }

    pub fn fee(&self) -> Fee {
        let (_, fee) = self.completion.unwrap_or_default();
        match self.deployment.fee_form {
            FeeForm::Bps => Fee::Bps(u16::try_from(fee).unwrap()),
            FeeForm::Amount => Fee::Amount(U256::from(fee)),
        }
    }

    /// What the authorizer signs.
    pub fn consent(&self) -> Vec<u8> {
        let (amount, _) = self.completion.unwrap_or_default();
        let operation = Operation::Charge {
            amount: U256::from(amount),
            token_collector: self.collector(),
            collector_data_hash: keccak256(self.signature()),
            fee: self.fee(),
            fee_receiver: self.recipient,
        };
        sign(
            0x22,
            operation.digest(self.hash(), CHAIN_ID, self.operator.parse().unwrap()),
        )
    }

    fn extra(&self) -> Value {
        let mut extra = json!({
            "name": "USDC",
            "version": "2",
            "captureAuthorizer": self.operator,
            "captureDeadline": self.capture_deadline,
            "refundDeadline": self.refund_deadline,
            "feeRecipient": self.recipient,
            "minFeeBps": self.min_bps,
            "maxFeeBps": self.max_bps,
            "assetTransferMethod": match self.method {
                Method::Eip3009 => "eip3009",
                Method::Permit2 => "permit2",
            },
        });
        if self.v1_0 {
            extra["autoCapture"] = json!(self.charge);
            return extra;
        }
        extra["authCaptureEscrow"] = json!(self.deployment.escrow);
        extra["paymentFlow"] = json!(if self.charge { "authorization" } else { "escrow" });
        if self.bound {
            extra["receiverAuthorizer"] = json!(AUTHORIZER);
        }
        if self.custom {
            extra["operatorType"] = json!("custom");
        }
        extra
    }

    fn payload(&self) -> Value {
        let number = |units: u64| json!(units.to_string());
        let mut payload = json!({
            "signature": format!("0x{}", hex::encode(self.signature())),
            "salt": B256::from(self.salt()),
        });
        match self.method {
            Method::Eip3009 => {
                payload["authorization"] = json!({
                    "from": self.payer.to_string(),
                    "to": self.collector(),
                    "value": number(self.value),
                    "validAfter": number(self.valid_after),
                    "validBefore": number(self.valid_before),
                    "nonce": self.nonce(),
                });
            }
            Method::Permit2 => {
                payload["permit2Authorization"] = json!({
                    "from": self.payer.to_string(),
                    "permitted": {
                        "token": self.permitted.unwrap_or(ASSET_ADDRESS),
                        "amount": number(self.value),
                    },
                    "spender": self.collector(),
                    "nonce": U256::from_be_bytes(self.nonce().0).to_string(),
                    "deadline": number(self.valid_before),
                });
            }
        }
        if self.bound {
            payload["saltNonce"] = json!(self.salt_nonce);
        }
        if let Some((amount, fee)) = self.completion {
            payload["amount"] = number(amount);
            match self.deployment.fee_form {
                FeeForm::Bps => payload["feeBps"] = json!(fee),
                FeeForm::Amount => payload["feeAmount"] = number(fee),
            }
            payload["feeReceiver"] = json!(self.recipient);
            payload["authorizerSignature"] = json!(format!("0x{}", hex::encode(self.consent())));
        }
        payload
    }

    /// The request for it, signed by every party that must sign.
    pub fn signed(&self) -> PaymentRequest {
        let requirements = |amount: u64| {
            json!({
                "scheme": "auth-capture",
                "network": NETWORK,
                "amount": amount.to_string(),
                "asset": ASSET_ADDRESS,
                "payTo": PAYEE,
                "maxTimeoutSeconds": 60,
                "extra": self.extra(),
            })
        };
        request(
            &requirements(self.accepted),
            &requirements(self.asked),
            &self.payload(),
        )
    }
}

/// A request as the core sends it.
pub fn request(accepted: &Value, requirements: &Value, payload: &Value) -> PaymentRequest {
    let requirements: Requirements = serde_json::from_value(requirements.clone()).unwrap();
    PaymentRequest {
        version: ProtocolVersion::V2,
        scheme: "auth-capture".into(),
        network: NETWORK.into(),
        network_as_sent: NETWORK.into(),
        payload: payload.as_object().unwrap().clone(),
        accepted: Accepted {
            scheme: accepted["scheme"].as_str().unwrap().to_owned(),
            network: accepted["network"].as_str().unwrap().to_owned(),
            raw: accepted.as_object().unwrap().clone(),
        },
        requirements,
        resource: None,
        extensions: serde_json::Map::new(),
        purpose: Purpose::Settle,
        tenant: None,
        idempotency_key: None,
        remaining_ms: 25_000,
        wants_reserves: false,
    }
}

fn sign(key: u8, digest: B256) -> Vec<u8> {
    let key = SigningKey::from_slice(&[key; 32]).unwrap();
    let (signature, recovery) = key.sign_prehash_recoverable(digest.as_slice()).unwrap();
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + recovery.to_byte());
    bytes
}

/// Sets one member of the payload's authorization, of either method.
pub fn set_authorization(request: &mut PaymentRequest, name: &str, value: Value) {
    for object in ["authorization", "permit2Authorization"] {
        if let Some(authorization) = request.payload.get_mut(object) {
            authorization[name] = value;
            return;
        }
    }
    panic!("no authorization");
}
