//! The facilitator as an operator runs it: the release binary with a configuration file, a data folder and a plugin
//! file of its own, as a process that can be stopped, killed and started again on the same port and data.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use devnet::{Account, SolanaKey};
use rustix::pty::{self, OpenptFlags};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Client, Reply};
use crate::leash::Leash;
use crate::payment::NETWORK;
use crate::{Error, binaries, wait};

/// Boot, with a machine that compiles at the same time.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
const LOG_LINES_SHOWN: usize = 60;

/// What goes into the configuration file. The strings are TOML lines.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Node URLs of eip155:84532.
    pub rpc: Vec<String>,
    /// Keys that send.
    pub signers: Vec<Account>,
    /// Lines for `[server]`.
    pub server: String,
    /// Lines for the network; a line here replaces the harness's own of the same key.
    pub network: String,
    /// Lines for `[plugin.evm]`.
    pub plugin: String,
    /// Lines for `[plugin.auth-capture.config]`, which is loaded when there are some.
    pub auth_capture: Option<String>,
    /// Further sections.
    pub more: String,
    /// The plugin file; the shipped one when not given.
    pub plugin_file: Option<PathBuf>,
    /// The port, or any free one.
    pub port: Option<u16>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// Where standard output and error go.
    pub output: Output,
    /// Standard input is a terminal.
    pub terminal: bool,
    /// A Solana network beside the EVM one, or alone when there are no EVM node URLs.
    pub solana: Option<SolanaNetwork>,
    /// Where configuration, data and log go, an empty folder; one that disappears with the handle when not given.
    pub folder: Option<PathBuf>,
    /// Polls follow the chain's blocks, as by default; otherwise they come every 50 ms, because the tests wait for them.
    pub follow_blocks: bool,
    /// The shipped plugins run in processes of their own, also where [`ISOLATED`] is not set.
    pub isolated: bool,
}

/// A Solana network as the configuration file has it. The strings are TOML lines.
#[derive(Debug, Clone, Default)]
pub struct SolanaNetwork {
    /// CAIP-2.
    pub id: String,
    /// Node URLs.
    pub rpc: Vec<String>,
    pub fee_payers: Vec<SolanaKey>,
    /// Lines for the network; a line here replaces the harness's own of the same key.
    pub network: String,
    /// Lines for `[plugin.svm.config]`.
    pub config: String,
}

impl SolanaNetwork {
    fn toml(&self, follow_blocks: bool, isolation: &str) -> Result<String, Error> {
        let plugin = binaries::svm_plugin()?;
        let mut toml = String::new();
        let mut names = Vec::new();
        for number in 0..self.fee_payers.len() {
            let variable = fee_payer_variable(number);
            toml += &format!("\n[keys.feepayer{number}]\nenv = \"{variable}\"\nsuite = \"ed25519\"\n");
            names.push(format!("feepayer{number}"));
        }
        toml += &format!("\n[networks.{:?}]\nrpc = {:?}\n", self.id, self.rpc);
        // The rent of a token account and its fees; the clock of the dev chain is moved by tests.
        for (key, value) in [
            ("signers", format!("{names:?}").as_str()),
            ("max_cost ", "\"3000000\""),
            ("finality", "32"),
            ("poll_interval_ms", "50"),
            ("options", "{ max_clock_skew_s = 0 }"),
        ] {
            let overridden = self.network.lines().any(|line| line.starts_with(key));
            let is_left_out = follow_blocks && key == "poll_interval_ms";
            if !overridden && !is_left_out {
                toml += &format!("{key} = {value}\n");
            }
        }
        Ok(toml
            + &format!(
                "{}\n\n{}",
                self.network,
                section("svm", &plugin, isolation, &self.config)?
            ))
    }
}

/// A plugin file that is pinned, with its configuration.
fn section(name: &str, plugin: &Path, isolation: &str, config: &str) -> Result<String, Error> {
    let file = plugin.file_name().unwrap_or_default().to_string_lossy();
    let digest = binaries::sha256(plugin)?;
    Ok(format!(
        "[plugin.{name}]\nfile = {file:?}\nsha256 = \"{digest}\"\n{isolation}\n[plugin.{name}.config]\n{config}\n"
    ))
}

/// The variable with which the shipped plugins are isolated in every test, and a value.
pub const ISOLATED: (&str, &str) = ("SWITCHYARD_E2E_ISOLATED", "1");

/// Where a process writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The log file, as [`Facilitator::log`] reads it.
    Log,
    /// A disk that is full.
    FullDisk,
    /// A pipe that nobody reads any more.
    ClosedPipe,
}

impl Settings {
    #[must_use]
    pub fn new(rpc: &str, signers: &[Account]) -> Settings {
        Settings {
            rpc: vec![rpc.to_owned()],
            signers: signers.to_vec(),
            server: String::new(),
            network: String::new(),
            plugin: String::new(),
            auth_capture: None,
            more: String::new(),
            plugin_file: None,
            port: None,
            environment: Vec::new(),
            output: Output::Log,
            terminal: false,
            solana: None,
            folder: None,
            follow_blocks: false,
            isolated: false,
        }
    }

    /// Where the shipped plugins run.
    fn isolation(&self) -> &'static str {
        if self.isolated || std::env::var_os(ISOLATED.0).is_some() {
            // The tests of the boundary need the whole sandbox; these also run where a kernel lacks a part.
            "isolation = \"process\"\nsandbox = \"partial\"\n"
        } else {
            "isolation = \"none\"\n"
        }
    }

    fn toml(&self, port: u16) -> Result<String, Error> {
        let plugin = match &self.plugin_file {
            Some(file) => file.clone(),
            None => binaries::evm_plugin()?,
        };
        let folder = plugin.parent().unwrap_or(Path::new(".")).display();
        let file = plugin.file_name().unwrap_or_default().to_string_lossy();
        let mut toml = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\n{}\n\n[data]\ndirectory = \"data\"\n\n[plugins]\ndirectory = {folder:?}\n",
            self.server,
            folder = folder.to_string(),
        );
        if let Some(solana) = &self.solana {
            toml += &solana.toml(self.follow_blocks, self.isolation())?;
        }
        if self.rpc.is_empty() {
            return Ok(toml + &format!("\n{}\n", self.more));
        }
        let mut names = Vec::new();
        for number in 0..self.signers.len() {
            toml += &format!("\n[keys.signer{number}]\nenv = \"{}\"\n", variable(number));
            names.push(format!("signer{number}"));
        }
        toml += &format!("\n[networks.{NETWORK:?}]\nrpc = {:?}\n", self.rpc);
        // 0.01 ETH, ample on a dev chain; 50 ms, because the tests wait for it.
        for (key, value) in [
            ("signers", format!("{names:?}").as_str()),
            ("max_cost ", "\"10000000000000000\""),
            // Most tests count transactions.
            ("max_batch", "1"),
            ("poll_interval_ms", "50"),
        ] {
            let overridden = self.network.lines().any(|line| line.starts_with(key));
            let is_left_out = self.follow_blocks && key == "poll_interval_ms";
            if !overridden && !is_left_out {
                toml += &format!("{key} = {value}\n");
            }
        }
        toml += &format!("{}\n\n[plugin.evm]\n", self.network);
        for (key, line) in [
            ("file", format!("file = {file:?}\n")),
            ("sha256", format!("sha256 = \"{}\"\n", binaries::sha256(&plugin)?)),
            ("isolation", self.isolation().to_owned()),
        ] {
            if !self.plugin.lines().any(|own| own.starts_with(key)) {
                toml += &line;
            }
        }
        toml += &self.plugin;
        if let Some(config) = &self.auth_capture {
            let plugin = binaries::auth_capture_plugin()?;
            toml += &format!(
                "\n\n{}",
                section("auth-capture", &plugin, self.isolation(), config)?
            );
        }
        toml += &format!("\n\n{}\n", self.more);
        Ok(toml)
    }
}

fn variable(number: usize) -> String {
    format!("SWITCHYARD_TEST_KEY_{number}")
}

fn open_terminal() -> std::io::Result<OwnedFd> {
    let terminal = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    pty::grantpt(&terminal)?;
    pty::unlockpt(&terminal)?;
    Ok(terminal)
}

/// The end of a terminal that a process reads.
fn terminal_end(terminal: &OwnedFd) -> std::io::Result<Stdio> {
    let name = pty::ptsname(terminal, Vec::new())?;
    Ok(File::open(name.to_string_lossy().as_ref())?.into())
}

fn fee_payer_variable(number: usize) -> String {
    format!("SWITCHYARD_TEST_FEE_PAYER_{number}")
}

/// A facilitator process. Dropping it kills the process; when a test failed, its log's end is shown.
#[derive(Debug)]
pub struct Facilitator {
    folder: PathBuf,
    /// Where its binary and its plugins lie.
    release: PathBuf,
    _temporary: Option<TempDir>,
    port: u16,
    environment: Vec<(String, String)>,
    output: Output,
    /// The other end of its terminal.
    terminal: Option<OwnedFd>,
    child: Mutex<Option<(Child, Leash)>>,
    client: Client,
}

/// A port below those that the system gives to connections and to listeners on port 0: none of them can take it before the
/// facilitator listens there.
#[must_use]
pub fn free_port() -> Option<u16> {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Several test processes begin at different ports.
    let offset = std::process::id().wrapping_mul(97);
    (0..PORTS).find_map(|_| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % PORTS;
        let port = u16::try_from(FIRST + number).ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    })
}

impl Facilitator {
    /// Writes the configuration, starts the process, and returns when every network is ready.
    ///
    /// # Errors
    /// When it ended by itself or was not ready in time, with the end of its log.
    pub fn start(settings: &Settings) -> Result<Facilitator, Error> {
        let facilitator = Facilitator::start_unready(settings)?;
        facilitator.wait_ready()?;
        Ok(facilitator)
    }

    /// As [`Facilitator::start`], and returns as soon as the port answers.
    ///
    /// # Errors
    /// As [`Facilitator::start`].
    pub fn start_unready(settings: &Settings) -> Result<Facilitator, Error> {
        let facilitator = Facilitator::prepare(settings)?;
        facilitator.spawn()?;
        facilitator.wait_listening()?;
        Ok(facilitator)
    }

    /// Runs a process that has to end by itself: its exit status and what it wrote.
    ///
    /// # Errors
    /// When it does not end.
    pub fn run_to_end(settings: &Settings) -> Result<(ExitStatus, String), Error> {
        let facilitator = Facilitator::prepare(settings)?;
        facilitator.spawn()?;
        let status = facilitator.wait_end(START)?;
        Ok((status, facilitator.log()))
    }

    /// Starts one with the configuration `switchyard.toml` that is in this folder, which listens on this port, and returns when
    /// every network is ready.
    ///
    /// # Errors
    /// As [`Facilitator::start`].
    pub fn of_folder(folder: &Path, port: u16) -> Result<Facilitator, Error> {
        let facilitator = Facilitator {
            folder: folder.to_owned(),
            release: binaries::release_dir()?,
            _temporary: None,
            port,
            environment: Vec::new(),
            output: Output::Log,
            terminal: None,
            child: Mutex::new(None),
            client: Client::new(&format!("http://127.0.0.1:{port}")),
        };
        facilitator.spawn()?;
        facilitator.wait_listening()?;
        facilitator.wait_ready()?;
        Ok(facilitator)
    }

    fn prepare(settings: &Settings) -> Result<Facilitator, Error> {
        let lost = |e: std::io::Error| Error(format!("cannot prepare a folder for the facilitator: {e}"));
        let (folder, temporary) = match &settings.folder {
            Some(folder) => (folder.clone(), None),
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("switchyard-")
                    .tempdir()
                    .map_err(lost)?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let port = match settings.port {
            Some(port) => port,
            None => free_port().ok_or_else(|| Error("no port is free".into()))?,
        };
        fs::write(folder.join("switchyard.toml"), settings.toml(port)?).map_err(lost)?;
        let keys = settings.signers.iter().enumerate();
        let mut environment: Vec<_> = keys
            .map(|(number, signer)| (variable(number), signer.key.clone()))
            .collect();
        let fee_payers = settings.solana.iter().flat_map(|solana| &solana.fee_payers);
        let seeds = fee_payers.enumerate();
        environment.extend(seeds.map(|(number, key)| (fee_payer_variable(number), key.seed.clone())));
        environment.extend(settings.environment.clone());
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        Ok(Facilitator {
            folder,
            release: binaries::release_dir()?,
            _temporary: temporary,
            port,
            environment,
            output: settings.output,
            terminal: settings.terminal.then(open_terminal).transpose().map_err(lost)?,
            child: Mutex::new(None),
            client,
        })
    }

    fn child(&self) -> MutexGuard<'_, Option<(Child, Leash)>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> Result<(), Error> {
        let binary = binaries::switchyard_in(&self.release)?;
        let lost = |e: std::io::Error| Error(format!("cannot start {}: {e}", binary.display()));
        let (out, error) = self.output_ends().map_err(lost)?;
        let input = match &self.terminal {
            Some(terminal) => terminal_end(terminal).map_err(lost)?,
            None => Stdio::null(),
        };
        let child = Command::new(&binary)
            .arg("serve")
            .arg("--config")
            .arg(self.config_file())
            .envs(self.environment.iter().cloned())
            .stdin(input)
            .stdout(out)
            .stderr(error)
            .spawn()
            .map_err(lost)?;
        let leash = Leash::on(&child)?;
        *self.child() = Some((child, leash));
        Ok(())
    }

    fn output_ends(&self) -> std::io::Result<(Stdio, Stdio)> {
        match self.output {
            Output::Log => {
                let log = File::options().create(true).append(true).open(self.log_file())?;
                Ok((log.try_clone()?.into(), log.into()))
            }
            Output::FullDisk => {
                let full = File::options().write(true).open("/dev/full")?;
                Ok((full.try_clone()?.into(), full.into()))
            }
            Output::ClosedPipe => {
                let (reader, writer) = std::io::pipe()?;
                drop(reader);
                Ok((writer.try_clone()?.into(), writer.into()))
            }
        }
    }

    fn wait_listening(&self) -> Result<(), Error> {
        let answered = wait::try_until(START, || {
            if self.is_gone() {
                return Some(false);
            }
            self.client.get("/health").is_ok().then_some(true)
        });
        match answered {
            Some(true) => Ok(()),
            Some(false) => Err(self.error("the facilitator ended by itself")),
            None => Err(self.error("the facilitator does not listen")),
        }
    }

    /// Waits until `/ready` answers 200.
    ///
    /// # Errors
    /// When it does not in time, with the end of the log.
    pub fn wait_ready(&self) -> Result<(), Error> {
        let ready = || {
            self.client
                .get("/ready")
                .ok()
                .filter(|reply| reply.status == 200)
                .map(drop)
        };
        wait::try_until(START, ready).ok_or_else(|| self.error("the facilitator does not get ready"))
    }

    fn wait_end(&self, limit: Duration) -> Result<ExitStatus, Error> {
        if self.child().is_none() {
            return Err(Error("the facilitator does not run".to_owned()));
        }
        let ended = || self.child().as_mut()?.0.try_wait().ok().flatten();
        match wait::try_until(limit, ended) {
            Some(status) => Ok(status),
            None => Err(self.error("the facilitator does not end")),
        }
    }

    /// The id of its process, while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child().as_ref().map(|(child, _)| child.id())
    }

    /// Whether the process is gone.
    pub fn has_ended(&mut self) -> bool {
        self.is_gone()
    }

    /// The same, while others talk to it.
    pub fn is_gone(&self) -> bool {
        let mut child = self.child();
        child
            .as_mut()
            .is_none_or(|(child, _)| !matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL, and the process is gone.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.end();
    }

    fn end(&self) {
        let (mut child, leash) = self.child().take().expect("it runs");
        drop(leash);
        child.kill().expect("SIGKILL");
        child.wait().expect("it ends");
    }

    /// SIGKILL, a pause, and a new start, while others talk to it. It may not be ready yet when this returns.
    ///
    /// # Errors
    /// When it does not start.
    pub fn kill_and_restart(&self, pause: Duration) -> Result<(), Error> {
        self.end();
        std::thread::sleep(pause);
        self.spawn().and_then(|()| self.wait_listening())
    }

    /// SIGTERM, without waiting for what it does.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGHUP, as a terminal sends it when it is closed, or an operator for a reload, without waiting for what it does.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// SIGKILL while others talk to it; [`Facilitator::kill`] then clears up what is left.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn crash(&self) {
        self.signal("KILL");
    }

    /// SIGSTOP: the process does nothing until [`Facilitator::wake`].
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn suspend(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn wake(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child().as_ref().expect("it runs").0.id();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &id.to_string()])
            .status();
        assert!(status.expect("kill runs").success(), "SIG{name} was not sent");
    }

    /// Waits until the process ended by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_exit(&mut self) -> ExitStatus {
        match self.wait_end(STOP) {
            Ok(status) => {
                *self.child() = None;
                status
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts the process again, on the same port and data.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn restart(&mut self) {
        assert!(self.child().is_none(), "stop it first");
        let started = self
            .spawn()
            .and_then(|()| self.wait_listening())
            .and_then(|()| self.wait_ready());
        started.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts the process again where it has to end by itself: its exit status and what it wrote this time.
    ///
    /// # Panics
    /// When it does not end.
    pub fn restart_refused(&mut self) -> (ExitStatus, String) {
        assert!(self.child().is_none(), "stop it first");
        let before = self.log().len();
        self.spawn().unwrap_or_else(|error| panic!("{error}"));
        let status = self.wait_end(START).unwrap_or_else(|error| panic!("{error}"));
        *self.child() = None;
        (status, self.log().get(before..).unwrap_or_default().to_owned())
    }

    /// Changes the configuration file; the next start reads it.
    ///
    /// # Panics
    /// When what is to be replaced is not there exactly once.
    #[track_caller]
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config_file()).expect("the configuration");
        assert_eq!(text.matches(from).count(), 1, "{from:?} in:\n{text}");
        fs::write(self.config_file(), text.replace(from, to)).expect("written");
    }

    /// The next start runs the binary and the plugins of another build, which lie in this folder.
    ///
    /// # Panics
    /// When one is missing there, or the configuration names plugins elsewhere.
    pub fn use_release(&mut self, release: &Path) {
        let text = fs::read_to_string(self.config_file()).expect("the configuration");
        let quoted = |folder: &Path| format!("directory = {:?}", folder.display().to_string());
        let mut changed = text.replace(&quoted(&self.release), &quoted(release));
        let files = text.lines().filter_map(|line| line.strip_prefix("file = \""));
        for file in files.map(|rest| rest.trim_end_matches('"')) {
            let digest = |folder: &Path| binaries::sha256(&folder.join(file)).expect("a plugin");
            changed = changed.replace(&digest(&self.release), &digest(release));
        }
        assert!(
            changed.contains(&quoted(release)),
            "plugins lie elsewhere:\n{changed}"
        );
        fs::write(self.config_file(), changed).expect("written");
        release.clone_into(&mut self.release);
    }

    /// Runs another command of the binary with this configuration: whether it succeeded, and all that it wrote.
    ///
    /// # Panics
    /// When it can't be run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> (bool, String) {
        let (status, out, err) = self.command_status(arguments);
        (status == Some(0), out + &err)
    }

    /// The same: its exit status, and what it wrote to standard output and to standard error.
    ///
    /// # Panics
    /// When it can't be run.
    pub fn command_status(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(binaries::switchyard_in(&self.release).expect("built"))
            .args(arguments)
            .arg("--config")
            .arg(self.config_file())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// As [`Facilitator::restart`], and returns as soon as the port answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn restart_unready(&mut self) {
        assert!(self.child().is_none(), "stop it first");
        let started = self.spawn().and_then(|()| self.wait_listening());
        started.unwrap_or_else(|error| panic!("{error}"));
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("switchyard.toml")
    }

    /// Where the journal lies.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("switchyard.log")
    }

    /// Everything it wrote so far, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// # Panics
    /// Without an answer.
    #[track_caller]
    #[must_use]
    pub fn verify(&self, body: &Value) -> Reply {
        self.post("/verify", body.to_string().as_bytes())
    }

    /// Settles many bodies at once and gives the answers in the order of the bodies.
    ///
    /// # Panics
    /// Without an answer.
    #[must_use]
    pub fn settle_all(&self, bodies: &[Value]) -> Vec<Reply> {
        std::thread::scope(|scope| {
            let running: Vec<_> = bodies
                .iter()
                .map(|body| scope.spawn(|| self.settle(body)))
                .collect();
            running
                .into_iter()
                .map(|one| one.join().expect("an answer"))
                .collect()
        })
    }

    /// # Panics
    /// Without an answer.
    #[track_caller]
    #[must_use]
    pub fn settle(&self, body: &Value) -> Reply {
        self.post("/settle", body.to_string().as_bytes())
    }

    /// # Panics
    /// Without an answer.
    #[track_caller]
    #[must_use]
    pub fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.client
            .post(path, body, &[])
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// # Panics
    /// Without an answer.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Reply {
        self.client.get(path).unwrap_or_else(|error| panic!("{error}"))
    }

    fn error(&self, what: &str) -> Error {
        Error(format!("{what}; its log ends with:\n{}", self.log_end()))
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Facilitator {
    fn drop(&mut self) {
        let child = self.child().take();
        if let Some((mut child, leash)) = child {
            drop(leash);
            // It may have ended by itself; either way it is reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- end of the facilitator's log ---\n{}\n---", self.log_end());
        }
    }
}
