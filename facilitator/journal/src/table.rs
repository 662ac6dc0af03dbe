//! Tables of the projection, and what a back end offers to read and write them.

use super::JournalError;

/// Tables of the projection. Each maps a text key to a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Claim key → id of its latest settlement.
    Claims,
    /// Hash of an opener's request, or of its payload ([`payload_key`](crate::keys::payload_key)) → id of its latest settlement.
    Requests,
    /// Settlement id → [`SettlementRow`](crate::SettlementRow).
    Settlements,
    /// Ids of settlements that are not finished.
    Unfinished,
    /// Stage, time and id of every finished settlement → nothing: the order in which rows are removed in time.
    Finished,
    /// Settlement id → plan. Bearer instruments.
    Plans,
    /// Attempt id → [`AttemptRow`](crate::AttemptRow).
    Attempts,
    /// Settlement, step, attempt: which attempts carry which steps.
    AttemptSteps,
    /// Attempt id → signed bytes. Bearer instruments.
    Payloads,
    /// Lane and sequence → [`SlotRow`](crate::SlotRow), slots that are not closed.
    OpenSlots,
    /// The same, closed.
    ClosedSlots,
    /// Lane → one past the highest journaled sequence.
    Lanes,
    /// Network and evidence item → settlement id.
    Evidence,
    /// Conflict key → settlement id.
    ConflictKeys,
    /// Network, asset, payer, settlement → reserve.
    Reserves,
    /// Network, signer, settlement → until when the signer must stay usable.
    Holds,
    /// Plugin and key → row of a plugin's store.
    Store,
    /// Plugin and id → job.
    Jobs,
    /// Network, time, plugin and id of every job → nothing.
    DueJobs,
    /// Settlements whose release is withheld → [`WithheldRow`](crate::WithheldRow); reasons that were recorded → when.
    Withheld,
    /// What a settlement is searched by, with its id → nothing: see [`lookups`](crate::lookups).
    Lookups,
    /// Settlement, time and number of a commit's first event → what it recorded: one
    /// [`HistoryRow`](crate::history::HistoryRow), or a list of them.
    History,
    /// Network, time and id of every attempt → nothing: what was spent since a moment.
    Spending,
    /// Network → the highest block in which a step is final.
    FinalHeights,
    /// Time and key of every row of a plugin's store that ends → nothing.
    StoreExpiry,
    /// Unit → [`Lease`](crate::lease::Lease), where several nodes share the journal.
    Leases,
    /// Unit and settlement id → nothing: settlements that another node opened for the owner of the unit, and those that the
    /// owner continues; see [`units`](crate::units).
    Handovers,
    /// Day and account → how much of its limit nodes have taken.
    Grants,
    /// Claim and node → since when the node plans a settlement of the claim, milliseconds since the epoch.
    Intents,
    /// Name → text that an operator has set for every node: see [`settings`](crate::settings).
    Settings,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 30] = [
        Self::Claims,
        Self::Requests,
        Self::Settlements,
        Self::Unfinished,
        Self::Finished,
        Self::Plans,
        Self::Attempts,
        Self::AttemptSteps,
        Self::Payloads,
        Self::OpenSlots,
        Self::ClosedSlots,
        Self::Lanes,
        Self::Evidence,
        Self::ConflictKeys,
        Self::Reserves,
        Self::Holds,
        Self::Store,
        Self::Jobs,
        Self::DueJobs,
        Self::Withheld,
        Self::Lookups,
        Self::History,
        Self::Spending,
        Self::FinalHeights,
        Self::StoreExpiry,
        Self::Leases,
        Self::Handovers,
        Self::Grants,
        Self::Intents,
        Self::Settings,
    ];

    /// The table's name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::Requests => "requests",
            Self::Settlements => "settlements",
            Self::Unfinished => "unfinished",
            Self::Finished => "finished",
            Self::Plans => "plans",
            Self::Attempts => "attempts",
            Self::AttemptSteps => "attempt_steps",
            Self::Payloads => "payloads",
            Self::OpenSlots => "open_slots",
            Self::ClosedSlots => "closed_slots",
            Self::Lanes => "lanes",
            Self::Evidence => "evidence",
            Self::ConflictKeys => "conflict_keys",
            Self::Reserves => "reserves",
            Self::Holds => "holds",
            Self::Store => "store",
            Self::Jobs => "jobs",
            Self::DueJobs => "due_jobs",
            Self::Withheld => "withheld",
            Self::Lookups => "lookups",
            Self::History => "history",
            Self::Spending => "spending",
            Self::FinalHeights => "final_heights",
            Self::StoreExpiry => "store_expiry",
            Self::Leases => "leases",
            Self::Handovers => "handovers",
            Self::Grants => "grants",
            Self::Intents => "intents",
            Self::Settings => "settings",
        }
    }
}

/// Names a row.
pub type RowKey = (Table, String);

/// How a row changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The commit rests on there being no such row: fails if there is one, which another writer has made.
    Insert(String),
    /// Inserted or replaced.
    Put(String),
    /// Removed if it is there.
    Delete,
}

/// Rows of one atomic commit or one consistent read.
pub trait Rows {
    /// The row at `key`.
    ///
    /// # Errors
    /// The table can't be read.
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError>;

    /// Several rows, in the order of their keys here. A back end over a network does it in one round trip.
    ///
    /// # Errors
    /// A table can't be read.
    fn get_all(&mut self, keys: &[RowKey]) -> Result<Vec<Option<String>>, JournalError> {
        keys.iter().map(|(table, key)| self.get(*table, key)).collect()
    }

    /// Rows whose key begins with `prefix` and is greater than `after`, in key order, at most `limit`.
    ///
    /// # Errors
    /// The table can't be read.
    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError>;

    /// Rows whose key begins with `prefix` and is less than `before`, from the greatest key down, at most `limit`. A back
    /// end on a disk begins at the end.
    ///
    /// # Errors
    /// The table can't be read.
    fn scan_back(
        &mut self,
        table: Table,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let mut found = self.scan(table, prefix, None, usize::MAX)?;
        found.retain(|(key, _)| before.is_none_or(|before| key.as_str() < before));
        found.reverse();
        found.truncate(limit);
        Ok(found)
    }
}

/// What [`Storage::fetch`] reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The rows at the keys, in the order of the keys.
    pub rows: Vec<Option<String>>,
    /// Keys and values with each prefix, in the order of the prefixes and of the keys.
    pub scans: Vec<Vec<(String, String)>>,
}

/// What a back end offers inside one transaction.
pub trait Storage: Rows {
    /// Rows by their keys, and all rows whose keys begin with these prefixes. A back end over a network does it in one round
    /// trip, and keeps other writers away from what it has read until the transaction ends.
    ///
    /// # Errors
    /// A table can't be read.
    fn fetch(&mut self, keys: &[RowKey], prefixes: &[RowKey]) -> Result<Fetched, JournalError> {
        let scan = |(table, prefix): &RowKey| self.scan(*table, prefix, None, usize::MAX);
        let scans = prefixes.iter().map(scan).collect::<Result<_, _>>()?;
        let rows = self.get_all(keys)?;
        Ok(Fetched { rows, scans })
    }

    /// Changes the row at `key`.
    ///
    /// # Errors
    /// The row can't be written, or is to be inserted and is there.
    fn write(&mut self, table: Table, key: &str, write: &Write) -> Result<(), JournalError>;

    /// Changes several rows. A back end over a network does it in one round trip.
    ///
    /// # Errors
    /// As [`Storage::write`] has. Some may be written.
    fn write_all(&mut self, writes: &[(RowKey, Write)]) -> Result<(), JournalError> {
        writes
            .iter()
            .try_for_each(|((table, key), write)| self.write(*table, key, write))
    }
}
