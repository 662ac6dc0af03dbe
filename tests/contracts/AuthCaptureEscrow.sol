// SPDX-License-Identifier: MIT OR Apache-2.0
// The escrow of `auth-capture`, in both forms that are deployed: a payment is collected once (held by `authorize`, or
// paid out at once by `charge`), then captured, voided, reclaimed or refunded until nothing is left. The fee is the only
// difference: basis points in v1.0, an amount in v1.1. Order of checks, errors and events are those of the protocol
// note. Written for the dev chain, where only tests hold money.
pragma solidity 0.8.30;

import {CollectorType, IAuthCaptureEscrow, ITokenCollector, PaymentInfo} from "./AuthCaptureTypes.sol";
import {IERC20} from "./SafeTransfer.sol";
import {TokenStore, TokenStores} from "./TokenStore.sol";

abstract contract AuthCaptureEscrow is IAuthCaptureEscrow {
    struct State {
        bool hasCollectedPayment;
        uint120 capturableAmount;
        uint120 refundableAmount;
    }

    error InvalidSender(address sender, address expected);
    error ZeroAmount();
    error AmountOverflow(uint256 amount, uint256 limit);
    error ExceedsMaxAmount(uint256 amount, uint256 maxAmount);
    error AfterPreApprovalExpiry(uint48 timestamp, uint48 expiry);
    error InvalidExpiries(uint48 preApproval, uint48 authorization, uint48 refund);
    error FeeBpsOverflow(uint16 feeBps);
    error InvalidFeeBpsRange(uint16 minFeeBps, uint16 maxFeeBps);
    error ZeroFeeReceiver();
    error InvalidFeeReceiver(address attempted, address expected);
    error InvalidCollectorForOperation();
    error TokenCollectionFailed();
    error PaymentAlreadyCollected(bytes32 paymentInfoHash);
    error AfterAuthorizationExpiry(uint48 timestamp, uint48 expiry);
    error BeforeAuthorizationExpiry(uint48 timestamp, uint48 expiry);
    error InsufficientAuthorization(bytes32 paymentInfoHash, uint256 authorizedAmount, uint256 requestedAmount);
    error ZeroAuthorization(bytes32 paymentInfoHash);
    error AfterRefundExpiry(uint48 timestamp, uint48 expiry);
    error RefundExceedsCapture(uint256 refund, uint256 captured);
    error Reentrancy();

    event PaymentAuthorized(
        bytes32 indexed paymentInfoHash, PaymentInfo paymentInfo, uint256 amount, address tokenCollector
    );
    event PaymentVoided(bytes32 indexed paymentInfoHash, uint256 amount);
    event PaymentReclaimed(bytes32 indexed paymentInfoHash, uint256 amount);
    event PaymentRefunded(bytes32 indexed paymentInfoHash, uint256 amount, address tokenCollector);
    event TokenStoreCreated(address indexed operator, address tokenStore);

    bytes32 public constant PAYMENT_INFO_TYPEHASH = keccak256(
        "PaymentInfo(address operator,address payer,address receiver,address token,uint120 maxAmount,uint48 preApprovalExpiry,uint48 authorizationExpiry,uint48 refundExpiry,uint16 minFeeBps,uint16 maxFeeBps,address feeReceiver,uint256 salt)"
    );
    uint16 internal constant MAX_FEE_BPS = 10_000;

    address public immutable tokenStoreImplementation;
    mapping(bytes32 => State) public paymentState;
    bool private entered;

    modifier nonReentrant() {
        if (entered) revert Reentrancy();
        entered = true;
        _;
        entered = false;
    }

    modifier onlySender(address expected) {
        if (msg.sender != expected) revert InvalidSender(msg.sender, expected);
        _;
    }

    modifier validAmount(uint256 amount) {
        if (amount == 0) revert ZeroAmount();
        if (amount > type(uint120).max) revert AmountOverflow(amount, type(uint120).max);
        _;
    }

    constructor(address storeImplementation) {
        tokenStoreImplementation = storeImplementation;
    }

    function authorize(PaymentInfo calldata info, uint256 amount, address tokenCollector, bytes calldata data)
        external
        nonReentrant
        onlySender(info.operator)
        validAmount(amount)
    {
        _checkPayment(info, amount);
        bytes32 hash = _open(info, State(true, uint120(amount), 0));
        emit PaymentAuthorized(hash, info, amount, tokenCollector);
        _collect(info, amount, tokenCollector, data, CollectorType.Payment);
    }

    function void(PaymentInfo calldata info) external nonReentrant onlySender(info.operator) {
        (bytes32 hash, uint256 amount) = _takeCapturable(info);
        emit PaymentVoided(hash, amount);
        _send(info, info.payer, amount);
    }

    function reclaim(PaymentInfo calldata info) external nonReentrant onlySender(info.payer) {
        if (block.timestamp < info.authorizationExpiry) {
            revert BeforeAuthorizationExpiry(uint48(block.timestamp), info.authorizationExpiry);
        }
        (bytes32 hash, uint256 amount) = _takeCapturable(info);
        emit PaymentReclaimed(hash, amount);
        _send(info, info.payer, amount);
    }

    function refund(PaymentInfo calldata info, uint256 amount, address tokenCollector, bytes calldata data)
        external
        nonReentrant
        onlySender(info.operator)
        validAmount(amount)
    {
        if (block.timestamp >= info.refundExpiry) {
            revert AfterRefundExpiry(uint48(block.timestamp), info.refundExpiry);
        }
        bytes32 hash = getHash(info);
        State storage state = paymentState[hash];
        if (state.refundableAmount < amount) revert RefundExceedsCapture(amount, state.refundableAmount);
        state.refundableAmount -= uint120(amount);
        emit PaymentRefunded(hash, amount, tokenCollector);
        _collect(info, amount, tokenCollector, data, CollectorType.Refund);
        _send(info, info.payer, amount);
    }

    // Bound to this chain and this escrow; no EIP-712 digest.
    function getHash(PaymentInfo calldata info) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), keccak256(abi.encode(PAYMENT_INFO_TYPEHASH, info))));
    }

    // It may have no code yet: that comes with the first outgoing transfer.
    function getTokenStore(address operator) public view returns (address) {
        return TokenStores.predict(tokenStoreImplementation, operator);
    }

    // Time comes before the order of the expiries: an expired payment is called expired, however odd its terms.
    function _checkPayment(PaymentInfo calldata info, uint256 amount) internal view {
        if (amount > info.maxAmount) revert ExceedsMaxAmount(amount, info.maxAmount);
        if (block.timestamp >= info.preApprovalExpiry) {
            revert AfterPreApprovalExpiry(uint48(block.timestamp), info.preApprovalExpiry);
        }
        if (info.preApprovalExpiry > info.authorizationExpiry || info.authorizationExpiry > info.refundExpiry) {
            revert InvalidExpiries(info.preApprovalExpiry, info.authorizationExpiry, info.refundExpiry);
        }
        if (info.maxFeeBps > MAX_FEE_BPS) revert FeeBpsOverflow(info.maxFeeBps);
        if (info.minFeeBps > info.maxFeeBps) revert InvalidFeeBpsRange(info.minFeeBps, info.maxFeeBps);
    }

    // A fixed receiver is enforced for a zero fee too.
    function _checkFeeReceiver(PaymentInfo calldata info, bool anyFee, address feeReceiver) internal pure {
        if (anyFee && feeReceiver == address(0)) revert ZeroFeeReceiver();
        if (info.feeReceiver != address(0) && info.feeReceiver != feeReceiver) {
            revert InvalidFeeReceiver(feeReceiver, info.feeReceiver);
        }
    }

    function _open(PaymentInfo calldata info, State memory state) internal returns (bytes32 hash) {
        hash = getHash(info);
        if (paymentState[hash].hasCollectedPayment) revert PaymentAlreadyCollected(hash);
        paymentState[hash] = state;
    }

    function _capture(PaymentInfo calldata info, uint256 amount) internal returns (bytes32 hash) {
        if (block.timestamp >= info.authorizationExpiry) {
            revert AfterAuthorizationExpiry(uint48(block.timestamp), info.authorizationExpiry);
        }
        hash = getHash(info);
        State storage state = paymentState[hash];
        if (state.capturableAmount < amount) revert InsufficientAuthorization(hash, state.capturableAmount, amount);
        state.capturableAmount -= uint120(amount);
        state.refundableAmount += uint120(amount);
    }

    function _takeCapturable(PaymentInfo calldata info) private returns (bytes32 hash, uint256 amount) {
        hash = getHash(info);
        amount = paymentState[hash].capturableAmount;
        if (amount == 0) revert ZeroAuthorization(hash);
        paymentState[hash].capturableAmount = 0;
    }

    function _collect(
        PaymentInfo calldata info,
        uint256 amount,
        address tokenCollector,
        bytes calldata data,
        CollectorType wanted
    ) internal {
        if (ITokenCollector(tokenCollector).collectorType() != wanted) revert InvalidCollectorForOperation();
        address store = getTokenStore(info.operator);
        uint256 before = IERC20(info.token).balanceOf(store);
        ITokenCollector(tokenCollector).collectTokens(info, store, amount, data);
        if (IERC20(info.token).balanceOf(store) != before + amount) revert TokenCollectionFailed();
    }

    function _distribute(PaymentInfo calldata info, uint256 amount, uint256 fee, address feeReceiver) internal {
        if (fee > 0) _send(info, feeReceiver, fee);
        if (amount > fee) _send(info, info.receiver, amount - fee);
    }

    function _send(PaymentInfo calldata info, address recipient, uint256 amount) private {
        address store = getTokenStore(info.operator);
        if (store.code.length == 0) {
            store = TokenStores.deploy(tokenStoreImplementation, info.operator);
            emit TokenStoreCreated(info.operator, store);
        }
        TokenStore(store).sendTokens(info.token, recipient, amount);
    }
}

contract AuthCaptureEscrowV10 is AuthCaptureEscrow {
    error FeeBpsOutOfRange(uint16 feeBps, uint16 minFeeBps, uint16 maxFeeBps);

    event PaymentCharged(
        bytes32 indexed paymentInfoHash,
        PaymentInfo paymentInfo,
        uint256 amount,
        address tokenCollector,
        uint16 feeBps,
        address feeReceiver
    );
    event PaymentCaptured(bytes32 indexed paymentInfoHash, uint256 amount, uint16 feeBps, address feeReceiver);

    constructor(address storeImplementation) AuthCaptureEscrow(storeImplementation) {}

    function charge(
        PaymentInfo calldata info,
        uint256 amount,
        address tokenCollector,
        bytes calldata data,
        uint16 feeBps,
        address feeReceiver
    ) external nonReentrant onlySender(info.operator) validAmount(amount) {
        _checkPayment(info, amount);
        _checkFee(info, feeBps, feeReceiver);
        bytes32 hash = _open(info, State(true, 0, uint120(amount)));
        emit PaymentCharged(hash, info, amount, tokenCollector, feeBps, feeReceiver);
        _collect(info, amount, tokenCollector, data, CollectorType.Payment);
        _distribute(info, amount, amount * feeBps / MAX_FEE_BPS, feeReceiver);
    }

    function capture(PaymentInfo calldata info, uint256 amount, uint16 feeBps, address feeReceiver)
        external
        nonReentrant
        onlySender(info.operator)
        validAmount(amount)
    {
        _checkFee(info, feeBps, feeReceiver);
        emit PaymentCaptured(_capture(info, amount), amount, feeBps, feeReceiver);
        _distribute(info, amount, amount * feeBps / MAX_FEE_BPS, feeReceiver);
    }

    function _checkFee(PaymentInfo calldata info, uint16 feeBps, address feeReceiver) private pure {
        if (feeBps < info.minFeeBps || feeBps > info.maxFeeBps) {
            revert FeeBpsOutOfRange(feeBps, info.minFeeBps, info.maxFeeBps);
        }
        _checkFeeReceiver(info, feeBps > 0, feeReceiver);
    }
}

contract AuthCaptureEscrowV11 is AuthCaptureEscrow {
    error FeeAmountOutOfRange(uint256 feeAmount, uint256 minFeeAmount, uint256 maxFeeAmount);

    event PaymentCharged(
        bytes32 indexed paymentInfoHash,
        PaymentInfo paymentInfo,
        uint256 amount,
        address tokenCollector,
        uint256 feeAmount,
        address feeReceiver
    );
    event PaymentCaptured(bytes32 indexed paymentInfoHash, uint256 amount, uint256 feeAmount, address feeReceiver);

    constructor(address storeImplementation) AuthCaptureEscrow(storeImplementation) {}

    function charge(
        PaymentInfo calldata info,
        uint256 amount,
        address tokenCollector,
        bytes calldata data,
        uint256 feeAmount,
        address feeReceiver
    ) external nonReentrant onlySender(info.operator) validAmount(amount) {
        _checkPayment(info, amount);
        _checkFee(info, amount, feeAmount, feeReceiver);
        bytes32 hash = _open(info, State(true, 0, uint120(amount)));
        emit PaymentCharged(hash, info, amount, tokenCollector, feeAmount, feeReceiver);
        _collect(info, amount, tokenCollector, data, CollectorType.Payment);
        _distribute(info, amount, feeAmount, feeReceiver);
    }

    function capture(PaymentInfo calldata info, uint256 amount, uint256 feeAmount, address feeReceiver)
        external
        nonReentrant
        onlySender(info.operator)
        validAmount(amount)
    {
        _checkFee(info, amount, feeAmount, feeReceiver);
        emit PaymentCaptured(_capture(info, amount), amount, feeAmount, feeReceiver);
        _distribute(info, amount, feeAmount, feeReceiver);
    }

    // Both bounds are floored, for each call anew: many small captures can pay less than one big one.
    function _checkFee(PaymentInfo calldata info, uint256 amount, uint256 feeAmount, address feeReceiver)
        private
        pure
    {
        uint256 least = amount * info.minFeeBps / MAX_FEE_BPS;
        uint256 most = amount * info.maxFeeBps / MAX_FEE_BPS;
        if (feeAmount < least || feeAmount > most) revert FeeAmountOutOfRange(feeAmount, least, most);
        _checkFeeReceiver(info, feeAmount > 0, feeReceiver);
    }
}
