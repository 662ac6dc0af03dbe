//! `auth-capture` against its wire facts.

mod golden;
mod lifecycle;
