//! `switchyard check`: checks everything that needs no plugin code, including this machine, its sandbox and the journal. With `--ask` it
//! also checks nodes, drivers and schemes. No transaction is sent.

use std::io::Write;
use std::time::Duration;

use admin_api::Listen;

use super::{CheckCommand, CliError, harmless, keys};
use crate::app::{
    App, Certificates, JournalReader, NetworkReport, Preflight, Survey, key_error, load_keys,
    missing_from_config, plugins_not_configured, preflight, with_added,
};
use crate::config::{Config, ConfigErrors, Network};
use base::clock::{Clock as _, SystemClock};
use engine::registry::spelled;
use host::custody::Found as Remote;
use http_api::times::iso;
use http_api::tls::{Tls, Validity};
use plugin_host::{ErrorKind, Sandbox, try_sandbox};

pub(super) fn check(command: &CheckCommand, out: &mut dyn Write) -> Result<(), CliError> {
    let config = Config::load(&command.file.config).map_err(CliError::new)?;
    let config = with_added(config).map_err(CliError)?;
    let (survey, keys) = (Survey::make(&config), keys::on_a_thread(keys_of(&config))?);
    let Preflight {
        errors: mut machine,
        is_running,
    } = preflight(&config);
    let key = match config.postgres {
        Some(_) => "journal.postgres",
        None => "data.directory",
    };
    let mut warnings = Vec::new();
    // A database that can't be reached is reported once.
    if let Ok(survey) = &survey
        && !machine
            .iter()
            .any(|error| error.key == key && config.postgres.is_some())
    {
        let journal = JournalReader::new(&config.data_directory, config.postgres.as_ref());
        let read = journal.and_then(|journal| {
            let errors = missing_from_config(&journal, &config, survey, SystemClock.now_s())?;
            Ok((errors, plugins_not_configured(&journal, survey)?))
        });
        match read {
            Ok((errors, sentences)) => {
                machine.extend(errors);
                warnings = sentences;
            }
            Err(error) => {
                let why = format!("the journal can't be read: {error}");
                machine.push(config.source.error(key, why));
            }
        }
    }
    let survey = match (survey, keys) {
        (Ok(survey), Ok(silent)) if machine.is_empty() => {
            warnings.extend(silent);
            survey
        }
        (survey, keys) => {
            let mut errors = survey.err().map(|errors| errors.0).unwrap_or_default();
            errors.extend(keys.err().map(|errors| errors.0).unwrap_or_default());
            errors.append(&mut machine);
            return Err(CliError::new(ConfigErrors(errors)));
        }
    };
    let untried = try_sandboxes(&config, &survey).map_err(CliError::new)?;
    print(&config, &survey, out)?;
    for warning in warnings {
        writeln!(out, "\nwarning: {}", harmless::line(&warning))?;
    }
    for why in untried {
        writeln!(
            out,
            "\n{why}; whether this system has all of the sandbox is known at the start only."
        )?;
    }
    if is_running {
        writeln!(
            out,
            "\nA running process uses this journal, so the port and the directory were not checked."
        )?;
    }
    if command.ask {
        return check_readiness(&config, out);
    }
    writeln!(
        out,
        "\nNot checked: whether nodes answer, signers hold gas and schemes are ready; `check --ask` does, and so does \
         `serve`: see /ready."
    )?;
    Ok(())
}

/// Loads the keys and compares those at remote signers with what is known of them. Returns what only a later transaction needs:
/// a signer that does not answer, where the public key is written.
async fn keys_of(config: &Config) -> Result<Vec<String>, ConfigErrors> {
    let custody = load_keys(config).await?;
    let (mut errors, mut silent) = (Vec::new(), Vec::new());
    for found in custody.check_remote().await {
        match found {
            Remote::Silent(error) => {
                silent.push(format!("{error}; nothing is sent with this key until it answers"))
            }
            Remote::Wrong(error) => errors.push(key_error(config, &error)),
        }
    }
    if errors.is_empty() {
        Ok(silent)
    } else {
        Err(ConfigErrors(errors))
    }
}

/// Tries the sandbox of each isolated plugin, without the plugin. Returns which ones could not be tried.
///
/// # Errors
/// This system lacks a part that a plugin's entry wants.
fn try_sandboxes(config: &Config, survey: &Survey) -> Result<Vec<String>, ConfigErrors> {
    let (mut errors, mut untried) = (Vec::new(), Vec::new());
    for one in survey.instances.iter().filter(|one| one.is_isolated()) {
        match try_sandbox(&one.instance.file, &one.manifest, &one.instance.runner) {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::Sandbox => {
                let key = format!("plugin.{}.sandbox", one.instance.name);
                errors.push(config.source.error(&key, error.to_string()));
            }
            Err(error) => untried.push(error.to_string()),
        }
    }
    if errors.is_empty() {
        Ok(untried)
    } else {
        Err(ConfigErrors(errors))
    }
}

/// Checks nodes, drivers and schemes, as the running process does.
fn check_readiness(config: &Config, out: &mut dyn Write) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        CliError(format!(
            "no threads can be started ({error}); raise the process's limits"
        ))
    })?;
    let reports = runtime
        .block_on(App::check_readiness(config))
        .map_err(CliError::new);
    runtime.shutdown_timeout(Duration::from_secs(1));
    if print_reports(&reports?, out)? {
        Ok(())
    } else {
        Err(CliError("not everything is ready".to_owned()))
    }
}

/// Prints the reports. Returns whether everything is ready.
pub(super) fn print_reports(reports: &[NetworkReport], out: &mut dyn Write) -> Result<bool, CliError> {
    let mut all_ready = true;
    writeln!(out, "\nReadiness; no transaction was sent:")?;
    for report in reports {
        let network = &report.readiness;
        all_ready &= network.ready;
        let why = network.why_not.as_deref().unwrap_or("no reason is known");
        let state = if network.ready {
            "ready".to_owned()
        } else {
            format!("NOT READY: {why}")
        };
        writeln!(out, "  {}  {state}", network.network)?;
        for warning in &network.warnings {
            writeln!(out, "    warning: {warning}")?;
        }
        // If the network is not ready, `why` names them.
        for node in report.nodes.iter().filter(|_| network.ready) {
            if let Some(trouble) = &node.trouble {
                all_ready = false;
                writeln!(
                    out,
                    "    node {}  NOT USED: {trouble}; correct it in rpc, or take it out",
                    node.host
                )?;
            }
        }
        for signer in report.unfunded.iter().filter(|_| network.ready) {
            all_ready = false;
            writeln!(
                out,
                "    signer {signer}  CAN'T PAY for a transaction of max_cost: send it native currency, or take it out"
            )?;
        }
        // Schemes are checked only where their network is ready.
        for scheme in network.schemes.iter().filter(|_| network.ready) {
            all_ready &= scheme.ready;
            let why = scheme.why_not.as_deref().unwrap_or("the scheme gives no reason");
            let state = if scheme.ready {
                "ready".to_owned()
            } else {
                format!("NOT READY: {why}")
            };
            writeln!(out, "    {}  {state}", scheme.scheme)?;
            for warning in &scheme.warnings {
                writeln!(out, "      warning: {warning}")?;
            }
        }
    }
    Ok(all_ready)
}

/// Prints what the configuration serves.
fn print(config: &Config, survey: &Survey, out: &mut dyn Write) -> Result<(), CliError> {
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
        print_network(network, survey, out)?;
    }
    Ok(())
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

fn print_network(network: &Network, survey: &Survey, out: &mut dyn Write) -> Result<(), CliError> {
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
    let retained: Vec<String> = network
        .retained_signers
        .iter()
        .map(|name| format!("{name} (retained)"))
        .collect();
    writeln!(
        out,
        "  signers   {}",
        [network.signers.clone(), retained].concat().join(", ")
    )?;
    let (confirmations, finality) = (network.confirmations, network.finality);
    writeln!(
        out,
        "  depth     {confirmations} to answer, {finality} final; at most {} per transaction",
        network.max_cost
    )?;
    print_schemes(network, survey, out)?;
    print_assets(network, survey, out)
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
