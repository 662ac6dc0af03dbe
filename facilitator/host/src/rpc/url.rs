//! The URL of a node. It may hold API keys in user info, path and query, so only the host name may be shown.
//!
//! Not guaranteed: the URL's memory is not wiped when it is dropped. It must stay readable while the process runs.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;

/// Shorter parts of a URL are not hidden in a node's error text: `v2`, `mainnet`, `rpc`.
const SHORTEST_SECRET: usize = 8;

/// Replaces a secret in a text.
const REDACTED: &str = "[redacted]";

/// A node's `http` or `https` URL. `Debug` and `Display` show the host name only.
#[derive(Clone)]
pub struct SecretUrl {
    uri: Uri,
    authorization: Option<HeaderValue>,
    host: String,
    /// The operator's name for the node.
    name: Option<String>,
    secrets: Vec<String>,
}

/// Why a text is not the URL of a node. Never contains the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("not a URL; write for instance https://rpc.example.com/v2/KEY")]
    Malformed,
    #[error("a node's URL must begin with https:// or http://")]
    Scheme,
    #[error("the user name and password in a URL must be percent-encoded ASCII")]
    UserInfo,
}

impl SecretUrl {
    /// Parses an `https://` or `http://` URL; `user:password@` becomes HTTP Basic authentication.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.trim().parse().map_err(|_| UrlError::Malformed)?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) | None => return Err(UrlError::Scheme),
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or(UrlError::Malformed)?
            .to_owned();
        let authority = uri.authority().ok_or(UrlError::Malformed)?.as_str();
        let (user_info, host_and_port) = match authority.rsplit_once('@') {
            Some((user_info, rest)) => (Some(user_info), rest),
            None => (None, authority),
        };

        let mut secrets: Vec<String> = Vec::new();
        let mut authorization = None;
        if let Some(user_info) = user_info {
            let decoded = percent_decode(user_info).ok_or(UrlError::UserInfo)?;
            let (user, password) = decoded.split_once(':').unwrap_or((decoded.as_str(), ""));
            let mut value = HeaderValue::from_str(&format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{password}"))
            ))
            .map_err(|_| UrlError::UserInfo)?;
            value.set_sensitive(true);
            authorization = Some(value);
            secrets.extend(user_info.split(':').map(str::to_owned));
            secrets.extend([user.to_owned(), password.to_owned()]);
        }
        let path_and_query = uri.path_and_query().map_or("/", |p| p.as_str());
        secrets.extend(path_and_query.split(['/', '?', '&', '=', ';']).map(str::to_owned));
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        // Longest first, so that a secret that contains another disappears whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));

        let uri = Uri::builder()
            .scheme(uri.scheme_str().unwrap_or("https"))
            .authority(host_and_port)
            .path_and_query(path_and_query)
            .build()
            .map_err(|_| UrlError::Malformed)?;
        Ok(Self {
            uri,
            authorization,
            host,
            name: None,
            secrets,
        })
    }

    /// With a name that operators see instead of the host name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// The operator's name for the node.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The host name, without port: the only part that may be shown.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, as written: to distinguish nodes, not to be shown.
    #[must_use]
    pub fn address(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The text of a node's error without the parts of the URL that may be keys: proxies often echo them.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), REDACTED)
        })
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

/// Percent-decoded UTF-8; `None` where the text is malformed, which the library would leave as it is.
fn percent_decode(text: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t16_only_the_host_is_shown() {
        let url =
            SecretUrl::parse("https://user:pass%40word@rpc.example.com:8443/v2/KEYKEYKEY?token=TOKENTOKEN")
                .unwrap();
        assert_eq!(format!("{url} {url:?}"), "rpc.example.com rpc.example.com");
        assert_eq!(
            url.uri().to_string(),
            "https://rpc.example.com:8443/v2/KEYKEYKEY?token=TOKENTOKEN"
        );
        let basic = url.authorization().unwrap();
        assert_eq!(basic.to_str().unwrap(), "Basic dXNlcjpwYXNzQHdvcmQ=");
        assert!(basic.is_sensitive());
        assert_eq!(
            url.redact("no such project KEYKEYKEY (token TOKENTOKEN, pass@word)"),
            "no such project [redacted] (token [redacted], [redacted])"
        );
    }

    #[test]
    fn an_invalid_url_is_refused_without_being_repeated() {
        for (text, error) in [
            ("", UrlError::Malformed),
            ("rpc.example.com", UrlError::Scheme),
            ("wss://rpc.example.com/KEY", UrlError::Scheme),
            ("https://", UrlError::Malformed),
            ("https://a%zz@host/", UrlError::UserInfo),
            ("https://host/ KEY", UrlError::Malformed),
        ] {
            assert_eq!(SecretUrl::parse(text).err(), Some(error), "{text:?}");
        }
    }
}
