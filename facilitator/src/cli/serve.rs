//! `switchyard serve` and `switchyard check`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::load;
use crate::app::{App, Survey, load_keys};
use crate::config::Config;
use crate::http;
use crate::telemetry::log;

/// How long settlements whose callers are gone may still end after the drain. What does not is resumed at the next start.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(2);
/// Between two measurements of what is open.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

pub(super) fn serve(path: &Path) -> Result<(), String> {
    let config = load(path)?;
    log::init(config.log.format, &config.log.level).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("no runtime: {error}"))?;
    let served = runtime.block_on(run(&config));
    // Plugin threads and the journal's end with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn run(config: &Config) -> Result<(), String> {
    let app = App::start(config).await.map_err(|error| error.to_string())?;
    let service = Arc::new(Arc::clone(&app.engine));
    let metrics = Arc::clone(&app.metrics);
    let measured = async {
        loop {
            app.engine.measure();
            tokio::time::sleep(MEASURE_EVERY).await;
        }
    };
    tokio::select! {
        served = http::serve(config, service, metrics, http::shutdown_signal()) => {
            served.map_err(|error| format!("{}: {error}; choose another `server.listen`", config.server.listen))?;
        }
        () = measured => {}
    }
    drain(&app).await;
    Ok(())
}

/// Lets settlements end that are about to; the journal has all of them.
async fn drain(app: &App) {
    let ended = async {
        while app.engine.undecided() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(LAST_SETTLEMENTS, ended).await.is_err() {
        tracing::warn!(undecided = app.engine.undecided(), "stopping with open settlements; the next start resumes them");
    }
    app.engine.stop();
    tracing::info!("stopped");
}

pub(super) fn check(path: &Path) -> Result<(), String> {
    let config = load(path)?;
    let survey = Survey::make(&config).map_err(|errors| errors.to_string())?;
    load_keys(&config).map_err(|errors| errors.to_string())?;
    println!("{} is good.\n", path.display());
    println!("Listens on http://{}{}", config.server.listen, config.server.base_path);
    match config.tenants.len() {
        0 => println!("Open to every caller: no tenants are configured"),
        tenants => println!("Open to {tenants} tenants"),
    }
    for network in config.networks.values() {
        let name = network.v1_name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        println!("\n{}{name}", network.id);
        println!("  nodes    {}", network.rpc.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        println!("  signers  {}", network.signers.join(", "));
        match survey.assets_of(network) {
            None => println!("  assets   any"),
            Some(assets) if assets.is_empty() => {
                println!("  assets   none: add some to `assets`, or nothing can be paid");
            }
            Some(assets) => {
                let shown = assets.iter().map(|asset| {
                    let known = survey.known_assets(&network.id).find(|known| known.asset.eq_ignore_ascii_case(asset));
                    known.map_or_else(|| asset.clone(), |known| format!("{asset} {}", known.symbol))
                });
                println!("  assets   {}", shown.collect::<Vec<_>>().join(", "));
            }
        }
        for one in survey.instances.iter().filter(|one| one.networks.contains(&network.id)) {
            for role in one.schemes(network.id.split(':').next().unwrap_or_default()) {
                let versions: Vec<String> = role.versions.iter().map(|version| format!("v{version}")).collect();
                println!("  scheme   {} {} by {} {}", role.scheme, versions.join(", "), one.manifest.id, one.manifest.version);
            }
        }
    }
    println!("\nNot checked: whether nodes answer and signers hold gas; `serve` does, and /ready tells.");
    Ok(())
}
