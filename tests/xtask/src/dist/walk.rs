//! An operator's way from the archive to payments, on a dev chain, with nothing of this repository but the chain, a seller and a
//! buyer: unpack, init, check, serve, pay, restart, back up, update, roll back, restore. It does what the handbook's page "Install"
//! says, in folders of its own and without systemd.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use devnet::{Devnet, Npm, Options};
use e2e::http::Client;
use e2e::leash::Leash;
use e2e::shop::{Generation, Seller, buy};
use e2e::wait;
use serde_json::Value;

use super::{DIST, archive, cannot, empty, output_of, read, root, write_file};
use crate::Failure;

/// Boot and drain, on a machine that compiles at the same time.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

/// What the new signer gets for gas.
const SIGNER_WEI: u128 = 1_000_000_000_000_000_000;

/// Of the dev chain; `init` knows it.
const NETWORK: &str = "base-sepolia";

fn free_port() -> Result<u16, Failure> {
    e2e::facilitator::free_port().ok_or_else(|| Failure("no port is free".to_owned()))
}

/// Walks the way, and prints how long each step takes.
///
/// # Errors
/// With the step that fails. The folder then has the log of the facilitator.
pub(super) fn run(packed: &Path) -> Result<(), Failure> {
    crate::paint::heading("From the archive to payments");
    let npm = Npm::ensure()?;
    let chain = Devnet::start(Options::default())?;
    let (port, admin) = (free_port()?, free_port()?);
    let started = Instant::now();
    let mut steps = Steps::default();

    let machine = Machine::new(root()?.join(DIST).join("walk"), port, admin)?;
    let first = steps.run("unpack", || machine.unpack(packed, "first"))?;
    let (config, signer) = steps.run("init", || machine.init(&first, &chain))?;
    steps.run("fund the signer", || Ok(chain.set_wei(&signer, SIGNER_WEI)?))?;
    machine.link(&first, &config)?;
    steps.run("check --ask", || machine.switchyard(&["check", "--ask"]))?;
    let service = steps.run("serve", || machine.serve())?;
    let seller = Seller::start(&npm, Generation::V2, &machine.url(), &chain.merchant.address, &[])?;
    let pay = || {
        let report = buy(&npm, Generation::V2, &chain.buyers[0].key, &seller.resource)?;
        if report["status"] == 200 && report["payment"]["success"] == true {
            Ok(())
        } else {
            Err(Failure(format!(
                "the buyer did not get what it paid for: {report}"
            )))
        }
    };
    steps.run("first payment", pay)?;
    let service = steps.run("restart", || machine.restart(service))?;
    steps.run("pay", pay)?;

    let second = steps.run("unpack beside it", || machine.unpack(packed, "second"))?;
    let next = machine.configuration_of(&config, &first, &second)?;
    steps.run("back up", || machine.back_up("before-update"))?;
    machine.link(&second, &next)?;
    steps.run("check", || machine.switchyard(&["check"]))?;
    let service = steps.run("update", || machine.restart(service))?;
    steps.run("pay", pay)?;
    machine.link(&first, &config)?;
    let service = steps.run("roll back", || machine.restart(service))?;
    steps.run("pay", pay)?;

    let copy = steps.run("back up", || machine.back_up("newest"))?;
    service.stop()?;
    let copy = copy.to_string_lossy().into_owned();
    steps.run("restore", || machine.switchyard(&["journal", "restore", &copy]))?;
    let service = steps.run("serve", || machine.serve())?;
    steps.run("pay", pay)?;
    steps.run("stop", || service.stop())?;

    machine.has_paid(5)?;
    println!("done in {} s", started.elapsed().as_secs());
    let folder = &machine.folder;
    fs::remove_dir_all(folder).map_err(|e| cannot("remove", folder, &e))
}

/// Prints each step with its time.
#[derive(Debug, Default)]
struct Steps(usize);

impl Steps {
    fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        self.0 = self.0.saturating_add(1);
        let started = Instant::now();
        let result = step().map_err(|Failure(why)| Failure(format!("step {}, {name}: {why}", self.0)))?;
        println!(
            "{:>2}  {name:<18} {:>6} ms",
            self.0,
            started.elapsed().as_millis()
        );
        Ok(result)
    }
}

/// The folders of a machine with the facilitator on it.
struct Machine {
    folder: PathBuf,
    port: u16,
    /// Of the dashboard.
    admin: u16,
}

impl Machine {
    fn new(folder: PathBuf, port: u16, admin: u16) -> Result<Machine, Failure> {
        empty(&folder)?;
        for name in ["opt", "etc", "data", "backups"] {
            let folder = folder.join(name);
            fs::create_dir(&folder).map_err(|e| cannot("create", &folder, &e))?;
        }
        Ok(Machine { folder, port, admin })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("etc/switchyard.toml")
    }

    /// The archive as one version.
    fn unpack(&self, packed: &Path, version: &str) -> Result<PathBuf, Failure> {
        let into = self.folder.join("unpacked");
        let unpacked = archive::unpack(packed, &into)?;
        let mut sums = Command::new("sha256sum");
        sums.args(["--check", "--quiet", archive::SUMS])
            .current_dir(&unpacked);
        output_of(sums)?;
        let folder = self.folder.join("opt").join(version);
        fs::rename(&unpacked, &folder).map_err(|e| cannot("move", &unpacked, &e))?;
        Ok(folder)
    }

    /// What `init` of this version writes for the dev chain, and the address of the signer that it makes.
    fn init(&self, version: &Path, chain: &Devnet) -> Result<(PathBuf, String), Failure> {
        let file = self.folder.join("etc/switchyard-first.toml");
        let mut init = Command::new(version.join("bin/switchyard"));
        init.arg("init").arg("--config").arg(&file);
        init.arg("--data").arg(self.folder.join("data"));
        init.args([
            "--network",
            NETWORK,
            "--rpc",
            &format!("{NETWORK}={}", chain.url()),
        ]);
        // Gas of a new anvil chain is more expensive: see the handbook's "Serve the development chain".
        init.args(["--max-cost", &format!("{NETWORK}=1000000000000000")]);
        init.args(["--escrow", "--operator", "ann"]);
        init.args(["--admin", &format!("127.0.0.1:{}", self.admin)]);
        init.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        init.stdin(Stdio::null());
        let printed = output_of(init)?;
        let signer = signer_of(&printed).ok_or_else(|| {
            Failure(format!(
                "init does not print the address of the signer:\n{printed}"
            ))
        })?;
        // Its blocks are irregular: the same page.
        let text = read(&file)?.replace(
            "[networks.\"eip155:84532\"]\n",
            "[networks.\"eip155:84532\"]\noptions = { max_head_age_s = 0 }\n",
        );
        write_file(&file, &text)?;
        Ok((file, signer.to_owned()))
    }

    /// The configuration of another version: the same, with its folder. The digests are equal, because the archive is.
    fn configuration_of(&self, config: &Path, old: &Path, new: &Path) -> Result<PathBuf, Failure> {
        let text = read(config)?.replace(&*old.to_string_lossy(), &new.to_string_lossy());
        let file = self.folder.join("etc/switchyard-second.toml");
        write_file(&file, &text)?;
        Ok(file)
    }

    /// Points both links at a version.
    fn link(&self, version: &Path, config: &Path) -> Result<(), Failure> {
        for (target, link) in [
            (version, self.folder.join("opt/current")),
            (config, self.config()),
        ] {
            let mut ln = Command::new("ln");
            ln.arg("-sfn").arg(target).arg(link);
            output_of(ln)?;
        }
        Ok(())
    }

    fn binary(&self) -> Command {
        let mut command = Command::new(self.folder.join("opt/current/bin/switchyard"));
        // Nothing of this machine's configuration.
        command.env_remove("SWITCHYARD_LOG").env_remove("RUST_LOG");
        command
    }

    fn switchyard(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = self.binary();
        command.args(arguments).arg("--config").arg(self.config());
        output_of(command)
    }

    /// Starts the process, and returns when every network is ready.
    fn serve(&self) -> Result<Service, Failure> {
        let log = self.folder.join("serve.log");
        let open = File::options().create(true).append(true).open(&log);
        let mut command = self.binary();
        let child = command
            .args(["serve", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(open.map_err(|e| cannot("write", &log, &e))?)
            .spawn()
            .map_err(|e| Failure(format!("cannot start the facilitator: {e}")))?;
        let leash = Leash::on(&child)?;
        let service = Service { child, _leash: leash };
        let client = Client::new(&self.url());
        let ready = wait::try_until(START, || {
            client.get("/ready").ok().filter(|reply| reply.status == 200)
        });
        match ready {
            Some(_) => Ok(service),
            None => Err(Failure(format!(
                "the facilitator is not ready; its log: {}",
                log.display()
            ))),
        }
    }

    fn restart(&self, service: Service) -> Result<Service, Failure> {
        service.stop()?;
        self.serve()
    }

    /// A copy while the process runs.
    fn back_up(&self, name: &str) -> Result<PathBuf, Failure> {
        let copy = self.folder.join("backups").join(name);
        self.switchyard(&["journal", "backup", &copy.to_string_lossy()])?;
        Ok(copy)
    }

    /// The journal is whole, and has this many payments that were settled and released.
    fn has_paid(&self, count: usize) -> Result<(), Failure> {
        self.switchyard(&["journal", "verify"])?;
        let export = self.switchyard(&["journal", "export"])?;
        let paid = settled(&export);
        if paid == count {
            Ok(())
        } else {
            Err(Failure(format!(
                "the journal has {paid} settled payments, and not {count}:\n{export}"
            )))
        }
    }
}

/// The address to which `init` has native currency sent.
fn signer_of(printed: &str) -> Option<&str> {
    let line = printed.lines().find(|line| line.starts_with("  send some "))?;
    let (_, rest) = line.split_once(" to ")?;
    rest.split_once(':').map(|(address, _)| address)
}

/// Payments of an export that were settled.
fn settled(export: &str) -> usize {
    export
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["kind"] == "payment" && line["outcome"] == "settled")
        .count()
}

/// A running facilitator; dropped, it is killed.
struct Service {
    child: Child,
    _leash: Leash,
}

impl Service {
    /// As a supervisor does: SIGTERM, and the process has to end by itself.
    fn stop(mut self) -> Result<(), Failure> {
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &self.child.id().to_string()]);
        output_of(kill)?;
        let ended = wait::try_until(STOP, || self.child.try_wait().ok().flatten());
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure(format!("the facilitator ended with {status}"))),
            None => Err(Failure("the facilitator did not end after SIGTERM".to_owned())),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An ended process can be killed again without effect.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signer_is_in_what_init_prints() {
        let printed =
            "Next:\n  send some ETH on Base Sepolia to 0xab: it pays for transactions and for nothing else\n";
        assert_eq!(signer_of(printed), Some("0xab"));
        assert_eq!(signer_of("Next:\n"), None);
    }

    #[test]
    fn only_settled_payments_count() {
        let export = "{\"kind\":\"payment\",\"outcome\":\"settled\"}\n{\"kind\":\"payment\",\"outcome\":\"failed\"}\n\
                      {\"kind\":\"cost\",\"outcome\":\"settled\"}\n";
        assert_eq!(settled(export), 1);
    }
}
