//! The table of all configuration keys. The reader takes defaults and known names from it, and the handbook's reference is
//! generated from it.

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// For instance `server`. `networks.*` stands for `[networks."…"]`, `tenants[]` for `[[tenants]]`.
    pub section: &'static str,
    pub name: &'static str,
    /// Type, unit and range, for people.
    pub kind: &'static str,
    pub presence: Presence,
    pub description: &'static str,
}

/// What applies without the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The configuration is refused.
    Required,
    /// Nothing; the description says more.
    Optional,
    /// This TOML value.
    Default(&'static str),
}

use Presence::{Default as D, Optional, Required};

const fn key(
    section: &'static str,
    name: &'static str,
    kind: &'static str,
    presence: Presence,
    description: &'static str,
) -> Key {
    Key {
        section,
        name,
        kind,
        presence,
        description,
    }
}

/// Every section and its purpose, in the order of the handbook.
pub const SECTIONS: &[(&str, &str)] = &[
    ("server", "The HTTP service."),
    (
        "server.tls",
        "HTTPS without a reverse proxy. Without this section the service speaks plain HTTP. Changed files are read without a restart: see [Serve HTTPS](tls.md).",
    ),
    ("data", "Data that the process keeps on disk."),
    (
        "journal",
        "Where the journal is, if not in `data.directory`, and how long it keeps what it no longer needs. What refuses a replay is kept until nobody can use the authorization any more.",
    ),
    ("plugins", "Where plugin files are."),
    (
        "keys.*",
        "A signing key. Networks refer to it by the name after `keys.`.",
    ),
    (
        "networks.*",
        "A network, named by its CAIP-2 id: `[networks.\"eip155:8453\"]`.",
    ),
    (
        "plugin.*",
        "An instance of a plugin file. The name after `plugin.` appears in logs and metrics.",
    ),
    (
        "tenants[]",
        "A caller with an API key. With at least one tenant, every caller must send a key.",
    ),
    (
        "limits",
        "Requests per minute, as token buckets. 0 switches a limit off.",
    ),
    ("log", "Log lines, on standard error."),
    (
        "telemetry",
        "Spans and metrics to a collector, with OTLP over HTTP: [Telemetry](telemetry.md). Nothing is sent without an endpoint.",
    ),
    (
        "admin",
        "The admin listener with the dashboard. Without this section it is off. See [The admin listener](admin.md).",
    ),
    (
        "admin.tls",
        "HTTPS on the admin listener. With `client_ca` it may be reached from other machines. Changed files are read without a restart: see [Serve HTTPS](tls.md).",
    ),
    (
        "operators[]",
        "Who may use the admin listener. At least one where it is on.",
    ),
];

/// Every key.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("server", "listen", "address:port", D("\"127.0.0.1:4020\""), "Where to listen. Port 0 selects a free port, which the log names."),
    key("server", "base_path", "path", D("\"\""), "Prefix of all paths, for instance \"/x402\"."),
    key("server", "settle_wait_seconds", "seconds, 1 to 85", D("25"), "How long a settle waits for the chain before it replies `settlement_pending`. A caller can request another wait with the header `Prefer`."),
    key("server", "verify_wait_seconds", "seconds, 1 to 85", D("10"), "How long a verify may take before it replies `unexpected_verify_error`."),
    key("server", "body_limit_bytes", "bytes, 1024 to 16777216", D("1048576"), "Largest request body."),
    key("server", "body_read_seconds", "seconds, 1 to 60", D("10"), "How long a caller may take to send its body."),
    key("server", "max_concurrent_requests", "1 to 100000", D("1024"), "The most requests that are processed at once for each network and endpoint. As many more may still be sending their body. Further ones get 503 with `Retry-After`."),
    key("server", "max_connections", "1 to 100000", D("8192"), "The most open connections; further ones wait in the kernel's queue."),
    key("server", "drain_seconds", "seconds, 0 to 600", D("30"), "How long requests may take to finish after SIGTERM or SIGINT. The next start resumes settlements that are recorded and not finished."),
    key("server", "legacy0", "true or false", D("true"), "Accept requests in the protocol's oldest form, with the member `paymentHeader`."),
    key("server", "cors_origins", "list of origins, or [\"*\"]", D("[\"*\"]"), "Web pages whose scripts may read `/supported`, `/health` and `/openapi.json`, for instance [\"https://shop.example\"]; `[]` for none."),
    key("server", "cors_payments", "true or false", D("false"), "Let scripts of these pages also send `POST /verify` and `POST /settle`."),
    key("server", "trusted_proxies", "list of addresses or address/bits", D("[]"), "Reverse proxies. Their header `X-Forwarded-For` names the caller for address limits."),
    key("server.tls", "certificate", "path", Required, "A PEM file with the server's certificate, then those that signed it (`fullchain.pem` of certbot). A relative path starts at the configuration file's folder."),
    key("server.tls", "key", "path", Required, "A PEM file with the certificate's private key, without a password. Other users of the machine must not be able to read it (mode 0600 or 0640)."),
    key("server.tls", "client_ca", "path", Optional, "A PEM file with authorities. Only clients with a certificate that one of them has signed may connect. Without it: every client may."),
    key("data", "directory", "path", D("\"switchyard-data\""), "Where the journal is; a relative path starts at the configuration file's folder."),
    key("journal", "postgres", "URL", Optional, "A PostgreSQL database that holds the journal instead of a file, for several nodes: `postgres://user:${PASSWORD}@host/database?sslmode=verify-full`. See [PostgreSQL](postgresql.md)."),
    key("journal", "root_certificate", "path", Optional, "A PEM file with the certificates that may sign the database's. Without it: those of the web."),
    key("journal", "node", "name", Optional, "What this node is called in leases and in its log, for people. A number that no other process has is added. Without it: `node`."),
    key("journal", "pool_size", "count, 3 to 1000", D("8"), "The most connections to the database, and one more for hints."),
    key("journal", "statement_limit_seconds", "seconds, 1 to 300", D("5"), "The longest that one statement of the database may take."),
    key("journal", "keep_payload_days", "days, 1 to 36500", D("7"), "How long plans and signed transactions of a finished payment are kept. They are bearer instruments."),
    key("journal", "keep_event_days", "days, 1 to 36500", D("30"), "How long events are kept in the log of events."),
    key("journal", "keep_detail_days", "days, 1 to 36500", D("90"), "How long the transactions and the history of a finished payment are kept. At least `keep_payload_days`."),
    key("journal", "keep_settlement_days", "days, 30 to 36500", D("400"), "How long a finished payment can be found in lists. At least `keep_detail_days`."),
    key("plugins", "directory", "path", D("\"plugins\""), "Where plugin files are; a relative path starts at the configuration file's folder."),
    key("plugins", "trusted_keys", "list of minisign public keys", D("[]"), "A file that one of these keys signed (`FILE.minisig` beside it) needs no `sha256`, and runs in the facilitator's process unless its entry says otherwise."),
    key("plugins", "strict", "true or false", D("false"), "Refuse to start if a plugin does not load or start. Without it, what that plugin serves is not ready, and everything else is served. A file that is missing, damaged or another one than the pinned is an error of the configuration, and refuses the start all the same."),
    key("plugins", "dev", "true or false", D("false"), "Load plugin files without `sha256`. For development only."),
    key("keys.*", "env", "name of a variable", Optional, "The environment variable that holds the private key. secp256k1: 64 hex digits, with or without 0x. ed25519: the seed in the same form, the key pair in base58 as wallets export it, or a JSON array of 64 numbers. Set one of this, `file`, `keystore` and `remote`."),
    key("keys.*", "file", "path", Optional, "The file that holds the private key, in the same forms. Only its owner may read it (mode 0600). Set one of this, `env`, `keystore` and `remote`."),
    key("keys.*", "keystore", "path", Optional, "An encrypted keystore (JSON of version 3, as Ethereum wallets and `switchyard key new` write it; of either suite). Only its owner may read it. Needs `password_file` or `password_env`."),
    key("keys.*", "password_file", "path", Optional, "The file with the keystore's password. Only its owner may read it. A line end after the password is not part of it."),
    key("keys.*", "password_env", "name of a variable", Optional, "The environment variable with the keystore's password. Instead of `password_file`."),
    key("keys.*", "remote", "`unix:/PATH`, or `https://HOST:PORT`", Optional, "A remote signer, which keeps the private key and applies its own policy: [Remote signer](remote-signer.md). With `https`, each side shows a certificate: `client_certificate`, `client_key` and `ca` are needed."),
    key("keys.*", "signer_key", "name", Optional, "The key's name at the remote signer. Without it: the name after `keys.`."),
    key("keys.*", "public_key", "0x and hex digits", Optional, "The public key that the remote signer's key must have, as `switchyard key address` prints it. Without it the signer is read at the start, and must answer then."),
    key("keys.*", "timeout_ms", "milliseconds, 50 to 9000", Optional, "How long the remote signer may take for one answer. Without it: 2000."),
    key("keys.*", "client_certificate", "path", Optional, "A PEM file with the certificate that is shown to the remote signer, and those between it and its root."),
    key("keys.*", "client_key", "path", Optional, "A PEM file with the private key of `client_certificate`. Only its owner may read it."),
    key("keys.*", "ca", "path", Optional, "A PEM file with the certificates that may sign the remote signer's. No others are accepted."),
    key("keys.*", "max_signatures_per_minute", "1 to 1000000", Optional, "The most signatures by this key in a minute, whatever its source; further transactions wait or are refused with 503. Without it there is no such limit."),
    key("keys.*", "suite", "\"secp256k1\" or \"ed25519\"", D("\"secp256k1\""), "The kind of key. `switchyard check` reports which one a network's driver uses."),
    key("networks.*", "chain", "true or false", D("true"), "false: the network has no chain, because its schemes keep the accounts themselves. Then only `assets`, `allow_any_asset` and `v1_name` may be written beside it, and no driver is needed."),
    key("networks.*", "rpc", "list of URLs, or of `{ url, name }`", Required, "JSON-RPC nodes in order of preference; a later one takes over when an earlier one fails. A name replaces the host name in logs, metrics and `/ready`; names are letters, digits, `-` and `_`."),
    key("networks.*", "signers", "list of key names", Required, "Keys that sign transactions and pay for them. Each key has a separate queue and sequence of transactions (a lane)."),
    key("networks.*", "max_cost", "atomic units of the native currency, a decimal string", Required, "The most that one transaction may cost; a settlement that would cost more is refused before it is sent. At least 1000."),
    key("networks.*", "max_cost_per_day", "atomic units of the native currency, a decimal string", Optional, "The most that all transactions of a day (UTC) may cost; further settlements are refused until the next day. At least `max_cost`. Without this key there is no such limit."),
    key("networks.*", "max_cost_per_day_per_signer", "atomic units of the native currency, a decimal string", Optional, "The most that the transactions of each signer may cost in a day (UTC); further settlements go to another signer or are refused. At least `max_cost`."),
    key("networks.*", "second_source_above", "table of asset = atomic units, decimal strings", D("{}"), "From this amount of an asset on, a payment is decided only when two nodes of `rpc` show the same transaction in the same block. Needs two nodes of different addresses."),
    key("networks.*", "retained_signers", "list of key names", D("[]"), "Former signers: no longer advertised or selected, but still used for payments that name them. If a signer that recorded payments still need is neither here nor in `signers`, the process does not start."),
    key("networks.*", "confirmations", "blocks, 1 to 10000", D("1"), "Depth (1 is the head block) at which a payment counts as landed and its caller gets the reply."),
    key("networks.*", "finality", "blocks, 1 to 100000", D("64"), "Depth at which a transaction counts as irreversible; at least `confirmations`. 1 needs `single_block_finality`."),
    key("networks.*", "block_time_ms", "milliseconds, 1 to 3600000", Optional, "Time between two blocks, rounded up. Needed only if a tenant has `wait_until = \"final\"`."),
    key("networks.*", "single_block_finality", "true or false", D("false"), "Accept `finality = 1`: the head block counts as irreversible. Only for chains that never replace a block and whose nodes always agree, such as a development chain: otherwise a payment can be sent twice, or be reported as failed although it landed."),
    key("networks.*", "poll_interval_ms", "milliseconds, 50 to 60000", Optional, "The longest time between two polls of transactions that have not landed. Without this key, polls follow the chain's blocks, which costs far fewer calls: [What a payment costs in node calls](running.md#what-a-payment-costs-in-node-calls)."),
    key("networks.*", "stuck_after_seconds", "seconds, 1 to 3600", D("30"), "A transaction that has not landed by then is sent again with a higher bid."),
    key("networks.*", "max_in_flight", "1 to 1000", Optional, "The most transactions of one signer that are sent and have not landed yet. Without this key: 16 where they land in an order, as on EVM networks, and 256 where they have none, as on Solana."),
    key("networks.*", "max_batch", "1 to 64", D("32"), "The most payments that share a transaction. Those do that wait for the signer at the same moment and whose scheme allows it; none waits for others, except those of a tenant with `gather_ms`. 1: each goes alone."),
    key("networks.*", "lane_queue", "1 to 100000", D("256"), "The most settlements that may wait for one signer; further ones get 503."),
    key("networks.*", "assets", "list of assets", D("[]"), "Assets accepted in addition to those that the chain's driver knows: contract addresses on EVM networks, mints in base58 on Solana. Symbols such as `USDC` are refused."),
    key("networks.*", "allow_any_asset", "true or false", D("false"), "Accept every asset. Hostile tokens can then waste gas: read the handbook first."),
    key("networks.*", "rpc_timeout_ms", "milliseconds, 50 to 60000", D("5000"), "How long one call to a node may take."),
    key("networks.*", "v1_name", "name", Optional, "The network's plain name in protocol v1. Known networks do not need this key."),
    key("networks.*", "options", "table", D("{}"), "The chain driver's own options."),
    key("plugin.*", "file", "file name", Required, "The plugin's file, in `plugins.directory`."),
    key("plugin.*", "sha256", "64 hex digits", Optional, "The file's SHA-256, as `switchyard plugin inspect` prints it. Required unless `plugins.dev` is true or a key of `plugins.trusted_keys` signed the file."),
    key("plugin.*", "libraries", "list of names", D("[]"), "Libraries that the file needs beside those of the operating system, as `switchyard plugin inspect` prints them. The SHA-256 does not cover them: name only libraries whose every version on this machine you trust."),
    key("plugin.*", "isolation", "\"process\" or \"none\"", Optional, "`process`: it runs in a process of its own, with a sandbox, and can end only that. `none`: it runs in the facilitator's process. Without this key: `none` where a key of `plugins.trusted_keys` signed the file, and `process` otherwise. See [What a plugin can do](plugins/trust.md)."),
    key("plugin.*", "sandbox", "\"full\" or \"partial\"", D("\"full\""), "`full`: an isolated plugin is not loaded where the kernel lacks a part of the sandbox. `partial`: it is loaded with the parts that are there."),
    key("plugin.*", "max_memory_mib", "MiB, 64 to 65536", D("512"), "The most memory that the process of an isolated plugin may use. With more it is ended and started again."),
    key("plugin.*", "networks", "list of CAIP-2 ids", Optional, "The networks that it serves. Without this key: all configured networks of its chain families."),
    key("plugin.*", "authorizers", "table of key name = list of domain separators, 0x and 64 hex digits", D("{}"), "Keys of `[keys]` with which the plugin's plans may sign typed data (EIP-712), each for these domains only. Such a key signs no transaction, and belongs to one plugin."),
    key("plugin.*", "config", "table", D("{}"), "The plugin's own configuration, checked against its manifest."),
    key("tenants[]", "name", "name", Required, "The tenant's name, in logs and in the record of each payment. Never reuse it for another tenant."),
    key("tenants[]", "key_sha256", "64 hex digits, or a list of them", Required, "SHA-256 of the API key, as `switchyard key hash` prints it. To change a key, list the old and the new hash: both keys are valid."),
    key("tenants[]", "scopes", "list of \"verify\", \"settle\", \"supported\"", D("[\"verify\", \"settle\", \"supported\"]"), "The paths this tenant may use; at least one."),
    key("tenants[]", "requests_per_minute", "0 to 10000000", Optional, "Replaces `limits.tenant_requests_per_minute` for this tenant."),
    key("tenants[]", "burst", "1 to 1000000", Optional, "Replaces `limits.tenant_burst` for this tenant."),
    key("tenants[]", "settle_wait_seconds", "seconds, 1 to 85", Optional, "Replaces `server.settle_wait_seconds` for this tenant. Example: 4 for a seller that hangs up after 5 seconds."),
    key("tenants[]", "wait_until", "\"submitted\", \"confirmed\" or \"final\"", D("\"confirmed\""), "What a settle of this tenant waits for. `submitted`: until a transaction is recorded; the reply is `settlement_pending` with its hash, and `success` only if the payment is confirmed by then. `confirmed`: the network's `confirmations`. `final`: its `finality`, which must come within 85 seconds on every network: each needs `block_time_ms`."),
    key("tenants[]", "gather_ms", "milliseconds, 0 to 5000", D("0"), "How long a payment of this tenant may wait for others to share its transaction, which makes each cheaper. It is sent earlier when there are `max_batch` of them, or when a payment comes that does not wait. At most half of the settle's time. Needs `wait_until = \"submitted\"`."),
    key("tenants[]", "reserve_at_verify", "true or false", D("false"), "Reserve a payment for this tenant when `/verify` says that it is valid. Until the reservation ends, `/verify` refuses the same authorization, and more than the payer's balance, to every other tenant with this setting: `payment_reserved`. A settle reads no reservation."),
    key("tenants[]", "reservation_seconds", "seconds, 1 to 3600", D("60"), "How long a reservation of this tenant lasts. It ends earlier with the payment's `maxTimeoutSeconds`, the authorization or its settlement. Without effect unless `reserve_at_verify` is true."),
    key("tenants[]", "max_cost_per_day", "table of CAIP-2 id = atomic units of its native currency, decimal strings", D("{}"), "The most that transactions for this tenant may cost in a day (UTC) on each network; further settlements are refused until the next day. Networks that are not named have no such limit."),
    key("limits", "address_requests_per_minute", "0 to 10000000", D("6000"), "For callers without an API key: requests per minute of one address (IPv6: of one /64)."),
    key("limits", "address_burst", "1 to 1000000", D("1000"), "Requests that one address may send at once."),
    key("limits", "tenant_requests_per_minute", "0 to 10000000", D("60000"), "Requests per minute of one tenant."),
    key("limits", "tenant_burst", "1 to 1000000", D("5000"), "Requests that one tenant may send at once."),
    key("log", "format", "\"human\" or \"json\"", D("\"human\""), "Lines for people, or one JSON object per line."),
    key("admin", "listen", "address:port or \"unix:PATH\"", Optional, "Where operators reach the dashboard and its API, for instance \"127.0.0.1:4021\". Only addresses of this machine, unless `admin.tls.client_ca` says whose certificates open it; or a socket that only the process's user may use; a relative path starts at the configuration file's folder."),
    key("admin", "hosts", "list of names", D("[]"), "Further names by which browsers reach the listener, for instance \"admin.example\" where a proxy is in front of it. Requests for other names are refused."),
    key("admin.tls", "certificate", "path", Required, "A PEM file with the listener's certificate, then those that signed it. A relative path starts at the configuration file's folder."),
    key("admin.tls", "key", "path", Required, "A PEM file with the certificate's private key, without a password. Other users of the machine must not be able to read it."),
    key("admin.tls", "client_ca", "path", Optional, "A PEM file with authorities. Only browsers and programs with a certificate that one of them has signed may connect; each needs its token, too. Required on an address that other machines reach."),
    key("operators[]", "name", "name", Required, "The operator's name, in the record of what operators do."),
    key("operators[]", "token_sha256", "64 hex digits", Required, "SHA-256 of the operator's token, as `switchyard key hash` prints it."),
    key("operators[]", "role", "\"view\", \"operate\" or \"money\"", Required, "`view`: read. `operate`: also pause, drain, reload, sync and annotate. `money`: also allow withheld releases, and add tenants and their API keys."),
    key("log", "level", "level or directives", D("\"info\""), "error, warn, info, debug or trace, or a list with `target=level` pairs. The variable SWITCHYARD_LOG overrides it."),
    key("telemetry", "otlp_endpoint", "URL", Optional, "The collector, for instance \"https://collector.example:4318\"; `/v1/traces` and `/v1/metrics` are appended. Without it: the variable OTEL_EXPORTER_OTLP_ENDPOINT, or nothing is sent."),
    key("telemetry", "otlp_headers", "NAME=VALUE, several with commas", Optional, "Headers for the collector, for instance \"api-key=${OTLP_KEY}\". Without it: the variable OTEL_EXPORTER_OTLP_HEADERS."),
    key("telemetry", "otlp_headers_file", "path", Optional, "The file with these headers in the same form. Only its owner may read it (mode 0600). Instead of `otlp_headers`."),
    key("telemetry", "service_name", "name", Optional, "`service.name` of spans and metrics. Without it: the variable OTEL_SERVICE_NAME, or `switchyard`."),
    key("telemetry", "traces_per_million", "0 to 1000000", D("1000000"), "How many of a million traces that start here are recorded. A caller with the header `traceparent` decides for its own."),
    key("telemetry", "metrics_interval_seconds", "seconds, 1 to 3600", D("60"), "Time between two sendings of the metrics."),
    key("telemetry", "traceparent_to_nodes", "true or false", D("false"), "Send the header `traceparent` to RPC nodes. Only for nodes of your own: it tells others which requests belong together."),
];

/// Returns the reference as Markdown, one table per section.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::new();
    for (section, purpose) in SECTIONS {
        let heading = match section.strip_suffix(".*") {
            Some(name) => format!("[{name}.NAME]"),
            None => match section.strip_suffix("[]") {
                Some(name) => format!("[[{name}]]"),
                None => format!("[{section}]"),
            },
        };
        out.push_str(&format!(
            "## `{heading}`\n\n{purpose}\n\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n"
        ));
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let default = match key.presence {
                Presence::Required => "required".to_owned(),
                Presence::Optional => "none".to_owned(),
                Presence::Default(value) => format!("`{value}`"),
            };
            out.push_str(&format!(
                "| `{}` | {} | {default} | {} |\n",
                key.name, key.kind, key.description
            ));
        }
        out.push('\n');
    }
    out
}
