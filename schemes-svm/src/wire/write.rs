//! The writer.

use solana_signature::Signature;

use super::{Message, Version};

pub(super) fn transaction(signatures: &[Signature], message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + signatures.len() * 64 + message.len());
    length(&mut out, signatures.len());
    signatures
        .iter()
        .for_each(|signature| out.extend_from_slice(signature.as_ref()));
    out.extend_from_slice(message);
    out
}

pub(super) fn message(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    if message.version == Version::V0 {
        out.push(0x80);
    }
    let header = &message.header;
    out.extend([
        header.num_required_signatures,
        header.num_readonly_signed_accounts,
        header.num_readonly_unsigned_accounts,
    ]);
    length(&mut out, message.keys.len());
    message
        .keys
        .iter()
        .for_each(|key| out.extend_from_slice(key.as_ref()));
    out.extend_from_slice(message.recent_blockhash.as_ref());
    length(&mut out, message.instructions.len());
    for instruction in &message.instructions {
        out.push(instruction.program_id_index);
        bytes(&mut out, &instruction.accounts);
        bytes(&mut out, &instruction.data);
    }
    if message.version == Version::V0 {
        length(&mut out, message.lookups.len());
        for lookup in &message.lookups {
            out.extend_from_slice(lookup.account_key.as_ref());
            bytes(&mut out, &lookup.writable_indexes);
            bytes(&mut out, &lookup.readonly_indexes);
        }
    }
    out
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// compact-u16, which solana-short-vec only writes through a serde or wincode encoder. A longer length does not fit a
/// packet, and the reader refuses it.
fn length(out: &mut Vec<u8>, value: usize) {
    let mut rest = value;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}
