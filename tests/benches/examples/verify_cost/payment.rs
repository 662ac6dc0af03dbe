//! EIP-3009 payments of an ordinary account, each with a nonce of its own.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use k256::ecdsa::SigningKey;

pub(crate) const NETWORK: &str = "eip155:84532";
const CHAIN_ID: u64 = 84_532;
/// USDC on Base Sepolia.
pub(crate) const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";
const PAY_TO: &str = "0x209693bc6afc0c5328ba36faf03c514ef312287c";
const AMOUNT: u64 = 10_000;

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_slice(&[0x42; 32]).expect("a scalar below the order"));
static NEXT_NONCE: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    /// Its signature is that of other bytes.
    Forged,
}

/// The body of a `/verify`.
pub(crate) fn request(kind: Kind) -> String {
    let from = Address::from_raw_public_key(&KEY.verifying_key().to_encoded_point(false).as_bytes()[1..]);
    let mut nonce = [7_u8; 32];
    nonce[24..].copy_from_slice(&NEXT_NONCE.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (valid_after, valid_before) = (now_s - 600, now_s + 3_600);
    let mut digest = digest(from, valid_after, valid_before, nonce);
    if kind == Kind::Forged {
        digest.0[0] ^= 1;
    }
    let (signature, recovery) = KEY
        .sign_prehash_recoverable(&digest.0)
        .expect("a digest of 32 bytes");
    let mut signature = signature.to_bytes().to_vec();
    signature.push(27 + recovery.to_byte());
    let signature = hex::encode(signature);
    let nonce = hex::encode(nonce);
    let terms = format!(
        r#"{{"scheme":"exact","network":"{NETWORK}","amount":"{AMOUNT}","asset":"{ASSET}","payTo":"{PAY_TO}","maxTimeoutSeconds":300,"extra":{{"name":"USDC","version":"2"}}}}"#
    );
    format!(
        r#"{{"x402Version":2,"paymentPayload":{{"x402Version":2,"resource":{{"url":"https://shop.example/article/1","description":"An article","mimeType":"application/json"}},"accepted":{terms},"payload":{{"signature":"0x{signature}","authorization":{{"from":"{from}","to":"{PAY_TO}","value":"{AMOUNT}","validAfter":"{valid_after}","validBefore":"{valid_before}","nonce":"0x{nonce}"}}}}}},"paymentRequirements":{terms}}}"#
    )
}

/// What the payer signs: EIP-712 of the authorization.
fn digest(from: Address, valid_after: u64, valid_before: u64, nonce: [u8; 32]) -> B256 {
    let address = |text: &str| text.parse::<Address>().expect("an address").into_word();
    let number = |number: u64| B256::from(U256::from(number));
    let domain = [
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
        keccak256("USDC"),
        keccak256("2"),
        number(CHAIN_ID),
        address(ASSET),
    ];
    let message = [
        keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)",
        ),
        from.into_word(),
        address(PAY_TO),
        number(AMOUNT),
        number(valid_after),
        number(valid_before),
        B256::from(nonce),
    ];
    let hashed = |words: &[B256]| keccak256(words.iter().flat_map(|word| word.0).collect::<Vec<u8>>());
    keccak256(
        [
            &[0x19, 0x01],
            hashed(&domain).as_slice(),
            hashed(&message).as_slice(),
        ]
        .concat(),
    )
}
