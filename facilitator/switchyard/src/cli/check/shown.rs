//! What `check` prints of a configuration that is valid.

use std::collections::BTreeMap;
use std::io::Write;

use admin_api::Listen;
use engine::registry::spelled;
use http_api::times::iso;
use http_api::tls::{Tls, Validity};
use plugin_host::Sandbox;
use sdk_plugin::Amount;

use super::{CliError, harmless};
use crate::app::{Certificates, Survey};
use crate::config::{Config, Network};
use crate::known::{self, Known};

/// What the configuration serves.
pub(super) struct Shown<'a> {
    pub(super) config: &'a Config,
    pub(super) survey: &'a Survey,
    pub(super) known: &'a Known,
    /// By key name and family.
    pub(super) addresses: &'a BTreeMap<(String, String), String>,
}

impl Shown<'_> {
    pub(super) fn print(&self, out: &mut dyn Write) -> Result<(), CliError> {
        let Shown { config, survey, .. } = self;
        writeln!(out, "{} is valid", config.source.file)?;
        let protocol = if config.server.tls.is_some() {
            "https"
        } else {
            "http"
        };
        writeln!(
            out,
            "\nlisten    {protocol}://{}{}",
            config.server.listen, config.server.base_path
        )?;
        let certificates = Certificates::load(config).unwrap_or_default();
        if let Some(tls) = &certificates.server {
            print_certificate(tls, out)?;
        }
        match &config.postgres {
            Some(database) => writeln!(out, "journal   {}", database.address())?,
            None => writeln!(out, "journal   {}", config.data_directory.display())?,
        }
        if let Some(admin) = &config.admin {
            let names: Vec<String> = admin
                .tokens
                .iter()
                .map(|token| format!("{} ({})", token.name, token.role.name()))
                .collect();
            let listen = match &admin.listen {
                Listen::Tcp(address) if admin.tls.is_some() => format!("https://{address}/"),
                Listen::Tcp(address) => format!("http://{address}/"),
                Listen::Unix(path) => path.display().to_string(),
            };
            writeln!(
                out,
                "operators {} at {}",
                names.join(", "),
                harmless::line(&listen)
            )?;
            if let Some(tls) = &certificates.admin {
                print_certificate(tls, out)?;
            }
        }
        match config.tenants.as_slice() {
            [] => writeln!(
                out,
                "callers   every caller that reaches the port (no [[tenants]])"
            )?,
            tenants => {
                let names: Vec<&str> = tenants.iter().map(|tenant| tenant.access.name.as_str()).collect();
                writeln!(out, "callers   {}", names.join(", "))?;
            }
        }
        for one in &survey.instances {
            let pinned = match (&one.signed_by, one.instance.sha256) {
                (Some(key), _) => format!("signed by {key:?}"),
                (None, Some(_)) => "pinned".to_owned(),
                (None, None) => "NOT PINNED: [plugins] dev = true".to_owned(),
            };
            let process = match (one.is_isolated(), one.instance.runner.sandbox) {
                (false, _) => "in this process",
                (true, Sandbox::Full) => "in a process of its own",
                (true, Sandbox::Partial) => "in a process of its own, with a partial sandbox",
            };
            let (name, manifest) = (&one.instance.name, &one.manifest);
            writeln!(
                out,
                "\nplugin.{name}: {} {}, {pinned}",
                manifest.id, manifest.version
            )?;
            writeln!(out, "  {}  sha256 {}", one.instance.file.display(), one.sha256)?;
            writeln!(out, "  runs {process}")?;
        }
        for network in config.networks.values() {
            self.print_network(network, out)?;
        }
        Ok(())
    }

    fn print_network(&self, network: &Network, out: &mut dyn Write) -> Result<(), CliError> {
        let survey = self.survey;
        let name = network
            .v1_name
            .as_deref()
            .map(|name| format!(" ({name})"))
            .unwrap_or_default();
        writeln!(out, "\n{}{name}", network.id)?;
        if !network.has_chain {
            writeln!(out, "  no chain: its schemes keep the accounts themselves")?;
            print_schemes(network, survey, out)?;
            return print_assets(network, survey, out);
        }
        let nodes: Vec<&str> = network
            .rpc
            .iter()
            .map(|url| url.name().unwrap_or(url.host()))
            .collect();
        writeln!(out, "  nodes     {}", nodes.join(", "))?;
        if nodes.len() == 1 {
            writeln!(
                out,
                "    one node alone decides what happened; add a node of another operator to rpc"
            )?;
        }
        let signers = network.signers.iter().map(|name| (name, ""));
        let retained = network.retained_signers.iter().map(|name| (name, " (retained)"));
        for (name, state) in signers.chain(retained) {
            let address = self
                .addresses
                .get(&(name.clone(), crate::app::family(&network.id).to_owned()));
            let address = address.map_or("", String::as_str);
            writeln!(out, "  signer    {name} {address}{state}")?;
        }
        let (confirmations, finality) = (network.confirmations, network.finality);
        writeln!(out, "  depth     {confirmations} to answer, {finality} final")?;
        self.print_budgets(network, out)?;
        print_schemes(network, survey, out)?;
        print_assets(network, survey, out)?;
        if self.known.network(&network.id).is_none() {
            writeln!(out, "{}", unknown_network(network))?;
        }
        Ok(())
    }

    /// The most that its transactions may cost: one, those of a day, of a signer and of a tenant.
    fn print_budgets(&self, network: &Network, out: &mut dyn Write) -> Result<(), CliError> {
        let known = self.known.network(&network.id);
        let units = |cost| known.map_or_else(|| format!("{cost} atomic units"), |known| amount(cost, known));
        writeln!(out, "  budget    {} per transaction", units(network.max_cost))?;
        match network.max_cost_per_day {
            Some(cost) => writeln!(out, "  budget    {} per day", units(cost))?,
            None => writeln!(
                out,
                "  budget    no limit per day: write max_cost_per_day = \"…\""
            )?,
        }
        if let Some(cost) = network.max_cost_per_day_per_signer {
            writeln!(out, "  budget    {} per day and signer", units(cost))?;
        }
        for tenant in &self.config.tenants {
            if let Some(cost) = tenant.max_cost_per_day.get(&network.id) {
                writeln!(
                    out,
                    "  budget    {} per day for {}",
                    units(*cost),
                    tenant.access.name
                )?;
            }
        }
        Ok(())
    }
}

fn print_certificate(tls: &Tls, out: &mut dyn Write) -> Result<(), CliError> {
    let leaf = tls.leaf();
    let names = match leaf.names.as_slice() {
        [] => "no name".to_owned(),
        names => names.join(", "),
    };
    let until = iso(leaf.not_after_s.saturating_mul(1_000));
    writeln!(out, "  for       {}, until {until}", harmless::line(&names))?;
    if tls.verifies_clients() {
        writeln!(out, "  clients   need a certificate of client_ca")?;
    }
    if tls.validity() == Validity::EndsSoon {
        writeln!(out, "    it expires soon: renew it")?;
    }
    Ok(())
}

fn print_schemes(network: &Network, survey: &Survey, out: &mut dyn Write) -> Result<(), CliError> {
    for one in survey
        .instances
        .iter()
        .filter(|one| one.networks.contains(&network.id))
    {
        for role in one.schemes(crate::app::family(&network.id)) {
            let versions: Vec<String> = role
                .versions
                .iter()
                // Version 1 is advertised under a plain name. A network without one can't be requested.
                .filter(|version| **version != 1 || network.v1_name.is_some())
                .map(|version| format!("v{version}"))
                .collect();
            writeln!(
                out,
                "  scheme    {} {} (plugin.{})",
                role.scheme,
                versions.join(", "),
                one.instance.name
            )?;
        }
    }
    Ok(())
}

fn print_assets(network: &Network, survey: &Survey, out: &mut dyn Write) -> Result<(), CliError> {
    match survey.assets_of(network) {
        None => writeln!(out, "  assets    ANY: allow_any_asset = true")?,
        Some(assets) if assets.is_empty() => {
            writeln!(
                out,
                "  assets    none, so nothing can be paid: write assets = [\"…\"]"
            )?;
        }
        Some(assets) => {
            let symbol = |asset: &String| {
                survey
                    .known_assets(&network.id)
                    .find(|known| spelled(&known.asset) == spelled(asset))
            };
            let shown = assets.iter().map(|asset| match symbol(asset) {
                Some(known) => format!("{asset} {}", known.symbol),
                None => asset.clone(),
            });
            writeln!(out, "  assets    {}", shown.collect::<Vec<_>>().join(", "))?;
        }
    }
    Ok(())
}

/// An amount of a network's native currency.
pub(super) fn amount(atomic: Amount, known: &known::Network) -> String {
    let units = known::in_units(&atomic.to_string(), known.currency.decimals);
    format!("{units} {}", known.currency.symbol)
}

/// What to compare where this build knows nothing of the network: every key that has a default there.
fn unknown_network(network: &Network) -> String {
    let Network {
        id,
        confirmations,
        finality,
        ..
    } = network;
    format!(
        "    this program has no values of its own for this network; compare with what the network's operator publishes:\n\
         \x20     [networks.{id:?}]\n\
         \x20     confirmations = {confirmations}          # blocks until a seller is answered\n\
         \x20     finality = {finality}              # blocks until nothing can be undone\n\
         \x20     assets = [\"…\"]             # the tokens to accept, by address"
    )
}
