// SPDX-License-Identifier: MIT OR Apache-2.0
// How the money of a payment gets into an operator's token store: by the payer's EIP-3009 or Permit2 signature, by an
// approval that the payer made on chain, or, for refunds, from the operator's allowance. Each collector serves one
// escrow. The nonce of both signatures is the payment's hash with payer zero, so a signature fits one payment only.
pragma solidity 0.8.30;

import {CollectorType, IAuthCaptureEscrow, ITokenCollector, PaymentInfo} from "./AuthCaptureTypes.sol";
import {Multicall3} from "./Multicall3.sol";
import {Permit2} from "./Permit2.sol";
import {SafeTransfer} from "./SafeTransfer.sol";

interface IReceiveWithAuthorization {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}

abstract contract TokenCollector is ITokenCollector {
    error OnlyAuthCaptureEscrow();

    IAuthCaptureEscrow public immutable authCaptureEscrow;

    constructor(address escrow) {
        authCaptureEscrow = IAuthCaptureEscrow(escrow);
    }

    function collectTokens(PaymentInfo calldata info, address tokenStore, uint256 amount, bytes calldata data)
        external
    {
        if (msg.sender != address(authCaptureEscrow)) revert OnlyAuthCaptureEscrow();
        _collect(info, tokenStore, amount, data);
    }

    function collectorType() external pure virtual returns (CollectorType) {
        return CollectorType.Payment;
    }

    function _collect(PaymentInfo calldata info, address tokenStore, uint256 amount, bytes calldata data)
        internal
        virtual;

    function _signatureNonce(PaymentInfo memory info) internal view returns (bytes32) {
        info.payer = address(0);
        return authCaptureEscrow.getHash(info);
    }
}

// Takes signatures that may be wrapped for a wallet without code (ERC-6492). The wrapped call runs for deployed wallets
// too, through Multicall3, so its target never sees a caller with rights; its failure is ignored.
abstract contract SignatureCollector is TokenCollector {
    bytes32 private constant ERC6492_SUFFIX = 0x6492649264926492649264926492649264926492649264926492649264926492;

    Multicall3 public immutable multicall3;

    constructor(address escrow, address multicall) TokenCollector(escrow) {
        multicall3 = Multicall3(multicall);
    }

    function _unwrap(bytes calldata signature) internal returns (bytes memory) {
        if (signature.length < 32) return signature;
        uint256 end = signature.length - 32;
        if (bytes32(signature[end:]) != ERC6492_SUFFIX) return signature;
        (address target, bytes memory data, bytes memory inner) =
            abi.decode(signature[:end], (address, bytes, bytes));
        Multicall3.Call[] memory calls = new Multicall3.Call[](1);
        calls[0] = Multicall3.Call(target, data);
        multicall3.tryAggregate(false, calls);
        return inner;
    }
}

// Takes the whole signed maximum and gives back what is not needed: the payer must own all of it.
contract Erc3009Collector is SignatureCollector {
    constructor(address escrow, address multicall) SignatureCollector(escrow, multicall) {}

    function _collect(PaymentInfo calldata info, address tokenStore, uint256 amount, bytes calldata data)
        internal
        override
    {
        bytes memory signature = _unwrap(data);
        IReceiveWithAuthorization(info.token).receiveWithAuthorization(
            info.payer, address(this), info.maxAmount, 0, info.preApprovalExpiry, _signatureNonce(info), signature
        );
        if (info.maxAmount > amount) SafeTransfer.send(info.token, info.payer, info.maxAmount - amount);
        SafeTransfer.send(info.token, tokenStore, amount);
    }
}

contract Permit2Collector is SignatureCollector {
    Permit2 public immutable permit2;

    constructor(address escrow, address multicall, address permit) SignatureCollector(escrow, multicall) {
        permit2 = Permit2(permit);
    }

    function _collect(PaymentInfo calldata info, address tokenStore, uint256 amount, bytes calldata data)
        internal
        override
    {
        permit2.permitTransferFrom(
            Permit2.PermitTransferFrom(
                Permit2.TokenPermissions(info.token, info.maxAmount),
                uint256(_signatureNonce(info)),
                info.preApprovalExpiry
            ),
            Permit2.SignatureTransferDetails(tokenStore, amount),
            info.payer,
            _unwrap(data)
        );
    }
}

contract PreApprovalCollector is TokenCollector {
    error InvalidSender(address sender, address expected);
    error AfterPreApprovalExpiry(uint48 timestamp, uint48 expiry);
    error PaymentAlreadyPreApproved(bytes32 paymentInfoHash);
    error PaymentAlreadyCollected(bytes32 paymentInfoHash);
    error PaymentNotPreApproved(bytes32 paymentInfoHash);

    event PaymentPreApproved(bytes32 indexed paymentInfoHash);

    mapping(bytes32 => bool) public isPreApproved;

    constructor(address escrow) TokenCollector(escrow) {}

    function preApprove(PaymentInfo calldata info) external {
        if (msg.sender != info.payer) revert InvalidSender(msg.sender, info.payer);
        if (block.timestamp >= info.preApprovalExpiry) {
            revert AfterPreApprovalExpiry(uint48(block.timestamp), info.preApprovalExpiry);
        }
        bytes32 hash = authCaptureEscrow.getHash(info);
        if (isPreApproved[hash]) revert PaymentAlreadyPreApproved(hash);
        (bool collected,,) = authCaptureEscrow.paymentState(hash);
        if (collected) revert PaymentAlreadyCollected(hash);
        isPreApproved[hash] = true;
        emit PaymentPreApproved(hash);
    }

    function _collect(PaymentInfo calldata info, address tokenStore, uint256 amount, bytes calldata)
        internal
        override
    {
        bytes32 hash = authCaptureEscrow.getHash(info);
        if (!isPreApproved[hash]) revert PaymentNotPreApproved(hash);
        SafeTransfer.pull(info.token, info.payer, tokenStore, amount);
    }
}

// A refund's money is the operator's own, by allowance.
contract OperatorRefundCollector is TokenCollector {
    constructor(address escrow) TokenCollector(escrow) {}

    function collectorType() external pure override returns (CollectorType) {
        return CollectorType.Refund;
    }

    function _collect(PaymentInfo calldata info, address tokenStore, uint256 amount, bytes calldata)
        internal
        override
    {
        SafeTransfer.pull(info.token, info.operator, tokenStore, amount);
    }
}
