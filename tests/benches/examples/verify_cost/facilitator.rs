//! The release binary, as a process with a folder of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Failure;
use super::payment::NETWORK;

/// How long the facilitator may take until it is ready.
const START: Duration = Duration::from_secs(30);
/// Of `/proc/PID/stat`, on every Linux of today.
const TICKS_PER_SECOND: u64 = 100;

/// Killed when it is dropped.
pub(crate) struct Facilitator {
    process: Child,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

/// What a process has used since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Context switches of threads that waited.
    pub(crate) voluntary: u64,
    /// Of threads that were interrupted.
    pub(crate) involuntary: u64,
}

impl Usage {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
        }
    }
}

impl Facilitator {
    pub(crate) fn start(
        binary: &Path,
        plugin: &Path,
        isolation: &str,
        node: SocketAddr,
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (binary, plugin) = (binary.canonicalize()?, plugin.canonicalize()?);
        let config = folder.path().join("switchyard.toml");
        let plugins = plugin.parent().unwrap_or(Path::new("/"));
        let file = plugin
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = format!(
            "[server]\nlisten = \"{address}\"\n\n[data]\ndirectory = \"data\"\n\n[plugins]\ndirectory = {plugins:?}\n\
             dev = true\n\n[keys.signer]\nenv = \"VERIFY_COST_KEY\"\n\n[networks.{NETWORK:?}]\nrpc = [\"http://{node}\"]\n\
             signers = [\"signer\"]\nmax_cost = \"10000000000000000\"\n\n[plugin.evm]\nfile = {file:?}\nisolation = {isolation:?}\n\n[limits]\n\
             address_requests_per_minute = 0\n"
        );
        std::fs::write(&config, text)?;
        let process = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&config)
            .current_dir(folder.path())
            .env("VERIFY_COST_KEY", format!("0x{}", "11".repeat(32)))
            .stdout(Stdio::null())
            .spawn()?;
        let mut facilitator = Self {
            process,
            address,
            _folder: folder,
        };
        facilitator.wait_until_ready()?;
        Ok(facilitator)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        while started.elapsed() < START {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("the facilitator has ended: {status}").into());
            }
            if TcpStream::connect(self.address).is_ok() && self.is_ready()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("the facilitator is not ready".into())
    }

    fn is_ready(&self) -> Result<bool, Failure> {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: f\r\nconnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply.starts_with("HTTP/1.1 200"))
    }

    /// Of the process, and of those that it has started.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        let mut usage = usage_of(self.process.id())?;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                let of_child = usage_of(child.parse()?)?;
                usage.cpu += of_child.cpu;
                usage.voluntary += of_child.voluntary;
                usage.involuntary += of_child.involuntary;
            }
        }
        Ok(usage)
    }
}

fn usage_of(process: u32) -> Result<Usage, Failure> {
    let folder = format!("/proc/{process}");
    let stat = std::fs::read_to_string(format!("{folder}/stat"))?;
    // The name may hold spaces: the fields after it are counted from its closing bracket.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let cpu = Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS_PER_SECOND);
    let (mut voluntary, mut involuntary) = (0, 0);
    for task in std::fs::read_dir(format!("{folder}/task"))? {
        // A thread may end between the two reads.
        let status = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        for line in status.lines() {
            let number = || {
                line.rsplit('\t')
                    .next()
                    .and_then(|text| text.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            if line.starts_with("voluntary_ctxt_switches") {
                voluntary += number();
            } else if line.starts_with("nonvoluntary_ctxt_switches") {
                involuntary += number();
            }
        }
    }
    Ok(Usage {
        cpu,
        voluntary,
        involuntary,
    })
}

impl Drop for Facilitator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
