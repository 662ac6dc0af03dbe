use admin_api::{Listen, Role};
use std::collections::BTreeSet;

use host::custody::Password;
use host::custody::remote::Endpoint;
use http_api::{Scope, WaitUntil};

use super::*;

const SMALL: &str = r#"
[keys.hot]
env = "SWITCHYARD_KEY"
[networks."eip155:8453"]
rpc = ["https://${RPC_HOST}/v2/KEY"]
signers = ["hot"]
max_cost = "1000000000000000"
[plugin.evm]
file = "libswitchyard_evm.so"
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "RPC_HOST" => Some("node.example".to_owned()),
        "WAIT" => Some("4".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse("c.toml", Path::new("/etc/switchyard"), text, &environment)
}

fn errors(text: &str) -> Vec<String> {
    parse(text)
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn ten_lines_are_enough_and_all_other_keys_have_defaults() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:4020");
    assert_eq!(config.server.settle_wait, Duration::from_secs(25));
    assert_eq!(
        config.data_directory,
        Path::new("/etc/switchyard/switchyard-data")
    );
    let network = &config.networks["eip155:8453"];
    assert_eq!(network.rpc[0].host(), "node.example");
    assert_eq!(
        (
            network.confirmations,
            network.finality,
            network.max_in_flight,
            network.max_batch
        ),
        (1, 64, None, 32)
    );
    assert_eq!(network.v1_name.as_deref(), Some("base"));
    assert_eq!(network.assets, Assets::KnownAnd(vec![]));
    let plugin = &config.plugin["evm"];
    assert_eq!(
        plugin.file,
        Path::new("/etc/switchyard/plugins/libswitchyard_evm.so")
    );
    assert_eq!(
        (plugin.sha256, &plugin.config),
        (Some([0xaa; 32]), &serde_json::json!({}))
    );
    assert_eq!(
        config.keys["hot"],
        Key {
            source: KeySource::Env("SWITCHYARD_KEY".into()),
            suite: Suite::Secp256k1,
            max_signatures_per_minute: None,
        }
    );
    assert!(
        !format!("{config:?}").contains("/v2/"),
        "no part of a URL's path in Debug"
    );
}

#[test]
fn finality_of_one_block_needs_single_block_finality() {
    let with =
        |lines: &str| parse(&SMALL.replace("signers = [\"hot\"]", &format!("signers = [\"hot\"]\n{lines}")));
    let message = |lines: &str| with(lines).unwrap_err().to_string();
    let refused = message("finality = 1");
    assert!(
        refused.contains("networks.\"eip155:8453\".finality: is 1:")
            && refused.contains("write the depth at which")
            && refused.contains("single_block_finality = true"),
        "{refused}"
    );
    assert!(message("finality = 1\nsingle_block_finality = false").contains("finality: is 1:"));
    let config = with("finality = 1\nsingle_block_finality = true").unwrap();
    assert_eq!(config.networks["eip155:8453"].finality, 1);
    let useless = message("finality = 2\nsingle_block_finality = true");
    assert!(
        useless.contains("single_block_finality: has no effect beside finality = 2; take it out"),
        "{useless}"
    );
    assert!(with("finality = 2").is_ok());
}

#[test]
fn a_tenant_waits_for_finality_only_where_it_comes_within_the_longest_wait() {
    let hash = "a".repeat(64);
    let with = |lines: &str, level: &str| {
        let text = SMALL.replace("signers = [\"hot\"]", &format!("signers = [\"hot\"]\n{lines}"));
        parse(&format!(
            "{text}[[tenants]]\nname = \"shop\"\nkey_sha256 = \"{hash}\"\nwait_until = {level:?}\n"
        ))
    };
    let message = |lines: &str| with(lines, "final").unwrap_err().to_string();
    let unknown = message("finality = 12");
    assert!(
        unknown.contains("tenants[0].wait_until: is \"final\"")
            && unknown.contains("write block_time_ms in [networks.\"eip155:8453\"]"),
        "{unknown}"
    );
    for too_long in [
        "finality = 43\nblock_time_ms = 2000",
        "finality = 100000\nblock_time_ms = 3600000",
        "block_time_ms = 2000",
    ] {
        let why = message(too_long);
        assert!(
            why.contains("tenants[0].wait_until: is \"final\"") && why.contains("the longest wait of 85 s"),
            "{why}"
        );
        assert!(with(too_long, "confirmed").is_ok() && with(too_long, "submitted").is_ok());
    }
    let config = with("finality = 42\nblock_time_ms = 2000", "final").unwrap();
    assert_eq!(config.tenants[0].access.wait_until, WaitUntil::Final);
    let unknown = with("", "finalized").unwrap_err().to_string();
    assert!(
        unknown.contains("write \"submitted\", \"confirmed\" or \"final\""),
        "{unknown}"
    );
}

#[test]
fn every_key_can_be_written() {
    let second = "rpc = [\"https://second.example\", \"https";
    let text = SMALL.replace("rpc = [\"https", second).replace(
        "signers = [\"hot\"]",
        r#"signers = ["hot"]
retained_signers = ["old"]
confirmations = 2
finality = 12
single_block_finality = false
block_time_ms = 2000
poll_interval_ms = 250
stuck_after_seconds = 12
max_cost_per_day = "5000000000000000"
max_cost_per_day_per_signer = "3000000000000000"
second_source_above = { "0x036CbD53842c5426634e7929541eC2318f3dCF7e" = "1000000000" }
max_in_flight = 4
max_batch = 8
lane_queue = 8
assets = ["0x036CbD53842c5426634e7929541eC2318f3dCF7e"]
allow_any_asset = false
rpc_timeout_ms = 1_000
v1_name = "base-mainnet"
options = { legacy_fees = true, tip = 0.5, list = [1, "${SECRET}"] }"#,
    ) + r#"networks = ["eip155:8453"]
libraries = ["libfoo.so.1"]
isolation = "process"
sandbox = "partial"
max_memory_mib = 100
authorizers = { old = ["0x0101010101010101010101010101010101010101010101010101010101010101"] }
config = { gas = 1 }
[networks."ledger:shop"]
chain = false
allow_any_asset = true
[keys.old]
file = "old.key"
suite = "ed25519"
[keys.vault]
keystore = "vault.json"
password_file = "/run/credentials/vault"
[keys.vault2]
keystore = "vault2.json"
password_env = "VAULT2"
[keys.far]
remote = "https://signer.example:8443/"
signer_key = "payments-1"
public_key = "0x0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
timeout_ms = 700
client_certificate = "switchyard.pem"
client_key = "/run/credentials/switchyard.key"
ca = "signers.pem"
max_signatures_per_minute = 600
[keys.near]
remote = "unix:/run/signer/signer.sock"
suite = "ed25519"
[server]
listen = "[::1]:0"
base_path = "/x402/"
settle_wait_seconds = "${WAIT}"
verify_wait_seconds = 3
body_limit_bytes = 2048
body_read_seconds = 5
max_concurrent_requests = 10
max_connections = 20
drain_seconds = 0
legacy0 = "${NONE:-false}"
cors_origins = ["https://shop.example", "http://127.0.0.1:3000"]
cors_payments = true
trusted_proxies = ["10.0.0.0/8", "::1"]
[server.tls]
certificate = "chain.pem"
key = "/run/credentials/key.pem"
client_ca = "ca.pem"
[data]
directory = "/var/lib/switchyard"
[journal]
postgres = "postgres://switchyard:${SECRET}@db.example/journal"
root_certificate = "root.pem"
node = "a.1"
pool_size = 12
statement_limit_seconds = 3
keep_payload_days = 1
keep_event_days = 2
keep_detail_days = 3
keep_settlement_days = 30
[plugins]
directory = "p"
dev = true
strict = true
trusted_keys = ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]
[limits]
address_requests_per_minute = 0
address_burst = 1
tenant_requests_per_minute = 60
tenant_burst = 7
[log]
format = "json"
level = "debug,hyper=warn"
[telemetry]
otlp_endpoint = "https://collector.example:4318"
otlp_headers = "api-key=${SECRET}"
# otlp_headers_file = "headers" can't stand beside it.
service_name = "pay"
traces_per_million = 10_000
metrics_interval_seconds = 15
traceparent_to_nodes = true
[[tenants]]
name = "shop"
key_sha256 = ["bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]
scopes = ["verify"]
requests_per_minute = 5
settle_wait_seconds = 85
reserve_at_verify = true
reservation_seconds = 30
wait_until = "final"
burst = 3
[[tenants]]
name = "other"
key_sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
[[tenants]]
name = "many"
key_sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
wait_until = "submitted"
gather_ms = 400
[admin]
listen = "0.0.0.0:8443"
hosts = ["admin.example:8443"]
[admin.tls]
certificate = "admin.pem"
key = "admin-key.pem"
client_ca = "operators.pem"
[[operators]]
name = "ann"
token_sha256 = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
role = "money"
"#;
    for key in keys::KEYS {
        assert!(
            text.contains(&format!("{} =", key.name)),
            "{} is not in the test",
            key.name
        );
    }
    let config = parse(&text).unwrap();
    assert_eq!(config.server.settle_wait, Duration::from_secs(4));
    let tls = config.server.tls.as_ref().unwrap();
    assert_eq!(tls.certificate, Path::new("/etc/switchyard/chain.pem"));
    assert_eq!(tls.key, Path::new("/run/credentials/key.pem"));
    assert_eq!(tls.client_ca, Some("/etc/switchyard/ca.pem".into()));
    let database = config.postgres.as_ref().unwrap();
    assert_eq!(database.url, "postgres://switchyard:hunter2@db.example/journal");
    assert_eq!(database.root_certificate, Some("/etc/switchyard/root.pem".into()));
    assert_eq!(database.node, "a.1");
    assert_eq!((database.pool_size, database.statement_limit.as_secs()), (12, 3));
    assert!(!format!("{config:?}").contains("hunter2@"));
    let sent = &config.telemetry;
    assert_eq!(
        (sent.sampled_per_million, sent.metrics_interval.as_secs()),
        (10_000, 15)
    );
    assert!(sent.traceparent_to_nodes && sent.service_name.as_deref() == Some("pay"));
    assert!(!format!("{sent:?}").contains("hunter2"), "{sent:?}");
    assert_eq!(
        (config.server.base_path.as_str(), config.server.legacy0),
        ("/x402", false)
    );
    assert!(config.server.trusted_proxies[0].contains("10.9.8.7".parse().unwrap()));
    assert!(!config.server.trusted_proxies[0].contains("11.0.0.1".parse().unwrap()));
    assert!(config.server.trusted_proxies[1].contains("::1".parse().unwrap()));
    let admin = config.admin.as_ref().unwrap();
    assert_eq!(admin.listen, Listen::Tcp("0.0.0.0:8443".parse().unwrap()));
    let client_ca = admin.tls.as_ref().and_then(|tls| tls.client_ca.clone());
    assert_eq!(client_ca, Some("/etc/switchyard/operators.pem".into()));
    assert_eq!(admin.hosts, ["admin.example:8443"]);
    assert_eq!(
        (admin.tokens[0].name.as_str(), admin.tokens[0].role),
        ("ann", Role::Money)
    );
    let ledger = &config.networks["ledger:shop"];
    assert!(!ledger.has_chain && ledger.rpc.is_empty() && ledger.signers.is_empty());
    assert_eq!(ledger.assets, Assets::Any);
    let granted = &config.plugin["evm"].authorizers["old"];
    assert_eq!(granted, &[sdk_plugin::HexBytes(vec![1; 32])]);
    let network = &config.networks["eip155:8453"];
    assert_eq!(
        network.options,
        serde_json::json!({"legacy_fees": true, "tip": 0.5, "list": [1, "hunter2"]})
    );
    assert_eq!(
        (config.names.caip2("base"), config.names.caip2("base-mainnet")),
        (None, Some("eip155:8453"))
    );
    assert_eq!(
        config.keys["old"].source,
        KeySource::File("/etc/switchyard/old.key".into())
    );
    assert_eq!(
        config.keys["vault"].source,
        KeySource::Keystore(
            "/etc/switchyard/vault.json".into(),
            Password::File("/run/credentials/vault".into())
        )
    );
    assert_eq!(
        config.keys["vault2"].source,
        KeySource::Keystore(
            "/etc/switchyard/vault2.json".into(),
            Password::Env("VAULT2".into())
        )
    );
    let KeySource::Remote(far) = &config.keys["far"].source else {
        panic!("a remote key");
    };
    assert_eq!(
        (far.signer_key.as_str(), far.timeout.as_millis()),
        ("payments-1", 700)
    );
    assert_eq!(far.public_key.as_ref().map(|key| key.len()), Some(65));
    let Endpoint::Https { origin, files } = &far.endpoint else {
        panic!("TLS");
    };
    assert_eq!(origin, "https://signer.example:8443");
    assert_eq!(
        files.client_certificate,
        Path::new("/etc/switchyard/switchyard.pem")
    );
    assert_eq!(files.client_key, Path::new("/run/credentials/switchyard.key"));
    assert_eq!(files.ca, Path::new("/etc/switchyard/signers.pem"));
    assert_eq!(config.keys["far"].max_signatures_per_minute, Some(600));
    let KeySource::Remote(near) = &config.keys["near"].source else {
        panic!("a remote key");
    };
    assert_eq!(near.endpoint, Endpoint::Unix("/run/signer/signer.sock".into()));
    assert_eq!(
        (near.signer_key.as_str(), near.timeout.as_millis()),
        ("near", 2_000)
    );
    assert_eq!(
        (
            near.public_key.is_none(),
            config.keys["near"].max_signatures_per_minute
        ),
        (true, None)
    );
    let [shop, other, many] = config.tenants.as_slice() else {
        panic!("three tenants")
    };
    assert_eq!(
        (shop.access.rate, shop.access.settle_wait.as_secs()),
        (
            Rate {
                per_minute: 5,
                burst: 3
            },
            85
        )
    );
    assert_eq!(
        (other.access.rate, other.access.settle_wait.as_secs()),
        (
            Rate {
                per_minute: 60,
                burst: 7
            },
            4
        )
    );
    assert_eq!(shop.access.scopes, BTreeSet::from([Scope::Verify]));
    assert_eq!(shop.access.reserve_at_verify, Some(Duration::from_secs(30)));
    assert_eq!(other.access.reserve_at_verify, None);
    assert_eq!(shop.access.wait_until, WaitUntil::Final);
    assert_eq!(other.access.wait_until, WaitUntil::Confirmed);
    assert_eq!(
        (other.access.gather, many.access.gather),
        (Duration::ZERO, Duration::from_millis(400))
    );
    assert_eq!(other.access.scopes.len(), 3);
    let late = config
        .source
        .error("plugin.evm.config.gas.price", "too expensive");
    assert!(
        late.line > 0
            && late
                .to_string()
                .ends_with(": plugin.evm.config.gas.price: too expensive")
    );
}

#[test]
fn all_errors_come_at_once_with_file_line_key_and_what_to_write() {
    let text = r#"[server]
lisen = "127.0.0.1:1"
listen = "localhost"
settle_wait_seconds = 86
legacy0 = 1
[sever]
[keys.hot]
[keys.cold]
env = "A"
file = "b"
[networks."eip155:08453"]
rpc = ["https://ok.example", "${MISSING}/x", "${SECRET}"]
signers = ["hott"]
max_cost = 5
finality = 0
[plugin.evm]
file = "x.so"
networks = ["eip155:1"]
[[tenants]]
name = "a b"
key_sha256 = "${SECRET}"
"#;
    let errors = errors(text);
    let expected = [
        "c.toml:2: server.lisen: unknown key; did you mean \"listen\"?",
        "c.toml:3: server.listen: \"localhost\" is not an address and port; write e.g. \"127.0.0.1:4020\"",
        "c.toml:4: server.settle_wait_seconds: must be from 1 to 85",
        "c.toml:5: server.legacy0: must be true or false, not a whole number",
        "c.toml:6: sever: unknown section; did you mean \"server\"?",
        "c.toml:7: keys.hot.env: is missing; write env = \"NAME_OF_A_VARIABLE\", file = \"PATH\", keystore = \"PATH\" or remote = \"unix:/PATH\"",
        "c.toml:10: keys.cold.file: stands beside env; write only one of them",
        "c.toml:11: networks.\"eip155:08453\": \"eip155:08453\" is not a CAIP-2 id; write e.g. [networks.\"eip155:8453\"]",
        "c.toml:12: networks.\"eip155:08453\".rpc[1]: the environment variable MISSING is not set; export MISSING=… \
         before starting, or write ${MISSING:-default}",
        "c.toml:12: networks.\"eip155:08453\".rpc[2]: a node's URL must begin with https:// or http://",
        "c.toml:13: networks.\"eip155:08453\".signers[0]: \"hott\" is not a key of [keys]; did you mean \"hot\"?",
        "c.toml:14: networks.\"eip155:08453\".max_cost: must be a string in quotes, not a whole number",
        "c.toml:15: networks.\"eip155:08453\".finality: must be from 1 to 100000",
        "c.toml:16: plugin.evm.sha256: is missing; write the line that `switchyard plugin inspect \
         /etc/switchyard/plugins/x.so` prints, or dev = true under [plugins] while developing",
        "c.toml:18: plugin.evm.networks[0]: \"eip155:1\" is not a network of [networks]; there are eip155:08453",
        "c.toml:20: tenants[0].name: \"a b\" is not a name; write letters, digits, - and _ only",
        "c.toml:21: tenants[0].key_sha256: is not a SHA-256; write the 64 hex digits that are printed for it, nothing else",
    ];
    for want in expected {
        assert!(
            errors.iter().any(|error| error == want),
            "missing: {want}\nin {errors:#?}"
        );
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    assert!(
        !errors.concat().contains("hunter2"),
        "values of variables are not quoted"
    );
}

#[test]
fn contradictory_values_are_refused() {
    for (change, want) in [
        (
            ("signers = [\"hot\"]", "signers = [\"hot\", \"hot\"]"),
            "names \"hot\" twice",
        ),
        (("signers = [\"hot\"]", "signers = []"), "is empty"),
        (
            (
                "signers = [\"hot\"]",
                "signers = [\"hot\"]\nretained_signers = [\"hot\"]",
            ),
            "which is in signers",
        ),
        (
            ("signers", "confirmations = 65\nsigners"),
            "must be at least confirmations, which is 65",
        ),
        (
            ("signers", "assets = [\"0x1\"]\nallow_any_asset = true\nsigners"),
            "has no effect beside allow_any_asset",
        ),
        (
            ("max_cost = \"1000000000000000\"", ""),
            "max_cost: is missing; write max_cost = … (atomic units",
        ),
        (
            ("max_cost = \"1000000000000000\"", "max_cost = \"0\""),
            "max_cost: is below 1000 atomic units",
        ),
        (
            ("signers", "v1_name = \"base-sepolia\"\nsigners"),
            "c.toml:6: networks.\"eip155:8453\".v1_name: \"base-sepolia\" is the name of eip155:84532 in protocol v1; \
             write another name",
        ),
        (("sha256", "config = 1\nsha256"), "must be a table in { }"),
        (("[plugin.evm]", "[plugin.\"e v\"]"), "is not an instance name"),
    ] {
        let errors = errors(&SMALL.replace(change.0, change.1));
        assert!(
            errors.len() == 1 && errors[0].contains(want),
            "{want}: {errors:#?}"
        );
    }
    let second = "[networks.\"eip155:31337\"]\nrpc = [\"http://127.0.0.1:1\"]\nsigners = [\"hot\"]\nmax_cost = \"1000000\"\nv1_name = \"my\"\n";
    let twice = format!("{SMALL}{second}{}", second.replace("31337", "31338"));
    let found = errors(&twice);
    assert!(
        found.len() == 1
            && found[0]
                .ends_with(".v1_name: \"my\" is the name of eip155:31337 too; give each network its own"),
        "{found:#?}"
    );
    let tenant = "[[tenants]]\nname = \"a\"\nkey_sha256 = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n";
    let errors = errors(&format!("{SMALL}{tenant}{tenant}"));
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].contains("is a tenant already") && errors[1].contains("is also the key of \"a\""));
}

#[test]
fn nodes_may_have_names_and_each_has_its_own() {
    let with = |rpc: &str| {
        let line = SMALL
            .lines()
            .find(|line| line.starts_with("rpc"))
            .expect("a line");
        SMALL.replace(line, &format!("rpc = {rpc}"))
    };
    let one = "{ url = \"https://node.example/KEY\", name = \"first\" }";
    let config = parse(&with(&format!("[{one}, \"https://other.example\"]"))).unwrap();
    let rpc = &config.networks["eip155:8453"].rpc;
    assert_eq!((rpc[0].name(), rpc[0].host()), (Some("first"), "node.example"));
    assert_eq!(rpc[1].name(), None);
    for (rpc, part) in [
        (format!("[{one}, {one}]"), "names two nodes alike"),
        (
            "[{ url = \"https://node.example\" }]".to_owned(),
            "needs url and name",
        ),
        (
            "[{ url = \"https://node.example\", name = \"a b\" }]".to_owned(),
            "not plain",
        ),
        (
            "[{ url = \"ftp://SECRET.example\", name = \"a\" }]".to_owned(),
            "must begin with https://",
        ),
        (
            "[{ url = \"https://node.example\", key = \"a\" }]".to_owned(),
            "is no key of a node",
        ),
    ] {
        let errors = errors(&with(&rpc)).join("\n");
        assert!(errors.contains(part) && !errors.contains("SECRET"), "{errors}");
    }
}

#[test]
fn errors_of_an_empty_file_say_what_to_write_and_of_bad_toml_where() {
    let errors_empty = errors("");
    assert!(
        errors_empty[0].contains("write [networks.\"eip155:84532\"]"),
        "{errors_empty:#?}"
    );
    assert!(errors_empty[1].contains("write [plugin.evm]"));
    let errors = errors("[server]\nlisten = \nlegacy0 = maybe\n");
    assert!(
        errors.len() == 2 && errors[0].starts_with("c.toml:2:") && errors[0].contains("this is not TOML"),
        "{errors:#?}"
    );
    let missing = Config::load(Path::new("no-such-file.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("no-such-file.toml: can't be read"),
        "{missing}"
    );
}

#[test]
fn the_reference_has_every_section_and_key() {
    for key in keys::KEYS {
        assert!(
            keys::SECTIONS.iter().any(|(section, _)| *section == key.section),
            "{}",
            key.section
        );
    }
    let text = keys::markdown();
    assert!(text.contains("## `[networks.NAME]`") && text.contains("## `[[tenants]]`"));
    assert!(text.contains("| `listen` | address:port | `\"127.0.0.1:4020\"` | Where to listen."));
    assert_eq!(text.matches("\n| `").count(), keys::KEYS.len());
}

#[test]
fn t105_a_secret_pasted_in_the_wrong_place_is_not_repeated() {
    let key = "abcdef3333333333333333333333333333333333333333333333333333333333";
    for line in [
        format!("[keys.hot]\nenv = \"0x{key}\""),
        format!("[keys.hot]\nenv = \"{key}\""),
        format!("[keys.hot]\nfile = \"0x{key}\""),
        "[[tenants]]\nname = \"a\"\nkey_sha256 = \"my-plain-api-key-abcdef3333\"".to_owned(),
    ] {
        let errors = Config::parse("c.toml", Path::new(""), &line, &|_| None)
            .unwrap_err()
            .to_string();
        assert!(!errors.contains("abcdef3333"), "{errors}");
        assert!(
            errors.contains("is not the name of a variable") || errors.contains("is not a"),
            "{errors}"
        );
    }
}

/// Regenerate with `UPDATE_DOCS=1 cargo test --release -p switchyard --lib the_handbook`.
#[test]
fn an_admin_socket_starts_at_the_file_s_folder() {
    let operator = "[[operators]]\nname = \"ann\"\nrole = \"view\"\ntoken_sha256 = \"";
    let text = format!(
        "{SMALL}[admin]\nlisten = \"unix:a.sock\"\n{operator}{}\"\n",
        "e".repeat(64)
    );
    let admin = parse(&text).unwrap().admin.unwrap();
    assert_eq!(admin.listen, Listen::Unix("/etc/switchyard/a.sock".into()));
    assert_eq!(admin.tls, None);
}

#[test]
fn the_handbook_has_the_reference() {
    let intro = "# Configuration\n\nOne TOML file. `${NAME}` inside a string is replaced by an environment variable, \
                 `${NAME:-default}` has a default.\n`switchyard check` names every mistake with file, line, key and \
                 what to write instead; `switchyard config reference` prints this\npage's tables.\n\n";
    let wanted = format!("{intro}{}\n", keys::markdown().trim_end());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, &wanted).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == wanted,
        "docs/src/configuration.md is not current: run this test with UPDATE_DOCS=1"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(\\PC|\n|[\\[\\]=\"${}.]){0,200}") {
        drop(parse(&text));
    }

    #[test]
    fn no_value_panics(key in 0..keys::KEYS.len(), value in "(-?[0-9]{1,30}|\"\\PC{0,20}\"|\\[\\]|\\{\\}|true|1\\.5|\"\\$\\{[A-Z]{0,3}\\}\")") {
        let key = keys::KEYS[key];
        let section = key.section.replace(".*", ".x").replace("[]", "");
        let section = if key.section.ends_with("[]") { format!("[[{section}]]") } else { format!("[{section}]") };
        drop(parse(&format!("{section}\n{} = {value}\n", key.name)));
    }
}

#[test]
fn t107_budgets_of_tenants_are_for_networks_that_exist() {
    let hash = "aa".repeat(32);
    let small = SMALL.replace("1000000000000000", "1000");
    let tenant = |budget: &str| {
        format!("{small}[[tenants]]\nname = \"shop\"\nkey_sha256 = \"{hash}\"\nmax_cost_per_day = {budget}\n")
    };
    let config = parse(&tenant("{ \"eip155:8453\" = \"7000\" }")).unwrap();
    assert_eq!(
        config.tenants[0].max_cost_per_day,
        [("eip155:8453".to_owned(), Amount::from(7_000u64))].into()
    );
    for (bad, expected) in [
        ("{ \"eip155:1\" = \"7\" }", "write one of eip155:8453"),
        ("{ \"eip155:8453\" = \"much\" }", "\"much\" is not an amount"),
        ("\"7\"", "must be a table in { }"),
    ] {
        let errors = errors(&tenant(bad));
        assert!(errors[0].contains("tenants[0].max_cost_per_day"), "{errors:?}");
        assert!(errors[0].contains(expected), "{errors:?}");
    }
}

#[test]
fn t14_a_second_source_needs_two_nodes_of_different_addresses() {
    let with = |rpc: &str| {
        SMALL.replace(
            "rpc = [\"https://${RPC_HOST}/v2/KEY\"]",
            &format!("rpc = [{rpc}]\nsecond_source_above = {{ \"0xAA\" = \"10\" }}"),
        )
    };
    let config = parse(&with("\"https://a.example/1\", \"https://b.example/1\"")).unwrap();
    assert_eq!(
        config.networks["eip155:8453"].second_source_above,
        [("0xAA".to_owned(), Amount::from(10u64))].into()
    );
    for (bad, expected) in [
        (
            "\"https://a.example/1\"",
            "needs two nodes of different addresses",
        ),
        (
            "\"https://a.example/1\", \"https://u:p@a.example/2\"",
            "needs two nodes of different addresses",
        ),
        (
            "\"https://a.example/1\", \"https://b.example/1\", \"https://a.example/3\"",
            "names one address twice",
        ),
    ] {
        let errors = errors(&with(bad));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].contains("second_source_above") && errors[0].contains(expected),
            "{errors:?}"
        );
    }
}
