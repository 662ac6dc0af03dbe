//! How refusals name a right, and which queue of the RPC pools an operation uses. The rights themselves are part of each
//! operation's definition: [`sdk_plugin::operation`].

use base::calls::Operation;
use sdk_plugin::operation::Right;

use super::super::rpc::Traffic;

/// The right as part of a sentence.
pub(super) fn name(right: Right) -> &'static str {
    match right {
        Right::Read => "an RPC read",
        Right::Send => "a send",
        Right::Sign => "a signature",
        Right::SignTyped => "a signature over typed data",
        Right::StoreRead => "reading the store",
        Right::StoreWrite => "writing to the store",
        Right::ScheduleJob => "scheduling a job",
    }
}

/// The queue of the RPC pools that an operation's reads use.
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
        | O::Observe
        | O::Start
        | O::Health => Traffic::Engine,
    }
}
