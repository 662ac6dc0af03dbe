//! Broken configurations as operators write them: each is exactly one error, at the line that has to be changed, with
//! what to write instead.

use std::path::Path;

use super::Config;

const GOOD: &str = r#"[server]
listen = "127.0.0.1:4020"
settle_wait_seconds = 25
[data]
directory = "data"
[keys.hot]
env = "SWITCHYARD_KEY"
[keys.sol]
file = "sol.json"
suite = "ed25519"
[networks."eip155:8453"]
rpc = ["https://one.example/KEY", "https://two.example/KEY"]
signers = ["hot"]
max_cost = "50000000000000"
max_cost_per_day = "5000000000000000"
[plugin.evm]
file = "libswitchyard_evm.so"
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
[[tenants]]
name = "shop"
key_sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
max_cost_per_day = { "eip155:8453" = "5000000000000000" }
[log]
level = "info"
"#;

/// The text that is replaced and its replacement; a part of the line of the error; the key; a part of the message.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const SERVER: &[Row] = &[
    ("127.0.0.1:4020", "localhost:4020", "localhost", "server.listen", "is not an address and port; write e.g. \"127.0.0.1:4020\""),
    ("127.0.0.1:4020", "127.0.0.1:99999", ":99999", "server.listen", "write e.g. \"127.0.0.1:4020\""),
    ("\"127.0.0.1:4020\"", "4020", "listen = 4020", "server.listen", "must be a string in quotes, not a whole number"),
    ("settle_wait_seconds = 25", "settle_wait_seconds = 0", "= 0", "server.settle_wait_seconds", "must be from 1 to 85"),
    ("settle_wait_seconds = 25", "settle_wait_seconds = \"25\"", "\"25\"", "server.settle_wait_seconds", "must be a whole number, not a string"),
    ("settle_wait_seconds = 25", "settle_wait_seconds = 2.5", "2.5", "server.settle_wait_seconds", "not a number with a fraction"),
    ("settle_wait_seconds = 25", "drain_seconds = -1", "-1", "server.drain_seconds", "must be from 0 to 600"),
    ("settle_wait_seconds = 25", "settle_wait = 25", "settle_wait", "server.settle_wait", "unknown key; there are listen, base_path"),
    ("settle_wait_seconds = 25", "settle_wait_second = 25", "settle_wait", "server.settle_wait_second", "did you mean \"settle_wait_seconds\"?"),
    ("settle_wait_seconds = 25", "base_path = \"x402\"", "x402", "server.base_path", "write \"\" or e.g. \"/x402\""),
    ("settle_wait_seconds = 25", "base_path = \"https://pay.example/x402\"", "pay.example", "server.base_path", "write \"\" or e.g. \"/x402\""),
    ("settle_wait_seconds = 25", "legacy0 = \"yes\"", "yes", "server.legacy0", "must be true or false, not a string"),
    ("settle_wait_seconds = 25", "trusted_proxies = [\"10.0.0.0/33\"]", "/33", "server.trusted_proxies[0]", "write e.g. \"10.0.0.0/8\""),
    ("settle_wait_seconds = 25", "trusted_proxies = \"10.0.0.1\"", "10.0.0.1", "server.trusted_proxies", "must be a list in [ ], not a string"),
    ("settle_wait_seconds = 25", "cors_origins = [\"shop.example\"]", "shop.example", "server.cors_origins[0]", "write e.g. \"https://shop.example\""),
    ("settle_wait_seconds = 25", "cors_origins = [\"https://shop.example/\"]", "shop.example", "server.cors_origins[0]", "no path"),
    ("settle_wait_seconds = 25", "cors_origins = [\"*\", \"https://a.example\"]", "a.example", "server.cors_origins", "write [\"*\"] alone, or only the others"),
    ("settle_wait_seconds = 25", "tls = true", "tls = true", "server.tls", "must be a table; write [server.tls] on a line of its own"),
    ("settle_wait_seconds = 25", "tsl = true", "tsl", "server.tsl", "trusted_proxies, tls"),
    ("[data]", "[server.tls]\ncertificate = \"chain.pem\"\n[data]", "[server.tls]", "server.tls.key", "is missing; write key = … (path)"),
    ("[data]", "[server.tls]\nkey = \"key.pem\"\n[data]", "[server.tls]", "server.tls.certificate", "is missing; write certificate = … (path)"),
    ("[data]", "[server.tls]\ncertificate = \"chain.pem\"\nkey = \"\"\n[data]", "key = \"\"", "server.tls.key", "is empty; write a path"),
    ("[data]", "[server.tls]\ncert = \"chain.pem\"\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n[data]", "cert =", "server.tls.cert", "there are certificate, key, client_ca"),
    ("directory = \"data\"", "directory = \"\"", "directory", "data.directory", "is empty; write a path"),
    ("directory = \"data\"", "directori = \"data\"", "directori", "data.directori", "did you mean \"directory\"?"),
    ("[data]\ndirectory = \"data\"", "data = \"data\"", "data =", "server.data", "unknown key; there are"),
    ("[data]", "[journal]\npostgres = \"mysql://u:hidden@h/d\"\n[data]", "mysql", "journal.postgres", "does not begin with postgres://"),
    ("[data]", "[journal]\npostgres = \"postgres://u:hidden@h/d?sslmode=require\"\n[data]", "require", "journal.postgres", "verify-full"),
    ("[data]", "[journal]\nnode = \"a\"\n[data]", "\"a\"", "journal.node", "journal.postgres is not set"),
    ("[data]", "[journal]\npostgres = \"postgres://u@h/d\"\nnode = \"a|b\"\n[data]", "a|b", "journal.node", "letters, digits"),
    ("[data]", "[journal]\nroot_certificate = \"root.pem\"\n[data]", "root.pem", "journal.root_certificate", "journal.postgres is not set"),
    ("[data]", "[journal]\npool_size = 2\n[data]", "= 2", "journal.pool_size", "3 to 1000"),
    ("[data]", "[journal]\nkeep_settlement_days = 29\n[data]", "= 29", "journal.keep_settlement_days", "30 to 36500"),
    ("[data]", "[journal]\nkeep_detail_days = 6\n[data]", "= 6", "journal.keep_detail_days", "is less than keep_payload_days; write 7 or more"),
    ("[data]", "[journal]\nkeep_detail_days = 500\n[data]", "", "journal.keep_settlement_days", "is less than keep_detail_days; write 500 or more"),
    ("level = \"info\"", "level = \"inof\"", "inof", "log.level", "write error, warn, info, debug or trace"),
    ("level = \"info\"", "level = \"\"", "level", "log.level", "write error, warn, info, debug or trace"),
    ("level = \"info\"", "level = \"facilitator=loud\"", "loud", "log.level", "write error, warn, info, debug or trace"),
    ("level = \"info\"", "format = \"text\"", "text", "log.format", "write \"human\" or \"json\""),
    ("[log]", "[telemetry]\notlp_endpoint = \"collector:4318\"\n[log]", "otlp_endpoint", "telemetry.otlp_endpoint", "write e.g. \"https://collector.example:4318\""),
    ("[log]", "[telemetry]\notlp_endpoint = \"https://u:hidden@c.example\"\n[log]", "otlp_endpoint", "telemetry.otlp_endpoint", "secrets belong into otlp_headers"),
    ("[log]", "[telemetry]\notlp_headers = \"Bearer hidden\"\n[log]", "otlp_headers", "telemetry.otlp_headers", "write e.g. \"api-key="),
    ("[log]", "[telemetry]\notlp_headers = \"a=b\"\notlp_headers_file = \"h\"\n[log]", "otlp_headers_file", "telemetry.otlp_headers_file", "write only one of them"),
    ("[log]", "[telemetry]\ntraces_per_million = 1_000_001\n[log]", "1_000_001", "telemetry.traces_per_million", "must be from 0 to 1000000"),
    ("[log]", "[telemetry]\nmetrics_interval_seconds = 0\n[log]", "= 0", "telemetry.metrics_interval_seconds", "must be from 1 to 3600"),
    ("[log]", "[telemetry]\nservice_name = \"\"\n[log]", "service_name", "telemetry.service_name", "1 to 100 characters"),
    ("[log]", "[telemetry]\ntraceparent_to_nodes = \"yes\"\n[log]", "yes", "telemetry.traceparent_to_nodes", "must be true or false"),
    ("[log]", "[logs]", "[logs]", "logs", "unknown section; did you mean \"log\"?"),
    ("level = \"info\"", "level = \"info\"\nlevel = \"debug\"", "debug", "", "write each key and each section once"),
    ("level = \"info\"", "level = info", "level = info", "", "write text in double quotes"),
    ("level = \"info\"", "level = \"info", "level", "", "close the text with \""),
];

#[rustfmt::skip]
const KEYS: &[Row] = &[
    ("env = \"SWITCHYARD_KEY\"", "env = \"0x3333333333333333333333333333333333333333333333333333333333333333\"", "env =", "keys.hot.env", "put the key into that variable, never here"),
    ("env = \"SWITCHYARD_KEY\"", "env = \"MY-KEY\"", "MY-KEY", "keys.hot.env", "write e.g. \"SWITCHYARD_KEY\""),
    ("env = \"SWITCHYARD_KEY\"", "", "[keys.hot]", "keys.hot.env", "write env = \"NAME_OF_A_VARIABLE\", file = \"PATH\", keystore = \"PATH\" or remote = \"unix:/PATH\""),
    ("env = \"SWITCHYARD_KEY\"", "env = \"SWITCHYARD_KEY\"\nfile = \"hot.key\"", "hot.key", "keys.hot.file", "write only one of them"),
    ("env = \"SWITCHYARD_KEY\"", "keystore = \"hot.json\"", "hot.json", "keys.hot.keystore", "write password_file = \"PATH\" or password_env"),
    ("env = \"SWITCHYARD_KEY\"", "env = \"SWITCHYARD_KEY\"\nkeystore = \"hot.json\"\npassword_env = \"P\"", "hot.json", "keys.hot.keystore", "write only one of env, file and keystore"),
    ("file = \"sol.json\"", "file = \"sol.json\"\nkeystore = \"sol2.json\"\npassword_env = \"P\"", "sol2.json", "keys.sol.keystore", "write only one of env, file and keystore"),
    ("env = \"SWITCHYARD_KEY\"", "keystore = \"hot.json\"\npassword_env = \"P\"\npassword_file = \"p.txt\"", "p.txt", "keys.hot.password_file", "write only one of them"),
    ("env = \"SWITCHYARD_KEY\"", "keystore = \"hot.json\"\npassword_env = \"correct horse\"", "correct horse", "keys.hot.password_env", "write e.g. \"SWITCHYARD_KEY_PASSWORD\""),
    ("env = \"SWITCHYARD_KEY\"", "env = \"SWITCHYARD_KEY\"\npassword_env = \"P\"", "[keys.hot]", "keys.hot", "write keystore = \"PATH\" beside it"),
    ("env = \"SWITCHYARD_KEY\"", "keystore = \"3333333333333333333333333333333333333333333333333333333333333333\"\npassword_env = \"P\"", "keystore", "keys.hot.keystore", "write where the encrypted keystore is"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"http://s.example:8080\"", "s.example", "keys.hot.remote", "there is no http"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"/run/s.sock\"", "/run/s.sock", "keys.hot.remote", "write e.g. \"unix:/run/signer/signer.sock\""),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:s.sock\"", "s.sock", "keys.hot.remote", "has no absolute path"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"https://s.example:8443/v1\"\nclient_certificate = \"c.pem\"\nclient_key = \"k.pem\"\nca = \"ca.pem\"", "/v1", "keys.hot.remote", "without a path"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"https://user:word@s.example\"\nclient_certificate = \"c.pem\"\nclient_key = \"k.pem\"\nca = \"ca.pem\"", "s.example", "keys.hot.remote", "without a path"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"https://\"\nclient_certificate = \"c.pem\"\nclient_key = \"k.pem\"\nca = \"ca.pem\"", "https", "keys.hot.remote", "is no address of a signer"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"\"", "remote", "keys.hot.remote", "is no address of a signer"),
    ("env = \"SWITCHYARD_KEY\"", "remote = true", "true", "keys.hot.remote", "must be a string in quotes"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"https://s.example:8443\"", "s.example", "keys.hot.remote", "needs client_certificate: with https each side shows a certificate"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"https://s.example:8443\"\nclient_certificate = \"c.pem\"\nca = \"ca.pem\"", "s.example", "keys.hot.remote", "needs client_key"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"https://s.example:8443\"\nclient_certificate = \"c.pem\"\nclient_key = \"k.pem\"", "s.example", "keys.hot.remote", "needs ca"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nca = \"ca.pem\"", "ca.pem", "keys.hot.ca", "has no effect with a Unix socket"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nclient_key = \"\"", "client_key", "keys.hot.client_key", "is empty; write a path"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nenv = \"K\"", "unix", "keys.hot.remote", "stands beside env; write only one of"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nfile = \"k\"", "unix", "keys.hot.remote", "stands beside file; write only one of"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nkeystore = \"k\"\npassword_env = \"P\"", "unix", "keys.hot.remote", "stands beside keystore; write only one of"),
    ("env = \"SWITCHYARD_KEY\"", "env = \"SWITCHYARD_KEY\"\nsigner_key = \"a\"", "signer_key", "keys.hot.signer_key", "is for a remote signer; write remote ="),
    ("env = \"SWITCHYARD_KEY\"", "env = \"SWITCHYARD_KEY\"\ntimeout_ms = 100", "timeout_ms", "keys.hot.timeout_ms", "is for a remote signer"),
    ("env = \"SWITCHYARD_KEY\"", "env = \"SWITCHYARD_KEY\"\nca = \"ca.pem\"", "ca.pem", "keys.hot.ca", "is for a remote signer"),
    ("env = \"SWITCHYARD_KEY\"", "env = \"SWITCHYARD_KEY\"\npublic_key = \"0x04\"", "public_key", "keys.hot.public_key", "is for a remote signer"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nsigner_key = \"\"", "signer_key", "keys.hot.signer_key", "write the key's name at the signer"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nsigner_key = \"3333333333333333333333333333333333333333333333333333333333333333\"", "signer_key", "keys.hot.signer_key", "never the key itself"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\npublic_key = \"0x3333333333333333333333333333333333333333333333333333333333333333\"", "public_key", "keys.hot.public_key", "write 0x04 and its 128 hex digits"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nsuite = \"ed25519\"\npublic_key = \"0x04\"", "public_key", "keys.hot.public_key", "write 0x and its 64 hex digits"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\npublic_key = \"hot\"", "public_key", "keys.hot.public_key", "write 0x and its hex digits"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\ntimeout_ms = 49", "= 49", "keys.hot.timeout_ms", "must be from 50 to 9000"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\ntimeout_ms = \"1s\"", "1s", "keys.hot.timeout_ms", "must be a whole number"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\nmax_signatures_per_minute = 0", "= 0", "keys.hot.max_signatures_per_minute", "must be from 1 to 1000000"),
    ("env = \"SWITCHYARD_KEY\"", "env = \"SWITCHYARD_KEY\"\nmax_signatures_per_minute = \"ten\"", "ten", "keys.hot.max_signatures_per_minute", "must be a whole number"),
    ("env = \"SWITCHYARD_KEY\"", "remote = \"unix:/run/s.sock\"\npassword_env = \"P\"", "password_env", "keys.hot.password_env", "is for a keystore"),
    ("suite = \"ed25519\"", "suite = \"Ed25519\"", "Ed25519", "keys.sol.suite", "write \"secp256k1\" or \"ed25519\""),
    ("[keys.hot]\nenv", "[keys]\nhot", "hot =", "keys.hot", "must be a table; write [keys.hot]"),
    ("name = \"shop\"", "name = \"my shop\"", "my shop", "tenants[0].name", "write letters, digits, - and _ only"),
    ("name = \"shop\"\n", "", "[[tenants]]", "tenants[0].name", "is missing; write name = …"),
    ("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "the-plain-key", "key_sha256", "tenants[0].key_sha256", "write the 64 hex digits that are printed for it"),
    ("name = \"shop\"", "name = \"shop\"\nscopes = []", "scopes", "tenants[0].scopes", "write the paths it may use, leave the line out for all"),
    ("name = \"shop\"", "name = \"shop\"\nscopes = [\"read\"]", "read", "tenants[0].scopes[0]", "write \"verify\", \"settle\" or \"supported\""),
    ("name = \"shop\"", "name = \"shop\"\ngather_ms = 300", "gather_ms", "tenants[0].gather_ms", "needs wait_until = \"submitted\""),
    ("name = \"shop\"", "name = \"shop\"\nwait_until = \"submitted\"\ngather_ms = 5001", "= 5001", "tenants[0].gather_ms", "must be from 0 to 5000"),
    ("{ \"eip155:8453\" = \"5000000000000000\" }", "{ \"eip155:8453\" = \"5\" }", "= \"5\"", "tenants[0].max_cost_per_day.\"eip155:8453\"", "is below max_cost, which is 50000000000000"),
    ("{ \"eip155:8453\" = \"5000000000000000\" }", "{ \"eip155:1\" = \"5000000000000000\" }", "eip155:1", "tenants[0].max_cost_per_day.\"eip155:1\"", "write one of eip155:8453"),
    ("[[tenants]]", "[tenants]", "[tenants]", "tenants", "must be repeated tables; write [[tenants]]"),
];

#[rustfmt::skip]
const NETWORKS: &[Row] = &[
    ("[networks.\"eip155:8453\"]", "[networks.eip155:8453]", "[networks.eip155", "", "write a name with a colon in quotes"),
    ("[networks.\"eip155:8453\"]", "[networks.\"ledger:shop\"]\nchain = false\nfinality = 3\n\n[networks.\"eip155:8453\"]", "finality = 3", "networks.\"ledger:shop\".finality", "has no effect beside chain = false, because nothing is sent to a chain; take it out"),
    ("[networks.\"eip155:8453\"]", "[networks.\"ledger:shop\"]\nchain = \"no\"\n\n[networks.\"eip155:8453\"]", "\"no\"", "networks.\"ledger:shop\".chain", "must be true or false"),
    ("eip155:8453", "base", "[networks", "networks.base", "is not a CAIP-2 id; write e.g. [networks.\"eip155:8453\"]"),
    ("eip155:8453", "base-sepolia", "[networks", "networks.base-sepolia", "is not a CAIP-2 id; write e.g. [networks.\"eip155:84532\"]"),
    ("eip155:8453", "EIP155:8453", "[networks", "networks.\"EIP155:8453\"", "is not a CAIP-2 id"),
    ("https://one.example/KEY", "one.example/KEY", "rpc", "networks.\"eip155:8453\".rpc[0]", "not a URL; write for instance https://"),
    ("https://one.example/KEY", "wss://one.example/KEY", "rpc", "networks.\"eip155:8453\".rpc[0]", "must begin with https:// or http://"),
    ("https://one.example/KEY", "https://one.example/${SWITCHYARD_UNSET}", "rpc", "networks.\"eip155:8453\".rpc[0]", "export SWITCHYARD_UNSET=… before starting"),
    ("https://one.example/KEY", "https://one.example/${NODE", "rpc", "networks.\"eip155:8453\".rpc[0]", "write ${NAME}, or $${ for a literal ${"),
    ("[\"https://one.example/KEY\", \"https://two.example/KEY\"]", "[]", "rpc", "networks.\"eip155:8453\".rpc", "name at least one node"),
    ("signers = [\"hot\"]", "signers = [\"hott\"]", "hott", "networks.\"eip155:8453\".signers[0]", "did you mean \"hot\"?"),
    ("signers = [\"hot\"]", "signers = [\"59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d\"]", "signers", "networks.\"eip155:8453\".signers[0]", "a text of 64 characters is not a key of [keys]"),
    ("signers = [\"hot\"]", "signers = []", "signers", "networks.\"eip155:8453\".signers", "name at least one key of [keys]"),
    ("signers = [\"hot\"]", "signers = \"hot\"", "signers", "networks.\"eip155:8453\".signers", "must be a list in [ ], not a string"),
    ("signers = [\"hot\"]", "signers = [\"hot\", \"hot\"]", "signers", "networks.\"eip155:8453\".signers", "each key is one lane"),
    ("signers = [\"hot\"]", "signers = [\"hot\"]\nretained_signers = [\"hot\"]", "retained", "networks.\"eip155:8453\".retained_signers", "write it in one of them"),
    ("max_cost = \"50000000000000\"", "max_cost = \"0.00005\"", "0.00005", "networks.\"eip155:8453\".max_cost", "write atomic units of the native currency"),
    ("max_cost = \"50000000000000\"", "max_cost = \"1 ETH\"", "1 ETH", "networks.\"eip155:8453\".max_cost", "write atomic units of the native currency"),
    ("max_cost = \"50000000000000\"", "max_cost = \"0x10000\"", "0x10000", "networks.\"eip155:8453\".max_cost", "write atomic units of the native currency"),
    ("max_cost = \"50000000000000\"", "max_cost = 50000000000000", "max_cost", "networks.\"eip155:8453\".max_cost", "must be a string in quotes, not a whole number"),
    ("max_cost = \"50000000000000\"", "max_cost = \"1\"", "max_cost", "networks.\"eip155:8453\".max_cost", "in the smallest unit (10^18 to one ETH, 10^9 to one SOL)"),
    ("max_cost = \"50000000000000\"\n", "", "[networks", "networks.\"eip155:8453\".max_cost", "is missing; write max_cost = …"),
    ("max_cost_per_day = \"5000000000000000\"", "max_cost_per_day = \"5\"", "per_day", "networks.\"eip155:8453\".max_cost_per_day", "write at least that, or a smaller max_cost"),
    ("max_cost_per_day = \"5000000000000000\"", "max_cost_per_day_per_signer = \"49999999999999\"", "per_signer", "networks.\"eip155:8453\".max_cost_per_day_per_signer", "is below max_cost, which is 50000000000000"),
    ("signers = [\"hot\"]", "signers = [\"hot\"]\nconfirmations = 0", "confirmations", "networks.\"eip155:8453\".confirmations", "must be from 1 to 10000"),
    ("signers = [\"hot\"]", "signers = [\"hot\"]\nconfirmations = 65", "[networks", "networks.\"eip155:8453\".finality", "must be at least confirmations, which is 65"),
    ("signers = [\"hot\"]", "signers = [\"hot\"]\nfinality = 1", "finality", "networks.\"eip155:8453\".finality", "write the depth at which"),
    ("signers = [\"hot\"]", "signers = [\"hot\"]\nassets = \"USDC\"", "assets", "networks.\"eip155:8453\".assets", "must be a list in [ ], not a string"),
    ("signers = [\"hot\"]", "signers = [\"hot\"]\nassets = [\"0xaa\"]\nallow_any_asset = true", "assets", "networks.\"eip155:8453\".assets", "write only one of them"),
    ("signers = [\"hot\"]", "signers = [\"hot\"]\nv1_name = \"base-sepolia\"", "v1_name", "networks.\"eip155:8453\".v1_name", "write another name, or leave the line out"),
    ("signers = [\"hot\"]", "signers = [\"hot\"]\nmax_gas = 5", "max_gas", "networks.\"eip155:8453\".max_gas", "unknown key; "),
    ("two.example", "one.example", "second", "networks.\"eip155:8453\".second_source_above", "add another one to rpc, or take this line out"),
    ("[plugin.evm]", "[plugin.\"my evm\"]", "[plugin", "plugin.\"my evm\"", "write letters, digits, - and _ only"),
    ("file = \"libswitchyard_evm.so\"\n", "", "[plugin.evm]", "plugin.evm.file", "is missing; write file = …"),
    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aa", "sha256", "plugin.evm.sha256", "write the 64 hex digits"),
    ("sha256 = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n", "", "[plugin.evm]", "plugin.evm.sha256", "write the line that `switchyard plugin inspect"),
    ("[plugin.evm]", "[plugin.evm]\nlibraries = [\"/usr/lib/libfoo.so.1\"]", "libraries", "plugin.evm.libraries[0]", "without a folder: libfoo.so.1"),
    ("[plugin.evm]", "[plugin.evm]\nlibraries = [\"foo\"]", "libraries", "plugin.evm.libraries[0]", "is not the name of a library; write it as"),
    ("[plugin.evm]", "[plugin.evm]\nlibraries = \"libfoo.so.1\"", "libraries", "plugin.evm.libraries", "must be a list in [ ], not a string"),
    ("[plugin.evm]", "[plugins]\ntrusted_keys = [\"RW\"]\n[plugin.evm]", "trusted_keys", "plugins.trusted_keys[0]", "write the second line of its .pub file"),
    ("[plugin.evm]", "[plugin.evm]\nauthorizers = { cold = [] }", "cold", "plugin.evm.authorizers.cold", "is not a key of [keys]; there are hot, sol"),
    ("[plugin.evm]", "[plugin.evm]\nauthorizers = { hot = [\"0x12\"] }", "0x12", "plugin.evm.authorizers.hot[0]", "write 0x and its 64 hex digits"),
    ("[plugin.evm]", "[plugin.evm]\nauthorizers = [\"hot\"]", "authorizers", "plugin.evm.authorizers", "must be a table in { }"),
    ("[plugin.evm]", "[plugin.evm]\nisolation = \"thread\"", "isolation", "plugin.evm.isolation", "write \"process\" or \"none\""),
    ("[plugin.evm]", "[plugin.evm]\nisolation = true", "isolation", "plugin.evm.isolation", "must be a string in quotes, not true"),
    ("[plugin.evm]", "[plugin.evm]\nsandbox = \"some\"", "sandbox", "plugin.evm.sandbox", "write \"full\" or \"partial\""),
    ("[plugin.evm]", "[plugin.evm]\nmax_memory_mib = 8", "max_memory_mib", "plugin.evm.max_memory_mib", "must be from 64 to 65536"),
    ("[plugin.evm]", "[plugin.evm]\nnetworks = [\"eip155:1\"]", "eip155:1", "plugin.evm.networks[0]", "is not a network of [networks]; "),
    ("[plugin.evm]", "[plugin.evm]\nnetworks = []", "networks = []", "plugin.evm.networks", "leave the line out for all of its families"),
    ("[plugin.evm]", "[plugin.evm]\nconfig = \"x\"", "config", "plugin.evm.config", "must be a table in { }"),
];

#[rustfmt::skip]
const ADMIN: &[Row] = &[
    ("[log]", "[admin]\nlisten = \"4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "\"4021\"", "admin.listen", "write e.g. \"127.0.0.1:4021\""),
    ("[log]", "[admin]\nlisten = \"unix:\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "unix:", "admin.listen", "or \"unix:admin-http.sock\""),
    ("[log]", "[admin]\nlisten = \"0.0.0.0:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "0.0.0.0", "admin.listen", "is reached from other machines"),
    ("[log]", "[admin]\nlisten = \"[::]:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "[::]", "admin.listen", "reach it by SSH"),
    ("[log]", "[admin]\nlisten = \"203.0.113.7:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "203.0", "admin.listen", "is reached from other machines"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4020\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", ":4020", "admin.listen", "is server.listen too; write another port"),
    ("[log]", "[admin]\nlisten = \"0.0.0.0:4020\"\nhosts = [\"a.example\"]\n[admin.tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"\nclient_ca = \"c.pem\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", ":4020", "admin.listen", "is server.listen too; write another port"),
    ("[log]", "[admin]\nlisten = \"0.0.0.0:4021\"\nhosts = [\"admin.example\"]\n[admin.tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "0.0.0.0", "admin.listen", "or write [admin.tls] with certificate, key and client_ca"),
    ("[log]", "[admin]\nlisten = \"0.0.0.0:4021\"\n[admin.tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"\nclient_ca = \"ca.pem\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "0.0.0.0", "admin.listen", "write hosts = ["),
    ("[log]", "[admin]\nlisten = \"unix:a.sock\"\n[admin.tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "[admin.tls]", "admin.tls", "has no effect on a socket"),
    ("[log]", "[admin]\n[admin.tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "[admin.tls]", "admin.tls", "write admin.listen ="),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[admin.tls]\ncertificate = \"a.pem\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "[admin.tls]", "admin.tls.key", "is missing; write key ="),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[admin.tls]\ncertificate = \"a.pem\"\nkey = \"k.pem\"\nca = \"ca.pem\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "ca =", "admin.tls.ca", "there are certificate, key, client_ca"),
    ("[log]", "[admin]\nport = 4021\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "port", "admin.port", "unknown key; there are listen, hosts"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\nhosts = [\"https://admin.example\"]\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "https", "admin.hosts[0]", "without https:// and path"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\nhosts = \"admin.example\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "hosts", "admin.hosts", "must be a list in [ ]"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[log]", "[admin]", "admin", "needs at least one [[operators]]"),
    ("[log]", "[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "[[operators]]", "operators[0]", "write [admin] with listen"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann b\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "ann b", "operators[0].name", "write letters, digits, - and _ only"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"my-token\"\nrole = \"view\"\n[log]", "my-token", "operators[0].token_sha256", "write the 64 hex digits"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918\"\nrole = \"view\"\n[log]", "token_sha256", "operators[0].token_sha256", "a word that a guesser tries first"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nrole = \"view\"\n[log]", "token_sha256", "operators[0].token_sha256", "openssl rand -hex 32"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"admin\"\n[log]", "\"admin\"", "operators[0].role", "write \"view\" (read), \"operate\""),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nroles = [\"view\"]\nrole = \"view\"\n[log]", "roles", "operators[0].roles", "did you mean \"role\"?"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\n[log]", "[[operators]]", "operators[0].role", "is missing; write role = …"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\"\nrole = \"view\"\n[log]", "name = \"ann\"", "operators[1].name", "is an operator already"),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[[operators]]\nname = \"bob\"\ntoken_sha256 = \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"\nrole = \"view\"\n[log]", "token_sha256", "operators[1].token_sha256", "is also the token of \"ann\""),
    ("[log]", "[admin]\nlisten = \"127.0.0.1:4021\"\n[[operators]]\nname = \"ann\"\ntoken_sha256 = \"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"\nrole = \"view\"\n[log]", "token_sha256", "operators[0].token_sha256", "is also the API key of tenant \"shop\""),
];

fn broken(row: &Row) -> String {
    let (from, to, ..) = *row;
    assert!(GOOD.contains(from), "{from:?} is not in the good configuration");
    let text = GOOD.replace(from, to);
    // Contradicts the nodes, which are valid without it.
    if row.3.ends_with("second_source_above") {
        return text.replace(
            "signers =",
            "second_source_above = { \"0xaa\" = \"9\" }\nsigners =",
        );
    }
    text
}

#[test]
fn each_broken_configuration_is_one_error_with_its_line_and_what_to_write() {
    Config::parse("c.toml", Path::new("/etc"), GOOD, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let rows: Vec<&Row> = SERVER.iter().chain(KEYS).chain(NETWORKS).chain(ADMIN).collect();
    assert!(rows.len() >= 40, "{}", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let (_, to, blamed, key, says) = *row;
        let text = broken(row);
        let errors = match Config::parse("c.toml", Path::new("/etc"), &text, &|_| None) {
            Ok(_) => {
                wrong.push(format!("{to:?} is accepted"));
                continue;
            }
            Err(errors) => errors,
        };
        let [error] = errors.0.as_slice() else {
            wrong.push(format!("{to:?} is not one error:\n{errors}"));
            continue;
        };
        let line = error
            .line
            .checked_sub(1)
            .and_then(|line| text.lines().nth(line))
            .unwrap_or_default();
        let good = error.file == "c.toml"
            && error.key == key
            && line.contains(blamed)
            && error.message.contains(says);
        if !good {
            wrong.push(format!(
                "{to:?}: {error}\n    wanted at {key:?}, line {blamed:?}: {says}"
            ));
        }
        if error.to_string().contains("3333333") {
            wrong.push(format!("{to:?}: the error shows a key"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
