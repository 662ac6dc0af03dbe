//! Selects the network of a request to a scheme's own route.

use axum::http::StatusCode;
use sdk_plugin::Value;

use crate::names::NetworkNames;

/// The name of the network's parameter, in the query and in the body.
const NAME: &str = "network";

/// The request does not name a network that serves the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnknownNetwork {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

/// Returns the query's `network`, else the string `network` of the body, else the only network of `served`. Callers may
/// write CAIP-2 ids or plain names; `served` holds CAIP-2 ids.
pub(super) fn select(
    query: &[(String, String)],
    body: &Value,
    served: &[String],
    names: &NetworkNames,
) -> Result<String, UnknownNetwork> {
    let refuse = |status, why: &str| {
        let message = format!("{why}: write ?{NAME}= and one of {}", served.join(", "));
        Err(UnknownNetwork { status, message })
    };
    let mut named = query
        .iter()
        .filter(|(name, _)| name == NAME)
        .map(|(_, value)| value.as_str());
    let in_query = named.next();
    if named.next().is_some() {
        return refuse(StatusCode::BAD_REQUEST, "the query names more than one network");
    }
    let Some(requested) = in_query.or_else(|| body.get(NAME).and_then(Value::as_str)) else {
        return match served {
            [only] => Ok(only.clone()),
            _ => refuse(StatusCode::BAD_REQUEST, "this is served on several networks"),
        };
    };
    let id = names.caip2(requested).unwrap_or(requested);
    match served.iter().find(|network| *network == id) {
        Some(network) => Ok(network.clone()),
        None => refuse(
            StatusCode::NOT_FOUND,
            "this is not served on the network that was named",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selected(query: &[&str], body: &Value, served: &[&str]) -> Result<String, (u16, String)> {
        let query: Vec<_> = query
            .iter()
            .map(|text| (NAME.to_owned(), (*text).to_owned()))
            .collect();
        let served: Vec<_> = served.iter().map(|text| (*text).to_owned()).collect();
        select(&query, body, &served, &NetworkNames::default())
            .map_err(|unknown| (unknown.status.as_u16(), unknown.message))
    }

    const BASE: &str = "eip155:8453";
    const SEPOLIA: &str = "eip155:84532";

    #[test]
    fn the_query_wins_over_the_body_and_a_single_network_needs_neither() {
        let both = [BASE, SEPOLIA];
        let in_body = json!({ "network": SEPOLIA });
        for (query, body, served, expected) in [
            (&[BASE][..], &in_body, &both[..], BASE),
            (&["base"], &in_body, &both, BASE),
            (&[], &in_body, &both, SEPOLIA),
            (&[], &json!({ "network": "base-sepolia" }), &both, SEPOLIA),
            (&[], &Value::Null, &[BASE], BASE),
            (&[], &json!({ "network": 8453 }), &[BASE], BASE),
        ] {
            assert_eq!(
                selected(query, body, served).as_deref(),
                Ok(expected),
                "{query:?} {body}"
            );
        }
    }

    #[test]
    fn an_ambiguous_network_is_400_an_unserved_one_404_and_both_list_the_networks() {
        let both = [BASE, SEPOLIA];
        for (query, body, served, status) in [
            (&[][..], &Value::Null, &both[..], 400),
            (&[BASE, SEPOLIA], &Value::Null, &both, 400),
            (&[BASE, BASE], &Value::Null, &[BASE], 400),
            (&["eip155:1"], &Value::Null, &both, 404),
            (&["EIP155:8453"], &Value::Null, &both, 404),
            (&["ethereum"], &Value::Null, &[BASE], 404),
            (&[""], &json!({ "network": BASE }), &both, 404),
            (&[], &json!({ "network": "nowhere" }), &[BASE], 404),
        ] {
            let (actual, message) = selected(query, body, served).unwrap_err();
            assert_eq!(actual, status, "{query:?} {body}");
            assert!(served.iter().all(|id| message.contains(id)), "{message}");
        }
    }
}
