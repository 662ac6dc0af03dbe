// SPDX-License-Identifier: MIT OR Apache-2.0
// A wallet of two owners whose signatures name the owner, as those of passkey wallets do: abi.encode(index, signature), which
// is longer than 65 bytes, over a hash that is bound to this wallet. The factory deploys it at an address known beforehand,
// for ERC-6492 payers.
pragma solidity 0.8.30;

import {SignerCheck} from "./SignerCheck.sol";

contract WrappingWallet {
    bytes4 private constant MAGIC = 0x1626ba7e;
    bytes4 private constant REFUSED = 0xffffffff;
    bytes32 private constant MESSAGE_TYPEHASH = keccak256("WalletMessage(address wallet,bytes32 hash)");

    address[2] private owners;

    function initialize(address first, address second) external {
        require(owners[0] == address(0) && first != address(0), "initialized");
        owners = [first, second];
    }

    // What an owner signs: the same signature is worth nothing for another wallet of the same owner.
    function replaySafeHash(bytes32 hash) public view returns (bytes32) {
        return keccak256(abi.encode(MESSAGE_TYPEHASH, address(this), hash));
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        (uint256 index, bytes memory inner) = abi.decode(signature, (uint256, bytes));
        if (index >= owners.length) return REFUSED;
        return SignerCheck.recover(replaySafeHash(hash), inner) == owners[index] ? MAGIC : REFUSED;
    }
}

contract WrappingWalletFactory {
    function create(address first, address second, bytes32 salt) external returns (address wallet) {
        wallet = walletOf(first, second, salt);
        if (wallet.code.length > 0) return wallet;
        new WrappingWallet{salt: _salt(first, second, salt)}().initialize(first, second);
    }

    // A factory's function that deploys nothing: no selector that an operator lists by mistake may hurt a payer.
    function refuse() external pure {
        revert("WrappingWalletFactory: no");
    }

    function walletOf(address first, address second, bytes32 salt) public view returns (address) {
        bytes32 code = keccak256(type(WrappingWallet).creationCode);
        bytes32 hash = keccak256(abi.encodePacked(bytes1(0xff), address(this), _salt(first, second, salt), code));
        return address(uint160(uint256(hash)));
    }

    function _salt(address first, address second, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(first, second, salt));
    }
}
