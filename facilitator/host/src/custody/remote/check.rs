//! Checks of a signer's answers: nothing of them is used before it is proven with the public key that is known from the start.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sdk_plugin::HexBytes;
use sdk_plugin::host::Suite;

/// Whether the bytes are a public key of the suite, in the form that the host uses.
pub fn is_public_key(suite: Suite, bytes: &[u8]) -> bool {
    match suite {
        Suite::Secp256k1 => {
            bytes.len() == 65 && bytes.first() == Some(&4) && VerifyingKey::from_sec1_bytes(bytes).is_ok()
        }
        Suite::Ed25519 => ed25519(bytes).is_some(),
    }
}

/// Fails unless the signature is the key's over the message, in the form that chains accept; the sentence follows the signer's
/// name.
pub(super) fn signature(
    suite: Suite,
    public_key: &[u8],
    message: &[u8],
    signature: &HexBytes,
) -> Result<(), &'static str> {
    match suite {
        Suite::Secp256k1 => secp256k1(public_key, message, signature.as_ref()),
        Suite::Ed25519 => {
            let signature = ed25519_dalek::Signature::from_slice(signature.as_ref())
                .map_err(|_| "gave a signature that has not 64 bytes")?;
            let key = ed25519(public_key).ok_or("has a public key that can't be read")?;
            // Also refuses what validators disagree about.
            key.verify_strict(message, &signature).map_err(|_| WRONG)
        }
    }
}

const WRONG: &str = "gave a signature that is not this key's over this message";

fn secp256k1(public_key: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), &'static str> {
    let (64, [bytes @ .., recovery]) = (signature.len().saturating_sub(1), signature) else {
        return Err("gave a signature that has not 65 bytes");
    };
    let recovery = match recovery {
        0 | 1 => RecoveryId::from_byte(*recovery).ok_or(WRONG)?,
        _ => return Err("gave a signature whose recovery id is not 0 or 1"),
    };
    let signature = Signature::from_slice(bytes).map_err(|_| WRONG)?;
    if signature.normalize_s().is_some() {
        return Err("gave a signature with a high s, which chains refuse");
    }
    if digest.len() != 32 {
        return Err("was sent a digest that has not 32 bytes");
    }
    let recovered = VerifyingKey::recover_from_prehash(digest, &signature, recovery).map_err(|_| WRONG)?;
    if recovered.to_encoded_point(false).as_bytes() == public_key {
        Ok(())
    } else {
        Err(WRONG)
    }
}

fn ed25519(bytes: &[u8]) -> Option<ed25519_dalek::VerifyingKey> {
    ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()
}
