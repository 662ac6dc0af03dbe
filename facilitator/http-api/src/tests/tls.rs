//! TLS on real connections: handshakes, client certificates, clients that misbehave, and certificates that are renewed.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use base::clock::{SystemClock, TokioClock};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::connections::{Connections, HANDSHAKE, Limits, Listener, Peer};
use crate::tls::{Files, Tls, Validity};

const DAY: u64 = 86_400;

/// An authority, and certificates that it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        // Names differ, so that a certificate of another authority is one of an unknown issuer.
        static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate and its key, as PEM.
    fn sign(&self, name: &str) -> (String, String) {
        self.sign_with(name, |_| {})
    }

    fn sign_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        roots
    }

    fn client(
        &self,
        identity: Option<&(String, String)>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots());
        match identity {
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        }
    }
}

fn write(folder: &Path, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn files(folder: &TempDir, pair: &(String, String), client_ca: Option<&str>) -> Files {
    Files {
        certificate: write(folder.path(), "chain.pem", &pair.0, 0o644),
        key: write(folder.path(), "key.pem", &pair.1, 0o600),
        client_ca: client_ca.map(|pem| write(folder.path(), "ca.pem", pem, 0o644)),
    }
}

fn load(files: &Files) -> Result<Tls, String> {
    Tls::load(files.clone(), Arc::new(SystemClock)).map_err(|error| format!("{} {error}", error.key))
}

/// A server that replies with what it knows of the peer.
struct Running {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(tls: Arc<Tls>, max: usize) -> Running {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(tls))
        .await
        .unwrap();
    let url = listener.url().unwrap();
    let address = url.strip_prefix("https://").unwrap().parse().unwrap();
    let reply = |request: Request| async move {
        let peer = request.extensions().get::<Peer>().cloned().unwrap();
        assert!(peer.address.is_some() && peer.user.is_none());
        peer.certificate
            .map_or("no certificate".to_owned(), |certificate| {
                assert_ne!(certificate.sha256, [0; 32]);
                certificate.subject.clone()
            })
    };
    let router = Router::new().route("/", get(reply));
    let task = tokio::spawn(async move {
        Connections::new(Limits::public(max))
            .accept(&listener, &router)
            .await
    });
    Running { address, task }
}

/// Sends a request on a new connection, by the client that the facilitator itself uses for nodes.
async fn request(running: &Running, config: ClientConfig) -> Result<String, String> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let url = format!("https://localhost:{}/", running.address.port());
    let response = client
        .get(url.parse().unwrap())
        .await
        .map_err(|error| format!("{error:?}"))?;
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served_with_both_versions() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let tls = load(&files(&folder, &authority.sign("localhost"), None)).unwrap();
    assert_eq!(tls.leaf().names, ["localhost"]);
    assert!(!tls.verifies_clients());
    let running = start(Arc::new(tls), 10).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let answer = request(&running, authority.client(None, &[version])).await;
        assert_eq!(answer.as_deref(), Ok("no certificate"));
        let mut config = authority.client(None, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(running.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        let (_, connection) = connection.get_ref();
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(connection.protocol_version(), Some(version.version));
    }
    let stranger = Authority::new();
    let refused = request(&running, stranger.client(None, rustls::DEFAULT_VERSIONS)).await;
    assert!(refused.unwrap_err().contains("UnknownIssuer"));
}

#[tokio::test]
async fn the_api_is_served_and_ends_in_order() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let tls = Arc::new(load(&files(&folder, &authority.sign("localhost"), None)).unwrap());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(tls))
        .await
        .unwrap();
    let url = listener.url().unwrap();
    let address: SocketAddr = url.strip_prefix("https://").unwrap().parse().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let metrics = Arc::new(Metrics::default());
    let measured = Arc::clone(&metrics);
    let task = tokio::spawn(async move {
        let tenants = tokio::sync::watch::channel(Vec::new()).1;
        let service: Arc<dyn base::service::Service> = Arc::new(Scripted::default());
        let end = async { drop(stopped.await) };
        crate::serve_on(
            listener,
            &settings(),
            service,
            measured,
            KeyDigests::default(),
            tenants,
            end,
        )
        .await
    });
    let name = ServerName::try_from("localhost").unwrap();
    let config = Arc::new(authority.client(None, rustls::DEFAULT_VERSIONS));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await
        .unwrap();
    stream
        .write_all(b"GET /supported HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    // An error would be an end without `close_notify`: a truncation that a client can't tell from an attack.
    stream.read_to_string(&mut text).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\"kinds\""),
        "{text}"
    );
    let rendered = metrics.render();
    let sample = rendered.lines().find(|line| {
        line.starts_with("switchyard_tls_certificate_expiry_timestamp_seconds{listener=\"public\"}")
    });
    assert!(sample.is_some(), "{rendered}");
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_served() {
    let (authority, stranger, folder) = (Authority::new(), Authority::new(), TempDir::new().unwrap());
    let clients = Authority::new();
    let files = files(&folder, &authority.sign("localhost"), Some(&clients.pem));
    let tls = load(&files).unwrap();
    assert!(tls.verifies_clients());
    let running = start(Arc::new(tls), 10).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let with = |identity: Option<&(String, String)>| authority.client(identity, &[version]);
        let known = clients.sign("alice");
        assert_eq!(
            request(&running, with(Some(&known))).await.as_deref(),
            Ok("CN=alice")
        );
        let refused = request(&running, with(None)).await.unwrap_err();
        assert!(
            refused.contains("CertificateRequired") || refused.contains("HandshakeFailure"),
            "{refused}"
        );
        // The authority of the server's own certificate signs no clients.
        for foreign in [stranger.sign("alice"), authority.sign("alice")] {
            let refused = request(&running, with(Some(&foreign))).await.unwrap_err();
            assert!(
                refused.contains("UnknownCA") || refused.contains("DecryptError"),
                "{refused}"
            );
        }
        let expired = clients.sign_with("alice", |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        let refused = request(&running, with(Some(&expired))).await.unwrap_err();
        assert!(refused.contains("CertificateExpired"), "{refused}");
    }
}

#[tokio::test]
async fn plain_http_and_garbage_are_closed_and_others_are_served() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let tls = load(&files(&folder, &authority.sign("localhost"), None)).unwrap();
    let running = start(Arc::new(tls), 10).await;
    for sent in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01],
        &[0; 4_096],
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    let answer = request(&running, authority.client(None, rustls::DEFAULT_VERSIONS)).await;
    assert_eq!(answer.as_deref(), Ok("no certificate"));
}

#[tokio::test]
async fn a_handshake_that_does_not_come_holds_a_connection_for_a_bounded_time() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let tls = load(&files(&folder, &authority.sign("localhost"), None)).unwrap();
    let running = start(Arc::new(tls), 1).await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    // The only connection is in use: nobody else is served meanwhile.
    let config = authority.client(None, rustls::DEFAULT_VERSIONS);
    let refused = tokio::time::timeout(Duration::from_millis(300), request(&running, config.clone())).await;
    assert!(refused.is_err(), "{refused:?}");
    let started = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    assert!(started.elapsed() < HANDSHAKE + Duration::from_secs(5));
    assert_eq!(request(&running, config).await.as_deref(), Ok("no certificate"));
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_connections() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let files = files(&folder, &authority.sign("localhost"), None);
    let tls = Arc::new(load(&files).unwrap());
    let running = start(Arc::clone(&tls), 10).await;
    assert_eq!(tls.reload(), Ok(false));

    let renewed = Authority::new();
    let pair = renewed.sign("localhost");
    // A renewal that is half written serves nobody the wrong files.
    fs::write(&files.certificate, &pair.0).unwrap();
    let error = tls.reload().unwrap_err();
    assert!(
        error.key == "key" && error.message.contains("not the key of the first certificate"),
        "{error}"
    );
    let config = authority.client(None, rustls::DEFAULT_VERSIONS);
    assert!(request(&running, config.clone()).await.is_ok());

    fs::write(&files.key, &pair.1).unwrap();
    assert_eq!(tls.reload(), Ok(true));
    assert!(
        request(&running, renewed.client(None, rustls::DEFAULT_VERSIONS))
            .await
            .is_ok()
    );
    assert!(request(&running, config).await.is_err());

    let past = renewed.sign_with("localhost", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    fs::write(&files.certificate, &past.0).unwrap();
    fs::write(&files.key, &past.1).unwrap();
    assert!(tls.reload().unwrap_err().message.contains("it has expired"));
}

#[tokio::test(start_paused = true)]
async fn files_are_polled_and_the_end_of_a_certificate_is_known() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let until = |year| {
        move |params: &mut CertificateParams| {
            params.not_before = rcgen::date_time_ymd(2030, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        }
    };
    let files = files(&folder, &authority.sign_with("localhost", until(2031)), None);
    // 2030-12-01T00:00:00Z
    let clock = Arc::new(TokioClock::starting_at(1_922_313_600));
    let tls = Arc::new(Tls::load(files.clone(), clock).unwrap());
    let metrics = Arc::new(Metrics::default());
    let (followed, measured) = (Arc::clone(&tls), Arc::clone(&metrics));
    let task = tokio::spawn(async move { followed.follow(&measured, "admin").await });
    let mut seen = Vec::new();
    for day in 0..40 {
        if seen.last() != Some(&(tls.validity())) {
            seen.push(tls.validity());
        }
        tokio::time::sleep(Duration::from_secs(DAY)).await;
        assert_eq!(tls.leaf().not_after_s, 1_924_992_000, "day {day}");
    }
    assert_eq!(seen, [Validity::Valid, Validity::EndsSoon, Validity::Expired]);

    let pair = authority.sign_with("localhost", until(2032));
    fs::write(&files.certificate, &pair.0).unwrap();
    fs::write(&files.key, &pair.1).unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(tls.validity(), Validity::Valid);
    let rendered = metrics.render();
    assert!(
        rendered
            .contains("switchyard_tls_certificate_expiry_timestamp_seconds{listener=\"admin\"} 1956528000"),
        "{rendered}"
    );
    task.abort();
}

#[test]
fn all_forms_of_keys_are_read() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let (certificate, key) = authority.sign("localhost");
    // A PKCS#8 key of a curve contains the SEC1 key as the octet string at its end.
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let begin = der
        .secret_der()
        .windows(2)
        .position(|bytes| bytes == [0x04, 0x6d])
        .unwrap()
        + 2;
    let sec1 = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        &der.secret_der()[begin..],
    );
    let sec1 = format!("-----BEGIN EC PRIVATE KEY-----\n{sec1}\n-----END EC PRIVATE KEY-----\n");
    load(&files(&folder, &(certificate, sec1), None)).unwrap();
    let rsa = include_str!("rsa.pem");
    assert!(rsa.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    load(&files(&folder, &(rsa.to_owned(), rsa.to_owned()), None)).unwrap();
}

#[test]
fn each_wrong_file_is_named_with_a_remedy() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost");
    let other = authority.sign("localhost").1;
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = certificate.replace("MII", "MI!");
    let truncated = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let large = "x".repeat((1 << 20) + 1);
    for (certificate, key, client_ca, place, why) in [
        ("", key.as_str(), None, "certificate", "it has no certificate"),
        (&key, &key, None, "certificate", "it has no certificate"),
        (&broken, &key, None, "certificate", "it is not PEM"),
        (
            truncated,
            &key,
            None,
            "certificate",
            "its first certificate can't be read",
        ),
        (&large, &key, None, "certificate", "larger than 1 MiB"),
        (&certificate, "", None, "key", "it has no private key"),
        (&certificate, &certificate, None, "key", "it has no private key"),
        (
            &certificate,
            &other,
            None,
            "key",
            "chain.pem; write files that were made together",
        ),
        (&certificate, encrypted, None, "key", "a password protects it"),
        (&certificate, &key, Some(""), "client_ca", "it has no certificate"),
        (&certificate, &key, Some(truncated), "client_ca", "can't be used"),
    ] {
        let folder = TempDir::new().unwrap();
        let pair = (certificate.to_owned(), key.to_owned());
        let error = load(&files(&folder, &pair, client_ca)).unwrap_err();
        assert!(error.starts_with(place) && error.contains(why), "{error}");
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
    let folder = TempDir::new().unwrap();
    let files = files(&folder, &(certificate, key), None);
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = load(&files).unwrap_err();
    assert!(
        error.starts_with("key") && error.contains("mode 0644") && error.contains("chmod o-rwx"),
        "{error}"
    );
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
    load(&files).unwrap();
    fs::remove_file(&files.key).unwrap();
    let error = load(&files).unwrap_err();
    assert!(
        error.starts_with("key") && error.contains("it can't be read"),
        "{error}"
    );
}

#[tokio::test]
async fn a_unix_socket_names_the_user_of_the_other_process() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    let listener = Listener::Unix(tokio::net::UnixListener::bind(&path).unwrap());
    assert!(listener.url().unwrap().ends_with("/api.sock"));
    let reply = |request: Request| async move {
        let peer = request.extensions().get::<Peer>().cloned().unwrap();
        format!("{:?} {:?}", peer.address, peer.user)
    };
    let router = Router::new().route("/", get(reply));
    let task = tokio::spawn(async move {
        Connections::new(Limits::public(1))
            .accept(&listener, &router)
            .await
    });
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let user = fs::metadata(&path)
        .map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata))
        .unwrap();
    assert!(text.ends_with(&format!("None Some({user})")), "{text}");
    task.abort();
}
