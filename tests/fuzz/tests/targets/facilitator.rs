//! What the facilitator reads: requests, its configuration, plugin files, keys, and rows of a journal.

use std::path::Path;

use http_api::fuzzing::{read_body, strict};
use journal::row::{ReserveRow, StoreValue};
use journal::{AttemptRow, JobRow, SettlementRow, SlotRow, WithheldRow};
use plugin_host::fuzzing::{manifest_of_file, manifest_of_text};
use sdk_plugin::host::Suite;
use sdk_plugin::{Manifest, PaymentRequest, Value};
use switchyard::config::Config;

use crate::{has_float, round_trip};

#[test]
fn http_bodies() {
    fuzz::run("http_bodies", 16_384, |bytes| {
        if let Some(value) = strict(bytes) {
            let usual: Value = serde_json::from_slice(bytes).expect("what is strictly JSON is JSON");
            assert!(has_float(&value) || value == usual);
        }
        match read_body(bytes) {
            Ok(request) => {
                assert!(request.requirements.max_timeout_seconds > 0);
                let written = serde_json::to_vec(&request).expect("a request can be written");
                serde_json::from_slice::<PaymentRequest>(&written).expect("a plugin can read it");
                round_trip::<PaymentRequest>(&written);
            }
            Err((status, body)) => {
                assert!(matches!(status, 200 | 400), "status {status}");
                let body: Value = serde_json::from_str(&body).expect("a refusal is JSON");
                assert_eq!(body["success"], Value::Bool(false));
            }
        }
    });
}

#[test]
fn configurations() {
    let environment = |name: &str| (name != "MISSING").then(|| "value".to_owned());
    fuzz::run("configurations", 8_192, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return;
        };
        if let Err(errors) = Config::parse("fuzz.toml", Path::new("/"), text, &environment) {
            assert!(!errors.to_string().is_empty());
        }
    });
}

#[test]
fn manifests() {
    fuzz::run("manifests", 16_384, |bytes| {
        if manifest_of_text(bytes).is_some() {
            let end = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            round_trip::<Manifest>(&bytes[..end]);
        }
    });
}

#[test]
fn plugin_files() {
    fuzz::run("plugin_files", 65_536, |bytes| {
        let _ = manifest_of_file(bytes);
    });
}

#[test]
fn keys() {
    fuzz::run("keys", 4_096, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return;
        };
        for suite in [Suite::Secp256k1, Suite::Ed25519] {
            if host::fuzzing::reads_key(text, suite) {
                assert!(text.len() >= 32, "a shorter text can't hold a key");
            }
        }
    });
}

#[test]
fn journal_rows() {
    fuzz::run("journal_rows", 16_384, |bytes| {
        round_trip::<SettlementRow>(bytes);
        round_trip::<AttemptRow>(bytes);
        round_trip::<SlotRow>(bytes);
        round_trip::<ReserveRow>(bytes);
        round_trip::<StoreValue>(bytes);
        round_trip::<JobRow>(bytes);
        round_trip::<WithheldRow>(bytes);
        if let Ok(row) = serde_json::from_slice::<SettlementRow>(bytes) {
            let _ = (row.steps_ended(), row.paid_is_final(), row.holds_keys());
        }
    });
}
