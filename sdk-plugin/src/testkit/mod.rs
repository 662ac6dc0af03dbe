//! For tests of schemes and drivers: a host that follows a script, in virtual time, and a tiny executor.
//!
//! ```
//! use sdk_plugin::testkit::{ScriptHost, block_on};
//! use sdk_plugin::host::{RpcCall, RpcResult};
//! use serde_json::json;
//!
//! let host = ScriptHost::at_unix_s(1_700_000_000);
//! host.answer_rpc("eth_blockNumber", |_| RpcResult::Ok(json!("0x10")));
//! let cx = host.cx(host.context("eip155:8453"));
//! let calls = vec![RpcCall { method: "eth_blockNumber".into(), params: json!([]) }];
//! let results = block_on(cx.read(calls)).unwrap();
//! assert_eq!(results, [RpcResult::Ok(json!("0x10"))]);
//! assert_eq!(host.round_trips(), 1);
//! ```

mod calls;
mod executor;
mod host;
mod layer;
pub mod manifest;
mod store;

pub use calls::{identify, internal_error, plan, verify};
pub use executor::block_on;
pub use host::{LogLine, Recorded, ScriptHost};
pub use layer::HostLayer;
