//! JSON schemas of everything that crosses the boundary, derived from the types.
//!
//! They are checked in as `schemas/*.json`, for authors who write in another language: a diff of them is a change of
//! the ABI. `UPDATE_SCHEMAS=1 cargo test -p sdk-plugin --features schema` writes them anew.

use crate::operation;
use crate::ops::FaultBody;
use crate::schema::named;

pub use crate::schema::Named;

/// Every schema: two for each operation and host service, the body of a fault, and the manifest.
#[must_use]
pub fn all() -> Vec<Named> {
    let mut all = operation::operation_schemas();
    all.extend(operation::service_schemas());
    all.push(named::<FaultBody>("fault"));
    all.push(named::<crate::Manifest>("manifest"));
    all
}
