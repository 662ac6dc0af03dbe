//! Keys of the dev chain: three from the golden vectors, the rest from anvil's public mnemonic.

/// A key and the address it signs for, both as `0x` hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub address: String,
    pub key: String,
}

/// The payer of the golden vectors: always `buyers[0]`.
pub const PAYER: (&str, &str) = (
    "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A",
    "0x1111111111111111111111111111111111111111111111111111111111111111",
);

/// The merchant of the golden vectors: `merchant`.
pub const MERCHANT: (&str, &str) = (
    "0x1563915e194D8CfBA1943570603F7606A3115508",
    "0x2222222222222222222222222222222222222222222222222222222222222222",
);

/// The facilitator of the golden vectors: always `facilitators[0]`.
pub const FACILITATOR: (&str, &str) = (
    "0x5CbDd86a2FA8Dc4bDdd8a8f69dBa48572EeC07FB",
    "0x3333333333333333333333333333333333333333333333333333333333333333",
);

impl From<(&str, &str)> for Account {
    fn from((address, key): (&str, &str)) -> Account {
        Account {
            address: address.to_owned(),
            key: key.to_owned(),
        }
    }
}
