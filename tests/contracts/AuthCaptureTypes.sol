// SPDX-License-Identifier: MIT OR Apache-2.0
// What the pieces of the escrow have in common: the terms of a payment as the buyer signs them, and the interfaces
// through which escrow and collectors call each other.
pragma solidity 0.8.30;

// Member order is that of the ABI tuple and of the type hash.
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

enum CollectorType {
    Payment, // 0: into the escrow, for authorize and charge
    Refund // 1: back towards the payer
}

interface ITokenCollector {
    function collectTokens(PaymentInfo calldata info, address tokenStore, uint256 amount, bytes calldata data)
        external;
    function collectorType() external view returns (CollectorType);
}

interface IAuthCaptureEscrow {
    function getHash(PaymentInfo calldata info) external view returns (bytes32);
    function paymentState(bytes32 paymentInfoHash)
        external
        view
        returns (bool hasCollectedPayment, uint120 capturableAmount, uint120 refundableAmount);
}
