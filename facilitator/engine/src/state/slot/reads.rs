//! What the polls of a slot read besides its transactions.

/// What the next poll of a slot reads besides its transactions.
#[derive(Debug, Default)]
pub struct Reads {
    /// The guards of its steps.
    pub guards: bool,
    /// The logs of the whole block: one transaction's logs were not enough to judge by.
    pub whole_block: bool,
    pub search: Search,
}

/// The search of the logs for the transaction that changed a guard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Search {
    /// The next poll does not search.
    #[default]
    Off,
    /// The next poll searches.
    On,
    /// The next poll searches. The result of the last search was judged, and does not explain the change.
    ExplainsNothing,
}

impl Search {
    /// Whether the next poll searches.
    #[must_use]
    pub fn is_on(self) -> bool {
        match self {
            Self::Off => false,
            Self::On | Self::ExplainsNothing => true,
        }
    }
}

impl Reads {
    /// Reads the guards from the next poll on; `false` when that was so before.
    pub fn add_guards(&mut self) -> bool {
        !std::mem::replace(&mut self.guards, true)
    }

    /// Searches the logs from the next poll on; `false` when that was so before.
    pub fn add_search(&mut self) -> bool {
        let is_new = !self.search.is_on();
        if is_new {
            self.search = Search::On;
        }
        is_new
    }

    /// Records whether the result of the search was judged and does not explain the change.
    pub fn record_search(&mut self, explains_nothing: bool) {
        self.search = match self.search {
            Search::Off => Search::Off,
            Search::On | Search::ExplainsNothing if explains_nothing => Search::ExplainsNothing,
            Search::On | Search::ExplainsNothing => Search::On,
        };
    }
}
