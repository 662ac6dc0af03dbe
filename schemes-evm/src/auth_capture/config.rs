//! What an operator decides about this scheme. Deserialized from the plugin instance's configuration, whose schema and
//! descriptions are in the plugin's manifest; a test there holds the two together.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use sdk_plugin::Amount;
use serde::Deserialize;

use super::deployment::{Deployment, V1_0, V1_1};
use super::fees::BPS_PER_WHOLE;

/// Settings, valid on every network of the instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Most gas that one call of an escrow may use, in simulation and in the transaction.
    pub max_gas: u64,
    /// The same for a call of a custom operator.
    pub custom_max_gas: u64,
    /// Serve the wire of the seed documents beside v1.1 (section 5, "compat mode").
    pub scheme_v1_0: bool,
    /// Tenants whose v1.1 payloads may leave out `saltNonce` (section 15, "nonce probing").
    pub nonce_probing_tenants: Vec<String>,
    /// The furthest capture deadline that is accepted, seconds from now: it limits how long a signer is needed.
    pub max_capture_horizon_s: u64,
    /// The same for refund deadlines.
    pub max_refund_horizon_s: u64,
    /// Seconds before the capture deadline in which no new capture starts: inclusion counts, not submission.
    pub capture_margin_s: u64,
    /// Least amount of a partial capture in atomic units: small ones round fees down (T-78).
    pub min_capture_amount: Amount,
    /// Escrows beside the canonical ones of v1.1 and v1.0.
    pub deployments: Vec<Deployment>,
    /// The operator's own terms; a delegated payment must carry exactly these.
    pub fee_terms: Option<OwnFeeTerms>,
    /// Contracts that may be a payment's operator. Empty: custom operators are off.
    pub custom_operators: Vec<CustomOperator>,
    /// Targets that an ERC-6492 wrapper may call. Empty: payers without code sign for themselves.
    pub wallet_factories: Vec<Address>,
    /// Who has refunds paid by our signers, and up to what. Empty: no refunds.
    pub refund_funding: Vec<RefundAgreement>,
    /// Which tenant owns which receiver's payments: without an entry a payment belongs to the tenant that had it collected,
    /// and any holder of the buyer's payload can be the first. An entry also lets the tenant act for the receiver where the
    /// authorizer is us.
    pub receivers: Vec<TenantReceiver>,
    /// Authorize captures, voids and refunds ourselves, for authenticated tenants.
    pub delegated_authorizer: Option<DelegatedAuthorizer>,
    /// What happens for receivers on time.
    pub keepers: Vec<KeeperRule>,
    /// Answer `unauthenticated_lifecycle_request`, as older builds did, for lifecycle requests.
    pub older_unauthenticated_reason: bool,
}

/// Fee terms that the operator publishes in `/supported`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnFeeTerms {
    pub fee_recipient: Address,
    /// Basis points, at most 10000.
    pub min_fee_bps: u16,
    pub max_fee_bps: u16,
}

/// A contract that may be a payment's operator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomOperator {
    pub address: Address,
    /// CAIP-2; absent: every network of the instance.
    #[serde(default)]
    pub network: Option<String>,
    /// Whether its `charge` has the escrow's arguments; some contracts have one of their own (section 17).
    #[serde(default = "default_charges")]
    pub charges: bool,
}

fn default_charges() -> bool {
    true
}

/// A funding agreement: refunds of these payments are paid by the operator's own signer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundAgreement {
    /// Name of the tenant; without tenants there is no agreement.
    pub tenant: String,
    pub receiver: Address,
    /// CAIP-2.
    pub network: String,
    pub asset: Address,
    /// Atomic units of the asset within 24 hours.
    pub max_per_day: Amount,
}

/// The address that merchants write as `receiverAuthorizer` to have us authorize for them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegatedAuthorizer {
    /// Nothing is ever signed with its key: it names us in the salt that the buyer signs.
    pub address: Address,
    /// Which tenant's API key counts as whose consent, in addition to [`Config::receivers`]; here several tenants may act
    /// for one receiver. Any holder of a buyer's payload could otherwise complete a charge with an amount of its own, or
    /// have the payment bound to itself.
    #[serde(default)]
    pub receivers: Vec<TenantReceiver>,
}

/// A tenant and the address that its payments are paid to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantReceiver {
    /// Name of the tenant.
    pub tenant: String,
    /// `payTo` of its payments.
    pub receiver: Address,
}

/// What is done for a receiver on time, with payments whose authorizer we are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperRule {
    pub receiver: Address,
    /// Seconds between two captures of reported usage. Absent: once, before the deadline.
    #[serde(default)]
    pub capture_every_s: Option<u64>,
    /// Seconds before the capture deadline at which reported usage is captured at the latest, and a warning is given
    /// for what is held and was not used.
    #[serde(default = "default_margin_s")]
    pub margin_s: u64,
    /// Give back what is held after the last capture.
    #[serde(default)]
    pub void_unused: bool,
}

fn default_margin_s() -> u64 {
    3_600
}

const DAY_S: u64 = 86_400;

impl Default for Config {
    fn default() -> Self {
        Self {
            max_gas: 1_000_000,
            custom_max_gas: 1_000_000,
            scheme_v1_0: true,
            nonce_probing_tenants: Vec::new(),
            max_capture_horizon_s: 90 * DAY_S,
            max_refund_horizon_s: 180 * DAY_S,
            capture_margin_s: 30,
            min_capture_amount: Amount::ZERO,
            deployments: Vec::new(),
            fee_terms: None,
            custom_operators: Vec::new(),
            wallet_factories: Vec::new(),
            refund_funding: Vec::new(),
            receivers: Vec::new(),
            delegated_authorizer: None,
            keepers: Vec::new(),
            older_unauthenticated_reason: false,
        }
    }
}

impl Config {
    /// Every deployment served: the canonical two, then the operator's own.
    pub fn all_deployments(&self) -> impl Iterator<Item = &Deployment> {
        [&V1_1, &V1_0].into_iter().chain(&self.deployments)
    }

    #[must_use]
    pub fn deployment_of(&self, escrow: Address) -> Option<&Deployment> {
        self.all_deployments()
            .find(|deployment| deployment.escrow == escrow)
    }

    #[must_use]
    pub fn admits(&self, operator: Address, network: &str) -> bool {
        self.admitted(operator, network).next().is_some()
    }

    /// Whether a charge can be relayed to an admitted contract.
    #[must_use]
    pub fn charges_through(&self, operator: Address, network: &str) -> bool {
        self.admitted(operator, network).any(|admitted| admitted.charges)
    }

    fn admitted(&self, operator: Address, network: &str) -> impl Iterator<Item = &CustomOperator> {
        self.custom_operators
            .iter()
            .filter(move |admitted| admitted.network.as_deref().is_none_or(|only| only == network))
            .filter(move |admitted| admitted.address == operator)
    }

    #[must_use]
    pub fn probes_nonces_for(&self, tenant: Option<&str>) -> bool {
        tenant.is_some_and(|tenant| self.nonce_probing_tenants.iter().any(|one| one == tenant))
    }

    #[must_use]
    pub fn is_our_authorizer(&self, authorizer: Address) -> bool {
        self.delegated_authorizer
            .as_ref()
            .is_some_and(|delegated| delegated.address == authorizer)
    }

    /// The authorizer to publish: ours, where a tenant can act for a receiver. For a payment that names it otherwise, no caller
    /// could order operations.
    #[must_use]
    pub fn offered_authorizer(&self) -> Option<Address> {
        self.delegated_authorizer
            .as_ref()
            .filter(|delegated| !(delegated.receivers.is_empty() && self.receivers.is_empty()))
            .map(|delegated| delegated.address)
    }

    /// Whether a tenant's request is the receiver's consent, where the authorizer is us.
    #[must_use]
    pub fn speaks_for(&self, tenant: Option<&str>, receiver: Address) -> bool {
        let delegated = self.delegated_authorizer.iter().flat_map(|one| &one.receivers);
        let mut known = delegated.chain(&self.receivers);
        tenant.is_some_and(|tenant| known.any(|known| known.tenant == tenant && known.receiver == receiver))
    }

    /// The tenant that a receiver's payments belong to. `None`: the operator has not configured it.
    #[must_use]
    pub fn tenant_of(&self, receiver: Address) -> Option<&str> {
        let mut known = self.receivers.iter();
        known
            .find(|known| known.receiver == receiver)
            .map(|known| known.tenant.as_str())
    }

    /// Receivers whose payments belong to a tenant.
    pub fn receivers_of<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = Address> + 'a {
        self.receivers
            .iter()
            .filter(move |known| known.tenant == tenant)
            .map(|known| known.receiver)
    }

    /// Rules about the settings that a schema can't express.
    ///
    /// # Errors
    /// A sentence that names the key and the correct value.
    pub fn check(&self) -> Result<(), String> {
        if let Some(own) = self.fee_terms {
            if own.min_fee_bps > own.max_fee_bps || own.max_fee_bps > BPS_PER_WHOLE {
                return Err(
                    "fee_terms.min_fee_bps must be at most max_fee_bps, and that at most 10000".into(),
                );
            }
            if own.fee_recipient == Address::ZERO && own.max_fee_bps > 0 {
                return Err("fee_terms.fee_recipient is the zero address; write who gets the fee".into());
            }
        }
        if self.max_refund_horizon_s < self.max_capture_horizon_s {
            return Err(
                "max_refund_horizon_s is below max_capture_horizon_s; a refund comes after a capture".into(),
            );
        }
        if self
            .delegated_authorizer
            .as_ref()
            .is_some_and(|delegated| delegated.address == Address::ZERO)
        {
            return Err("delegated_authorizer.address must not be the zero address".into());
        }
        self.check_receivers()?;
        for (index, keeper) in self.keepers.iter().enumerate() {
            if keeper.margin_s <= self.capture_margin_s {
                return Err(format!(
                    "keepers.{index}.margin_s must be above capture_margin_s ({}): nothing is captured after that",
                    self.capture_margin_s
                ));
            }
        }
        let mut kept = BTreeSet::new();
        for (index, keeper) in self.keepers.iter().enumerate() {
            if keeper.receiver == Address::ZERO || !kept.insert(keeper.receiver) {
                return Err(format!(
                    "keepers.{index}.receiver is the zero address, or has a rule already; write one rule for each receiver"
                ));
            }
        }
        let mut agreed = BTreeSet::new();
        for (index, agreement) in self.refund_funding.iter().enumerate() {
            let RefundAgreement {
                tenant,
                receiver,
                network,
                asset,
                max_per_day: _,
            } = agreement;
            if !agreed.insert((tenant, receiver, network, asset)) {
                return Err(format!(
                    "refund_funding.{index} is about the same tenant, receiver, network and asset as one before; leave one out"
                ));
            }
        }
        let mut seen = BTreeSet::new();
        for (index, deployment) in self.deployments.iter().enumerate() {
            let canonical = [V1_1.escrow, V1_0.escrow].contains(&deployment.escrow);
            if canonical || !seen.insert(deployment.escrow) {
                return Err(format!(
                    "deployments.{index}.escrow is served already; leave this entry out"
                ));
            }
        }
        Ok(())
    }

    /// A receiver belongs to one tenant, wherever it is listed.
    fn check_receivers(&self) -> Result<(), String> {
        let mut listed = BTreeSet::new();
        for (index, known) in self.receivers.iter().enumerate() {
            if known.receiver == Address::ZERO || !listed.insert(known.receiver) {
                return Err(format!(
                    "receivers.{index}.receiver is the zero address, or belongs to a tenant already; write each receiver once"
                ));
            }
        }
        let delegated = self.delegated_authorizer.iter().flat_map(|one| &one.receivers);
        for (index, known) in delegated.enumerate() {
            if let Some(owner) = self
                .tenant_of(known.receiver)
                .filter(|owner| *owner != known.tenant)
            {
                return Err(format!(
                    "delegated_authorizer.receivers.{index}.tenant is another than {owner:?}, to which `receivers` gives \
                     this receiver; take one of them out"
                ));
            }
        }
        Ok(())
    }
}
