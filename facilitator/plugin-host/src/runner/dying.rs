//! Says on standard error in which call this process dies, so that the core knows which of the open calls ended it.
//!
//! The plugin's code can write that line, too: it names calls of its own instance only, and costs its own payments. Memory that
//! runs out, `_exit` and a thread of the plugin's own name no call.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;

/// The beginning of the line; the call follows as 16 hex digits.
const MARK: &str = "switchyard: this process ends in call ";
const DIGITS: usize = 16;
/// A line feed on both sides: the plugin may have written a part of a line.
const LINE_BYTES: usize = 1 + MARK.len() + DIGITS + 1;

/// Signals that code causes in its own thread.
const SIGNALS: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGABRT,
];

thread_local! {
    /// The call whose code this thread runs; 0: none.
    static CALL: Cell<u64> = const { Cell::new(0) };
}

/// What was installed for each of [`SIGNALS`] before.
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

/// Runs code of the plugin for a call.
pub(super) fn within<T>(call: u64, code: impl FnOnce() -> T) -> T {
    let before = CALL.replace(call);
    let result = code();
    CALL.set(before);
    result
}

/// The call that a line names.
pub(crate) fn call_of(line: &str) -> Option<u64> {
    let digits = line.strip_prefix(MARK)?;
    u64::from_str_radix(digits, 16).ok().filter(|call| *call != 0)
}

/// Has the end of this process say in which call it is. Where that can't be installed, no call is named.
pub(super) fn watch() {
    for (signal, before) in SIGNALS.iter().zip(&BEFORE) {
        // SAFETY: all zeros are a valid value of this plain structure.
        let (mut action, mut old): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as *const () as usize;
        // On the thread's own stack for signals, where it has one: its usual one may be used up.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both structures live here, and the handler only does what a handler may.
        if unsafe { libc::sigaction(*signal, &raw const action, &raw mut old) } == 0 {
            // Set once: nothing else in this process calls this.
            let _ = before.set(old);
        }
    }
    // SAFETY: the function may be called at any exit. Without it, `exit` names no call.
    let _ = unsafe { libc::atexit(at_exit) };
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    write_line();
    let known = SIGNALS.iter().zip(&BEFORE).find(|(one, _)| **one == signal);
    // SAFETY: a plain structure without a handler: the default.
    let default = unsafe { std::mem::zeroed() };
    let before = known.and_then(|(_, before)| before.get()).unwrap_or(&default);
    // SAFETY: `before` is what was installed, and `info` is the kernel's. All three functions may be called in a handler.
    unsafe {
        libc::sigaction(signal, std::ptr::from_ref(before), std::ptr::null_mut());
        // A fault happens again after this; what was sent does not.
        if info.is_null() || (*info).si_code <= 0 {
            libc::raise(signal);
        }
    }
}

extern "C" fn at_exit() {
    write_line();
}

/// Async-signal-safe.
fn write_line() {
    let call = CALL.get();
    if call == 0 {
        return;
    }
    let line = line(call);
    // SAFETY: the bytes are here. A pipe takes a line this short as a whole; where standard error is closed, nothing can be said.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}

fn line(call: u64) -> [u8; LINE_BYTES] {
    let mut line = [b'\n'; LINE_BYTES];
    let digits = (0..DIGITS).rev().map(|place| {
        let digit = call
            .checked_shr(u32::try_from(place * 4).unwrap_or(0))
            .unwrap_or(0)
            & 0xf;
        b"0123456789abcdef"
            .get(usize::try_from(digit).unwrap_or(0))
            .copied()
            .unwrap_or(b'0')
    });
    for (byte, text) in line.iter_mut().skip(1).zip(MARK.bytes().chain(digits)) {
        *byte = text;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_call_and_other_lines_name_none() {
        for call in [1, 0xabc, 1 << 63, u64::MAX] {
            let line = String::from_utf8(line(call).to_vec()).expect("text");
            assert!(line.starts_with('\n') && line.ends_with('\n'));
            assert_eq!(call_of(line.trim()), Some(call));
        }
        for other in [
            "",
            "free(): invalid pointer",
            MARK,
            &format!("{MARK}0"),
            &format!("x{MARK}1"),
        ] {
            assert_eq!(call_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_call_within_another_ends_before_it() {
        within(7, || {
            within(8, || assert_eq!(CALL.get(), 8));
            assert_eq!(CALL.get(), 7);
        });
        assert_eq!(CALL.get(), 0);
    }
}
