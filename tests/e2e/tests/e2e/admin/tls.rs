//! The admin listener on an address that other machines reach: only certificates of the operators' authority connect, and each
//! request needs its token besides.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use e2e::World;
use e2e::facilitator::free_port;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::{OPERATE, VIEW, config};

const NAME: &str = "localhost";

/// An authority, and certificates that it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self {
            pem: params.self_signed(&key).expect("a certificate").pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str) -> Pair {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    path
}

/// Where the listener is, and who says that it is the right one.
struct Door<'a> {
    port: u16,
    authority: &'a Authority,
}

struct Answer {
    text: String,
    /// The certificate of the listener.
    certificate: Vec<u8>,
}

impl Door<'_> {
    /// One request on a connection of its own.
    fn send(
        &self,
        who: Option<&Pair>,
        token: Option<&str>,
        request: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).expect("a certificate"))
            .expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let client = match who {
            Some(pair) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")],
                    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key"),
                )
                .expect("a pair"),
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from(NAME).expect("a name");
        let connection = ClientConnection::new(Arc::new(client), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        let token = token.map_or(String::new(), |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: {NAME}:{}\r\n{token}Content-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let chain = stream.conn.peer_certificates().expect("a certificate");
        Ok(Answer {
            text,
            certificate: chain.first().expect("a certificate").to_vec(),
        })
    }
}

#[test]
fn only_certificates_of_the_operators_authority_reach_it_from_elsewhere() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger"));
    let folder = TempDir::new().expect("a folder");
    let first = authority.sign(NAME);
    let certificate = write(folder.path(), "chain.pem", &first.certificate);
    let key = write(folder.path(), "key.pem", &first.key);
    let client_ca = write(folder.path(), "operators.pem", &authority.pem);
    let port = free_port().expect("a port");
    let files =
        format!("[admin.tls]\ncertificate = {certificate:?}\nkey = {key:?}\nclient_ca = {client_ca:?}\n");
    let toml = config(&format!("0.0.0.0:{port}")).replace(
        "[[operators]]\nname = \"vera\"",
        &format!("hosts = [\"{NAME}:{port}\"]\n{files}[[operators]]\nname = \"vera\""),
    );
    let world = World::builder().more(&toml).start();
    let door = Door {
        port,
        authority: &authority,
    };
    let operator = authority.sign("vera");
    let overview = "GET /api/overview";

    let answer = door
        .send(Some(&operator), Some(VIEW), overview, "")
        .expect("an answer");
    assert!(answer.text.starts_with("HTTP/1.1 200 "), "{}", answer.text);
    let answer = door.send(Some(&operator), None, overview, "").expect("an answer");
    assert!(answer.text.starts_with("HTTP/1.1 401 "), "{}", answer.text);

    // No certificate, one of another authority, and no TLS at all: no HTTP.
    for who in [None, Some(&stranger.sign("vera"))] {
        let refused = door.send(who, Some(VIEW), overview, "");
        assert!(
            refused.is_err(),
            "{}",
            refused.map_or(String::new(), |answer| answer.text)
        );
    }
    let mut plain = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    plain
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time");
    let head = format!("{overview} HTTP/1.1\r\nHost: {NAME}:{port}\r\nAuthorization: Bearer {VIEW}\r\n\r\n");
    plain.write_all(head.as_bytes()).expect("a request");
    let mut text = Vec::new();
    let _ = plain.read_to_end(&mut text);
    assert!(!text.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&text));

    // A renewed certificate serves after a reload through the listener itself.
    let second = authority.sign(NAME);
    write(folder.path(), "key.pem", &second.key);
    write(folder.path(), "chain.pem", &second.certificate);
    let reloaded = door
        .send(Some(&operator), Some(OPERATE), "POST /api/reload", "{}")
        .expect("an answer");
    assert!(
        reloaded.text.contains("admin.tls has a new certificate"),
        "{}",
        reloaded.text
    );
    let now = door
        .send(Some(&operator), Some(VIEW), overview, "")
        .expect("an answer");
    let wanted = CertificateDer::from_pem_slice(second.certificate.as_bytes()).expect("a certificate");
    assert_eq!(now.certificate, wanted.to_vec());
    let metrics = world.facilitator.get("/metrics").text;
    assert!(
        metrics.contains("switchyard_tls_certificate_expiry_timestamp_seconds{listener=\"admin\"}"),
        "{metrics}"
    );
}
