// SPDX-License-Identifier: MIT OR Apache-2.0
// An EIP-7702 delegate that refuses every signature. An account that delegates to it still has its ECDSA key, but the
// token calls the code: such an account's own good signature is no payment.
pragma solidity 0.8.30;

contract Delegate7702Refuses {
    receive() external payable {}

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0xffffffff;
    }
}
