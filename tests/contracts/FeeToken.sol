// SPDX-License-Identifier: MIT OR Apache-2.0
// A token that keeps one percent of every transfer: the authorization says 10000, the payee gets 9900. A settlement
// that only reads the receipt's status would call that paid.
pragma solidity 0.8.30;

import {AuthorizedToken} from "./AuthorizedToken.sol";

contract FeeToken is AuthorizedToken {
    function name() public pure override returns (string memory) {
        return "Fee Dollar";
    }

    function symbol() public pure override returns (string memory) {
        return "FEE";
    }

    function version() public pure override returns (string memory) {
        return "1";
    }

    function _move(address from, address to, uint256 value) internal override {
        uint256 fee = value / 100;
        super._move(from, to, value - fee);
        super._move(from, owner, fee);
    }
}
