// SPDX-License-Identifier: MIT OR Apache-2.0
// Wallets that answer ERC-1271 questions badly, for any caller: each mood is one way a careless caller can be
// fooled, starved or flooded.
pragma solidity 0.8.30;

contract MockWallet {
    enum Mood {
        Magic, // 0: says yes to everything
        Refuse, // 1: 0xffffffff
        DirtyMagic, // 2: magic, and garbage in the 28 bytes after it
        ShortMagic, // 3: only the four bytes, no full word
        LongMagic, // 4: magic, then 61 further bytes
        Empty, // 5: no answer at all
        Revert, // 6: reverts, with the magic as revert data
        BurnGas, // 7: eats all the gas it gets
        Flood, // 8: magic in front of 2 MB of zeroes
        MagicUnlessMined, // 9: yes in an eth_call (gas price 0), no in a transaction
        MagicBeforeBlock, // 10: yes before block `turnsAt`, no from it on
        MagicForPeople // 11: yes to a bare call, no to a contract, which is what a token or Permit2 is
    }

    Mood public mood;
    uint256 public turnsAt;

    function setMood(Mood next) external {
        mood = next;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        Mood m = mood;
        if (m == Mood.BurnGas) while (true) {}
        if (m == Mood.Magic) return 0x1626ba7e;
        if (m == Mood.Refuse) return 0xffffffff;
        if (m == Mood.MagicUnlessMined) return _answer(tx.gasprice == 0);
        if (m == Mood.MagicBeforeBlock) return _answer(block.number < turnsAt);
        if (m == Mood.MagicForPeople) return _answer(msg.sender.code.length == 0);
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            if eq(m, 2) {
                mstore(4, not(0))
                return(0, 32)
            }
            if eq(m, 3) { return(0, 4) }
            // Memory above the free pointer is untouched: the rest of a long answer is zeroes.
            let far := mload(0x40)
            mstore(far, mload(0))
            if eq(m, 4) { return(far, 93) }
            if eq(m, 6) { revert(far, 32) }
            if eq(m, 8) { return(far, 2000000) }
            return(0, 0)
        }
    }

    function _answer(bool yes) private pure returns (bytes4) {
        return yes ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}
