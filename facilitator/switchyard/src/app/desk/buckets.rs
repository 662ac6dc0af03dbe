//! Times in buckets that grow with them, for percentiles.

/// Eight buckets for each doubling: a bucket's ends are at most an eighth apart.
pub(super) fn bucket(time_ms: u64) -> u64 {
    let bits = u64::from(64 - time_ms.leading_zeros());
    if bits <= 4 {
        return time_ms;
    }
    let shift = bits - 4;
    (shift << 3) + (time_ms >> shift)
}

/// The greatest time of a bucket.
pub(super) fn upper(bucket: u64) -> u64 {
    if bucket < 16 {
        return bucket;
    }
    let shift = (bucket >> 3) - 1;
    let mantissa = (bucket & 7) + 8;
    ((mantissa + 1) << shift).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_times_that_differ_by_an_eighth_at_most() {
        for time in (0..5_000_u64).chain([u64::from(u32::MAX), 86_400_000]) {
            let (bucket_of, end) = (bucket(time), upper(bucket(time)));
            assert!(end >= time, "{time}: {end}");
            assert!(end - time <= time / 8, "{time}: {end}");
            assert_eq!(bucket(end), bucket_of, "{time}");
            assert_ne!(bucket(end + 1), bucket_of, "{time}");
        }
    }
}
