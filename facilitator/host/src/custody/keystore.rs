//! Encrypted keystores: the JSON format of Ethereum wallets, version 3 (Web3 Secret Storage), with one secret of 32 bytes. For
//! ed25519 the secret is the seed.
//!
//! A file may come from elsewhere: what it demands of memory and time is limited. The MAC is checked before anything is
//! decrypted, so a wrong password never gives another key.

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sha3::{Digest as _, Keccak256};
use zeroize::Zeroizing;

/// The most memory that a derivation may take, bytes.
const MOST_MEMORY: u64 = 1 << 30;
/// The most rounds of PBKDF2.
const MOST_ROUNDS: u32 = 10_000_000;
/// What this writes: scrypt as Ethereum wallets use it, 256 MiB and about a second.
const LOG_N: u8 = 18;
const R: u32 = 8;
const P: u32 = 1;
/// The derived key: 16 bytes for the cipher, 16 for the MAC.
const DERIVED: usize = 32;

#[derive(Serialize, Deserialize)]
struct Keystore {
    version: u32,
    #[serde(default)]
    id: String,
    crypto: Crypto,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    #[serde(flatten)]
    kdf: Kdf,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kdf", content = "kdfparams", rename_all = "lowercase")]
enum Kdf {
    Scrypt {
        dklen: u32,
        n: u64,
        r: u32,
        p: u32,
        salt: String,
    },
    Pbkdf2 {
        dklen: u32,
        c: u32,
        prf: String,
        salt: String,
    },
}

/// The secret in a keystore, or what is wrong with it; the sentence follows the keystore's name.
pub(super) fn open(json: &str, password: &[u8]) -> Result<Zeroizing<[u8; 32]>, String> {
    // Some wallets write `Crypto`.
    let json = json.replacen("\"Crypto\"", "\"crypto\"", 1);
    let keystore: Keystore = serde_json::from_str(&json).map_err(|error| {
        // The parser's own sentence repeats what it read: a key, where one was named as a keystore.
        format!(
            "is no encrypted keystore (JSON of version 3, as Ethereum wallets export it): line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    let crypto = &keystore.crypto;
    if keystore.version != 3 {
        return Err(format!(
            "is a keystore of version {}; export it as version 3",
            keystore.version
        ));
    }
    if crypto.cipher != "aes-128-ctr" {
        return Err(format!(
            "is encrypted with {:?}; only aes-128-ctr is read",
            crypto.cipher
        ));
    }
    let derived = derive(&crypto.kdf, password)?;
    let (cipher_key, mac_key) = derived.split_at(DERIVED / 2);
    let ciphertext = Zeroizing::new(bytes("ciphertext", &crypto.ciphertext)?);
    let mac = Keccak256::new()
        .chain_update(mac_key)
        .chain_update(ciphertext.as_slice())
        .finalize();
    if bytes("mac", &crypto.mac)? != mac.as_slice() {
        return Err("can't be opened with this password".to_owned());
    }
    let iv = bytes("iv", &crypto.cipherparams.iv)?;
    let mut secret: Zeroizing<[u8; 32]> = Zeroizing::new(
        ciphertext
            .as_slice()
            .try_into()
            .map_err(|_| "holds no secret of 32 bytes".to_owned())?,
    );
    apply(cipher_key, &iv, &mut secret)?;
    Ok(secret)
}

/// What randomness a new keystore needs.
#[derive(Debug, Clone, Copy)]
pub struct Randomness {
    /// For the derivation.
    pub salt: [u8; 32],
    /// For the cipher.
    pub iv: [u8; 16],
    /// Names the keystore.
    pub id: [u8; 16],
}

/// Encrypts a secret. The randomness must be new.
///
/// # Errors
/// Never for this derivation; a sentence otherwise.
pub fn seal(secret: &[u8; 32], password: &[u8], randomness: &Randomness) -> Result<String, String> {
    let kdf = Kdf::Scrypt {
        dklen: 32,
        n: 1 << LOG_N,
        r: R,
        p: P,
        salt: hex::encode(randomness.salt),
    };
    let derived = derive(&kdf, password)?;
    let (cipher_key, mac_key) = derived.split_at(DERIVED / 2);
    let mut ciphertext = *secret;
    apply(cipher_key, &randomness.iv, &mut ciphertext)?;
    let mac = Keccak256::new()
        .chain_update(mac_key)
        .chain_update(ciphertext)
        .finalize();
    let keystore = Keystore {
        version: 3,
        id: uuid(randomness.id),
        crypto: Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParams {
                iv: hex::encode(randomness.iv),
            },
            ciphertext: hex::encode(ciphertext),
            kdf,
            mac: hex::encode(mac),
        },
    };
    serde_json::to_string_pretty(&keystore).map_err(|error| format!("can't be written: {error}"))
}

/// A random UUID (version 4).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32)
    )
}

fn derive(kdf: &Kdf, password: &[u8]) -> Result<Zeroizing<[u8; DERIVED]>, String> {
    let mut derived = Zeroizing::new([0; DERIVED]);
    match kdf {
        Kdf::Scrypt { dklen, n, r, p, salt } => {
            check_length(*dklen)?;
            let is_power = n.is_power_of_two() && *n > 1;
            let memory = n.saturating_mul(u64::from(*r)).saturating_mul(128);
            if !is_power || memory > MOST_MEMORY || *p > 16 {
                return Err(format!(
                    "demands scrypt with n = {n}, r = {r}, p = {p}; n must be a power of two, and 128 · n · r at most {} MiB",
                    MOST_MEMORY >> 20
                ));
            }
            let log_n = u8::try_from(n.ilog2()).unwrap_or(u8::MAX);
            let params = scrypt::Params::new(log_n, *r, *p, DERIVED).map_err(|_| {
                format!("has parameters of scrypt that can't be used: n = {n}, r = {r}, p = {p}")
            })?;
            let salt = bytes("salt", salt)?;
            scrypt::scrypt(password, &salt, &params, derived.as_mut_slice())
                .map_err(|_| "has parameters of scrypt that can't be used".to_owned())?;
        }
        Kdf::Pbkdf2 { dklen, c, prf, salt } => {
            check_length(*dklen)?;
            if prf != "hmac-sha256" {
                return Err(format!("demands PBKDF2 with {prf:?}; only hmac-sha256 is read"));
            }
            if *c == 0 || *c > MOST_ROUNDS {
                return Err(format!(
                    "demands {c} rounds of PBKDF2; 1 to {MOST_ROUNDS} are accepted"
                ));
            }
            let salt = bytes("salt", salt)?;
            pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, *c, derived.as_mut_slice());
        }
    }
    Ok(derived)
}

fn check_length(dklen: u32) -> Result<(), String> {
    if dklen == 32 {
        Ok(())
    } else {
        Err(format!("derives {dklen} bytes (dklen); 32 are needed"))
    }
}

/// Encrypts and decrypts: the same operation.
fn apply(key: &[u8], iv: &[u8], data: &mut [u8; 32]) -> Result<(), String> {
    let mut cipher = Ctr128BE::<Aes128>::new_from_slices(key, iv)
        .map_err(|_| format!("has an iv of {} bytes; 16 are needed", iv.len()))?;
    cipher.apply_keystream(data);
    Ok(())
}

fn bytes(name: &str, text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text))
        .map_err(|_| format!("has a member {name} that is no hex"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    /// Of the specification of the format (Web3 Secret Storage Definition).
    const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,
        "dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    /// The same secret as another implementation of the format writes it.
    const SCRYPT: &str = r#"{"address":"008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b","crypto":{"cipher":"aes-128-ctr",
        "cipherparams":{"iv":"7e40f908eb600e330bd5adfc8d4c9b10"},
        "ciphertext":"4caed7c18618b668f7052d93f9bbc4baef4b532fdaeb14ab5355381e4c63280c","kdf":"scrypt","kdfparams":{"dklen":32,
        "n":262144,"r":8,"p":1,"salt":"c2792ec615f6828812f011bd8daba5a7"},
        "mac":"6a8bbe545528cccb29bc40d0257e5153db902eadc2c1c62df887bba61915bd7f"},"id":"7685845f-1776-478d-b260-67288e83c0b9","version":3}"#;

    #[test]
    fn a_key_that_is_named_as_a_keystore_is_not_repeated() {
        for json in [
            format!("\"{SECRET}\""),
            SECRET.to_owned(),
            "[174, 47, 154]".to_owned(),
        ] {
            let why = open(&json, b"testpassword").expect_err("no keystore");
            assert!(why.starts_with("is no encrypted keystore"), "{why}");
            assert!(!why.contains(&SECRET[..8]) && !why.contains("174"), "{why}");
        }
    }

    #[test]
    fn keystores_of_others_open_with_their_password_only() {
        for json in [PBKDF2, SCRYPT] {
            let secret = open(json, b"testpassword").expect("it opens");
            assert_eq!(hex::encode(*secret), SECRET);
            let upper = json.replace("\"crypto\"", "\"Crypto\"");
            assert_eq!(*open(&upper, b"testpassword").expect("it opens"), *secret);
            assert_eq!(
                open(json, b"testpassword2").expect_err("another password"),
                "can't be opened with this password"
            );
        }
    }

    #[test]
    fn what_is_sealed_opens_again() {
        let randomness = Randomness {
            salt: [1; 32],
            iv: [2; 16],
            id: [0xff; 16],
        };
        let json = seal(&[7; 32], "pässword".as_bytes(), &randomness).expect("sealed");
        assert!(!json.contains(&hex::encode([7; 32])));
        assert!(json.contains("ffffffff-ffff-4fff-bfff-ffffffffffff"), "{json}");
        assert_eq!(*open(&json, "pässword".as_bytes()).expect("it opens"), [7; 32]);
        assert!(open(&json, b"password").is_err());
    }

    #[test]
    fn a_keystore_that_demands_too_much_or_is_none_is_refused_with_a_sentence() {
        for (from, to, why) in [
            (
                "\"n\":262144",
                "\"n\":1073741824",
                "demands scrypt with n = 1073741824, r = 8, p = 1; n must be",
            ),
            ("\"n\":262144", "\"n\":262143", "demands scrypt"),
            ("\"r\":8", "\"r\":4294967295", "demands scrypt"),
            (
                "\"r\":8",
                "\"r\":1",
                "has parameters of scrypt that can't be used: n = 262144, r = 1, p = 1",
            ),
            ("\"p\":1", "\"p\":4000000", "demands scrypt"),
            (
                "\"dklen\":32",
                "\"dklen\":64",
                "derives 64 bytes (dklen); 32 are needed",
            ),
            (
                "\"version\":3",
                "\"version\":1",
                "is a keystore of version 1; export it as version 3",
            ),
            (
                "aes-128-ctr",
                "aes-128-cbc",
                "is encrypted with \"aes-128-cbc\"; only aes-128-ctr is read",
            ),
            ("\"mac\":\"6a", "\"mac\":\"zz", "has a member mac that is no hex"),
            (
                "\"iv\":\"7e40f908eb600e330bd5adfc8d4c9b10\"",
                "\"iv\":\"83\"",
                "has an iv of 1 bytes; 16 are needed",
            ),
            (
                "\"kdf\":\"scrypt\"",
                "\"kdf\":\"argon2\"",
                "is no encrypted keystore",
            ),
            ("\"crypto\"", "\"krypto\"", "is no encrypted keystore"),
        ] {
            assert!(SCRYPT.contains(from), "{from}");
            let error = open(&SCRYPT.replace(from, to), b"testpassword").expect_err(to);
            assert!(error.starts_with(why), "{to}: {error}");
            assert!(!error.contains("testpassword"));
        }
        let error =
            open(&PBKDF2.replace("262144", "4294967295"), b"testpassword").expect_err("too many rounds");
        assert!(
            error.starts_with("demands 4294967295 rounds of PBKDF2"),
            "{error}"
        );
        let short = PBKDF2.replace("hmac-sha256", "hmac-sha1");
        assert!(open(&short, b"x").is_err());
    }

    proptest::proptest! {
        #[test]
        fn hostile_texts_do_not_panic(text in ".{0,200}", password in ".{0,20}") {
            let _ = open(&text, password.as_bytes());
        }
    }
}
