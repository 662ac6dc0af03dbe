// SPDX-License-Identifier: MIT OR Apache-2.0
// Token transfers that count a `false` answer, or an address without code, as the failure it is.
pragma solidity 0.8.30;

interface IERC20 {
    function balanceOf(address holder) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

error SafeERC20FailedOperation(address token);

library SafeTransfer {
    function send(address token, address to, uint256 value) internal {
        _call(token, abi.encodeCall(IERC20.transfer, (to, value)));
    }

    function pull(address token, address from, address to, uint256 value) internal {
        _call(token, abi.encodeCall(IERC20.transferFrom, (from, to, value)));
    }

    function _call(address token, bytes memory data) private {
        (bool ok, bytes memory answer) = token.call(data);
        // The token's own revert data reaches the caller.
        if (!ok) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
        bool yes = answer.length == 0 ? token.code.length != 0 : abi.decode(answer, (uint256)) == 1;
        if (!yes) revert SafeERC20FailedOperation(token);
    }
}
