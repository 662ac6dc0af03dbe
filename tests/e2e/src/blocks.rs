//! Blocks that come while a test does other work.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use devnet::{Devnet, Rpc};
use serde_json::json;

/// Mines in the background until it is dropped.
#[derive(Debug)]
pub struct Blocks {
    stop: Option<Sender<()>>,
    miner: Option<JoinHandle<()>>,
}

impl Blocks {
    /// A block every so often, with whatever waits in the pool.
    #[must_use]
    pub fn every(chain: &Devnet, pause: Duration) -> Blocks {
        Blocks::with(chain, pause, |rpc| {
            // The chain may be gone already when a test fails.
            let _ = rpc.call("anvil_mine", json!(["0x1"]));
        })
    }

    /// The same, with blocks that cost at least this much per unit of gas, in wei.
    #[must_use]
    pub fn priced(chain: &Devnet, pause: Duration, base_fee_wei: u128) -> Blocks {
        let fee = format!("{base_fee_wei:#x}");
        Blocks::with(chain, pause, move |rpc| {
            let _ = rpc.call("anvil_setNextBlockBaseFeePerGas", json!([fee]));
            let _ = rpc.call("anvil_mine", json!(["0x1"]));
        })
    }

    fn with(chain: &Devnet, pause: Duration, mine: impl Fn(&Rpc) + Send + 'static) -> Blocks {
        let rpc = Arc::new(Rpc::new(chain.url()));
        let (stop, stopped) = channel();
        let miner = std::thread::spawn(move || {
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                mine(&rpc);
            }
        });
        Blocks {
            stop: Some(stop),
            miner: Some(miner),
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(miner) = self.miner.take() {
            let _ = miner.join();
        }
    }
}
