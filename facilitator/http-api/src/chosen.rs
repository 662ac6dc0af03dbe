//! Which network a request to a scheme's own route is about.

use sdk_plugin::Value;

use crate::names::NetworkNames;

/// What it is called, in the query and in the body.
const NAME: &str = "network";

/// A route's network is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unchosen {
    pub(super) status: u16,
    pub(super) message: String,
}

/// The query's `network`, else a text `network` in the body, else the only one of `served`. Ids and plain names are
/// understood; `served` holds CAIP-2 ids.
pub(super) fn network(
    query: &[(String, String)],
    body: &Value,
    served: &[String],
    names: &NetworkNames,
) -> Result<String, Unchosen> {
    let refuse = |status, why: &str| {
        let message = format!("{why}: write ?{NAME}= and one of {}", served.join(", "));
        Err(Unchosen { status, message })
    };
    let mut named = query
        .iter()
        .filter(|(name, _)| name == NAME)
        .map(|(_, value)| value.as_str());
    let in_query = named.next();
    if named.next().is_some() {
        return refuse(400, "the query names more than one network");
    }
    let Some(said) = in_query.or_else(|| body.get(NAME).and_then(Value::as_str)) else {
        return match served {
            [only] => Ok(only.clone()),
            _ => refuse(400, "this is served on several networks"),
        };
    };
    let id = names.caip2(said).unwrap_or(said);
    match served.iter().find(|network| *network == id) {
        Some(network) => Ok(network.clone()),
        None => refuse(404, "this is not served on the network that was named"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(query: &[&str], body: &Value, served: &[&str]) -> Result<String, (u16, String)> {
        let query: Vec<_> = query
            .iter()
            .map(|text| (NAME.to_owned(), (*text).to_owned()))
            .collect();
        let served: Vec<_> = served.iter().map(|text| (*text).to_owned()).collect();
        network(&query, body, &served, &NetworkNames::default()).map_err(|no| (no.status, no.message))
    }

    const BASE: &str = "eip155:8453";
    const SEPOLIA: &str = "eip155:84532";

    #[test]
    fn the_query_says_it_before_the_body_and_nobody_has_to_where_there_is_one() {
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
                chosen(query, body, served).as_deref(),
                Ok(expected),
                "{query:?} {body}"
            );
        }
    }

    #[test]
    fn what_is_not_clear_is_400_and_what_is_not_there_is_404_and_both_say_what_there_is() {
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
            let (told, message) = chosen(query, body, served).unwrap_err();
            assert_eq!(told, status, "{query:?} {body}");
            assert!(served.iter().all(|id| message.contains(id)), "{message}");
        }
    }
}
