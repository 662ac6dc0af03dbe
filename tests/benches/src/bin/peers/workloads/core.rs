//! The core with a plugin that does nothing, beside axum alone and beside the core with the same handlers linked in.

use devnet::Account;
use e2e::{Facilitator, Settings, binaries};
use serde_json::json;

use super::verify::{connections_text, costs};
use crate::Failure;
use crate::bench::{Bench, Callers, Target, VALID, rounds};
use crate::results::Quantity;
use crate::subject::{Peer, address};
use crate::wire;

const CONNECTIONS: [usize; 3] = [1, 16, 64];
pub(crate) const GROUP: &str = "Core, no-op plugin";
/// The names of the sides, ours first.
pub(crate) const SIDES: [&str; 3] = ["loaded plugin", "linked in", "axum alone"];

pub(crate) fn run(bench: &mut Bench) -> Result<(), Failure> {
    let signer = bench.chain.facilitators.first().cloned();
    let signer = signer.ok_or_else(|| Failure("a chain without funded keys".to_owned()))?;
    let servers = Servers::start(bench.chain.url(), &signer)?;
    let targets = servers.targets()?;
    let mut number = 0_u64;
    for connections in CONNECTIONS {
        let name = connections_text(connections);
        let first = number;
        let callers = Callers {
            connections,
            wanted: VALID,
        };
        let results = &mut bench.results;
        let series = std::cell::Cell::new(first);
        let sign = |_: &str, count: usize| {
            let from = series.get();
            let next = from.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            series.set(next);
            (from..next).map(request).collect()
        };
        rounds(bench.effort, &targets, callers, &sign, |side, measured| {
            let rate = Quantity::higher(GROUP, &name, "requests/s");
            results.add(&rate, side, measured.outcome.rate());
            costs(results, (GROUP, &name), side, measured);
        })?;
        number = series.get();
        println!("   {GROUP}, {name}: {}", bench.summary(GROUP, &name));
    }
    Ok(())
}

/// Fields are dropped in this order.
struct Servers {
    axum: Peer,
    linked: Peer,
    loaded: Facilitator,
}

impl Servers {
    fn start(chain: &str, signer: &Account) -> Result<Servers, Failure> {
        let release = binaries::release_dir()?;
        let library = format!(
            "{}noop{}",
            std::env::consts::DLL_PREFIX,
            std::env::consts::DLL_SUFFIX
        );
        let loaded = Facilitator::start(&Settings {
            plugin_file: Some(release.join(library)),
            follow_blocks: true,
            more: "[limits]\naddress_requests_per_minute = 0\n".to_owned(),
            ..Settings::new(chain, std::slice::from_ref(signer))
        })?;
        let program = release.join("noop-server");
        let linked = Peer::start("/ready", |folder, port| {
            let port = port.to_string();
            let data = folder.to_owned();
            Ok(vec![
                program.clone(),
                "linked".into(),
                port.into(),
                loaded.config_file(),
                data,
            ])
        })?;
        let axum = Peer::start("/ready", |_, port| {
            Ok(vec![program.clone(), "axum".into(), port.to_string().into()])
        })?;
        Ok(Servers { axum, linked, loaded })
    }

    fn targets(&self) -> Result<Vec<Target<'static>>, Failure> {
        let processes = [
            (self.loaded.url(), self.loaded.process_id()),
            (self.linked.url(), self.linked.id()),
            (self.axum.url(), self.axum.id()),
        ];
        SIDES
            .into_iter()
            .zip(processes)
            .map(|(name, (url, process))| {
                Ok(Target {
                    name,
                    server: address(&url)?,
                    process: process.ok_or_else(|| Failure(format!("{name} has ended")))?,
                    node: None,
                })
            })
            .collect()
    }
}

/// A payment of the scheme noop.
fn request(number: u64) -> Vec<u8> {
    let requirements = json!({
        "scheme": "noop",
        "network": e2e::payment::NETWORK,
        "amount": "1",
        "asset": devnet::USDC,
        "payTo": devnet::MERCHANT.0,
        "maxTimeoutSeconds": 60,
        "extra": {},
    });
    let payload = json!({"nonce": number.to_string()});
    let body = e2e::payment::body_v2(&requirements, &payload);
    wire::post("/verify", body.to_string().as_bytes())
}
