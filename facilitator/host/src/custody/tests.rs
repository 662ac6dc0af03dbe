use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use proptest::prelude::*;
use sdk_plugin::FaultKind;
use sha2::{Digest as _, Sha256};

use super::*;

/// RFC 8032, section 7.1, test 1.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const SEED_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const SEED_SIGNATURE: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
/// Seed and public key, as Solana wallets export them.
const PAIR_BASE58: &str =
    "49W385L4rePHy6PAaQUovbD2aacgN4HsKXSMeUzRg4fmwXszN91JuMFrQRj3vMDpZuRF3ZknQBuRBoWQJEfXstMw";
const ONE: &str = "0x0000000000000000000000000000000000000000000000000000000000000001";

impl Environment for HashMap<&str, &str> {
    fn get(&self, name: &str) -> Option<OsString> {
        HashMap::get(self, name).map(OsString::from)
    }
}

fn spec(name: &str, suite: Suite, source: KeySource) -> KeySpec {
    KeySpec {
        name: name.into(),
        suite,
        source,
        max_signatures_per_minute: None,
    }
}

fn from_env(suite: Suite, text: &str) -> Result<Custody, CustodyError> {
    let specs = [spec("hot", suite, KeySource::Env("HOT_KEY".into()))];
    Custody::load(&specs, &HashMap::from([("HOT_KEY", text)]))
}

fn from_file(suite: Suite, path: &Path) -> Result<Custody, CustodyError> {
    let specs = [spec("hot", suite, KeySource::File(path.to_owned()))];
    Custody::load(&specs, &HashMap::new())
}

fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    file
}

fn pair_json() -> String {
    let mut pair = hex::decode(SEED).unwrap();
    pair.extend(hex::decode(SEED_PUBLIC).unwrap());
    format!("{pair:?}")
}

fn signed(
    custody: &Custody,
    key: &str,
    suite: Suite,
    message: &[u8],
    unsigned: &[u8],
) -> Result<HexBytes, Fault> {
    let request = SignRequest {
        key: key.into(),
        suite,
        message: HexBytes(message.to_vec()),
        unsigned: HexBytes(unsigned.to_vec()),
        typed: None,
    };
    let slot = SigningSlot {
        key: key.into(),
        sequence: 7,
        attempt: 0,
    };
    let signing = Signing {
        request: &request,
        network: "test:1",
        of: Signed::Transaction(&slot),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(custody.sign(&signing))
}

#[test]
fn a_driver_shows_what_it_has_signed() {
    let custody = from_env(Suite::Ed25519, SEED).unwrap();
    assert!(signed(&custody, "hot", Suite::Ed25519, b"message", b"message").is_ok());
    let other = signed(&custody, "hot", Suite::Ed25519, b"message", b"another").unwrap_err();
    assert_eq!(other.kind, FaultKind::Invalid);
    // Only who knows the chain can compare a digest.
    let custody = from_env(Suite::Secp256k1, ONE).unwrap();
    assert!(signed(&custody, "hot", Suite::Secp256k1, &[7; 32], b"a transaction").is_ok());
}

#[test]
fn secp256k1_signs_as_in_rfc_6979() {
    let custody = from_env(Suite::Secp256k1, ONE).unwrap();
    // The known answer for key 1 over SHA-256 of this message.
    let digest = Sha256::digest(b"Satoshi Nakamoto");
    let signed = signed(&custody, "hot", Suite::Secp256k1, &digest, &[]).unwrap();
    assert_eq!(
        hex::encode(&signed.0[..64]),
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8\
         2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
    );
    let info = custody.public_key("hot").unwrap();
    // 0x04 and the generator of the group.
    assert_eq!(
        info.public_key.to_string(),
        "0x0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
         483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
    );
    assert_eq!((info.name.as_str(), info.suite), ("hot", Suite::Secp256k1));
}

#[test]
fn ed25519_signs_as_in_rfc_8032_from_every_text_form() {
    let json = file(&format!("{}\n", pair_json()), 0o600);
    for custody in [
        from_env(Suite::Ed25519, SEED).unwrap(),
        from_env(Suite::Ed25519, &format!(" 0x{SEED}\n")).unwrap(),
        from_env(Suite::Ed25519, &format!("{PAIR_BASE58}\n")).unwrap(),
        from_file(Suite::Ed25519, json.path()).unwrap(),
        from_file(Suite::Ed25519, file(SEED, 0o400).path()).unwrap(),
    ] {
        let signed = signed(&custody, "hot", Suite::Ed25519, b"", b"").unwrap();
        assert_eq!(hex::encode(&signed.0), SEED_SIGNATURE);
        assert_eq!(
            hex::encode(&custody.public_key("hot").unwrap().public_key),
            SEED_PUBLIC
        );
    }
}

#[test]
fn a_solana_key_in_base58_is_read_whole_or_refused() {
    let address = "9C6hybhQ6Aycep9jaUnP6uL9ZYvDjUp1aSkFWPUFJtpj";
    let mut other_half = PAIR_BASE58.to_owned();
    other_half.replace_range(87.., "x");
    for text in [
        &PAIR_BASE58[1..],
        &PAIR_BASE58[..87],
        &format!("1{}", &PAIR_BASE58[1..]),
        &PAIR_BASE58.to_ascii_lowercase(),
        &PAIR_BASE58.replace('4', "0"),
        &"z".repeat(88),
        &"1".repeat(88),
        &other_half,
        address,
    ] {
        let error = from_env(Suite::Ed25519, text).unwrap_err();
        assert!(!error.to_string().contains(&text[..8]), "{error}");
        assert!(error.why.contains("base58"), "{error}");
    }
    let error = from_env(Suite::Ed25519, address).unwrap_err();
    assert!(error.why.contains("43 or 44 are an address"), "{error}");
    assert!(from_env(Suite::Secp256k1, PAIR_BASE58).is_err());
}

#[test]
fn t105_a_key_file_that_others_can_read_is_refused_with_the_remedy() {
    for mode in [0o644, 0o640, 0o604, 0o660, 0o601] {
        let file = file(SEED, mode);
        let error = from_file(Suite::Ed25519, file.path()).unwrap_err();
        assert!(error.why.contains(&format!("mode {mode:04o}")), "{error}");
        assert!(error.why.contains("chmod 600"), "{error}");
    }
}

#[test]
fn t105_no_error_and_no_debug_output_shows_a_key() {
    let secret = "c0ffee254729296a45a3885639ac7e10f9d54979c0ffee254729296a45a38856";
    let cut = &secret[..63];
    let spoiled = pair_json().replace("[157,", "[158,");
    let beyond = "f".repeat(64);
    let long = "12".repeat(4_000);
    for (suite, text) in [
        (Suite::Secp256k1, cut),
        (Suite::Ed25519, cut),
        (Suite::Secp256k1, "0X00"),
        (Suite::Secp256k1, ""),
        (Suite::Secp256k1, beyond.as_str()),
        (Suite::Secp256k1, long.as_str()),
        (Suite::Secp256k1, spoiled.as_str()),
        (Suite::Ed25519, spoiled.as_str()),
        (Suite::Ed25519, "[1, 2, 3]"),
        (Suite::Ed25519, "[+1]"),
        (Suite::Ed25519, "[256]"),
        (Suite::Ed25519, "["),
    ] {
        let error = from_env(suite, text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("key hot: environment variable HOT_KEY"), "{shown}");
        for start in 0..text.len().saturating_sub(7) {
            assert!(!shown.contains(&text[start..start + 8]), "{shown}");
        }
    }
    let custody = from_env(Suite::Secp256k1, secret).unwrap();
    let shown = format!("{custody:?}");
    assert!(shown.contains("hot") && !shown.contains("c0ffee"), "{shown}");
}

#[test]
fn t105_a_panic_that_prints_everything_near_a_key_shows_none() {
    let secret = "c0ffee254729296a45a3885639ac7e10f9d54979c0ffee254729296a45a38856";
    let bytes = hex::decode(secret).unwrap();
    let texts: std::sync::Arc<std::sync::Mutex<String>> = std::sync::Arc::default();
    let (into, own) = (std::sync::Arc::clone(&texts), std::thread::current().id());
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Other tests panic on threads of their own.
        if std::thread::current().id() == own {
            let mut text = into.lock().unwrap();
            *text += &format!("{panic} {panic:?} {}", std::backtrace::Backtrace::force_capture());
        }
    }));
    let ended = std::panic::catch_unwind(|| {
        let custody = from_env(Suite::Secp256k1, secret).unwrap();
        let digests = custody.digests();
        let twin = from_env(Suite::Ed25519, &secret[..63]).unwrap_err();
        panic!("{custody:?} {custody:#?} {digests:?} {twin} {twin:?}");
    });
    std::panic::set_hook(before);
    assert!(ended.is_err());
    let shown = texts.lock().unwrap().clone();
    assert!(shown.contains("hot") && shown.contains("custody"), "{shown}");
    for spelled in [
        secret.to_owned(),
        secret.to_ascii_uppercase(),
        secret[..16].to_owned(),
        // As `Debug` of bytes writes it.
        bytes[..4]
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    ] {
        assert!(!shown.contains(&spelled), "{shown}");
    }
}

#[test]
fn a_missing_source_is_named() {
    let missing = Custody::load(
        &[spec("hot", Suite::Secp256k1, KeySource::Env("NO_SUCH".into()))],
        &HashMap::new(),
    );
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("key hot: environment variable NO_SUCH is not set")
    );
    let folder = tempfile::tempdir().unwrap();
    let error = from_file(Suite::Secp256k1, &folder.path().join("none")).unwrap_err();
    assert!(
        error.why.contains("none does not exist; write the path"),
        "{error}"
    );
    let error = from_file(Suite::Secp256k1, folder.path()).unwrap_err();
    assert!(error.why.contains("not a regular file"), "{error}");
}

#[test]
fn names_and_keys_are_unique() {
    let one = |name: &str| spec(name, Suite::Secp256k1, KeySource::Env("ONE".into()));
    let two = |name: &str| spec(name, Suite::Secp256k1, KeySource::Env("TWO".into()));
    let environment = HashMap::from([("ONE", ONE), ("TWO", SEED)]);
    let twin = Custody::load(&[one("a"), one("b")], &environment).unwrap_err();
    assert_eq!(
        twin.to_string(),
        "key b: is the same key as a; use one name for it"
    );
    let twice = Custody::load(&[one("a"), two("a")], &environment).unwrap_err();
    assert!(twice.why.contains("configured twice"), "{twice}");
    assert!(Custody::load(&[one("a"), two("b")], &environment).is_ok());
}

#[test]
fn a_message_that_a_key_cannot_sign_is_refused() {
    let custody = from_env(Suite::Secp256k1, ONE).unwrap();
    for (name, suite, message, kind) in [
        ("cold", Suite::Secp256k1, &[0; 32][..], FaultKind::Denied),
        ("hot", Suite::Ed25519, &[0; 32][..], FaultKind::Invalid),
        ("hot", Suite::Secp256k1, &[0; 31][..], FaultKind::Invalid),
        ("hot", Suite::Secp256k1, &[0; 33][..], FaultKind::Invalid),
        ("hot", Suite::Secp256k1, &[][..], FaultKind::Invalid),
    ] {
        assert_eq!(
            signed(&custody, name, suite, message, &[]).unwrap_err().kind,
            kind,
            "{name} {suite:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_signature_has_a_low_s_and_recovers_to_its_key(digest: [u8; 32], private in 1u64..) {
        let custody = from_env(Suite::Secp256k1, &format!("{private:064x}")).unwrap();
        let signed = signed(&custody, "hot", Suite::Secp256k1, &digest, &[]).unwrap();
        prop_assert_eq!(signed.len(), 65);
        let signature = Signature::from_slice(&signed.0[..64]).unwrap();
        prop_assert!(signature.normalize_s().is_none());
        prop_assert!(signed.0[64] < 2);
        let recovery = RecoveryId::from_byte(signed.0[64]).unwrap();
        let key = VerifyingKey::recover_from_prehash(&digest, &signature, recovery).unwrap();
        let public = custody.public_key("hot").unwrap();
        let recovered = key.to_encoded_point(false);
        prop_assert_eq!(recovered.as_bytes(), &public.public_key.0[..]);
    }

    #[test]
    fn hostile_texts_never_panic(text in "[\\[0-9a-fx, \\]]{0,300}|\\PC{0,100}") {
        let _ = from_env(Suite::Ed25519, &text);
        let _ = from_env(Suite::Secp256k1, &text);
    }
}
