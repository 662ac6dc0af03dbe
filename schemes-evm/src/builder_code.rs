//! The calldata suffix of the extension `builder-code` (extensions.md section 5): who built the application, the facilitator and
//! the services that a payment came through. Contracts ignore it, indexers read it.

use sdk_plugin::Value;
use sdk_plugin::request::ProtocolVersion;
use serde::Deserialize;
use serde_json::Map;

/// The extension's key in requests and in `/supported`.
pub const KEY: &str = "builder-code";

/// Service codes taken from a request.
const MAX_ECHOED: usize = 10;
const MAX_CODE_BYTES: usize = 32;
/// Schema 2, and the marker that ends the calldata (ERC-8021).
const ENDING: [u8; 17] = [
    0x02, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21,
];

/// The operator's own codes. Without any, no suffix is written and the extension is not advertised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnCodes {
    /// Of the facilitator (`w`).
    pub facilitator: Option<String>,
    /// Of a service that is added to the echoed ones (`s`).
    pub service: Option<String>,
}

impl OwnCodes {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facilitator.is_none() && self.service.is_none()
    }

    /// The extension's key where it is in use.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        (!self.is_empty()).then_some(KEY)
    }

    /// # Errors
    /// A code that no reader would take.
    pub fn check(&self) -> Result<(), String> {
        for (key, code) in [("facilitator", &self.facilitator), ("service", &self.service)] {
            if let Some(code) = code.as_deref().filter(|code| !is_code(code)) {
                return Err(format!(
                    "builder_code.{key}: {code:?} is not a code: write 1 to 32 of the characters a-z, 0-9 and _"
                ));
            }
        }
        Ok(())
    }

    /// The suffix for a request with these `extensions`; empty without codes of our own. `m` is never taken from a request.
    #[must_use]
    pub fn suffix(&self, version: ProtocolVersion, extensions: &Map<String, Value>) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let echoed = extensions.get(KEY).map(|sent| sent.get("info").unwrap_or(sent));
        let application = echoed
            .filter(|_| !version.is_v1())
            .and_then(|info| code(info.get("a")?));
        let mut services: Vec<&str> = match echoed.and_then(|info| info.get("s")) {
            Some(Value::Array(sent)) => sent.iter().filter_map(code).take(MAX_ECHOED).collect(),
            Some(sent) => code(sent).into_iter().collect(),
            None => Vec::new(),
        };
        if let Some(own) = self.service.as_deref()
            && !services.contains(&own)
        {
            services.push(own);
        }
        encode(application, self.facilitator.as_deref(), &services)
    }
}

fn code(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| is_code(text))
}

fn is_code(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=MAX_CODE_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

/// A CBOR map of definite length with the members that are there, its length, and the ending. Twelve codes of 32 bytes are far
/// below the 65,535 bytes that the length can say.
fn encode(application: Option<&str>, facilitator: Option<&str>, services: &[&str]) -> Vec<u8> {
    let single = |code: &str| {
        let mut bytes = Vec::new();
        put_text(&mut bytes, code);
        bytes
    };
    let list = (!services.is_empty()).then(|| {
        let mut bytes = vec![0x80 | short(services.len())];
        services.iter().for_each(|service| put_text(&mut bytes, service));
        bytes
    });
    let members = [
        ("a", application.map(single)),
        ("w", facilitator.map(single)),
        ("s", list),
    ];
    let present = members.iter().filter(|(_, value)| value.is_some()).count();
    let mut cbor = vec![0xa0 | short(present)];
    for (key, value) in members {
        if let Some(value) = value {
            put_text(&mut cbor, key);
            cbor.extend(value);
        }
    }
    let Ok(length) = u16::try_from(cbor.len()) else {
        return Vec::new();
    };
    cbor.extend(length.to_be_bytes());
    cbor.extend(ENDING);
    cbor
}

/// A text of at most 255 bytes.
fn put_text(cbor: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length) if length < 24 => cbor.push(0x60 | length),
        Ok(length) => cbor.extend([0x78, length]),
        Err(_) => return,
    }
    cbor.extend(text.as_bytes());
}

/// A count below 24 in an initial byte. There are at most 3 members and 11 services.
fn short(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX).min(23)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const V1: ProtocolVersion = ProtocolVersion::V1;
    const V2: ProtocolVersion = ProtocolVersion::V2;

    fn own() -> OwnCodes {
        OwnCodes {
            facilitator: Some("facil".into()),
            service: None,
        }
    }

    fn suffix(own: &OwnCodes, version: ProtocolVersion, sent: Value) -> String {
        let extensions = Map::from_iter([(KEY.to_owned(), sent)]);
        hex::encode(own.suffix(version, &extensions))
    }

    /// The ending and the length, for a CBOR map in hex.
    fn ended(cbor: &str) -> String {
        format!("{cbor}{:04x}{}", cbor.len() / 2, hex::encode(ENDING))
    }

    #[test]
    fn the_suffix_is_that_of_the_vectors() {
        let expected = "a361616673686f705f31617765666163696c617382657376635f61657376635f6200210280218021802180218021802180218021";
        let info = json!({ "a": "shop_1", "s": ["svc_a", "svc_b"] });
        assert_eq!(suffix(&own(), V2, json!({ "info": info })), expected);
        assert_eq!(suffix(&own(), V2, info), expected, "directly under the key");
        // `info` wins.
        let both = json!({ "info": {}, "a": "shop_1" });
        assert_eq!(suffix(&own(), V2, both), ended("a1617765666163696c"));
    }

    #[test]
    fn an_application_is_read_in_v2_only_and_services_in_both() {
        let info = json!({ "info": { "a": "shop_1", "s": "svc_a" } });
        let of_v1 = ended("a2617765666163696c617381657376635f61");
        assert_eq!(suffix(&own(), V1, info), of_v1);
    }

    #[test]
    fn without_codes_of_our_own_there_is_no_suffix() {
        let info = json!({ "info": { "a": "shop_1", "s": ["svc_a"] } });
        assert_eq!(suffix(&OwnCodes::default(), V2, info), "");
        assert_eq!(
            hex::encode(own().suffix(V2, &Map::new())),
            ended("a1617765666163696c"),
            "ours alone"
        );
    }

    #[test]
    fn t100_hostile_codes_are_left_out_and_counted() {
        let many: Vec<String> = (0..1_000).map(|at| format!("c{at}")).collect();
        let with_service = OwnCodes {
            facilitator: None,
            service: Some("ours".into()),
        };
        let ten: String = (0..10)
            .map(|at| format!("62{}", hex::encode(format!("c{at}"))))
            .collect();
        let expected = ended(&format!("a161738b{ten}646f757273"));
        let sent = json!({ "info": { "s": many, "m": { "x402ChargeCounts": [1] }, "w": "theirs" } });
        assert_eq!(suffix(&with_service, V2, sent), expected);
        // Ours is not written twice.
        let twice = suffix(&with_service, V2, json!({ "info": { "s": ["ours"] } }));
        assert_eq!(twice, ended("a1617381646f757273"));
        for bad in [
            json!("Shop"),
            json!(""),
            json!("a".repeat(33)),
            json!("a-b"),
            json!("é"),
            json!(7),
            json!(null),
            json!({ "x": "b" }),
        ] {
            let sent = json!({ "info": { "a": bad, "s": [bad] } });
            assert_eq!(suffix(&own(), V2, sent), ended("a1617765666163696c"), "{bad}");
            assert_eq!(suffix(&own(), V2, bad), ended("a1617765666163696c"));
        }
        let longest = "a".repeat(32);
        let sent = json!({ "info": { "a": longest } });
        let expected = ended(&format!("a261617820{}617765666163696c", hex::encode(&longest)));
        assert_eq!(suffix(&own(), V2, sent), expected);
    }

    #[test]
    fn own_codes_are_checked() {
        assert_eq!(own().check(), Ok(()));
        let bad = OwnCodes {
            service: Some("My Service".into()),
            ..own()
        };
        let why = bad.check().expect_err("no code");
        assert!(
            why.contains("builder_code.service") && why.contains("My Service"),
            "{why}"
        );
    }
}
