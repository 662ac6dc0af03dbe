//! The contract interfaces that this crate calls or reads logs of.
//!
//! Sources: EIP-3009, ERC-20, ERC-1271, the Multicall3 and Permit2 deployments, and OP-stack's GasPriceOracle predeploy.

use alloy_primitives::FixedBytes;
use alloy_primitives::{Address, B256, address, b256, fixed_bytes};

/// Multicall3, at the same address on nearly every chain.
pub const MULTICALL3: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");
/// Permit2, at the same address on nearly every chain.
pub const PERMIT2: Address = address!("0x000000000022D473030F116dDEE9F6B43aC78BA3");
/// OP-stack's oracle for the fee that covers a transaction's data on L1.
pub const GAS_PRICE_ORACLE: Address = address!("0x420000000000000000000000000000000000000F");

/// `Transfer(address,address,uint256)`.
pub const TRANSFER_TOPIC: B256 = b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// `AuthorizationUsed(address,bytes32)`.
pub const AUTHORIZATION_USED_TOPIC: B256 =
    b256!("0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5");
/// `AuthorizationCanceled(address,bytes32)`.
pub const AUTHORIZATION_CANCELED_TOPIC: B256 =
    b256!("0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81");

/// `transferWithAuthorization` with v, r, s.
pub const TRANSFER_VRS_SELECTOR: FixedBytes<4> = fixed_bytes!("0xe3ee160e");
/// `transferWithAuthorization` with signature bytes.
pub const TRANSFER_BYTES_SELECTOR: FixedBytes<4> = fixed_bytes!("0xcf092995");
/// `approve` of ERC-20.
pub const APPROVE_SELECTOR: FixedBytes<4> = fixed_bytes!("0x095ea7b3");
/// Multicall3's `aggregate3`.
pub const AGGREGATE3_SELECTOR: FixedBytes<4> = fixed_bytes!("0x82ad56cb");
/// What a wallet answers to a signature it accepts (ERC-1271).
pub const ERC1271_MAGIC: FixedBytes<4> = fixed_bytes!("0x1626ba7e");

/// The operation of a step that moves native currency to an account, without calldata.
pub const NATIVE_TRANSFER: &str = "transfer";

alloy_sol_types::sol! {
    /// EIP-712 type of EIP-3009.
    #[derive(Debug)]
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    interface AuthorizedToken {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            uint8 v, bytes32 r, bytes32 s
        ) external;
        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            bytes signature
        ) external;
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function balanceOf(address account) external view returns (uint256);
        function transfer(address to, uint256 value) external returns (bool);
        function approve(address spender, uint256 value) external returns (bool);
        function allowance(address owner, address spender) external view returns (uint256);
        function name() external view returns (string);
        function version() external view returns (string);
        function symbol() external view returns (string);
        function decimals() external view returns (uint8);
    }

    interface SmartWallet {
        function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
    }

    interface Multicall {
        #[derive(Debug)]
        struct Call {
            address target;
            bytes callData;
        }
        struct Call3 {
            address target;
            bool allowFailure;
            bytes callData;
        }
        #[derive(Debug)]
        struct Outcome {
            bool success;
            bytes returnData;
        }
        function tryAggregate(bool requireSuccess, Call[] calls) external returns (Outcome[]);
        function aggregate3(Call3[] calls) external payable returns (Outcome[]);
        function getCurrentBlockTimestamp() external view returns (uint256);
        function getBlockNumber() external view returns (uint256);
    }

    interface GasPriceOracle {
        function getL1Fee(bytes data) external view returns (uint256);
    }
}

#[cfg(test)]
mod tests {
    use alloy_sol_types::{SolCall, SolEvent};

    use super::*;

    #[test]
    fn selectors_and_topics_are_the_specified_ones() {
        use AuthorizedToken::*;
        assert_eq!(transferWithAuthorization_0Call::SELECTOR, TRANSFER_VRS_SELECTOR.0);
        assert_eq!(
            transferWithAuthorization_1Call::SELECTOR,
            TRANSFER_BYTES_SELECTOR.0
        );
        assert_eq!(authorizationStateCall::SELECTOR, [0xe9, 0x4a, 0x01, 0x02]);
        assert_eq!(balanceOfCall::SELECTOR, [0x70, 0xa0, 0x82, 0x31]);
        assert_eq!(transferCall::SELECTOR, [0xa9, 0x05, 0x9c, 0xbb]);
        assert_eq!(allowanceCall::SELECTOR, [0xdd, 0x62, 0xed, 0x3e]);
        assert_eq!(nameCall::SELECTOR, [0x06, 0xfd, 0xde, 0x03]);
        assert_eq!(versionCall::SELECTOR, [0x54, 0xfd, 0x4d, 0x50]);
        assert_eq!(SmartWallet::isValidSignatureCall::SELECTOR, ERC1271_MAGIC.0);
        assert_eq!(Multicall::tryAggregateCall::SELECTOR, [0xbc, 0xe3, 0x8b, 0xd7]);
        assert_eq!(Multicall::aggregate3Call::SELECTOR, AGGREGATE3_SELECTOR.0);
        assert_eq!(Transfer::SIGNATURE_HASH, TRANSFER_TOPIC);
        assert_eq!(AuthorizationUsed::SIGNATURE_HASH, AUTHORIZATION_USED_TOPIC);
        assert_eq!(
            AuthorizationCanceled::SIGNATURE_HASH,
            AUTHORIZATION_CANCELED_TOPIC
        );
    }
}
