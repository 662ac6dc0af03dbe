//! Why an operator does not get what they want.

/// Why something is not shown or not done. The text is a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskError {
    /// The request is wrong.
    Invalid(String),
    /// There is no such thing.
    Unknown(String),
    /// It does not fit what is there now.
    Conflict(String),
    /// It can't be done now; nothing was changed.
    Unavailable(String),
}

impl std::fmt::Display for DeskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(sentence)
            | Self::Unknown(sentence)
            | Self::Conflict(sentence)
            | Self::Unavailable(sentence) => f.write_str(sentence),
        }
    }
}
