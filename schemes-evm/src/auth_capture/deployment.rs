//! Which contracts hold the money: the canonical deployments, and those that an operator adds.
//!
//! auth-capture-evm.md section 1. Collectors are never on the wire: the escrow selects its whole set.

use alloy_primitives::{Address, address};
use serde::{Deserialize, Serialize};

/// How an escrow takes fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeeForm {
    /// v1.0: basis points, and the escrow computes the fee.
    Bps,
    /// v1.1: an amount in atomic units.
    Amount,
}

/// How the payer's money is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    Eip3009,
    Permit2,
}

impl Method {
    /// As in `extra.assetTransferMethod`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        match text {
            "eip3009" => Some(Self::Eip3009),
            "permit2" => Some(Self::Permit2),
            _ => None,
        }
    }
}

/// An escrow and the collectors that serve it. Same addresses on every chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    pub escrow: Address,
    pub erc3009_collector: Address,
    pub permit2_collector: Address,
    pub operator_refund_collector: Address,
    pub fee_form: FeeForm,
}

impl Deployment {
    #[must_use]
    pub fn collector(&self, method: Method) -> Address {
        match method {
            Method::Eip3009 => self.erc3009_collector,
            Method::Permit2 => self.permit2_collector,
        }
    }

    #[must_use]
    pub fn has_payment_collector(&self, collector: Address) -> bool {
        collector == self.erc3009_collector || collector == self.permit2_collector
    }
}

/// The default set.
pub const V1_1: Deployment = Deployment {
    escrow: address!("0xf96815976523E00e65Be8f34cA5e64b4f41EB19c"),
    erc3009_collector: address!("0x8612dfdc421f80336cd14E8EF9cb1E765dB5ab88"),
    permit2_collector: address!("0xD69831Aed5bfe262067ec4c751f4F830EcdD446e"),
    operator_refund_collector: address!("0x7a03443724d14798c4AB4622F1DAAcA761Fea486"),
    fee_form: FeeForm::Amount,
};

/// The set of the seed documents, with fees in basis points.
pub const V1_0: Deployment = Deployment {
    escrow: address!("0xBdEA0D1bcC5966192B070Fdf62aB4EF5b4420cff"),
    erc3009_collector: address!("0x0E3dF9510de65469C4518D7843919c0b8C7A7757"),
    permit2_collector: address!("0x992476B9Ee81d52a5BdA0622C333938D0Af0aB26"),
    operator_refund_collector: address!("0x934907bffd0901b6A21e398B9C53A4A38F02fa5d"),
    fee_form: FeeForm::Bps,
};

/// The set of an earlier draft; off unless the operator writes it into `deployments`.
pub const V1_1_EARLIER: Deployment = Deployment {
    escrow: address!("0x13AC3b34322D12FE27D5e192D0c2b2266d4F29CB"),
    erc3009_collector: address!("0xEA902B37036bcb4944577ec2101ABdEDF56EbD28"),
    permit2_collector: address!("0x1aacb38b16a1a8709e80746825E53A0C9Cae9b70"),
    operator_refund_collector: address!("0x6a1ADdEEb4bD9c5811a613e20c172b6CE61A4aaB"),
    fee_form: FeeForm::Amount,
};
