// SPDX-License-Identifier: MIT OR Apache-2.0
// Wallets that answer ERC-1271 questions badly, for whoever asks them: each mood is one way a careless caller can be
// fooled, starved or flooded.
pragma solidity 0.8.30;

contract MockWallet {
    enum Mood {
        Magic, // 0: says yes to everything
        Refuse, // 1: 0xffffffff
        DirtyMagic, // 2: magic, and garbage in the 28 bytes behind it
        ShortMagic, // 3: only the four bytes, no full word
        LongMagic, // 4: magic, then 61 further bytes
        Empty, // 5: no answer at all
        Revert, // 6: reverts, with the magic as revert data
        BurnGas, // 7: eats all the gas it gets
        Flood, // 8: magic in front of 2 MB of zeroes
        MagicUnlessMined // 9: yes in an eth_call (gas price 0), no in a transaction
    }

    Mood public mood;

    function setMood(Mood next) external {
        mood = next;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        Mood m = mood;
        if (m == Mood.BurnGas) while (true) {}
        if (m == Mood.Refuse || (m == Mood.MagicUnlessMined && tx.gasprice != 0)) return 0xffffffff;
        if (m == Mood.Magic || m == Mood.MagicUnlessMined) return 0x1626ba7e;
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
}
