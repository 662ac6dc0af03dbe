//! The facilitator of x402-rs, assembled from its published crates as their README shows, without telemetry. It serves
//! `exact` of protocol versions 1 and 2 on EVM networks.
//!
//! The first argument names a JSON file: `{"port": 1, "networks": [{"chainId": 1, "rpc": "http://…", "key": "0x…"}]}`.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use x402_chain_eip155::chain::config::Eip155ChainConfig;
use x402_chain_eip155::chain::{Eip155ChainProvider, Eip155ChainReference};
use x402_chain_eip155::{V1Eip155Exact, V2Eip155Exact};
use x402_facilitator_local::{FacilitatorLocal, routes};
use x402_types::chain::{ChainId, ChainProviderOps, ChainRegistry, FromConfig};
use x402_types::scheme::{
    SchemeBlueprints, SchemeConfig, SchemeRegistry, X402SchemeFacilitator, X402SchemeFacilitatorBuilder,
};

#[derive(Deserialize)]
struct Settings {
    port: u16,
    networks: Vec<Network>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    chain_id: u64,
    rpc: String,
    key: String,
}

/// A provider that several schemes share, as in their own binary.
struct Provider(Arc<Eip155ChainProvider>);

impl ChainProviderOps for Provider {
    fn signer_addresses(&self) -> Vec<String> {
        self.0.signer_addresses()
    }

    fn chain_id(&self) -> ChainId {
        self.0.chain_id()
    }
}

type Built = Result<Box<dyn X402SchemeFacilitator>, Box<dyn Error>>;

/// The schemes, each built from the shared provider.
struct Shared<S>(S);

impl<S: x402_types::scheme::X402SchemeId> x402_types::scheme::X402SchemeId for Shared<S> {
    fn x402_version(&self) -> u8 {
        self.0.x402_version()
    }

    fn namespace(&self) -> &str {
        self.0.namespace()
    }

    fn scheme(&self) -> &str {
        self.0.scheme()
    }
}

impl<S> X402SchemeFacilitatorBuilder<&Provider> for Shared<S>
where
    S: X402SchemeFacilitatorBuilder<Arc<Eip155ChainProvider>>,
{
    fn build(&self, provider: &Provider, config: Option<Value>) -> Built {
        self.0.build(Arc::clone(&provider.0), config)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args()
        .nth(1)
        .ok_or("the first argument names the settings file")?;
    let settings: Settings = serde_json::from_slice(&std::fs::read(file)?)?;
    let mut providers = HashMap::new();
    for network in &settings.networks {
        let config = Eip155ChainConfig {
            chain_reference: Eip155ChainReference::new(network.chain_id),
            inner: serde_json::from_value(json!({"signers": [network.key], "rpc": [{"http": network.rpc}]}))?,
        };
        let provider = Eip155ChainProvider::from_config(&config).await?;
        providers.insert(config.chain_id(), Provider(Arc::new(provider)));
    }
    let blueprints = SchemeBlueprints::new()
        .and_register(Shared(V1Eip155Exact))
        .and_register(Shared(V2Eip155Exact));
    let schemes = ["v1-eip155-exact", "v2-eip155-exact"]
        .map(|id| serde_json::from_value::<SchemeConfig>(json!({"id": id, "chains": "eip155:*"})));
    let schemes = schemes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let registry = SchemeRegistry::build(ChainRegistry::new(providers), blueprints, &schemes);
    let facilitator = Arc::new(FacilitatorLocal::new(registry));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", settings.port)).await?;
    axum::serve(listener, routes().with_state(facilitator)).await?;
    Ok(())
}
