//! One anvil process: started on a free port, waited for, and gone when its handle is.
//!
//! The process hangs on a pipe: a small shell around it kills it when the pipe's other end closes. So it also ends when
//! the test binary is killed, without any unsafe code. It has a process group of its own: Ctrl-C in the terminal reaches
//! the parent only, whose end then closes the pipe.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::{Account, Error, Npm, Rpc};

/// Long enough for a machine that is compiling at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(30);
/// Between choosing a free port and anvil's bind another process may take it.
const PORT_ATTEMPTS: u32 = 3;
/// How many free ports may turn out to be promised to another node of ours.
const CHOICES: u32 = 100;

/// `$@` is the anvil command, and 3 the pipe to the parent. The reader ends when the pipe does, and takes anvil along.
/// Only anvil keeps stderr (as 4): the shell's messages about killed jobs are noise.
const KEEPER: &str = r#"exec 3<&0 4>&2 2>/dev/null
"$@" 2>&4 3<&- 4>&- </dev/null & node=$!
{ cat <&3 >/dev/null; kill -9 $node; } 4>&- & reader=$!
wait $node; status=$?; kill $reader; exit $status"#;

/// How the node is started. Blocks are mined at once for every transaction until an RPC call changes that.
#[derive(Debug, Clone)]
pub struct AnvilOptions {
    pub host: String,
    /// 0 takes a free one.
    pub port: u16,
    pub chain_id: u64,
    /// Accounts derived from anvil's public mnemonic; the node can sign for them itself.
    pub accounts: u16,
    /// Further arguments, as anvil's own `--help` has them.
    pub extra_args: Vec<String>,
}

impl Default for AnvilOptions {
    fn default() -> Self {
        AnvilOptions {
            host: "127.0.0.1".to_owned(),
            port: 0,
            chain_id: 84532,
            accounts: 10,
            extra_args: Vec::new(),
        }
    }
}

/// A running node. Dropping it kills the process.
#[derive(Debug)]
pub struct Anvil {
    keeper: Child,
    port: Port,
    rpc: Rpc,
    accounts: Vec<Account>,
}

// A port that no other node of ours is started on as long as this lives. The mark is the UDP port of the same number,
// which anvil does not use: a port that was merely free when it was chosen could be chosen twice, and the health check
// of one world would then believe the node of the other.
#[derive(Debug)]
struct Port {
    number: u16,
    _mark: UdpSocket,
}

// What anvil writes with --config-out, as far as it is needed here.
#[derive(Deserialize)]
struct Written {
    available_accounts: Vec<String>,
    private_keys: Vec<String>,
}

impl Anvil {
    /// Starts a node and returns when it answers with the wanted chain id.
    ///
    /// # Errors
    /// [`Error::Setup`] when the binary is missing, ends at once (a taken port, a bad argument) or stays silent.
    pub fn start(npm: &Npm, options: &AnvilOptions) -> Result<Anvil, Error> {
        let binary = npm.anvil()?;
        let mut attempt = 1;
        loop {
            match Anvil::start_once(&binary, options) {
                Err(_) if options.port == 0 && attempt < PORT_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn start_once(binary: &Path, options: &AnvilOptions) -> Result<Anvil, Error> {
        let port = Port::choose(&options.host, options.port)?;
        let number = port.number;
        let config = config_file();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "anvil"])
            .arg(binary)
            .args(["--silent", "--host", &options.host, "--port", &number.to_string()])
            .args([
                "--chain-id",
                &options.chain_id.to_string(),
                "--accounts",
                &options.accounts.to_string(),
            ])
            .arg("--config-out")
            .arg(&config)
            .args(&options.extra_args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("cannot start anvil"))?;
        let rpc = Rpc::new(&format!("http://{}:{number}", options.host));
        let mut anvil = Anvil {
            keeper,
            port,
            rpc,
            accounts: Vec::new(),
        };
        let healthy = anvil
            .wait_until_healthy(options.chain_id, &config)
            .and_then(|()| read_accounts(&config));
        // Best effort: a leftover file in the temporary folder harms nobody.
        let _ = std::fs::remove_file(&config);
        anvil.accounts = healthy?;
        Ok(anvil)
    }

    // The file is written by our own node only: without it, another process answers on the port.
    fn wait_until_healthy(&mut self, chain_id: u64, config: &Path) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.keeper.try_wait().map_err(Error::io("cannot watch anvil"))? {
                return Err(Error::Setup(format!(
                    "anvil ended at once ({status}); is port {} taken?",
                    self.port.number
                )));
            }
            match self.rpc.quantity("eth_chainId", serde_json::json!([])) {
                Ok(id) if id == u128::from(chain_id) && config.exists() => return Ok(()),
                _ if started.elapsed() < START_TIMEOUT => std::thread::sleep(POLL),
                Ok(id) => {
                    return Err(Error::Setup(format!(
                        "chain {id} is on port {}, not ours",
                        self.port.number
                    )));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the node listens, for HTTP.
    #[must_use]
    pub fn url(&self) -> &str {
        self.rpc.url()
    }

    /// Where the node listens, for WebSocket subscriptions.
    #[must_use]
    pub fn ws_url(&self) -> String {
        self.url().replacen("http", "ws", 1)
    }

    #[must_use]
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The accounts derived from the mnemonic, in order.
    #[must_use]
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system does not report it.
    pub fn is_running(&mut self) -> Result<bool, Error> {
        Ok(self
            .keeper
            .try_wait()
            .map_err(Error::io("cannot watch anvil"))?
            .is_none())
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // Closing the pipe is the order to die; waiting frees the port before the next line of a test runs.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Port {
    // The wanted one, or any free one for 0.
    fn choose(host: &str, wanted: u16) -> Result<Port, Error> {
        let mut choices = 1;
        loop {
            match Port::take(host, wanted) {
                Err(_) if wanted == 0 && choices < CHOICES => choices += 1,
                result => return result,
            }
        }
    }

    fn take(host: &str, wanted: u16) -> Result<Port, Error> {
        let taken = || format!("cannot listen on {host}:{wanted}");
        let listener = TcpListener::bind((host, wanted)).map_err(Error::io(taken()))?;
        let number = listener.local_addr().map_err(Error::io(taken()))?.port();
        let mark = UdpSocket::bind((host, number)).map_err(Error::io(taken()))?;
        Ok(Port { number, _mark: mark })
    }
}

fn config_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("switchyard-anvil-{}-{number}.json", std::process::id()))
}

fn read_accounts(config: &Path) -> Result<Vec<Account>, Error> {
    let text = std::fs::read(config).map_err(Error::io("cannot read anvil's account list"))?;
    let written: Written = serde_json::from_slice(&text)
        .map_err(|e| Error::Malformed(format!("anvil's account list does not parse: {e}")))?;
    let pairs = written.available_accounts.into_iter().zip(written.private_keys);
    Ok(pairs.map(|(address, key)| Account { address, key }).collect())
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn a_port_is_given_out_once_while_its_node_may_still_be_starting() {
        // No listener remains, so the system itself would call each of them free.
        let first = Port::choose("127.0.0.1", 0).expect("a free port");
        assert!(Port::take("127.0.0.1", first.number).is_err());
    }
}
