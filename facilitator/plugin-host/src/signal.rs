//! Names of signals.

/// A signal that ends a process, for a sentence.
#[must_use]
pub fn signal_text(signal: i32) -> String {
    let name = match signal {
        1 => "hang-up",
        2 => "interrupt",
        4 => "illegal instruction",
        5 => "trap",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic error",
        9 => "kill",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "termination",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}
