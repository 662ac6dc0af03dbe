//! What must never be seen: keys, and the credentials in node URLs.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use e2e::fatal::{self, Fatal};
use e2e::{Facilitator, Fault, Payment, Proxy, Settings, World};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Every byte the process wrote: its log, and each file of its data folder.
fn traces(facilitator: &Facilitator) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("the log".to_owned(), facilitator.log().into_bytes())];
    collect(&facilitator.data_folder(), &mut files);
    files
}

fn collect(folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder)
        .expect("the data folder")
        .map(|entry| entry.expect("an entry").path())
    {
        if entry.is_dir() {
            collect(&entry, files);
        } else if let Ok(bytes) = fs::read(&entry) {
            files.push((entry.display().to_string(), bytes));
        }
    }
}

pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn t105_no_private_key_is_written_anywhere() {
    let chain = devnet::Devnet::start(devnet::Options::default()).expect("the chain starts");
    // A key that no pattern of other bytes resembles.
    let signer = chain.facilitators[1].clone();
    let settings = Settings {
        more: "[log]\nlevel = \"trace\"".to_owned(),
        ..Settings::new(chain.url(), std::slice::from_ref(&signer))
    };
    let facilitator = Facilitator::start(&settings).expect("starts");
    let _ = facilitator
        .settle(&Payment::new(&chain.buyers[2], &chain.merchant.address).v2())
        .paid();
    let hex = signer.key.trim_start_matches("0x").to_lowercase();
    let bytes = hex::decode(&hex).expect("hex");
    let files = traces(&facilitator);
    assert!(files.len() > 1, "there is a journal to search");
    for (name, content) in files {
        for needle in [hex.as_bytes(), hex.to_uppercase().as_bytes(), &bytes] {
            assert!(
                !contains(&content, needle),
                "{name} holds the signer's private key"
            );
        }
    }
}

#[test]
fn t16_credentials_of_a_node_are_in_no_reply_log_or_file() {
    const SECRET: &str = "sk-hidden";
    let world = World::start();
    let proxy = Proxy::start(world.chain.url()).expect("starts");
    let address = proxy.url().trim_start_matches("http://").to_owned();
    let settings = Settings::new(
        &format!("http://{SECRET}-user:{SECRET}-word@{address}/v2/{SECRET}-path?apikey={SECRET}-query"),
        &world.chain.facilitators[1..2],
    );
    let facilitator = Facilitator::start(&settings).expect("starts");
    let body = world.payment(2).v2();
    let mut replies = Vec::new();
    // The node's own error body names a secret, too.
    for fault in [
        Fault::Status(500),
        Fault::Refuse,
        Fault::Status(401),
        Fault::Status(429),
    ] {
        proxy.on("*", fault);
        replies.extend([
            facilitator.verify(&body),
            facilitator.settle(&body),
            facilitator.get("/ready"),
        ]);
    }
    proxy.heal();
    facilitator.wait_ready().expect("recovers");
    replies.extend([
        facilitator.settle(&body),
        facilitator.get("/metrics"),
        facilitator.get("/supported"),
    ]);
    for reply in &replies {
        assert!(
            !reply.text.contains(SECRET) && !reply.text.contains(&address),
            "{reply:?}"
        );
    }
    for (name, content) in traces(&facilitator) {
        assert!(
            !contains(&content, SECRET.as_bytes()),
            "{name} holds a node's credentials"
        );
    }
}

/// A secret and its usual spellings.
pub(crate) fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let texts = [
        hex::encode(secret),
        hex::encode_upper(secret),
        STANDARD.encode(secret).trim_end_matches('=').to_owned(),
        URL_SAFE_NO_PAD.encode(secret),
        bs58::encode(secret).into_string(),
    ];
    let texts = texts.into_iter().map(String::into_bytes);
    std::iter::once(secret.to_vec()).chain(texts).collect()
}

/// The spellings of the private keys that a chain's signers have.
pub(crate) fn keys(accounts: &[devnet::Account]) -> Vec<Vec<u8>> {
    let keys = accounts
        .iter()
        .map(|account| account.key.trim_start_matches("0x"));
    keys.flat_map(|key| spellings(&hex::decode(key).expect("hex")))
        .collect()
}

#[track_caller]
pub(crate) fn assert_without(name: &str, content: &[u8], secrets: &[Vec<u8>]) {
    for secret in secrets {
        assert!(
            !contains(content, secret),
            "{name} holds {}",
            String::from_utf8_lossy(secret)
        );
    }
}

/// A line of `/proc/PID/limits`: its soft and its hard limit.
fn core_limits(process: u32) -> (String, String) {
    let text = fs::read_to_string(format!("/proc/{process}/limits")).expect("readable");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let mut words = line.expect("a limit").split_whitespace().map(str::to_owned);
    (words.next().expect("soft"), words.next().expect("hard"))
}

/// Processes that this test starts may write core files, as far as the system lets them.
fn allow_core_files() -> Rlimit {
    let raised = Rlimit {
        current: getrlimit(Resource::Core).maximum,
        ..getrlimit(Resource::Core)
    };
    setrlimit(Resource::Core, raised).expect("the hard limit is allowed");
    raised
}

#[test]
fn t105_a_process_that_ends_by_a_signal_leaves_no_core_file() {
    let limit = allow_core_files();
    let chain = devnet::Devnet::start(devnet::Options::default()).expect("the chain starts");
    let mut settings = Settings::new(chain.url(), &chain.facilitators[1..2]);
    for signal in ["ABRT", "QUIT"] {
        let mut facilitator = Facilitator::start(&settings).expect("starts");
        let process = facilitator.process_id().expect("it runs");
        let (soft, hard) = core_limits(process);
        assert!(soft == hard && (soft == "1" || soft == "0"), "{soft} {hard}");
        let sent = Command::new("kill")
            .args([format!("-{signal}"), process.to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        let status = facilitator.wait_exit();
        assert!(!status.core_dumped(), "{signal}: {status:?}");
    }
    // An operator who wants one for a defect gets it.
    settings.environment = vec![("SWITCHYARD_CORE_FILES".to_owned(), "allow".to_owned())];
    let facilitator = Facilitator::start(&settings).expect("starts");
    let (_, hard) = core_limits(facilitator.process_id().expect("it runs"));
    let expected = limit
        .maximum
        .map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    assert_eq!(hard, expected);
}

/// A plugin in this process fails beside the keys: what is recorded of it, for operators and for the next start, has none.
#[test]
fn t105_a_plugin_that_ends_the_process_leaves_no_key() {
    let fatal = Fatal::build(&[]);
    for how in ["abort", "segv"] {
        let mut world = World::builder().more(&fatal.section("verify", how)).start();
        let secrets = keys(&world.chain.facilitators);
        let body = fatal::payment(&world, "one");
        let sent = world
            .facilitator
            .client()
            .post("/verify", body.to_string().as_bytes(), &[]);
        assert!(sent.is_err(), "{sent:?}");
        let status = world.facilitator.wait_exit();
        assert!(!status.success() && !status.core_dumped(), "{status:?}");
        world.facilitator.restart();
        let (good, quarantine) = world.facilitator.command(&["plugin", "quarantine"]);
        assert!(good, "{quarantine}");
        let mut files = traces(&world.facilitator);
        files.push(("the quarantine".to_owned(), quarantine.into_bytes()));
        files.push((
            "/metrics".to_owned(),
            world.facilitator.get("/metrics").text.into_bytes(),
        ));
        for (name, content) in files {
            assert_without(&name, &content, &secrets);
        }
    }
}

/// Processes whose parent is this one.
fn children(process: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("readable");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        parent.is_some_and(|parent| parent.trim() == process.to_string())
    };
    ids.filter(is_child).collect()
}

/// Everything that a process can read in its memory.
fn memory(process: u32) -> Vec<(String, Vec<u8>)> {
    const MOST: u64 = 256 << 20;
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the test runs as root");
    let mut file = File::open(format!("/proc/{process}/mem")).expect("the test runs as root");
    let mut parts = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let bounds = range
            .split_once('-')
            .map(|(from, to)| (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)));
        let Some((Ok(from), Ok(to))) = bounds else {
            continue;
        };
        if !rights.starts_with('r') || to - from > MOST {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).expect("fits")];
        // Parts such as [vvar] can't be read.
        if file.seek(SeekFrom::Start(from)).is_ok() && file.read_exact(&mut bytes).is_ok() {
            parts.push((line.to_owned(), bytes));
        }
    }
    parts
}

#[test]
fn t105_the_process_of_an_isolated_plugin_never_has_a_key() {
    let chain = devnet::Devnet::start(devnet::Options::default()).expect("the chain starts");
    let settings = Settings {
        isolated: true,
        ..Settings::new(chain.url(), &chain.facilitators[1..2])
    };
    let facilitator = Facilitator::start(&settings).expect("starts");
    let _ = facilitator
        .settle(&Payment::new(&chain.buyers[2], &chain.merchant.address).v2())
        .paid();
    let secrets = keys(&chain.facilitators[1..2]);
    let plugins = children(facilitator.process_id().expect("it runs"));
    assert!(!plugins.is_empty(), "a plugin is isolated");
    for plugin in plugins {
        let environment = fs::read(format!("/proc/{plugin}/environ")).expect("the test runs as root");
        assert_without("its environment", &environment, &secrets);
        let parts = memory(plugin);
        let bytes: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes > 1 << 20, "its memory is read");
        for (name, bytes) in parts {
            assert_without(&name, &bytes, &secrets);
        }
    }
}
