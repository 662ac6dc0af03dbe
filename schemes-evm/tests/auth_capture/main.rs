//! `auth-capture` against its wire facts.

mod collect;
mod golden;
mod lifecycle;
mod reasons;
