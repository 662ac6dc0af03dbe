//! What operators change. The journal has each change, with who makes it, before it is made; one that fails is recorded too.

use admin_api::view::Done;
use admin_api::{Actor, Change, DeskError, NewTenant};
use base::clock::{Clock as _, SystemClock};
use base::pause::{self, Lifted, Pause, Paused};
use engine::registry::spelled;
use journal::settings::PAUSED;
use journal::{CommitError, Event};

use super::OperatorDesk;

impl OperatorDesk {
    pub(super) async fn make(&self, actor: &Actor, change: Change) -> Result<Done, DeskError> {
        let about = match &change {
            Change::Sync { payment }
            | Change::Annotate { payment, .. }
            | Change::AllowRelease { payment } => Some(self.only(payment).await?),
            _ => None,
        };
        let settlements: Vec<u64> = about.iter().map(|row| row.id).collect();
        self.record(actor, change.name(), details(&change), settlements.clone())
            .await?;
        let name = change.name();
        let done = match (change, about) {
            (
                Change::Pause {
                    network,
                    scheme,
                    reason,
                },
                _,
            ) => self.pause(network, scheme, None, reason).await,
            (
                Change::Drain {
                    network,
                    signer,
                    reason,
                },
                _,
            ) => self.drain(network, signer, reason).await,
            (Change::Resume { network, scheme }, _) => {
                self.resume(Lifted {
                    network,
                    scheme,
                    signer: None,
                })
                .await
            }
            (Change::Undrain { network, signer }, _) => {
                self.resume(Lifted {
                    network: Some(network),
                    scheme: None,
                    signer: Some(signer),
                })
                .await
            }
            (Change::Reload, _) => self.reload().await,
            (Change::Sync { .. }, Some(row)) => Ok(if self.app.engine.sync(&row) {
                done("its transactions are read from the chain now; the answer is in its history".to_owned())
            } else {
                done("nothing was read: it is finished, or another node continues it".to_owned())
            }),
            // The record is the change.
            (Change::Annotate { .. }, Some(_)) => Ok(done("the text is in the payment's history".to_owned())),
            (Change::AllowRelease { .. }, Some(row)) if !row.withheld => {
                Err(DeskError::Conflict("its release is not withheld".to_owned()))
            }
            (Change::AllowRelease { .. }, Some(row)) => match self.app.engine.allow_release(&row).await {
                Ok(()) => Ok(done(
                    "the next equal request of this payment gets success".to_owned(),
                )),
                Err(why) => Err(DeskError::Unavailable(why)),
            },
            (Change::AddTenant(tenant), _) => self.add_tenant(tenant).await,
            (Change::RotateTenant { name }, _) => self.rotate(&name).await,
            (Change::RetireTenantKeys { name }, _) => self.retire(&name).await,
            (Change::Sync { .. } | Change::Annotate { .. } | Change::AllowRelease { .. }, None) => {
                Err(DeskError::Unknown("there is no such payment".to_owned()))
            }
        };
        if let Err(why) = &done {
            // What was recorded before it says the rest.
            let why = format!("not done: {why}");
            self.record(actor, name, why, settlements).await?;
        }
        done
    }

    async fn record(
        &self,
        actor: &Actor,
        act: &str,
        details: String,
        settlements: Vec<u64>,
    ) -> Result<(), DeskError> {
        let event = Event::Acted {
            by: actor.name.clone(),
            act: act.to_owned(),
            details,
            settlements,
        };
        let recorded = self.app.journal.commit(vec![event]).await;
        recorded.map_err(|error: CommitError| {
            tracing::warn!(%error, "admin_record_failed: nothing was changed");
            DeskError::Unavailable(
                "it can't be recorded now, so nothing was done; the log says why".to_owned(),
            )
        })
    }

    async fn drain(&self, network: String, signer: String, reason: String) -> Result<Done, DeskError> {
        let networks = self.app.engine.figures();
        let Some(known) = networks.into_iter().find(|one| one.network == network) else {
            return Err(self.not_configured(&network));
        };
        let mut signers = known.signers.into_iter();
        let Some(signer) = signers.find(|one| spelled(&one.address) == spelled(&signer)) else {
            return Err(DeskError::Unknown(format!("{signer} is no signer of {network}")));
        };
        self.pause(Some(network), None, Some(signer.address), reason)
            .await
    }

    fn not_configured(&self, network: &str) -> DeskError {
        let known: Vec<&str> = self.config.networks.keys().map(String::as_str).collect();
        DeskError::Unknown(format!(
            "network {network:?} is not configured; write one of {}",
            known.join(", ")
        ))
    }

    async fn pause(
        &self,
        network: Option<String>,
        scheme: Option<String>,
        signer: Option<String>,
        reason: String,
    ) -> Result<Done, DeskError> {
        if let Some(network) = network
            .as_ref()
            .filter(|id| !self.config.networks.contains_key(*id))
        {
            return Err(self.not_configured(network));
        }
        let schemes = self
            .app
            .engine
            .figures()
            .into_iter()
            .flat_map(|network| network.schemes);
        if let Some(scheme) = &scheme
            && !schemes.into_iter().any(|known| known.scheme == *scheme)
        {
            return Err(DeskError::Unknown(format!("scheme {scheme:?} is not served")));
        }
        let new = Pause {
            network,
            scheme,
            signer,
            reason,
            since_s: SystemClock.now_s(),
        };
        let sentence = format!("paused: {new}");
        self.change_pauses(move |now| {
            let mut pauses = listed(now)?;
            pause::add(&mut pauses, new.clone());
            Ok(pauses)
        })
        .await?;
        Ok(done(sentence))
    }

    async fn resume(&self, lifted: Lifted) -> Result<Done, DeskError> {
        let all = lifted == Lifted::default();
        self.change_pauses(move |now| {
            let pauses = match now {
                Paused::Unreadable(_) if all => Vec::new(),
                now => listed(now)?,
            };
            let (removed, remaining) = lifted.split(pauses);
            if removed.is_empty() && !all {
                return Err(DeskError::Unknown("no pause has exactly these values".to_owned()));
            }
            Ok(remaining)
        })
        .await?;
        Ok(done("lifted".to_owned()))
    }

    /// Replaces what is paused, in the list that every command and node reads, and applies it here at once.
    async fn change_pauses(
        &self,
        with: impl Fn(Paused) -> Result<Vec<Pause>, DeskError> + Send + 'static,
    ) -> Result<(), DeskError> {
        let failed = |why: &dyn std::fmt::Display| {
            DeskError::Unavailable(format!("the list of pauses can't be written ({why})"))
        };
        let now = if let Some(shared) = self.app.journal.shared() {
            let settings = shared.settings().await.map_err(|error| failed(&error))?;
            let seen = settings.get(PAUSED);
            let now = pause::from_text(seen.map(String::as_str), "the list of pauses in the database");
            let pauses = with(now)?;
            let text = pause::to_text(&pauses).map_err(|error| failed(&error))?;
            let put = shared.put_setting(PAUSED, seen.map(String::as_str), &text);
            if !put.await.map_err(|error| failed(&error))? {
                return Err(DeskError::Conflict(
                    "another operator has changed the list at this moment; do it again".to_owned(),
                ));
            }
            pauses
        } else {
            let directory = self.config.data_directory.clone();
            let changed = tokio::task::spawn_blocking(move || {
                let failed = |error: std::io::Error| {
                    DeskError::Unavailable(format!("the list of pauses can't be written ({error})"))
                };
                let _lock = pause::lock(&directory).map_err(failed)?;
                let pauses = with(pause::read(&directory))?;
                pause::write(&directory, &pauses).map_err(failed)?;
                Ok(pauses)
            });
            changed.await.map_err(|error| failed(&error))??
        };
        self.app.engine.set_paused(Paused::of(now));
        Ok(())
    }

    async fn reload(&self) -> Result<Done, DeskError> {
        match self.app.reload().await {
            Ok(report) if report.done.is_empty() && report.failed.is_empty() => Ok(done(
                "plugins and tenants are those of the file already".to_owned(),
            )),
            Ok(report) => Ok(Done {
                done: report.done,
                failed: report.failed,
                api_key: None,
            }),
            Err(why) => Err(DeskError::Conflict(format!("everything serves as before: {why}"))),
        }
    }
}

/// The pauses, where they can be trusted.
fn listed(now: Paused) -> Result<Vec<Pause>, DeskError> {
    now.into_list().map_err(|why| {
        DeskError::Conflict(format!(
            "everything is paused: {why}; a resume without network and scheme lifts that"
        ))
    })
}

pub(super) fn done(sentence: String) -> Done {
    Done {
        done: vec![sentence],
        ..Done::default()
    }
}

/// For the record. No key is part of a change.
fn details(change: &Change) -> String {
    let kinds = |network: &Option<String>, scheme: &Option<String>| {
        format!(
            "{} on {}",
            scheme.as_deref().unwrap_or("every scheme"),
            network.as_deref().unwrap_or("every network")
        )
    };
    match change {
        Change::Pause {
            network,
            scheme,
            reason,
        } => format!("{}: {reason}", kinds(network, scheme)),
        Change::Resume { network, scheme } => kinds(network, scheme),
        Change::Drain {
            network,
            signer,
            reason,
        } => format!("signer {signer} on {network}: {reason}"),
        Change::Undrain { network, signer } => format!("signer {signer} on {network}"),
        Change::Reload => "plugins and tenants of the configuration file".to_owned(),
        Change::Sync { payment } | Change::AllowRelease { payment } => format!("payment {payment}"),
        Change::Annotate { text, .. } => text.clone(),
        Change::AddTenant(NewTenant { name, scopes }) => format!("{name} [{}]", scopes.join(", ")),
        Change::RotateTenant { name } | Change::RetireTenantKeys { name } => name.clone(),
    }
}
