// SPDX-License-Identifier: MIT OR Apache-2.0
// Holds what one operator's payments have in escrow. The code exists once; every operator gets a minimal clone (EIP-1167)
// of it, so the escrow's address has to be part of the code: a clone has storage of its own.
pragma solidity 0.8.30;

import {SafeTransfer} from "./SafeTransfer.sol";

contract TokenStore {
    error OnlyAuthCaptureEscrow();

    address public immutable authCaptureEscrow;

    constructor(address escrow) {
        authCaptureEscrow = escrow;
    }

    function sendTokens(address token, address recipient, uint256 amount) external returns (bool) {
        if (msg.sender != authCaptureEscrow) revert OnlyAuthCaptureEscrow();
        SafeTransfer.send(token, recipient, amount);
        return true;
    }
}

// Where an operator's store is, and how it gets there: CREATE2 from the escrow, the operator's address in the high bytes
// of the salt.
library TokenStores {
    function predict(address implementation, address operator) internal view returns (address) {
        bytes32 code = keccak256(_creationCode(implementation));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), _salt(operator), code)))));
    }

    function deploy(address implementation, address operator) internal returns (address store) {
        bytes memory code = _creationCode(implementation);
        bytes32 salt = _salt(operator);
        assembly {
            store := create2(0, add(code, 32), mload(code), salt)
        }
        require(store != address(0), "TokenStores: no clone");
    }

    function _salt(address operator) private pure returns (bytes32) {
        return bytes32(bytes20(operator));
    }

    // Ten bytes that return the clone's 45, then those: delegate everything to the implementation.
    function _creationCode(address implementation) private pure returns (bytes memory) {
        return abi.encodePacked(
            hex"3d602d80600a3d3981f3363d3d373d3d3d363d73", implementation, hex"5af43d82803e903d91602b57fd5bf3"
        );
    }
}
