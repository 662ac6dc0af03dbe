//! The signer of a signature, by the rules of the chain and no others (exact-evm.md section 2).
//!
//! An address without code signs with ECDSA in canonical form; an address with any code answers for itself through
//! ERC-1271, also when it is an account with an EIP-7702 delegation, and there is no way from the one to the other.

use alloy_primitives::{Address, B256, Bytes, Signature};
use alloy_sol_types::{SolCall, SolValue};
use sdk_plugin::Fault;
use sdk_plugin::host::RpcResult;

use crate::abi::{ERC1271_MAGIC, SmartWallet};
use crate::rpc::{self, EthCall, Executed};

/// Largest signature taken from a payload, before a wrapper is opened, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 8 * 1024;
/// Largest ERC-6492 wrapper: a signature, and the calldata that deploys a wallet.
pub const MAX_WRAPPER_BYTES: usize = 32 * 1024;
/// Gas a wallet may spend on `isValidSignature`: passkey wallets without a precompile need some 350,000.
pub const ERC1271_GAS: u64 = 500_000;

/// The last 32 bytes of a wrapped signature (ERC-6492).
const WRAPPER_SUFFIX: [u8; 32] = {
    let mut suffix = [0; 32];
    let mut at = 0;
    while at < 32 {
        suffix[at] = if at % 2 == 0 { 0x64 } else { 0x92 };
        at += 1;
    }
    suffix
};

/// Whether these bytes end like an ERC-6492 wrapper.
#[must_use]
pub fn is_wrapped(signature: &[u8]) -> bool {
    signature.ends_with(&WRAPPER_SUFFIX)
}

/// How the wallet of a wrapped signature could be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub factory: Address,
    pub calldata: Bytes,
}

/// A signature with its ERC-6492 wrapper taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwrapped {
    pub inner: Vec<u8>,
    /// Present when the wrapper names a factory and calldata for it.
    pub deployment: Option<Deployment>,
}

/// Takes off the wrapper, if there is one (step S1). `None`: the wrapper is malformed, so the signature is invalid.
#[must_use]
pub fn unwrap(signature: &[u8]) -> Option<Unwrapped> {
    let Some(wrapper) = signature.strip_suffix(&WRAPPER_SUFFIX) else {
        return Some(Unwrapped {
            inner: signature.to_vec(),
            deployment: None,
        });
    };
    let (factory, calldata, inner) = <(Address, Bytes, Bytes)>::abi_decode_params(wrapper).ok()?;
    if inner.len() > MAX_SIGNATURE_BYTES {
        return None;
    }
    let deploys = factory != Address::ZERO && !calldata.is_empty();
    Some(Unwrapped {
        inner: inner.to_vec(),
        deployment: deploys.then_some(Deployment { factory, calldata }),
    })
}

/// The contract that a wrapper calls before the inner signature is checked, whether or not that deploys anything. `None`: these
/// bytes are no wrapper, or one that can't be read.
#[must_use]
pub fn wrapper_target(signature: &[u8]) -> Option<Address> {
    let wrapper = signature.strip_suffix(&WRAPPER_SUFFIX)?;
    let (target, _, _) = <(Address, Bytes, Bytes)>::abi_decode_params(wrapper).ok()?;
    Some(target)
}

/// v, r and s of a 65-byte signature, with v 0 and 1 written as 27 and 28. `None` for any other length.
#[must_use]
pub fn split(signature: &[u8]) -> Option<(u8, B256, B256)> {
    let signature: &[u8; 65] = signature.try_into().ok()?;
    let (r, rest) = signature.split_first_chunk::<32>()?;
    let (s, v) = rest.split_first_chunk::<32>()?;
    let v = match v {
        [v @ (0 | 1)] => v + 27,
        [v] => *v,
        _ => return None,
    };
    Some((v, B256::from(r), B256::from(s)))
}

/// One spelling of a signature: v 0 and 1 become 27 and 28 in 65 bytes, anything else stays as it is.
#[must_use]
pub fn canonical(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some((v, ..)) = split(&bytes)
        && let Some(last) = bytes.last_mut()
    {
        *last = v;
    }
    bytes
}

/// The ECDSA signature of an account, as the chain accepts it: exactly 65 bytes, v of 0, 1, 27 or 28, s not above n/2.
#[must_use]
pub(crate) fn of_account(signature: &[u8]) -> Option<Signature> {
    let (v @ (27 | 28), r, s) = split(signature)? else {
        return None;
    };
    let signature = Signature::new(r.into(), s.into(), v == 28);
    // `normalize_s` gives something exactly for the mirrored form, which the token refuses.
    signature.normalize_s().is_none().then_some(signature)
}

/// The static call of a wallet (step S5).
#[must_use]
pub fn wallet_call(payer: Address, digest: B256, signature: &[u8]) -> EthCall {
    EthCall {
        from: None,
        to: payer,
        data: SmartWallet::isValidSignatureCall {
            hash: digest,
            signature: Bytes::copy_from_slice(signature),
        }
        .abi_encode(),
        gas: Some(ERC1271_GAS),
    }
}

/// Whether the wallet accepted: at least 32 bytes, beginning with the magic value. A revert is a rejection, a fault of the
/// node is neither.
pub fn wallet_agrees(answer: RpcResult) -> Result<bool, Fault> {
    Ok(match rpc::executed(answer, "isValidSignature of the payer")? {
        Executed::Returned(data) => data.len() >= 32 && data.starts_with(ERC1271_MAGIC.as_slice()),
        Executed::Failed(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, b256, hex};
    use proptest::prelude::*;

    use super::*;
    use crate::recovery::signed_by;

    const PAYER: Address = address!("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A");
    const DIGEST: B256 = b256!("0xdd67f7b198f69d713dd02a7b65893e746b9b93449f80b7419172ba9d1c584c53");
    const SIGNATURE: [u8; 65] = hex!(
        "5bd5558d7ac91515584e6a6afadc38bff086c5d5d3a4795c0e1c3b252b30a9ac37ecba449cfcfe9d243f515ba78a01a1d81bbd31095eb27fb79bbe75bfc95d031b"
    );
    const HIGH_S: [u8; 65] = hex!(
        "5bd5558d7ac91515584e6a6afadc38bff086c5d5d3a4795c0e1c3b252b30a9acc81345bb63030162dbc0aea45875fe5ce2931fb5a5e9edbc0836a017106ce43e1c"
    );

    #[test]
    fn t25_only_the_canonical_65_bytes_sign_for_an_account() {
        assert!(signed_by(PAYER, &DIGEST, &SIGNATURE));
        let mut v_zero = SIGNATURE;
        v_zero[64] = 0;
        assert!(signed_by(PAYER, &DIGEST, &v_zero));
        assert!(!signed_by(PAYER, &DIGEST, &HIGH_S));
        assert!(!signed_by(PAYER, &DIGEST, &SIGNATURE[..64]));
        let mut longer = SIGNATURE.to_vec();
        longer.push(0);
        assert!(!signed_by(PAYER, &DIGEST, &longer));
        for v in [1, 2, 26, 28, 29, 31, 255] {
            let mut other = SIGNATURE;
            other[64] = v;
            assert!(!signed_by(PAYER, &DIGEST, &other), "v {v}");
        }
        assert!(!signed_by(Address::ZERO, &DIGEST, &[0; 65]));
        assert!(!signed_by(PAYER, &DIGEST, &[]));
    }

    #[test]
    fn wrappers_open_to_the_inner_signature() {
        let params = (
            PAYER,
            Bytes::from_static(&[0x12, 0x34]),
            Bytes::copy_from_slice(&SIGNATURE),
        );
        let mut wrapped = params.abi_encode_params();
        wrapped.extend(WRAPPER_SUFFIX);
        let opened = unwrap(&wrapped).expect("well formed");
        assert_eq!(opened.inner, SIGNATURE);
        assert_eq!(
            opened.deployment,
            Some(Deployment {
                factory: PAYER,
                calldata: Bytes::from_static(&[0x12, 0x34])
            })
        );

        let nothing = (
            Address::ZERO,
            Bytes::from_static(&[1]),
            Bytes::copy_from_slice(&SIGNATURE),
        );
        let mut wrapped = nothing.abi_encode_params();
        wrapped.extend(WRAPPER_SUFFIX);
        assert_eq!(unwrap(&wrapped).expect("well formed").deployment, None);

        assert_eq!(unwrap(&WRAPPER_SUFFIX), None);
        assert_eq!(unwrap(&SIGNATURE).expect("bare").inner, SIGNATURE);
    }

    #[test]
    fn t27_a_wallet_says_yes_with_the_magic_in_a_whole_word_only() {
        use sdk_plugin::host::RpcError;
        let ok = |bytes: &[u8]| wallet_agrees(RpcResult::Ok(format!("0x{}", hex::encode(bytes)).into()));
        let mut word = [0; 32];
        word[..4].copy_from_slice(ERC1271_MAGIC.as_slice());
        assert_eq!(ok(&word), Ok(true));
        let mut long = word.to_vec();
        long.extend([7; 100]);
        assert_eq!(ok(&long), Ok(true));
        assert_eq!(ok(&word[..31]), Ok(false));
        assert_eq!(ok(&word[..4]), Ok(false));
        assert_eq!(ok(&[]), Ok(false));
        assert_eq!(ok(&[0xff; 32]), Ok(false));
        let error = |code, message: &str| {
            wallet_agrees(RpcResult::Error(RpcError {
                code,
                message: message.into(),
                data: sdk_plugin::Value::Null,
            }))
        };
        assert_eq!(error(3, "execution reverted"), Ok(false));
        assert_eq!(error(-32000, "out of gas"), Ok(false));
        assert!(error(-32005, "limit exceeded").is_err());
        assert!(wallet_agrees(RpcResult::Ok(sdk_plugin::Value::Null)).is_err());
    }

    proptest! {
        #[test]
        fn decoders_take_any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..400), wrapped in any::<bool>()) {
            if wrapped {
                bytes.extend(WRAPPER_SUFFIX);
            }
            let opened = unwrap(&bytes);
            prop_assert!(wrapped || opened.is_some_and(|opened| opened.inner == bytes && opened.deployment.is_none()));
            prop_assert!(!signed_by(PAYER, &DIGEST, &bytes));
        }
    }
}
