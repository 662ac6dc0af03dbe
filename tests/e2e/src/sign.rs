//! Signatures of buyers: EIP-712 typed data of a token, written out by hand so that the tests share no code with what
//! they test.

use devnet::{word_of_address, word_of_u128};
use k256::ecdsa::SigningKey;
use sha3::{Digest, Keccak256};

const DOMAIN: &str = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const TRANSFER: &str = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
const RECEIVE: &str = "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
const PERMIT: &str = "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)TokenPermissions(address token,uint256 amount)";
const PERMIT_EXACT: &str = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)TokenPermissions(address token,uint256 amount)Witness(address to,uint256 validAfter)";
const WITNESS_EXACT: &str = "Witness(address to,uint256 validAfter)";
const PERMIT_UPTO: &str = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)TokenPermissions(address token,uint256 amount)Witness(address to,address facilitator,uint256 validAfter)";
const WITNESS_UPTO: &str = "Witness(address to,address facilitator,uint256 validAfter)";
const PERMISSIONS: &str = "TokenPermissions(address token,uint256 amount)";
const PERMIT2_DOMAIN: &str = "EIP712Domain(string name,uint256 chainId,address verifyingContract)";
const CANCEL: &str = "CancelAuthorization(address authorizer,bytes32 nonce)";

/// keccak256.
#[must_use]
pub fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// The signing domain of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub name: String,
    pub version: String,
    pub chain_id: u64,
    pub token: String,
}

impl Domain {
    /// The digest of a structure in this domain: its type hash and its members, a word each.
    #[must_use]
    pub fn digest(&self, members: &[[u8; 32]]) -> [u8; 32] {
        let domain = [
            keccak(DOMAIN.as_bytes()),
            keccak(self.name.as_bytes()),
            keccak(self.version.as_bytes()),
            word_of_u128(self.chain_id.into()),
            address(&self.token),
        ];
        typed(keccak(&domain.concat()), members)
    }
}

fn typed(domain: [u8; 32], members: &[[u8; 32]]) -> [u8; 32] {
    let mut data = vec![0x19, 0x01];
    data.extend(domain);
    data.extend(keccak(&members.concat()));
    keccak(&data)
}

/// An EIP-3009 transfer as it is signed. Amounts in atomic units, times in Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub from: String,
    pub to: String,
    pub value: u128,
    pub valid_after: u64,
    pub valid_before: u64,
    pub nonce: [u8; 32],
}

impl Transfer {
    /// The digest that the payer signs.
    #[must_use]
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        self.digest_as(TRANSFER, domain)
    }

    /// The digest when only the recipient may send it.
    #[must_use]
    pub fn receive_digest(&self, domain: &Domain) -> [u8; 32] {
        self.digest_as(RECEIVE, domain)
    }

    /// The digest of the same as a Permit2 transfer without a witness; `valid_before` is its deadline.
    #[must_use]
    pub fn permit2_digest(&self, domain: &Domain) -> [u8; 32] {
        self.permit(PERMIT, &self.to, domain, None)
    }

    /// The digest of the same as a permit for the proxy of `exact`.
    #[must_use]
    pub fn exact_permit_digest(&self, domain: &Domain) -> [u8; 32] {
        let witness = [
            keccak(WITNESS_EXACT.as_bytes()),
            address(&self.to),
            word_of_u128(self.valid_after.into()),
        ];
        self.permit(
            PERMIT_EXACT,
            devnet::PERMIT2_PROXY,
            domain,
            Some(keccak(&witness.concat())),
        )
    }

    /// The digest of the same as a permit for the proxy of `upto` that names a facilitator; `value` is its maximum.
    #[must_use]
    pub fn upto_digest(&self, domain: &Domain, facilitator: &str) -> [u8; 32] {
        let witness = [
            keccak(WITNESS_UPTO.as_bytes()),
            address(&self.to),
            address(facilitator),
            word_of_u128(self.valid_after.into()),
        ];
        self.permit(
            PERMIT_UPTO,
            devnet::UPTO_PROXY,
            domain,
            Some(keccak(&witness.concat())),
        )
    }

    fn permit(&self, members: &str, spender: &str, domain: &Domain, witness: Option<[u8; 32]>) -> [u8; 32] {
        let permissions = [
            keccak(PERMISSIONS.as_bytes()),
            address(&domain.token),
            word_of_u128(self.value),
        ];
        let permit2 = [
            keccak(PERMIT2_DOMAIN.as_bytes()),
            keccak(b"Permit2"),
            word_of_u128(domain.chain_id.into()),
            address(devnet::PERMIT2),
        ];
        let mut members = vec![
            keccak(members.as_bytes()),
            keccak(&permissions.concat()),
            address(spender),
            self.nonce,
            word_of_u128(self.valid_before.into()),
        ];
        members.extend(witness);
        typed(keccak(&permit2.concat()), &members)
    }

    fn digest_as(&self, members: &str, domain: &Domain) -> [u8; 32] {
        domain.digest(&[
            keccak(members.as_bytes()),
            address(&self.from),
            address(&self.to),
            word_of_u128(self.value),
            word_of_u128(self.valid_after.into()),
            word_of_u128(self.valid_before.into()),
            self.nonce,
        ])
    }
}

/// The digest of an EIP-3009 cancellation.
#[must_use]
pub fn cancellation(domain: &Domain, authorizer: &str, nonce: [u8; 32]) -> [u8; 32] {
    domain.digest(&[keccak(CANCEL.as_bytes()), address(authorizer), nonce])
}

/// Signs a digest: r, s (the lower of the two), v as 27 or 28.
///
/// # Panics
/// When the key is no key.
#[must_use]
pub fn sign(key: &str, digest: &[u8; 32]) -> [u8; 65] {
    let key = hex::decode(key.trim_start_matches("0x")).expect("a key in hex");
    let key = SigningKey::from_slice(&key).expect("a secp256k1 key");
    let (signature, recovery) = key
        .sign_prehash_recoverable(digest)
        .expect("a digest of 32 bytes");
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    bytes[64] = 27 + recovery.to_byte();
    bytes
}

fn address(text: &str) -> [u8; 32] {
    word_of_address(text).expect("an address")
}

#[must_use]
pub fn hex0x(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
