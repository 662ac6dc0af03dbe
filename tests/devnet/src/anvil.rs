//! One anvil process: started on a free port, waited for, and gone when its handle is.
//!
//! The process hangs on a pipe: a small shell around it kills it when the pipe's other end closes. So it also ends when
//! the test binary is killed, without any unsafe code. It has a process group of its own: Ctrl-C in the terminal reaches
//! the parent only, whose end then closes the pipe.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::{Account, Error, Npm, Rpc};

/// Long enough for a machine that is compiling at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Between choosing a free port and anvil's bind somebody else may take it.
const PORT_ATTEMPTS: u32 = 3;

/// `$@` is the anvil command, and 3 the pipe to the parent. The reader ends when the pipe does, and takes anvil along.
/// Only anvil keeps stderr (as 4): what the shell says about killed jobs interests nobody.
const KEEPER: &str = r#"exec 3<&0 4>&2 2>/dev/null
"$@" 2>&4 3<&- 4>&- </dev/null & node=$!
{ cat <&3 >/dev/null; kill -9 $node; } 4>&- & reader=$!
wait $node; status=$?; kill $reader; exit $status"#;

/// How the node is started. Blocks are mined at once for every transaction until told otherwise by RPC.
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
    port: u16,
    rpc: Rpc,
    accounts: Vec<Account>,
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

    fn start_once(binary: &PathBuf, options: &AnvilOptions) -> Result<Anvil, Error> {
        let port = if options.port == 0 {
            free_port(&options.host)?
        } else {
            options.port
        };
        let config = config_file();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "anvil"])
            .arg(binary)
            .args(["--silent", "--host", &options.host, "--port", &port.to_string()])
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
        let rpc = Rpc::new(&format!("http://{}:{port}", options.host));
        let mut anvil = Anvil {
            keeper,
            port,
            rpc,
            accounts: Vec::new(),
        };
        let healthy = anvil
            .wait_until_healthy(options.chain_id)
            .and_then(|()| read_accounts(&config));
        // Best effort: a leftover file in the temporary folder harms nobody.
        let _ = std::fs::remove_file(&config);
        anvil.accounts = healthy?;
        Ok(anvil)
    }

    fn wait_until_healthy(&mut self, chain_id: u64) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.keeper.try_wait().map_err(Error::io("cannot watch anvil"))? {
                return Err(Error::Setup(format!(
                    "anvil ended at once ({status}); is port {} taken?",
                    self.port
                )));
            }
            match self.rpc.quantity("eth_chainId", serde_json::json!([])) {
                Ok(id) if id == u128::from(chain_id) => return Ok(()),
                Ok(id) => {
                    return Err(Error::Setup(format!(
                        "port {} answers with chain id {id}",
                        self.port
                    )));
                }
                Err(_) if started.elapsed() < START_TIMEOUT => std::thread::sleep(Duration::from_millis(30)),
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
    /// [`Error::Io`] when the operating system does not say.
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

fn free_port(host: &str) -> Result<u16, Error> {
    let listener = TcpListener::bind((host, 0)).map_err(Error::io(format!("no free port on {host}")))?;
    Ok(listener.local_addr().map_err(Error::io("no free port"))?.port())
}

fn config_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("switchyard-anvil-{}-{number}.json", std::process::id()))
}

fn read_accounts(config: &PathBuf) -> Result<Vec<Account>, Error> {
    let text = std::fs::read(config).map_err(Error::io("cannot read anvil's account list"))?;
    let written: Written = serde_json::from_slice(&text)
        .map_err(|e| Error::Malformed(format!("anvil's account list does not parse: {e}")))?;
    let pairs = written.available_accounts.into_iter().zip(written.private_keys);
    Ok(pairs.map(|(address, key)| Account { address, key }).collect())
}
