//! The interface between the admin listener and the process.

use async_trait::async_trait;

use crate::access::Actor;
use crate::change::Change;
use crate::error::DeskError;
use crate::view::{Acts, Done, Explained, Overview, Payments, Series};

/// What operators read and change.
#[async_trait]
pub trait Desk: Send + Sync + 'static {
    /// Everything at a glance. Reads memory and, at most once a second, the journal.
    async fn overview(&self) -> Overview;

    /// The last hours in steps.
    async fn series(&self) -> Series;

    /// One page of payments.
    async fn payments(&self, query: &PaymentQuery) -> Result<Payments, DeskError>;

    /// The payments of a name: an id, a transaction or a claim.
    async fn explain(&self, name: &str) -> Result<Explained, DeskError>;

    /// What operators have done, the newest first.
    async fn acts(&self) -> Result<Acts, DeskError>;

    /// Records the change with its actor in the journal, then makes it. The caller has checked that the actor may make it.
    async fn change(&self, actor: &Actor, change: Change) -> Result<Done, DeskError>;
}

/// Which payments a page contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentQuery {
    pub status: Option<String>,
    /// CAIP-2.
    pub network: Option<String>,
    pub tenant: Option<String>,
    pub payer: Option<String>,
    pub payee: Option<String>,
    /// An id, a transaction or a claim.
    pub name: Option<String>,
    /// [`Payments::cursor`] of the page before.
    pub cursor: Option<String>,
    /// 1 to 200.
    pub limit: usize,
}
