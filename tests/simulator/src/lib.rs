//! A deterministic simulator of the settlement engine.
//!
//! The real engine runs on a paused clock over a journal in memory, a driver over a scripted chain that numbers
//! transactions or does not, and three schemes. Clients, weather and faults come from a seed. Afterwards [`oracle`]
//! compares the chain's own history with every answer that callers got.

pub mod campaign;
pub mod chain;
pub mod clients;
pub mod cluster;
pub mod defects;
pub mod disk;
pub mod driver;
pub mod evidence;
pub mod faults;
pub mod hold;
pub mod matrix;
pub mod message;
pub mod oracle;
pub mod planted;
pub mod random;
pub mod rng;
pub mod run;
pub mod scheme;
pub mod script;
pub mod table;
pub mod token;
pub mod trace;
pub mod world;
