//! What is in memory: claims, settlements, slots, the handles of lanes, and running networks. State knows rows and
//! pure decisions, and nothing of the tasks that change it.

pub(crate) mod blocks;
pub(crate) mod claims;
pub(crate) mod elsewhere;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod lane;
pub(crate) mod lane_queue;
pub(crate) mod network;
pub(crate) mod ownership;
pub(crate) mod reservations;
pub(crate) mod settlement;
pub(crate) mod shared_journal;
pub(crate) mod slot;
