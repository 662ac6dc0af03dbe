// SPDX-License-Identifier: MIT OR Apache-2.0
// A contract operator that lies to the facilitator that relays for it, in a way that a test chooses. In every mood but
// those that say so the transaction succeeds: only a reader of the escrow's events, its state and all token movements
// sees the lie. What it steals it keeps.
pragma solidity 0.8.30;

import {CollectorType, ITokenCollector, PaymentInfo} from "./AuthCaptureTypes.sol";
import {EscrowOperator} from "./EscrowOperator.sol";
import {IERC20, SafeTransfer} from "./SafeTransfer.sol";

interface IAllowance {
    function allowance(address owner, address spender) external view returns (uint256);
}

contract HostileOperator is EscrowOperator, ITokenCollector {
    enum Mood {
        Honest, // 0
        NoOp, // 1: does nothing
        HalfAmount, // 2: collects half of the amount in the call
        FakeEvent, // 3: does nothing, but emits the escrow's event itself
        EchoesEvent, // 4: honest, and emits the same event again: noise, no lie
        BurnsGas, // 5: honest, but wastes two million gas
        Undoes, // 6: authorizes, and voids in the same call
        CapturesAtOnce, // 7: authorizes and captures in the same call
        SwapsFlow, // 8: charges what it should hold, holds what it should charge
        OwnCollector, // 9: puts its own money into the escrow instead of the payer's
        Reenters, // 10: its own collector calls the escrow again, which reverts everything
        MostFee, // 11: charges for the highest fee, and takes it itself where the payment leaves that open
        RobsReceiver, // 12: honest, then takes what the receiver has allowed it
        RobsPayer, // 13: the same with the payer
        RobsRelay, // 14: the same with the sender of the transaction
        NoOpWhenMined, // 15: honest in a call (gas price 0), does nothing in a transaction
        NoOpFromBlock // 16: honest before block `turnsAt`, does nothing from it on
    }

    struct Order {
        bool charges;
        uint256 amount;
        address collector;
        uint256 fee;
        address feeReceiver;
    }

    event PaymentAuthorized(
        bytes32 indexed paymentInfoHash, PaymentInfo paymentInfo, uint256 amount, address tokenCollector
    );
    event PaymentCharged(
        bytes32 indexed paymentInfoHash,
        PaymentInfo paymentInfo,
        uint256 amount,
        address tokenCollector,
        uint256 feeAmount,
        address feeReceiver
    );

    Mood public mood;
    uint256 public turnsAt;

    constructor(address escrow) EscrowOperator(escrow) {}

    function setMood(Mood next, uint256 block_) external {
        mood = next;
        turnsAt = block_;
    }

    function authorize(PaymentInfo calldata info, uint256 amount, address tokenCollector, bytes calldata data)
        external
        override
    {
        _run(info, Order(false, amount, tokenCollector, _leastFee(info, amount), info.feeReceiver), data);
    }

    function charge(
        PaymentInfo calldata info,
        uint256 amount,
        address tokenCollector,
        bytes calldata data,
        uint256 feeAmount,
        address feeReceiver
    ) external {
        _run(info, Order(true, amount, tokenCollector, feeAmount, feeReceiver), data);
    }

    function collectorType() external pure returns (CollectorType) {
        return CollectorType.Payment;
    }

    // The escrow's call back, where this contract is the collector.
    function collectTokens(PaymentInfo calldata info, address tokenStore, uint256 amount, bytes calldata data) external {
        if (mood == Mood.Reenters) ESCROW.authorize(info, amount, address(this), data);
        SafeTransfer.send(info.token, tokenStore, amount);
    }

    function _run(PaymentInfo calldata info, Order memory order, bytes calldata data) private {
        Mood m = _mood();
        if (m == Mood.NoOp) return;
        if (m == Mood.FakeEvent) return _emitLookAlike(info, order);
        _bend(m, info, order);
        _collect(info, order, data);
        if (m == Mood.EchoesEvent) _emitLookAlike(info, order);
        if (m == Mood.BurnsGas) _burn(2_000_000);
        if (m == Mood.Undoes) ESCROW.void(info);
        if (m == Mood.CapturesAtOnce) ESCROW.capture(info, order.amount, order.fee, order.feeReceiver);
        if (m == Mood.RobsReceiver) _rob(info.token, info.receiver);
        if (m == Mood.RobsPayer) _rob(info.token, info.payer);
        if (m == Mood.RobsRelay) _rob(info.token, msg.sender);
    }

    // The two moods that depend on where the call runs are one of two plain ones.
    function _mood() private view returns (Mood) {
        if (mood == Mood.NoOpWhenMined) return tx.gasprice == 0 ? Mood.Honest : Mood.NoOp;
        if (mood == Mood.NoOpFromBlock) return block.number < turnsAt ? Mood.Honest : Mood.NoOp;
        return mood;
    }

    function _bend(Mood m, PaymentInfo calldata info, Order memory order) private view {
        if (m == Mood.HalfAmount) {
            order.amount /= 2;
            order.fee = _leastFee(info, order.amount);
        }
        if (m == Mood.SwapsFlow) order.charges = !order.charges;
        if (m == Mood.Undoes || m == Mood.CapturesAtOnce) order.charges = false;
        if (m == Mood.OwnCollector || m == Mood.Reenters) order.collector = address(this);
        if (m == Mood.MostFee) {
            order.fee = order.amount * info.maxFeeBps / 10_000;
            if (info.feeReceiver == address(0)) order.feeReceiver = address(this);
        }
    }

    function _collect(PaymentInfo calldata info, Order memory order, bytes calldata data) private {
        if (order.charges) {
            ESCROW.charge(info, order.amount, order.collector, data, order.fee, order.feeReceiver);
        } else {
            ESCROW.authorize(info, order.amount, order.collector, data);
        }
    }

    function _emitLookAlike(PaymentInfo calldata info, Order memory order) private {
        bytes32 hash = ESCROW.getHash(info);
        if (order.charges) {
            emit PaymentCharged(hash, info, order.amount, order.collector, order.fee, order.feeReceiver);
        } else {
            emit PaymentAuthorized(hash, info, order.amount, order.collector);
        }
    }

    function _rob(address token, address victim) private {
        SafeTransfer.pull(token, victim, address(this), IAllowance(token).allowance(victim, address(this)));
    }

    function _burn(uint256 gas_) private view {
        uint256 start = gasleft();
        while (start - gasleft() < gas_) {}
    }
}
