//! Permit2's signature transfers, and the two x402 proxies that payers name as spender (exact-evm.md sections 1 and 8,
//! upto-and-batch.md A1).

use alloy_primitives::{Address, B256, address, b256};

/// Of the scheme `exact`, at the same address on every chain.
pub const EXACT_PROXY: Address = address!("0x402085c248EeA27D92E8b30b2C58ed07f9E20001");
/// Of the scheme `upto`, at the same address on every chain.
pub const UPTO_PROXY: Address = address!("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");

/// `UnorderedNonceInvalidation(address,uint256,uint256)`: the owner cancelled nonces.
pub const NONCE_INVALIDATION_TOPIC: B256 =
    b256!("0x3704902f963766a4e561bbaab6e6cdc1b1dd12f6e9e99648da8843b3f46b918d");

alloy_sol_types::sol! {
    #[derive(Debug)]
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    /// EIP-712 type of a Permit2 transfer without a witness.
    #[derive(Debug)]
    struct PermitTransferFrom {
        TokenPermissions permitted;
        address spender;
        uint256 nonce;
        uint256 deadline;
    }

    interface Permit2 {
        event UnorderedNonceInvalidation(address indexed owner, uint256 word, uint256 mask);

        function nonceBitmap(address owner, uint256 word) external view returns (uint256);

        error InvalidAmount(uint256 maxAmount);
        error InvalidNonce();
        error SignatureExpired(uint256 signatureDeadline);
        error InvalidSigner();
        error InvalidSignatureLength();
        error InvalidSignature();
        error InvalidContractSignature();
    }


    /// The permit as the proxies take it.
    struct Permission {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    /// A token's own permit (EIP-2612) as the proxies take it.
    struct TokenPermit {
        uint256 value;
        uint256 deadline;
        bytes32 r;
        bytes32 s;
        uint8 v;
    }

    struct PayeeBinding {
        address to;
        uint256 validAfter;
    }

    struct FacilitatorBinding {
        address to;
        address facilitator;
        uint256 validAfter;
    }

    interface AnyProxy {
        function PERMIT2() external view returns (address);
    }

    /// It moves the permitted amount.
    interface ExactProxy {
        function settle(Permission permit, address owner, PayeeBinding witness, bytes signature) external;
        function settleWithPermit(
            TokenPermit permit2612, Permission permit, address owner, PayeeBinding witness, bytes signature
        ) external;
    }

    /// It moves what its caller names, and its caller must be the witness's facilitator.
    interface UptoProxy {
        function settle(
            Permission permit, uint256 amount, address owner, FacilitatorBinding witness, bytes signature
        ) external;
        function settleWithPermit(
            TokenPermit permit2612, Permission permit, uint256 amount, address owner, FacilitatorBinding witness,
            bytes signature
        ) external;
    }
}

/// What payers sign in `exact`: the witness names the payee.
pub mod exact {
    alloy_sol_types::sol! {
        #[derive(Debug)]
        struct TokenPermissions {
            address token;
            uint256 amount;
        }

        #[derive(Debug)]
        struct Witness {
            address to;
            uint256 validAfter;
        }

        #[derive(Debug)]
        struct PermitWitnessTransferFrom {
            TokenPermissions permitted;
            address spender;
            uint256 nonce;
            uint256 deadline;
            Witness witness;
        }
    }
}

/// What payers sign in `upto`: the witness names the payee and the facilitator.
pub mod upto {
    alloy_sol_types::sol! {
        #[derive(Debug)]
        struct TokenPermissions {
            address token;
            uint256 amount;
        }

        #[derive(Debug)]
        struct Witness {
            address to;
            address facilitator;
            uint256 validAfter;
        }

        #[derive(Debug)]
        struct PermitWitnessTransferFrom {
            TokenPermissions permitted;
            address spender;
            uint256 nonce;
            uint256 deadline;
            Witness witness;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;
    use alloy_sol_types::{SolCall, SolError, SolEvent, SolStruct};

    use super::*;

    #[test]
    fn selectors_and_topics_are_the_specified_ones() {
        let calls: [([u8; 4], u32); 10] = [
            (ExactProxy::settleCall::SELECTOR, 0x13cd_3b53),
            (ExactProxy::settleWithPermitCall::SELECTOR, 0xfa34_0378),
            (UptoProxy::settleCall::SELECTOR, 0xff11_e7b4),
            (UptoProxy::settleWithPermitCall::SELECTOR, 0x016c_1748),
            (AnyProxy::PERMIT2Call::SELECTOR, 0x6afd_d850),
            (Permit2::nonceBitmapCall::SELECTOR, 0x4fe0_2b44),
            (Permit2::InvalidNonce::SELECTOR, 0x7566_88fe),
            (Permit2::InvalidAmount::SELECTOR, 0x3728_b83d),
            (Permit2::SignatureExpired::SELECTOR, 0xcd21_db4f),
            (Permit2::InvalidContractSignature::SELECTOR, 0xb066_9cbc),
        ];
        for (ours, specified) in calls {
            assert_eq!(ours, specified.to_be_bytes(), "{specified:#x}");
        }
        assert_eq!(
            Permit2::UnorderedNonceInvalidation::SIGNATURE_HASH,
            NONCE_INVALIDATION_TOPIC
        );
    }

    #[test]
    fn t36_signed_types_are_the_specified_ones() {
        fn type_hash<T: SolStruct>() -> B256 {
            keccak256(T::eip712_encode_type().as_bytes())
        }
        for (ours, specified) in [
            (
                type_hash::<exact::PermitWitnessTransferFrom>(),
                b256!("0xebc156cd23678a74c94df13d772ef5478420637f0c94bd10d509e1dc98f521c7"),
            ),
            (
                type_hash::<upto::PermitWitnessTransferFrom>(),
                b256!("0x51dff6974ad4388c499e7fcfe838d2bd767162553a144098ce20ea661d70c2ee"),
            ),
            (
                type_hash::<upto::Witness>(),
                b256!("0xd4171c445a74218b01d4fd8af34ff1106580ea1e36ff837e64484bfaa2253b75"),
            ),
            (
                type_hash::<PermitTransferFrom>(),
                b256!("0x939c21a48a8dbe3a9a2404a1d46691e4d39f6583d6ec6b35714604c986d80106"),
            ),
        ] {
            assert_eq!(ours, specified);
        }
    }
}
