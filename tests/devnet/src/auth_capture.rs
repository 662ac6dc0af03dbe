//! The escrow of `auth-capture` on the dev chain: the two deployments, the terms of a payment, calldata for every call of
//! the escrow, and the levers that payers and operators need.

use serde_json::Value;

use crate::abi::{bytes_of, u128_of_word, word_of_address};
use crate::{Arg, Devnet, Error, encode};

/// How a deployment's escrow takes its fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeeForm {
    /// Basis points (v1.0).
    Bps,
    /// Token units (v1.1).
    Amount,
}

/// One deployment of the escrow, at the addresses it has on every public chain.
#[derive(Debug, Clone, Copy)]
pub struct AuthCapture {
    pub fee_form: FeeForm,
    pub escrow: &'static str,
    pub erc3009_collector: &'static str,
    pub permit2_collector: &'static str,
    pub operator_refund_collector: &'static str,
    pub pre_approval_collector: &'static str,
    /// What the operators' stores are clones of: the first contract that the escrow made.
    pub token_store: &'static str,
}

pub const AUTH_CAPTURE_V11: AuthCapture = AuthCapture {
    fee_form: FeeForm::Amount,
    escrow: "0xf96815976523E00e65Be8f34cA5e64b4f41EB19c",
    erc3009_collector: "0x8612dfdc421f80336cd14E8EF9cb1E765dB5ab88",
    permit2_collector: "0xD69831Aed5bfe262067ec4c751f4F830EcdD446e",
    operator_refund_collector: "0x7a03443724d14798c4AB4622F1DAAcA761Fea486",
    pre_approval_collector: "0xF1F9C408C787B2bC6CAEB91e5BbEc434a5c8d2Ea",
    token_store: "0xe4be44B1505d29ae640748b4cce530ece6DcD450",
};

pub const AUTH_CAPTURE_V10: AuthCapture = AuthCapture {
    fee_form: FeeForm::Bps,
    escrow: "0xBdEA0D1bcC5966192B070Fdf62aB4EF5b4420cff",
    erc3009_collector: "0x0E3dF9510de65469C4518D7843919c0b8C7A7757",
    permit2_collector: "0x992476B9Ee81d52a5BdA0622C333938D0Af0aB26",
    operator_refund_collector: "0x934907bffd0901b6A21e398B9C53A4A38F02fa5d",
    pre_approval_collector: "0x1b77ABd71FCD21fbe2398AE821Aa27D1E6B94bC6",
    token_store: "0xEd411C46508C2acf1D387754Df9cc98D0ef80D08",
};

/// The terms of a payment, in the order of the ABI tuple. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentInfo {
    pub operator: String,
    pub payer: String,
    pub receiver: String,
    pub token: String,
    /// Token units.
    pub max_amount: u128,
    pub pre_approval_expiry: u64,
    pub authorization_expiry: u64,
    pub refund_expiry: u64,
    pub min_fee_bps: u16,
    pub max_fee_bps: u16,
    pub fee_receiver: String,
    pub salt: [u8; 32],
}

/// What an escrow knows about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymentState {
    pub collected: bool,
    /// Token units.
    pub capturable: u128,
    /// Token units.
    pub refundable: u128,
}

impl PaymentInfo {
    /// From its JSON form on the wire: numbers of any size as numbers or decimal strings, the salt as 32 bytes of hex.
    ///
    /// # Errors
    /// [`Error::Malformed`], which names the member that is missing or wrong.
    pub fn from_json(value: &Value) -> Result<PaymentInfo, Error> {
        let wrong = |name: &str| Error::Malformed(format!("paymentInfo.{name} is {}", value[name]));
        let text = |name: &str| {
            let text = value[name].as_str();
            text.map(str::to_owned).ok_or_else(|| wrong(name))
        };
        let number = |name: &str| {
            let member = &value[name];
            let number = member.as_u64().map(u128::from);
            number
                .or_else(|| member.as_str()?.parse().ok())
                .ok_or_else(|| wrong(name))
        };
        let seconds = |name: &str| u64::try_from(number(name)?).map_err(|_| wrong(name));
        let bps = |name: &str| u16::try_from(number(name)?).map_err(|_| wrong(name));
        let salt = bytes_of(&text("salt")?, Some(32))?;
        Ok(PaymentInfo {
            operator: text("operator")?,
            payer: text("payer")?,
            receiver: text("receiver")?,
            token: text("token")?,
            max_amount: number("maxAmount")?,
            pre_approval_expiry: seconds("preApprovalExpiry")?,
            authorization_expiry: seconds("authorizationExpiry")?,
            refund_expiry: seconds("refundExpiry")?,
            min_fee_bps: bps("minFeeBps")?,
            max_fee_bps: bps("maxFeeBps")?,
            fee_receiver: text("feeReceiver")?,
            salt: <[u8; 32]>::try_from(salt).map_err(|_| wrong("salt"))?,
        })
    }

    /// The twelve members as arguments of a call.
    ///
    /// # Errors
    /// [`Error::Malformed`] when a member that should be an address is none.
    pub fn args(&self) -> Result<Vec<Arg>, Error> {
        Ok(vec![
            Arg::address(&self.operator)?,
            Arg::address(&self.payer)?,
            Arg::address(&self.receiver)?,
            Arg::address(&self.token)?,
            Arg::uint(self.max_amount),
            Arg::uint(self.pre_approval_expiry.into()),
            Arg::uint(self.authorization_expiry.into()),
            Arg::uint(self.refund_expiry.into()),
            Arg::uint(self.min_fee_bps.into()),
            Arg::uint(self.max_fee_bps.into()),
            Arg::address(&self.fee_receiver)?,
            Arg::Word(self.salt),
        ])
    }

    fn args_and(&self, more: impl IntoIterator<Item = Arg>) -> Result<Vec<Arg>, Error> {
        let mut args = self.args()?;
        args.extend(more);
        Ok(args)
    }
}

/// Calldata for the escrow, or for a contract operator of its shape. Fees are basis points or token units, as the
/// deployment takes them.
impl AuthCapture {
    /// # Errors
    /// As [`PaymentInfo::args`].
    pub fn authorize(
        &self,
        info: &PaymentInfo,
        amount: u128,
        collector: &str,
        data: &[u8],
    ) -> Result<String, Error> {
        encode("0x41d66202", &collection(info, amount, collector, data)?)
    }

    /// # Errors
    /// As [`PaymentInfo::args`].
    pub fn charge(
        &self,
        info: &PaymentInfo,
        amount: u128,
        collector: &str,
        data: &[u8],
        fee: u128,
        fee_receiver: &str,
    ) -> Result<String, Error> {
        let selector = match self.fee_form {
            FeeForm::Bps => "0x9e65819f",
            FeeForm::Amount => "0xc449d17c",
        };
        let mut args = collection(info, amount, collector, data)?;
        args.extend([Arg::uint(fee), Arg::address(fee_receiver)?]);
        encode(selector, &args)
    }

    /// # Errors
    /// As [`PaymentInfo::args`].
    pub fn capture(
        &self,
        info: &PaymentInfo,
        amount: u128,
        fee: u128,
        fee_receiver: &str,
    ) -> Result<String, Error> {
        let selector = match self.fee_form {
            FeeForm::Bps => "0x644cd79a",
            FeeForm::Amount => "0x3efa46e1",
        };
        let more = [Arg::uint(amount), Arg::uint(fee), Arg::address(fee_receiver)?];
        encode(selector, &info.args_and(more)?)
    }

    /// # Errors
    /// As [`PaymentInfo::args`].
    pub fn void(&self, info: &PaymentInfo) -> Result<String, Error> {
        encode("0xfa1cad17", &info.args()?)
    }

    /// # Errors
    /// As [`PaymentInfo::args`].
    pub fn reclaim(&self, info: &PaymentInfo) -> Result<String, Error> {
        encode("0xe1a2a66d", &info.args()?)
    }

    /// # Errors
    /// As [`PaymentInfo::args`].
    pub fn refund(&self, info: &PaymentInfo, amount: u128) -> Result<String, Error> {
        let collector = self.operator_refund_collector;
        encode("0xd458db5a", &collection(info, amount, collector, &[])?)
    }
}

fn collection(info: &PaymentInfo, amount: u128, collector: &str, data: &[u8]) -> Result<Vec<Arg>, Error> {
    info.args_and([
        Arg::uint(amount),
        Arg::address(collector)?,
        Arg::Bytes(data.to_vec()),
    ])
}

impl Devnet {
    /// The payment's key in the escrow's state, `0x` and 64 digits.
    ///
    /// # Errors
    /// As [`crate::Rpc::eth_call`].
    pub fn payment_hash(&self, deployment: &AuthCapture, info: &PaymentInfo) -> Result<String, Error> {
        let data = encode("0x063a70ff", &info.args()?)?;
        let hash = self.rpc().eth_call(None, deployment.escrow, &data)?;
        Ok(format!("0x{}", hex::encode(hash)))
    }

    /// What the payer signs as nonce: the hash of the payment without its payer.
    ///
    /// # Errors
    /// As [`crate::Rpc::eth_call`].
    pub fn signature_nonce(&self, deployment: &AuthCapture, info: &PaymentInfo) -> Result<String, Error> {
        let anybody = PaymentInfo {
            payer: format!("0x{}", "0".repeat(40)),
            ..info.clone()
        };
        self.payment_hash(deployment, &anybody)
    }

    /// What the escrow knows about a payment, by its hash.
    ///
    /// # Errors
    /// As [`crate::Rpc::eth_call`].
    pub fn payment_state(&self, deployment: &AuthCapture, hash: &str) -> Result<PaymentState, Error> {
        let data = encode("0x34b778ed", &[Arg::word(hash)?])?;
        let answer = self.rpc().eth_call(None, deployment.escrow, &data)?;
        let number = |at: usize| u128_of_word(answer.get(32 * at..32 * at + 32).unwrap_or_default());
        Ok(PaymentState {
            collected: number(0)? == 1,
            capturable: number(1)?,
            refundable: number(2)?,
        })
    }

    /// Where an operator's money in escrow is, with or without code there, in lower case.
    ///
    /// # Errors
    /// As [`crate::Rpc::eth_call`].
    pub fn token_store(&self, deployment: &AuthCapture, operator: &str) -> Result<String, Error> {
        let data = encode("0x9d3facde", &[Arg::Word(word_of_address(operator)?)])?;
        let answer = self.rpc().eth_call(None, deployment.escrow, &data)?;
        let address = answer.get(12..32).unwrap_or_default();
        Ok(format!("0x{}", hex::encode(address)))
    }

    /// The payer takes back what nobody captured, after the capture deadline; returns the receipt.
    ///
    /// # Errors
    /// As [`Devnet::send`].
    pub fn reclaim(&self, deployment: &AuthCapture, info: &PaymentInfo) -> Result<Value, Error> {
        self.send_for_free(&info.payer, deployment.escrow, &deployment.reclaim(info)?)
    }

    /// The payer approves a payment on chain, for the collector that needs no signature; returns the receipt. The
    /// collector pulls by allowance: see [`Devnet::set_allowance`].
    ///
    /// # Errors
    /// As [`Devnet::send`].
    pub fn pre_approve(&self, deployment: &AuthCapture, info: &PaymentInfo) -> Result<Value, Error> {
        let data = encode("0xc6184c2f", &info.args()?)?;
        self.send_for_free(&info.payer, deployment.pre_approval_collector, &data)
    }
}
