//! `switchyard serve`: reads the configuration, sets up logging, starts the core, and opens the port last.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::shell::COMMIT;
use super::{CliError, open_files};
use crate::app::admin::{self, Admin};
use crate::app::desk::OperatorDesk;
use crate::app::otlp;
use crate::app::{App, cannot_listen, with_added};
use crate::config::{Config, ConfigErrors};
use engine::EngineService;
use sdk_plugin::abi::raw::{ABI_MAJOR, ABI_MINOR};
use telemetry::otlp::Settings;
use telemetry::process::OwnProcess;
use telemetry::{Metrics, log};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long open settlements may take to finish after the drain. The next start resumes the others.
const SETTLEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two updates of the metrics.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn serve(path: &Path) -> Result<(), CliError> {
    let config = Config::load(path).map_err(CliError::new)?;
    let config = with_added(config).map_err(CliError)?;
    log::init(config.log.format, &config.log.level).map_err(CliError::new)?;
    if let Err(too_few) = open_files::raise(config.server.max_connections) {
        tracing::warn!("open_files_limit_too_low: {too_few}");
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        CliError(format!(
            "no threads can be started ({error}); raise the process's limits"
        ))
    })?;
    let served = runtime.block_on(run(&config));
    // Threads of plugins and of the journal end with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn run(config: &Config) -> Result<(), CliError> {
    let sent_to = otlp::settings(config, &|name| std::env::var(name).ok()).map_err(CliError::new)?;
    let app = Arc::new(App::start(config).await.map_err(CliError::new)?);
    let telemetry = Sending::start(sent_to, &app)?;
    let service = Arc::new(EngineService::new(Arc::clone(&app.engine)));
    let metrics = Arc::clone(&app.metrics);
    let settings = config.http();
    name_build(&metrics);
    let process = OwnProcess::default();
    let measured = async {
        loop {
            app.engine.measure();
            process.measure(&app.metrics);
            log::report_suppressed();
            tokio::time::sleep(MEASURE_INTERVAL).await;
        }
    };
    let admin = admin(config, &app);
    app.serves();
    let has_terminal = std::io::stdin().is_terminal();
    let lost = std::sync::OnceLock::new();
    let end = async {
        tokio::select! {
            () = http_api::shutdown_signal(has_terminal) => {}
            unit = app.engine.lease_lost() => {
                // Set once: the process ends then.
                let _ = lost.set(unit);
            }
        }
        app.engine.leave();
    };
    tokio::select! {
        served = http_api::serve(&settings, service, metrics, app.keys.clone(), app.tenants(), app.certificates.server.clone(), end) => {
            served.map_err(|error| CliError::new(ConfigErrors(vec![cannot_listen(config, "server.listen", &error)])))?;
        }
        failed = admin => return Err(failed),
        () = measured => {}
        () = reload_on_request(config, &app, has_terminal) => {}
    }
    drain(&app).await;
    telemetry.end().await;
    match lost.get() {
        // Another status than after a signal: the supervisor starts the process again.
        Some(unit) => Err(CliError(format!(
            "another node of this journal has taken {unit} over; start this one again"
        ))),
        None => Ok(()),
    }
}

/// Serves the admin listener, where there is one. Ends with an error only.
async fn admin(config: &Config, app: &Arc<App>) -> CliError {
    let Some(settings) = &config.admin else {
        return std::future::pending().await;
    };
    let desk = match OperatorDesk::new(Arc::clone(app), config.clone()) {
        Ok(desk) => Arc::new(desk),
        Err(why) => return CliError(why),
    };
    let tls = app.certificates.admin.clone();
    let followed = async {
        match &tls {
            Some(tls) => tls.follow(&app.metrics, "admin").await,
            None => std::future::pending().await,
        }
    };
    let served = admin_api::serve(
        settings,
        tls.clone(),
        Arc::<OperatorDesk>::clone(&desk),
        app.keys.clone(),
    );
    let error = tokio::select! {
        served = served => match served {
            // It does not end by itself.
            Ok(()) => return std::future::pending().await,
            Err(error) => error,
        },
        () = desk.keep_sums() => return std::future::pending().await,
        () = followed => return std::future::pending().await,
    };
    CliError::new(ConfigErrors(vec![cannot_listen(config, "admin.listen", &error)]))
}

/// The task that sends spans and metrics to a collector.
struct Sending {
    tasks: JoinSet<()>,
    end: Option<oneshot::Sender<()>>,
}

impl Sending {
    fn start(settings: Option<Settings>, app: &App) -> Result<Self, CliError> {
        let (end, ended) = oneshot::channel();
        let mut tasks = JoinSet::new();
        if let Some(settings) = settings {
            let exporter =
                telemetry::otlp::start(settings, Arc::clone(&app.metrics)).map_err(CliError::new)?;
            tasks.spawn(exporter.run(ended));
        }
        Ok(Self {
            tasks,
            end: Some(end),
        })
    }

    /// Sends what is left, within a short time.
    async fn end(mut self) {
        drop(self.end.take());
        while self.tasks.join_next().await.is_some() {}
    }
}

fn name_build(metrics: &Metrics) {
    let abi = format!("{ABI_MAJOR}.{ABI_MINOR}");
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", COMMIT.unwrap_or("none")),
        ("plugin_abi", abi.as_str()),
    ];
    metrics.set("switchyard_build_info", &labels, 1.0);
}

/// Reloads when an operator says so: by the admin socket, or by SIGHUP where that is not the end of a terminal. Never returns.
async fn reload_on_request(config: &Config, app: &App, has_terminal: bool) {
    let admin = Admin::listen(&config.data_directory).inspect_err(|error| {
        tracing::warn!(%error, "admin_socket_missing: `switchyard plugin reload` can't reach this process; SIGHUP reloads, too");
    });
    let hangup = (!has_terminal).then(|| signal(SignalKind::hangup()));
    let mut hangup = hangup.and_then(Result::ok);
    loop {
        let command = tokio::select! {
            command = next(admin.as_ref().ok()) => Some(command),
            () = hung_up(hangup.as_mut()) => None,
        };
        if let Some(command) = command.as_ref().filter(|command| command.text != admin::RELOAD) {
            tracing::warn!(
                command = command.text,
                "an unknown command came to the admin socket"
            );
        }
        let (first, lines) = match &command {
            Some(command) if command.text != admin::RELOAD => (
                admin::FAILED,
                vec![format!("unknown command; write {:?}", admin::RELOAD)],
            ),
            Some(_) | None => match app.reload().await {
                Ok(report) => {
                    let first = if report.failed.is_empty() {
                        admin::DONE
                    } else {
                        admin::FAILED
                    };
                    (first, [report.failed, report.done].concat())
                }
                Err(why) => {
                    tracing::error!("not_reloaded: everything serves as before: {why}");
                    (admin::FAILED, vec![why])
                }
            },
        };
        if let Some(command) = command {
            command.reply(first, &lines).await;
        }
    }
}

async fn next(admin: Option<&Admin>) -> admin::Command {
    match admin {
        Some(admin) => admin.next().await,
        None => std::future::pending().await,
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Waits a short time for open settlements. All of them are recorded in the journal.
async fn drain(app: &App) {
    let ended = async {
        while app.engine.undecided() > 0 || app.engine.in_delivery() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(SETTLEMENT_TIMEOUT, ended).await.is_err() {
        tracing::warn!(
            undecided = app.engine.undecided(),
            "stopped_with_open_settlements: the next start resumes them"
        );
    }
    app.engine.stop();
    app.engine.give_up_lanes().await;
    log::report_all_suppressed();
    tracing::info!("stopped");
}
