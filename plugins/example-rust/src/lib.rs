//! A plugin as a third party would write it: the scheme `voucher`.
//!
//! The operator issues single-use codes, each valid for one price at one seller, and writes their SHA-256 into the
//! plugin's configuration. A buyer pays by showing a code:
//!
//! ```json
//! { "scheme": "voucher", "network": "eip155:8453", "payload": { "code": "7Q2M-…" } }
//! ```
//!
//! Redeeming a voucher moves nothing on chain: the seller is paid under the agreement for which the voucher was issued. So
//! [`SchemeHandler::plan`](sdk_plugin::SchemeHandler::plan) answers `Done` with one row to write. The host commits that
//! row together with the settlement, on the condition that it is absent: two requests with one code can't both succeed,
//! nor can a crash leave a code spent without an answer. A scheme with a transaction answers `Plan` instead.
//!
//! `GET /voucher/{sha256}` shows an operator whether a voucher was redeemed.

mod book;
mod scheme;

use sdk_plugin::abi::PluginRoles;
use sdk_plugin::{Fault, Value, export_plugin};

use crate::book::Book;
use crate::scheme::Voucher;

fn create(config: Value) -> Result<PluginRoles, Fault> {
    Ok(PluginRoles::default().scheme("voucher", Voucher::new(Book::read(config)?)))
}

export_plugin!(include_str!("../manifest.json"), create);
