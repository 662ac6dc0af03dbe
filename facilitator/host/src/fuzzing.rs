//! Entries for fuzz targets (tests/fuzz). Not part of the API.

pub use crate::custody::fuzzing::reads_key;
pub use crate::rpc::fuzzing::{decode_answers, is_node_error};
