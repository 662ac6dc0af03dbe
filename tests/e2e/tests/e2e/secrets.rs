//! What must never be seen: keys, and the credentials in node URLs.

use std::fs;
use std::path::Path;

use e2e::{Facilitator, Fault, Payment, Proxy, Settings, World};

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

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
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
