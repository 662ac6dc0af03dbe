//! The client beside signers that lie, are slow, are not there, or refuse.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base::calls::SigningSlot;
use base::signers::SignerTroubles as _;
use k256::ecdsa::SigningKey;
use proptest::prelude::*;
use sdk_plugin::host::{SignRequest, TypedData};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::super::{Custody, CustodyError, Found, KeySource, KeySpec, Signed};
use super::*;

/// The limit of one exchange in these tests, and when a test has waited too long for it.
const TIMEOUT: Duration = Duration::from_millis(400);
const TOO_LONG: Duration = Duration::from_secs(5);
const DIGEST: [u8; 32] = [7; 32];

/// One answer of the signer: the bytes, and what follows them.
#[derive(Clone)]
enum Answer {
    Json(u16, Value),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Silence,
}

type Script = Arc<dyn Fn(&str, &Value) -> Answer + Send + Sync>;

struct Signer {
    socket: PathBuf,
    connections: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

impl Signer {
    fn start(script: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("signer.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (script, connections): (Script, _) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&script)));
            }
        });
        Self {
            socket,
            connections,
            _folder: folder,
        }
    }

    /// An honest signer of the key, with other answers to `POST /v1/sign` where the script has one.
    fn honest_but(key: SigningKey, sign: impl Fn(&Value) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self::start(move |path, body| match path {
            KEYS_PATH => Answer::Json(200, keys_of(&key)),
            _ => sign(body).unwrap_or_else(|| Answer::Json(200, signed_by(&key, body))),
        })
    }

    fn source(&self, public_key: Option<HexBytes>) -> KeySource {
        source(self.socket.clone(), public_key)
    }
}

async fn serve(mut stream: tokio::net::UnixStream, script: Script) {
    let mut buffer = Vec::new();
    loop {
        let Some((head, rest)) = text_parts(&buffer) else {
            let mut more = [0; 4096];
            match stream.read(&mut more).await {
                Ok(0) | Err(_) => return,
                Ok(read) => buffer.extend_from_slice(&more[..read]),
            }
            continue;
        };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = serde_json::from_slice(&rest).unwrap_or(Value::Null);
        buffer.clear();
        match script(&path, &body) {
            Answer::Json(status, body) => {
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Answer::Silence => std::future::pending::<()>().await,
        }
    }
}

/// Head and body of a complete request.
fn text_parts(buffer: &[u8]) -> Option<(String, Vec<u8>)> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length = length
        .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
        .unwrap_or(0);
    (buffer.len() >= end + length).then(|| (head.clone(), buffer[end..end + length].to_vec()))
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

fn public(key: &SigningKey) -> HexBytes {
    HexBytes(key.verifying_key().to_encoded_point(false).as_bytes().to_vec())
}

fn keys_of(key: &SigningKey) -> Value {
    json!({"keys": [{"name": "hot", "suite": "secp256k1", "public_key": public(key)}]})
}

fn signature_by(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    let (signature, recovery) = key.sign_prehash_recoverable(message).unwrap();
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(recovery.to_byte());
    bytes
}

fn signed_by(key: &SigningKey, body: &Value) -> Value {
    let message: HexBytes = serde_json::from_value(body["message"].clone()).unwrap();
    json!({"signature": HexBytes(signature_by(key, message.as_ref()))})
}

fn source(socket: PathBuf, public_key: Option<HexBytes>) -> KeySource {
    KeySource::Remote(Box::new(Remote {
        endpoint: Endpoint::Unix(socket),
        signer_key: "hot".to_owned(),
        timeout: TIMEOUT,
        public_key,
    }))
}

async fn open(source: KeySource) -> Result<Custody, CustodyError> {
    open_as(source, Suite::Secp256k1).await
}

async fn open_as(source: KeySource, suite: Suite) -> Result<Custody, CustodyError> {
    let spec = KeySpec {
        name: "hot".to_owned(),
        suite,
        source,
        max_signatures_per_minute: None,
    };
    Custody::open(&[spec], &std::collections::HashMap::<&str, &str>::new()).await
}

async fn sign(custody: &Custody) -> Result<HexBytes, Fault> {
    let request = SignRequest {
        key: "hot".to_owned(),
        suite: Suite::Secp256k1,
        message: HexBytes(DIGEST.to_vec()),
        unsigned: HexBytes(vec![2, 0xc0]),
        typed: None,
    };
    let slot = SigningSlot {
        key: "hot".to_owned(),
        sequence: 12,
        attempt: 1,
    };
    let signing = Signing {
        request: &request,
        network: "eip155:8453",
        of: Signed::Transaction(&slot),
    };
    let began = Instant::now();
    let answer = custody.sign(&signing).await;
    assert!(began.elapsed() < TOO_LONG, "{:?}", began.elapsed());
    answer
}

/// n minus s, and the other recovery id: as valid on the curve, and refused by chains.
fn with_high_s(signature: &[u8]) -> Vec<u8> {
    let low = k256::ecdsa::Signature::from_slice(&signature[..64]).unwrap();
    let (r, s) = low.split_scalars();
    let high = k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    let mut bytes = high.to_bytes().to_vec();
    bytes.push(signature[64] ^ 1);
    bytes
}

#[tokio::test]
async fn an_honest_signer_signs_over_one_connection() {
    let signer = Signer::honest_but(key(1), |_| None);
    let custody = open(signer.source(None)).await.unwrap();
    assert_eq!(custody.public_key("hot").unwrap().public_key, public(&key(1)));
    assert!(custody.is_remote("hot"));
    for _ in 0..5 {
        assert_eq!(
            sign(&custody).await.unwrap().as_ref(),
            signature_by(&key(1), &DIGEST)
        );
    }
    assert_eq!(signer.connections.load(Ordering::SeqCst), 1);
    assert_eq!(custody.trouble("hot"), None);
    assert_eq!(custody.check_remote().await, []);
    assert!(custody.digests().is_empty());
}

/// What each answer of a hostile signer says to the operator. None is used.
#[tokio::test]
async fn no_answer_of_a_hostile_signer_is_used() {
    let good = signature_by(&key(1), &DIGEST);
    let mut other_recovery = good.clone();
    other_recovery[64] ^= 1;
    let mut bad_recovery = good.clone();
    bad_recovery[64] = 27;
    let with = |bytes: Vec<u8>| Answer::Json(200, json!({"signature": HexBytes(bytes)}));
    let raw = |text: &str| Answer::Raw(text.as_bytes().to_vec());
    let head = "HTTP/1.1 200 OK\r\ncontent-length: ";
    let huge = format!("{head}99999999\r\n\r\n{}", "x".repeat(wire::MAX_ANSWER_BYTES + 1));
    let endless = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
        format!("2000\r\n{}\r\n", "y".repeat(0x2000)).repeat(9)
    );
    let cut = format!("{head}153\r\n\r\n{{\"signature\":\"0x12");
    let rows = [
        (
            with(signature_by(&key(2), &DIGEST)),
            "is not this key's over this message",
        ),
        (
            with(signature_by(&key(1), &[8; 32])),
            "is not this key's over this message",
        ),
        (with(other_recovery), "is not this key's over this message"),
        (with(bad_recovery), "whose recovery id is not 0 or 1"),
        (with(with_high_s(&good)), "with a high s"),
        (with(good[..64].to_vec()), "has not 65 bytes"),
        (with(Vec::new()), "has not 65 bytes"),
        (with(vec![0; 65]), "is not this key's over this message"),
        (with(vec![0xff; 4_000]), "has not 65 bytes"),
        (Answer::Json(200, json!({})), "no signature in hex"),
        (Answer::Json(200, json!({"signature": 7})), "no signature in hex"),
        (Answer::Json(200, json!(null)), "no signature in hex"),
        (
            Answer::Json(500, json!("x")),
            "answered HTTP 500 without a reason",
        ),
        (Answer::Json(302, json!({})), "answered HTTP 302 without a reason"),
        (Answer::Json(204, json!({"signature": "0x"})), ""),
        (
            Answer::Json(
                503,
                json!({"error": {"code": "unavailable", "message": "locked"}}),
            ),
            "can't sign now (unavailable): locked",
        ),
        (raw(&huge), "gave an answer of more than 65536 bytes"),
        (raw(&endless), "gave an answer of more than 65536 bytes"),
        (raw(&cut), "ended the connection within its answer"),
        (raw("HTTP/1.1 200"), "gave no complete answer"),
        (
            raw("\u{1}\u{2}\u{3} no protocol at all\r\n\r\n"),
            "gave no complete answer",
        ),
        (raw(""), "gave no complete answer"),
        (Answer::Silence, "did not answer within 400 ms (timeout_ms)"),
    ];
    for (answer, says) in rows {
        let signer = Signer::honest_but(key(1), move |_| Some(answer.clone()));
        let custody = open(signer.source(None)).await.unwrap();
        let fault = sign(&custody).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
        assert!(fault.message.contains(says), "{fault}\nwanted: {says}");
        assert!(
            fault.message.starts_with("key hot: remote signer unix:/"),
            "{fault}"
        );
        let trouble = custody.trouble("hot").expect("operators see it");
        assert!(trouble.contains(says), "{trouble}");
    }
}

#[tokio::test]
async fn a_refusal_names_its_code_and_its_sentence_and_ends_with_the_next_signature() {
    let refuses = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = Arc::clone(&refuses);
    let hostile = "not this contract\r\n\u{1b}[31m".to_owned() + &"x".repeat(5_000);
    let signer = Signer::honest_but(key(1), move |_| {
        let body = json!({"error": {"code": "policy", "message": hostile}});
        state.load(Ordering::SeqCst).then_some(Answer::Json(403, body))
    });
    let custody = open(signer.source(None)).await.unwrap();
    let fault = sign(&custody).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(
        fault.message.contains("refused (policy): not this contract"),
        "{fault}"
    );
    assert!(
        fault.message.len() < 600 && !fault.message.contains(['\n', '\u{1b}']),
        "{fault}"
    );
    assert!(custody.trouble("hot").is_some());
    refuses.store(false, Ordering::SeqCst);
    assert!(sign(&custody).await.is_ok());
    assert_eq!(custody.trouble("hot"), None);
    let busy = json!({"error": {"code": "rate_limited", "message": "10 an hour"}});
    let signer = Signer::honest_but(key(1), move |_| Some(Answer::Json(429, busy.clone())));
    let custody = open(signer.source(None)).await.unwrap();
    assert_eq!(sign(&custody).await.unwrap_err().kind, FaultKind::Overloaded);
}

#[tokio::test]
async fn the_public_key_is_known_from_the_start_or_the_start_fails() {
    let away = tempfile::tempdir().unwrap().path().join("away.sock");
    let error = open(source(away.clone(), None)).await.unwrap_err();
    assert!(error.why.contains("can't be reached"), "{error}");
    assert!(error.why.contains("or write public_key = \"0x…\""), "{error}");
    // Pinned: the start does not need the signer, and a check says that it is away.
    let custody = open(source(away, Some(public(&key(1))))).await.unwrap();
    assert!(
        matches!(custody.check_remote().await.as_slice(), [Found::Silent(error)] if error.why.contains("can't be reached"))
    );
    assert_eq!(sign(&custody).await.unwrap_err().kind, FaultKind::Unavailable);
    // Another key than the pinned one signs nothing.
    let signer = Signer::honest_but(key(2), |_| None);
    let custody = open(signer.source(Some(public(&key(1))))).await.unwrap();
    assert!(
        matches!(custody.check_remote().await.as_slice(), [Found::Wrong(error)] if error.why.contains("shows the public key"))
    );
    assert!(
        sign(&custody)
            .await
            .unwrap_err()
            .message
            .contains("is not this key's")
    );
    let no_point = HexBytes([vec![4], vec![1; 64]].concat());
    for (answer, says) in [
        (
            json!({"keys": []}),
            "has no key \"hot\"; write its name there as signer_key",
        ),
        (
            json!({"keys": [{"name": "hot", "suite": "ed25519", "public_key": "0x00"}]}),
            "of another suite",
        ),
        (
            json!({"keys": [{"name": "hot", "suite": "secp256k1", "public_key": "0x"}]}),
            "none of its suite",
        ),
        (
            json!({"keys": [{"name": "hot", "suite": "secp256k1", "public_key": no_point}]}),
            "none of its suite",
        ),
        (json!({"keys": 3}), "is not the protocol's"),
    ] {
        let signer = Signer::start(move |_, _| Answer::Json(200, answer.clone()));
        let error = open(signer.source(None)).await.unwrap_err();
        assert!(error.why.contains(says), "{error}");
    }
    let signer = Signer::start(|_, _| Answer::Silence);
    let began = Instant::now();
    assert!(open(signer.source(None)).await.is_err());
    assert!(began.elapsed() < TOO_LONG);
}

#[tokio::test]
async fn a_slow_signer_delays_no_other_signature() {
    let signer = Signer::honest_but(key(1), |_| Some(Answer::Silence));
    let fast = Signer::honest_but(key(3), |_| None);
    let spec = |name: &str, source| KeySpec {
        name: name.to_owned(),
        suite: Suite::Secp256k1,
        source,
        max_signatures_per_minute: None,
    };
    let fast = match fast.source(None) {
        KeySource::Remote(remote) => (fast, remote),
        _ => unreachable!("it is remote"),
    };
    let specs = [
        spec("slow", signer.source(None)),
        spec("hot", KeySource::Remote(fast.1)),
    ];
    let custody = Arc::new(
        Custody::open(&specs, &std::collections::HashMap::<&str, &str>::new())
            .await
            .unwrap(),
    );
    let waiting = Arc::clone(&custody);
    let slow = tokio::spawn(async move {
        let request = SignRequest {
            key: "slow".to_owned(),
            suite: Suite::Secp256k1,
            message: HexBytes(DIGEST.to_vec()),
            unsigned: HexBytes::default(),
            typed: None,
        };
        let typed = TypedData {
            domain: HexBytes(vec![1; 32]),
            struct_hash: HexBytes(vec![2; 32]),
        };
        let signing = Signing {
            request: &request,
            network: "eip155:1",
            of: Signed::TypedData(&typed),
        };
        waiting.sign(&signing).await
    });
    for _ in 0..20 {
        assert!(sign(&custody).await.is_ok());
    }
    assert!(
        !slow.is_finished(),
        "twenty signatures took longer than the time limit"
    );
    assert_eq!(slow.await.unwrap().unwrap_err().kind, FaultKind::Unavailable);
}

#[tokio::test]
async fn ed25519_signatures_are_proven_too() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let public = HexBytes(key.verifying_key().to_bytes().to_vec());
    for (message, is_good) in [(&b"message"[..], true), (b"another", false)] {
        let (key, public) = (key.clone(), public.clone());
        let signer = Signer::start(move |path, _| match path {
            KEYS_PATH => Answer::Json(
                200,
                json!({"keys": [{"name": "hot", "suite": "ed25519", "public_key": public}]}),
            ),
            _ => {
                use ed25519_dalek::Signer as _;
                Answer::Json(
                    200,
                    json!({"signature": HexBytes(key.sign(message).to_bytes().to_vec())}),
                )
            }
        });
        let custody = open_as(signer.source(None), Suite::Ed25519).await.unwrap();
        let request = SignRequest {
            key: "hot".to_owned(),
            suite: Suite::Ed25519,
            message: HexBytes(b"message".to_vec()),
            unsigned: HexBytes(b"message".to_vec()),
            typed: None,
        };
        let slot = SigningSlot {
            key: "hot".to_owned(),
            sequence: 1,
            attempt: 0,
        };
        let signing = Signing {
            request: &request,
            network: "solana:x",
            of: Signed::Transaction(&slot),
        };
        assert_eq!(custody.sign(&signing).await.is_ok(), is_good);
    }
}

/// The handbook's examples are the code's messages.
#[test]
fn the_handbook_has_the_protocols_messages() {
    let page = include_str!("../../../../../docs/src/remote-signer.md");
    let blocks = page.split("```json\n").skip(1);
    let examples: Vec<&str> = blocks.filter_map(|block| block.split("```").next()).collect();
    let [keys, transaction, answer, typed, refusal] = examples.as_slice() else {
        panic!("five examples, not {}", examples.len());
    };
    fn is_exact<T: serde::de::DeserializeOwned + serde::Serialize>(text: &str) -> T {
        let written: Value = serde_json::from_str(text).unwrap();
        let read: T = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        read
    }
    let keys = is_exact::<Keys>(keys);
    assert!(
        keys.keys
            .iter()
            .all(|key| is_public_key(key.suite, key.public_key.as_ref()))
    );
    let body = is_exact::<SignBody>(transaction);
    assert!(matches!(body.purpose, wire::Purpose::Transaction { .. }));
    use sha3::Digest as _;
    assert_eq!(
        sha3::Keccak256::digest(body.unsigned.as_ref()).as_slice(),
        body.message.as_ref()
    );
    let hot = keys.keys.iter().find(|key| key.name == body.key).unwrap();
    let answer = is_exact::<SignAnswer>(answer);
    let checked = check::signature(
        hot.suite,
        hot.public_key.as_ref(),
        body.message.as_ref(),
        &answer.signature,
    );
    assert_eq!(checked, Ok(()));
    let typed = is_exact::<SignBody>(typed);
    let wire::Purpose::TypedData { domain, struct_hash } = &typed.purpose else {
        panic!("typed data");
    };
    let digest = sha3::Keccak256::new()
        .chain_update([0x19, 1])
        .chain_update(domain)
        .chain_update(struct_hash)
        .finalize();
    assert_eq!(digest.as_slice(), typed.message.as_ref());
    is_exact::<Refusal>(refusal);
}

/// TLS with certificates of one authority, and strangers on either side.
#[tokio::test]
async fn both_sides_show_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs, stranger) = (authority(), authority(), authority());
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let server_leaf = leaf(&theirs, "localhost");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tls_signer(listener, &server_leaf, &ours.0.pem());
    let files = |client: &(String, String), ca: &str, tag: &str| TlsFiles {
        client_certificate: write(&format!("{tag}.pem"), &client.0),
        client_key: write(&format!("{tag}.key"), &client.1),
        ca: write(&format!("{tag}.ca"), ca),
    };
    let (us, other) = (leaf(&ours, "switchyard"), leaf(&stranger, "switchyard"));
    let rows = [
        ("good", "localhost", files(&us, &theirs.0.pem(), "good"), Ok(())),
        (
            "client",
            "localhost",
            files(&other, &theirs.0.pem(), "client"),
            Err(""),
        ),
        (
            "server",
            "localhost",
            files(&us, &stranger.0.pem(), "server"),
            Err("can't be reached"),
        ),
        (
            "name",
            "127.0.0.1",
            files(&us, &theirs.0.pem(), "name"),
            Err("can't be reached"),
        ),
    ];
    for (what, host, files, expected) in rows {
        let source = KeySource::Remote(Box::new(Remote {
            endpoint: Endpoint::Https {
                origin: format!("https://{host}:{port}"),
                files,
            },
            signer_key: "hot".to_owned(),
            timeout: TOO_LONG,
            public_key: None,
        }));
        match (open(source).await, expected) {
            (Ok(custody), Ok(())) => assert!(sign(&custody).await.is_ok(), "{what}"),
            (Err(error), Err(says)) => assert!(error.why.contains(says), "{what}: {error}"),
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
    // Files that can't be used are errors of the start, and name their member.
    let good = files(&us, &theirs.0.pem(), "again");
    let empty = write("empty", "");
    let open_key = write("open", &us.1);
    std::fs::set_permissions(&open_key, std::fs::Permissions::from_mode(0o640)).unwrap();
    for (broken, says) in [
        (
            TlsFiles {
                ca: empty.clone(),
                ..good.clone()
            },
            "ca ",
        ),
        (
            TlsFiles {
                client_certificate: "/none".into(),
                ..good.clone()
            },
            "client_certificate /none can't be read",
        ),
        (
            TlsFiles {
                client_key: open_key,
                ..good.clone()
            },
            "run: chmod 600",
        ),
        (
            TlsFiles {
                client_key: empty,
                ..good.clone()
            },
            "client_key ",
        ),
        (
            TlsFiles {
                client_key: write("not-ours", &other.1),
                ..good
            },
            "belong together",
        ),
    ] {
        let source = KeySource::Remote(Box::new(Remote {
            endpoint: Endpoint::Https {
                origin: "https://localhost:1".to_owned(),
                files: broken,
            },
            signer_key: "hot".to_owned(),
            timeout: TIMEOUT,
            public_key: None,
        }));
        let error = open(source).await.unwrap_err();
        assert!(error.why.contains(says), "{error}");
    }
}

type Authority = (rcgen::Certificate, rcgen::Issuer<'static, rcgen::KeyPair>);

fn authority() -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (certificate, rcgen::Issuer::new(params, key))
}

/// Certificate and key in PEM.
fn leaf(authority: &Authority, name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.1).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// An honest signer of key 1 over TLS that wants certificates of this authority.
fn tls_signer(listener: tokio::net::TcpListener, (certificate, key_pem): &(String, String), clients: &str) {
    use rustls::pki_types::pem::PemObject as _;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(clients.as_bytes()).unwrap())
        .unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let private = rustls::pki_types::PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, private)
        .unwrap();
    let config = Arc::new(config);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let config = Arc::clone(&config);
            tokio::task::spawn_blocking(move || {
                let tcp = tcp.into_std().unwrap();
                tcp.set_nonblocking(false).unwrap();
                let session = rustls::ServerConnection::new(config).unwrap();
                serve_tls(rustls::StreamOwned::new(session, tcp));
            });
        }
    });
}

fn serve_tls(mut stream: rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>) {
    use std::io::Read as _;
    let mut buffer = Vec::new();
    loop {
        let Some((head, rest)) = text_parts(&buffer) else {
            let mut more = [0; 4096];
            match stream.read(&mut more) {
                Ok(0) | Err(_) => return,
                Ok(read) => buffer.extend_from_slice(&more[..read]),
            }
            continue;
        };
        buffer.clear();
        let body = match head.split(' ').nth(1) {
            Some(KEYS_PATH) => keys_of(&key(1)),
            _ => signed_by(&key(1), &serde_json::from_slice(&rest).unwrap()),
        };
        let body = body.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn hostile_signatures_never_pass_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..130), digest: [u8; 32]) {
        let public = public(&key(1));
        prop_assert!(check::signature(Suite::Secp256k1, public.as_ref(), &digest, &HexBytes(bytes.clone())).is_err());
        let ed = ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes();
        prop_assert!(check::signature(Suite::Ed25519, &ed, &digest, &HexBytes(bytes)).is_err());
    }

    #[test]
    fn one_changed_bit_of_a_signature_is_noticed(bit in 0usize..520) {
        let mut bytes = signature_by(&key(1), &DIGEST);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let public = public(&key(1));
        prop_assert!(check::signature(Suite::Secp256k1, public.as_ref(), &DIGEST, &HexBytes(bytes)).is_err());
    }
}
