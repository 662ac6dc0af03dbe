//! The reference remote signer: it serves the protocol of `docs/src/remote-signer.md`, decodes each transaction itself with the
//! chains' own types, computes the digest itself, and signs what its policy file allows.
//!
//! It is an example and a test peer. Its memory of what it has signed is lost when it stops.

pub mod decode;
pub mod der;
pub mod ledger;
pub mod policy;
pub mod serve;
pub mod signer;
