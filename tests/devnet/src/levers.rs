//! The levers on the node: when blocks come, what time it is, what happens to waiting transactions, and reorganisations.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Devnet, Error, Mining};

/// A sent transaction that no block takes within this time is reported as an error.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Enough for any transaction's gas: 1 ETH.
const LENT_WEI: u128 = 1_000_000_000_000_000_000;
/// No base fee of a test comes near it: 1,000 gwei.
const FAR_ABOVE_BASE_FEE_WEI: u128 = 1_000_000_000_000;

impl Devnet {
    /// Switches between mining at once, on a timer, and by hand.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_mining(&self, mining: Mining) -> Result<(), Error> {
        match mining {
            Mining::Auto => self.set_automine(true),
            Mining::Every(seconds) => self.set_interval_mining(seconds),
            Mining::Manual => {
                self.set_interval_mining(0)?;
                self.set_automine(false)
            }
        }
    }

    /// Turns mining at once on or off.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_automine(&self, on: bool) -> Result<(), Error> {
        self.rpc().call("evm_setAutomine", json!([on])).map(drop)
    }

    /// Mines a block every so many seconds instead of at once; 0 stops the timer.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_interval_mining(&self, seconds: u64) -> Result<(), Error> {
        self.rpc()
            .call("evm_setIntervalMining", json!([seconds]))
            .map(drop)
    }

    /// Mines blocks now, with what waits in the pool.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn mine(&self, blocks: u64) -> Result<(), Error> {
        self.rpc()
            .call("anvil_mine", json!([format!("{blocks:#x}")]))
            .map(drop)
    }

    /// Puts the chain's clock forward; the next block shows it.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn increase_time(&self, seconds: u64) -> Result<(), Error> {
        self.rpc().call("evm_increaseTime", json!([seconds])).map(drop)
    }

    /// Remembers the state; [`Devnet::revert`] returns to it, once.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn snapshot(&self) -> Result<String, Error> {
        let id = self.rpc().call("evm_snapshot", json!([]))?;
        Ok(id.as_str().unwrap_or_default().to_owned())
    }

    /// Returns to a snapshot; what came after is forgotten.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the snapshot does not exist (any more).
    pub fn revert(&self, snapshot: &str) -> Result<(), Error> {
        match self.rpc().call("evm_revert", json!([snapshot]))? {
            Value::Bool(true) => Ok(()),
            _ => Err(Error::Malformed(format!("there is no snapshot {snapshot}"))),
        }
    }

    /// Replaces the newest `depth` blocks by empty ones: their transactions are gone.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn reorg(&self, depth: u64) -> Result<(), Error> {
        self.rpc().call("anvil_reorg", json!([depth, []])).map(drop)
    }

    /// Removes one waiting transaction from the pool.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn drop_transaction(&self, hash: &str) -> Result<(), Error> {
        self.rpc().call("anvil_dropTransaction", json!([hash])).map(drop)
    }

    /// Removes every waiting transaction from the pool.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn drop_all_transactions(&self) -> Result<(), Error> {
        self.rpc().call("anvil_dropAllTransactions", json!([])).map(drop)
    }

    /// Sets the base fee of the next block, in wei.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_next_block_base_fee(&self, wei: u128) -> Result<(), Error> {
        self.rpc()
            .call("anvil_setNextBlockBaseFeePerGas", json!([format!("{wei:#x}")]))
            .map(drop)
    }

    /// Number and time (Unix seconds) of the newest block.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn head(&self) -> Result<(u128, u128), Error> {
        let block = self
            .rpc()
            .call("eth_getBlockByNumber", json!(["latest", false]))?;
        let number = crate::rpc::quantity("block number", &block["number"])?;
        Ok((
            number,
            crate::rpc::quantity("block timestamp", &block["timestamp"])?,
        ))
    }

    /// How many transactions of an address were mined: its next free nonce.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn transaction_count(&self, address: &str) -> Result<u128, Error> {
        self.rpc()
            .quantity("eth_getTransactionCount", json!([address, "latest"]))
    }

    /// The same, with what waits in the pool.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn pending_count(&self, address: &str) -> Result<u128, Error> {
        self.rpc()
            .quantity("eth_getTransactionCount", json!([address, "pending"]))
    }

    /// The receipts of a block's transactions.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn receipts(&self, block: u128) -> Result<Vec<Value>, Error> {
        let receipts = self
            .rpc()
            .call("eth_getBlockReceipts", json!([format!("{block:#x}")]))?;
        Ok(receipts.as_array().cloned().unwrap_or_default())
    }

    /// The receipt of a transaction, if a block holds it.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn receipt(&self, hash: &str) -> Result<Option<Value>, Error> {
        let receipt = self.rpc().call("eth_getTransactionReceipt", json!([hash]))?;
        Ok(Some(receipt).filter(|receipt| !receipt.is_null()))
    }

    /// All logs of a contract from the first block on, optionally of one kind (first topic).
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn logs(&self, contract: &str, topic: Option<&str>) -> Result<Vec<Value>, Error> {
        let topics: Vec<&str> = topic.into_iter().collect();
        let filter = json!({"fromBlock": "0x0", "toBlock": "latest", "address": contract, "topics": topics});
        let logs = self.rpc().call("eth_getLogs", json!([filter]))?;
        Ok(logs.as_array().cloned().unwrap_or_default())
    }

    /// Sends a transaction in the name of any address, without its key, and returns the receipt. With mining stopped it
    /// mines a block for it, with everything that waits. The sender needs wei for the gas.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`]: a transaction that would revert is already refused when its gas is estimated.
    pub fn send(&self, from: &str, to: &str, data: &str) -> Result<Value, Error> {
        self.submit(json!({"from": from, "to": to, "data": data}))
    }

    /// As [`Devnet::send`], with a fixed gas limit: nothing is estimated, so that it may also revert in its block.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn send_with_gas(&self, from: &str, to: &str, data: &str, gas: u64) -> Result<Value, Error> {
        self.submit(json!({"from": from, "to": to, "data": data, "gas": format!("{gas:#x}")}))
    }

    /// Puts a transaction into the pool in the name of any address, without its key and without mining, and returns its
    /// hash. `tip_wei`: what it offers a block per unit of gas, which decides its position there.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn enqueue(
        &self,
        from: &str,
        to: &str,
        data: &str,
        gas: u64,
        tip_wei: u128,
    ) -> Result<String, Error> {
        let fee = tip_wei.saturating_add(FAR_ABOVE_BASE_FEE_WEI);
        self.enqueue_request(json!({
            "from": from, "to": to, "data": data, "gas": format!("{gas:#x}"),
            "maxPriorityFeePerGas": format!("{tip_wei:#x}"), "maxFeePerGas": format!("{fee:#x}"),
        }))
    }

    /// Sets the next nonce of an address.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_nonce(&self, address: &str, nonce: u64) -> Result<(), Error> {
        self.rpc()
            .call("anvil_setNonce", json!([address, format!("{nonce:#x}")]))
            .map(drop)
    }

    /// As [`Devnet::send`], for a sender without wei: the gas is lent, and nothing of it is left afterwards.
    ///
    /// # Errors
    /// As [`Devnet::send`].
    pub fn send_for_free(&self, from: &str, to: &str, data: &str) -> Result<Value, Error> {
        let own = self.wei_of(from)?;
        self.set_wei(from, own.saturating_add(LENT_WEI))?;
        let sent = self.send(from, to, data);
        self.set_wei(from, own)?;
        sent
    }

    fn submit(&self, transaction: Value) -> Result<Value, Error> {
        let hash = self.enqueue_request(transaction)?;
        self.wait_for_receipt(&hash)
    }

    fn enqueue_request(&self, transaction: Value) -> Result<String, Error> {
        let from = transaction["from"].clone();
        self.rpc().call("anvil_impersonateAccount", json!([from]))?;
        let sent = self.rpc().call("eth_sendTransaction", json!([transaction]));
        self.rpc().call("anvil_stopImpersonatingAccount", json!([from]))?;
        Ok(sent?.as_str().unwrap_or_default().to_owned())
    }

    fn wait_for_receipt(&self, hash: &str) -> Result<Value, Error> {
        let automine = self.rpc().call("anvil_getAutomine", json!([]))? == json!(true);
        let interval = self.rpc().call("anvil_getIntervalMining", json!([]))?;
        if !automine && interval.is_null() {
            self.mine(1)?;
        }
        let started = Instant::now();
        loop {
            match self.receipt(hash)? {
                Some(receipt) => return Ok(receipt),
                None if started.elapsed() < RECEIPT_TIMEOUT => std::thread::sleep(Duration::from_millis(20)),
                None => return Err(Error::Malformed(format!("no block took transaction {hash}"))),
            }
        }
    }
}
