//! Tenants that are added here, and their keys.

use admin_api::view::Done;
use admin_api::{DeskError, NewTenant};
use base::clock::{Clock as _, SystemClock};
use http_api::Scope;
use sdk_plugin::HexBytes;
use sha2::{Digest as _, Sha256};

use super::OperatorDesk;
use super::changes::done;
use crate::app::tenants::{self, Added};

/// Most valid keys of an added tenant.
const MOST_KEYS: usize = 8;

impl OperatorDesk {
    pub(super) async fn add_tenant(&self, new: NewTenant) -> Result<Done, DeskError> {
        let NewTenant { name, scopes } = new;
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_name {
            return Err(DeskError::Invalid(format!(
                "name {name:?}: write letters, digits, - and _ only"
            )));
        }
        if let Some(wrong) = scopes.iter().find(|scope| Scope::from_name(scope).is_none()) {
            return Err(DeskError::Invalid(format!(
                "scope {wrong:?} is none; write verify, settle or supported"
            )));
        }
        let is_known = {
            let tenants = self.app.tenants();
            let tenants = tenants.borrow();
            if tenants.is_empty() {
                return Err(DeskError::Conflict(
                    "there are no tenants yet: with the first one every caller needs a key, so it is written as [[tenants]] in the \
                     configuration file, which needs a start"
                        .to_owned(),
                ));
            }
            tenants.iter().any(|tenant| tenant.name == name)
        };
        if is_known {
            return Err(DeskError::Conflict(format!("tenant {name:?} is there already")));
        }
        let scopes = if scopes.is_empty() {
            ["verify", "settle", "supported"].map(str::to_owned).to_vec()
        } else {
            scopes
        };
        let at_ms = SystemClock.now_ms();
        self.with_key(move |added, hash| {
            added.push(Added {
                name: name.clone(),
                keys: vec![hash],
                scopes: scopes.clone(),
                at_ms,
            });
            Ok(format!(
                "tenant {name} is new: this is its API key, and it is shown only now"
            ))
        })
        .await
    }

    pub(super) async fn rotate(&self, name: &str) -> Result<Done, DeskError> {
        let wanted = name.to_owned();
        self.with_key(move |added, hash| {
            let tenant = of_name(added, &wanted)?;
            if tenant.keys.len() >= MOST_KEYS {
                return Err(DeskError::Conflict(format!(
                    "tenant {wanted} has {MOST_KEYS} valid keys: retire the older ones first"
                )));
            }
            tenant.keys.push(hash);
            Ok(format!(
                "this is a further API key of tenant {wanted}, shown only now; the one before is valid until you retire it"
            ))
        })
        .await
    }

    pub(super) async fn retire(&self, name: &str) -> Result<Done, DeskError> {
        let wanted = name.to_owned();
        let sentence = self
            .change_tenants(move |added| {
                let tenant = of_name(added, &wanted)?;
                let newest = tenant.keys.pop();
                let retired = tenant.keys.len();
                tenant.keys = newest.into_iter().collect();
                Ok(format!("{retired} older keys of tenant {wanted} are refused now"))
            })
            .await?;
        Ok(done(sentence))
    }

    async fn with_key(
        &self,
        with: impl FnOnce(&mut Vec<Added>, HexBytes) -> Result<String, DeskError> + Send + 'static,
    ) -> Result<Done, DeskError> {
        let key = tenants::random_text().map_err(DeskError::Unavailable)?;
        let hash = HexBytes(Sha256::digest(key.as_bytes()).to_vec());
        let sentence = self.change_tenants(move |added| with(added, hash)).await?;
        Ok(Done {
            done: vec![sentence],
            failed: Vec::new(),
            api_key: Some(key.to_string()),
        })
    }

    async fn change_tenants(
        &self,
        with: impl FnOnce(&mut Vec<Added>) -> Result<String, DeskError> + Send + 'static,
    ) -> Result<String, DeskError> {
        if self.config.postgres.is_some() {
            return Err(DeskError::Conflict(
                "several nodes share this journal: write the tenant into the configuration file of each, and reload".to_owned(),
            ));
        }
        let directory = self.config.data_directory.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let failed = |error: std::io::Error| {
                DeskError::Unavailable(format!("the list of added tenants can't be written ({error})"))
            };
            let _lock = tenants::lock(&directory).map_err(failed)?;
            let mut added = tenants::read(&directory).map_err(DeskError::Unavailable)?;
            let sentence = with(&mut added)?;
            tenants::write(&directory, &added).map_err(failed)?;
            let names = added.into_iter().map(|tenant| tenant.name).collect();
            Ok((sentence, names))
        });
        let (sentence, names) = changed
            .await
            .map_err(|error| DeskError::Unavailable(error.to_string()))??;
        *self.added.write() = names;
        let replaced = self.app.replace_tenants().await;
        replaced.map_err(|why| {
            DeskError::Unavailable(format!(
                "it is recorded and takes effect with the next reload: {why}"
            ))
        })?;
        Ok(sentence)
    }
}

fn of_name<'a>(added: &'a mut [Added], name: &str) -> Result<&'a mut Added, DeskError> {
    added.iter_mut().find(|tenant| tenant.name == name).ok_or_else(|| {
        DeskError::Unknown(format!(
            "tenant {name:?} was not added here; one of the configuration file is changed there, with a reload"
        ))
    })
}
