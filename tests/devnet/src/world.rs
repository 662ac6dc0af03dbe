//! The state of the planted contracts, read by calls and edited by writing storage: no edit needs a transaction or a
//! block, leaves a log, or disturbs what waits in the pool.

use serde_json::json;

use crate::abi::{bytes_of, u128_of_word, word_of_address, word_of_u128};
use crate::{Arg, Devnet, Error, MOCK_WALLET};

impl Devnet {
    /// Token units that an address holds.
    ///
    /// # Errors
    /// As [`crate::Rpc::eth_call`].
    pub fn balance_of(&self, token: &str, holder: &str) -> Result<u128, Error> {
        let data = self
            .artifact("DollarToken")?
            .call("balanceOf(address)", &[Arg::address(holder)?])?;
        u128_of_word(&self.rpc().eth_call(None, token, &data)?)
    }

    /// Wei that an address holds.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn wei_of(&self, holder: &str) -> Result<u128, Error> {
        self.rpc().quantity("eth_getBalance", json!([holder, "latest"]))
    }

    /// Sets how much wei an address holds.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_wei(&self, holder: &str, wei: u128) -> Result<(), Error> {
        self.rpc()
            .call("anvil_setBalance", json!([holder, format!("{wei:#x}")]))
            .map(drop)
    }

    /// Whether an EIP-3009 nonce (`0x`, 32 bytes) was used or cancelled.
    ///
    /// # Errors
    /// As [`crate::Rpc::eth_call`].
    pub fn authorization_used(&self, token: &str, from: &str, nonce: &str) -> Result<bool, Error> {
        let args = [Arg::address(from)?, Arg::word(nonce)?];
        let data = self
            .artifact("DollarToken")?
            .call("authorizationState(address,bytes32)", &args)?;
        Ok(u128_of_word(&self.rpc().eth_call(None, token, &data)?)? == 1)
    }

    /// Adds to a holder's balance and to the supply.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn mint(&self, token: &str, to: &str, units: u128) -> Result<(), Error> {
        self.mint_all(token, &[to], units)
    }

    pub(crate) fn mint_all(&self, token: &str, holders: &[&str], units: u128) -> Result<(), Error> {
        let artifact = self.artifact("DollarToken")?;
        let supply_slot = artifact.slot("totalSupply")?.slot;
        let supply = u128_of_word(&self.rpc().eth_call(
            None,
            token,
            &artifact.call("totalSupply()", &[])?,
        )?)?;
        let mut total = supply;
        let mut writes = Vec::new();
        for holder in holders {
            let too_much = || Error::Malformed(format!("{units} more units for {holder} do not fit"));
            let balance = self
                .balance_of(token, holder)?
                .checked_add(units)
                .ok_or_else(too_much)?;
            total = total.checked_add(units).ok_or_else(too_much)?;
            let place = self.mapping_slot("balanceOf", holder)?;
            writes.push((
                "anvil_setStorageAt",
                json!([token, place, hex_word(word_of_u128(balance))]),
            ));
        }
        writes.push(self.write_slot(token, supply_slot, word_of_u128(total)));
        self.rpc().batch(writes).map(drop)
    }

    /// Token units that `spender` may take from `owner`.
    ///
    /// # Errors
    /// As [`crate::Rpc::eth_call`].
    pub fn allowance(&self, token: &str, owner: &str, spender: &str) -> Result<u128, Error> {
        let data = self.artifact("DollarToken")?.call(
            "allowance(address,address)",
            &[Arg::address(owner)?, Arg::address(spender)?],
        )?;
        u128_of_word(&self.rpc().eth_call(None, token, &data)?)
    }

    /// Sets what `spender` may take from `owner`, as if the owner had approved it: buyers have no ETH to do so.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_allowance(&self, token: &str, owner: &str, spender: &str, units: u128) -> Result<(), Error> {
        let of_owner = self.mapping_slot("allowance", owner)?;
        let preimage = [word_of_address(spender)?.to_vec(), bytes_of(&of_owner, Some(32))?].concat();
        let place = hex_word(self.keccak(&preimage)?);
        let word = hex_word(word_of_u128(units));
        self.rpc()
            .call("anvil_setStorageAt", json!([token, place, word]))
            .map(drop)
    }

    /// Pauses or unpauses a token: everything but cancelled reads reverts with `Pausable: paused`.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn pause(&self, token: &str, paused: bool) -> Result<(), Error> {
        let place = self.artifact("DollarToken")?.slot("paused")?;
        // The flag shares a storage word with the owner.
        let mut word = word_of_address(&self.admin.address)?;
        word[31 - place.offset] = u8::from(paused);
        self.rpc()
            .batch(vec![self.write_slot(token, place.slot, word)])
            .map(drop)
    }

    /// Puts an address on a token's blacklist, or takes it off.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_blacklisted(&self, token: &str, account: &str, blacklisted: bool) -> Result<(), Error> {
        let place = self.mapping_slot("isBlacklisted", account)?;
        let word = hex_word(word_of_u128(blacklisted.into()));
        self.rpc()
            .call("anvil_setStorageAt", json!([token, place, word]))
            .map(drop)
    }

    /// Chooses how the lying token lies: a number of the enum in `LyingToken.sol`.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_token_mood(&self, mood: u8) -> Result<(), Error> {
        // By transaction: one mood deploys an accomplice. The node signs for the admin.
        let data = self
            .artifact("LyingToken")?
            .call("setMood(uint8)", &[Arg::uint(mood.into())])?;
        self.send(&self.admin.address, crate::LYING_TOKEN, &data)
            .map(drop)
    }

    /// From which block on the lying token reverts in its mood 8. Before it the token is honest.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_token_turn(&self, block: u128) -> Result<(), Error> {
        self.set_variable("LyingToken", crate::LYING_TOKEN, "turnsAt", block)
    }

    /// What the contract that accepts anything answers to every call: one word, or nothing at all.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_accepted(&self, word: Option<u128>) -> Result<(), Error> {
        let answer = [
            Arg::uint(u128::from(word.is_none())),
            Arg::uint(word.unwrap_or(0)),
        ];
        let data = self
            .artifact("AcceptsAnything")?
            .call("setAnswer(bool,uint256)", &answer)?;
        self.send(&self.admin.address, crate::ACCEPTS_ANYTHING, &data)
            .map(drop)
    }

    /// Sets what a holder has of a token, as a token does whose balances change without a transfer.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn rebase(&self, token: &str, holder: &str, units: u128) -> Result<(), Error> {
        let place = self.mapping_slot("balanceOf", holder)?;
        let word = hex_word(word_of_u128(units));
        self.rpc()
            .call("anvil_setStorageAt", json!([token, place, word]))
            .map(drop)
    }

    /// Chooses how the mock wallet answers: a number of the enum in `MockWallet.sol`.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_wallet_mood(&self, mood: u8) -> Result<(), Error> {
        self.set_variable("MockWallet", MOCK_WALLET, "mood", mood.into())
    }

    /// From which block on the mock wallet refuses in its mood 10.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_wallet_turn(&self, block: u128) -> Result<(), Error> {
        self.set_variable("MockWallet", MOCK_WALLET, "turnsAt", block)
    }

    /// Gives an address the code of an EIP-7702 delegation to `delegate`.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn delegate(&self, account: &str, delegate: &str) -> Result<(), Error> {
        let target = bytes_of(delegate, Some(20))?;
        self.set_code(account, &format!("0xef0100{}", hex::encode(target)))
    }

    /// Replaces an address's code; `0x` removes it.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_code(&self, account: &str, code: &str) -> Result<(), Error> {
        self.rpc().call("anvil_setCode", json!([account, code])).map(drop)
    }

    /// Writes a state variable that has a storage word of its own.
    pub(crate) fn set_variable(
        &self,
        contract: &str,
        at: &str,
        variable: &str,
        value: u128,
    ) -> Result<(), Error> {
        let slot = self.artifact(contract)?.slot(variable)?.slot;
        let write = self.write_slot(at, slot, word_of_u128(value));
        self.rpc().batch(vec![write]).map(drop)
    }

    // The slot of a mapping's entry: keccak(key ‖ slot of the mapping).
    fn mapping_slot(&self, variable: &str, key: &str) -> Result<String, Error> {
        let slot = self.artifact("DollarToken")?.slot(variable)?.slot;
        let preimage = [word_of_address(key)?, word_of_u128(slot.into())].concat();
        Ok(hex_word(self.keccak(&preimage)?))
    }
}

fn hex_word(word: [u8; 32]) -> String {
    format!("0x{}", hex::encode(word))
}
