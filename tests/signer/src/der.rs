//! What a key management service gives, in the protocol's form: it knows DER and no recovery ids.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sdk_plugin::HexBytes;

/// `SubjectPublicKeyInfo` of an uncompressed secp256k1 key, up to its 65 bytes.
const SPKI: [u8; 23] = [
    0x30, 0x56, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x0a, 0x03, 0x42, 0x00,
];

/// The 65 bytes of a secp256k1 key in `SubjectPublicKeyInfo`.
///
/// # Errors
/// It is another kind of key.
pub fn public_key(spki: &[u8]) -> Result<HexBytes, String> {
    let point = spki
        .strip_prefix(&SPKI[..])
        .ok_or("the key is no secp256k1 key (ECC_SECG_P256K1)")?;
    VerifyingKey::from_sec1_bytes(point)
        .map(|key| HexBytes(key.to_encoded_point(false).as_bytes().to_vec()))
        .map_err(|_| "the public key is no point of the curve".to_owned())
}

/// r, low s and the recovery id of a signature in DER.
///
/// # Errors
/// It is not the key's over this digest.
pub fn signature(der: &[u8], digest: &[u8], public_key: &[u8]) -> Result<HexBytes, String> {
    let signature = Signature::from_der(der).map_err(|_| "the signature is not DER".to_owned())?;
    // Services give either s; chains accept the low one.
    let signature = signature.normalize_s().unwrap_or(signature);
    let key = VerifyingKey::from_sec1_bytes(public_key)
        .map_err(|_| "the public key is no point of the curve".to_owned())?;
    let recovery = RecoveryId::trial_recovery_from_prehash(&key, digest, &signature)
        .map_err(|_| "the signature is not this key's over this digest".to_owned())?;
    if recovery.is_x_reduced() {
        return Err("the signature has no recovery id of 0 or 1; request another one".to_owned());
    }
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(recovery.to_byte());
    Ok(HexBytes(bytes))
}
