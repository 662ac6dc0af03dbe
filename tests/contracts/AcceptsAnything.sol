// SPDX-License-Identifier: MIT OR Apache-2.0
// No token at all: a fallback takes every call, and answers nothing or one word. Every transfer "works".
pragma solidity 0.8.30;

contract AcceptsAnything {
    bool public silent;
    uint256 public word;

    function setAnswer(bool nothing, uint256 next) external {
        silent = nothing;
        word = next;
    }

    fallback() external {
        if (silent) return;
        uint256 answer = word;
        assembly {
            mstore(0, answer)
            return(0, 32)
        }
    }
}
