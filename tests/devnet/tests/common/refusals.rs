//! What the escrow and its collectors answer when they refuse.

use devnet::{Arg, Artifact, AuthCapture, Devnet, encode};

use super::escrow::{Method, Payment};
use super::revert_data;

pub(crate) const STRANGER: &str = "0x5555555555555555555555555555555555555555";

/// A payment of the second buyer by EIP-3009.
pub(crate) fn payment_of(chain: &Devnet, deployment: &'static AuthCapture) -> Payment {
    Payment::new(chain, deployment, Method::Eip3009, &chain.buyers[1].address)
}

/// The revert data of an error of either escrow or the pre-approval collector.
pub(crate) fn error(signature: &str, args: &[Arg]) -> String {
    let contracts = [
        "AuthCaptureEscrowV10",
        "AuthCaptureEscrowV11",
        "PreApprovalCollector",
    ];
    let selector = contracts.iter().find_map(|contract| {
        let errors = Artifact::load(contract).expect(contract).errors;
        errors.get(signature).cloned()
    });
    encode(&selector.expect(signature), args).expect("encodes")
}

pub(crate) fn number(value: impl Into<u128>) -> Arg {
    Arg::uint(value.into())
}

pub(crate) fn address(text: &str) -> Arg {
    Arg::address(text).expect("address")
}

/// What the escrow answers to a call of `from`.
pub(crate) fn answer(chain: &Devnet, payment: &Payment, from: &str, data: &str) -> String {
    revert_data(chain.rpc().eth_call(Some(from), payment.deployment.escrow, data))
}

/// As above, from the operator.
pub(crate) fn answer_to_operator(chain: &Devnet, payment: &Payment, data: &str) -> String {
    answer(chain, payment, &payment.info.operator, data)
}

/// An error whose first argument is the time of the call, which is not known exactly; the second is the limit.
pub(crate) fn assert_expired(data: &str, signature: &str, limit: u64) {
    let expected = error(signature, &[number(0_u128), number(limit)]);
    assert_eq!(data[..10], expected[..10], "{signature}, not {data}");
    assert_eq!(data[74..], expected[74..], "{signature}");
}

/// The refusal of a stranger's call.
pub(crate) fn invalid_sender(expected: &str) -> String {
    error(
        "InvalidSender(address,address)",
        &[address(STRANGER), address(expected)],
    )
}
