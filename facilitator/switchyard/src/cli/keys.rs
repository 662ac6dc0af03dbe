//! `switchyard key`: makes, encrypts and shows the keys that sign transactions, and hashes API keys.
//!
//! A secret is never printed and never a word of the command line, where other users see it. What is written is readable by its
//! owner only, and nothing that exists is overwritten.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use host::custody::keystore::{self, Randomness};
use host::custody::{Custody, Environment, KeySource, KeySpec, Password, ProcessEnvironment};
use sdk_plugin::chain::KeyInfo;
use sdk_plugin::host::Suite;
use zeroize::Zeroizing;

use super::{CliError, ConfigFile, key_hash};
use crate::app::load_keys;
use crate::config::Config;
use crate::known::Known;

/// Fewest characters of a password that is typed.
const SHORTEST: usize = 8;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and write it into an encrypted keystore.
    #[command(after_help = "\
Examples:
  switchyard key new keys/hot.json                                # for EVM networks; the password is typed
  switchyard key new keys/sol.json --suite ed25519 --password-file keys/password

Prints the address and the lines for the configuration. The keystore is JSON of version 3, as Ethereum wallets read it.")]
    New(NewKey),
    /// Write a key that there is into an encrypted keystore.
    #[command(after_help = "\
Examples:
  switchyard key import keys/hot.json --from wallet-export.json   # an encrypted keystore, with its password
  switchyard key import keys/sol.json --suite ed25519 --from ~/.config/solana/id.json --password-file keys/password
  pass show hot-key | switchyard key import keys/hot.json --password-file keys/password")]
    Import(ImportKey),
    /// Show the addresses of all keys of a configuration, and which networks they sign on.
    #[command(after_help = "\
Example:
  switchyard key address --config switchyard.toml")]
    Address(ConfigFile),
    /// Read a tenant's API key from standard input and print the key_sha256 line for `[[tenants]]`.
    #[command(after_help = "\
Example: make a key, keep it for the tenant, and write its hash into the configuration:
  openssl rand -hex 32 | tee shop.key | switchyard key hash")]
    Hash,
}

pub(super) fn run(command: &KeyCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        KeyCommand::New(command) => new(command, out),
        KeyCommand::Import(command) => import(command, out),
        KeyCommand::Address(file) => addresses(&file.config, out),
        KeyCommand::Hash => key_hash::hash(io::stdin().lock(), out),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SuiteName {
    /// EVM networks
    Secp256k1,
    /// Solana
    Ed25519,
}

impl From<SuiteName> for Suite {
    fn from(name: SuiteName) -> Self {
        match name {
            SuiteName::Secp256k1 => Self::Secp256k1,
            SuiteName::Ed25519 => Self::Ed25519,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct NewKey {
    /// The keystore to write. It must not exist yet.
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// Which networks the key is for.
    #[arg(long, value_enum, default_value = "secp256k1")]
    suite: SuiteName,
    #[command(flatten)]
    password: PasswordFrom,
}

#[derive(Debug, Args)]
pub(super) struct ImportKey {
    /// The keystore to write. It must not exist yet.
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// The file with the key that there is: hex, base58, a JSON array of 64 numbers, or an encrypted keystore. Without it the key
    /// is read from standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The file with the password of that keystore, where it has another one.
    #[arg(long, value_name = "FILE", requires = "from")]
    from_password_file: Option<PathBuf>,
    /// Which networks the key is for.
    #[arg(long, value_enum, default_value = "secp256k1")]
    suite: SuiteName,
    #[command(flatten)]
    password: PasswordFrom,
}

/// Where the password of a keystore is. Without either it is typed.
#[derive(Debug, Args)]
pub(super) struct PasswordFrom {
    /// The file with the password, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

fn new(command: &NewKey, out: &mut dyn Write) -> Result<(), CliError> {
    let suite = command.suite.into();
    let password = command.password.read("the new keystore")?;
    let secret = new_secret(suite)?;
    write_keystore(&command.to, &secret, &password)?;
    report(&command.to, suite, &command.password, &password, out)
}

fn import(command: &ImportKey, out: &mut dyn Write) -> Result<(), CliError> {
    let suite = command.suite.into();
    let password = command.password.read("the new keystore")?;
    let secret = imported(command, suite, &password)?;
    write_keystore(&command.to, &secret, &password)?;
    report(&command.to, suite, &command.password, &password, out)
}

/// Every key of a configuration, with its addresses and the networks that use it.
fn addresses(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let config = Config::load(file).map_err(CliError::new)?;
    let custody = on_a_thread(load_keys(&config))?.map_err(CliError::new)?;
    let known = Known::load().map_err(CliError)?;
    for name in config.keys.keys() {
        let Some(info) = custody.public_key(name) else {
            continue;
        };
        let networks = config.networks.values().filter(|network| {
            let mut signers = network.signers.iter().chain(&network.retained_signers);
            signers.any(|signer| signer == name)
        });
        let networks: Vec<&str> = networks.map(|network| network.id.as_str()).collect();
        print_key(name, info, &known, out)?;
        match networks.as_slice() {
            [] => writeln!(out, "  signs on    no network")?,
            _ => writeln!(out, "  signs on    {}", networks.join(", "))?,
        }
    }
    Ok(())
}

/// Runs what needs the network, for a command that has no runtime.
pub(super) fn on_a_thread<T>(work: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError(format!("no event loop can be started: {error}")))?;
    Ok(runtime.block_on(work))
}

fn print_key(name: &str, info: &KeyInfo, known: &Known, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{name}")?;
    for (family, address) in known.addresses(info) {
        writeln!(out, "  address     {address} ({family}:*)")?;
    }
    writeln!(out, "  public key  {}", hex::encode(info.public_key.as_ref()))
}

/// The configuration lines of a new keystore, and its addresses.
fn report(
    to: &Path,
    suite: Suite,
    from: &PasswordFrom,
    password: &[u8],
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let info = public_key(to, suite, password)?;
    let known = Known::load().map_err(CliError)?;
    print_key(&to.display().to_string(), &info, &known, out)?;
    let suite = match suite {
        Suite::Secp256k1 => "",
        Suite::Ed25519 => "suite = \"ed25519\"\n",
    };
    let password = match &from.password_file {
        Some(file) => format!("password_file = {:?}", file.display().to_string()),
        None => "password_file = \"…\"          # a file that only its owner may read".to_owned(),
    };
    let name = to
        .file_stem()
        .map_or_else(|| "hot".into(), |stem| stem.to_string_lossy());
    writeln!(
        out,
        "\n[keys.{name}]\nkeystore = {:?}\n{password}\n{suite}",
        to.display().to_string()
    )?;
    Ok(())
}

/// The public half of a keystore.
pub(super) fn public_key(keystore: &Path, suite: Suite, password: &[u8]) -> Result<KeyInfo, CliError> {
    let text = String::from_utf8_lossy(password).into_owned();
    let environment = Typed(HashMap::from([("password".to_owned(), Zeroizing::new(text))]));
    let source = KeySource::Keystore(keystore.to_owned(), Password::Env("password".to_owned()));
    let custody = Custody::load(
        &[KeySpec {
            name: "new".to_owned(),
            suite,
            source,
            max_signatures_per_minute: None,
        }],
        &environment,
    );
    let custody = custody.map_err(CliError::new)?;
    custody
        .public_key("new")
        .cloned()
        .ok_or_else(|| CliError("the keystore was not read".to_owned()))
}

/// What was typed, in the form in which custody reads its sources.
struct Typed(HashMap<String, Zeroizing<String>>);

impl Environment for Typed {
    fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(name).map(|text| OsString::from(text.as_str()))
    }
}

/// A private key from the system's randomness.
pub(super) fn new_secret(suite: Suite) -> Result<Zeroizing<[u8; 32]>, CliError> {
    loop {
        let mut secret = Zeroizing::new([0; 32]);
        fill(secret.as_mut_slice())?;
        // One of 2^128 numbers is no key of secp256k1.
        if host::custody::is_secret(&secret, suite) {
            return Ok(secret);
        }
    }
}

pub(super) fn fill(bytes: &mut [u8]) -> Result<(), CliError> {
    getrandom::fill(bytes).map_err(|error| CliError(format!("the system has no randomness: {error}")))
}

/// Encrypts a secret into a new file.
pub(super) fn write_keystore(to: &Path, secret: &[u8; 32], password: &[u8]) -> Result<(), CliError> {
    let mut randomness = Randomness {
        salt: [0; 32],
        iv: [0; 16],
        id: [0; 16],
    };
    fill(&mut randomness.salt)?;
    fill(&mut randomness.iv)?;
    fill(&mut randomness.id)?;
    let json = keystore::seal(secret, password, &randomness)
        .map_err(|why| CliError(format!("keystore {} {why}", to.display())))?;
    write_private(to, json.as_bytes())
}

/// Writes a new file that only its owner may read.
pub(super) fn write_private(to: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => CliError(format!(
            "{} exists already; nothing is overwritten: write another name, or move that file away",
            to.display()
        )),
        _ => CliError(format!("{} can't be written: {error}", to.display())),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(cannot)?;
    file.write_all(bytes)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(cannot)
}

/// The secret that there is.
fn imported(command: &ImportKey, suite: Suite, password: &[u8]) -> Result<Zeroizing<[u8; 32]>, CliError> {
    let (source, environment): (_, Box<dyn Environment>) = match &command.from {
        None => {
            if io::stdin().is_terminal() {
                eprintln!("Paste the key and press Enter (it is shown):");
            }
            let mut text = Zeroizing::new(String::new());
            io::stdin()
                .lock()
                .take(4_096)
                .read_to_string(&mut text)
                .map_err(|error| CliError(format!("the key can't be read: {error}")))?;
            let typed = Typed(HashMap::from([("standard input".to_owned(), text)]));
            (KeySource::Env("standard input".to_owned()), Box::new(typed))
        }
        Some(from) if is_keystore(from) => match &command.from_password_file {
            Some(file) => (
                KeySource::Keystore(from.clone(), Password::File(file.clone())),
                Box::new(ProcessEnvironment),
            ),
            None => {
                let text = Zeroizing::new(String::from_utf8_lossy(password).into_owned());
                let typed = Typed(HashMap::from([("password".to_owned(), text)]));
                (
                    KeySource::Keystore(from.clone(), Password::Env("password".to_owned())),
                    Box::new(typed),
                )
            }
        },
        Some(from) => (KeySource::File(from.clone()), Box::new(ProcessEnvironment)),
    };
    host::custody::secret(&source, suite, &*environment).map_err(CliError)
}

/// Whether a file has a JSON object.
fn is_keystore(file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.trim_start().starts_with('{'))
}

impl PasswordFrom {
    fn read(&self, what: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
        match &self.password_file {
            Some(file) => {
                let password = Password::File(file.clone());
                host::custody::password(&password, &ProcessEnvironment).map_err(CliError)
            }
            None => typed_password(what),
        }
    }
}

/// A password that is typed on the terminal and not shown.
fn typed_password(what: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError(format!(
            "the password of {what} can't be typed here; write --password-file FILE (mode 0600)"
        )));
    }
    let typed = |prompt: String| {
        rpassword::prompt_password(prompt)
            .map(|text| Zeroizing::new(text.into_bytes()))
            .map_err(|error| CliError(format!("the password can't be read: {error}")))
    };
    let password = typed(format!("Password of {what}: "))?;
    if password.len() < SHORTEST {
        return Err(CliError(format!(
            "the password is too short; write at least {SHORTEST} characters"
        )));
    }
    if *typed("The same again: ".to_owned())? != *password {
        return Err(CliError(
            "the two passwords differ; nothing was written".to_owned(),
        ));
    }
    Ok(password)
}
