//! From nothing to a paid settle with what the program itself writes: `init`, `key`, `check`, `serve`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use devnet::{Devnet, Options};
use e2e::facilitator::free_port;
use e2e::http::Client;
use e2e::{Facilitator, Payment, binaries};

/// Runs the release binary in a folder; standard input is no terminal.
fn run(folder: &Path, words: &[&str]) -> (bool, String, String) {
    let binary = binaries::switchyard().expect("it is built");
    let output: Output = Command::new(binary)
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("it is there").permissions().mode() & 0o777
}

/// The words of an `init` for the development chain.
fn init(url: &str, port: u16, admin: u16) -> Vec<String> {
    let release = binaries::release_dir().expect("a release build");
    [
        "init",
        "--network",
        "base-sepolia",
        "--rpc",
        &format!("base-sepolia={url}"),
        "--max-cost",
        "base-sepolia=10000000000000000",
        "--tenant",
        "shop",
        "--escrow",
        "--operator",
        "ann",
        "--operator",
        "bob=view",
        "--admin",
        &format!("127.0.0.1:{admin}"),
        "--data",
        "journal",
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--plugins",
        &release.display().to_string(),
    ]
    .map(str::to_owned)
    .into()
}

#[test]
fn a_first_configuration_passes_check_and_settles_a_payment() {
    let chain = Devnet::start(Options::default()).expect("a chain");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (port, admin) = (free_port().expect("a port"), free_port().expect("a port"));
    let words = init(chain.url(), port, admin);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (is_done, said, error) = run(folder, &words);
    assert!(is_done, "{error}");
    assert!(said.contains("send some ETH on Base Sepolia to 0x"), "{said}");
    for file in ["keys/eip155.json", "keys/password", "keys/shop.api-key"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
        assert!(said.contains(file), "{said}");
    }
    assert_eq!(mode(&folder.join("keys")), 0o700);
    let text = fs::read_to_string(folder.join("switchyard.toml")).expect("the configuration");
    let password = fs::read_to_string(folder.join("keys/password")).expect("the password");
    let api_key = fs::read_to_string(folder.join("keys/shop.api-key")).expect("the API key");
    for secret in [password.trim(), api_key.trim()] {
        assert!(
            secret.len() == 64 && !text.contains(secret) && !said.contains(secret) && !error.contains(secret)
        );
    }
    // The tokens of operators are in no file.
    let token = |name: &str| -> String {
        let line = format!("token of {name}, printed this once: ");
        let token = said.lines().find_map(|shown| shown.strip_prefix(&line));
        token.expect("a token").to_owned()
    };
    let (ann, bob) = (token("ann"), token("bob"));
    assert!(ann.len() == 64 && ann != bob && !text.contains(&ann) && !text.contains(&bob));
    assert!(
        text.contains("role = \"operate\"") && text.contains("role = \"view\""),
        "{text}"
    );
    // Nothing is overwritten.
    let (is_done, _, again) = run(folder, &words);
    assert!(
        !is_done && again.contains("switchyard.toml exists already"),
        "{again}"
    );

    let (is_done, shown, error) = run(folder, &["key", "address"]);
    assert!(is_done, "{error}");
    let address = shown
        .split_whitespace()
        .find(|word| word.starts_with("0x"))
        .expect("an address");
    assert!(
        said.contains(address) && shown.contains("signs on    eip155:84532"),
        "{shown}"
    );
    chain
        .set_wei(address, 1_000_000_000_000_000_000)
        .expect("money for gas");
    let (is_done, shown, error) = run(folder, &["check", "--ask"]);
    assert!(is_done, "{shown}{error}");
    for part in [
        format!("signer    eip155 {address}"),
        format!("signer {address}  has 1 ETH"),
        "budget    0.01 ETH per transaction".to_owned(),
    ] {
        assert!(shown.contains(&part), "{part} in {shown}");
    }

    let facilitator = Facilitator::of_folder(folder, port).unwrap_or_else(|error| panic!("{error}"));
    let body = Payment::new(&chain.buyers[2], &chain.merchant.address)
        .v2()
        .to_string();
    let client = facilitator.client();
    let refused = client.post("/settle", body.as_bytes(), &[]).expect("an answer");
    assert_eq!(refused.status, 401, "{refused:?}");
    let bearer = format!("Bearer {}", api_key.trim());
    let headers = [("authorization", bearer.as_str())];
    let reply = client
        .post("/settle", body.as_bytes(), &headers)
        .expect("an answer");
    let _ = reply.paid();
    let supported = client
        .send("GET", "/supported", &[], &headers)
        .expect("an answer")
        .json;
    assert!(supported.to_string().contains("\"auth-capture\""), "{supported}");
    assert!(folder.join("journal").is_dir());
    let desk = Client::new(&format!("http://127.0.0.1:{admin}"));
    let pause = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let body = br#"{"reason":"a test"}"#;
        desk.post("/api/pause", body, &headers).expect("an answer").status
    };
    assert_eq!((pause(&bob), pause(&ann)), (403, 200), "bob only reads");
}

#[test]
fn what_init_can_not_do_is_one_sentence_with_what_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let release = binaries::release_dir()
        .expect("a release build")
        .display()
        .to_string();
    let with = |more: &[&'static str]| -> Vec<String> {
        let words = ["init", "--plugins", &release].map(str::to_owned);
        words
            .into_iter()
            .chain(more.iter().map(|word| (*word).to_owned()))
            .collect()
    };
    for (words, why) in [
        (
            with(&[]),
            "name at least one network: --network NAME. Known are base, ",
        ),
        (
            with(&["--network", "bse"]),
            "bse is not a known network; known are base, ",
        ),
        (
            with(&["--network", "eip155:8217"]),
            "eip155:8217 needs a node: --rpc eip155:8217=https://",
        ),
        (
            with(&[
                "--network",
                "eip155:8217",
                "--rpc",
                "eip155:8217=https://node.example",
            ]),
            "--max-cost eip155:8217=AMOUNT",
        ),
        (
            with(&["--network", "base", "--rpc", "polygon=https://node.example"]),
            "add --network polygon",
        ),
        (
            with(&["--network", "base", "--rpc", "base"]),
            "--rpc base: write NAME=VALUE",
        ),
        (
            with(&["--network", "base", "--network", "eip155:8453"]),
            "eip155:8453 is named twice",
        ),
        (
            with(&["--network", "base", "--key", "solana=x"]),
            "no served network is of the family solana",
        ),
        (
            with(&["--network", "base", "--operator", "ann=admin"]),
            "operator ann=admin: write NAME or NAME=ROLE, with the role view, operate or money",
        ),
        (
            with(&["--network", "solana-devnet", "--escrow"]),
            "--escrow: no named network can have escrow; leave it out, or add an EVM network",
        ),
        (
            with(&["--network", "base", "--password-file", "none"]),
            "none can't be read",
        ),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (is_done, _, error) = run(folder, &words);
        assert!(!is_done && error.contains(why), "{words:?}: {error}");
        assert!(!folder.join("switchyard.toml").exists(), "{words:?}");
        let _ = fs::remove_dir_all(folder.join("keys"));
    }
    for (plugins, why) in [
        ("none", "none can't be read"),
        (".", "copy libswitchyard_evm.so there"),
    ] {
        let (is_done, _, error) = run(folder, &["init", "--network", "base", "--plugins", plugins]);
        assert!(!is_done && error.contains(why), "{plugins}: {error}");
    }
}

#[test]
fn a_key_is_made_and_imported_and_opens_with_its_password_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let private = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
    };
    private("password", "correct horse\n");
    private("other", "another horse\n");
    // The private key 1, whose address is known everywhere.
    private("one.key", &format!("{:064x}", 1));
    let (is_done, said, error) = run(
        folder,
        &[
            "key",
            "import",
            "one.json",
            "--from",
            "one.key",
            "--password-file",
            "password",
        ],
    );
    assert!(is_done, "{error}");
    assert!(
        said.contains("0x7e5f4552091a69125d5dfcb7b8c2659029395bdf (eip155:*)"),
        "{said}"
    );
    assert!(said.contains("[keys.one]\nkeystore = \"one.json\""), "{said}");
    assert_eq!(mode(&folder.join("one.json")), 0o600);
    // The keystore into another one, with another password.
    let again = [
        "key",
        "import",
        "two.json",
        "--from",
        "one.json",
        "--password-file",
        "other",
    ];
    let (is_done, _, error) = run(folder, &again);
    assert!(
        !is_done && error.contains("can't be opened with this password"),
        "{error}"
    );
    let (is_done, said, error) = run(
        folder,
        &[&again[..], &["--from-password-file", "password"]].concat(),
    );
    assert!(is_done, "{error}");
    assert!(
        said.contains("0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"),
        "{said}"
    );

    let (is_done, said, error) = run(
        folder,
        &[
            "key",
            "new",
            "sol.json",
            "--suite",
            "ed25519",
            "--password-file",
            "password",
        ],
    );
    assert!(is_done, "{error}");
    assert!(
        said.contains("(solana:*)") && said.contains("suite = \"ed25519\""),
        "{said}"
    );
    let (is_done, _, error) = run(folder, &["key", "new", "sol.json", "--password-file", "password"]);
    assert!(!is_done && error.contains("sol.json exists already"), "{error}");
    let (is_done, _, error) = run(folder, &["key", "new", "third.json"]);
    assert!(
        !is_done && error.contains("write --password-file FILE"),
        "{error}"
    );
    fs::set_permissions(folder.join("password"), fs::Permissions::from_mode(0o644)).expect("its mode");
    let (is_done, _, error) = run(
        folder,
        &["key", "new", "third.json", "--password-file", "password"],
    );
    assert!(!is_done && error.contains("chmod 600"), "{error}");
    assert!(!folder.join("third.json").exists());
}

#[test]
fn version_completions_and_manual_pages_are_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (is_done, said, _) = run(folder, &["version"]);
    assert!(is_done && said.contains("plugin ABI  1."), "{said}");
    for shell in ["bash", "zsh", "fish"] {
        let (is_done, said, _) = run(folder, &["completions", shell]);
        assert!(
            is_done && said.contains("reconcile") && said.contains("init"),
            "{shell}"
        );
    }
    let (is_done, _, error) = run(folder, &["man", "--out", "."]);
    assert!(is_done, "{error}");
    let page = fs::read_to_string(folder.join("switchyard-init.1")).expect("a page");
    assert!(page.contains("\\-\\-network"), "{page}");
}
