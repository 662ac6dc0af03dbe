//! The admin listener as operators use it, and as attackers would.

mod attacks;
mod changes;
mod page;
mod reads;
mod tls;

use e2e::facilitator::free_port;
use e2e::http::Client;
use e2e::world::Builder;
use e2e::{Reply, World};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) const VIEW: &str = "token-of-vera-0123456789abcdef";
const OPERATE: &str = "token-of-otto-0123456789abcdef";
const MONEY: &str = "token-of-mona-0123456789abcdef";

/// A facilitator with an admin listener, and a client of it.
struct Desk {
    world: World,
    client: Client,
    port: u16,
}

/// The sections of an admin listener with three operators.
pub(crate) fn config(listen: &str) -> String {
    let mut toml = format!("[admin]\nlisten = {listen:?}\n");
    for (name, token, role) in [
        ("vera", VIEW, "view"),
        ("otto", OPERATE, "operate"),
        ("mona", MONEY, "money"),
    ] {
        let hash = hex::encode(Sha256::digest(token));
        toml += &format!("[[operators]]\nname = {name:?}\ntoken_sha256 = {hash:?}\nrole = {role:?}\n");
    }
    toml
}

impl Desk {
    fn start(more: &str, with: impl FnOnce(Builder) -> Builder) -> Self {
        let port = free_port().expect("a port");
        let toml = config(&format!("127.0.0.1:{port}")) + more;
        let world = with(World::builder().more(&toml)).start();
        Self {
            world,
            client: Client::new(&format!("http://127.0.0.1:{port}")),
            port,
        }
    }

    fn get(&self, path: &str, token: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        self.client.send("GET", path, b"", &headers).expect("an answer")
    }

    fn post(&self, path: &str, body: &Value, token: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let body = body.to_string();
        self.client
            .post(path, body.as_bytes(), &headers)
            .expect("an answer")
    }

    /// Done, in one sentence or more.
    #[track_caller]
    fn done(&self, path: &str, body: &Value, token: &str) -> Reply {
        let reply = self.post(path, body, token);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(
            !reply.json["done"].as_array().expect("sentences").is_empty(),
            "{reply:?}"
        );
        reply
    }

    fn overview(&self) -> Value {
        let reply = self.get("/api/overview", VIEW);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json
    }

    /// The signers of the only network.
    fn signers(&self) -> Vec<Value> {
        let overview = self.overview();
        overview["networks"][0]["signers"]
            .as_array()
            .expect("signers")
            .clone()
    }
}
