//! What an operator may change, read from a request's path and body.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::access::Role;
use crate::error::DeskError;

/// Longest text of an operator, in characters: it is kept in the journal for good.
const MAX_TEXT: usize = 1_000;
/// Longest name, in bytes.
const MAX_NAME: usize = 512;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing new is accepted of these kinds. `None`: of all.
    Pause {
        network: Option<String>,
        scheme: Option<String>,
        reason: String,
    },
    /// Lifts the pauses of exactly these kinds, or with neither all.
    Resume {
        network: Option<String>,
        scheme: Option<String>,
    },
    /// A signer gets nothing new, and finishes what it has.
    Drain {
        network: String,
        signer: String,
        reason: String,
    },
    /// A drained signer gets new payments again.
    Undrain { network: String, signer: String },
    /// Plugins and tenants are replaced by those of the configuration file.
    Reload,
    /// Reads a payment's transactions from the chain now.
    Sync { payment: String },
    /// Adds a text to a payment's history. It never changes its outcome.
    Annotate { payment: String, text: String },
    /// A withheld release may be given to the next equal request.
    AllowRelease { payment: String },
    /// A new tenant with a new API key.
    AddTenant(NewTenant),
    /// A further API key for a tenant. The one before stays valid.
    RotateTenant { name: String },
    /// Only the newest API key of a tenant stays valid.
    RetireTenantKeys { name: String },
}

/// A tenant to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTenant {
    pub name: String,
    /// `verify`, `settle` and `supported`; empty: all of them.
    pub scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    network: Option<String>,
    scheme: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    network: Option<String>,
    scheme: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    network: String,
    signer: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Undrain {
    network: String,
    signer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPayment {
    payment: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotate {
    payment: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddTenant {
    name: String,
    #[serde(default)]
    scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTenant {
    name: String,
}

impl Change {
    /// The paths below `/api/` that change something.
    pub(crate) const PATHS: [&'static str; 11] = [
        "pause",
        "resume",
        "drain",
        "undrain",
        "reload",
        "sync",
        "annotate",
        "allow-release",
        "tenants/add",
        "tenants/rotate",
        "tenants/retire",
    ];

    /// The role that a change at this path needs.
    pub(crate) fn role_of(path: &str) -> Role {
        match path {
            "pause" | "resume" | "drain" | "undrain" | "reload" | "sync" | "annotate" => Role::Operate,
            // What a new path needs is the most until its role is decided.
            _ => Role::Money,
        }
    }

    /// Reads the body of a request at one of [`Change::PATHS`].
    pub(crate) fn read(path: &str, body: &[u8]) -> Result<Self, DeskError> {
        let change = match path {
            "pause" => {
                let Pause {
                    network,
                    scheme,
                    reason,
                } = parsed(body)?;
                Self::Pause {
                    network,
                    scheme,
                    reason,
                }
            }
            "resume" => {
                let Resume { network, scheme } = parsed(body)?;
                Self::Resume { network, scheme }
            }
            "drain" => {
                let Drain {
                    network,
                    signer,
                    reason,
                } = parsed(body)?;
                Self::Drain {
                    network,
                    signer,
                    reason,
                }
            }
            "undrain" => {
                let Undrain { network, signer } = parsed(body)?;
                Self::Undrain { network, signer }
            }
            "reload" => {
                let Nothing {} = parsed(body)?;
                Self::Reload
            }
            "sync" => {
                let OfPayment { payment } = parsed(body)?;
                Self::Sync { payment }
            }
            "annotate" => {
                let Annotate { payment, text } = parsed(body)?;
                Self::Annotate { payment, text }
            }
            "allow-release" => {
                let OfPayment { payment } = parsed(body)?;
                Self::AllowRelease { payment }
            }
            "tenants/add" => {
                let AddTenant { name, scopes } = parsed(body)?;
                Self::AddTenant(NewTenant { name, scopes })
            }
            "tenants/rotate" => {
                let OfTenant { name } = parsed(body)?;
                Self::RotateTenant { name }
            }
            "tenants/retire" => {
                let OfTenant { name } = parsed(body)?;
                Self::RetireTenantKeys { name }
            }
            other => return Err(DeskError::Unknown(format!("there is no change {other:?}"))),
        };
        change.bounded()
    }

    /// What it is called in the record of what operators do.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Drain { .. } => "drain",
            Self::Undrain { .. } => "undrain",
            Self::Reload => "reload",
            Self::Sync { .. } => "sync",
            Self::Annotate { .. } => "annotate",
            Self::AllowRelease { .. } => "allow-release",
            Self::AddTenant(_) => "tenants/add",
            Self::RotateTenant { .. } => "tenants/rotate",
            Self::RetireTenantKeys { .. } => "tenants/retire",
        }
    }

    fn bounded(self) -> Result<Self, DeskError> {
        match &self {
            Self::Pause {
                network,
                scheme,
                reason,
            } => {
                text("reason", reason)?;
                [("network", network), ("scheme", scheme)]
                    .into_iter()
                    .filter_map(|(member, value)| Some((member, value.as_deref()?)))
                    .try_for_each(|(member, value)| name(member, value))?;
            }
            Self::Resume { network, scheme } => [("network", network), ("scheme", scheme)]
                .into_iter()
                .filter_map(|(member, value)| Some((member, value.as_deref()?)))
                .try_for_each(|(member, value)| name(member, value))?,
            Self::Drain {
                network,
                signer,
                reason,
            } => {
                text("reason", reason)?;
                name("network", network)?;
                name("signer", signer)?;
            }
            Self::Undrain { network, signer } => {
                name("network", network)?;
                name("signer", signer)?;
            }
            Self::Annotate { payment, text: note } => {
                name("payment", payment)?;
                text("text", note)?;
            }
            Self::Sync { payment } | Self::AllowRelease { payment } => name("payment", payment)?,
            Self::AddTenant(NewTenant { name: tenant, .. })
            | Self::RotateTenant { name: tenant }
            | Self::RetireTenantKeys { name: tenant } => name("name", tenant)?,
            Self::Reload => {}
        }
        Ok(self)
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, DeskError> {
    serde_json::from_slice(body).map_err(|error| {
        // The error names members and positions, and repeats nothing of the body but a member's name or a value's type.
        DeskError::Invalid(format!("the body is not what this path takes: {error}"))
    })
}

fn text(member: &str, value: &str) -> Result<(), DeskError> {
    if value.trim().is_empty() {
        return Err(DeskError::Invalid(format!(
            "{member} is empty; write a sentence for those who read it later"
        )));
    }
    if value.chars().count() > MAX_TEXT {
        return Err(DeskError::Invalid(format!(
            "{member} is longer than {MAX_TEXT} characters"
        )));
    }
    Ok(())
}

fn name(member: &str, value: &str) -> Result<(), DeskError> {
    if value.is_empty() || value.len() > MAX_NAME {
        return Err(DeskError::Invalid(format!(
            "{member} is empty or longer than {MAX_NAME} bytes"
        )));
    }
    Ok(())
}
