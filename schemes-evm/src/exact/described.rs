//! The tokens that the operator describes, for sellers: what requirements need of them.

use sdk_plugin::cx::NetworkView;
use sdk_plugin::{Fault, Value};
use serde_json::{Map, json};

use crate::options::Options;
use crate::{step, text};

/// `extra` of the kinds of `exact`: described tokens that the network accepts. `None`: there are none.
///
/// # Errors
/// The network's options can't be read.
pub(super) fn extra(network: &NetworkView) -> Result<Option<Map<String, Value>>, Fault> {
    let options = Options::read(&network.options)?;
    let assets: Vec<Value> = options
        .tokens
        .iter()
        .filter(|(asset, _)| step::listed(**asset, network).is_ok())
        .map(|(asset, token)| {
            let mut shown = Map::from_iter([("address".to_owned(), json!(text::lower(*asset)))]);
            let members = [
                ("name", token.name.as_ref().map(|name| json!(name))),
                ("version", token.version.as_ref().map(|version| json!(version))),
                ("symbol", token.symbol.as_ref().map(|symbol| json!(symbol))),
                ("decimals", token.decimals.map(|decimals| json!(decimals))),
            ];
            shown.extend(
                members
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), value?))),
            );
            Value::Object(shown)
        })
        .collect();
    Ok((!assets.is_empty()).then(|| Map::from_iter([("assets".to_owned(), Value::Array(assets))])))
}
