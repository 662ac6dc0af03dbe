//! Zstandard frames without compression (RFC 8878): what `base64+zstd`, the encoding that the official Rust client requests
//! by default, needs at least.

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The content's size follows in four bytes, and all of it is in one segment.
const DESCRIPTOR: u8 = 0b1010_0000;
/// The longest block, bytes.
const BLOCK: usize = 128 * 1024;

/// A frame of raw blocks. Account data is at most ten megabytes: its size fits.
pub(crate) fn frame(data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut out = [&MAGIC[..], &[DESCRIPTOR], &size.to_le_bytes()].concat();
    let mut rest = data;
    loop {
        let (block, after) = rest.split_at(rest.len().min(BLOCK));
        let last = after.is_empty();
        // The lowest bit marks the last block; the next two, zero, a raw one.
        let header = u32::try_from(block.len()).unwrap_or(u32::MAX) << 3 | u32::from(last);
        out.extend(header.to_le_bytes().into_iter().take(3));
        out.extend(block);
        if last {
            return out;
        }
        rest = after;
    }
}
