// SPDX-License-Identifier: MIT OR Apache-2.0
// A token that moves by signature: EIP-3009 (transfer, receive, cancel) and EIP-2612 (permit), each with the (v, r, s)
// and the `bytes` overload, over the EIP-712 domain {name, version, chainId, this}. Order of checks, revert texts and
// order of events (AuthorizationUsed first, then Transfer) follow the deployed dollar tokens.
pragma solidity 0.8.30;

import {SignerCheck} from "./SignerCheck.sol";
import {TokenBase} from "./TokenBase.sol";

abstract contract AuthorizedToken is TokenBase {
    bytes32 public constant TRANSFER_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 public constant RECEIVE_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 public constant CANCEL_AUTHORIZATION_TYPEHASH =
        keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    bytes32 public constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    mapping(address => uint256) public nonces;
    mapping(address => mapping(bytes32 => bool)) public authorizationState;

    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    // The members that both authorization types share, in the order in which they are hashed.
    struct Authorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256(bytes(name())), keccak256(bytes(version())), block.chainid, address(this)
            )
        );
    }

    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _transferAuthorized(
            Authorization(from, to, value, validAfter, validBefore, nonce), abi.encodePacked(r, s, v)
        );
    }

    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) external {
        _transferAuthorized(Authorization(from, to, value, validAfter, validBefore, nonce), signature);
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _receiveAuthorized(Authorization(from, to, value, validAfter, validBefore, nonce), abi.encodePacked(r, s, v));
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) external {
        _receiveAuthorized(Authorization(from, to, value, validAfter, validBefore, nonce), signature);
    }

    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        _cancel(authorizer, nonce, abi.encodePacked(r, s, v));
    }

    function cancelAuthorization(address authorizer, bytes32 nonce, bytes memory signature) external {
        _cancel(authorizer, nonce, signature);
    }

    function permit(address from, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        _permit(from, spender, value, deadline, abi.encodePacked(r, s, v));
    }

    function permit(address from, address spender, uint256 value, uint256 deadline, bytes memory signature) external {
        _permit(from, spender, value, deadline, signature);
    }

    function _transferAuthorized(Authorization memory a, bytes memory signature)
        private
        whenNotPaused
        notBlacklisted(a.from)
        notBlacklisted(a.to)
    {
        if (authorizationState[a.from][a.nonce] && _returnsForUsed()) return;
        _checkAuthorization(a, TRANSFER_WITH_AUTHORIZATION_TYPEHASH, signature);
        _settleAuthorized(a.from, a.to, a.value, a.nonce);
    }

    function _receiveAuthorized(Authorization memory a, bytes memory signature)
        private
        whenNotPaused
        notBlacklisted(a.from)
        notBlacklisted(a.to)
    {
        require(a.to == msg.sender, "FiatTokenV2: caller must be the payee");
        _checkAuthorization(a, RECEIVE_WITH_AUTHORIZATION_TYPEHASH, signature);
        _settleAuthorized(a.from, a.to, a.value, a.nonce);
    }

    // Hostile tokens override this: everything before it was checked honestly.
    function _settleAuthorized(address from, address to, uint256 value, bytes32 nonce) internal virtual {
        _markUsed(from, nonce);
        _transfer(from, to, value);
    }

    // Some deployed tokens do nothing for a used authorization, where others revert.
    function _returnsForUsed() internal view virtual returns (bool) {
        return false;
    }

    function _markUsed(address from, bytes32 nonce) internal {
        authorizationState[from][nonce] = true;
        emit AuthorizationUsed(from, nonce);
    }

    function _checkAuthorization(Authorization memory a, bytes32 typeHash, bytes memory signature) private view {
        require(block.timestamp > a.validAfter, "FiatTokenV2: authorization is not yet valid");
        require(block.timestamp < a.validBefore, "FiatTokenV2: authorization is expired");
        require(!authorizationState[a.from][a.nonce], "FiatTokenV2: authorization is used or canceled");
        bytes32 structHash = keccak256(abi.encode(typeHash, a));
        require(
            SignerCheck.signedBy(a.from, _typedData(structHash), signature), "FiatTokenV2: invalid signature"
        );
    }

    function _cancel(address authorizer, bytes32 nonce, bytes memory signature) private whenNotPaused {
        require(!authorizationState[authorizer][nonce], "FiatTokenV2: authorization is used or canceled");
        bytes32 structHash = keccak256(abi.encode(CANCEL_AUTHORIZATION_TYPEHASH, authorizer, nonce));
        require(
            SignerCheck.signedBy(authorizer, _typedData(structHash), signature), "FiatTokenV2: invalid signature"
        );
        authorizationState[authorizer][nonce] = true;
        emit AuthorizationCanceled(authorizer, nonce);
    }

    function _permit(address from, address spender, uint256 value, uint256 deadline, bytes memory signature)
        private
        whenNotPaused
        notBlacklisted(from)
        notBlacklisted(spender)
    {
        require(block.timestamp <= deadline, "FiatTokenV2: permit is expired");
        bytes32 structHash = keccak256(abi.encode(PERMIT_TYPEHASH, from, spender, value, nonces[from]++, deadline));
        require(SignerCheck.signedBy(from, _typedData(structHash), signature), "EIP2612: invalid signature");
        _approve(from, spender, value);
    }

    function _typedData(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), structHash));
    }
}
