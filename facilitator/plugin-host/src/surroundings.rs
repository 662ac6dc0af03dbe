//! What a plugin's code can change for the whole process while it is loaded: signal handlers, the working directory, the file mode mask,
//! the locale and the environment. A file for which `SIGTERM` does something else would keep the process from draining.
//!
//! Assumes that nothing else changes them at that time: plugins are loaded one after the other.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use super::signal::signal_text;

/// Signals with a number below this have handlers.
const SIGNALS: i32 = 65;

/// What they are before a file is loaded.
pub(super) struct Surroundings {
    handlers: BTreeMap<i32, libc::sigaction>,
    /// `None`: the process is in a folder that it may not read.
    folder: Option<File>,
    mask: Option<libc::mode_t>,
    locale: Option<CString>,
    variables: BTreeMap<OsString, OsString>,
}

impl Surroundings {
    pub(super) fn now() -> Self {
        Self {
            handlers: (1..SIGNALS)
                .filter_map(|signal| Some((signal, handler(signal)?)))
                .collect(),
            folder: File::open(".").ok(),
            mask: mask(),
            locale: locale(),
            variables: std::env::vars_os().collect(),
        }
    }

    /// Puts everything back but the environment, which other threads may be reading. What was changed is returned, each as a part of a
    /// sentence.
    pub(super) fn restore(self) -> Vec<String> {
        let mut changed = Vec::new();
        for (signal, before) in &self.handlers {
            let is_same = handler(*signal)
                .is_none_or(|now| now.sa_sigaction == before.sa_sigaction && now.sa_flags == before.sa_flags);
            if !is_same {
                changed.push(format!("the handler of the signal {}", signal_text(*signal)));
                // SAFETY: the action is one that the process had a moment ago, and its code is still there.
                unsafe { libc::sigaction(*signal, before, std::ptr::null_mut()) };
            }
        }
        if let Some(before) = &self.folder
            && File::open(".")
                .ok()
                .is_none_or(|now| !is_same_folder(before, &now))
        {
            changed.push("the working directory".to_owned());
            // SAFETY: takes a descriptor that is open.
            unsafe { libc::fchdir(before.as_raw_fd()) };
        }
        if let (Some(before), Some(now)) = (self.mask, mask())
            && before != now
        {
            changed.push("the mask of file modes".to_owned());
            // SAFETY: takes a number.
            unsafe { libc::umask(before) };
        }
        if let Some(before) = &self.locale
            && locale().as_ref() != Some(before)
        {
            changed.push("the locale".to_owned());
            // SAFETY: the text ends with a zero byte.
            unsafe { libc::setlocale(libc::LC_ALL, before.as_ptr()) };
        }
        let now: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        if now != self.variables {
            changed.push("the environment, which can't be put back".to_owned());
        }
        changed
    }
}

fn handler(signal: i32) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: reads only, into a struct of this type.
    let is_read = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } == 0;
    // SAFETY: filled by the call above, where that succeeded.
    is_read.then(|| unsafe { action.assume_init() })
}

fn is_same_folder(one: &File, other: &File) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Read from the system's table: the call that returns the mask also sets it.
fn mask() -> Option<libc::mode_t> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let octal = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    libc::mode_t::from_str_radix(octal.trim(), 8).ok()
}

fn locale() -> Option<CString> {
    // SAFETY: without a text it only answers; the answer is copied before anything can change it.
    let name = unsafe { libc::setlocale(libc::LC_ALL, std::ptr::null()) };
    // SAFETY: null, or a text that ends with a zero byte.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_owned())
}
