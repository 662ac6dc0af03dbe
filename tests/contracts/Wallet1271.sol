// SPDX-License-Identifier: MIT OR Apache-2.0
// A contract wallet that signs through ERC-1271: valid is what its owner's key signed. Without an owner it stands in for
// the account it runs in, which makes it a cooperative EIP-7702 delegate. The factory deploys it at an address known
// beforehand, for ERC-6492 payers.
pragma solidity 0.8.30;

contract Wallet1271 {
    bytes4 private constant MAGIC = 0x1626ba7e;
    bytes4 private constant REFUSED = 0xffffffff;
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    address private storedOwner;

    receive() external payable {}

    function initialize(address newOwner) external {
        require(storedOwner == address(0), "initialized");
        storedOwner = newOwner;
    }

    function owner() public view returns (address) {
        return storedOwner == address(0) ? address(this) : storedOwner;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) return REFUSED;
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        if (uint256(s) > HALF_ORDER) return REFUSED;
        address signer = ecrecover(hash, uint8(signature[64]), r, s);
        return signer != address(0) && signer == owner() ? MAGIC : REFUSED;
    }

    function execute(address target, uint256 value, bytes calldata data) external payable returns (bytes memory) {
        require(msg.sender == owner(), "only the owner");
        (bool ok, bytes memory answer) = target.call{value: value}(data);
        require(ok, "call failed");
        return answer;
    }
}

contract WalletFactory {
    function create(address owner, bytes32 salt) external returns (address wallet) {
        wallet = walletOf(owner, salt);
        if (wallet.code.length == 0) new Wallet1271{salt: _salt(owner, salt)}().initialize(owner);
    }

    function walletOf(address owner, bytes32 salt) public view returns (address) {
        bytes32 code = keccak256(type(Wallet1271).creationCode);
        bytes32 hash = keccak256(abi.encodePacked(bytes1(0xff), address(this), _salt(owner, salt), code));
        return address(uint160(uint256(hash)));
    }

    function _salt(address owner, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }
}
