//! The contract operators of the dev chain, honest and hostile, and the levers that drive them.

use crate::{Arg, Devnet, Error, PaymentInfo};

/// Lets its owner, the merchant, capture a payment of the v1.1 escrow a day after it came in; see `EscrowOperator.sol`.
pub const TIME_LOCK_OPERATOR: &str = "0x0be7a70000000000000000000000000000000007";
/// The same on the v1.0 escrow.
pub const TIME_LOCK_OPERATOR_V10: &str = "0x0be7a70000000000000000000000000000000008";
/// Pays milestones an hour after the payee announced them, unless the payer disputes; then [`ARBITER`] decides.
pub const ARBITER_OPERATOR: &str = "0x0be7a70000000000000000000000000000000009";
/// Decides disputes. Nobody has its key: act for it with [`Devnet::send_for_free`].
pub const ARBITER: &str = "0xa4b100000000000000000000000000000000000a";
/// Lies as set by [`Devnet::set_operator_mood`]; an operator of the v1.1 escrow.
pub const HOSTILE_OPERATOR: &str = "0x0be7a7000000000000000000000000000000000b";

/// What the hostile operator does with a payment that a relayer sends to it; see `HostileOperator.sol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum OperatorMood {
    Honest = 0,
    /// Does nothing.
    NoOp = 1,
    /// Collects half of the requested amount.
    HalfAmount = 2,
    /// Does nothing, but emits the escrow's event itself.
    FakeEvent = 3,
    /// Honest, and emits the escrow's event again itself: noise, no lie.
    EchoesEvent = 4,
    /// Honest, but wastes two million gas.
    BurnsGas = 5,
    /// Authorizes and voids in one call.
    Undoes = 6,
    /// Authorizes and captures in one call.
    CapturesAtOnce = 7,
    /// Charges what it should hold, holds what it should charge.
    SwapsFlow = 8,
    /// Puts its own money into the escrow instead of the payer's; it needs some.
    OwnCollector = 9,
    /// Calls the escrow from inside the escrow's call: reverts.
    Reenters = 10,
    /// Charges for the highest fee, and takes it itself where the payment names no fee receiver.
    MostFee = 11,
    /// Honest, then takes what the receiver has allowed it.
    RobsReceiver = 12,
    /// Honest, then takes what the payer has allowed it.
    RobsPayer = 13,
    /// Honest, then takes what the sender of the transaction has allowed it.
    RobsRelay = 14,
    /// Honest in a call at gas price 0, does nothing in a transaction.
    NoOpWhenMined = 15,
    /// Honest before the block of [`Devnet::set_operator_turn`], does nothing from it on.
    NoOpFromBlock = 16,
}

impl OperatorMood {
    pub const ALL: [OperatorMood; 17] = [
        OperatorMood::Honest,
        OperatorMood::NoOp,
        OperatorMood::HalfAmount,
        OperatorMood::FakeEvent,
        OperatorMood::EchoesEvent,
        OperatorMood::BurnsGas,
        OperatorMood::Undoes,
        OperatorMood::CapturesAtOnce,
        OperatorMood::SwapsFlow,
        OperatorMood::OwnCollector,
        OperatorMood::Reenters,
        OperatorMood::MostFee,
        OperatorMood::RobsReceiver,
        OperatorMood::RobsPayer,
        OperatorMood::RobsRelay,
        OperatorMood::NoOpWhenMined,
        OperatorMood::NoOpFromBlock,
    ];
}

const PAYMENT_INFO: &str =
    "(address,address,address,address,uint120,uint48,uint48,uint48,uint16,uint16,address,uint256)";

impl Devnet {
    /// Chooses how the hostile operator behaves. Between a simulation and its transaction this is an upgrade.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_operator_mood(&self, mood: OperatorMood) -> Result<(), Error> {
        self.set_variable("HostileOperator", HOSTILE_OPERATOR, "mood", mood as u128)
    }

    /// From which block on [`OperatorMood::NoOpFromBlock`] does nothing.
    ///
    /// # Errors
    /// As [`crate::Rpc::call`].
    pub fn set_operator_turn(&self, block: u128) -> Result<(), Error> {
        self.set_variable("HostileOperator", HOSTILE_OPERATOR, "turnsAt", block)
    }

    /// Calldata for a function of a planted contract whose first parameter is the payment; the further ones with their
    /// types: `payment_call("ArbiterOperator", "decide", &info, &[("uint256", Arg::uint(1))])`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the contract has no such function, or as [`PaymentInfo::args`].
    pub fn payment_call(
        &self,
        contract: &str,
        function: &str,
        info: &PaymentInfo,
        more: &[(&str, Arg)],
    ) -> Result<String, Error> {
        let types: String = more.iter().map(|(kind, _)| format!(",{kind}")).collect();
        let signature = format!("{function}({PAYMENT_INFO}{types})");
        let mut args = info.args()?;
        args.extend(more.iter().map(|(_, arg)| arg.clone()));
        self.artifact(contract)?.call(&signature, &args)
    }
}
