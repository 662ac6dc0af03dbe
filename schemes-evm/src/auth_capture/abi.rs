//! The escrow contracts of auth-capture-evm.md sections 2 and 3: calls, events, errors, and the types that are signed.
//!
//! The two generations differ in the fee alone: basis points in v1.0, an amount in v1.1. That changes the selectors of
//! `charge` and `capture`, the topics of their events, and what a merchant's authorizer signs.

alloy_sol_types::sol! {
    /// The terms of one payment; the escrow keeps their hash.
    #[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PaymentInfo {
        address operator;
        address payer;
        address receiver;
        address token;
        uint120 maxAmount;
        uint48 preApprovalExpiry;
        uint48 authorizationExpiry;
        uint48 refundExpiry;
        uint16 minFeeBps;
        uint16 maxFeeBps;
        address feeReceiver;
        uint256 salt;
    }

    /// What an escrow holds for a payment.
    #[derive(Debug, PartialEq, Eq)]
    struct PaymentState {
        bool hasCollectedPayment;
        uint120 capturableAmount;
        uint120 refundableAmount;
    }

    /// Functions that both generations have.
    interface Escrow {
        event PaymentAuthorized(bytes32 indexed paymentInfoHash, PaymentInfo paymentInfo, uint256 amount, address tokenCollector);
        event PaymentVoided(bytes32 indexed paymentInfoHash, uint256 amount);
        event PaymentReclaimed(bytes32 indexed paymentInfoHash, uint256 amount);
        event PaymentRefunded(bytes32 indexed paymentInfoHash, uint256 amount, address tokenCollector);

        function authorize(PaymentInfo paymentInfo, uint256 amount, address tokenCollector, bytes collectorData) external;
        function void(PaymentInfo paymentInfo) external;
        function reclaim(PaymentInfo paymentInfo) external;
        function refund(PaymentInfo paymentInfo, uint256 amount, address tokenCollector, bytes collectorData) external;
        function getHash(PaymentInfo paymentInfo) external view returns (bytes32);
        function getTokenStore(address operator) external view returns (address);
        function paymentState(bytes32 paymentInfoHash) external view returns (bool, uint120, uint120);
        function PAYMENT_INFO_TYPEHASH() external view returns (bytes32);

        error AfterPreApprovalExpiry(uint48 timestamp, uint48 expiry);
        error InvalidExpiries(uint48 preApproval, uint48 authorization, uint48 refund);
        error ExceedsMaxAmount(uint256 amount, uint256 maxAmount);
        error ZeroAmount();
        error AmountOverflow(uint256 amount, uint256 limit);
        error PaymentAlreadyCollected(bytes32 paymentInfoHash);
        error TokenCollectionFailed();
        error InvalidCollectorForOperation();
        error InvalidSender(address sender, address expected);
        error FeeBpsOverflow(uint16 feeBps);
        error InvalidFeeBpsRange(uint16 minFeeBps, uint16 maxFeeBps);
        error FeeBpsOutOfRange(uint16 feeBps, uint16 minFeeBps, uint16 maxFeeBps);
        error FeeAmountOutOfRange(uint256 feeAmount, uint256 minFee, uint256 maxFee);
        error ZeroFeeReceiver();
        error InvalidFeeReceiver(address attempted, address expected);
        error AfterAuthorizationExpiry(uint48 timestamp, uint48 expiry);
        error InsufficientAuthorization(bytes32 paymentInfoHash, uint256 authorized, uint256 requested);
        error ZeroAuthorization(bytes32 paymentInfoHash);
        error AfterRefundExpiry(uint48 timestamp, uint48 expiry);
        error RefundExceedsCapture(uint256 refund, uint256 captured);
        error BeforeAuthorizationExpiry(uint48 timestamp, uint48 expiry);
        error Reentrancy();
        error OnlyAuthCaptureEscrow();
        error PaymentNotPreApproved(bytes32 paymentInfoHash);
        error PaymentAlreadyPreApproved(bytes32 paymentInfoHash);
        error SafeERC20FailedOperation(address token);
    }

    /// Fees in basis points.
    interface EscrowV10 {
        event PaymentCharged(bytes32 indexed paymentInfoHash, PaymentInfo paymentInfo, uint256 amount, address tokenCollector, uint16 feeBps, address feeReceiver);
        event PaymentCaptured(bytes32 indexed paymentInfoHash, uint256 amount, uint16 feeBps, address feeReceiver);

        function charge(PaymentInfo paymentInfo, uint256 amount, address tokenCollector, bytes collectorData, uint16 feeBps, address feeReceiver) external;
        function capture(PaymentInfo paymentInfo, uint256 amount, uint16 feeBps, address feeReceiver) external;
    }

    /// Fees as amounts.
    interface EscrowV11 {
        event PaymentCharged(bytes32 indexed paymentInfoHash, PaymentInfo paymentInfo, uint256 amount, address tokenCollector, uint256 feeAmount, address feeReceiver);
        event PaymentCaptured(bytes32 indexed paymentInfoHash, uint256 amount, uint256 feeAmount, address feeReceiver);

        function charge(PaymentInfo paymentInfo, uint256 amount, address tokenCollector, bytes collectorData, uint256 feeAmount, address feeReceiver) external;
        function capture(PaymentInfo paymentInfo, uint256 amount, uint256 feeAmount, address feeReceiver) external;
    }

    /// Reserved policy operators, and contract operators of the field (section 17).
    interface OperatorErrors {
        error WrongOperator();
        error SaltMismatch();
        error ZeroAuthorizer();
        error UnexpectedPaymentState();
        error InvalidPolicy();
        error NonZeroPolicy();
        error AuthorizationDenied();
        error ConditionNotMet();
        error InvalidFeeReceiver();
        error FeeBoundsIncompatible(uint16 fee, uint16 minFeeBps, uint16 maxFeeBps);
        error FeeTooHigh();
    }

    /// EIP-712 type of EIP-3009's `receiveWithAuthorization`: only the collector may use it.
    #[derive(Debug)]
    struct ReceiveWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }
}

/// What a merchant's authorizer signs (section 10), v1.1: fees as amounts.
pub mod with_fee_amount {
    alloy_sol_types::sol! {
        #[derive(Debug)]
        struct Charge {
            bytes32 paymentInfoHash;
            uint256 amount;
            address tokenCollector;
            bytes32 collectorDataHash;
            uint256 feeAmount;
            address feeReceiver;
        }

        #[derive(Debug)]
        struct Capture {
            bytes32 paymentInfoHash;
            uint256 amount;
            uint256 feeAmount;
            address feeReceiver;
            uint256 expectedCapturableAmount;
            uint256 expectedRefundableAmount;
        }
    }
}

/// What a merchant's authorizer signs (section 10), v1.0: fees in basis points.
pub mod with_fee_bps {
    alloy_sol_types::sol! {
        #[derive(Debug)]
        struct Charge {
            bytes32 paymentInfoHash;
            uint256 amount;
            address tokenCollector;
            bytes32 collectorDataHash;
            uint16 feeBps;
            address feeReceiver;
        }

        #[derive(Debug)]
        struct Capture {
            bytes32 paymentInfoHash;
            uint256 amount;
            uint16 feeBps;
            address feeReceiver;
            uint256 expectedCapturableAmount;
            uint256 expectedRefundableAmount;
        }
    }
}

/// What a merchant's authorizer signs (section 10), in both generations.
pub mod of_both {
    alloy_sol_types::sol! {
        #[derive(Debug)]
        struct Void {
            bytes32 paymentInfoHash;
        }

        #[derive(Debug)]
        struct Refund {
            bytes32 paymentInfoHash;
            uint256 amount;
            address tokenCollector;
            uint256 expectedCapturableAmount;
            uint256 expectedRefundableAmount;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, b256, hex};
    use alloy_sol_types::{SolCall, SolError, SolEvent, SolStruct};

    use super::*;

    #[test]
    fn selectors_are_the_specified_ones() {
        let calls: [([u8; 4], u32); 14] = [
            (Escrow::authorizeCall::SELECTOR, 0x41d6_6202),
            (EscrowV10::chargeCall::SELECTOR, 0x9e65_819f),
            (EscrowV11::chargeCall::SELECTOR, 0xc449_d17c),
            (EscrowV10::captureCall::SELECTOR, 0x644c_d79a),
            (EscrowV11::captureCall::SELECTOR, 0x3efa_46e1),
            (Escrow::voidCall::SELECTOR, 0xfa1c_ad17),
            (Escrow::reclaimCall::SELECTOR, 0xe1a2_a66d),
            (Escrow::refundCall::SELECTOR, 0xd458_db5a),
            (Escrow::getHashCall::SELECTOR, 0x063a_70ff),
            (Escrow::getTokenStoreCall::SELECTOR, 0x9d3f_acde),
            (Escrow::paymentStateCall::SELECTOR, 0x34b7_78ed),
            (Escrow::PAYMENT_INFO_TYPEHASHCall::SELECTOR, 0xe15d_987a),
            (Escrow::ZeroAmount::SELECTOR, 0x1f2a_2005),
            (OperatorErrors::InvalidFeeReceiver::SELECTOR, 0xd200_485c),
        ];
        for (ours, specified) in calls {
            assert_eq!(ours, specified.to_be_bytes(), "{specified:#x}");
        }
    }

    #[test]
    fn topics_are_the_specified_ones() {
        let topics: [(B256, [u8; 32]); 8] = [
            (
                Escrow::PaymentAuthorized::SIGNATURE_HASH,
                hex!("1c81fb2e3bab27f6bb09bee9a0dddf61600b7cbaf2c12683e4864e0cbdb9d284"),
            ),
            (
                EscrowV10::PaymentCharged::SIGNATURE_HASH,
                hex!("943ae4341dd799d7aeedc501f616cd26b134639e0bc2ec059581ba3ebbf1e7d0"),
            ),
            (
                EscrowV11::PaymentCharged::SIGNATURE_HASH,
                hex!("137b0e73e4453f43c2e1ad2552980a0e0c7e988764619974ca26d37a7159940c"),
            ),
            (
                EscrowV10::PaymentCaptured::SIGNATURE_HASH,
                hex!("e749f7bbd01b49bb05abf26ca492cb4dfdea6bedeada8a40fdccd478c73a74e2"),
            ),
            (
                EscrowV11::PaymentCaptured::SIGNATURE_HASH,
                hex!("ac1e0db1957daedbc6944bcb4c8dc947ff8101d710671ac2ec26309f7f38d58e"),
            ),
            (
                Escrow::PaymentVoided::SIGNATURE_HASH,
                hex!("cadce8c3acb008e3e1c64ca7f60d22a3c87069183182b7dbb9e4d8cfb3a15842"),
            ),
            (
                Escrow::PaymentReclaimed::SIGNATURE_HASH,
                hex!("78e1d723d17e13b7f40eeab9bf6dd9148a630bafde4203ab7bb5fca983516d17"),
            ),
            (
                Escrow::PaymentRefunded::SIGNATURE_HASH,
                hex!("1bf415371b303ca6b8bbb4ce479b177cba5ad15dbe0c9a7750a588aa6bcd25b2"),
            ),
        ];
        for (ours, specified) in topics {
            assert_eq!(ours, B256::from(specified));
        }
    }

    #[test]
    fn signed_types_are_the_specified_ones() {
        fn type_hash<T: SolStruct>() -> B256 {
            alloy_primitives::keccak256(T::eip712_encode_type().as_bytes())
        }
        for (ours, specified) in [
            (
                type_hash::<PaymentInfo>(),
                b256!("0xae68ac7ce30c86ece8196b61a7c486d8f0061f575037fbd34e7fe4e2820c6591"),
            ),
            (
                type_hash::<ReceiveWithAuthorization>(),
                b256!("0xd099cc98ef71107a616c4f0f941f04c322d8e254fe26b3c6668db87aae413de8"),
            ),
            (
                type_hash::<with_fee_amount::Charge>(),
                b256!("0xba9da40d4f89fae2231b9433a08482e7850a6e81c2bea980dc1411c5e4bcd692"),
            ),
            (
                type_hash::<with_fee_bps::Charge>(),
                b256!("0x85285d2e439f83173129d237d5cccb9b3d5b0090494b8191670725f837e78df7"),
            ),
            (
                type_hash::<with_fee_amount::Capture>(),
                b256!("0x7552a0b8573d2e7a1b95911dca3a9ffe4719360b15877a812b891b85ebaf15a8"),
            ),
            (
                type_hash::<with_fee_bps::Capture>(),
                b256!("0x8cf77ca8dd47396ba74c194a47288b9c07e9a39eb7e1e9e4e2fa4dbf80797840"),
            ),
            (
                type_hash::<of_both::Void>(),
                b256!("0x80be0473b8db3dab0f581a2d5047c8427e224f5a2d7c8cf47f33c59138d5d7f6"),
            ),
            (
                type_hash::<of_both::Refund>(),
                b256!("0x154b6cc065d8b728fdd99c222e8d6aa851df9b8f72ab09a9135939d9a882e172"),
            ),
        ] {
            assert_eq!(ours, specified);
        }
    }
}
