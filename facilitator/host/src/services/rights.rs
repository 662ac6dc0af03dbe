//! Which operation may use which service.
//!
//! `identify` and `judge` are pure functions of what they are given: with a read inside, one payment could be two
//! claims, or proven by something that nobody recorded. Durable writes are left to routes and jobs; a plan's and a
//! judgement's own writes ride in the commit they belong to.

use super::super::rpc::Traffic;
use base::calls::Operation;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Send,
    Sign,
    StoreRead,
    StoreWrite,
    Job,
}

impl Right {
    /// For sentences.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "an RPC read",
            Self::Send => "a send",
            Self::Sign => "a signature",
            Self::StoreRead => "reading the store",
            Self::StoreWrite => "writing to the store",
            Self::Job => "scheduling a job",
        }
    }
}

pub(super) fn allows(operation: Operation, right: Right) -> bool {
    use Operation as O;
    match right {
        Right::Read | Right::StoreRead => !matches!(operation, O::Identify | O::Judge),
        Right::Send => operation == O::Broadcast,
        Right::Sign => matches!(operation, O::Build | O::Fill),
        Right::StoreWrite => matches!(operation, O::Route | O::Job),
        Right::Job => matches!(operation, O::Plan | O::Route | O::Job),
    }
}

/// Whose places in the RPC queue an operation takes.
pub(super) fn traffic(operation: Operation) -> Traffic {
    use Operation as O;
    match operation {
        O::Supported | O::Identify | O::Verify | O::Plan | O::Judge | O::Route => Traffic::Intake,
        O::Job
        | O::SchemeCheck
        | O::Check
        | O::Lane
        | O::Quote
        | O::Build
        | O::Fill
        | O::Broadcast
        | O::Observe => Traffic::Engine,
    }
}
