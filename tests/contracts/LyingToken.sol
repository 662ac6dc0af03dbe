// SPDX-License-Identifier: MIT OR Apache-2.0
// A token whose logs or behaviour lie in a way the owner chooses. Signatures, times and nonces are checked honestly and
// the transaction succeeds (but in moods 8, 9, 11, 12 and 17), so only a reader of the exact logs sees the lie.
pragma solidity 0.8.30;

import {AuthorizedToken} from "./AuthorizedToken.sol";

// Emits a Transfer in the name of no account: right members, wrong emitter.
contract Accomplice {
    event Transfer(address indexed from, address indexed to, uint256 value);

    function say(address from, address to, uint256 value) external {
        emit Transfer(from, to, value);
    }
}

contract LyingToken is AuthorizedToken {
    enum Mood {
        Honest, // 0
        NoTransferLog, // 1: the authorization is used, nothing moves, nothing is logged
        WrongAmount, // 2: moves and logs one unit less
        WrongPayee, // 3: moves and logs to the token's owner
        ForeignLog, // 4: nothing moves; a perfect Transfer log, from another contract
        FalseLog, // 5: nothing moves; a perfect Transfer log of its own (only balances show it)
        NoAuthorizationLog, // 6: moves and logs the transfer, but never says AuthorizationUsed
        OtherNonceLog, // 7: moves, but AuthorizationUsed names another nonce
        RevertsWhenMined, // 8: fine before block `turnsAt`, reverts from it on
        BurnsGas, // 9: eats all the gas it gets
        TaxesContracts, // 10: what a contract sends arrives one unit short; the owner gets the unit
        RevertsAtAPrice, // 11: fine in an eth_call without a gas price, reverts at any price
        RevertsForSenders, // 12: fine for a call that nobody sends, reverts for every origin
        TransferFirst, // 13: honest, but the transfer is logged before the use
        SilentNoOp, // 14: nothing is used, nothing moves, nothing is logged
        ReturnsForUsed, // 15: a used authorization does not revert, it does nothing
        FloodsAnswer, // 16: honest, and answers 200 kB
        FloodsRefusal // 17: reverts with 200 kB
    }

    Mood public mood;
    Accomplice private accomplice;
    uint256 public turnsAt;

    function name() public pure override returns (string memory) {
        return "Lying Dollar";
    }

    function symbol() public pure override returns (string memory) {
        return "LIE";
    }

    function version() public pure override returns (string memory) {
        return "1";
    }

    function setMood(Mood next) external onlyOwner {
        mood = next;
        if (next == Mood.ForeignLog && address(accomplice) == address(0)) accomplice = new Accomplice();
    }

    function _settleAuthorized(address from, address to, uint256 value, bytes32 nonce) internal override {
        if (mood == Mood.RevertsWhenMined) require(block.number < turnsAt, "LyingToken: not today");
        if (mood == Mood.RevertsAtAPrice) require(tx.gasprice == 0, "LyingToken: not at this price");
        if (mood == Mood.RevertsForSenders) require(tx.origin == address(0), "LyingToken: not from you");
        if (mood == Mood.SilentNoOp) return;
        if (mood == Mood.FloodsRefusal) {
            assembly {
                revert(mload(0x40), 200000)
            }
        }
        if (mood == Mood.TransferFirst) {
            _transfer(from, to, value);
            return _markUsed(from, nonce);
        }
        if (mood == Mood.BurnsGas) while (true) {}

        if (mood == Mood.NoAuthorizationLog) authorizationState[from][nonce] = true;
        else if (mood == Mood.OtherNonceLog) emit AuthorizationUsed(from, ~nonce);
        else _markUsed(from, nonce);
        if (mood == Mood.OtherNonceLog) authorizationState[from][nonce] = true;

        if (mood == Mood.NoTransferLog) return;
        if (mood == Mood.ForeignLog) return accomplice.say(from, to, value);
        if (mood == Mood.FalseLog) {
            emit Transfer(from, to, value);
            return;
        }
        if (mood == Mood.WrongAmount) value -= 1;
        _transfer(from, mood == Mood.WrongPayee ? owner : to, value);
        if (mood == Mood.FloodsAnswer) {
            assembly {
                return(mload(0x40), 200000)
            }
        }
    }

    function _returnsForUsed() internal view override returns (bool) {
        return mood == Mood.ReturnsForUsed;
    }

    function _move(address from, address to, uint256 value) internal override {
        if (mood != Mood.TaxesContracts || from.code.length == 0) return super._move(from, to, value);
        super._move(from, to, value - 1);
        super._move(from, owner, 1);
    }
}
