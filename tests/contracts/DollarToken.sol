// SPDX-License-Identifier: MIT OR Apache-2.0
// The honest dollar of the dev chain: planted at the address that Base Sepolia's USDC has, with the same signing
// domain, so that official clients sign for it without any configuration.
pragma solidity 0.8.30;

import {AuthorizedToken} from "./AuthorizedToken.sol";

contract DollarToken is AuthorizedToken {
    function name() public pure override returns (string memory) {
        return "USDC";
    }

    function symbol() public pure override returns (string memory) {
        return "USDC";
    }

    function version() public pure override returns (string memory) {
        return "2";
    }
}
