//! What is planted where. A contract without constructor arguments is planted as it was compiled; of the others the node
//! runs the constructor in a call, whose answer is the runtime code with its immutables filled in.

use serde_json::{Value, json};

use crate::abi::word_of_address;
use crate::auth_capture::{AUTH_CAPTURE_V10, AUTH_CAPTURE_V11};
use crate::operators::{
    ARBITER, ARBITER_OPERATOR, HOSTILE_OPERATOR, TIME_LOCK_OPERATOR, TIME_LOCK_OPERATOR_V10,
};
use crate::{
    ACCEPTS_ANYTHING, Devnet, Error, FEE_TOKEN, LYING_TOKEN, MERCHANT, MOCK_WALLET, MULTICALL3, PERMIT2,
    PERMIT2_PROXY, REFUSING_DELEGATE, UPTO_PROXY, USDC, WALLET, WALLET_FACTORY, WRAPPING_FACTORY,
};

/// A contract at its address.
pub(crate) struct Planting {
    /// Its artefact's name.
    pub(crate) contract: &'static str,
    pub(crate) address: &'static str,
    /// What its constructor takes; all are addresses.
    arguments: &'static [&'static str],
}

const fn plain(address: &'static str, contract: &'static str) -> Planting {
    built(address, contract, &[])
}

const fn built(
    address: &'static str,
    contract: &'static str,
    arguments: &'static [&'static str],
) -> Planting {
    Planting {
        contract,
        address,
        arguments,
    }
}

pub(crate) const PLANTED: &[Planting] = &[
    plain(USDC, "DollarToken"),
    plain(FEE_TOKEN, "FeeToken"),
    plain(LYING_TOKEN, "LyingToken"),
    plain(PERMIT2, "Permit2"),
    plain(PERMIT2_PROXY, "ExactPermit2Proxy"),
    plain(UPTO_PROXY, "UptoPermit2Proxy"),
    plain(MULTICALL3, "Multicall3"),
    plain(WALLET, "Wallet1271"),
    plain(MOCK_WALLET, "MockWallet"),
    plain(WALLET_FACTORY, "WalletFactory"),
    plain(WRAPPING_FACTORY, "WrappingWalletFactory"),
    plain(ACCEPTS_ANYTHING, "AcceptsAnything"),
    plain(REFUSING_DELEGATE, "Delegate7702Refuses"),
    // The escrow of v1.1 with what belongs to it.
    built(
        AUTH_CAPTURE_V11.escrow,
        "AuthCaptureEscrowV11",
        &[AUTH_CAPTURE_V11.token_store],
    ),
    built(
        AUTH_CAPTURE_V11.token_store,
        "TokenStore",
        &[AUTH_CAPTURE_V11.escrow],
    ),
    built(
        AUTH_CAPTURE_V11.erc3009_collector,
        "Erc3009Collector",
        &[AUTH_CAPTURE_V11.escrow, MULTICALL3],
    ),
    built(
        AUTH_CAPTURE_V11.permit2_collector,
        "Permit2Collector",
        &[AUTH_CAPTURE_V11.escrow, MULTICALL3, PERMIT2],
    ),
    built(
        AUTH_CAPTURE_V11.operator_refund_collector,
        "OperatorRefundCollector",
        &[AUTH_CAPTURE_V11.escrow],
    ),
    built(
        AUTH_CAPTURE_V11.pre_approval_collector,
        "PreApprovalCollector",
        &[AUTH_CAPTURE_V11.escrow],
    ),
    // The same of v1.0.
    built(
        AUTH_CAPTURE_V10.escrow,
        "AuthCaptureEscrowV10",
        &[AUTH_CAPTURE_V10.token_store],
    ),
    built(
        AUTH_CAPTURE_V10.token_store,
        "TokenStore",
        &[AUTH_CAPTURE_V10.escrow],
    ),
    built(
        AUTH_CAPTURE_V10.erc3009_collector,
        "Erc3009Collector",
        &[AUTH_CAPTURE_V10.escrow, MULTICALL3],
    ),
    built(
        AUTH_CAPTURE_V10.permit2_collector,
        "Permit2Collector",
        &[AUTH_CAPTURE_V10.escrow, MULTICALL3, PERMIT2],
    ),
    built(
        AUTH_CAPTURE_V10.operator_refund_collector,
        "OperatorRefundCollector",
        &[AUTH_CAPTURE_V10.escrow],
    ),
    built(
        AUTH_CAPTURE_V10.pre_approval_collector,
        "PreApprovalCollector",
        &[AUTH_CAPTURE_V10.escrow],
    ),
    built(
        TIME_LOCK_OPERATOR,
        "TimeLockOperator",
        &[AUTH_CAPTURE_V11.escrow, MERCHANT.0],
    ),
    built(
        TIME_LOCK_OPERATOR_V10,
        "TimeLockOperator",
        &[AUTH_CAPTURE_V10.escrow, MERCHANT.0],
    ),
    built(
        ARBITER_OPERATOR,
        "ArbiterOperator",
        &[AUTH_CAPTURE_V11.escrow, ARBITER],
    ),
    built(HOSTILE_OPERATOR, "HostileOperator", &[AUTH_CAPTURE_V11.escrow]),
];

impl Devnet {
    /// The writes that put every contract's code in place.
    pub(crate) fn plantings(&self) -> Result<Vec<(&'static str, Value)>, Error> {
        let constructors = PLANTED
            .iter()
            .filter(|planting| !planting.arguments.is_empty())
            .map(|planting| {
                let mut code = self.artifact(planting.contract)?.bytecode.clone();
                for argument in planting.arguments {
                    code += &hex::encode(word_of_address(argument)?);
                }
                Ok(("eth_call", json!([{"data": code}, "latest"])))
            })
            .collect::<Result<_, Error>>()?;
        let mut constructed = self.rpc().batch(constructors)?.into_iter();
        PLANTED
            .iter()
            .map(|planting| {
                let code = if planting.arguments.is_empty() {
                    json!(self.artifact(planting.contract)?.deployed_bytecode)
                } else {
                    constructed.next().unwrap_or_default()
                };
                Ok(("anvil_setCode", json!([planting.address, code])))
            })
            .collect()
    }
}
