//! Signatures of key management services.

use k256::ecdsa::{Signature, SigningKey};
use signer::der;

/// `SubjectPublicKeyInfo` of secp256k1, as `openssl ec -pubout -outform DER` writes it, up to the point.
const SPKI: &str = "3056301006072a8648ce3d020106052b8104000a034200";

fn spki_head() -> Vec<u8> {
    hex::decode(SPKI).unwrap()
}

#[test]
fn signatures_in_der_become_low_and_recover_to_their_key() {
    let mut high = 0;
    for number in 1..=40u8 {
        let key = SigningKey::from_slice(&[number; 32]).unwrap();
        let public = key.verifying_key().to_encoded_point(false);
        let digest = [number ^ 0x55; 32];
        let (signature, recovery) = key.sign_prehash_recoverable(&digest).unwrap();
        // Every second one as a service may give it: with the high s.
        let (r, s) = signature.split_scalars();
        let given = match number % 2 {
            0 => signature,
            _ => Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap(),
        };
        high += usize::from(given.normalize_s().is_some());
        let bytes = der::signature(given.to_der().as_bytes(), &digest, public.as_bytes()).unwrap();
        assert_eq!(&bytes.as_ref()[..64], signature.to_bytes().as_slice());
        assert_eq!(bytes.as_ref()[64], recovery.to_byte());
        let spki = [&spki_head()[..], public.as_bytes()].concat();
        assert_eq!(der::public_key(&spki).unwrap().as_ref(), public.as_bytes());
        assert!(der::signature(given.to_der().as_bytes(), &[1; 32], public.as_bytes()).is_err());
    }
    assert_eq!(high, 20);
}

#[test]
fn other_bytes_are_refused() {
    let key = SigningKey::from_slice(&[1; 32]).unwrap();
    let public = key.verifying_key().to_encoded_point(false);
    for der in [
        &[][..],
        &[0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00],
        &[0x30; 72],
    ] {
        assert!(der::signature(der, &[1; 32], public.as_bytes()).is_err());
    }
    for spki in [
        &[][..],
        &spki_head(),
        &[&spki_head()[..], &[4; 65]].concat(),
        public.as_bytes(),
    ] {
        assert!(der::public_key(spki).is_err());
    }
}
