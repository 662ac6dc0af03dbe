//! Suggestions for misspelled names: "did you mean …?"

/// `unknown WHAT; did you mean …?`, or a list of every known name where none is close.
#[must_use]
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(near) => format!("unknown {what}; did you mean {near:?}?"),
        None => format!("unknown {what}; there are {}", known.join(", ")),
    }
}

/// The known name with the smallest edit distance, if that is at most a third of its length.
pub fn closest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|candidate| (strsim::levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| distance.saturating_mul(3) <= candidate.len().max(3))
        .map(|(_, candidate)| candidate)
}
