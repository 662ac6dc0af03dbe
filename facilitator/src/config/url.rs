//! URLs of nodes. Providers put the customer's key into path, query or password, so the whole is a secret.

use std::fmt;

/// An `http` or `https` URL whose `Debug` and `Display` show scheme and host only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    whole: String,
    shown: String,
}

impl SecretUrl {
    /// `Err`: what to write instead; never quotes the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let advice = "not a URL of a node; write e.g. \"https://rpc.example.com/key\"";
        let (scheme, rest) = text.split_once("://").ok_or(advice)?;
        if !matches!(scheme, "http" | "https") {
            return Err(format!("{advice} (http or https only)"));
        }
        if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(format!("{advice} (without blanks)"));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.is_empty() || host.starts_with(':') {
            return Err(advice.to_owned());
        }
        Ok(Self {
            whole: text.to_owned(),
            shown: format!("{scheme}://{host}"),
        })
    }

    /// The URL itself, for the client that calls it. Must not be logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.whole
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t105_only_scheme_and_host_are_shown() {
        let url = SecretUrl::parse("https://user:pass@node.example:8545/v2/KEY?token=KEY").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "https://node.example:8545 \"https://node.example:8545\""
        );
        assert!(url.expose().ends_with("token=KEY"));
    }

    #[test]
    fn what_is_not_a_url_is_not_quoted() {
        for bad in [
            "",
            "node.example/KEY",
            "ws://node.example/KEY",
            "https:///KEY",
            "https://@/KEY",
            "http://a b/KEY",
        ] {
            let error = SecretUrl::parse(bad).unwrap_err();
            assert!(
                error.contains("https://rpc.example.com") && !error.contains("KEY"),
                "{bad}: {error}"
            );
        }
    }
}
