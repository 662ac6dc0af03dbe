//! The facilitator of x402-rs, assembled from its published crates as their README shows, without telemetry. It serves
//! `exact` of protocol versions 1 and 2 on EVM and Solana networks.
//!
//! The first argument names a JSON file:
//! `{"port": 1, "networks": [{"network": "eip155:1", "rpc": "http://…", "key": "0x…"}]}`.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use x402_chain_eip155::chain::config::Eip155ChainConfig;
use x402_chain_eip155::chain::{Eip155ChainProvider, Eip155ChainReference};
use x402_chain_eip155::{V1Eip155Exact, V2Eip155Exact};
use x402_chain_solana::chain::SolanaChainProvider;
use x402_chain_solana::chain::config::SolanaChainConfig;
use x402_chain_solana::{V1SolanaExact, V2SolanaExact};
use x402_facilitator_local::{FacilitatorLocal, routes};
use x402_types::chain::{ChainId, ChainProviderOps, ChainRegistry, FromConfig};
use x402_types::scheme::{
    SchemeBlueprints, SchemeConfig, SchemeRegistry, X402SchemeFacilitator, X402SchemeFacilitatorBuilder,
    X402SchemeId,
};

#[derive(Deserialize)]
struct Settings {
    port: u16,
    networks: Vec<Network>,
}

#[derive(Deserialize)]
struct Network {
    /// CAIP-2.
    network: String,
    rpc: String,
    /// `0x` and hex, or on Solana base58 of seed and public key.
    key: String,
}

/// A network's provider, which several schemes share, as in their own binary.
enum Provider {
    Evm(Arc<Eip155ChainProvider>),
    Solana(Arc<SolanaChainProvider>),
}

impl ChainProviderOps for Provider {
    fn signer_addresses(&self) -> Vec<String> {
        match self {
            Provider::Evm(provider) => provider.signer_addresses(),
            Provider::Solana(provider) => provider.signer_addresses(),
        }
    }

    fn chain_id(&self) -> ChainId {
        match self {
            Provider::Evm(provider) => provider.chain_id(),
            Provider::Solana(provider) => provider.chain_id(),
        }
    }
}

type Built = Result<Box<dyn X402SchemeFacilitator>, Box<dyn Error>>;

/// A scheme of EVM networks, built from the shared provider.
struct OnEvm<S>(S);

/// The same of Solana networks.
struct OnSolana<S>(S);

impl<S: X402SchemeId> X402SchemeId for OnEvm<S> {
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

impl<S: X402SchemeId> X402SchemeId for OnSolana<S> {
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

impl<S> X402SchemeFacilitatorBuilder<&Provider> for OnEvm<S>
where
    S: X402SchemeFacilitatorBuilder<Arc<Eip155ChainProvider>>,
{
    fn build(&self, provider: &Provider, config: Option<Value>) -> Built {
        match provider {
            Provider::Evm(provider) => self.0.build(Arc::clone(provider), config),
            Provider::Solana(_) => Err("a scheme of EVM networks on another one".into()),
        }
    }
}

impl<S> X402SchemeFacilitatorBuilder<&Provider> for OnSolana<S>
where
    S: X402SchemeFacilitatorBuilder<Arc<SolanaChainProvider>>,
{
    fn build(&self, provider: &Provider, config: Option<Value>) -> Built {
        match provider {
            Provider::Solana(provider) => self.0.build(Arc::clone(provider), config),
            Provider::Evm(_) => Err("a scheme of Solana networks on another one".into()),
        }
    }
}

impl Network {
    async fn provider(&self) -> Result<Provider, Box<dyn Error>> {
        match self.network.split_once(':') {
            Some(("eip155", id)) => {
                let config = Eip155ChainConfig {
                    chain_reference: Eip155ChainReference::new(id.parse()?),
                    inner: serde_json::from_value(json!({"signers": [self.key], "rpc": [{"http": self.rpc}]}))?,
                };
                let provider = Eip155ChainProvider::from_config(&config).await?;
                Ok(Provider::Evm(Arc::new(provider)))
            }
            Some(("solana", reference)) => {
                let config = SolanaChainConfig {
                    chain_reference: reference.parse()?,
                    inner: serde_json::from_value(json!({"signer": self.key, "rpc": self.rpc}))?,
                };
                let provider = SolanaChainProvider::from_config(&config).await?;
                Ok(Provider::Solana(Arc::new(provider)))
            }
            _ => Err(format!("{} is no network that it serves", self.network).into()),
        }
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
        let provider = network.provider().await?;
        providers.insert(provider.chain_id(), provider);
    }
    let blueprints = SchemeBlueprints::new()
        .and_register(OnEvm(V1Eip155Exact))
        .and_register(OnEvm(V2Eip155Exact))
        .and_register(OnSolana(V1SolanaExact))
        .and_register(OnSolana(V2SolanaExact));
    let schemes = [
        ("v1-eip155-exact", "eip155:*"),
        ("v2-eip155-exact", "eip155:*"),
        ("v1-solana-exact", "solana:*"),
        ("v2-solana-exact", "solana:*"),
    ]
    .map(|(id, chains)| serde_json::from_value::<SchemeConfig>(json!({"id": id, "chains": chains})));
    let schemes = schemes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let registry = SchemeRegistry::build(ChainRegistry::new(providers), blueprints, &schemes);
    let facilitator = Arc::new(FacilitatorLocal::new(registry));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", settings.port)).await?;
    axum::serve(listener, routes().with_state(facilitator)).await?;
    Ok(())
}
