// SPDX-License-Identifier: MIT OR Apache-2.0
// Contract operators, honest ones: any caller may bring a payment in through the escrow's own `authorize` (a facilitator
// relays it like that), and what happens to the money afterwards follows the contract's rules instead of a key.
pragma solidity 0.8.30;

import {AuthCaptureEscrowV10, AuthCaptureEscrowV11} from "./AuthCaptureEscrow.sol";
import {PaymentInfo} from "./AuthCaptureTypes.sol";

abstract contract EscrowOperator {
    error NotAllowed(address sender);

    AuthCaptureEscrowV11 public immutable ESCROW;

    modifier only(address allowed) {
        if (msg.sender != allowed) revert NotAllowed(msg.sender);
        _;
    }

    constructor(address escrow) {
        ESCROW = AuthCaptureEscrowV11(escrow);
    }

    function authorize(PaymentInfo calldata info, uint256 amount, address tokenCollector, bytes calldata data)
        external
        virtual
    {
        ESCROW.authorize(info, amount, tokenCollector, data);
        _authorized(ESCROW.getHash(info));
    }

    function _authorized(bytes32 hash) internal virtual {}

    function _leastFee(PaymentInfo calldata info, uint256 amount) internal pure returns (uint256) {
        return amount * info.minFeeBps / 10_000;
    }

    // Captures for the least fee that the buyer signed.
    function _release(PaymentInfo calldata info, uint256 amount) internal {
        ESCROW.capture(info, amount, _leastFee(info, amount), info.feeReceiver);
    }
}

// Holds every payment for a day before its owner may capture it. Charges pass through: who signs for one waives the
// lock. It serves escrows of either fee form, so it has `charge` and `capture` twice.
contract TimeLockOperator is EscrowOperator {
    error StillLocked(uint256 until);

    uint256 public constant LOCK_SECONDS = 1 days;
    address public immutable owner;
    mapping(bytes32 => uint256) public lockedUntil;

    constructor(address escrow, address newOwner) EscrowOperator(escrow) {
        owner = newOwner;
    }

    function charge(
        PaymentInfo calldata info,
        uint256 amount,
        address tokenCollector,
        bytes calldata data,
        uint256 feeAmount,
        address feeReceiver
    ) external {
        ESCROW.charge(info, amount, tokenCollector, data, feeAmount, feeReceiver);
    }

    function charge(
        PaymentInfo calldata info,
        uint256 amount,
        address tokenCollector,
        bytes calldata data,
        uint16 feeBps,
        address feeReceiver
    ) external {
        AuthCaptureEscrowV10(address(ESCROW)).charge(info, amount, tokenCollector, data, feeBps, feeReceiver);
    }

    function capture(PaymentInfo calldata info, uint256 amount, uint256 feeAmount, address feeReceiver)
        external
        only(owner)
    {
        _checkLock(info);
        ESCROW.capture(info, amount, feeAmount, feeReceiver);
    }

    function capture(PaymentInfo calldata info, uint256 amount, uint16 feeBps, address feeReceiver)
        external
        only(owner)
    {
        _checkLock(info);
        AuthCaptureEscrowV10(address(ESCROW)).capture(info, amount, feeBps, feeReceiver);
    }

    // Giving money back needs no waiting.
    function void(PaymentInfo calldata info) external only(owner) {
        ESCROW.void(info);
    }

    function _authorized(bytes32 hash) internal override {
        lockedUntil[hash] = block.timestamp + LOCK_SECONDS;
    }

    function _checkLock(PaymentInfo calldata info) private view {
        uint256 until = lockedUntil[ESCROW.getHash(info)];
        if (block.timestamp < until) revert StillLocked(until);
    }
}

// Milestones with an arbiter: the payee announces one and is paid after an hour, unless the payer disputes the payment;
// then only the arbiter releases or returns what is left. It holds payments only: there is no `charge`.
contract ArbiterOperator is EscrowOperator {
    struct Milestone {
        uint256 amount;
        uint256 payableFrom;
    }

    error InDispute(bytes32 paymentInfoHash);
    error NoDispute(bytes32 paymentInfoHash);
    error NotPayableYet(uint256 payableFrom);
    error NoMilestone(bytes32 paymentInfoHash);

    event MilestoneAnnounced(bytes32 indexed paymentInfoHash, uint256 amount, uint256 payableFrom);
    event MilestonePaid(bytes32 indexed paymentInfoHash, uint256 amount);
    event DisputeOpened(bytes32 indexed paymentInfoHash);
    event DisputeDecided(bytes32 indexed paymentInfoHash, uint256 released);

    uint256 public constant OBJECTION_SECONDS = 1 hours;
    address public immutable arbiter;
    mapping(bytes32 => Milestone) public milestone;
    mapping(bytes32 => bool) public disputed;

    constructor(address escrow, address newArbiter) EscrowOperator(escrow) {
        arbiter = newArbiter;
    }

    function announce(PaymentInfo calldata info, uint256 amount) external only(info.receiver) {
        bytes32 hash = ESCROW.getHash(info);
        uint256 payableFrom = block.timestamp + OBJECTION_SECONDS;
        milestone[hash] = Milestone(amount, payableFrom);
        emit MilestoneAnnounced(hash, amount, payableFrom);
    }

    function release(PaymentInfo calldata info) external only(info.receiver) {
        bytes32 hash = ESCROW.getHash(info);
        Milestone memory due = milestone[hash];
        if (disputed[hash]) revert InDispute(hash);
        if (due.amount == 0) revert NoMilestone(hash);
        if (block.timestamp < due.payableFrom) revert NotPayableYet(due.payableFrom);
        delete milestone[hash];
        _release(info, due.amount);
        emit MilestonePaid(hash, due.amount);
    }

    function dispute(PaymentInfo calldata info) external only(info.payer) {
        bytes32 hash = ESCROW.getHash(info);
        disputed[hash] = true;
        emit DisputeOpened(hash);
    }

    // Pays `amount` to the payee, and everything else that is held back to the payer.
    function decide(PaymentInfo calldata info, uint256 amount) external only(arbiter) {
        bytes32 hash = ESCROW.getHash(info);
        if (!disputed[hash]) revert NoDispute(hash);
        delete disputed[hash];
        delete milestone[hash];
        if (amount > 0) _release(info, amount);
        (, uint120 rest,) = ESCROW.paymentState(hash);
        if (rest > 0) ESCROW.void(info);
        emit DisputeDecided(hash, amount);
    }
}
