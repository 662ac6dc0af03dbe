//! Second opinions: what one node shows against a payment is read from two nodes.
//!
//! The node with the newer state decides. Of equally new ones that differ the one decides that lets the payment pass: a
//! false yes costs gas at most, a false refusal costs a payment.

/// Two nodes whose blocks are at most so far apart are equally new: they are not read at the same moment.
pub(crate) const BLOCKS_APART: u64 = 1;

/// What one node shows.
#[derive(Debug)]
pub(crate) struct Opinion<T, N> {
    /// Of its head.
    pub(crate) height: u64,
    pub(crate) verdict: Result<T, N>,
}

/// The verdict that counts; `None` without any opinion.
pub(crate) fn decide<T, N>(opinions: Vec<Opinion<T, N>>) -> Option<Result<T, N>> {
    let newest = opinions.iter().map(|opinion| opinion.height).max()?;
    let is_new = |height: u64| newest.saturating_sub(height) <= BLOCKS_APART;
    let mut refusal: Option<(u64, N)> = None;
    for Opinion { height, verdict } in opinions {
        match verdict {
            Ok(good) if is_new(height) => return Some(Ok(good)),
            Ok(_) => {}
            Err(no) => {
                if refusal.as_ref().is_none_or(|(known, _)| *known < height) {
                    refusal = Some((height, no));
                }
            }
        }
    }
    refusal.map(|(_, no)| Err(no))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(opinions: &[(u64, Result<u8, &'static str>)]) -> Option<Result<u8, &'static str>> {
        let opinion = |(height, verdict): &(u64, Result<u8, &'static str>)| Opinion {
            height: *height,
            verdict: *verdict,
        };
        decide(opinions.iter().map(opinion).collect())
    }

    #[test]
    fn the_newest_decides_and_of_equally_new_ones_the_one_that_lets_pass() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(5, Err("no")), (5, Ok(1))]), Some(Ok(1)));
        assert_eq!(of(&[(5, Ok(1)), (5, Err("no"))]), Some(Ok(1)));
        assert_eq!(of(&[(5, Err("no")), (4, Ok(1))]), Some(Ok(1)));
        assert_eq!(of(&[(5, Err("no")), (3, Ok(1))]), Some(Err("no")));
        assert_eq!(of(&[(3, Err("no")), (5, Ok(1))]), Some(Ok(1)));
        assert_eq!(of(&[(3, Err("old")), (5, Err("no"))]), Some(Err("no")));
        assert_eq!(of(&[(5, Err("first")), (5, Err("no"))]), Some(Err("first")));
    }
}
