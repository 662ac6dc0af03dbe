//! What the operator's options say of tokens, compared with what the chain says: a wrong name or version fails every payment, and
//! wrong decimals make prices wrong by powers of ten.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolValue};
use sdk_plugin::cx::NetworkView;
use sdk_plugin::host::RpcResult;
use sdk_plugin::{Cx, Fault, Value};

use crate::abi::AuthorizedToken::{decimalsCall, nameCall, symbolCall, versionCall};
use crate::options::{Options, Token};
use crate::rpc::{self, EthCall, Executed};
use crate::text;

/// Reads each token that the network's `options` describe, in one round trip, and says in which key the description differs.
///
/// # Errors
/// No node answers.
pub(super) async fn warnings(cx: &Cx, options: &Value) -> Result<Vec<String>, Fault> {
    let options = Options::read(options)?;
    if options.tokens.is_empty() {
        return Ok(Vec::new());
    }
    let call = |to: Address, data: Vec<u8>| EthCall {
        from: None,
        to,
        data,
        gas: None,
    };
    let calls = options.tokens.keys().flat_map(|asset| {
        let reads = [
            nameCall {}.abi_encode(),
            versionCall {}.abi_encode(),
            symbolCall {}.abi_encode(),
            decimalsCall {}.abi_encode(),
        ];
        reads.map(|data| call(*asset, data).call())
    });
    let mut answers = rpc::NODES.read_all(cx, calls.collect()).await?;
    let mut warnings = Vec::new();
    for (asset, token) in &options.tokens {
        let name = text_of(answers.take()?);
        let version = text_of(answers.take()?);
        let symbol = text_of(answers.take()?);
        let decimals = number_of(answers.take()?);
        let Token {
            name: own_name,
            version: own_version,
            symbol: own_symbol,
            decimals: own_decimals,
        } = token;
        let decimals = decimals.map(|decimals| decimals.to_string());
        let own_decimals = own_decimals.map(|decimals| decimals.to_string());
        for (key, described, shown) in [
            ("name", own_name, &name),
            ("version", own_version, &version),
            ("symbol", own_symbol, &symbol),
            ("decimals", &own_decimals, &decimals),
        ] {
            warnings.extend(difference(
                cx.network(),
                *asset,
                key,
                described.as_deref(),
                shown.as_deref(),
            ));
        }
    }
    Ok(warnings)
}

/// A token that answers nothing contradicts nothing: `version` is no part of ERC-20.
fn difference(
    network: &NetworkView,
    asset: Address,
    key: &str,
    described: Option<&str>,
    shown: Option<&str>,
) -> Option<String> {
    let (described, shown) = described.zip(shown)?;
    let (id, asset) = (&network.id, text::lower(asset));
    (described != shown).then(|| {
        format!(
            "asset {asset} on {id}: the chain says {key} {shown:?}, the options say {described:?}: correct {key} of \
             networks.{id:?}.options.tokens.{asset:?}"
        )
    })
}

fn text_of(answer: RpcResult) -> Option<String> {
    String::abi_decode(&returned(answer)?).ok()
}

fn number_of(answer: RpcResult) -> Option<U256> {
    returned(answer)?
        .first_chunk::<32>()
        .map(|word| U256::from_be_bytes(*word))
}

/// Nodes that run no calls are found by the probe of transfers.
fn returned(answer: RpcResult) -> Option<Vec<u8>> {
    match rpc::executed(answer, "eth_call of a token's description") {
        Ok(Executed::Returned(data)) => Some(data),
        Ok(Executed::Failed(_)) | Err(_) => None,
    }
}
