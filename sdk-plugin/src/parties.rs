//! Who sends and who receives money in a payment, as a scheme reports it to its host.

use serde::{Deserialize, Serialize};

/// The most addresses of each kind.
const MOST: usize = 64;
/// Longest address in bytes.
const MAX_ADDRESS: usize = 128;

/// Every address that sends or receives money in a payment, in the driver's canonical form. Operators
/// compare them with sanctions lists. Not named: contracts that only pass money on, and signers that pay for transactions.
///
/// Empty: the scheme does not report them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Parties {
    /// Whose money it is.
    #[serde(default)]
    pub senders: Vec<String>,
    /// Who has it afterwards: payees, and those who get a fee of it.
    #[serde(default)]
    pub receivers: Vec<String>,
}

impl Parties {
    /// One sender and one receiver.
    pub fn pair(sender: impl Into<String>, receiver: impl Into<String>) -> Self {
        Self {
            senders: vec![sender.into()],
            receivers: vec![receiver.into()],
        }
    }

    /// The same with one more receiver, unless it is among them.
    #[must_use]
    pub fn and_receiver(mut self, receiver: impl Into<String>) -> Self {
        let receiver = receiver.into();
        if !self.receivers.contains(&receiver) {
            self.receivers.push(receiver);
        }
        self
    }

    /// Whether the scheme reports none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty() && self.receivers.is_empty()
    }

    /// Whether these can be the parties of a payment of this payer, whose address is compared without regard to case.
    ///
    /// # Errors
    /// A message that names the defect.
    pub fn check(&self, payer: &str) -> Result<(), &'static str> {
        if self.is_empty() {
            return Ok(());
        }
        let all = || self.senders.iter().chain(&self.receivers);
        if self.senders.len() > MOST || self.receivers.len() > MOST {
            return Err("a payment has at most 64 senders and 64 receivers");
        }
        if all().any(|address| address.is_empty() || address.len() > MAX_ADDRESS) {
            return Err("a party's address has 1 to 128 bytes");
        }
        if !all().any(|address| address.eq_ignore_ascii_case(payer)) {
            return Err("the payer is none of the payment's parties");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parties_without_their_payer_are_a_defect() {
        let parties = Parties::pair("0xaa", "0xbb");
        assert_eq!(parties.check("0xAA"), Ok(()));
        assert_eq!(parties.check("0xbb"), Ok(()), "a refund pays the payer");
        assert!(parties.check("0xcc").is_err());
        assert!(parties.check("").is_err());
        assert_eq!(Parties::default().check("0xaa"), Ok(()), "not reported");
    }

    #[test]
    fn parties_are_few_and_their_addresses_short() {
        let many = (0..65).map(|at| format!("0x{at}")).collect();
        let mut parties = Parties::pair("0xaa", "0xbb");
        parties.receivers = many;
        assert!(parties.check("0xaa").is_err());
        for address in [String::new(), "a".repeat(129)] {
            assert!(Parties::pair("0xaa", address).check("0xaa").is_err());
        }
    }

    #[test]
    fn a_receiver_is_named_once() {
        let parties = Parties::pair("a", "b").and_receiver("b").and_receiver("c");
        assert_eq!(parties.receivers, ["b", "c"]);
    }
}
