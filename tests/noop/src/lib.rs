//! Handlers that do nothing, for `cargo xtask bench`: what is left is the cost of the core and of the plugin boundary. Never load
//! this plugin where payments matter: it accepts each of them.

use sdk_plugin::abi::PluginRoles;
use sdk_plugin::chain::{
    Attempt, Bid, Built, Evidence, Lane, LaneState, Network, Observation, Readiness, Sent, Slot, Watch,
};
use sdk_plugin::scheme::{Identified, Identity, Judgement, Plan, Planned, Step, Supported, Valid, Verdict};
use sdk_plugin::wire::Kind;
use sdk_plugin::{
    Amount, ChainDriver, Cx, Fault, PaymentRequest, SchemeHandler, Value, async_trait, export_plugin,
};

pub const SCHEME: &str = "noop";
pub const FAMILY: &str = "eip155";

export_plugin!(include_str!("../manifest.json"), create);

fn create(_config: Value) -> Result<PluginRoles, Fault> {
    Ok(PluginRoles::default()
        .driver(FAMILY, NoDriver)
        .scheme(SCHEME, Noop))
}

/// Accepts every payment whose payload has a text `nonce`, and settles none.
#[derive(Debug)]
pub struct Noop;

/// The payer of each payment.
const PAYER: &str = "nobody";

fn nothing_is_settled() -> Fault {
    Fault::unsupported("the scheme noop settles nothing: it is for benchmarks of verify")
}

#[async_trait]
impl SchemeHandler for Noop {
    async fn supported(&self, cx: &Cx) -> Result<Supported, Fault> {
        let kind = Kind {
            x402_version: 2,
            scheme: SCHEME.into(),
            network: cx.network().id.clone(),
            extra: None,
        };
        Ok(Supported {
            kinds: vec![kind],
            ..Supported::default()
        })
    }

    async fn identify(&self, _cx: &Cx, request: &PaymentRequest) -> Result<Identity, Fault> {
        let nonce = request.payload.get("nonce").and_then(Value::as_str);
        let nonce = nonce.ok_or_else(|| Fault::invalid("payload.nonce must be a text"))?;
        Ok(Identity::Identified(Identified {
            payer: PAYER.into(),
            claim_key: nonce.into(),
            conflict_keys: vec![],
            fingerprint: String::new(),
            payload_digest: nonce.into(),
            replay_reason: "duplicate_settlement".into(),
            replayable_until_s: None,
        }))
    }

    async fn verify(&self, _cx: &Cx, _request: &PaymentRequest) -> Result<Verdict, Fault> {
        Ok(Verdict::Valid(Valid {
            payer: PAYER.into(),
            ..Valid::default()
        }))
    }

    async fn plan(&self, _cx: &Cx, _request: &PaymentRequest) -> Result<Planned, Fault> {
        Err(nothing_is_settled())
    }

    async fn judge(&self, _cx: &Cx, _plan: &Plan, _evidence: &Evidence) -> Result<Judgement, Fault> {
        Err(nothing_is_settled())
    }
}

/// A chain that is always ready, and to which nothing is sent.
#[derive(Debug)]
pub struct NoDriver;

#[async_trait]
impl ChainDriver for NoDriver {
    async fn check(&self, _cx: &Cx, network: &Network) -> Result<Readiness, Fault> {
        let addresses = network
            .keys
            .iter()
            .map(|key| (key.name.clone(), key.name.clone()));
        Ok(Readiness {
            ready: true,
            why_not: None,
            addresses: addresses.collect(),
            ordered: true,
            head_height: 1,
            warnings: Vec::new(),
            node_fault: None,
        })
    }

    async fn lane(&self, _cx: &Cx, _lane: &Lane) -> Result<LaneState, Fault> {
        Ok(LaneState {
            next_sequence: 0,
            balance: Amount::from(u128::MAX),
            head_height: 1,
        })
    }

    async fn quote(&self, _cx: &Cx, _lane: &Lane, _previous: Option<&Bid>) -> Result<Bid, Fault> {
        Err(nothing_is_settled())
    }

    async fn build(&self, _cx: &Cx, _slot: &Slot, _bid: &Bid, _steps: &[Step]) -> Result<Built, Fault> {
        Err(nothing_is_settled())
    }

    async fn fill(&self, _cx: &Cx, _slot: &Slot, _bid: &Bid) -> Result<Built, Fault> {
        Err(nothing_is_settled())
    }

    async fn broadcast(&self, _cx: &Cx, _attempt: &Attempt) -> Result<Sent, Fault> {
        Err(nothing_is_settled())
    }

    async fn observe(&self, _cx: &Cx, _watches: &[Watch]) -> Result<Vec<Observation>, Fault> {
        Err(nothing_is_settled())
    }
}

#[cfg(test)]
mod tests {
    use sdk_plugin::testkit::manifest as kit;

    use super::*;

    #[test]
    fn the_manifest_matches_the_code() {
        let manifest = kit::manifest(include_str!("../manifest.json"), env!("CARGO_PKG_VERSION"));
        kit::assert_scheme(
            &manifest,
            kit::SchemeFacts {
                scheme: SCHEME,
                family: FAMILY,
                versions: &[2],
                services: &[],
            },
        );
    }
}
