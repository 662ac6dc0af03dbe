//! Which account made an ECDSA signature: recovery with libsecp256k1, and the signers that were recovered last.
//!
//! Recovery is a pure function of digest and signature, so that a remembered signer is never out of date. What a wallet
//! answers (ERC-1271) and whether an address has code are chain state, and are not remembered here.

use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, Signature};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, VerifyOnly};

use crate::signature;

/// Signers that are remembered at most, in half a megabyte: enough for what is verified between the verify of a payment and
/// its settle a few seconds later.
const CAPACITY: usize = 4096;

static CURVE: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// The account whose key made the signature. `None`: no key has made it, or its s is above n/2, which chains refuse
/// (EIP-2).
#[must_use]
pub(crate) fn signer(digest: &B256, signature: &Signature) -> Option<Address> {
    if signature.normalize_s().is_some() {
        return None;
    }
    let mut compact = [0; 64];
    let (r, s) = compact.split_at_mut(32);
    r.copy_from_slice(&signature.r().to_be_bytes::<32>());
    s.copy_from_slice(&signature.s().to_be_bytes::<32>());
    let parity = if signature.v() {
        RecoveryId::One
    } else {
        RecoveryId::Zero
    };
    let signature = RecoverableSignature::from_compact(&compact, parity).ok()?;
    let key = CURVE
        .recover_ecdsa(Message::from_digest(digest.0), &signature)
        .ok()?;
    let [_, point @ ..] = key.serialize_uncompressed();
    Some(Address::from_raw_public_key(&point))
}

/// Whether an address without code has signed (exact-evm.md section 2, step S4): exactly 65 bytes, v of 0, 1, 27 or 28, s not
/// above n/2.
#[must_use]
pub fn signed_by(payer: Address, digest: &B256, signature: &[u8]) -> bool {
    let signature = signature::of_account(signature);
    let signer = signature.and_then(|signature| signer(digest, &signature));
    signer == Some(payer)
}

/// What was recovered last, so that the settle of a verified payment needs no second recovery.
#[derive(Default)]
pub(crate) struct KnownSigners {
    /// Each digest has one position, which the newest digest takes. Empty until the first signature.
    places: Mutex<Vec<Option<Known>>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    digest: B256,
    signature: Signature,
    signer: Option<Address>,
}

impl KnownSigners {
    /// As [`signed_by`].
    #[must_use]
    pub(crate) fn signed_by(&self, payer: Address, digest: &B256, signature: &[u8]) -> bool {
        let Some(signature) = signature::of_account(signature) else {
            return false;
        };
        self.signer(digest, &signature) == Some(payer)
    }

    /// As [`signer`].
    fn signer(&self, digest: &B256, signature: &Signature) -> Option<Address> {
        let place = place_of(digest);
        let known = self.lock().get(place).copied().flatten();
        if let Some(known) = known.filter(|known| known.digest == *digest && known.signature == *signature) {
            return known.signer;
        }
        let signer = signer(digest, signature);
        let mut places = self.lock();
        if places.is_empty() {
            places.resize(CAPACITY, None);
        }
        if let Some(place) = places.get_mut(place) {
            *place = Some(Known {
                digest: *digest,
                signature: *signature,
                signer,
            });
        }
        signer
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Known>>> {
        // Each position is written in one statement, so what a panicking thread left is as good as any.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KnownSigners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownSigners").finish_non_exhaustive()
    }
}

/// A digest is the output of a hash: any of its bytes are evenly distributed. A caller that searches for digests with one
/// position costs a recovery each, as without this memory.
fn place_of(digest: &B256) -> usize {
    usize::from(u16::from_be_bytes([digest[0], digest[1]])) % CAPACITY
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{U256, uint};
    use k256::ecdsa::SigningKey;
    use proptest::prelude::*;

    use super::*;

    const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
    const FIELD: U256 = uint!(0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f_U256);

    /// What decided before libsecp256k1 did.
    fn by_k256(digest: &B256, signature: &[u8]) -> Option<Address> {
        let (v @ (27 | 28), r, s) = signature::split(signature)? else {
            return None;
        };
        let signature = Signature::new(r.into(), s.into(), v == 28);
        if signature.normalize_s().is_some() {
            return None;
        }
        signature.recover_address_from_prehash(digest).ok()
    }

    fn by_libsecp256k1(digest: &B256, signature: &[u8]) -> Option<Address> {
        signer(digest, &signature::of_account(signature)?)
    }

    fn signed(key: [u8; 32], digest: &B256) -> Option<[u8; 65]> {
        let key = SigningKey::from_slice(&key).ok()?;
        let (signature, recovery) = key.sign_prehash_recoverable(digest.as_slice()).ok()?;
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = 27 + recovery.to_byte();
        Some(bytes)
    }

    /// Numbers at which one of two implementations could be wrong.
    fn edge() -> impl Strategy<Value = U256> {
        let near = prop::sample::select(vec![
            U256::ZERO,
            U256::MAX,
            ORDER,
            FIELD,
            FIELD - ORDER,
            ORDER >> 1,
            U256::from(1) << 128,
        ]);
        prop_oneof![
            (near, -3_i8..=3).prop_map(|(near, by)| match by {
                0.. => near.wrapping_add(U256::from(by.unsigned_abs())),
                _ => near.wrapping_sub(U256::from(by.unsigned_abs())),
            }),
            any::<[u8; 32]>().prop_map(U256::from_be_bytes),
        ]
    }

    fn v() -> impl Strategy<Value = u8> {
        prop_oneof![4 => prop::sample::select(vec![0, 1, 27, 28]), 1 => any::<u8>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn both_libraries_recover_the_same_signer_of_any_numbers(digest in edge(), r in edge(), s in edge(), v in v()) {
            let digest = B256::from(digest);
            let signature = [&r.to_be_bytes::<32>()[..], &s.to_be_bytes::<32>(), &[v]].concat();
            prop_assert_eq!(by_libsecp256k1(&digest, &signature), by_k256(&digest, &signature));
        }

        #[test]
        fn both_libraries_recover_the_same_signer_of_good_and_of_altered_signatures(
            key: [u8; 32], digest in edge(), at in 0_usize..65, bit in 0_u8..8, alters: bool, mirrors: bool, cut in 0_usize..3,
        ) {
            let digest = B256::from(digest);
            let Some(mut bytes) = signed(key, &digest) else { return Ok(()) };
            if alters {
                bytes[at] ^= 1 << bit;
            }
            if mirrors {
                let s = U256::from_be_slice(&bytes[32..64]);
                bytes[32..64].copy_from_slice(&ORDER.wrapping_sub(s).to_be_bytes::<32>());
                bytes[64] ^= 7;
            }
            let expected = by_k256(&digest, &bytes[..65 - cut]);
            prop_assert_eq!(by_libsecp256k1(&digest, &bytes[..65 - cut]), expected);
            prop_assert!(alters || mirrors || cut > 0 || expected.is_some());
        }
    }

    #[test]
    fn a_remembered_signer_is_that_of_this_digest_and_this_signature() {
        let known = KnownSigners::default();
        let digest = B256::repeat_byte(7);
        let signatures = [1_u8, 2].map(|key| signed([key; 32], &digest).expect("a key"));
        let signers = signatures.map(|signature| by_k256(&digest, &signature).expect("a signer"));
        for _ in 0..2 {
            // Both have one position: each look-up replaces what the other one left there.
            for (signature, signer) in signatures.iter().zip(signers) {
                for _ in 0..2 {
                    assert!(known.signed_by(signer, &digest, signature));
                    assert!(!known.signed_by(Address::ZERO, &digest, signature));
                }
            }
            assert!(!known.signed_by(signers[0], &digest, &signatures[1]));
            let mut other = digest;
            other.0[31] ^= 1;
            assert_eq!(place_of(&other), place_of(&digest));
            assert!(!known.signed_by(signers[0], &other, &signatures[0]));
        }
        assert_eq!(known.lock().len(), CAPACITY);
        assert!(!known.signed_by(signers[0], &digest, &signatures[0][..64]));
    }
}
