//! What is measured: three facilitators, each a process with a signer and a node URL of its own, in front of one chain.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use devnet::{Account, Npm, SolanaDevnet, SolanaKey};
use e2e::facilitator::free_port;
use e2e::http::Client;
use e2e::leash::Leash;
use e2e::{Facilitator, Settings, SolanaNetwork, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Failure;
use crate::bench::Target;
use crate::node::Node;
use crate::payments::CHAIN_ID;

/// A start, on a machine that does other work, too.
const START: Duration = Duration::from_secs(60);
/// The first chain id of the networks that a subject has in addition.
const FURTHER_CHAINS: u64 = 7_000_001;
const NO_LIMITS: &str = "[limits]\naddress_requests_per_minute = 0\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    X402Rs,
    TypeScript,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Ours, Kind::X402Rs, Kind::TypeScript];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ours => "Switchyard",
            Kind::X402Rs => "x402-rs",
            Kind::TypeScript => "TypeScript",
        }
    }
}

/// What the subjects are started from.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) npm: Npm,
    /// The binary of `tests/peers/x402-rs`.
    pub(crate) x402_rs: PathBuf,
}

/// Where a subject works, and with which key.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    Evm {
        /// The chain's URL.
        chain: &'a str,
        signer: &'a Account,
        /// It serves the chain under so many chain ids.
        networks: u64,
    },
    Solana {
        chain: &'a SolanaDevnet,
        fee_payer: &'a SolanaKey,
    },
}

impl Place<'_> {
    fn chain(&self) -> &str {
        match self {
            Place::Evm { chain, .. } => chain,
            Place::Solana { chain, .. } => chain.url(),
        }
    }

    /// Of ours, as an operator configures it, without limits for one address: all requests come from one.
    fn settings(&self, node: &Node) -> Settings {
        match self {
            Place::Evm { signer, networks, .. } => evm_settings(node, signer, *networks),
            Place::Solana { chain, fee_payer } => {
                let network = SolanaNetwork {
                    id: chain.network.clone(),
                    rpc: vec![node.url()],
                    fee_payers: vec![(*fee_payer).clone()],
                    ..SolanaNetwork::default()
                };
                Settings {
                    rpc: Vec::new(),
                    solana: Some(network),
                    follow_blocks: true,
                    more: NO_LIMITS.to_owned(),
                    ..Settings::new("", &[])
                }
            }
        }
    }

    /// Of a peer.
    fn networks(&self, node: &Node) -> Vec<Value> {
        match self {
            Place::Evm { signer, networks, .. } => networks_of(node, *networks)
                .into_iter()
                .map(|(id, rpc)| json!({"network": format!("eip155:{id}"), "rpc": rpc, "key": signer.key}))
                .collect(),
            Place::Solana { chain, fee_payer } => {
                vec![json!({"network": chain.network, "rpc": node.url(), "key": fee_payer.secret})]
            }
        }
    }
}

/// A running facilitator. Dropping it ends its process.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) node: Node,
    pub(crate) server: SocketAddr,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Ours(Box<Facilitator>),
    Peer(Peer),
}

impl Subject {
    /// Starts it and returns when it is ready.
    pub(crate) fn start(kind: Kind, programs: &Programs, place: &Place<'_>) -> Result<Subject, Failure> {
        let node = Node::start(place.chain())?;
        let process = match kind {
            Kind::Ours => Process::Ours(Box::new(Facilitator::start(&place.settings(&node))?)),
            Kind::X402Rs | Kind::TypeScript => {
                Process::Peer(Peer::facilitator(kind, programs, &node, place)?)
            }
        };
        let url = match &process {
            Process::Ours(facilitator) => facilitator.url(),
            Process::Peer(peer) => peer.url(),
        };
        let server = address(&url)?;
        Ok(Subject {
            kind,
            node,
            server,
            process,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub(crate) fn target(&self) -> Result<Target<'_>, Failure> {
        Ok(Target {
            name: self.name(),
            server: self.server,
            process: self.id()?,
            node: Some(&self.node),
        })
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> Result<u32, Failure> {
        let id = match &self.process {
            Process::Ours(facilitator) => facilitator.process_id(),
            Process::Peer(peer) => peer.id(),
        };
        id.ok_or_else(|| Failure(format!("{} has ended", self.name())))
    }

    /// Kills the process and starts it again, with the data that it has: the time until it is ready.
    pub(crate) fn restart(&mut self) -> Result<Duration, Failure> {
        match &mut self.process {
            Process::Ours(facilitator) => {
                facilitator.kill();
                let started = Instant::now();
                facilitator.restart();
                Ok(started.elapsed())
            }
            Process::Peer(peer) => {
                peer.end();
                let started = Instant::now();
                peer.spawn()?;
                Ok(started.elapsed())
            }
        }
    }
}

/// Of a server's URL.
pub(crate) fn address(url: &str) -> Result<SocketAddr, Failure> {
    let address = url.trim_start_matches("http://").parse();
    address.map_err(|e| Failure(format!("{url}: {e}")))
}

/// The networks of a subject: chain ids and node URLs.
fn networks_of(node: &Node, networks: u64) -> Vec<(u64, String)> {
    let further = (FURTHER_CHAINS..).take(usize::try_from(networks).unwrap_or(1).saturating_sub(1));
    std::iter::once((CHAIN_ID, node.url()))
        .chain(further.map(|id| (id, node.url_as(id))))
        .collect()
}

fn evm_settings(node: &Node, signer: &Account, networks: u64) -> Settings {
    // Blocks come with transactions only: an old head does not show a broken node here.
    // The harness has payments go alone, and operators do not.
    let network = "max_batch = 32\noptions = { max_head_age_s = 0 }";
    let mut more = NO_LIMITS.to_owned();
    for (id, url) in networks_of(node, networks).iter().skip(1) {
        more += &format!(
            "\n[networks.\"eip155:{id}\"]\nrpc = [{url:?}]\nsigners = [\"signer0\"]\n\
             max_cost = \"10000000000000000\"\n{network}\n"
        );
    }
    Settings {
        network: network.to_owned(),
        auth_capture: Some(String::new()),
        follow_blocks: true,
        more,
        ..Settings::new(&node.url(), std::slice::from_ref(signer))
    }
}

/// A server that is not ours, as a process.
#[derive(Debug)]
pub(crate) struct Peer {
    command: Vec<PathBuf>,
    folder: TempDir,
    port: u16,
    /// Answered with 200 when it is ready.
    ready: &'static str,
    running: Option<(Child, Leash)>,
}

impl Peer {
    /// Starts a program and returns when it is ready. `command` gets its folder and its port, and gives program and arguments.
    pub(crate) fn start(
        ready: &'static str,
        command: impl FnOnce(&Path, u16) -> Result<Vec<PathBuf>, Failure>,
    ) -> Result<Peer, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("switchyard-peer-")
            .tempdir()
            .map_err(|e| Failure(format!("cannot make a folder for a peer: {e}")))?;
        let port = free_port().ok_or_else(|| Failure("no port is free".to_owned()))?;
        let mut peer = Peer {
            command: command(folder.path(), port)?,
            folder,
            port,
            ready,
            running: None,
        };
        peer.spawn()?;
        Ok(peer)
    }

    /// Another project's facilitator.
    fn facilitator(kind: Kind, programs: &Programs, node: &Node, place: &Place<'_>) -> Result<Peer, Failure> {
        Peer::start("/supported", |folder, port| {
            let settings = folder.join("settings.json");
            let text = json!({"port": port, "networks": place.networks(node)}).to_string();
            fs::write(&settings, text)
                .map_err(|e| Failure(format!("cannot write {}: {e}", settings.display())))?;
            Ok(match kind {
                Kind::X402Rs | Kind::Ours => vec![programs.x402_rs.clone(), settings],
                Kind::TypeScript => {
                    let script = programs.npm.folder().join("facilitator.mjs");
                    vec!["node".into(), script, settings]
                }
            })
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|(child, _)| child.id())
    }

    fn spawn(&mut self) -> Result<(), Failure> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            return Err(Failure("a peer without a program".to_owned()));
        };
        let lost = |e: std::io::Error| Failure(format!("cannot start {}: {e}", program.display()));
        let log_file = self.folder.path().join("log");
        let log = File::create(&log_file).map_err(lost)?;
        let child = Command::new(program)
            .args(arguments)
            // Express prints and computes more without it.
            .env("NODE_ENV", "production")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(lost)?)
            .stderr(log)
            .spawn()
            .map_err(lost)?;
        let leash = Leash::on(&child)?;
        let (child, _) = self.running.insert((child, leash));
        let client = Client::new(&format!("http://127.0.0.1:{}", self.port));
        let ready = wait::try_until(START, || {
            if !matches!(child.try_wait(), Ok(None)) {
                return Some(false);
            }
            let answer = client.get(self.ready).ok()?;
            (answer.status == 200).then_some(true)
        });
        if ready == Some(true) {
            return Ok(());
        }
        let log = fs::read_to_string(&log_file).unwrap_or_default();
        Err(Failure(format!(
            "{} is not ready; it wrote:\n{log}",
            program.display()
        )))
    }

    fn end(&mut self) {
        if let Some((mut child, leash)) = self.running.take() {
            drop(leash);
            // It may have ended by itself; either way it is reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
    }
}
